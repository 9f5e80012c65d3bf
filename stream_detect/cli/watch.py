"""`stream-detect watch`: the loop, its sinks and its exit code."""

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from stream_detect.errors import SourceError, UsageError

if TYPE_CHECKING:
    from stream_detect.alerts import Line, Sink
    from stream_detect.config import Config, DecisionSettings, WatchSettings
    from stream_detect.decode.frame import Frame
    from stream_detect.detector import Detector
    from stream_detect.pipeline import OnFrame
    from stream_detect.sources import Source
    from stream_detect.types import FrameVerdict

EXAMPLE = (
    "Examples: stream-detect watch rtsp://user:password@192.168.1.20/live --jsonl alerts.jsonl\n\n"
    "stream-detect watch webcam --view\n\nstream-detect watch a.mp4 b.mp4 --jsonl - --fail-on-alert"
)
SOURCES = (
    "rtsp(s)://..., http(s)://... (HLS, MJPEG), rtmp://..., a file, webcam[:N], screen[:WxH+X+Y] or synthetic; "
    "several are watched at once."
)
ENGINE = "Runs the networks on a CPU: onnxruntime, openvino or openvino-bf16 (pip install 'stream-detect[openvino]')."
ALERT_RAISED = 10
COULD_NOT_READ = 3


def watch(
    sources: Annotated[list[str] | None, typer.Argument(metavar="SOURCE...", help=SOURCES)] = None,
    jsonl: Annotated[
        str | None, typer.Option(metavar="PATH|-", help="Append JSON lines to a file, or write them to stdout (-).")
    ] = None,
    every_frame: Annotated[
        bool | None,
        typer.Option(
            "--every-frame/--live",
            help="Judge every frame, or always the newest. Default: files every, live ones the newest.",
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            metavar="full|light",
            help="full: every frame, all experts. light: six frames a second, the three experts that tell most "
            "together; faces are followed in between. Default: full.",
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda[:N]. Default: auto.")] = None,
    duration: Annotated[float | None, typer.Option(metavar="S", help="Stop after so many seconds.")] = None,
    max_frames: Annotated[int | None, typer.Option(metavar="N", help="Stop after so many analysed frames.")] = None,
    retries: Annotated[
        int | None, typer.Option(metavar="N", help="Open a lost live source so often again. Default: for ever.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Feeds and settings: its tables feed, watch and decision.")
    ] = None,
    overlay: Annotated[
        Path | None, typer.Option(metavar="OUT.mp4", help="Write the video with boxes and verdicts (one source).")
    ] = None,
    view: Annotated[bool, typer.Option("--view", help="Show the video with boxes and verdicts in a window.")] = False,
    experts: Annotated[
        str | None, typer.Option(metavar="A,B", help="Use these experts only, such as spectrum,mesonet.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(metavar="DIR", help="Weights other than the shipped ones.")] = None,
    fail_on_alert: Annotated[
        bool, typer.Option("--fail-on-alert", help="Exit with 10 if any alert was raised.")
    ] = False,
    udp: Annotated[bool, typer.Option("--udp", help="Let RTSP bring its packets by UDP instead of TCP.")] = False,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each network.")] = 1,
    engine: Annotated[str, typer.Option(metavar="NAME", help=ENGINE)] = "onnxruntime",
) -> None:
    """Watch sources live: find every face, judge it frame by frame, raise alerts.

    A live source is followed for ever: when it breaks it is opened again. Ctrl-C ends the run with a summary.
    """
    from stream_detect.config import Config, read_config

    file = read_config(config) if config else Config()
    changes = {
        "profile": profile,
        "every_frame": every_frame,
        "duration_s": duration,
        "max_frames": max_frames,
        "retries": retries,
        "transport": "udp" if udp else None,
    }
    settings = settings_of(file, {name: value for name, value in changes.items() if value is not None})
    opened, refused = open_all([*(sources or []), *file.feeds], settings)
    with ExitStack() as stack:
        sinks = open_sinks(stack, jsonl, len(opened))
        run = Run(opened, refused)
        on_frame = open_pictures(stack, overlay, view, opened, run.stop)
        detector = make_detector(device, weights, experts, threads, settings.workload.experts, engine)
        decision = decision_of(file, detector)
        run.follow(detector, settings, decision, sinks, on_frame)
    raise typer.Exit(run.exit_code(fail_on_alert))


class Run:
    """One run of `watch`: which sources it has, what became of them, and what code that exits with."""

    def __init__(self, sources: "Sequence[Source]", refused: list[str]) -> None:
        self.sources = {source.name: source for source in sources}
        self.unread = refused
        self.alerts = 0
        self.stop = threading.Event()

    def follow(
        self,
        detector: "Detector",
        settings: "WatchSettings",
        decision: "DecisionSettings",
        sinks: "Sequence[Sink]",
        on_frame: "OnFrame | None",
    ) -> None:
        """Give every line to every sink until the sources end or a signal comes."""
        from stream_detect.pipeline import watch as lines_of

        lines = lines_of(
            list(self.sources.values()),
            detector,
            settings=settings,
            decision=decision,
            on_frame=on_frame,
            stop=self.stop,
        )
        with stopped_by_signals(self.stop), contextlib.closing(lines):  # type: ignore[type-var]
            for line in lines:
                self.note(line)
                for sink in sinks:
                    sink.take(line)

    def note(self, line: "Line") -> None:
        from stream_detect.types import Alert, Status

        if isinstance(line, Alert):
            self.alerts += line.event == "raised"
        elif isinstance(line, Status) and line.state in ("ended", "failed") and self.is_unread(line.source, line):
            self.unread.append(f"{line.source}: {line.reason}")

    def is_unread(self, name: str, last: "Line") -> bool:
        """Whether a source counts as one that could not be read: a broken file, or nothing ever came."""
        from stream_detect.types import Status

        assert isinstance(last, Status)
        if self.stop.is_set() and last.state == "ended":
            return False
        return last.frames == 0 or (last.state == "failed" and not self.sources[name].is_live)

    def exit_code(self, fail_on_alert: bool) -> int:
        """The exit code; sources that could not be read are listed on stderr."""
        from stream_detect.cli.app import say

        for words in self.unread:
            say(words)
        if len(self.unread) and len(self.sources) > 1:
            say(f"{len(self.unread)} of the sources could not be read, see above; the others are done")
        if self.alerts and fail_on_alert:
            return ALERT_RAISED
        return COULD_NOT_READ if self.unread else 0


def settings_of(file: "Config", changes: dict[str, object]) -> "WatchSettings":
    """Defaults, changed by the configuration file, changed by the command line."""
    from stream_detect.config import WatchSettings, updated

    return updated(WatchSettings(), {**file.watch, **changes}, "watch")


def decision_of(file: "Config", detector: "Detector") -> "DecisionSettings":
    from stream_detect.config import updated

    return updated(detector.decision, file.decision, "[decision]")


def open_all(sources: Sequence[object], settings: "WatchSettings") -> "tuple[list[Source], list[str]]":
    """The sources under these addresses, and what is wrong with those that can't be meant.

    Raises:
        UsageError: if there are none.
        SourceError: if none of them can be meant.
    """
    from stream_detect.config import Feed
    from stream_detect.pipeline import opened_source, unique

    opened: list[Source] = []
    refused: list[SourceError] = []
    for source in sources:
        assert isinstance(source, (str, Feed))
        try:
            opened.append(opened_source(source, settings))
        except SourceError as error:
            refused.append(error)
    if refused and not opened:
        raise refused[0]
    if not opened:
        raise UsageError("nothing to watch: name a SOURCE, such as rtsp://host/path, a file or webcam, or use --config")
    return unique(opened), [str(error) for error in refused]


def open_sinks(stack: ExitStack, jsonl: str | None, sources: int) -> "list[Sink]":
    """Where lines go: JSON lines if asked, and the console."""
    from stream_detect.alerts import JsonlSink
    from stream_detect.alerts.console import open_console

    sinks: list[Sink] = []
    if jsonl is not None:
        sinks.append(stack.enter_context(JsonlSink(jsonl, append=True)))
    console = open_console(is_stdout_taken=jsonl == "-")
    stack.callback(console.close)
    return [*sinks, console]


def open_pictures(
    stack: ExitStack, overlay: Path | None, view: bool, sources: "Sequence[Source]", stop: threading.Event
) -> "OnFrame | None":
    """What is to be done with the pictures themselves: written, shown, both, or nothing."""
    if overlay is not None and len(sources) > 1:
        raise UsageError(f"--overlay writes one source, got {len(sources)}; run one watch for each")
    writers: list[OnFrame] = []
    if overlay is not None:
        from stream_detect.overlay import OverlayWriter

        writers.append(stack.enter_context(OverlayWriter(overlay)).write)
    if view:
        from stream_detect.view import Window

        writers.append(stack.enter_context(Window(stop)).show)
    return all_of(writers) if writers else None


def all_of(writers: "Sequence[OnFrame]") -> "OnFrame":
    def on_frame(frame: "Frame", verdict: "FrameVerdict") -> None:
        for write in writers:
            write(frame, verdict)

    return on_frame


def make_detector(
    device: str | None,
    weights: Path | None,
    experts: str | None,
    threads: int,
    of_profile: Sequence[str] | None = None,
    engine: str = "onnxruntime",
) -> "Detector":
    """The detector with the experts asked for, else those of the profile that the weights have, else all."""
    from stream_detect.detector import Detector
    from stream_detect.weights import load_weights

    given = load_weights(weights)
    names = [name for name in of_profile or () if name in given.heads] or None
    if experts is not None:
        names = [name.strip() for name in experts.split(",") if name.strip()]
    return Detector(device=device or "auto", weights=given, experts=names, threads=threads, engine=engine)


@contextlib.contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """The first SIGINT or SIGTERM sets `stop`; the second one interrupts at once."""

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
