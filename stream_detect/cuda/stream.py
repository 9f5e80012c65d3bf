"""The one queue of work on a GPU: a stream and a memory pool that CuPy and torch share, and CUDA graphs on it.

Whoever works there is written against `Lane`, so that tests run the same code with NumPy and torch's CPU.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, final, runtime_checkable

from stream_detect.cuda.kernels import Bench, CudaBench
from stream_detect.cuda.transfers import Landing, PinnedLanding

WARM_UP = 3  # runs before a CUDA graph is captured: libraries choose their algorithms and take their memory in them


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
        """`work` on tensors that stay where they are, in a form that is quick to repeat; it fills the same outputs."""
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
        self._cupy_stream = cupy.cuda.Stream.from_external(self._stream)
        self._allocator = cupy.cuda.PythonFunctionAllocator(self._take, self._give)
        cudnn: Any = torch.backends.cudnn
        cudnn.conv.fp32_precision = "ieee"  # TF32's ten bits of mantissa move boxes by a pixel
        self._graph_memory = torch.cuda.graph_pool_handle()

    def _take(self, size: int, index: int) -> int:
        taken: int = self._torch.cuda.caching_allocator_alloc(size, index, self._stream)
        return taken

    def _give(self, address: int, index: int) -> None:
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
        """A CUDA graph. Decoders may allocate in their threads while it is captured."""
        cuda = self._torch.cuda
        side = cuda.Stream(device=self._index)
        side.wait_stream(self._stream)
        with cuda.stream(side):
            for _ in range(WARM_UP):
                work()
        self._stream.wait_stream(side)
        graph = cuda.CUDAGraph()
        with cuda.graph(graph, pool=self._graph_memory, stream=side, capture_error_mode="thread_local"):
            outputs = work()

        def again() -> Any:
            graph.replay()
            return outputs

        return again

    def release(self) -> None:
        self._cupy.get_default_memory_pool().free_all_blocks()
        self._torch.cuda.empty_cache()


def as_tensor(array: Any) -> Any:
    """The torch tensor in the same memory as an array of CuPy or NumPy."""
    import torch

    from_dlpack: Any = torch.utils.dlpack.from_dlpack
    return from_dlpack(array)


def as_array(xp: Any, tensor: Any) -> Any:
    """The array of `xp` in the same memory as a torch tensor."""
    return xp.from_dlpack(tensor)
