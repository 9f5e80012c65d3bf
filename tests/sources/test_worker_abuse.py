"""What a worker that was taken over, or a machine at its limits, can do to the process that it works for: nothing."""

import contextlib
import json
import math
import os
import random
import resource
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from stream_detect.errors import DecoderDied, SourceError
from stream_detect.sources.ring import PacketRing, remux
from stream_detect.sources.worker import remote
from stream_detect.sources.worker.messages import FAILED, FRAME, FRAME_BODY, HEAD, SLOTS, Line
from stream_detect.sources.worker.nursery import Share
from stream_detect.sources.worker.remote import WorkerOpener
from stream_detect.sources.worker.slots import Layout, SlotWriter
from tests import clips
from tests.faults.outage import assert_nothing_more_than, held
from tests.servers import RtspServer, mjpeg_server, serve_folder
from tests.sources.test_worker import ends, opened

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes that fork")
SHAPES = ((4, 6), (2, 3), (2, 3))


@pytest.fixture(scope="module", autouse=True)
def kept() -> Iterator[Share]:
    with Share() as share:
        share.nursery.fork().close()
        yield share


@pytest.fixture
def opener(kept: Share) -> Iterator[WorkerOpener]:
    """No thread, file, socket or process of it may be left."""
    before = held()
    opener = WorkerOpener()
    yield opener
    opener.close()
    kept.nursery.fate(0)  # has it look at once for workers that ended
    assert_nothing_more_than(before)


@pytest.fixture(scope="module")
def camera() -> Iterator[str]:
    with mjpeg_server(clips.numbered(20), fps=25) as address:
        yield address


@pytest.fixture
def said_by_a_worker(
    monkeypatch: pytest.MonkeyPatch, camera: str, opener: WorkerOpener
) -> Callable[[Callable[[socket.socket], None]], None]:
    """Has a connection hear what a function sends in place of its worker, and then the end."""

    def hear(tell: Callable[[socket.socket], None]) -> None:
        with opened(opener, camera, PacketRing(1 << 20)) as connection:
            ours, theirs = socket.socketpair()
            with contextlib.closing(Line(ours)) as line, theirs:
                monkeypatch.setattr(connection, "_line", line)
                tell(theirs)
                theirs.shutdown(socket.SHUT_WR)
                ends(connection)

    return hear


def memory_said(writer: SlotWriter, **instead: object) -> bytes:
    about = {"layout": "yuv420", "shapes": SHAPES, "slots": writer.layout.slots, "generation": 1, **instead}
    return json.dumps(about).encode()


def frame_said(*, pts_s: float = 1e6, age_s: float = 0.0, captured_s: float = math.nan, seen_s: float = 1e9) -> bytes:
    return FRAME_BODY.pack(1, 0, pts_s, time.monotonic() - age_s, captured_s, seen_s, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "instead",
    [
        {"layout": "rgb"},
        {"layout": "yuv444"},
        {"layout": "nv12"},
        {"layout": "gray"},
        {"layout": "xyz"},
        {"layout": None},
        {"shapes": ((4, 6), (2, 2), (2, 3))},
        {"shapes": ((4, 6, 3),)},
        {"shapes": (("a",),)},
        {"shapes": 7},
        {"slots": 1e400},
        {"slots": 9999},
        {"slots": None},
    ],
    ids=str,
)
def test_memory_that_is_no_picture_is_refused_and_let_go(said_by_a_worker, instead: dict[str, object]):
    with contextlib.closing(SlotWriter(Layout(SHAPES))) as writer, pytest.raises(DecoderDied):
        said_by_a_worker(lambda end: Line(end).send(SLOTS, memory_said(writer, **instead), files=(writer.file,)))


def test_files_that_belong_to_no_message_are_let_go(said_by_a_worker):
    with contextlib.closing(SlotWriter(Layout(SHAPES))) as writer:

        def two_for_one(end: socket.socket) -> None:
            Line(end).send(SLOTS, memory_said(writer), files=(writer.file, writer.file))

        def more_and_more(end: socket.socket) -> None:
            for _ in range(50):
                with contextlib.suppress(OSError):
                    socket.send_fds(end, [HEAD.pack(b"?", 0)], [writer.file] * 4)

        for tell in (two_for_one, more_and_more):
            with pytest.raises(DecoderDied):
                said_by_a_worker(tell)


@pytest.mark.parametrize(
    "about",
    [
        {"pts_s": math.nan},
        {"pts_s": math.inf},
        {"pts_s": -1.0},
        {"age_s": math.nan},
        {"age_s": -3600.0},
        {"captured_s": math.inf},
        {"seen_s": 1e300},
        {"seen_s": math.nan},
    ],
    ids=str,
)
def test_a_frame_of_no_possible_time_is_refused(said_by_a_worker, about: dict[str, float]):
    with contextlib.closing(SlotWriter(Layout(SHAPES))) as writer:
        writer.put([np.zeros(shape, np.uint8) for shape in SHAPES])

        def tell(end: socket.socket) -> None:
            Line(end).send(SLOTS, memory_said(writer), files=(writer.file,))
            Line(end).send(FRAME, frame_said())  # this one is fine
            Line(end).send(FRAME, frame_said(**{"pts_s": 2e6, **about}))
            Line(end).send(FAILED, b'{"error": "SourceEnded", "text": "it was taken"}')

        with pytest.raises(DecoderDied):
            said_by_a_worker(tell)


def test_whatever_comes_is_a_fault_of_the_source(said_by_a_worker):
    draws = random.Random(5)
    for _ in range(30):
        kind = draws.choice([b"O", b"F", b"E", b"S", b"f", b"p", b"t", b"b", b"?"])
        size = draws.choice([0, 3, HEAD.size, 13, 20, remote.FRAME_BODY.size, remote.PACKET_BODY.size + 9, 5000])
        body = draws.choice([draws.randbytes(size), b"[" * size, b'{"a":' * size, bytes(size), b"9" * size])
        with pytest.raises(SourceError):
            said_by_a_worker(lambda end, kind=kind, body=body: Line(end).send(kind, body))


def test_a_fault_has_one_of_our_words(said_by_a_worker):
    with pytest.raises(DecoderDied) as caught:
        said_by_a_worker(lambda end: Line(end).send(FAILED, b'{"error": "", "text": "x", "fault": "s3cret"}'))
    assert caught.value.fault == "decoder"


def test_a_message_that_comes_bit_by_bit_is_not_waited_for():
    ours, theirs = socket.socketpair()
    with contextlib.closing(Line(ours)) as line, theirs:
        is_over = threading.Event()

        def trickle() -> None:
            theirs.send(HEAD.pack(b"f", 1 << 20))
            while not is_over.wait(0.05):
                theirs.send(b"x")

        thread = threading.Thread(target=trickle)
        thread.start()
        began_s = time.monotonic()
        assert line.take(0.3) is None
        assert time.monotonic() - began_s < 1.5
        is_over.set()
        thread.join()


# Between connections, and many at once.


def test_drops_are_told_once(camera: str, opener: WorkerOpener):
    """A worker goes on telling between connections."""
    drops = Counter[str]()
    with opened(opener, camera, drops=drops) as connection:
        frames = connection.frames()
        next(frames)
        time.sleep(0.8)
        for _ in islice(frames, 12):
            pass
    told = drops["late"]
    assert told > 0
    time.sleep(0.6)
    with opened(opener, camera, drops=drops) as connection:
        for _ in islice(connection.frames(), 3):
            pass
    assert drops["late"] < 2 * told


def test_many_open_at_once(camera: str):
    before = held()
    openers = [WorkerOpener() for _ in range(6)]
    given = Counter[int]()

    def follow(number: int) -> None:
        with contextlib.closing(openers[number]) as opener:
            for _ in range(2):
                with opened(opener, camera) as connection:
                    given[number] += len([frame.index for frame in islice(connection.frames(), 5)])

    threads = [threading.Thread(target=follow, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert given == dict.fromkeys(range(6), 10)
    assert_nothing_more_than(before)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="no other process's limits can be set")
def test_a_machine_that_has_no_more_files_or_processes_ends_no_worker(camera: str, opener: WorkerOpener, kept: Share):
    with opened(opener, camera) as connection:
        frames = connection.frames()
        next(frames)
        pid = opener.pid
        nursery = psutil.Process(pid).parent()
        assert nursery is not None
        before = resource.prlimit(nursery.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(nursery.pid, resource.RLIMIT_NOFILE, (3, before[1]))
        with contextlib.closing(WorkerOpener()) as other:
            with pytest.raises(DecoderDied, match="open files"):
                opened(other, camera)
            resource.prlimit(nursery.pid, resource.RLIMIT_NOFILE, before)
            with opened(other, camera) as another:
                next(another.frames())
        assert len(list(islice(frames, 5))) == 5
        assert opener.pid == pid
        assert nursery.is_running()


def test_abort_never_waits_for_a_process_that_starts(monkeypatch: pytest.MonkeyPatch, camera: str):
    class Slow(Share):
        def __init__(self) -> None:
            is_starting.set()
            time.sleep(1.0)
            super().__init__()

    is_starting = threading.Event()
    monkeypatch.setattr(remote, "Share", Slow)
    with contextlib.closing(WorkerOpener()) as opener:
        thread = threading.Thread(target=lambda: opened(opener, camera).close())
        thread.start()
        is_starting.wait(5)
        began_s = time.monotonic()
        opener.abort()
        assert time.monotonic() - began_s < 0.5
        thread.join()


def test_a_read_that_hangs_can_be_aborted_from_another_thread(camera: str, opener: WorkerOpener):
    with opened(opener, camera) as connection:
        frames = connection.frames()
        next(frames)
        assert opener.pid is not None
        os.kill(opener.pid, signal.SIGSTOP)
        timer = threading.Timer(0.3, opener.abort)
        timer.start()
        began_s = time.monotonic()
        with pytest.raises(DecoderDied, match="SIGKILL"):
            for _ in frames:
                pass
        assert time.monotonic() - began_s < 1.8  # before anybody notices that it says nothing
        timer.join()


# Whole streams.


def test_every_frame_of_a_file_comes_by_http_to_whoever_is_slow(tmp_path: Path, opener: WorkerOpener):
    clips.write_clip(tmp_path / "clip.mp4", clips.numbered(60))
    drops = Counter[str]()
    with serve_folder(tmp_path) as address, opened(opener, f"{address}/clip.mp4", drops=drops) as connection:
        indices = []
        for frame in connection.frames():
            indices.append(frame.index)
            time.sleep(0.01)
    assert indices == list(range(60))
    assert not drops


@pytest.mark.services
def test_frames_by_rtsp_are_those_of_the_packets_that_came_along(tmp_path: Path, opener: WorkerOpener):
    ring, drops = PacketRing(8 << 20), Counter[str]()
    with RtspServer() as server, opened(opener, server.url, ring, drops) as connection:
        frames = [[plane.copy() for plane in frame.planes] for frame in islice(connection.frames(), 30)]
    assert remux(ring.since(0.0), tmp_path / "clip.mkv") >= 30
    with av.open(str(tmp_path / "clip.mkv")) as clip:
        again = iter([frame.to_ndarray(format="yuv420p") for frame in clip.decode(video=0)])
    for y, u, v in frames:  # in this order, whatever was dropped between
        whole = np.concatenate([y.reshape(-1), u.reshape(-1), v.reshape(-1)])
        assert any(np.array_equal(whole, other.reshape(-1)) for other in again)
    assert drops.total() < 10
