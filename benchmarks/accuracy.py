"""How accurate is the detector? Everything that docs/accuracy.md says, measured again where the data are present.

python -m benchmarks.accuracy DATA [--weights DIR] [--mesonet FILE.h5 ...] [--jobs 2] [--page]

DATA holds train/manifest.csv and val/manifest.csv. Val's files are scored as published and controlled, the robustness
suite runs on val's real footage, then tables, plots and the page are written. --page writes the page alone, from the
reports of the last run.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, ROOT, metadata
from stream_detect.errors import OutputError, SourceNotFound, StreamDetectError

DOCS = ROOT / "docs"
RUN = ROOT / "runs" / "accuracy"  # reports with a line for every file and face, which stay on this machine
TERMS = ("raw", "controlled")
PUBLISHED = ("report.json", "report.md", "images.png", "videos.png", "frames.png")
EXPLAINED = "expected the footage described in docs/accuracy.md; name its folder: make accuracy DATA=/path/to/data"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write; gives the exit code, after one line for an error that is the user's to mend."""
    args = parse(arguments)
    try:
        if not args.page:
            measure(args)
        write_pages(args)
    except StreamDetectError as error:
        print(f"accuracy: {error}", file=sys.stderr)
        return 2 if isinstance(error, SourceNotFound) else error.exit_code
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--weights", type=Path, help="a folder; by default the shipped ones")
    parser.add_argument(
        "--mesonet", type=Path, action="append", help="MesoNet's published weights; by default Meso4 beside DATA"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes that score side by side")
    parser.add_argument("--draws", type=int, default=1000, help="of the bootstrap over people")
    parser.add_argument("--faces", type=int, default=100, help="real faces of the robustness suite")
    parser.add_argument("--run", type=Path, default=RUN, help="where the reports of the run are kept")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where the page and its tables and plots go")
    parser.add_argument("--no-suite", action="store_true", help="leave the robustness suite as it was last measured")
    parser.add_argument("--page", action="store_true", help="measure nothing, write the page from the last run")
    return parser.parse_args(arguments)


def measure(args: argparse.Namespace) -> None:
    """Evaluate on all terms and run the suite.

    Raises:
        SourceNotFound: if the data are not there.
        OutputError: if a folder can't be written.
        WeightsError: if weights are missing or damaged.
    """
    train, val = manifests(args.data)
    official = mesonets(args)
    for terms in TERMS:
        evaluate_on(terms, train, val, official, args)
    if not args.no_suite:
        run_suite(train, val, official, args)


def manifests(data: Path) -> tuple[Path, Path]:
    """The manifests of training and validation.

    Raises:
        SourceNotFound: if either is missing.
    """
    found = data / "train" / "manifest.csv", data / "val" / "manifest.csv"
    for path in found:
        if not path.is_file():
            raise SourceNotFound(f"{path} is not there; {EXPLAINED}")
    return found


def mesonets(args: argparse.Namespace) -> tuple[Path, ...]:
    """MesoNet's published weights: those that were named, or those of a folder beside the data; perhaps none."""
    return tuple(args.mesonet or sorted((args.data.resolve().parent / "peers" / "mesonet").rglob("Meso4_*.h5")))


def evaluate_on(terms: Any, train: Path, val: Path, official: tuple[Path, ...], args: argparse.Namespace) -> None:
    from stream_detect.detector import Detector
    from stream_detect.training.evaluate import EvaluateSettings, evaluate

    settings = EvaluateSettings(val, args.run / terms, terms, official, train, args.draws, args.jobs)
    with Detector("cpu", args.weights) as detector:
        report = evaluate(settings, detector, lambda step, done, of, _: progress(f"{terms}: {step}", done, of))
    about = metadata() | {"command": "make accuracy"}
    (args.run / terms / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    for words in report["failed"]:
        print(f"accuracy: {words}", file=sys.stderr)


def run_suite(train: Path, val: Path, official: tuple[Path, ...], args: argparse.Namespace) -> None:
    from benchmarks.robustness import parse as parse_suite
    from benchmarks.robustness import robustness

    asked = [str(val), "--held-out-of", str(train), "--faces", str(args.faces)]
    asked += ["--official", str(official[0])] if official else []
    asked += ["--weights", str(args.weights)] if args.weights else []
    robustness(parse_suite(asked))


def progress(step: str, done: int, of: int) -> None:
    if done % 50 == 0 or done == of:
        print(f"{step} {done} of {of}", file=sys.stderr, flush=True)


def write_pages(args: argparse.Namespace) -> Path:
    """Tables and plots into docs/evaluation, then docs/accuracy.md, and the figures of the model card.

    Raises:
        SourceNotFound: if there are no reports yet.
        OutputError: if something can't be written.
    """
    from benchmarks.accuracy_page import Measured, front_of, page
    from stream_detect.training.card import CARD, put_figures
    from stream_detect.training.plots import plot_front

    measured = Measured(
        reports={terms: read(args.run / terms / "report.json") for terms in TERMS},
        about=read(args.run / TERMS[0] / "about.json"),
        lines={terms: read_lines(args.run / terms / "scores.jsonl") for terms in TERMS},
        experts=read_if_there(RESULTS / version("stream-detect") / "experts.json"),
        suite=read_if_there(RESULTS / version("stream-detect") / "robustness.json"),
        version=version("stream-detect"),
    )
    docs: Path = args.docs
    folder, path = docs / "evaluation", docs / "accuracy.md"
    try:
        publish(args.run, folder)
        for terms in TERMS:
            for kind, words in (("image", "stills"), ("video", "clips")):
                if points := front_of(measured, terms, kind):
                    plot_front(folder / f"{terms}-front-{kind}s.png", points, f"{words}, {terms}")
        path.write_text(page(measured), encoding="utf-8")
        card = (args.weights or ROOT / "stream_detect" / "weights") / CARD
        put_figures(card, measured.reports, measured.about["commit"])
    except OSError as exc:
        raise OutputError(f"{exc.filename}: can't write: {exc.strerror}; name another folder with --docs") from exc
    print(f"wrote {path.name}, {folder.name}/ and the figures of {card.name}")
    return path


def publish(run: Path, folder: Path) -> None:
    """Copy what a run may publish; what stands there of other terms, and so of other weights, goes."""
    from stream_detect.training.evaluate import ENCODED

    folder.mkdir(parents=True, exist_ok=True)
    for stale in [path for terms in set(ENCODED) - set(TERMS) for path in folder.glob(f"{terms}*")]:
        stale.unlink()
    for terms in TERMS:
        for name in PUBLISHED:
            if (run / terms / name).is_file():  # no plot of clips where there are none
                shutil.copyfile(run / terms / name, folder / published(terms, name))


def published(terms: str, name: str) -> str:
    """raw.json, raw-images.png and so on."""
    return f"{terms}{Path(name).suffix}" if name.startswith("report.") else f"{terms}-{name}"


def read(path: Path) -> Any:
    if not path.is_file():
        raise SourceNotFound(f"{path} is not there: nothing was measured yet; run make accuracy, without --page")
    return json.loads(path.read_text(encoding="utf-8"))


def read_if_there(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def read_lines(path: Path) -> list[Any]:
    if not path.is_file():
        raise SourceNotFound(f"{path} is not there: nothing was measured yet; run make accuracy, without --page")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    sys.exit(main())
