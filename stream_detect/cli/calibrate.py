"""`stream-detect calibrate`: limits of verdicts and levels of alerts for the user's own cameras, or for one feed."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from stream_detect.errors import UsageError

EXAMPLE = (
    "Examples: stream-detect calibrate --real calls/ --false-positive-rate 0.01 --out my-weights/\n\n"
    "stream-detect calibrate --feed rtsp://192.168.1.20/live --name door --minutes 10 --out my-weights/\n\n"
    "stream-detect watch rtsp://192.168.1.20/live --weights my-weights/"
)
FEED = "Learn what is normal for this feed, in which all faces are real for as long as it is watched."
TRACES = "Keep what was judged of clips in this file, and go on from it."
TURNING = (
    "Learn from forgeries made of the clips, too, how a face that turns forged departs from its normal: takes long."
)


def calibrate(
    real: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="A folder of real footage; may be given several times.")
    ] = None,
    false_positive_rate: Annotated[
        float, typer.Option(metavar="SHARE", help="Of judged real faces that may be called fake, such as 0.01.")
    ] = 0.01,
    feed: Annotated[str | None, typer.Option(metavar="URL", help=FEED)] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="How `watch` calls the feed.")] = None,
    minutes: Annotated[float, typer.Option(min=0.1, help="Watch the feed for so long.")] = 10.0,
    accept: Annotated[bool, typer.Option("--accept", help="Learn a feed although it raised alerts.")] = False,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the weights go.")] = Path("weights"),
    weights: Annotated[Path | None, typer.Option(metavar="DIR", help="Weights other than the shipped ones.")] = None,
    faces: Annotated[int, typer.Option(min=1, help="Judge about so many faces, evenly over people.")] = 6000,
    traces: Annotated[Path | None, typer.Option(metavar="FILE.npz", help=TRACES)] = None,
    wire: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Send clips through this, too.")] = None,
    turning: Annotated[bool, typer.Option("--turning", help=TURNING)] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda[:N].")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each network.")] = 1,
) -> None:
    """Move the limits of verdicts and the levels of alerts to your own cameras.

    Every face of pictures and up to three frames a second of clips are judged, so that as few real faces are called
    fake as you ask for. Clips of five people or more give new levels of alerts. A folder of pictures within DIR, or a
    clip, counts as one person. Networks and heads stay as they are. With --feed one feed is watched instead, and its
    own levels are added to the weights in DIR.
    """
    if (feed is None) == (not real):
        raise UsageError("name either folders of real footage, --real DIR, or one feed, --feed URL")
    if feed is not None:
        learn(feed, name, minutes, accept, out, weights, device, threads)
        return
    from stream_detect.cli.app import say
    from stream_detect.cli.progress import progress_teller
    from stream_detect.training.alarms import USUAL_WIRES, AlarmSettings
    from stream_detect.training.recalibrate import (
        NOTES,
        CalibrateSettings,
        alert_words,
        figures_text,
        found_words,
        summary,
    )
    from stream_detect.training.recalibrate import calibrate as move_limits

    alarms = AlarmSettings(tuple(wire) if wire else USUAL_WIRES, traces, turning)
    settings = CalibrateSettings(out, tuple(real or ()), false_positive_rate, weights, faces, device, threads, alarms)
    with ExitStack() as stack:
        report = move_limits(settings, progress_teller(stack), say)
    for words in (summary(report), figures_text(report), found_words(report), alert_words(report)):
        typer.echo(words)
    typer.echo(f"the weights and {NOTES} are in {out}: stream-detect watch SOURCE --weights {out}")


def learn(
    url: str,
    name: str | None,
    minutes: float,
    is_accepted: bool,
    out: Path,
    weights: Path | None,
    device: str,
    threads: int,
) -> None:
    """Watch one feed and add its levels to the weights in `out`."""
    from stream_detect.cli.progress import progress_teller
    from stream_detect.config import Feed
    from stream_detect.secrets import hide_arguments
    from stream_detect.training.alarms import feed_words, learn_feed_into

    hide_arguments()
    with ExitStack() as stack:
        called, thresholds = learn_feed_into(
            out, weights, Feed(url, name), minutes, is_accepted, progress_teller(stack), device, threads
        )
    typer.echo(feed_words(called, thresholds))
    typer.echo(f"the weights are in {out}: stream-detect watch SOURCE --weights {out}")
