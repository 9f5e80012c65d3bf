"""Worker processes: the same frames as in a thread, whatever happens to the process, and nothing left behind."""

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from stream_detect.decode.clock import StreamClock
from stream_detect.decode.frame import Frame
from stream_detect.errors import DecoderDied, SourceError, SourceNotFound, SourceTimeout
from stream_detect.sources import SourceOptions, open_source
from stream_detect.sources.address import Source
from stream_detect.sources.opening import Connection, Opener, ThreadOpener, opener_for
from stream_detect.sources.ring import PacketRing
from stream_detect.sources.worker import remote
from stream_detect.sources.worker.messages import FRAME, OPEN, SLOTS, Gone, Line
from stream_detect.sources.worker.nursery import Share
from stream_detect.sources.worker.remote import WorkerOpener
from stream_detect.sources.worker.slots import Layout, SlotReader, SlotWriter
from tests import clips
from tests.faults.outage import assert_nothing_more_than, held
from tests.servers import mjpeg_server, serve_folder, silent_server

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes that fork")
SECRET = "s3cret-in-the-url"


@pytest.fixture(scope="module", autouse=True)
def kept() -> Iterator[Share]:
    """One nursery for most of the tests: it takes as long to start as they all take to run."""
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
    opener.close()
    assert opener.pid is None
    time.sleep(0.02)
    kept.nursery.fate(0)  # has it look at once for workers that ended
    assert_nothing_more_than(before)


@pytest.fixture(scope="module")
def camera() -> Iterator[str]:
    """The address of one that never ends."""
    with mjpeg_server(clips.numbered(20), fps=25) as address:
        yield address


def test_what_is_left_for_good_is_ended_also_where_it_only_begins(kept: Share):
    with silent_server() as port:
        opener = WorkerOpener()
        opener.abort(for_good=True)
        started_s = time.monotonic()
        with pytest.raises(DecoderDied):
            opened(opener, f"rtsp://127.0.0.1:{port}/live")
        assert time.monotonic() - started_s < 2
        opener.close()


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_pictures_that_can_not_be_decoded_are_counted_up_to_the_end(isolation: str, tmp_path: Path, kept: Share):
    path = spoilt(clips.write_clip(tmp_path / "whole.mkv", clips.numbered(30), codec="mjpeg"), tmp_path / "a.mkv", 20)
    opener, drops = (ThreadOpener() if isolation == "thread" else WorkerOpener()), Counter[str]()
    with opened(opener, path, drops=drops) as connection:
        assert len(list(connection.frames())) == 20
    opener.close()
    assert drops["corrupt"] == 10


def test_beats_out_of_order_count_nothing_twice():
    drops: Counter[str] = Counter()
    source = open_source("rtsp://127.0.0.1/live")
    end, other = socket.socketpair()
    with end, other:
        connection = remote.RemoteConnection(WorkerOpener(), Line(end), source, StreamClock(True), None, drops, 0)
        for late in (4, 5, 4, 5, 6):
            connection._count(late, 0)
    assert drops["late"] == 6


def spoilt(whole: Path, path: Path, number: int) -> Path:
    """A copy whose packets after so many hold nothing that could be decoded."""
    with av.open(str(whole)) as given, av.open(str(path), "w") as copy:
        stream = copy.add_stream_from_template(given.streams.video[0])
        for index, packet in enumerate(packet for packet in given.demux() if packet.size):
            sent = packet if index < number else av.Packet(b"garbage!" * 8)
            sent.pts, sent.dts, sent.time_base, sent.stream = packet.pts, packet.dts, packet.time_base, stream
            copy.mux(sent)
    return path


def opened(
    opener: Opener,
    address: str | Path,
    ring: PacketRing | None = None,
    drops: Counter[str] | None = None,
    clock: StreamClock | None = None,
    **options: float,
) -> Connection:
    source = open_source(str(address), options=SourceOptions(**options))  # type: ignore[arg-type]
    clock = clock or StreamClock(source.is_live)
    return opener.open(
        source, clock=clock, ring=ring, drops=Counter() if drops is None else drops, first_index=0, may_skip=False
    )


def described(frame: Frame) -> tuple[object, ...]:
    return frame.pts_s, frame.index, frame.layout, frame.matrix, frame.is_full_range, frame.is_corrupt, frame.source


def assert_same(ours: list[Frame], theirs: list[Frame]) -> None:
    assert [described(frame) for frame in ours] == [described(frame) for frame in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert all(np.array_equal(*planes) for planes in zip(one.planes, other.planes, strict=True))


def ends(connection: Connection) -> None:
    for _ in connection.frames():
        pass


def wait_until_gone(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        until_s = time.monotonic() + 5
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < until_s, "still there"
            time.sleep(0.02)


# What comes out.


@pytest.mark.parametrize("name", ["face.mp4", "full range.avi", "high.mkv"])
def test_a_worker_gives_the_frames_that_a_thread_gives(tmp_path: Path, opener: WorkerOpener, name: str):
    codec, pix_fmt = {"avi": ("mjpeg", None), "mkv": ("h264", "yuv444p")}.get(name[-3:], ("h264", None))
    clip = clips.write_clip(tmp_path / name, clips.talking_head(20, 120, 160, 60), codec=codec, pix_fmt=pix_fmt)
    rings = PacketRing(1 << 20), PacketRing(1 << 20)
    with opened(opener, clip, rings[0]) as ours, opened(ThreadOpener(), clip, rings[1]) as theirs:
        frames = list(ours.frames()), list(theirs.frames())  # all kept, more than there are slots
        assert_same(*frames)
        assert len(frames[0]) == 20
        assert (ours.ends, ours.comes_in_bursts, ours.warning) == (theirs.ends, theirs.comes_in_bursts, theirs.warning)
    assert rings[0].since(0.0) == rings[1].since(0.0)
    assert len(rings[0]) == 20


def test_pictures_may_change_their_size_midway(tmp_path: Path, opener: WorkerOpener):
    sizes = [(64, 96), (120, 160), (64, 96)]
    parts = [clips.write_clip(tmp_path / f"{i}.ts", clips.scenery(6, *size)) for i, size in enumerate(sizes)]
    clip = tmp_path / "all.ts"
    clip.write_bytes(b"".join(part.read_bytes() for part in parts))
    with opened(opener, clip) as ours, opened(ThreadOpener(), clip) as theirs:
        frames = list(ours.frames())
        assert_same(frames, list(theirs.frames()))
    assert len({(frame.height, frame.width) for frame in frames}) == 2


def test_a_worker_serves_one_connection_after_the_other(face_clip: Path, opener: WorkerOpener):
    """Also where the one before was left in the middle, with frames still held."""
    held_frames, pids = [], set()
    for _ in range(3):
        with opened(opener, face_clip) as connection:
            held_frames += list(islice(connection.frames(), 4))
            pids.add(opener.pid)
    assert len(pids) == 1
    with opened(opener, face_clip) as connection:
        again = list(connection.frames())
    assert len(again) == 10
    assert all(np.array_equal(a.planes[0], b.planes[0]) for a, b in zip(held_frames, again[:4] * 3, strict=True))


def test_time_goes_on_from_one_connection_to_the_next(camera: str, opener: WorkerOpener):
    clock = StreamClock(is_live=True)
    with opened(opener, camera, clock=clock) as connection:
        before = list(islice(connection.frames(), 5))
    time.sleep(0.5)
    with opened(opener, camera, clock=clock) as connection:
        after = list(islice(connection.frames(), 5))
    assert after[0].pts_s - before[-1].pts_s == pytest.approx(after[0].arrived_s - before[-1].arrived_s, abs=0.2)


def test_frames_of_a_live_source_that_nobody_takes_are_dropped_and_counted(camera: str, opener: WorkerOpener):
    drops = Counter[str]()
    with opened(opener, camera, drops=drops) as connection:
        frames = connection.frames()
        next(frames)
        time.sleep(1.0)  # 25 come, 8 find a slot
        later = next(frame for frame in frames if time.monotonic() - frame.arrived_s < 0.3)
    assert 8 <= drops["late"] <= 20
    assert later.index <= 12


def test_a_file_waits_for_whoever_reads_it(face_clip: Path, opener: WorkerOpener):
    drops = Counter[str]()
    with opened(opener, face_clip, drops=drops) as connection:
        frames = connection.frames()
        next(frames)
        time.sleep(0.5)
        assert len(list(frames)) == 9
    assert not drops.total()


def test_whoever_keeps_a_frame_can_not_write_to_it(face_clip: Path, opener: WorkerOpener):
    with opened(opener, face_clip) as connection:
        frame = next(connection.frames())
    with pytest.raises(ValueError, match="read-only"):
        frame.planes[0][0, 0] = 0


# What goes wrong.


def test_errors_come_as_what_they_are(tmp_path: Path, opener: WorkerOpener):
    with serve_folder(tmp_path) as address:
        place = address.replace("http://", f"http://user:{SECRET}@")
        with pytest.raises(SourceNotFound, match="404") as caught:
            opened(opener, f"{place}/nothing.mp4")
        with pytest.raises(SourceNotFound) as plain:
            opened(ThreadOpener(), f"{place}/nothing.mp4")
    assert str(caught.value) == str(plain.value)
    assert caught.value.fault == plain.value.fault
    assert SECRET not in str(caught.value)


def test_a_killed_worker_is_said_and_replaced_within_half_a_second(camera: str, opener: WorkerOpener):
    with opened(opener, camera) as connection:
        frames = connection.frames()
        kept_frame, pid = next(frames), opener.pid
        before = kept_frame.planes[0].copy()
        killed_s = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(DecoderDied, match="SIGKILL"):
            ends(connection)
    with opened(opener, camera) as connection:
        next(connection.frames())
        assert time.monotonic() - killed_s < 1.5  # .1 s on a machine with nothing else to do
        assert opener.pid not in (None, pid)
    assert np.array_equal(kept_frame.planes[0], before)


def test_a_worker_that_crashes_in_a_decoder_is_named(camera: str, opener: WorkerOpener):
    with opened(opener, camera) as connection:
        os.kill(opener.pid, signal.SIGSEGV)
        with pytest.raises(DecoderDied, match="SIGSEGV"):
            ends(connection)


def test_a_worker_that_stops_is_ended(camera: str, opener: WorkerOpener):
    with opened(opener, camera) as connection:
        next(connection.frames())
        pid, stopped_s = opener.pid, time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(DecoderDied, match="said nothing for 2 s"):
            ends(connection)
        assert time.monotonic() - stopped_s < 3
    wait_until_gone(pid)


def test_an_opening_that_hangs_can_be_aborted_from_another_thread(opener: WorkerOpener):
    with silent_server() as port:
        timer = threading.Timer(0.5, opener.abort)
        timer.start()
        began_s = time.monotonic()
        with pytest.raises(DecoderDied):
            opened(opener, f"http://127.0.0.1:{port}/x", open_timeout_s=10)
        assert time.monotonic() - began_s < 2.5
        timer.join()


def test_abort_leaves_a_worker_without_a_connection_alone(face_clip: Path, opener: WorkerOpener):
    with opened(opener, face_clip) as connection:
        ends(connection)
        pid = opener.pid
    opener.abort()
    with opened(opener, face_clip) as connection:
        ends(connection)
        assert opener.pid == pid


def test_silence_of_a_source_is_no_fault_of_its_worker(opener: WorkerOpener):
    with silent_server() as port, pytest.raises(SourceTimeout, match="nothing came"):
        opened(opener, f"http://127.0.0.1:{port}/x", open_timeout_s=0.5, read_timeout_s=0.5)
    assert opener.pid


def test_a_source_that_dies_harms_no_other(camera: str, opener: WorkerOpener):
    other = WorkerOpener()
    with contextlib.closing(other), opened(opener, camera) as ours, opened(other, camera) as theirs:
        frames = theirs.frames()
        next(frames)
        os.kill(opener.pid, signal.SIGKILL)
        with pytest.raises(DecoderDied):
            ends(ours)
        assert [frame.index for frame in islice(frames, 10)] == list(range(1, 11))


def test_nonsense_from_a_worker_ends_it_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, face_clip: Path, opener: WorkerOpener
):
    """A bad stream may have taken it over: nothing that it can send does more than end it."""
    for kind, body in [
        (FRAME, b"short"),
        (FRAME, bytes(remote.FRAME_BODY.size)),
        (SLOTS, b"{}"),
        (SLOTS, b'{"layout": "yuv420", "shapes": [[-1]], "slots": 8, "generation": 1}'),
        (b"E", b"[]"),
        (b"E", b"\xff"),
        (b"F", b"{"),
        (b"b", b"?"),
        (b"p", b""),
    ]:
        with opened(opener, face_clip, PacketRing(1 << 20)) as connection:
            ours, theirs = socket.socketpair()
            with contextlib.closing(Line(ours)) as line, theirs:
                monkeypatch.setattr(connection, "_line", line)
                Line(theirs).send(kind, body)
                theirs.shutdown(socket.SHUT_WR)
                with pytest.raises(SourceError):
                    ends(connection)
            assert opener.pid is None


# Who lives how long.


def in_a_script(tmp_path: Path, lines: str) -> subprocess.Popen[str]:
    """A user's program, without a guard for `__main__`."""
    path = tmp_path / "program.py"
    path.write_text(
        "import sys, time\n"
        "from stream_detect.sources import Reader, SourceOptions, open_source\n"
        "print('begun', flush=True)\n" + lines
    )
    command = [sys.executable, str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, start_new_session=True)


FOLLOW = """
from collections import Counter
from stream_detect.decode.clock import StreamClock
from stream_detect.sources.opening import opener_for
source = open_source(sys.stdin.readline().strip())
opener = opener_for(source)
given = opener.open(source, clock=StreamClock(True), ring=None, drops=Counter(), first_index=0, may_skip=False)
frames = given.frames()
next(frames)
print(opener.pid, flush=True)
for frame in frames: pass
"""


def test_workers_end_with_their_program_however_it_ends_and_never_show_an_address(tmp_path: Path, camera: str):
    address = camera.replace("http://", f"http://user:{SECRET}@") + f"/live?key={SECRET}"
    with in_a_script(tmp_path, FOLLOW) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(f"{address}\n")
        program.stdin.flush()
        assert program.stdout.readline() == "begun\n"
        worker = int(program.stdout.readline())
        children = psutil.Process(program.pid).children(recursive=True)
        assert worker in [child.pid for child in children]
        assert len(children) == 2  # the nursery and the worker
        for child in children:
            assert SECRET not in " ".join(child.cmdline())
            assert SECRET not in str(child.environ())
            child.send_signal(signal.SIGINT)  # Ctrl-C, and a service manager's end, are the program's matter
            child.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert all(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
        program.kill()
        for child in children:
            wait_until_gone(child.pid)
        assert program.stdout.read() == ""  # the program was not run a second time


def test_a_nursery_outlives_the_thread_that_started_it_and_ends_with_the_last_share(kept: Share, camera: str):
    kept.close()  # Linux ties a child's end to a thread, if one asks for that carelessly
    try:
        before = held()
        openers: list[WorkerOpener] = []

        def begin() -> None:
            openers.append(WorkerOpener())
            opened(openers[0], camera).close()

        thread = threading.Thread(target=begin)
        thread.start()
        thread.join()
        pid = openers[0].pid
        time.sleep(0.3)
        with opened(openers[0], camera) as connection:
            next(connection.frames())
            assert openers[0].pid == pid
        openers[0].close()
        assert_nothing_more_than(before)
    finally:
        Share.__init__(kept)


def test_a_killed_nursery_is_replaced(camera: str):
    opener = WorkerOpener()
    with contextlib.closing(opener):
        with opened(opener, camera) as connection:
            next(connection.frames())
            nursery = psutil.Process(opener.pid).parent()
            assert nursery is not None
            nursery.kill()
            with pytest.raises(DecoderDied):  # its workers go with it
                ends(connection)
        with opened(opener, camera) as connection:
            next(connection.frames())


def test_descriptors_of_workers_are_not_inherited(camera: str, opener: WorkerOpener):
    before = set(os.listdir("/proc/self/fd"))
    with opened(opener, camera) as connection:
        frame = next(connection.frames())
        for file in set(os.listdir("/proc/self/fd")) - before:
            with contextlib.suppress(OSError):
                assert not os.get_inheritable(int(file))
        del frame


def test_which_sources_have_a_process_of_their_own(camera: str, face_clip: Path):
    def kind(source: Source) -> type:
        opener = opener_for(source)
        with contextlib.closing(opener):
            return type(opener)

    assert kind(open_source(camera)) is WorkerOpener
    assert kind(open_source(camera, options=SourceOptions(isolation="thread"))) is ThreadOpener
    assert kind(open_source(str(face_clip))) is ThreadOpener
    assert kind(open_source(str(face_clip), options=SourceOptions(isolation="process"))) is WorkerOpener


# Memory and messages.


def test_a_slot_is_free_again_when_the_last_array_over_it_is_gone():
    layout = Layout(((4, 6), (2, 3), (2, 3)), slots=4)
    with contextlib.closing(SlotWriter(layout)) as writer:
        reader = SlotReader(writer.file, layout)
        planes = [np.full(shape, 7, np.uint8) for shape in layout.shapes]
        assert [writer.put(planes) for _ in range(5)] == [0, 1, 2, 3, None]
        for number in (2, 3):
            reader.take(number)  # gone at once: as where much is taken, it is a copy
        taken = reader.take(0)
        row = taken[1][0]
        assert not row.flags.writeable
        del taken
        assert [writer.put(planes), writer.put(planes), writer.put(planes)] == [2, 3, None]
        del row
        assert writer.put(planes) == 0


def test_whoever_keeps_many_frames_keeps_copies():
    layout = Layout(((4, 6),), slots=4)
    with contextlib.closing(SlotWriter(layout)) as writer:
        reader = SlotReader(writer.file, layout)
        everything = []
        for value in range(20):
            number = writer.put([np.full((4, 6), value, np.uint8)])
            assert number is not None
            everything.append(reader.take(number)[0])
        assert [int(plane[0, 0]) for plane in everything] == list(range(20))


@pytest.mark.parametrize(
    ("shapes", "slots"), [([], 8), ([[0, 4]], 8), ([[-1, 4]], 8), ([[4, 4]], 0), ([[4, 4]], 65), ([[1 << 20] * 2], 8)]
)
def test_a_layout_that_can_not_be_meant_is_refused(shapes: list[list[int]], slots: int):
    with pytest.raises(ValueError, match="no layout of pictures"):
        Layout.checked(shapes, slots)


def test_memory_that_is_too_small_or_could_shrink_is_refused(tmp_path: Path):
    layout = Layout(((64, 64),))
    with contextlib.closing(SlotWriter(layout)) as writer:
        with pytest.raises(ValueError, match="bytes of shared memory"):
            SlotReader(writer.file, Layout(((640, 640),)))
        with pytest.raises(OSError, match="not permitted"):
            os.ftruncate(writer.file, 0)
    if hasattr(os, "memfd_create"):
        loose = os.memfd_create("loose")
        os.ftruncate(loose, layout.num_bytes)
        with pytest.raises(ValueError, match="not sealed"):
            SlotReader(loose, layout)
        os.close(loose)


def test_a_message_comes_whole_however_it_was_cut():
    ours, theirs = socket.socketpair()
    line = Line(ours)
    with contextlib.closing(line), theirs:
        body = os.urandom(300_000)
        sender = threading.Thread(target=Line(theirs).send, args=(OPEN, body))
        sender.start()
        message = line.take(5.0)
        sender.join()
        assert message is not None
        assert (message.kind, message.body) == (OPEN, body)
        assert line.take(0.01) is None
        theirs.send(b"o\xff\xff\xff\xff")
        with pytest.raises(Gone, match="4294967295 bytes"):
            line.take(1.0)


def test_the_other_side_going_is_told_to_whoever_waits():
    ours, theirs = socket.socketpair()
    with contextlib.closing(Line(ours)) as line:
        theirs.close()
        with pytest.raises(Gone):
            line.take(1.0)
        with pytest.raises(Gone):
            line.send(OPEN, pickle.dumps(()))
