"""`stream-detect train`: weights from the user's own footage."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = (
    "Examples: stream-detect train footage/manifest.csv --out my-weights/\n\n"
    "stream-detect train --real interviews/ --real calls/ --out my-weights/ (real footage alone is enough)"
)


def train(
    manifest: Annotated[
        Path | None, typer.Argument(metavar="MANIFEST.csv", help="Columns path and label (real or fake), and more.")
    ] = None,
    real: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="A folder of real footage; may be given several times.")
    ] = None,
    fake: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="A folder of forged footage; may be given several times.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the weights go.")] = Path("weights"),
    run: Annotated[
        Path, typer.Option(metavar="DIR", help="Where unfinished work is kept; give it again to go on.")
    ] = Path("training-run"),
    rounds: Annotated[int, typer.Option(min=1, help="How often every scene is forged and degraded anew.")] = 2,
    epochs: Annotated[float, typer.Option(help="Passes of each network over the samples.")] = 3.0,
    mesonet: Annotated[
        Path | None, typer.Option(metavar="FILE.h5", help="Published Meso-4 weights to start the mesonet expert from.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other forgeries.")] = 11,
) -> None:
    """Train experts, fusion and calibration on your own footage, and write weights for --weights.

    Forgeries are made from real faces; real and forged ones go through the same compression, resizing, blur and noise.
    """
    from stream_detect.cli.app import INTERRUPTED, say
    from stream_detect.cli.progress import progress_teller
    from stream_detect.training.card import CARD
    from stream_detect.training.train import TrainSettings
    from stream_detect.training.train import train as learn

    settings = TrainSettings(
        out=out,
        run=run,
        manifest=manifest,
        real=tuple(real or ()),
        fake=tuple(fake or ()),
        rounds=rounds,
        epochs=epochs,
        mesonet_start=mesonet,
        seed=seed,
    )
    try:
        with ExitStack() as stack:
            learn(settings, progress_teller(stack))
    except KeyboardInterrupt:
        say(f"interrupted; run again with the same --run {run} to go on")
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(f"the weights and {CARD} are in {out}: stream-detect watch SOURCE --weights {out}")
