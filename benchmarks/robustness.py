"""How well do forgeries show after cameras, calls and codecs? Ten families in eight channels, four of them test-only.

python -m benchmarks.robustness FOOTAGE [--faces 100] [--official Meso4_DF.h5] [--held-out-of MANIFEST] [--out DIR]

FOOTAGE is a folder of real pictures and clips, or a manifest.csv of which only the real items are used. Real and forged
pictures go through the same draws of the channel, and the detector judges both as it judges live frames.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, metadata, on_one_thread, rounded, write_result
from stream_detect.errors import OutputError, StreamDetectError, UsageError

NAME = "robustness"
FACES = 100
SHEET = "forgeries.png"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite; gives the exit code, after one line for an error that is the user's to mend."""
    args = parse(arguments)
    try:
        show(robustness(args))
    except StreamDetectError as error:
        print(f"robustness: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("footage", type=Path, metavar="FOOTAGE")
    parser.add_argument("--out", type=Path, help=f"a folder; by default benchmarks/results/<version>/{NAME}")
    parser.add_argument("--weights", type=Path, help="a folder; by default the shipped ones")
    parser.add_argument(
        "--faces", type=int, default=FACES, help="real faces, of as many sources and people as there are"
    )
    parser.add_argument("--official", type=Path, help="MesoNet's published weights, such as Meso4_DF.h5")
    parser.add_argument("--held-out-of", type=Path, metavar="MANIFEST", help="leave out people whom its training saw")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes that work side by side")
    parser.add_argument("--sheet", action="store_true", help=f"also show faces and their forgeries: {SHEET}")
    return parser.parse_args(arguments)


def robustness(args: argparse.Namespace) -> dict[str, Any]:
    """Everything that is written, after it has been written.

    Raises:
        SourceNotFound: if there is no such footage.
        ConfigError: if it shows no real faces, or those of one person only.
        WeightsError: if weights are missing, damaged or of another kind.
        OutputError: if the folder can't be written.
        UsageError: for a number of faces that can't be meant.
    """
    from benchmarks.robustness_people import gather
    from benchmarks.robustness_scores import contact_sheet, score
    from stream_detect.detector import Detector
    from stream_detect.faces import load_detector
    from stream_detect.weights import load_weights

    if args.faces < 2 or args.jobs < 1:
        raise UsageError(f"expected 2 faces or more and at least one job, got {args.faces} and {args.jobs}")
    on_one_thread()
    about, started_s = told_about(args), time.monotonic()
    weights = load_weights(args.weights)
    folder = make_folder(args.out)
    people = gather(args.footage, args.held_out_of, args.faces, args.seed, load_detector())
    if args.sheet:
        write_picture(folder / SHEET, contact_sheet(people, args.seed))
    with Detector("cpu", weights) as detector:
        scores = score(people, detector, args.official, args.seed, progress, args.jobs)
        result = result_of(scores, detector, args, about)
    result["about"]["seconds"] = rounded(time.monotonic() - started_s, 1)
    write_all(folder, result, scores, args.out is None)
    return result


def result_of(scores: Any, detector: Any, args: argparse.Namespace, about: dict[str, Any]) -> dict[str, Any]:
    from benchmarks.forgeries_unseen import UNSEEN
    from benchmarks.robustness_figures import figures, front

    told = figures(scores, detector.weights.fusion)
    return {
        "question": "AUC of ten families of forgeries, four of them test-only, after eight channels",
        "about": about,
        "settings": {"faces": args.faces, "seed": args.seed, "held_out_of": args.held_out_of and args.held_out_of.name},
        "footage": args.footage.name,
        "weights": f"{'given' if args.weights else 'shipped'}, {detector.weights.digest[:12]}",
        "test_only": {name: family.source for name, family in UNSEEN.items()},
        "figures": told,
        "cost_ms_a_face": {name: rounded(ms) for name, ms in scores.cost_ms.items()},
        "front": front(told["experts"]["subsets"], scores.cost_ms) if told["experts"] else [],
    }


def told_about(args: argparse.Namespace) -> dict[str, Any]:
    """What a number depends on, without the paths of this machine."""
    about = metadata()
    paths = [path for path in (args.footage, args.out, args.weights, args.official, args.held_out_of) if path]
    for path in sorted(paths, key=lambda path: -len(str(path))):
        about["command"] = about["command"].replace(str(path), path.name)
    return about


def make_folder(out: Path | None) -> Path:
    folder = out or RESULTS / version("stream-detect") / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"{folder}: can't write results here: {exc.strerror}; name another folder") from exc
    return folder


def write_all(folder: Path, result: dict[str, Any], scores: Any, is_published: bool) -> None:
    """Figures, tables, heat-maps and raw scores; published figures stand where all benchmarks' do."""
    from benchmarks.robustness_report import draw_all, write_tables

    try:
        if is_published:
            write_result(NAME, result)
        else:
            (folder / f"{NAME}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
            write_scores(folder / "scores.npz", scores)
        write_tables(folder / f"{NAME}.md", result)
        draw_all(folder, result)
    except OSError as exc:
        raise OutputError(f"{folder}: can't write results here: {exc.strerror}; name another folder") from exc


def write_scores(path: Path, scores: Any) -> None:
    """A row for every picture, for whoever wants other figures of the same run."""
    told = ("face", "person", "family", "channel", "is_fake", "partner", "face_px", "llr")
    rows = (*told, "is_found", "is_called_fake", "is_decided")
    names = {name: np.array(getattr(scores, name)) for name in ("families", "channels", "experts")}
    said = {f"said {name}": column for name, column in scores.said.items()}
    arrays: dict[str, Any] = {name: getattr(scores, name) for name in rows} | names | said
    np.savez_compressed(path, **arrays)


def write_picture(path: Path, rgb: np.ndarray) -> None:
    from PIL import Image

    Image.fromarray(rgb).save(path)


def progress(done: int, of: int) -> None:
    if done % 10 == 0 or done == of:
        print(f"{done} of {of} faces forged, sent and judged", file=sys.stderr, flush=True)


def show(result: dict[str, Any]) -> None:
    for name, one in result["figures"]["summary"].items():
        where = " ".join(str(one[key]) for key in ("family", "channel") if one.get(key))
        said = "met" if one["met"] else "missed"
        print(f"{name:24} {one['value']}  target {one['target']} {said}  {where}")
    for name, table in result["figures"]["auc"].items():
        print(f"{name:24} mean {table['mean']['auc']}  test-only {table['mean_unseen']['auc']}")
    print(f"{result['about']['seconds']} s")


if __name__ == "__main__":
    sys.exit(main())
