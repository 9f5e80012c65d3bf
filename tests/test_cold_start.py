"""How little is imported before the first answer; each case is a process of its own."""

import json
import subprocess
import sys

import pytest

REPORT = "import json, sys; print(json.dumps(list(sys.modules)))"


def imported_by(script: str, *arguments: object) -> list[str]:
    """The modules that a fresh interpreter holds after `script`, in the order of their import."""
    command = [sys.executable, "-W", "error", "-c", f"{script}\n{REPORT}", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return list(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("command", ["", "watch", "score", "demo", "train", "doctor"])
def test_help_imports_no_library_that_is_slow(command: str) -> None:
    script = (
        "import sys; sys.argv[1:] = [*sys.argv[1].split(), '--help']\n"
        "import stream_detect.cli\n"
        "try: stream_detect.cli.main()\n"
        "except SystemExit as done: assert done.code == 0"
    )
    slow = {"numpy", "av", "cv2", "torch", "timm", "torchvision", "scipy", "onnxruntime", "onnx", "matplotlib"}
    assert slow.isdisjoint(imported_by(script, command))


def test_opencv_never_comes_before_pyav() -> None:
    modules = imported_by("import stream_detect, cv2")
    assert modules.index("av") < modules.index("cv2")


def test_the_package_alone_imports_nothing_large() -> None:
    assert {"av", "cv2", "numpy", "torch"}.isdisjoint(imported_by("import stream_detect"))
