"""Every kernel compiles for real GPUs, on a machine without one."""

from importlib.resources import files

import pytest

from tests.kernels.emulate import ARCHITECTURES, compiled_by_nvrtc

STEMS = sorted(path.name[:-3] for path in files("stream_detect.kernels").iterdir() if path.name.endswith(".cu"))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("stem", STEMS)
def test_the_kernel_compiles_for_real_gpus(stem, architecture):
    assert compiled_by_nvrtc(stem, architecture).startswith(b"\x7fELF")
