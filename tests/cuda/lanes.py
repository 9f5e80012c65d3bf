"""A stand-in for a GPU's queue: NumPy's arrays, torch's CPU, and the kernels compiled for the host."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.kernels.emulate import HostBench


class HostLane:
    """A `Lane` on this machine's CPU.

    Args:
        room: runs out of memory if `held` is asked for more than this many different works; None: never.
    """

    name, tensors = "cuda:0", "cpu"

    def __init__(self) -> None:
        self.bench: Any = HostBench()
        self.depth = self.held_works = self.releases = 0
        self.fails: Exception | None = None  # raised at the next landing

    @contextmanager
    def current(self) -> Iterator[None]:
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1

    def held(self, work: Callable[[], Any]) -> Callable[[], Any]:
        assert self.depth == 1, "work is held where the stream is current"
        self.held_works += 1
        return work

    def landing(self, array):
        assert self.depth == 1, "what lands is brought by the current stream"
        if self.fails is not None:
            raise self.fails
        assert array.ndim == 1
        return array

    def release(self) -> None:
        self.releases += 1
