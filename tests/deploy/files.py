"""Reads what deploy/ holds."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from stream_detect.cli.app import app

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
COMPOSE = ROOT / "deploy" / "compose.yaml"
UNIT = ROOT / "deploy" / "stream-detect.service"


@dataclass(frozen=True, slots=True)
class Instruction:
    """A line of a Dockerfile, with those that continue it."""

    stage: str
    name: str
    words: str

    def listed(self) -> list[str]:
        """The words of the form that needs no shell."""
        listed = json.loads(self.words)
        assert isinstance(listed, list)
        return listed


def instructions(text: str) -> list[Instruction]:
    """Every instruction of a Dockerfile in order, each with the name of its stage."""
    lines = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    found: list[Instruction] = []
    stage = ""
    for line in filter(str.strip, lines):
        name, _, words = line.strip().partition(" ")
        stage = words.split()[-1] if name == "FROM" else stage
        found.append(Instruction(stage, name, " ".join(words.split())))
    return found


def settings(text: str) -> dict[str, list[str]]:
    """Every setting of a unit with its values in order."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", text, flags=re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def watch_options(arguments: list[str]) -> dict[str, Any]:
    """What `stream-detect` understands by these arguments, which have to be those of `watch`.

    Raises:
        click's UsageError: for an option that there isn't, or a value that can't be meant.
    """
    name, *options = arguments
    assert name == "watch"
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    return dict(command.make_context(name, options).params)
