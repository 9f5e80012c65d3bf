"""`stream-detect score`: one line a file."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_detect.cli.watch import ENGINE
from stream_detect.errors import SourceError

if TYPE_CHECKING:
    from stream_detect.detector import Detector
    from stream_detect.explain.folder import ExplanationFolder
    from stream_detect.types import Score

EXAMPLE = (
    "Examples: stream-detect score clip.mp4\n\nstream-detect score photos/ --jsonl scores.jsonl\n\n"
    "stream-detect score *.jpg --jsonl - | jq 'select(.verdict==\"fake\").path'\n\n"
    "stream-detect score interview.mp4 --explain pictures/"
)
COULD_NOT_READ = 3


def score(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Pictures, videos, and folders of them (all levels).")
    ],
    jsonl: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|-",
            help="Write JSON lines to a file or to stdout (-). Default: stdout, in words on a terminal.",
        ),
    ] = None,
    explain: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a picture a file that shows what the experts saw.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda[:N].")] = "auto",
    experts: Annotated[
        str | None, typer.Option(metavar="A,B", help="Use these experts only, such as spectrum,mesonet.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(metavar="DIR", help="Weights other than the shipped ones.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each network.")] = 1,
    engine: Annotated[str, typer.Option(metavar="NAME", help=ENGINE)] = "onnxruntime",
) -> None:
    """Score pictures and videos: one line a file, forged or not, and why nothing could be said.

    Of a video every frame is decoded and about eight a second are judged.
    """
    from stream_detect.cli.watch import make_detector

    files, failures = listed(paths)
    if not files:
        raise typer.Exit(told_failures(failures, len(paths)))
    with ExitStack() as stack:
        tell = teller(stack, jsonl)
        pictures = open_pictures(explain)
        detector = make_detector(device, weights, experts, threads, engine=engine)
        for path in with_progress(files):
            try:
                tell(scored(detector, path, pictures))
            except SourceError as error:
                failures.append(str(error))
    raise typer.Exit(told_failures(failures, max(len(paths), len(files))))


def open_pictures(folder: Path | None) -> "ExplanationFolder | None":
    """Where explanations go, if any are asked for."""
    if folder is None:
        return None
    from stream_detect.explain.folder import ExplanationFolder

    return ExplanationFolder(folder)


def scored(detector: "Detector", path: Path, pictures: "ExplanationFolder | None") -> "Score":
    """The score of a file; its explanation is written first, if there is a folder for it."""
    if pictures is None:
        return detector.score(path, on_warning=warn(path))
    explanation = detector.explain(path, on_warning=warn(path))
    return replace(explanation.score, explanation=pictures.take(explanation))


def listed(paths: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The files to score, in order, each once, and what is wrong with paths that lead to none."""
    files: list[Path] = []
    failures: list[str] = []
    for path in paths:
        inside = sorted(one for one in path.rglob("*") if is_medium(one)) if path.is_dir() else [path]
        files += [one for one in inside if os.path.exists(one)]
        if not inside:
            failures.append(
                f"{path}: no picture and no video in this folder; name the files if they have other endings"
            )
        elif not os.path.exists(path):
            failures.append(f"{path}: no such file or folder; check the path")
    return list(dict.fromkeys(files)), failures


def is_medium(path: Path) -> bool:
    """Whether a file in a folder is taken for a picture or a video, by its ending; explanations are not."""
    from stream_detect.explain.folder import ENDING
    from stream_detect.sources.picture import PICTURE_ENDINGS
    from stream_detect.training.manifest import VIDEOS

    is_one = path.suffix.lower() in PICTURE_ENDINGS | VIDEOS and not path.name.endswith(ENDING)
    return is_one and path.is_file()


def teller(stack: ExitStack, jsonl: str | None) -> "Callable[[Score], None]":
    """How a score is told: as a JSON line, for a program, or in words, for a person at a terminal."""
    from stream_detect.alerts import JsonlSink

    if jsonl is None and sys.stdout.isatty():
        return tell_in_words
    sink = stack.enter_context(JsonlSink(jsonl or "-"))
    return sink.take


def tell_in_words(score: "Score") -> None:
    from rich.console import Console

    from stream_detect.alerts.console import in_words

    Console(highlight=False, soft_wrap=True).print(in_words(score))


def warn(path: Path) -> Callable[[str], None]:
    from stream_detect.cli.app import say

    return lambda words: say(f"{path}: {words}; scored what could be read")


def with_progress(files: Sequence[Path]) -> Iterator[Path]:
    """The files, with a progress bar where somebody watches and there are several."""
    if len(files) < 2 or not sys.stderr.isatty():
        yield from files
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(files, "scoring", console=Console(stderr=True), transient=True)


def told_failures(failures: Sequence[str], asked: int) -> int:
    """Say what could not be read, one line each, and how much that was if more was asked for; the exit code."""
    from stream_detect.cli.app import say

    for words in failures:
        say(words)
    if failures and asked > 1:
        say(f"{len(failures)} could not be scored, see above; everything else is done")
    return COULD_NOT_READ if failures else 0
