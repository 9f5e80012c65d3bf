"""A lane's CUDA graphs, on a stand-in for torch: what they keep, and what happens where none can be made."""

import logging
import weakref
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stream_detect.cuda.float32 import plain_convolutions
from stream_detect.cuda.stream import WARM_UP, CudaLane


class Stream:
    def __init__(self, device=None):
        self.waited_for = []

    def wait_stream(self, other):
        self.waited_for.append(other)


class Graph:
    replays = 0

    def replay(self):
        self.replays += 1


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


class StandInTorch:
    """What a lane asks of `torch.cuda`; `fails` is raised by a capture."""

    def __init__(self):
        self.current = [None]
        self.captures = []
        self.fails = None
        self.cuda = SimpleNamespace(Stream=Stream, CUDAGraph=Graph, stream=self.stream, graph=self.graph)
        self.cuda.graph_pool_handle = lambda: "fresh pool"

    @contextmanager
    def stream(self, stream):
        before = list(self.current)
        self.current.append(stream)
        try:
            yield
        finally:
            self.current[:] = before

    @contextmanager
    def graph(self, graph, pool, stream, capture_error_mode):
        self.captures.append((pool, stream, capture_error_mode))
        self.current.append(stream)  # as torch has it: not set back where a capture fails
        if self.fails is not None:
            raise self.fails
        yield
        self.current.pop()


@pytest.fixture
def lane():
    lane = CudaLane.__new__(CudaLane)
    lane.name, lane._torch, lane._index = "cuda:0", StandInTorch(), 0
    lane._stream, lane._side, lane._graph_memory = Stream(), Stream(), "pool"
    return lane


def test_a_graph_keeps_what_it_reads(lane):
    class Anchors:
        pass

    def hold():
        anchors = Anchors()
        return lane.held(lambda: anchors is not None), weakref.ref(anchors)

    held, anchors = hold()
    assert held() is True
    assert anchors() is not None, "a graph knows addresses alone: freed memory would be another tensor's"
    assert held.graph.replays == 1
    del held
    assert anchors() is None


def test_all_graphs_are_captured_on_one_stream_and_share_their_memory(lane):
    runs = []
    for _ in range(3):
        lane.held(lambda: runs.append(lane._torch.current[-1]))
    assert lane._torch.captures == [("pool", lane._side, "thread_local")] * 3
    assert runs == [lane._side] * 3 * (WARM_UP + 1)
    assert lane._torch.current == [None]


def test_without_graphs_work_is_done_as_it_is(lane, caplog):
    lane._torch.fails = RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")
    with caplog.at_level(logging.WARNING):
        held = lane.held(lambda: "said")
    assert held() == "said"
    assert lane._torch.current == [None]
    lane._torch.fails = None
    assert lane.held(lambda: "more")() == "more"
    assert [pool for pool, *_ in lane._torch.captures] == ["pool", "fresh pool", "fresh pool"]
    (record,) = caplog.records
    assert record.getMessage() == (
        "cuda:0 makes no CUDA graph (CUDA error: operation not permitted when stream is capturing); slower without one"
    )


@pytest.mark.parametrize("error", [OutOfMemoryError("CUDA out of memory"), RuntimeError("a shape doesn't fit")])
def test_other_faults_while_capturing_are_told(lane, error):
    lane._torch.fails = error
    with pytest.raises(type(error), match=str(error)):
        lane.held(lambda: None)


def test_memory_is_not_given_back_while_the_process_ends(lane):
    given = []
    lane._torch.cuda.caching_allocator_delete = given.append
    lane._give(16, 0)
    lane._give(32, 0, is_ending=lambda: True)
    assert given == [16]


def test_plain_convolutions_leave_torch_s_switches_readable():
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32
    try:
        plain_convolutions()
        assert cudnn.conv.fp32_precision == "ieee"
        assert cudnn.allow_tf32 is False  # with the new switch alone torch raises here
        with cudnn.flags(enabled=True, allow_tf32=False):
            assert np.isfinite(torch.ones(1).numpy()).all()
    finally:
        cudnn.allow_tf32 = before
