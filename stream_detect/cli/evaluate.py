"""`stream-detect evaluate`: how good the detector is on labelled files."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream_detect.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

EXAMPLE = (
    "Examples: stream-detect evaluate footage/manifest.csv --out evaluation/\n\n"
    "stream-detect evaluate footage/manifest.csv --controlled --weights my-weights/ --jobs 2"
)
COULD_NOT_READ = 3
KINDS = {"image": "stills", "video": "clips", "frame": "frames of clips"}
FIGURES = {
    "auc_judged": "AUC, what was judged",
    "eer": "equal error rate",
    "tpr_at_1_percent_fpr": "found at 1 % false alarms",
    "calibration_error": "calibration error",
    "coverage_real": "judged, real",
    "coverage_fake": "judged, fake",
}
CALLED = {"real_called_fake": "real called fake", "fake_called_fake": "fake called fake"}


def evaluate(
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST.csv", help="Columns path and label (real or fake); generator, identity.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the report and the plots go.")] = Path("evaluation"),
    alike: Annotated[
        bool, typer.Option("--alike", help="First encode every file to the same size, codec and rate.")
    ] = False,
    controlled: Annotated[
        bool, typer.Option("--controlled", help="First bring every face to 112 pixels and encode as H.264, crf 26.")
    ] = False,
    mesonet: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE.h5", help="MesoNet's published weights, to stand beside ours; may be repeated."),
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
    jobs: Annotated[int, typer.Option(min=1, help="Processes that score side by side.")] = 1,
) -> None:
    """Evaluate on labelled files: AUC, EER, what verdicts are worth, calibration, coverage; by generator and expert.

    Every file's score is exactly what `stream-detect score` gives.
    """
    if alike and controlled:
        raise UsageError("--alike and --controlled are two ways of encoding: expected one of them, got both")
    from stream_detect.cli.app import say
    from stream_detect.cli.progress import progress_teller
    from stream_detect.cli.watch import make_detector
    from stream_detect.training.manifest import read_manifest

    read_manifest(manifest)  # what is wrong with it is told before the detector is loaded
    detector = make_detector(device, weights, experts, threads)
    from stream_detect.training.evaluate import EvaluateSettings, Terms
    from stream_detect.training.evaluate import evaluate as measure

    terms: Terms = "alike" if alike else "controlled" if controlled else "raw"
    settings = EvaluateSettings(manifest, out, terms, tuple(mesonet or ()), without, draws, jobs)
    with ExitStack() as stack:
        report = measure(settings, detector, progress_teller(stack))
    show(report, out)
    for words in report["failed"]:
        say(words)
    raise typer.Exit(COULD_NOT_READ if report["failed"] else 0)


def show(report: Mapping[str, Any], out: Path) -> None:
    """The figures that matter first, on stdout, and where all of them are."""
    from rich.console import Console

    console = Console(highlight=False)
    told = {kind: report[kind] for kind in KINDS if report[kind]}
    if told:
        console.print(figures_table(told))
    else:
        typer.echo("no figures: they need files of both labels, real and fake, of one kind")
    read = f"{report['scored']} of {report['files']} files scored, {report['near_duplicates_left_out']} left out"
    typer.echo(f"{read}; report.md, report.json, scores.jsonl, looks.jsonl and plots are in {out}")


def figures_table(told: Mapping[str, Mapping[str, Any]]) -> "Table":
    """A column a kind of file: AUC with its 90 % interval of the fused score, each expert and each baseline."""
    from rich.table import Table

    table = Table("AUC, all files (90 % interval)", *(heading(KINDS[kind], part) for kind, part in told.items()))
    for name in dict.fromkeys(name for part in told.values() for name in part["auc"]):
        table.add_row(row_name(name), *(interval(part["auc"].get(name)) for part in told.values()))
    table.add_section()
    for key, words in FIGURES.items():
        table.add_row(words, *(number(part[key]) for part in told.values()))
    for key, words in CALLED.items():
        table.add_row(words, *(called(part[key]) for part in told.values()))
    for side in ("real", "fake"):
        table.add_row(f"verdicts, {side}", *(counts(part["verdicts"][side]) for part in told.values()))
    return table


def heading(kind: str, part: Mapping[str, Any]) -> str:
    return f"{kind}: {part['real']} real, {part['fake']} fake"


def row_name(name: str) -> str:
    return {"ours": "fused", "facts": "size, codec and rate alone"}.get(name, name)


def interval(figure: Mapping[str, float | None] | None) -> str:
    if figure is None:
        return "-"
    return f"{number(figure['auc'])} ({number(figure['low'])} to {number(figure['high'])})"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def called(figure: Mapping[str, Any]) -> str:
    return f"{figure['called']} of {figure['judged']}, at most {number(figure['bound_95'])} (95 %)"


def counts(verdicts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
