"""`stream-detect calibrate`: limits of verdicts for the user's own cameras."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = (
    "Examples: stream-detect calibrate --real calls/ --false-positive-rate 0.01 --out my-weights/\n\n"
    "stream-detect watch webcam --weights my-weights/"
)


def calibrate(
    real: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="A folder of real footage; may be given several times.")
    ] = None,
    false_positive_rate: Annotated[
        float, typer.Option(metavar="SHARE", help="Of judged real faces that may be called fake, such as 0.01.")
    ] = 0.01,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the weights go.")] = Path("weights"),
    weights: Annotated[Path | None, typer.Option(metavar="DIR", help="Weights other than the shipped ones.")] = None,
    faces: Annotated[int, typer.Option(min=1, help="Judge about so many faces, evenly over people.")] = 6000,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda[:N].")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each network.")] = 1,
) -> None:
    """Move the limits of verdicts to your own cameras: so few real faces are called fake as you ask for.

    Every face of pictures and up to three frames a second of clips are judged. A folder of pictures within DIR, or a
    clip, counts as one person. Networks and heads stay as they are.
    """
    from stream_detect.cli.app import say
    from stream_detect.cli.progress import progress_teller
    from stream_detect.training.recalibrate import NOTES, CalibrateSettings, figures_text, found_words, summary
    from stream_detect.training.recalibrate import calibrate as move_limits

    settings = CalibrateSettings(out, tuple(real or ()), false_positive_rate, weights, faces, device, threads)
    with ExitStack() as stack:
        report = move_limits(settings, progress_teller(stack), say)
    for words in (summary(report), figures_text(report), found_words(report)):
        typer.echo(words)
    typer.echo(f"the weights and {NOTES} are in {out}: stream-detect watch SOURCE --weights {out}")
