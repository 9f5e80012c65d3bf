"""How little is imported before the first answer; each case is a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import clips
from tests.requirements import has_gpu
from tests.weights_for_tests import weights_folder

__all__ = ["weights_folder"]
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


FIRST_SCORE = (
    "import sys; from pathlib import Path; import numpy as np\n"
    "from stream_detect import Detector\n"
    "picture = np.load(sys.argv[2])\n"
    "(face,) = Detector(weights=Path(sys.argv[1]), experts=sys.argv[3:] or None).frame(picture).faces\n"
    "assert None not in face.experts.values() and len(face.experts) == (len(sys.argv[3:]) or 5)"
)


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "portrait.npy"
    np.save(path, clips.portrait(480, 640, 200))
    return path


@pytest.mark.skipif(has_gpu(), reason="a GPU is here, for which torch is imported")
def test_all_experts_judge_a_face_without_torch_and_its_like(weights_folder: Path, picture: Path) -> None:
    modules = set(imported_by(FIRST_SCORE, weights_folder, picture))
    assert "onnxruntime" in modules
    unneeded = {"torch", "timm", "torchvision", "onnx", "scipy", "matplotlib", "openvino", "numpy.f2py"}
    assert unneeded.isdisjoint(modules)


def test_a_clip_is_scored_without_torch(weights_folder: Path, face_clip: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from stream_detect import Detector\n"
        "score = Detector('cpu', Path(sys.argv[1])).score(sys.argv[2])\n"
        "assert score.judged >= 3"
    )
    modules = set(imported_by(script, weights_folder, face_clip))
    assert {"torch", "timm", "torchvision", "scipy"}.isdisjoint(modules)


def test_a_clip_is_watched_without_torch(weights_folder: Path, face_clip: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from stream_detect import Detector, watch\n"
        "lines = list(watch(sys.argv[2], Detector('cpu', Path(sys.argv[1]))))\n"
        "assert len(lines) > 10"
    )
    modules = set(imported_by(script, weights_folder, face_clip))
    assert {"torch", "timm", "torchvision", "scipy"}.isdisjoint(modules)
