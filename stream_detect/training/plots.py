"""Plots of an evaluation: ROC, calibration and scores by generator, one PNG each a kind of file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stream_detect.training.metrics import auc, roc

if TYPE_CHECKING:
    from stream_detect.training.evaluate import Scored

BINS = 10


def plot_all(out: Path, scored: Sequence[Scored]) -> list[Path]:
    """Write the plots of every kind of file that has both classes; gives their paths."""
    import matplotlib

    matplotlib.use("Agg")
    made = []
    for kind in ("image", "video"):
        some = [one for one in scored if one.item.kind == kind]
        if len({one.item.is_fake for one in some}) == 2:
            made.append(plot_kind(out / f"{kind}s.png", f"{kind}s", some))
    return made


def plot_kind(path: Path, title: str, scored: Sequence[Scored]) -> Path:
    from matplotlib import pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.6), layout="constrained")
    is_fake = np.array([one.item.is_fake for one in scored], bool)
    draw_roc(left, scored, is_fake)
    draw_calibration(middle, scored, is_fake)
    draw_scores(right, scored)
    figure.suptitle(f"{title}: {int((~is_fake).sum())} real, {int(is_fake.sum())} fake")
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def draw_roc(axes: Any, scored: Sequence[Scored], is_fake: np.ndarray) -> None:
    columns = {"fused": np.array([_or_half(one.score.fake_probability) for one in scored])}
    for name in sorted({name for one in scored for name in one.score.experts}):
        columns[name] = np.array([_or_half(one.score.experts.get(name)) for one in scored])
    for name, column in columns.items():
        width = 2.6 if name == "fused" else 1.0
        axes.plot(*roc(column, is_fake), label=f"{name} {auc(column, is_fake):.3f}", linewidth=width)
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
    axes.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC (AUC)")
    axes.legend(fontsize=8, loc="lower right")


def draw_calibration(axes: Any, scored: Sequence[Scored], is_fake: np.ndarray) -> None:
    given = np.array([np.nan if (p := one.score.fake_probability) is None else p for one in scored])
    said = np.isfinite(given)
    member = np.minimum((given[said] * BINS).astype(int), BINS - 1)
    counts = np.bincount(member, minlength=BINS)
    there = counts > 0
    mean = np.bincount(member, given[said], BINS)[there] / counts[there]
    share = np.bincount(member, is_fake[said].astype(float), BINS)[there] / counts[there]
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
    axes.plot(mean, share, marker="o")
    for x, y, count in zip(mean, share, counts[there], strict=True):
        axes.annotate(str(count), (x, y), fontsize=7, xytext=(4, -8), textcoords="offset points")
    axes.set(
        xlabel="probability said", ylabel="share that is fake", title="calibration (files a bin)", ylim=(-0.03, 1.03)
    )


def draw_scores(axes: Any, scored: Sequence[Scored]) -> None:
    names = sorted({one.item.generator for one in scored}, key=lambda name: (name != "none", name))
    rng = np.random.default_rng(0)
    for row, name in enumerate(names):
        values = [p for one in scored if one.item.generator == name and (p := one.score.fake_probability) is not None]
        label_row = row + rng.uniform(-0.3, 0.3, len(values))
        axes.scatter(values, label_row, s=7, alpha=0.5, marker="o" if name == "none" else "x")
    axes.set(yticks=range(len(names)), yticklabels=["real" if name == "none" else name for name in names])
    axes.set(xlabel="fake_probability", title="scores by generator", xlim=(-0.02, 1.02))


def _or_half(probability: float | None) -> float:
    return 0.5 if probability is None else probability
