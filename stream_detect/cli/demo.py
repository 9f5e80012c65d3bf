"""`stream-detect demo`: no camera, no network, one command."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stream_detect.demo import DemoReport

EXAMPLE = "Examples: stream-detect demo\n\nstream-detect demo --control --jsonl control.jsonl"
MISBEHAVED = 70


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the clip and the picture go.")] = Path("demo-out"),
    jsonl: Annotated[
        str | None, typer.Option(metavar="PATH|-", help="Write JSON lines to a file or to stdout (-), as watch does.")
    ] = None,
    control: Annotated[
        bool, typer.Option("--control", help="A minute of the same changes of light, blur and compression, unforged.")
    ] = False,
    evidence: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep evidence of the alert here, as watch does.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="S", min=1.0, help="Length of the clip. Default: 24, and 60 for --control.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other movements and light.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda[:N].")] = "auto",
    weights: Annotated[Path | None, typer.Option(metavar="DIR", help="Weights other than the shipped ones.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each network.")] = 1,
) -> None:
    """Watch a real face turn into a forged one, live over a loopback RTSP address, and raise an alert.

    The face is NASA's astronaut Eileen Collins, the forgery an imitation of a live face swapper that is not used in
    training. Leaves the clip and a picture in --out. Exits with 70 if no alert came, or one that should not have.
    """
    from stream_detect.cli.app import say
    from stream_detect.cli.progress import progress_teller
    from stream_detect.cli.watch import make_detector, open_evidence, open_kept, open_sinks
    from stream_detect.config import Config
    from stream_detect.demo import DemoSettings, make_clip, run_demo

    settings = DemoSettings(out=out, control=control, seconds=seconds, seed=seed)
    detector = make_detector(device, weights, None, threads)
    with ExitStack() as stack:
        clip = make_clip(settings, progress_teller(stack))
    with ExitStack() as stack:
        kept = open_kept(stack, None, Config(), beside=evidence)
        sinks = [*([kept] if kept else []), *open_sinks(stack, jsonl, 1)]
        witness = open_evidence(stack, evidence, Config(), detector, kept, (settings.seed, control))
        report = run_demo(settings, detector, sinks, clip, witness)
    tell_report(report, is_stdout_taken=jsonl == "-")
    if report.misbehaviour:
        say(f"the demo did not behave as it should: {report.misbehaviour}")
        raise typer.Exit(MISBEHAVED)


def tell_report(report: "DemoReport", is_stdout_taken: bool) -> None:
    """The summary: when the alert came, and what each expert said before and after."""
    from rich.console import Console
    from rich.table import Table

    from stream_detect.demo.report import expert_means

    recording = report.recording
    is_control = recording.change_s is None
    before, after = expert_means(recording.faces(before=True)), expert_means(recording.faces(before=False))
    table = Table("expert", title="mean probability of a forgery")
    table.add_column("control" if is_control else "real face", justify="right")
    if not is_control:
        table.add_column("forged face", justify="right")
    for name in before | after:
        values = (before.get(name),) if is_control else (before.get(name), after.get(name))
        table.add_row(name, *("-" if value is None else f"{value:.2f}" for value in values))
    console = Console(stderr=is_stdout_taken)
    console.print(table)
    console.print(in_words(report), highlight=False, soft_wrap=True)


def in_words(report: "DemoReport") -> str:
    recording = report.recording
    places = f"see {report.plot} and {report.clip.path}"
    if recording.alert_s is None:
        return f"no alert in {report.clip.seconds:.0f} s; {places}"
    if recording.time_to_alert_s is None:
        return f"an alert at {recording.alert_s:.1f} s; {places}"
    forged = f"the face became forged at {recording.change_s:.1f} s"
    return f"{forged}, the alert came {recording.time_to_alert_s:.1f} s later; {places}"
