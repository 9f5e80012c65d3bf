"""Plots of an evaluation: ROC, reliability, risk against coverage and scores by generator, one PNG each a kind."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stream_detect.training.metrics import auc, roc
from stream_detect.training.rows import FACTS, OFFICIAL, OURS, Rows

NAMES = {"image": "stills", "video": "clips", "frame": "frames of clips"}
DPI = 100
GREY = "0.7"


def plot_rows(path: Path, rows: Rows, figures: Mapping[str, Any]) -> Path:
    """Write the plots of one kind of row that has both classes; gives their path.

    Args:
        path: of the PNG.
        rows: stills, clips or frames.
        figures: of the same rows, as `figures` makes them.
    """
    plt = pyplot()
    figure, axes = plt.subplots(2, 2, figsize=(12, 9), layout="constrained")
    draw_roc(axes[0, 0], rows)
    draw_reliability(axes[0, 1], figures)
    draw_risk(axes[1, 0], figures)
    draw_scores(axes[1, 1], rows)
    real, fake = (f"{figures[side]} {side} ({figures[f'{side}_groups']} people or files)" for side in ("real", "fake"))
    figure.suptitle(f"{NAMES[rows.kind]}: {real}, {fake}")
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
    return path


def pyplot() -> Any:
    """matplotlib.pyplot, drawing to files alone."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def draw_roc(axes: Any, rows: Rows) -> None:
    """Ours thick, the published MesoNets and the baseline dashed, experts thin."""
    for name, column in rows.columns.items():
        is_baseline = name == FACTS or name.startswith(OFFICIAL)
        axes.plot(
            *roc(column, rows.is_fake),
            label=f"{name} {auc(column, rows.is_fake):.3f}",
            linewidth=2.6 if name == OURS else 1.0,
            linestyle="--" if is_baseline else "-",
        )
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    axes.set(xlabel="share of reals above the threshold", ylabel="share of fakes above it", title="ROC (AUC)")
    axes.legend(fontsize=7, loc="lower right")


def draw_reliability(axes: Any, figures: Mapping[str, Any]) -> None:
    """What was said against what was so; every bin with its number of rows."""
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    axes.set(xlabel="probability said", ylabel="share that is fake", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    axes.set(title=f"reliability (calibration error {told(figures['calibration_error'])})")
    if diagram := figures.get("reliability"):
        axes.plot(diagram["said"], diagram["fake"], marker="o")
        for said, fake, count in zip(diagram["said"], diagram["fake"], diagram["rows"], strict=True):
            axes.annotate(str(count), (said, fake), fontsize=7, xytext=(4, -8), textcoords="offset points")


def draw_risk(axes: Any, figures: Mapping[str, Any]) -> None:
    """The error when only the surest rows are answered, and where the shipped thresholds stand on coverage."""
    axes.set(xlabel="coverage", ylabel="error of what is answered", title="risk against coverage", xlim=(0, 1.02))
    if risk := figures.get("risk_coverage"):
        axes.plot(risk["coverage"], risk["risk"], label=f"area {told(risk['area'])}")
        axes.axvline(0.8, color=GREY, linewidth=0.8)
        decided = figures["decided"]["all"]["share"]
        axes.axvline(decided, color="tab:green", linestyle=":", label=f"decided at the thresholds: {decided:.2f}")
        axes.legend(fontsize=8)
    axes.set_ylim(bottom=0)


def draw_scores(axes: Any, rows: Rows) -> None:
    """Every judged row as a point, by who made it."""
    names = sorted({str(name) for name in rows.generator}, key=lambda name: (name != "none", name))
    rng = np.random.default_rng(0)
    for line, name in enumerate(names):
        values = rows.given[(rows.generator == name) & rows.judged]
        height = line + rng.uniform(-0.3, 0.3, len(values))
        axes.scatter(values, height, s=7, alpha=0.5, marker="o" if name == "none" else "x")
    axes.set(yticks=range(len(names)), yticklabels=["real" if name == "none" else name for name in names])
    axes.set(xlabel="fake_probability", title="scores by generator", xlim=(-0.02, 1.02))


def plot_front(path: Path, points: Sequence[Mapping[str, Any]], title: str) -> Path:
    """AUC over milliseconds a face of subsets of the experts; those on the front are joined and named.

    Args:
        points: with the keys "experts" (names), "ms", "auc" and "is_front".
    """
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    axes.scatter([p["ms"] for p in points], [p["auc"] for p in points], s=14, color=GREY)
    front = sorted((p for p in points if p["is_front"]), key=lambda p: float(p["ms"]))
    axes.plot([p["ms"] for p in front], [p["auc"] for p in front], marker="o", markersize=4)
    for point in front:
        words = " + ".join(point["experts"])
        axes.annotate(words, (point["ms"], point["auc"]), fontsize=7, xytext=(5, -9), textcoords="offset points")
    axes.set(xlabel="milliseconds a face, one thread", ylabel="AUC", title=title)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
    return path


def told(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
