"""The one queue of work on a GPU: a stream and a memory pool that CuPy and torch share, and CUDA graphs on it.

Whoever works there is written against `Lane`, so that tests run the same code with NumPy and torch's CPU.
"""

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, final, runtime_checkable

from stream_detect.cuda.faults import is_fault, is_out_of_memory
from stream_detect.cuda.float32 import plain_convolutions
from stream_detect.cuda.kernels import Bench, CudaBench
from stream_detect.cuda.transfers import Landing, PinnedLanding

WARM_UP = 3  # runs before a CUDA graph is captured: libraries choose their algorithms and take their memory in them
ATTEMPTS = 2  # at a capture: whoever waits for the whole device in another thread spoils it
ONE_AT_A_TIME = threading.Lock()  # a process captures one graph at a time, and nobody may wait for the device meanwhile
log = logging.getLogger("stream_detect")


@runtime_checkable
class Lane(Protocol):
    """One device's arrays, tensors and queue; for one thread at a time."""

    name: str  # "cuda:0"
    tensors: str  # the device as torch names it
    bench: Bench
    landing: Landing

    def current(self) -> AbstractContextManager[None]:
        """What CuPy and torch do inside of it is queued here, in order; nothing is waited for."""
        ...

    def held(self, work: Callable[[], Any]) -> Callable[[], Any]:
        """`work` on tensors that stay where they are, in a form that is quick to repeat; it fills the same outputs.

        They are to be used up before any other held work of the lane is repeated: all of them share their memory.
        """
        ...

    def release(self) -> None:
        """Give memory that nobody uses back to the device."""
        ...


@final
class CudaLane:
    """A torch stream that is also CuPy's, whose memory comes from torch's caching allocator; a `Lane`.

    Planes of decoded frames come from CuPy's own pool: their decoders make them in other threads. They are complete
    when a frame is given out, and their frames are held until a batch's event has passed, so that no stream waits for
    another one.

    Args:
        index: of the GPU.
    """

    def __init__(self, index: int = 0) -> None:
        import cupy
        import torch

        self.name = self.tensors = f"cuda:{index}"
        self.bench: Bench = CudaBench()
        self.landing: Landing = PinnedLanding()
        self._torch: Any = torch
        self._cupy: Any = cupy
        self._index = index
        self._stream: Any = self._torch.cuda.Stream(device=index)
        self._side: Any = self._torch.cuda.Stream(device=index)  # where graphs are captured: memory goes by streams
        with cupy.cuda.Device(index):
            self._cupy_stream = cupy.cuda.Stream.from_external(self._stream)
        self._allocator = cupy.cuda.PythonFunctionAllocator(self._take, self._give)
        self._graph_memory = torch.cuda.graph_pool_handle()
        plain_convolutions()

    def _take(self, size: int, index: int) -> int:
        taken: int = self._torch.cuda.caching_allocator_alloc(size, index, self._stream)
        return taken

    def _give(self, address: int, index: int, is_ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if is_ending():  # arrays that are kept for the whole process outlive torch's allocator
            return
        self._torch.cuda.caching_allocator_delete(address)

    @contextmanager
    def current(self) -> Iterator[None]:
        cuda, cupy = self._torch.cuda, self._cupy.cuda
        with (
            cuda.device(self._index),
            cuda.stream(self._stream),
            cupy.Device(self._index),
            self._cupy_stream,
            cupy.using_allocator(self._allocator.malloc),
        ):
            yield

    def held(self, work: Callable[[], Any]) -> Callable[[], Any]:
        """A CUDA graph, or `work` as it is where the device refuses one.

        Decoders may allocate in their threads while it is captured.
        """
        cuda, side = self._torch.cuda, self._side
        side.wait_stream(self._stream)
        with cuda.stream(side):
            for _ in range(WARM_UP):
                work()
        self._stream.wait_stream(side)
        fault = ""
        for _ in range(ATTEMPTS):
            try:
                return self._captured(work)
            except RuntimeError as error:
                if is_out_of_memory(error) or not is_fault(error):
                    raise
                fault = str(error).partition("\n")[0]
                self._graph_memory = cuda.graph_pool_handle()  # torch may take the old one for still being filled
        log.warning("%s makes no CUDA graph (%s); slower without one", self.name, fault)
        return work

    def _captured(self, work: Callable[[], Any]) -> "Captured":
        cuda, side = self._torch.cuda, self._side
        graph = cuda.CUDAGraph()
        with (
            ONE_AT_A_TIME,
            cuda.stream(side),  # ends also where the next one fails to
            cuda.graph(graph, pool=self._graph_memory, stream=side, capture_error_mode="thread_local"),
        ):
            outputs = work()
        return Captured(graph, outputs, work)

    def release(self) -> None:
        with ONE_AT_A_TIME, self._cupy.cuda.Device(self._index):
            self._cupy.get_default_memory_pool().free_all_blocks()
            self._torch.cuda.empty_cache()


@final
@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """A CUDA graph with everything it reads and writes: by itself it holds addresses, not memory."""

    graph: Any
    outputs: Any
    work: Callable[[], Any]  # that was captured: what it refers to has to stay where it is

    def __call__(self) -> Any:
        self.graph.replay()
        return self.outputs


def as_tensor(array: Any) -> Any:
    """The torch tensor in the same memory as an array of CuPy or NumPy."""
    import torch

    from_dlpack: Any = torch.utils.dlpack.from_dlpack
    return from_dlpack(array)


def as_array(xp: Any, tensor: Any) -> Any:
    """The array of `xp` in the same memory as a torch tensor."""
    return xp.from_dlpack(tensor)
