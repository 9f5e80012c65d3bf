"""Run in a process of its own with the stand-in driver: decodes a file on "cuda:0" and tells what came of it as JSON.

Its `xp` takes planes that PyAV says lie on a GPU for what they are here, main memory.
"""

import ctypes
import json
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np

from stream_detect.decode.nvdec import Nvdec
from stream_detect.sources import SourceOptions, feed, open_source

CUDA = 2  # kDLCUDA


class Tensor(ctypes.Structure):
    """DLManagedTensor as far as it is needed."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int),
        ("device_id", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("offset", ctypes.c_uint64),
    ]


class Memory:
    """What NumPy may look at, for as long as the capsule lives."""

    def __init__(self, capsule) -> None:
        get = ctypes.pythonapi.PyCapsule_GetPointer
        get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        tensor = Tensor.from_address(get(capsule, b"dltensor"))
        assert (tensor.device_type, tensor.device_id, tensor.code, tensor.bits) == (CUDA, 0, 1, 8)
        self.capsule = capsule
        self.__array_interface__ = {
            "version": 3,
            "typestr": "|u1",
            "data": (tensor.data + tensor.offset, True),
            "shape": tuple(tensor.shape[: tensor.ndim]),
            "strides": tuple(tensor.strides[: tensor.ndim]),
        }


def from_dlpack(array) -> np.ndarray:
    """As CuPy does it: with a stream, which PyAV refuses unless somebody keeps it back."""
    assert array.__dlpack_device__() == (CUDA, 0)
    return np.asarray(Memory(array.__dlpack__(stream=1, max_version=(1, 0), copy=None)))


def main(path: str) -> None:
    device, runtime = SimpleNamespace(use=lambda: None), SimpleNamespace(free=lambda pointer: None)
    cuda = SimpleNamespace(Device=lambda index: device, runtime=runtime)
    xp = SimpleNamespace(cuda=cuda, from_dlpack=from_dlpack)
    feed.hardware_for = lambda name: Nvdec(0, xp, lambda index: nullcontext())
    with feed.Feed(open_source(path, options=SourceOptions(decoder="cuda:0"))) as one:
        frames = []
        said = []
        for frame in one.frames():
            frames.append(frame)
            said += [one.decoding] if one.decoding not in said else []
    means = [[float(plane.mean()) for plane in frame.on_host().planes] for frame in frames]
    told = {
        "said": said,
        "index": [frame.index for frame in frames],
        "pts_s": [frame.pts_s for frame in frames],
        "layout": [frame.layout for frame in frames],
        "sides": [frames[0].height, frames[0].width],
        "is_full_range": frames[0].is_full_range,
        "matrix": frames[0].matrix,
        "means": means,
        "dropped": dict(one.drops),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1])
