"""`stream-detect watch`: the loop, its sinks and its exit code."""

import contextlib
import hashlib
import logging
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from stream_detect.cli.sinks import MQTT, ON_ALERT, SPOOL, WEBHOOK, open_outboxes, sinks_meant
from stream_detect.errors import ConfigError, OutputError, SourceError, UsageError

if TYPE_CHECKING:
    from stream_detect.alerts import Line, Sink
    from stream_detect.cli.reload import Reloads
    from stream_detect.config import Config, DecisionSettings, Feed, WatchSettings
    from stream_detect.decode.frame import Frame
    from stream_detect.detector import Detector
    from stream_detect.feeds_file import FeedsFile
    from stream_detect.metrics import Metrics
    from stream_detect.pipeline import OnFrame, Watching, Witness
    from stream_detect.stats import Observer
    from stream_detect.store import Store
    from stream_detect.types import FrameVerdict, Status

EXAMPLE = (
    "Examples: stream-detect watch rtsp://user:password@192.168.1.20/live --jsonl alerts.jsonl\n\n"
    "stream-detect watch webcam --view\n\nstream-detect watch a.mp4 b.mp4 --jsonl - --fail-on-alert\n\n"
    "stream-detect watch --config feeds.toml --metrics-port 9100 --log-json   (kill -HUP reads the file again)"
)
SOURCES = (
    "rtsp(s)://..., http(s)://... (HLS, MJPEG), rtmp://..., a file, webcam[:N], screen[:WxH+X+Y] or synthetic; "
    "several are watched at once. '${NAME}' in an address is filled in from the environment, '${file:PATH}' from a "
    "file."
)
METRICS_PORT = (
    "Serve /metrics (Prometheus), /healthz, /readyz and /feeds on this port of 127.0.0.1; 0 picks one. With --config "
    "feeds can be added, changed and removed there, and the run goes on when none is left."
)
CONFIG = (
    "Feeds and settings: its tables feed, watch and decision. On SIGHUP its feeds are read again: what changed is "
    "changed, the others go on."
)
ISOLATION = (
    "process: sources are decoded in processes of their own, one each; thread: in this one. Default: network ones."
)
OVERLAY = (
    "Write the video with boxes and verdicts, or send it: rtsp(s)://..., rtmp(s)://.... With {feed} in it there is one "
    "for each source. What is secret in it is filled in as in sources."
)
PRIVACY = (
    "blur: faces are made unrecognisable in --overlay, --view and evidence. none: they are shown. Default: what "
    "[evidence] says in the configuration, else none."
)
ENGINE = "Runs the networks on a CPU: onnxruntime, openvino or openvino-bf16 (pip install 'stream-detect[openvino]')."
EVIDENCE = "Keep evidence of every alert in this folder: a clip, pictures, scores and a page, sealed into a chain."
STORE = (
    "Keep alerts, the scores of every second and the states of feeds in an SQLite file, or in a database such as "
    "postgresql://user@host/name; stream-detect alerts reads it."
)
STORE_FILE = "store.sqlite"  # in a folder of evidence, where no other store is named
ALERT_RAISED = 10
COULD_NOT_READ = 3
REMOVED = "removed"  # what the last line of a feed says that was taken out of the run


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
    config: Annotated[Path | None, typer.Option(metavar="FILE.toml", help=CONFIG)] = None,
    overlay: Annotated[str | None, typer.Option(metavar="OUT.mp4|URL", help=OVERLAY)] = None,
    privacy: Annotated[str | None, typer.Option(metavar="blur|none", help=PRIVACY)] = None,
    view: Annotated[bool, typer.Option("--view", help="Show the video with boxes and verdicts in a window.")] = False,
    experts: Annotated[
        str | None, typer.Option(metavar="A,B", help="Use these experts only, such as spectrum,mesonet.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(metavar="DIR", help="Weights other than the shipped ones.")] = None,
    fail_on_alert: Annotated[
        bool, typer.Option("--fail-on-alert", help="Exit with 10 if any alert was raised.")
    ] = False,
    metrics_port: Annotated[int | None, typer.Option(metavar="P", min=0, max=65535, help=METRICS_PORT)] = None,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log to stderr as JSON lines.")] = False,
    log_level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="Log debug, info, warning or error. Default: warning.")
    ] = None,
    isolation: Annotated[str | None, typer.Option(metavar="process|thread", help=ISOLATION)] = None,
    udp: Annotated[bool, typer.Option("--udp", help="Let RTSP bring its packets by UDP instead of TCP.")] = False,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each network.")] = 1,
    engine: Annotated[str, typer.Option(metavar="NAME", help=ENGINE)] = "onnxruntime",
    store: Annotated[str | None, typer.Option(metavar="PATH|URL", help=STORE)] = None,
    webhook: Annotated[list[str] | None, typer.Option(metavar="URL", help=WEBHOOK)] = None,
    mqtt: Annotated[list[str] | None, typer.Option(metavar="URL", help=MQTT)] = None,
    on_alert: Annotated[list[str] | None, typer.Option(metavar="'PROGRAM ARG...'", help=ON_ALERT)] = None,
    spool: Annotated[Path | None, typer.Option(metavar="DIR", help=SPOOL)] = None,
    evidence: Annotated[Path | None, typer.Option(metavar="DIR", help=EVIDENCE)] = None,
) -> None:
    """Watch sources live: find every face, judge it frame by frame, raise alerts.

    A live source is followed for ever: when it breaks it is opened again. Ctrl-C ends the run with a summary.
    """
    from stream_detect import logs, service
    from stream_detect.config import Config
    from stream_detect.secrets import hide_arguments

    hide_arguments()
    manager = service.manager_of_environment()
    feeds_file = file_of_feeds(config)
    file = with_privacy(feeds_file.read() if feeds_file else Config(), privacy)
    changes = {
        "profile": profile,
        "every_frame": every_frame,
        "duration_s": duration,
        "max_frames": max_frames,
        "retries": retries,
        "isolation": isolation,
        "transport": "udp" if udp else None,
    }
    place = evidence_dir(evidence, file)
    changes["keep_packets"] = True if place else None
    settings = settings_of(file, {name: value for name, value in changes.items() if value is not None})
    may_grow = feeds_file is not None and metrics_port is not None
    feeds, refused = all_meant([*file.feeds, *(sources or [])], settings, may_grow)
    is_logged = log_json or log_level is not None
    run = Run(refused)
    with logs.configure(log_level or "warning", is_json=log_json):
        for words in refused:
            logging.getLogger("stream_detect.run").warning("%s; it is not watched", words)
        with ExitStack() as stack:
            kept = open_kept(stack, store, file, beside=place)
            sinks = open_sinks(stack, jsonl, len(feeds), is_logged)
            outboxes = open_outboxes(stack, sinks_meant(file, webhook, mqtt, on_alert), spool, kept, place)
            sinks += outboxes
            on_frame = open_pictures(stack, overlay, view, len(feeds), run.stop, hides_faces(file), device)
            detector = make_detector(device, weights, experts, threads, settings.workload.experts, engine)
            decision = decision_of(file, detector)
            witness = open_evidence(stack, place, file, detector, kept, (settings, decision))
            metrics = metrics_of(detector, metrics_port)
            watching = run.begin(stack, feeds, detector, settings, decision, on_frame, metrics, may_grow, witness)
            follow_figures(sinks, watching)
            reloads = follow_file(stack, feeds_file, watching, feeds, file)
            if metrics is not None and metrics_port is not None:
                metrics.follow_outputs(outboxes, kept)
                serve(stack, metrics_port, watching, metrics, feeds_file, reloads)
                sinks = [*sinks, metrics]  # what is counted there is in the file already
            with service.informing(manager, watching.last_turn_s):
                run.follow(watching, [kept, *sinks] if kept else sinks)  # kept before anybody is told
        run.list_unread(is_logged)
    raise typer.Exit(run.exit_code(fail_on_alert))


class Run:
    """One run of `watch`: what became of its sources, and what code that exits with."""

    def __init__(self, refused: Sequence[str]) -> None:
        self.unread: dict[str, str] = {words: words for words in refused}  # why, by name where it has one
        self.names: set[str] = set(self.unread)
        self.alerts = 0
        self.stop = threading.Event()

    def begin(
        self,
        stack: ExitStack,
        feeds: "Sequence[str | Feed]",
        detector: "Detector",
        settings: "WatchSettings",
        decision: "DecisionSettings",
        on_frame: "OnFrame | None",
        observer: "Observer | None",
        stays: bool,
        witness: "Witness | None" = None,
    ) -> "Watching":
        """Open the sources; from now on the first signal stops the run."""
        from stream_detect.pipeline import Watching

        watching = Watching(
            feeds, detector, settings, decision, on_frame, observer=observer, witness=witness, stays=stays
        )
        stack.enter_context(stopped_by_signals(self.stop))
        return stack.enter_context(watching)

    def follow(self, watching: "Watching", sinks: "Sequence[Sink]") -> None:
        """Give every line to every sink until the sources end or a signal comes."""
        with contextlib.closing(watching.lines(self.stop)) as lines:  # type: ignore[type-var]
            for line in lines:
                self.note(line, watching)
                for sink in sinks:
                    sink.take(line)

    def note(self, line: "Line", watching: "Watching") -> None:
        from stream_detect.types import Alert, Status

        if isinstance(line, Alert):
            self.alerts += line.event == "raised"
        elif isinstance(line, Status):
            self.names.add(line.source)
            if line.state == "live":
                self.unread.pop(line.source, None)
            elif line.state in ("ended", "failed") and self.is_unread(line, watching):
                self.unread[line.source] = f"{line.source}: {line.reason}"

    def is_unread(self, last: "Status", watching: "Watching") -> bool:
        """Whether a source counts as one that could not be read: a broken file, or nothing ever came."""
        if last.state == "ended" and (self.stop.is_set() or last.reason == REMOVED):
            return False
        is_live = {feed.name: feed.is_live for feed in watching.feeds()}.get(last.source, True)
        return last.frames == 0 or (last.state == "failed" and not is_live)

    def list_unread(self, is_logged: bool) -> None:
        """Name the sources that could not be read on stderr."""
        for words in self.unread.values():
            tell(words, is_logged)
        if self.unread and len(self.names) > 1:
            tell(f"{len(self.unread)} of the sources could not be read, see above; the others are done", is_logged)

    def exit_code(self, fail_on_alert: bool) -> int:
        if self.alerts and fail_on_alert:
            return ALERT_RAISED
        return COULD_NOT_READ if self.unread else 0


def tell(words: str, is_logged: bool) -> None:
    """A line on stderr, as a record where the log tells everything."""
    from stream_detect.cli.app import say

    if is_logged:
        logging.getLogger("stream_detect.run").error("%s", words)
    else:
        say(words)


def follow_figures(sinks: "Sequence[Sink]", watching: "Watching") -> None:
    """Let the sinks that show the figures of the feeds ask for them: the live table."""
    for sink in sinks:
        if (follow := getattr(sink, "follow", None)) is not None:
            follow(watching.feeds)


def file_of_feeds(path: Path | None) -> "FeedsFile | None":
    if path is None:
        return None
    from stream_detect.feeds_file import FeedsFile

    return FeedsFile(path)


def follow_file(
    stack: ExitStack,
    file: "FeedsFile | None",
    watching: "Watching",
    feeds: "Sequence[str | Feed]",
    config: "Config",
) -> "Reloads | None":
    """Read the file of feeds again on SIGHUP; without one, a SIGHUP ends the program as ever."""
    if file is None:
        return None
    from stream_detect.cli.reload import Reloads
    from stream_detect.feeds_file import FeedsInEffect

    of_file = [feed for feed in feeds if not isinstance(feed, str)]
    return stack.enter_context(Reloads(file, FeedsInEffect(watching, of_file, config)))


def metrics_of(detector: "Detector", port: int | None) -> "Metrics | None":
    if port is None:
        return None
    from stream_detect.metrics import Metrics

    return Metrics(device=detector.device)


def serve(
    stack: ExitStack,
    port: int,
    watching: "Watching",
    metrics: "Metrics",
    file: "FeedsFile | None",
    reloads: "Reloads | None",
) -> None:
    """Metrics, health and the feeds over HTTP until the stack is closed; says where."""
    from stream_detect.cli.app import say
    from stream_detect.web import serving

    server = stack.enter_context(
        serving(
            port,
            watching.feeds,
            metrics=metrics,
            feeds_file=file,
            apply=reloads.apply if reloads else None,
            last_turn_s=watching.last_turn_s,
        )
    )
    if port == 0:
        say(f"metrics are at {server.url}/metrics")


def settings_of(file: "Config", changes: dict[str, object]) -> "WatchSettings":
    """Defaults, changed by the configuration file, changed by the command line."""
    from stream_detect.config import WatchSettings, updated

    return updated(WatchSettings(), {**file.watch, **changes}, "watch")


def decision_of(file: "Config", detector: "Detector") -> "DecisionSettings":
    from stream_detect.config import updated

    return updated(detector.decision, file.decision, "[decision]")


def all_meant(
    feeds: "Sequence[str | Feed]", settings: "WatchSettings", may_be_none: bool = False
) -> "tuple[list[str | Feed], list[str]]":
    """The feeds whose addresses can be meant, and what is wrong with the others.

    Raises:
        UsageError: if there are none, unless there may be.
        SourceError, ConfigError: if none of them can be meant, unless there may be none.
    """
    from stream_detect.pipeline import opened_source

    meant: list[str | Feed] = []
    refused: list[SourceError | ConfigError] = []
    for feed in feeds:
        try:
            opened_source(feed, settings)
            meant.append(feed)
        except (SourceError, ConfigError) as error:  # unreachable for ever, or its login can't be had
            refused.append(error)
    if refused and not (meant or may_be_none):
        raise refused[0]
    if not (meant or may_be_none):
        raise UsageError("nothing to watch: name a SOURCE, such as rtsp://host/path, a file or webcam, or use --config")
    return meant, [str(error) for error in refused]


def open_kept(stack: ExitStack, where: str | None, file: "Config", beside: Path | None = None) -> "Store | None":
    """The store that the command line or the configuration file names, else the one of a folder of evidence.

    Raises:
        OutputError, ConfigError: if it can't be had.
    """
    from stream_detect.config import StoreSettings, updated

    settings = updated(StoreSettings(), file.store, "[store]")
    where = where or settings.url or (str(beside / STORE_FILE) if beside else None)
    if where is None:
        return None
    if beside is not None:
        make_folder(beside)
    from stream_detect.store import open_store

    return stack.enter_context(open_store(where, settings))


def make_folder(place: Path) -> None:
    """Make the folder of evidence, which the store may lie in.

    Raises:
        OutputError: if it can't be made.
    """
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{place}: evidence can't be kept there ({error.strerror}); choose another folder") from error


def evidence_dir(asked: Path | None, file: "Config") -> Path | None:
    """The folder of evidence that the command line or the configuration file names; None if neither does."""
    named = file.evidence.get("dir")
    return asked or (Path(named) if named else None)


def open_evidence(
    stack: ExitStack,
    place: Path | None,
    file: "Config",
    detector: "Detector",
    kept: "Store | None",
    settings: Sequence[object],
) -> "Witness | None":
    """What keeps evidence of alerts, with a thread of its own until the stack is closed.

    Raises:
        OutputError: if the folder can't be written.
        ConfigError: if the key to sign with can't be had.
    """
    if place is None or kept is None:
        return None
    from stream_detect.config import EvidenceSettings, updated
    from stream_detect.evidence.recorder import EvidenceRecorder
    from stream_detect.evidence.signing import read_signing_key

    asked = updated(EvidenceSettings(), file.evidence, "[evidence]")
    key = read_signing_key(Path(asked.sign_with)) if asked.sign_with else None
    told = hashlib.sha256(repr(settings).encode()).hexdigest()
    recorder = EvidenceRecorder(
        place, asked, detector=detector, ledger=kept.ledger, about={"settings_sha256": told}, key=key
    )
    return stack.enter_context(recorder)


def open_sinks(stack: ExitStack, jsonl: str | None, sources: int, is_logged: bool = False) -> "list[Sink]":
    """Where lines go: JSON lines and the log if asked, and the console."""
    from stream_detect.alerts import JsonlSink
    from stream_detect.alerts.console import open_console

    sinks: list[Sink] = []
    if jsonl is not None:
        sinks.append(stack.enter_context(JsonlSink(jsonl, append=True)))
    if is_logged:
        from stream_detect.alerts.log import LogSink

        sinks.append(LogSink())
    console = open_console(is_stdout_taken=jsonl == "-", is_logged=is_logged)
    stack.callback(console.close)
    return [*sinks, console]


def with_privacy(file: "Config", privacy: str | None) -> "Config":
    """The configuration with what the command line says of privacy.

    Raises:
        ConfigError: if that is neither blur nor none.
    """
    if privacy is None:
        return file
    from stream_detect.config import EvidenceSettings, updated

    changed = {**file.evidence, "privacy": privacy}
    updated(EvidenceSettings(), changed, "--privacy")
    return replace(file, evidence=changed)


def hides_faces(file: "Config") -> bool:
    return file.evidence.get("privacy") == "blur"


def encoding_gpu(device: str | None) -> int | None:
    """The GPU whose encoder is tried first for what is sent; None where the processor is asked for."""
    if device == "cpu":
        return None
    _, _, number = (device or "").partition(":")
    return int(number) if number.isdigit() else 0


def open_pictures(
    stack: ExitStack,
    overlay: str | None,
    view: bool,
    sources: int,
    stop: threading.Event,
    hides: bool = False,
    device: str | None = None,
) -> "OnFrame | None":
    """What is to be done with the pictures themselves: written, sent, shown, or nothing."""
    writers: list[OnFrame] = []
    if overlay is not None:
        from stream_detect.overlay import Overlay

        gpu = encoding_gpu(device)
        writers.append(stack.enter_context(Overlay(overlay, sources, hides_faces=hides, gpu=gpu)).write)
    if view:
        from stream_detect.view import Window

        writers.append(stack.enter_context(Window(stop, hides_faces=hides)).show)
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
