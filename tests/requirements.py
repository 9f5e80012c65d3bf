"""What a test may need from the machine, and what happens where it is missing.

A test that needs a server, a browser or a folder beside the repository calls `require`. It skips where that is missing,
with the reason, unless REQUIRE_SERVICES=1 says that nothing may be missing: then it fails. GPUs go by the marker `gpu`
and REQUIRE_GPU=1 in the same way.
"""

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"
SYSTEM_PYTHON = "/usr/bin/python3"  # Debian's python3-gi belongs to it
GSTREAMER_PROBE = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"


def require(condition: object, reason: str) -> None:
    """Skip the test unless `condition` holds; fail it where REQUIRE_SERVICES=1."""
    if not condition:
        missing(reason, "REQUIRE_SERVICES")


def missing(reason: str, variable: str) -> None:
    if os.environ.get(variable) == "1":
        pytest.fail(f"{reason} ({variable}=1 forbids skipping)", pytrace=False)
    pytest.skip(reason)


def require_program(name: str) -> str:
    """The path of a program on this machine, such as Xvfb, ffprobe or g++."""
    found = shutil.which(name)
    require(found, f"{name} is not installed")
    return str(found)


def require_gstreamer() -> str:
    """The Python that can import GStreamer's RTSP server."""
    require(has_gstreamer(), "GStreamer's RTSP server is not installed (.ci/run names Debian's packages)")
    return SYSTEM_PYTHON


@functools.cache
def has_gstreamer() -> bool:
    if not Path(SYSTEM_PYTHON).exists():
        return False
    probe = subprocess.run([SYSTEM_PYTHON, "-c", GSTREAMER_PROBE], capture_output=True, timeout=30, check=False)
    return probe.returncode == 0


def require_shared(relative: str) -> Path:
    """A file or folder beside the repository, such as peers/mesonet."""
    path = SHARED / relative
    require(path.exists(), f"../shared/{relative} is not there")
    return path


@functools.cache
def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
