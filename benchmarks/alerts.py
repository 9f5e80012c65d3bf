"""How soon are forgeries alerted, how often are real faces, and what does one cost of the other?

python -m benchmarks.alerts DATA --traces REAL.npz --learned TRAIN-FEEDS.npz --feeds VAL-FEEDS.npz[,...] [--write]

DATA holds train/manifest.csv and val/manifest.csv. Real clips of both are judged after every wire (what REAL.npz holds
already is not judged again). TRAIN-FEEDS.npz are feeds that turn forged, made of clips of train: the comparison with a
face's own normal is learned from them; VAL-FEEDS.npz those on which delays are measured, of people whom no training
saw (both by `python -m benchmarks.alert_feeds`). --write puts the levels beside the shipped weights.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import ROOT, metadata, on_one_thread, rounded, write_result
from stream_detect.config import DecisionSettings
from stream_detect.detector import Detector
from stream_detect.errors import StreamDetectError
from stream_detect.temporal import Thresholds
from stream_detect.temporal.thresholds import plain, save_thresholds
from stream_detect.training.alarms import Kept, real_traces
from stream_detect.training.budget import alerts_of, fit_thresholds, poisson_bound, raised_at
from stream_detect.training.manifest import read_manifest
from stream_detect.training.metrics import auc
from stream_detect.training.traces import WIRES, Trace, load_traces
from stream_detect.training.turning import FPS, REAL_S
from stream_detect.training.turns import fit_turn

BUDGETS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # false alarms an hour
SHOWN_AUC = 0.9  # of a feed's frames, from which on it ought to be alerted soon
TARGET_S = 1.0
WEIGHTS = ROOT / "stream_detect" / "weights"
PLOT = ROOT / "docs" / "alerts.png"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--traces", type=Path, required=True, help="of real clips; kept up to date")
    parser.add_argument("--learned", type=Path, required=True, help="feeds to learn from")
    parser.add_argument("--feeds", required=True, help="feeds to measure, files with commas between them")
    parser.add_argument("--fakes", type=Path, help="traces of clips that are forged from their first frame on")
    parser.add_argument("--wires", default=",".join(WIRES), help="that clips are sent through")
    parser.add_argument("--write", action="store_true", help="put the levels beside the shipped weights")
    args = parser.parse_args(arguments)
    on_one_thread()
    try:
        result, thresholds = measure(args)
        if args.write:
            save_thresholds(thresholds, WEIGHTS)
            draw(result, PLOT)
    except StreamDetectError as error:
        print(f"alerts: {error}", file=sys.stderr)
        return error.exit_code
    write_result("alerts", result)
    show(result)
    return 0


def measure(args: argparse.Namespace) -> tuple[dict[str, Any], Thresholds]:
    """The figures, and the levels that they are of."""
    items = [item for part in ("train", "val") for item in read_manifest(args.data / part / "manifest.csv")]
    clips = [item for item in items if item.kind == "video" and not item.is_fake]
    wires = args.wires.split(",")
    with Detector("cpu") as detector:
        kept = Kept(args.traces)
        real = list(real_traces(clips, detector, wires, kept, lambda *_: None, lambda words: print(words)))
        digest = detector.weights.files_digest
    turn = fit_turn([one for one in real if is_of(one, args.data / "train")], load_traces(args.learned))
    thresholds = replace(fit_thresholds(real, Thresholds(turn=turn)), weights=digest)
    feeds = [one for path in args.feeds.split(",") for one in load_traces(Path(path))]
    fakes = load_traces(args.fakes) if args.fakes else []
    return result_of(real, feeds, fakes, thresholds, wires), thresholds


def is_of(one: Trace, part: Path) -> bool:
    """Whether a trace is of a clip of this part of the data."""
    if part not in names:
        names[part] = {item.path.name for item in read_manifest(part / "manifest.csv")}
    return one.clip in names[part]


names: dict[Path, set[str]] = {}  # of the clips of each part of the data


def result_of(
    real: Sequence[Trace], feeds: Sequence[Trace], fakes: Sequence[Trace], thresholds: Thresholds, wires: Sequence[str]
) -> dict[str, Any]:
    usual = DecisionSettings()
    shown = [one for one in feeds if auc_of(one) >= SHOWN_AUC]
    delay = delays(shown, thresholds, usual)
    alone = replace(thresholds, turn=None)
    median_s = rounded(np.median(delay)) if np.isfinite(np.median(delay)) else None
    return {
        "question": "how soon forgeries are alerted within a budget of false alarms, and how often real faces are",
        "about": metadata(),
        "budget_per_hour": usual.false_alarms_per_hour,
        "levels": {name: value for name, value in asdict(thresholds.levels(usual)).items() if name != "turn"},
        "basis": plain(thresholds.basis),
        "real": real_figures(real, thresholds, usual, wires),
        "feeds": {"fps": FPS, "real_s": REAL_S, "codec": "H.264 at 1 Mbit/s", "people": len({f.group for f in feeds})},
        "all": figures(feeds, thresholds, usual),
        f"frame AUC >= {SHOWN_AUC}": figures(shown, thresholds, usual),
        "frame AUC < 0.9": figures([one for one in feeds if auc_of(one) < SHOWN_AUC], thresholds, usual),
        "without the face's own normal": figures(shown, alone, usual),
        "families": {name: figures(some, thresholds, usual) for name, some in by_family(feeds)},
        "forged from the first frame": figures(fakes, thresholds, usual) if fakes else None,
        "curve": [curve_at(budget, shown, feeds, thresholds) for budget in BUDGETS],
        "targets": {
            "median_s": {
                "target": TARGET_S,
                "value": median_s,
                "met": median_s is not None and median_s <= TARGET_S,
            }
        },
    }


def real_figures(
    real: Sequence[Trace], thresholds: Thresholds, settings: DecisionSettings, wires: Sequence[str]
) -> dict[str, Any]:
    """Alarms on real footage, by wire; and what the unique footage allows to be said."""
    alarms = {
        wire: sum(len(raised_at(one, thresholds, settings)) for one in real if one.wire == wire) for wire in wires
    }
    minutes = {wire: rounded(sum(one.seconds for one in real if one.wire == wire) / 60) for wire in wires}
    worst = max(alarms.values(), default=0)
    return {
        "alarms": alarms,
        "minutes": minutes,
        "alarms_of_people_left_out": thresholds.basis.alarms,
        "bound_95_per_hour": poisson_bound(worst, thresholds.basis.minutes / 60),
    }


def by_family(feeds: Sequence[Trace]) -> Iterator[tuple[str, list[Trace]]]:
    for name in dict.fromkeys(one.wire for one in feeds):
        yield name, [one for one in feeds if one.wire == name]


def auc_of(one: Trace) -> float:
    """How well single frames tell a feed's forged part from its real one; 0 where a part was not judged."""
    said = np.isfinite(one.llr)
    value = auc(one.llr[said], one.pts_s[said] >= one.change_s)
    return value if np.isfinite(value) else 0.0


def delays(feeds: Sequence[Trace], thresholds: Thresholds, settings: DecisionSettings) -> np.ndarray:
    """Seconds from the change to the alert in each feed; infinite where there is none."""
    start = [0.0 if one.is_real else one.change_s for one in feeds]
    raised = [raised_at(one, thresholds, settings) for one in feeds]
    first = [min((at - s for at in some if at >= s), default=np.inf) for some, s in zip(raised, start, strict=True)]
    return np.array(first)


def figures(feeds: Sequence[Trace], thresholds: Thresholds, settings: DecisionSettings) -> dict[str, Any]:
    """Median and 90 % of the delays, what never was alerted, and what was alerted before it was forged."""
    if not feeds:
        return {"feeds": 0}
    delay = delays(feeds, thresholds, settings)
    early = [
        one
        for one in feeds
        if not one.is_real and any(at < one.change_s for at in raised_at(one, thresholds, settings))
    ]
    doubled = sum(max(0, sum(a.event == "raised" for a in alerts_of(one, thresholds, settings)) - 1) for one in feeds)
    return {
        "feeds": len(feeds),
        "median_s": finite(np.quantile(delay, 0.5, method="higher")),
        "p90_s": finite(np.quantile(delay, 0.9, method="higher")),
        "never": rounded(np.mean(np.isinf(delay))),
        "too_early": len(early),
        "further_alerts": doubled,
        "mean_frame_auc": rounded(np.mean([auc_of(one) for one in feeds])) if not feeds[0].is_real else None,
    }


def finite(value: float) -> float | None:
    return rounded(value) if np.isfinite(value) else None


def curve_at(budget: float, shown: Sequence[Trace], feeds: Sequence[Trace], thresholds: Thresholds) -> dict[str, Any]:
    settings = DecisionSettings(false_alarms_per_hour=budget)
    return {
        "per_hour": budget,
        "shown": figures(shown, thresholds, settings),
        "all": figures(feeds, thresholds, settings),
    }


def show(result: Mapping[str, Any]) -> None:
    """The tables, in Markdown."""
    basis = result["basis"]
    print(f"{basis['minutes']} minutes of {basis['identities']} people; {basis['hours_replayed']} h replayed")
    print("alarms on them by wire:", result["real"]["alarms"], "people left out:", basis["alarms"])
    print(f"95 % bound of what they show: {result['real']['bound_95_per_hour']} an hour")
    print("| feeds | number | mean frame AUC | median, s | p90, s | never |\n|---|---|---|---|---|---|")
    rows = {
        name: result[name] for name in ("all", "frame AUC >= 0.9", "frame AUC < 0.9", "without the face's own normal")
    }
    if result["forged from the first frame"]:
        rows["forged from the first frame"] = result["forged from the first frame"]
    for name, one in {**rows, **result["families"]}.items():
        print(
            f"| {name} | {one['feeds']} | {one.get('mean_frame_auc')} | {one.get('median_s')} | {one.get('p90_s')} "
            f"| {one.get('never')} |"
        )
    print("| false alarms an hour | median, s | never |\n|---|---|---|")
    for one in result["curve"]:
        print(f"| {one['per_hour']} | {one['shown']['median_s']} | {one['shown']['never']} |")
    target = result["targets"]["median_s"]
    print(f"median {target['value']} s, target {target['target']} s: {'met' if target['met'] else 'missed'}")


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Delay and misses over the budget."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    budgets = [one["per_hour"] for one in result["curve"]]
    for key, words in (("shown", f"feeds whose frames have AUC ≥ {SHOWN_AUC}"), ("all", "all feeds")):
        medians = [np.nan if one[key]["median_s"] is None else one[key]["median_s"] for one in result["curve"]]
        left.plot(budgets, medians, marker="o", label=f"median, {words}")
        right.plot(budgets, [100 * one[key]["never"] for one in result["curve"]], marker="o", label=words)
    left.axhline(TARGET_S, color="0.6", linestyle="--", label="target")
    for axes, words in ((left, "from the change to the alert, s"), (right, "never alerted within 4 s, %")):
        axes.set_xscale("log")
        axes.axvline(result["budget_per_hour"], color="0.8", linewidth=6, zorder=0)
        axes.set(xlabel="budget: false alarms of a feed an hour", ylabel=words, ylim=(0, None))
        axes.legend(fontsize=8, frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
