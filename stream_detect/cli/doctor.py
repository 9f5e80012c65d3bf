"""`stream-detect doctor`: what is installed, what this machine can do, what to do about what is missing."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stream_detect.doctor import Check

EXAMPLE = "Examples: stream-detect doctor\n\nstream-detect doctor --json | jq '.checks[] | select(.state != \"ok\")'"
STYLES = {"ok": "green", "note": "yellow", "broken": "bold red"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout instead of a table.")] = False,
    weights: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Check these weights, not the shipped ones.")
    ] = None,
) -> None:
    """Check the installation and this machine.

    Exits with 0 if everything essential works, with 4 if the weights are missing or damaged, with 70 if something else
    is broken. Notes cost a feature or speed, nothing more.
    """
    from stream_detect import doctor as looks

    checks = looks.diagnose(weights)
    if as_json:
        typer.echo(json.dumps(looks.as_json(checks)))
    else:
        show(checks)
    raise typer.Exit(looks.exit_code(checks))


def show(checks: "list[Check]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("check", "", "found", "what to do")
    for check in checks:
        words = (check.name, Text(check.state, STYLES[check.state]), Text(check.found), Text(check.advice))
        table.add_row(*words)
    Console().print(table)
