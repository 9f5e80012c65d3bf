"""Where arrays live in tests: every namespace and device at hand, with one way in, out and to compare.

array-api-strict's second device is imaginary; it catches a forgotten `device=` on a machine without a GPU.
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.requirements import has_gpu, missing

RTOL, ATOL = 2e-5, 2e-5  # float32, sums of a few thousand terms in another order


@dataclass(frozen=True)
class Place:
    """An array namespace on one device."""

    name: str
    namespace: str
    device_name: str

    def require(self) -> None:
        """Skip the test (or fail it under REQUIRE_GPU=1) where this place needs a GPU that isn't there."""
        if self.device_name.startswith("cuda") and not has_gpu():
            missing("no CUDA GPU", "REQUIRE_GPU")

    @functools.cached_property
    def xp(self) -> Any:
        import importlib

        return importlib.import_module(self.namespace)

    @functools.cached_property
    def device(self) -> Any:
        if self.namespace == "array_api_strict":
            return self.xp.Device(self.device_name)
        if self.namespace.endswith("cupy"):
            return self.xp.cuda.Device(0)
        return self.device_name

    def put(self, array: np.ndarray) -> Any:
        """A NumPy array, moved here."""
        return self.xp.asarray(np.ascontiguousarray(array), device=self.device)

    def get(self, array: Any) -> np.ndarray:
        """An array from here, in NumPy; fails if it lives elsewhere."""
        assert str(array.device) == str(self.put(np.zeros(1)).device), f"the result left {self.name}: {array.device}"
        if self.namespace == "array_api_strict":
            return np.asarray(array.to_device(self.xp.Device("CPU_DEVICE")))
        if self.namespace.endswith("torch"):
            return array.detach().cpu().numpy()
        return array.get() if self.namespace.endswith("cupy") else np.asarray(array)

    def assert_equal(self, array: Any, expected: np.ndarray, rtol: float = RTOL, atol: float = ATOL) -> None:
        """The array lives here and holds NumPy's numbers."""
        np.testing.assert_allclose(self.get(array), expected, rtol=rtol, atol=atol)


PLACES = [
    Place("numpy", "array_api_compat.numpy", "cpu"),
    Place("torch", "array_api_compat.torch", "cpu"),
    Place("strict", "array_api_strict", "CPU_DEVICE"),
    Place("strict-device1", "array_api_strict", "device1"),
    Place("torch-cuda", "array_api_compat.torch", "cuda:0"),
    Place("cupy", "array_api_compat.cupy", "cuda:0"),
]
