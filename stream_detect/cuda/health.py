"""What a GPU needs before it can look at video here, and what to do about each part that is missing.

`survey` asks the machine; `judge` says what follows from the answers: each trouble can be tested without having it.
"""

import contextlib
import ctypes
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from stream_detect.decode.nvdec import CODECS, Capabilities, Nvdec, capabilities, one_line
from stream_detect.doctor import Check

CONTAINER = "in a container start it with --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,video,utility"
OLDEST_DRIVER = {11: 450, 12: 525, 13: 580}  # of a CUDA major version, from NVIDIA's compatibility table
CUPY_NAMES = re.compile(r"cupy(-cuda\d+x|-rocm-\S+)?")
INIT_FAULTS = {  # of cuInit
    100: ("the driver sees no GPU", f"check nvidia-smi and CUDA_VISIBLE_DEVICES; {CONTAINER}"),
    802: ("the GPUs' fabric is not up", "start nvidia-fabricmanager, or wait for it"),
    803: ("the driver's kernel and user parts differ", "restart the machine after a driver update"),
    804: ("the driver is too old for the CUDA compatibility library", "remove cuda-compat, or update the driver"),
    999: ("the driver does not start", "restart the machine; nvidia-smi may say more"),
}
TINY_KERNEL = 'extern "C" __global__ void one(float* out) { out[0] = 1.0f; }'


@dataclass(frozen=True)
class Survey:
    """What the machine answered. Versions of CUDA are major * 1000 + minor * 10, as its own functions give them."""

    driver: int | None = None  # the newest CUDA that the driver knows; None: there is no driver
    init_fault: int = 0  # what cuInit returned
    torch: str = ""  # its version
    torch_cuda: int | None = None  # None: built for the CPU alone
    cupy: Mapping[str, str] = field(default_factory=dict)  # installed packages that bring it, with versions
    cupy_cuda: int | None = None  # what it was built for; None: it can't be imported
    cupy_error: str = ""  # why not
    compiler_error: str = ""  # why NVRTC compiled nothing; empty: it did
    kernel_folder: Path = Path()  # where compiled kernels are kept
    kernel_folder_error: str = ""  # why nothing can be written there
    has_nvdec: bool = True  # whether PyAV was built with it
    has_nvcuvid: bool = True
    codecs: Mapping[str, Capabilities] | None = None  # what NVDEC decodes; None: it could not be asked
    decoder_error: str = ""  # why FFmpeg could not start on the context of CuPy and torch


def check_gpu_parts() -> Iterator[Check]:
    """Everything about the GPU, part by part; nothing on a machine without an NVIDIA driver."""
    found = survey()
    if found.driver is not None:
        yield from judge(found)


def judge(found: Survey) -> Iterator[Check]:
    """What follows from the answers of a machine with a driver; what is missing is a note, as the CPU still works."""
    yield judge_driver(found)
    if found.init_fault:
        return
    yield judge_torch(found)
    cupy = judge_cupy(found)
    yield cupy
    if cupy.state == "ok":
        yield judge_compiler(found)
        yield judge_kernel_folder(found)
        yield judge_decoder(found)
    else:  # what fails without CuPy fails because of it
        yield judge_decoder(replace(found, decoder_error="", codecs=None))


def judge_driver(found: Survey) -> Check:
    if found.init_fault:
        words, advice = INIT_FAULTS.get(found.init_fault, (f"CUDA error {found.init_fault}", "nvidia-smi may say more"))
        return Check("gpu driver", "note", f"{words}: everything runs on the CPU", advice)
    return Check("gpu driver", "ok", f"knows CUDA up to {dotted(found.driver)}")


def judge_torch(found: Survey) -> Check:
    if found.torch_cuda is None:
        advice = f"pip install torch --index-url https://download.pytorch.org/whl/{wheel_index(found.driver)}"
        return Check(
            "gpu torch", "note", f"torch {found.torch} is built for the CPU alone: nothing runs on the GPU", advice
        )
    if is_too_new(found.torch_cuda, found.driver):
        index = wheel_index(found.driver)
        advice = (
            f"{new_driver(found.torch_cuda)}, or pip install torch --index-url https://download.pytorch.org/whl/{index}"
        )
        return Check("gpu torch", "note", too_old("torch", found.torch_cuda, found.driver), advice)
    return Check("gpu torch", "ok", f"torch {found.torch} for CUDA {dotted(found.torch_cuda)}")


def judge_cupy(found: Survey) -> Check:
    names = sorted(found.cupy)
    fitting = cupy_for(found)
    if len(names) > 1:
        words = f"{' and '.join(names)} are installed over one another: either may fail"
        advice = f"pip uninstall -y {' '.join(names)}; then pip install '{fitting}[ctk]'"
        return Check("gpu cupy", "note", words, advice)
    if not names:
        words = "CuPy is not installed: nothing runs on the GPU"
        return Check("gpu cupy", "note", words, f"pip install '{fitting}[ctk]'")
    if found.cupy_cuda is None:
        advice = f"pip uninstall -y {names[0]}; then pip install '{fitting}[ctk]'"
        return Check("gpu cupy", "note", f"{names[0]} can't be imported: {found.cupy_error}", advice)
    if is_too_new(found.cupy_cuda, found.driver):
        advice = f"pip uninstall -y {names[0]}; then pip install '{fitting}[ctk]'; or {new_driver(found.cupy_cuda)}"
        return Check("gpu cupy", "note", too_old(names[0], found.cupy_cuda, found.driver), advice)
    if found.torch_cuda is not None and found.cupy_cuda // 1000 != found.torch_cuda // 1000:
        words = (
            f"{names[0]} is for CUDA {found.cupy_cuda // 1000}, torch for CUDA {found.torch_cuda // 1000}: "
            "they share no libraries"
        )
        return Check("gpu cupy", "note", words, f"pip uninstall -y {names[0]}; then pip install '{fitting}[ctk]'")
    return Check("gpu cupy", "ok", f"{names[0]} {found.cupy[names[0]]} for CUDA {dotted(found.cupy_cuda)}")


def judge_compiler(found: Survey) -> Check:
    if found.compiler_error:
        advice = f"pip install '{cupy_for(found)}[ctk]', which brings NVRTC and the headers"
        return Check("gpu kernels", "note", f"they can't be compiled: {found.compiler_error}", advice)
    return Check("gpu kernels", "ok", "NVRTC compiles them")


def judge_kernel_folder(found: Survey) -> Check:
    if found.kernel_folder_error:
        words = f"{found.kernel_folder}: can't be written ({found.kernel_folder_error}): each start compiles anew"
        return Check("gpu kernel cache", "note", words, "set CUPY_CACHE_DIR to a folder that can")
    return Check("gpu kernel cache", "ok", str(found.kernel_folder))


def judge_decoder(found: Survey) -> Check:
    """Whether NVDEC can decode; it needs a part of the driver that containers leave out by default."""
    on_cpu = "frames are decoded on the CPU"
    if not found.has_nvdec:
        return Check("gpu video", "note", f"this PyAV has no NVDEC: {on_cpu}", "pip install --force-reinstall av")
    if not found.has_nvcuvid:
        advice = f"{CONTAINER}; elsewhere install the driver's decoding library (Debian: libnvcuvid1)"
        return Check("gpu video", "note", f"libnvcuvid is missing: {on_cpu}", advice)
    if found.decoder_error:
        return Check("gpu video", "note", f"{found.decoder_error}: {on_cpu}", advice_for_decoder(found.decoder_error))
    if found.codecs is None:
        return Check("gpu video", "ok", "NVDEC is there; which codecs it decodes shows when they come")
    can = [name for name, one in found.codecs.items() if one.is_supported]
    cant = [name for name in found.codecs if name not in can]
    words = f"NVDEC decodes {', '.join(can) or 'nothing'}" + (f"; the CPU {', '.join(cant)}" if cant else "")
    return Check("gpu video", "ok" if can else "note", words, "" if can else "use a GPU with NVDEC, or --device cpu")


def advice_for_decoder(error: str) -> str:
    """What to do about a decoder that doesn't start beside CuPy and torch."""
    if "not supported" in error:  # FFmpeg asks the primary context for flags that its first user didn't set
        return (
            "another library made the CUDA context before FFmpeg, and not as FFmpeg wants it: "
            "pip install 'av>=18.1', or decode something before that library starts CUDA"
        )
    if "not permitted" in error:  # FFmpeg found no libcuda, or none that is new enough for it
        return f"update the NVIDIA driver; {CONTAINER}"
    return f"nvidia-smi may say more; {CONTAINER}"


def survey() -> Survey:
    """Ask this machine; CuPy and torch are imported only where there is a driver."""
    driver, init_fault = asked_driver()
    if driver is None or init_fault:
        return Survey(driver, init_fault)
    import av
    import torch

    cupy_cuda, cupy_error = asked_cupy()
    has_nvcuvid = can(lambda: ctypes.CDLL(library("nvcuvid"))) == ""
    folder = kernel_folder()
    return Survey(
        driver=driver,
        torch=torch.__version__,
        torch_cuda=version_number(torch.version.cuda),
        cupy=cupy_packages(),
        cupy_cuda=cupy_cuda,
        cupy_error=cupy_error,
        compiler_error=can(compile_tiny_kernel) if cupy_cuda is not None else "",
        kernel_folder=folder,
        kernel_folder_error=can(lambda: write_something(folder)),
        has_nvdec="h264_cuvid" in av.codecs_available,
        has_nvcuvid=has_nvcuvid,
        decoder_error=can(lambda: Nvdec(0).accelerator()) if cupy_cuda is not None and has_nvcuvid else "",
        codecs=asked_codecs() if cupy_cuda is not None and has_nvcuvid else None,
    )


def asked_driver(load: Callable[[str], Any] = ctypes.CDLL) -> tuple[int | None, int]:
    """The newest CUDA version that the driver knows (None without a driver), and what cuInit returns."""
    try:
        cuda = load(library("cuda"))
    except OSError:
        return None, 0
    version = ctypes.c_int(0)
    fault = int(cuda.cuInit(0))
    cuda.cuDriverGetVersion(ctypes.byref(version))
    return version.value, fault


def asked_cupy() -> tuple[int | None, str]:
    """The CUDA version that CuPy was built for, or None and why it can't be imported."""
    try:
        import cupy

        return int(cupy.cuda.runtime.runtimeGetVersion()), ""
    except (ImportError, RuntimeError, AttributeError) as error:
        return None, one_line(error)


def cupy_packages() -> dict[str, str]:
    """Every installed package that brings CuPy, with its version."""
    found = {one.metadata["Name"].lower(): one.version for one in metadata.distributions() if one.metadata["Name"]}
    return {name: version for name, version in sorted(found.items()) if CUPY_NAMES.fullmatch(name)}


def asked_codecs() -> dict[str, Capabilities] | None:
    """What the first GPU decodes; its context must be current. None where it doesn't answer."""
    with contextlib.suppress(OSError, RuntimeError):
        return {codec: capabilities(codec) for codec in CODECS}
    return None


def compile_tiny_kernel() -> None:
    import cupy

    cupy.RawModule(code=TINY_KERNEL, options=("--std=c++17",)).get_function("one")


def kernel_folder() -> Path:
    """Where CuPy keeps compiled kernels."""
    return Path(os.environ.get("CUPY_CACHE_DIR") or Path.home() / ".cupy" / "kernel_cache")


def write_something(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def can(act: Callable[[], object]) -> str:
    """Why `act` fails, in one line; empty if it doesn't."""
    try:
        act()
    except Exception as error:  # a broken library may raise anything: that is what is looked for here
        return one_line(error)
    return ""


def library(name: str) -> str:
    """The file of a part of the NVIDIA driver."""
    return f"{name}.dll" if sys.platform == "win32" else f"lib{name}.so.1"


def version_number(text: str | None) -> int | None:
    """13020 of "13.2"."""
    if not text:
        return None
    major, _, minor = text.partition(".")
    return 1000 * int(major) + 10 * int(minor.partition(".")[0] or 0)


def dotted(version: int | None) -> str:
    """ "13.2" of 13020."""
    return "none" if version is None else f"{version // 1000}.{version % 1000 // 10}"


def is_too_new(version: int, driver: int | None) -> bool:
    """Whether something built for a CUDA version asks more than the driver has: versions of one major go together."""
    return driver is not None and version // 1000 > driver // 1000


def too_old(name: str, version: int, driver: int | None) -> str:
    return f"{name} is built for CUDA {dotted(version)}, the driver knows CUDA up to {dotted(driver)}"


def new_driver(version: int) -> str:
    least = OLDEST_DRIVER.get(version // 1000)
    return f"update the NVIDIA driver to {least} or newer" if least else "update the NVIDIA driver"


def wheel_index(driver: int | None) -> str:
    """PyTorch's folder of wheels for a driver."""
    return "cu130" if driver is None or driver >= 13000 else "cu126"


def cupy_for(found: Survey) -> str:
    """The CuPy package that fits the driver, and torch where that fits it too."""
    newest = (found.driver or 13000) // 1000
    if found.torch_cuda is not None:
        newest = min(newest, found.torch_cuda // 1000)
    return "cupy-cuda13x" if newest >= 13 else "cupy-cuda12x"
