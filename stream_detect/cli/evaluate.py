"""`stream-detect evaluate`: how good the detector is on labelled files."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = (
    "Examples: stream-detect evaluate footage/manifest.csv --out evaluation/\n\n"
    "stream-detect evaluate footage/manifest.csv --alike --weights my-weights/"
)
COULD_NOT_READ = 3


def evaluate(
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST.csv", help="Columns path and label (real or fake); generator, identity.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the report and the plots go.")] = Path("evaluation"),
    alike: Annotated[
        bool, typer.Option("--alike", help="First encode every file to the same size, codec and rate.")
    ] = False,
    official: Annotated[
        Path | None, typer.Option(metavar="FILE.h5", help="MesoNet's published weights, to stand beside ours.")
    ] = None,
    without: Annotated[
        Path | None, typer.Option(metavar="MANIFEST.csv", help="Leave out what looks the same as a file of these.")
    ] = None,
    draws: Annotated[int, typer.Option(min=10, help="Draws of the bootstrap over people.")] = 1000,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda[:N].")] = "auto",
    experts: Annotated[
        str | None, typer.Option(metavar="A,B", help="Use these experts only, such as spectrum,mesonet.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(metavar="DIR", help="Weights other than the shipped ones.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each network.")] = 1,
) -> None:
    """Evaluate on labelled files: AUC, AP, EER, TPR at 1 % FPR, calibration error, coverage; by generator and expert.

    Every file's score is exactly what `stream-detect score` gives.
    """
    from stream_detect.cli.app import say
    from stream_detect.cli.progress import progress_teller
    from stream_detect.cli.watch import make_detector
    from stream_detect.training.manifest import read_manifest

    read_manifest(manifest)  # what is wrong with it is told before the detector is loaded
    detector = make_detector(device, weights, experts, threads)
    from stream_detect.training.evaluate import EvaluateSettings, as_markdown
    from stream_detect.training.evaluate import evaluate as measure

    settings = EvaluateSettings(manifest, out, alike, official, without, draws)
    with ExitStack() as stack:
        report = measure(settings, detector, progress_teller(stack))
    typer.echo(as_markdown(report))
    for words in report["failed"]:
        say(words)
    raise typer.Exit(COULD_NOT_READ if report["failed"] else 0)
