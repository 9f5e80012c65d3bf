"""One function for NumPy, torch and CuPy: which namespace an array belongs to, and constants that live beside it.

The fingerprints are written against the Python array API standard (https://data-apis.org/array-api), which
array-api-compat gives for NumPy, torch and CuPy alike. NumPy's run of a function is its definition.
"""

from collections.abc import Callable
from typing import Any

import array_api_compat
import numpy as np

CACHE_BYTES = 1 << 19  # a CPU works on about this much at once: what a core's own cache holds
NUMPY_IS_ENOUGH = hasattr(np, "__array_api_version__")  # from 2.1 on; its wrapper takes 0.15 s to import
Array = Any  # an array of any namespace that follows the array API standard


def array_namespace(*arrays: Array) -> Any:
    """The array API namespace of `arrays` (numpy, torch, cupy, array-api-strict …).

    Raises:
        TypeError: if they are not arrays, or not all of the same namespace.
    """
    if NUMPY_IS_ENOUGH and all(isinstance(array, np.ndarray) for array in arrays):
        return np
    return array_api_compat.array_namespace(*arrays)


def device_of(array: Array) -> Any:
    """Where `array` lives, as its own namespace names devices."""
    return array_api_compat.device(array)


def is_cupy(array: Array) -> bool:
    """Whether `array` is CuPy's, without importing CuPy."""
    return bool(array_api_compat.is_cupy_array(array))


def clip(array: Array, low: float, high: float) -> Array:
    """`array` held between `low` and `high`, by its own method where it has one.

    For NumPy and CuPy array-api-compat clips by masks, which is slow, and on a GPU waits for the device.
    """
    return array.clip(low, high) if hasattr(array, "clip") else array_namespace(array).clip(array, low, high)


def constant(make: Callable[[], np.ndarray], beside: Array) -> Array:
    """The array that `make()` gives, in the namespace and on the device of `beside`; made and copied there once.

    Args:
        make: a module-level function without arguments; it is the key under which the array is kept.
        beside: any array of the wanted namespace and device.
    """
    xp, device = array_namespace(beside), device_of(beside)
    key = (make, xp, str(device))  # CuPy's devices can't be keys themselves
    if key not in _PLACED:
        _PLACED[key] = settled(xp.asarray(make(), device=device))
    return _PLACED[key]


def settled(array: Array) -> Array:
    """`array`, complete: for what is kept and read by other streams than the one that brings it to a GPU."""
    if is_cupy(array):
        import cupy

        cupy.cuda.get_current_stream().synchronize()
    return array


_PLACED: dict[tuple[Callable[[], np.ndarray], Any, str], Array] = {}


def run(features: Callable[[Array], Array], array: np.ndarray, device: str = "cpu") -> np.ndarray:
    """`features(array)`, computed by NumPy on a CPU, by CuPy on a GPU; NumPy in, NumPy out.

    On a CPU the rows are taken a cacheful at a time, which is up to three times faster than all at once.

    Args:
        features: an array function, such as `spectrum_features`.
        array: what it takes, one row a face.
        device: as `resolve_device` gives it: "cpu" or "cuda:N".
    """
    if len(array) == 0:  # there are features that have no form for nothing
        return run(features, np.zeros((1, *array.shape[1:]), array.dtype), device)[:0]
    return _run_on_cpu(features, array) if device == "cpu" else _run_on_gpu(features, array, device)


def _run_on_cpu(features: Callable[[Array], Array], array: np.ndarray) -> np.ndarray:
    at_once = max(1, CACHE_BYTES * len(array) // array.nbytes)
    return np.concatenate([features(array[start : start + at_once]) for start in range(0, len(array), at_once)])


def _run_on_gpu(features: Callable[[Array], Array], array: np.ndarray, device: str) -> np.ndarray:
    import cupy

    with cupy.cuda.Device(int(device.removeprefix("cuda:"))):
        result: np.ndarray = cupy.asnumpy(features(cupy.asarray(array)))
    return result
