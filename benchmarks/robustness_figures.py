"""The robustness suite's numbers: AUC of every family in every channel, intervals over people, what experts add."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from benchmarks.forgeries_unseen import UNSEEN
from benchmarks.robustness_scores import PLAIN, Scores
from stream_detect.fusion.calibration import expected_calibration_error
from stream_detect.fusion.fusion import FusionWeights
from stream_detect.training.looks import Look
from stream_detect.training.metrics import auc, auc_of_draws, interval, upper_bound
from stream_detect.training.subsets import llr_with, subsets_of

DRAWS = 500  # of the bootstrap over people
FUSED = "fused"
TARGETS = {  # name -> what is asked for, and whether a figure must be at least or at most that
    "mean": (0.90, "least"),
    "worst_cell": (0.75, "least"),
    "mean_unseen": (0.85, "least"),
    "coverage": (0.90, "least"),
    "false_alarms": (0.01, "most"),
    "worst_calibration_error": (0.08, "most"),
}

Grid = Float[np.ndarray, "families channels"]


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """The rows of every cell, and drawings of people that all columns share."""

    scores: Scores
    rows: dict[tuple[int, int], np.ndarray]  # (family, channel) -> judged forgeries and the real pictures beside them
    draws: Int[np.ndarray, "draws people"]  # how often each person comes

    @classmethod
    def of(cls, scores: Scores, draws: int = DRAWS, seed: int = 0) -> "Cells":
        judged, rows = scores.is_judged, {}
        for family in range(len(scores.families)):
            for channel in range(len(scores.channels)):
                fakes = np.flatnonzero(scores.is_fake & (scores.family == family) & (scores.channel == channel))
                both = np.concatenate([fakes, np.unique(scores.partner[fakes])])
                rows[family, channel] = both[judged[both]]
        people = len(scores.people)
        drawn = np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), size=draws)
        return cls(scores, rows, drawn)

    def grid(self, column: np.ndarray) -> Grid:
        """The AUC of each cell; NaN where a class is missing."""
        return self._table(lambda rows: auc(column[rows], self.scores.is_fake[rows]))

    def drawn(self, column: np.ndarray) -> Float[np.ndarray, "families channels draws"]:
        """The same for every drawing of people."""
        cells = [[self._drawn(column, self.rows[f, c]) for c in self._channels] for f in self._families]
        return np.array(cells)

    def counts(self) -> tuple[Int[np.ndarray, "families channels"], Int[np.ndarray, "families channels"]]:
        """Judged forgeries and judged real pictures of each cell."""
        fakes = self._table(lambda rows: float(self.scores.is_fake[rows].sum()))
        return fakes.astype(np.int64), self._table(len).astype(np.int64) - fakes.astype(np.int64)

    def _drawn(self, column: np.ndarray, rows: np.ndarray) -> np.ndarray:
        if not len(rows):
            return np.full(len(self.draws), np.nan)
        return auc_of_draws(column[rows], self.scores.is_fake[rows], self.draws[:, self.scores.person[rows]])

    def _table(self, figure: Any) -> Grid:
        return np.array([[figure(self.rows[f, c]) for c in self._channels] for f in self._families], np.float64)

    @property
    def _families(self) -> range:
        return range(len(self.scores.families))

    @property
    def _channels(self) -> range:
        return range(len(self.scores.channels))


def figures(scores: Scores, fusion: FusionWeights, draws: int = DRAWS) -> dict[str, Any]:
    """Everything that is published, ready for JSON, but for what experts cost."""
    cells = Cells.of(scores, draws)
    fakes, reals = cells.counts()
    columns = {name: filled(scores, column) for name, column in scores.columns.items()}
    tables = {name: table(cells, column) for name, column in columns.items()}
    channels = {name: channel_figures(scores, k) for k, name in enumerate(scores.channels)}
    return {
        "families": {name: "test only" if name in UNSEEN else "as in training" for name in scores.families},
        "channels": list(scores.channels),
        "faces": int(scores.face.max()) + 1,
        "people": len(scores.people),
        "pictures": {"real": int((~scores.is_fake).sum()), "fake": int(scores.is_fake.sum())},
        "draws": draws,
        "judged_fake": named(fakes, scores),
        "judged_real": named(reals, scores),
        "summary": summary(tables[FUSED], channels, scores),
        "auc": tables,
        "by_channel": channels,
        "experts": worth(cells, fusion),
    }


def filled(scores: Scores, column: np.ndarray) -> np.ndarray:
    """A column in which an expert that says nothing of a judged face counts as undecided."""
    return np.where(scores.is_judged & ~np.isfinite(column), 0.0, column)


def table(cells: Cells, column: np.ndarray) -> dict[str, Any]:
    """The AUC of every cell, and means with their intervals."""
    scores, grid, drawn = cells.scores, cells.grid(column), cells.drawn(column)
    unseen = np.array([name in UNSEEN for name in scores.families])
    worst = np.unravel_index(int(np.argmin(np.where(np.isfinite(grid), grid, np.inf))), grid.shape)
    return {
        "cells": named(grid, scores),
        "families": {n: mean(grid[k], drawn[k]) for k, n in enumerate(scores.families)},
        "channels": {n: mean(grid[:, k], drawn[:, k]) for k, n in enumerate(scores.channels)},
        "mean": mean(grid, drawn),
        "mean_seen": mean(grid[~unseen], drawn[~unseen]),
        "mean_unseen": mean(grid[unseen], drawn[unseen]),
        "worst_cell": figure(grid[worst], drawn[worst])
        | {"family": scores.families[worst[0]], "channel": scores.channels[worst[1]]},
    }


def mean(grid: np.ndarray, drawn: np.ndarray) -> dict[str, float | None]:
    """The mean of cells with its 90 % interval; cells without a figure are left out."""
    by_draw = drawn.reshape(-1, drawn.shape[-1])
    known = np.isfinite(by_draw)
    means = np.where(known, by_draw, 0).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)
    return figure(average(grid), means)


def average(grid: np.ndarray) -> float:
    known = grid[np.isfinite(grid)]
    return float(known.mean()) if len(known) else float("nan")


def figure(value: float, drawn: np.ndarray) -> dict[str, float | None]:
    low, high = interval(drawn)
    return {"auc": short(value), "low": short(low), "high": short(high)}


def named(grid: np.ndarray, scores: Scores) -> dict[str, dict[str, float | int | None]]:
    """family -> channel -> number."""
    is_whole = grid.dtype.kind == "i"
    return {
        family: {c: int(x) if is_whole else short(x) for c, x in zip(scores.channels, row, strict=True)}
        for family, row in zip(scores.families, grid, strict=True)
    }


def short(value: float) -> float | None:
    """Four digits; None for what is not finite, as JSON has it."""
    return round(float(value), 4) if np.isfinite(value) else None


def channel_figures(scores: Scores, channel: int) -> dict[str, Any]:
    """False alarms on real footage, coverage and calibration in one channel."""
    here = scores.channel == channel
    plain = here & (scores.family == PLAIN)
    judged = here & scores.is_judged
    probability = 1 / (1 + np.exp(-scores.llr[judged]))
    is_fake = scores.is_fake[judged]
    share = np.where(is_fake, 1 / max(int(is_fake.sum()), 1), 1 / max(int((~is_fake).sum()), 1))
    has_both = len(np.unique(is_fake)) == 2
    error = expected_calibration_error(probability, is_fake.astype(int), sample_weight=share) if has_both else np.nan
    return {
        **false_alarms(scores, plain),
        "coverage": short(scores.is_judged[here].mean()),
        "coverage_real": short(scores.is_judged[plain].mean()),
        "coverage_fake": short(scores.is_judged[here & scores.is_fake].mean()),
        "decided": short(scores.is_decided[here].mean()),
        "found": short(scores.is_found[here].mean()),
        "face_px": [short(side) for side in np.quantile(scores.face_px[plain], [0.1, 0.5, 0.9])],
        "calibration_error": short(error),
    }


def false_alarms(scores: Scores, rows: np.ndarray) -> dict[str, Any]:
    """How many judged real pictures are called fake, and the largest rate that this leaves possible (95 %, one-sided).

    The bound counts pictures as independent; those of one person are not quite.
    """
    judged = rows & scores.is_judged
    alarms, count = int(scores.is_called_fake[judged].sum()), int(judged.sum())
    return {
        "judged_real": count,
        "called_fake": alarms,
        "false_alarms": short(alarms / count) if count else None,
        "false_alarms_at_most": short(upper_bound(alarms, count)),
    }


def summary(fused: Mapping[str, Any], channels: Mapping[str, Mapping[str, Any]], scores: Scores) -> dict[str, Any]:
    """The figures with targets, and whether each is met."""
    large = scores.face_px >= 64
    errors = {name: c["calibration_error"] for name, c in channels.items() if c["calibration_error"] is not None}
    worst = max(errors, key=lambda name: errors[name], default=None)
    alarms = false_alarms(scores, scores.family == PLAIN)
    values = {
        "mean": fused["mean"]["auc"],
        "worst_cell": fused["worst_cell"]["auc"],
        "mean_unseen": fused["mean_unseen"]["auc"],
        "coverage": short(scores.is_judged[large].mean()) if large.any() else None,
        "false_alarms": alarms["false_alarms"],
        "worst_calibration_error": errors[worst] if worst else None,
    }
    about = {
        "mean": fused["mean"],
        "worst_cell": fused["worst_cell"],
        "mean_unseen": fused["mean_unseen"],
        "coverage": {"of": "faces of 64 pixels and more"},
        "false_alarms": alarms,
        "worst_calibration_error": {"channel": worst},
    }
    return {
        name: {"value": values[name], "target": target, "met": is_met(values[name], target, side), **about[name]}
        for name, (target, side) in TARGETS.items()
    }


def is_met(value: float | None, target: float, side: str) -> bool:
    if value is None:
        return False
    return value >= target if side == "least" else value <= target


def worth(cells: Cells, fusion: FusionWeights) -> dict[str, Any]:
    """Every subset of the fusion's experts: AUC of each alone and of all but each, by family and by channel.

    The logits are those of the one pass; the fusion has weights of its own for every subset.
    """
    scores = cells.scores
    experts = [name for name in fusion.experts if name in scores.experts]
    if not experts:
        return {}
    whole = subset_column(scores, fusion, experts)
    drawn_whole = means_of_draws(cells, whole)
    columns = {chosen: subset_column(scores, fusion, chosen) for chosen in subsets_of(experts)}
    grids = {chosen: cells.grid(column) for chosen, column in columns.items()}
    return {
        "alone": {name: split(grids[(name,)], scores) for name in experts},
        "without": {
            name: split(grids[rest], scores) | {"loss": loss(cells, grids[tuple(experts)], drawn_whole, columns[rest])}
            for name in experts
            if (rest := tuple(other for other in experts if other != name))
        },
        "all": split(grids[tuple(experts)], scores),
        "subsets": [{"experts": list(chosen)} | split(grid, scores, "short") for chosen, grid in grids.items()],
    }


def subset_column(scores: Scores, fusion: FusionWeights, experts: Sequence[str]) -> np.ndarray:
    """The llr of every judged row when only these experts speak."""
    looks: list[Look] = [look for look, judged in zip(scores.looks, scores.is_judged, strict=True) if judged and look]
    column = np.full(len(scores), np.nan)
    column[scores.is_judged] = llr_with(looks, fusion, experts)
    return filled(scores, column)


def means_of_draws(cells: Cells, column: np.ndarray) -> Float[np.ndarray, " draws"]:
    drawn = cells.drawn(column)
    drawn = drawn.reshape(-1, drawn.shape[-1])
    known = np.isfinite(drawn)
    total = np.where(known, drawn, 0).sum(axis=0)
    return np.asarray(total / np.where(known.any(axis=0), known.sum(axis=0), np.nan))


def loss(cells: Cells, whole: Grid, drawn_whole: np.ndarray, column: np.ndarray) -> dict[str, float | None]:
    """How much mean AUC is lost, with its interval, drawing by drawing."""
    low, high = interval(drawn_whole - means_of_draws(cells, column))
    return {"auc": short(average(whole) - average(cells.grid(column))), "low": short(low), "high": short(high)}


def split(grid: Grid, scores: Scores, length: str = "long") -> dict[str, Any]:
    """Means of a grid: over all, over the test-only families, and by family and channel."""
    unseen = np.array([name in UNSEEN for name in scores.families])
    told: dict[str, Any] = {"mean": short(average(grid)), "mean_unseen": short(average(grid[unseen]))}
    if length == "short":
        return told | {"worst_cell": short(np.min(grid[np.isfinite(grid)], initial=1.0))}
    families = {name: short(average(grid[k])) for k, name in enumerate(scores.families)}
    return told | {
        "families": families,
        "channels": {name: short(average(grid[:, k])) for k, name in enumerate(scores.channels)},
    }


def front(subsets: Sequence[Mapping[str, Any]], cost_ms: Mapping[str, float]) -> list[dict[str, Any]]:
    """Every subset with its cost, the cheapest first, and whether no cheaper one is as accurate."""
    priced = [dict(one) | {"ms_a_face": round(sum(cost_ms[name] for name in one["experts"]), 3)} for one in subsets]
    priced.sort(key=lambda one: (one["ms_a_face"], -(one["mean"] or 0)))
    best = -1.0
    for one in priced:
        one["on_front"] = (one["mean"] or 0) > best
        best = max(best, one["mean"] or 0)
    return priced
