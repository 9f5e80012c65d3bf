"""`stream-detect bench`: how fast this machine is, and what it can carry."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stream_detect.bench.run import BenchReport

EXAMPLE = "Examples: stream-detect bench\n\nstream-detect bench --device cpu --seconds 5 --plot speed.png"


def bench(
    device: Annotated[str, typer.Option(help="auto, cpu or cuda[:N].")] = "auto",
    seconds: Annotated[float, typer.Option(min=1.0, metavar="S", help="How long each part is measured.")] = 8.0,
    weights: Annotated[Path | None, typer.Option(metavar="DIR", help="Weights other than the shipped ones.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout instead of tables.")] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw it, too (needs matplotlib).")] = None,
) -> None:
    """Measure this machine: each stage, the whole line, latency, and how many feeds it can carry.

    Uses a 720p30 clip with one face that is made on the spot: no camera, no network. Takes less than a minute.
    What else runs on the machine meanwhile counts against it, and is said.
    """
    from stream_detect.bench.run import BenchSettings
    from stream_detect.bench.run import bench as measure
    from stream_detect.cli.app import say

    if plot is not None:
        from stream_detect.bench.plot import require_matplotlib, save_plot

        require_matplotlib()
    report = measure(BenchSettings(seconds, device, weights), say)
    if as_json:
        typer.echo(json.dumps(report.to_json()))
    else:
        show(report)
    if plot is not None:
        save_plot(report, plot)
        say(f"wrote {plot}")


def show(report: "BenchReport") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from stream_detect.bench.run import rows_of_rates, rows_of_stages

    about, console = report.about, Console()
    words = about["gpu"]["name"] if report.device != "cpu" and about["gpu"] else about["cpu"]
    console.print(Text(f"{report.device}: {words}, {about['cores']} cores, load before {about['load_average_before']}"))
    stages = Table("ms of processor time a frame", title="stages", title_justify="left")
    for profile in report.profiles:
        stages.add_column(profile, justify="right")
        stages.add_column("", justify="right")
    for row in rows_of_stages(report):
        stages.add_row(*row)
    rates = Table("720p, one face", "", title="the whole line", title_justify="left")
    for name, figure in rows_of_rates(report):
        rates.add_row(name, figure)
    console.print(stages, rates)
    console.print(Text(report.carries(), "bold"))
    if warning := report.warning():
        console.print(Text(warning, "yellow"))
