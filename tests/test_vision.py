"""torchvision is imported for real where it can be, and with declared operators where it can't."""

import subprocess
import sys

SHAM = """
import sys, types, torch, importlib
real = importlib.import_module
calls = []
def sham(name, *args):
    if name != "torchvision":
        return real(name, *args)
    calls.append(name)
    if len(calls) == 1 and {fails}:
        raise RuntimeError({message!r})
    return types.ModuleType(name)
importlib.import_module = sham
"""


def run(code):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120, check=False
    )


def test_timm_and_transforms_import_without_a_warning():
    done = run("import stream_detect.vision, timm, torchvision.transforms.v2")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_working_torchvision_is_left_alone():
    code = SHAM.format(fails=False, message="")
    done = run(
        code + "import stream_detect.vision as v; assert v.torchvision_problem() is None; assert len(calls) == 1"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_missing_operator_is_declared_and_told():
    code = SHAM.format(fails=True, message="operator torchvision::nms does not exist")
    done = run(code + "import stream_detect.vision as v; print(v.torchvision_problem(), torch.ops.torchvision.nms)")
    assert done.returncode == 0, done.stderr
    assert "was built for another torch" in done.stdout
    assert "torchvision.nms" in done.stdout


def test_another_failure_is_not_hidden():
    code = SHAM.format(fails=True, message="out of luck")
    done = run(code + "import stream_detect.vision")
    assert done.returncode == 1
    assert "out of luck" in done.stderr
