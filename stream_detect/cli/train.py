"""`stream-detect train`: weights adapted to the user's own footage, or learned anew from a manifest."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_detect.errors import OutputError, UsageError

if TYPE_CHECKING:
    from stream_detect.training.adapt import AdaptSettings

EXAMPLE = (
    "Examples: stream-detect train --real interviews/ --real calls/ --out my-weights/ (real footage alone is enough; "
    "minutes)\n\n"
    "stream-detect train footage/manifest.csv --out my-weights/ (everything anew; hours)"
)
Tell = Callable[[str, int, int, str], None]


def train(
    manifest: Annotated[
        Path | None,
        typer.Argument(metavar="MANIFEST.csv", help="Train everything anew: columns path and label (real or fake)."),
    ] = None,
    real: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="A folder of real footage; may be given several times.")
    ] = None,
    fake: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="A folder of forged footage; may be given several times.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Adapt these weights instead of the shipped ones.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the weights go.")] = Path("weights"),
    run: Annotated[
        Path, typer.Option(metavar="DIR", help="Where unfinished work is kept; give it again to go on.")
    ] = Path("training-run"),
    faces: Annotated[int, typer.Option(min=1, help="Adapting: forge at most so many faces, evenly over people.")] = 500,
    networks: Annotated[
        bool, typer.Option("--networks", help="Adapting: tune the networks as well (hours; footage of 40 people).")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that forge and degrade.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="MANIFEST: how often every scene is forged and degraded.")] = 2,
    epochs: Annotated[
        float | None, typer.Option(help="Passes of each network over the samples. Default: 3, and 1 for --networks.")
    ] = None,
    mesonet: Annotated[
        Path | None, typer.Option(metavar="FILE.h5", help="MANIFEST: published Meso-4 weights to start from.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other forgeries.")] = 11,
    show_forgeries: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Only draw what would be forged, a row a family, and stop there."),
    ] = None,
) -> None:
    """Adapt the weights to your own footage (--real DIR, minutes), or train them anew (MANIFEST.csv, hours).

    Forgeries are made from real faces; real and forged ones go through the same compression, resizing, blur and noise.
    Adapting keeps the networks; heads, fusion and calibration change where that is clearly better for people held out.
    A folder of pictures within DIR, or a clip, counts as one person.
    """
    from stream_detect.cli.app import INTERRUPTED, say
    from stream_detect.cli.progress import progress_teller

    if manifest and (real or fake or weights):
        raise UsageError("MANIFEST.csv trains anew, --real adapts weights: expected one of them, got both")
    if show_forgeries:
        typer.echo(f"the forgeries are in {show(show_forgeries, manifest, real or [], seed)}")
        return
    try:
        with ExitStack() as stack:
            tell = progress_teller(stack)
            if manifest:
                notes = train_anew(
                    manifest, out, run, rounds, 3.0 if epochs is None else epochs, mesonet, jobs, seed, tell
                )
            else:
                from stream_detect.training.adapt import AdaptSettings

                settings = AdaptSettings(
                    out=out,
                    run=run,
                    real=tuple(real or ()),
                    fake=tuple(fake or ()),
                    base=weights,
                    faces=faces,
                    networks=networks,
                    epochs=1.0 if epochs is None else epochs,
                    jobs=jobs,
                    seed=seed,
                )
                notes = adapt_weights(settings, tell)
    except KeyboardInterrupt:
        say(f"interrupted; run again with the same --run {run} to go on")
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(f"the weights and {notes} are in {out}: stream-detect watch SOURCE --weights {out}")


def train_anew(
    manifest: Path,
    out: Path,
    run: Path,
    rounds: int,
    epochs: float,
    mesonet: Path | None,
    jobs: int,
    seed: int,
    tell: Tell,
) -> str:
    """Train everything on a manifest; gives the name of the card beside the weights."""
    from stream_detect.cli.app import say
    from stream_detect.training.card import CARD
    from stream_detect.training.train import TrainSettings
    from stream_detect.training.train import train as learn

    settings = TrainSettings(
        out=out,
        run=run,
        manifest=manifest,
        rounds=rounds,
        epochs=epochs,
        mesonet_start=mesonet,
        jobs=jobs,
        seed=seed,
    )
    learn(settings, tell, say)
    return CARD


def show(path: Path, manifest: Path | None, real: list[Path], seed: int) -> Path:
    """Draw forgeries of real footage, or of the demo's face where none is given; says where they are."""
    from stream_detect.faces import load_detector
    from stream_detect.training.forgeries import FAMILIES
    from stream_detect.training.forgeries.sheet import demo_scenes, draw_sheet, scenes_to_show
    from stream_detect.training.manifest import items_in_folders, read_manifest

    if not path.resolve().parent.is_dir():
        raise OutputError(f"{path}: no such folder to write the contact sheet to")
    if manifest is None and not real:
        return draw_sheet(path, demo_scenes(load_detector()), list(FAMILIES.values()), seed)
    items = read_manifest(manifest) if manifest else items_in_folders(real)
    return draw_sheet(path, scenes_to_show(items, load_detector(), seed), list(FAMILIES.values()), seed)


def adapt_weights(settings: "AdaptSettings", tell: Tell) -> str:
    """Adapt weights to folders and print what that gained; gives the name of the notes beside the weights."""
    from stream_detect.cli.app import say
    from stream_detect.training.adapt import NOTES, adapt, figures_text, summary

    report = adapt(settings, tell, say)
    typer.echo(summary(report))
    typer.echo(figures_text(report))
    return NOTES
