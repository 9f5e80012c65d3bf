"""Runs the demonstration: makes the clip, publishes it to a loopback address, watches it with the ordinary loop."""

import contextlib
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stream_detect.alerts import Line, Sink
from stream_detect.demo.clip import DemoClip, make_demo_clip
from stream_detect.demo.plots import save_plots
from stream_detect.demo.report import Recording
from stream_detect.errors import OutputError, SourceError, UsageError
from stream_detect.pipeline import Judge, Witness, watch
from stream_detect.sources import Source, SourceOptions, open_source
from stream_detect.types import Status

NAME = "demo"
PUBLISHER = Path(__file__).with_name("publish.py")  # run as a file: it needs nothing of ours, and starts faster
CLIP_NAMES = {True: "demo.mp4", False: "control.mp4"}
PLOT_NAMES = {True: "demo.png", False: "control.png"}
SLACK_S = 30.0  # beyond the clip's length, the run is given up
Tell = Callable[[str, int, int, str], None]  # step, done, of, detail


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """How the demonstration runs."""

    out: Path = Path("demo-out")  # the clip and the picture go here
    control: bool = False  # nothing is forged, so there must be no alert
    seconds: float | None = None  # length of the clip; None: 24, and 60 for the control
    seed: int = 0  # another seed, other movements and light

    def __post_init__(self) -> None:
        if self.seconds is not None and not self.seconds > 0:
            raise UsageError(f"seconds must be above 0, got {self.seconds}")

    @property
    def length_s(self) -> float:
        return self.seconds or (60.0 if self.control else 24.0)


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What came of it."""

    clip: DemoClip
    plot: Path
    recording: Recording

    @property
    def misbehaviour(self) -> str | None:
        """What went wrong, in words; None if there was an alert after the change and none before."""
        return self.recording.misbehaviour()


def run_demo(
    settings: DemoSettings,
    detector: Judge,
    sinks: Sequence[Sink] = (),
    clip: DemoClip | None = None,
    witness: Witness | None = None,
) -> DemoReport:
    """Watch the clip live, and leave a picture beside it.

    Args:
        detector: what `watch` takes.
        sinks: hear every line, as in `watch`.
        clip: what `make_clip` gave; it is made if it isn't given.
        witness: keeps evidence of the alert.

    Raises:
        OutputError: if the folder can't be written.
        UsageError: if what the extra `demo` brings is not installed.
        SourceError: if nothing could be received over loopback.
    """
    clip = clip or make_clip(settings)
    recording = watch_clip(clip, detector, sinks, witness)
    return DemoReport(clip, save_plots(recording, settings.out / PLOT_NAMES[not settings.control]), recording)


def make_clip(settings: DemoSettings, tell: Tell | None = None) -> DemoClip:
    """Make the clip in `settings.out`; `tell` hears how far it is.

    Raises:
        OutputError: if the folder can't be written.
        UsageError: if what the extra `demo` brings is not installed.
    """
    path, forged = made_folder(settings.out) / CLIP_NAMES[not settings.control], not settings.control
    progress = None if tell is None else lambda done, of: tell("making the clip", done, of, "")
    return make_demo_clip(path, forged, settings.length_s, settings.seed, progress)


def watch_clip(
    clip: DemoClip, detector: Judge, sinks: Sequence[Sink] = (), witness: Witness | None = None
) -> Recording:
    """Publish a clip to a free loopback address in real time and watch it there to its end.

    Raises:
        SourceError: if no frame came.
    """
    source, recording, stop = loopback_source(), Recording(clip.change_s), threading.Event()
    with published(clip.path, source) as fault_of:
        limit_s = clip.seconds + SLACK_S
        lines = watch(source, detector, on_frame=recording.see, stop=stop, witness=witness, duration_s=limit_s)
        with contextlib.closing(lines):  # type: ignore[type-var]
            for line in lines:
                if is_over(line):
                    stop.set()
                recording.take(line)
                for sink in sinks:
                    sink.take(line)
        if not recording.verdicts:
            raise SourceError(f"the demo's own feed did not arrive over loopback{fault_of()}; is 127.0.0.1 filtered?")
    return recording


def is_over(line: Line) -> bool:
    """Whether the publisher has gone after its last frame."""
    return isinstance(line, Status) and line.state == "reconnecting" and line.frames > 0


def loopback_source() -> Source:
    """An RTSP address on a free port of this machine, which waits for a publisher."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return open_source(f"rtsp://127.0.0.1:{port}/live", name=NAME, options=SourceOptions(listen=True))


@contextlib.contextmanager
def published(clip: Path, source: Source) -> Iterator[Callable[[], str]]:
    """A child process that publishes the clip; gives a function that says what it died of, if it did."""
    command = [sys.executable, "-P", str(PUBLISHER), source.address, str(clip)]
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors)

        def fault() -> str:
            errors.seek(0)
            last = errors.read().decode(errors="replace").strip().rpartition("\n")[2]
            return f" ({last})" if last else ""

        try:
            yield fault
        finally:
            child.kill()
            child.wait()


def made_folder(folder: Path) -> Path:
    """The folder, made if need be, in which a file can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as exc:
        raise OutputError(f"{folder}: can't be written ({exc.strerror}); choose another folder with --out") from exc
