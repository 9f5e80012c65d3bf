"""What does the loop pay for each frame that `--overlay` sends or writes, and what does the process beside it take?

    python -m benchmarks.overlay [--frames 600] [--quick]

Frames of 720p, 30 a second, with two faces each are given in turn to nothing, to a publisher whose server takes them,
to one whose server is away, and to a file. The server is GStreamer's; frames are as a decoder gives them (4:2:0).
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.common import Timing, at_least, at_most, finish, metadata, on_one_thread, parser_of, rounded, show_table
from benchmarks.stream import NO_SERVER
from stream_detect.bench.machine import Usage
from stream_detect.decode.frame import Frame
from stream_detect.overlay import OverlayPublisher, OverlayWriter
from stream_detect.types import FaceVerdict, FrameVerdict
from tests.requirements import has_gstreamer
from tests.servers.ports import free_port
from tests.servers.record import RecordingServer

FPS, HEIGHT, WIDTH = 30, 720, 1280
FRAMES, QUICK_FRAMES, WARM_UP = 600, 60, 30
START_S, SETTLE_S = 60.0, 1.0  # until the server has pictures; until the process has told its figures
MOST_MS, LEAST_SHARE = 1.0, 0.95
NOTHING, SERVER, AWAY, FILE = "nothing", "a server", "a server that is away", "a file"


def main(arguments: list[str] | None = None) -> Path:
    args = parse(arguments)
    about = metadata()
    on_one_thread()
    with tempfile.TemporaryDirectory(prefix="stream-detect-bench-") as folder, ExitStack() as stack:
        server = stack.enter_context(RecordingServer(Path(folder)))
        sent = stack.enter_context(OverlayPublisher(server.url))
        away = stack.enter_context(OverlayPublisher(f"rtsp://127.0.0.1:{free_port()}/live"))
        file = stack.enter_context(OverlayWriter(Path(folder) / "out.mp4"))
        begin(sent)
        measured = measure({NOTHING: None, SERVER: sent, AWAY: away, FILE: file}, args.frames, sent)
    result: dict[str, Any] = {
        "question": f"what does the loop pay for each frame of 720p{FPS} that is sent or written",
        "about": about,
        "settings": {"frames": args.frames, "fps": FPS, "height": HEIGHT, "width": WIDTH, "faces": 2},
        **measured,
    }
    result["targets"] = targets(result)
    show(result)
    return finish("overlay", result, args)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--frames", type=int, help=f"given to each; {FRAMES} by default")
    args = parser.parse_args(arguments)
    args.frames = args.frames or (QUICK_FRAMES if args.quick else FRAMES)
    if not has_gstreamer():
        sys.exit(NO_SERVER)
    return args


def pictures(number: int = 8) -> list[tuple[np.ndarray, ...]]:
    """Moving clouds with some noise: about what a camera's picture costs an encoder."""
    rng = np.random.default_rng(0)
    shapes = ((HEIGHT, WIDTH), (HEIGHT // 2, WIDTH // 2), (HEIGHT // 2, WIDTH // 2))
    base = [np.kron(rng.integers(60, 190, (9, 16)), np.ones((h // 9, w // 16))) for h, w in shapes]
    return [
        tuple(np.clip(np.roll(one, 8 * i, 1) + rng.normal(0, 2, one.shape), 0, 255).astype(np.uint8) for one in base)
        for i in range(number)
    ]


def said(number: int) -> FrameVerdict:
    experts = dict.fromkeys(("spectrum", "residual", "color", "mesonet", "attention"), 0.5)
    boxes = ((200.0, 200.0, 400.0, 440.0), (800.0, 180.0, 1010.0, 450.0))
    faces = tuple(FaceVerdict(n, box, 0.4, -0.2, 0.4, "real", (), experts, 0.9) for n, box in enumerate(boxes, start=1))
    return FrameVerdict("bench", number, number / FPS, "2026-01-01T00:00:00.000Z", 20.0, faces, "run")


def begin(sent: OverlayPublisher) -> None:
    """Give frames until the server has some."""
    planes, until_s = pictures(1)[0], time.monotonic() + START_S
    while sent.sent < FPS:
        if time.monotonic() > until_s:
            sys.exit(f"the server got no picture within {START_S:g} s")
        number = round(time.monotonic() * FPS) % 10**6
        sent.write(Frame(planes, "yuv420", pts_s=number / FPS), said(number))
        time.sleep(1 / FPS)


def measure(
    to: Mapping[str, OverlayPublisher | OverlayWriter | None], frames: int, sent: OverlayPublisher
) -> dict[str, Any]:
    """Each is given every frame at its time; which comes first changes."""
    shown = pictures()
    names = list(to)
    wall, cpu = np.zeros((frames, len(names))), np.zeros((frames, len(names)))
    usage = Usage()
    process = psutil.Process(sent.pid)
    began_s, before, child_s = 0.0, (0, 0), 0.0
    for turn in range(-WARM_UP, frames):
        if turn == 0:
            time.sleep(SETTLE_S)
            began_s, before, child_s = time.monotonic(), (sent.sent, sent.counts["given"]), cpu_of(process)
        due_s = began_s + turn / FPS if turn > 0 else time.monotonic() + 1 / FPS
        time.sleep(max(0.0, due_s - time.monotonic()))
        verdict, planes = said(turn + WARM_UP), shown[turn % len(shown)]
        for column in np.roll(np.arange(len(names)), turn):
            one = to[names[column]]
            call: Callable[[Frame, FrameVerdict], None] = one.write if one is not None else do_nothing
            frame = Frame(planes, "yuv420", pts_s=verdict.pts_s)
            started_s, cpu_started_s = time.perf_counter(), time.process_time()
            call(frame, verdict)
            if turn >= 0:
                cpu[turn, column] = time.process_time() - cpu_started_s
                wall[turn, column] = time.perf_counter() - started_s
    seconds = time.monotonic() - began_s
    others = usage.cores()[1]
    child_ms = 1000 * (cpu_of(process) - child_s)
    time.sleep(SETTLE_S)
    num_sent, num_given = sent.sent - before[0], sent.counts["given"] - before[1]
    return {
        "subjects": {name: Timing(wall[:, i] * 1000, cpu[:, i] * 1000).to_json() for i, name in enumerate(names)},
        "process": {
            "cpu_ms_a_frame": rounded(child_ms / max(1, num_sent)),
            "cores": rounded(child_ms / 1000 / seconds),
            "given_share": rounded(num_given / frames),
            "sent_share": rounded(num_sent / frames),
            "encoder": sent.encoder,
        },
        "everything_else": None if others is None else rounded(others),
        "seconds": rounded(seconds),
    }


def do_nothing(frame: Frame, verdict: FrameVerdict) -> None:
    return


def cpu_of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def targets(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    subjects = result["subjects"]
    added = [rounded(subjects[name]["median_ms"] - subjects[NOTHING]["median_ms"]) for name in (SERVER, AWAY)]
    return [
        at_most("ms that the loop pays for a frame that is sent (median, less that of nothing)", MOST_MS, added[0]),
        at_most("the same while the server is away", MOST_MS, added[1]),
        at_least("share of the frames that are sent", LEAST_SHARE, result["process"]["sent_share"]),
    ]


def show(result: Mapping[str, Any]) -> None:
    rows = [(name, one["median_ms"], *one["iqr_ms"], one["cpu_median_ms"]) for name, one in result["subjects"].items()]
    show_table(("given to", "median ms", "25 %", "75 %", "processor ms"), rows)
    show_table(("the process that sends", ""), list(result["process"].items()))


if __name__ == "__main__":
    main()
