"""The figures of an evaluation: rankings with intervals, what verdicts are worth, and whom they fail."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from stream_detect.config import VerdictLimits
from stream_detect.experts.heads import balanced_weights
from stream_detect.fusion.calibration import expected_calibration_error, reliability, risk_coverage
from stream_detect.fusion.fusion import FusionWeights
from stream_detect.scoring import logit
from stream_detect.training.looks import Scored
from stream_detect.training.metrics import (
    auc,
    auc_of_draws,
    average_precision,
    draw_people,
    equal_error_rate,
    interval,
    mean_of_draws,
    true_positive_rate,
    upper_bound,
)
from stream_detect.training.rows import FACTS, OFFICIAL, OURS, Rows, sigmoid
from stream_detect.training.subsets import file_llrs, subsets_of

LEAST_PEOPLE = 20  # real people or files of one source that make a group of their own
LARGE_FACE_PX = 64.0
FEW_DRAWS = 200  # of the bootstrap for figures that are made draw by draw
CURVE_POINTS = np.linspace(0.05, 1, 20)
BANDS: dict[str, tuple[float, ...]] = {  # edges
    "face size in pixels": (0, 64, 96, 128, 192, np.inf),
    "turn of the head": (0, 0.1, 0.25, 0.5, np.inf),
    "brightness of the face": (0, 0.25, 0.4, 0.55, 1.01),
}
Counts = Int[np.ndarray, "draws rows"]
Figure = dict[str, float | None]


def figures(rows: Rows, limits: VerdictLimits, draws: int = 1000) -> dict[str, Any]:
    """All figures of one kind of row; empty without both classes."""
    if len(np.unique(rows.is_fake)) < 2:
        return {}
    counts = draw_people(rows.group, rows.is_fake, draws)
    ours, fake, judged = rows.columns[OURS], rows.is_fake, rows.judged
    return {
        "real": int((~fake).sum()),
        "fake": int(fake.sum()),
        "groups": len(np.unique(rows.group)),
        "real_groups": len(np.unique(rows.group[~fake])),
        "fake_groups": len(np.unique(rows.group[fake])),
        "coverage": rounded(judged.mean()),
        "coverage_real": rounded(judged[~fake].mean()),
        "coverage_fake": rounded(judged[fake].mean()),
        "auc_judged": rounded(auc(ours[judged], fake[judged])),
        "ap": rounded(average_precision(ours, fake)),
        "eer": rounded(equal_error_rate(ours, fake)),
        "tpr_at_1_percent_fpr": rounded(true_positive_rate(ours, fake)),
        "auc": {name: auc_figure(column, fake, counts) for name, column in rows.columns.items()},
        "auc_differences": differences(rows, counts),
        **against_sources(rows, counts),
        "auc_by_generator": by_part(rows, rows.generator, fake, counts),
        "auc_by_real_source": by_part(rows, rows.source, ~fake, counts),
        "by_identity": by_identity(rows),
        "verdicts": verdict_counts(rows),
        **verdict_figures(rows, limits, counts),
        **calibration_figures(rows.given, fake, counts),
        "bands": bands(rows),
    }


def auc_figure(column: np.ndarray, is_fake: np.ndarray, counts: Counts) -> Figure:
    """AUC with its 90 % interval over people."""
    low, high = interval(auc_of_draws(column, is_fake, counts))
    return {"auc": rounded(auc(column, is_fake)), "low": rounded(low), "high": rounded(high)}


def differences(rows: Rows, counts: Counts) -> dict[str, Figure]:
    """Ours minus each baseline, drawn together."""
    ours = auc_of_draws(rows.columns[OURS], rows.is_fake, counts)
    names = [name for name in rows.columns if name == FACTS or name.startswith(OFFICIAL)]
    told = {}
    for name in names:
        low, high = interval(ours - auc_of_draws(rows.columns[name], rows.is_fake, counts))
        gap = auc(rows.columns[OURS], rows.is_fake) - auc(rows.columns[name], rows.is_fake)
        told[f"ours - {name}"] = {"difference": rounded(gap), "low": rounded(low), "high": rounded(high)}
    return told


def against_sources(rows: Rows, counts: Counts) -> dict[str, Any]:
    """Every column against the reals of each large source alone, and the mean of those: sources weigh the same."""
    large = large_sources(rows.source, rows.group, ~rows.is_fake)
    chosen = {name: rows.is_fake | (rows.source == name) for name in large}
    told: dict[str, Any] = {
        name: {
            "real": int((~rows.is_fake[mask]).sum()),
            "auc": {k: auc_figure(c[mask], rows.is_fake[mask], counts[:, mask]) for k, c in rows.columns.items()},
        }
        for name, mask in chosen.items()
    }
    equal = {k: mean_auc(column, rows.is_fake, list(chosen.values()), counts) for k, column in rows.columns.items()}
    return {"auc_against": told, "auc_sources_equal": equal if large else {}}


def large_sources(source: np.ndarray, group: np.ndarray, is_real: np.ndarray) -> list[str]:
    """Sources with at least `LEAST_PEOPLE` real people or files."""
    people = {str(name): len(np.unique(group[is_real & (source == name)])) for name in np.unique(source[is_real])}
    return [name for name, count in people.items() if count >= LEAST_PEOPLE]


def mean_auc(column: np.ndarray, is_fake: np.ndarray, masks: Sequence[np.ndarray], counts: Counts) -> Figure:
    """The mean of the AUCs on several choices of rows."""
    if not masks:
        return {"auc": None, "low": None, "high": None}
    drawn = np.mean([auc_of_draws(column[m], is_fake[m], counts[:, m]) for m in masks], axis=0)
    low, high = interval(drawn)
    mean = float(np.mean([auc(column[m], is_fake[m]) for m in masks]))
    return {"auc": rounded(mean), "low": rounded(low), "high": rounded(high)}


def by_part(rows: Rows, names: np.ndarray, side: np.ndarray, counts: Counts) -> dict[str, Any]:
    """Ours and the published MesoNets: each part of one side against all of the other."""
    told = {}
    shown = [name for name in rows.columns if name == OURS or name.startswith(OFFICIAL)]
    for name in np.unique(names[side]):
        part = side & (names == name)
        mask = ~side | part
        told[str(name)] = {
            "files": int(part.sum()),
            "people": len(np.unique(rows.group[part])),
            **auc_figure(rows.columns[OURS][mask], rows.is_fake[mask], counts[:, mask]),
            "beside": {k: rounded(auc(rows.columns[k][mask], rows.is_fake[mask])) for k in shown if k != OURS},
        }
    return told


def by_identity(rows: Rows) -> list[dict[str, Any]]:
    """Each person of whom there are several rows: how they were judged, and their AUC against all of the other side."""
    told = []
    for is_fake in (False, True):
        side = rows.is_fake == is_fake
        people, sizes = np.unique(rows.group[side], return_counts=True)
        for person in people[sizes > 1]:
            part = side & (rows.group == person)
            mask = ~side | part
            told.append(
                {
                    "person": str(person),
                    "label": "fake" if is_fake else "real",
                    "made_by": sorted({str(name) for name in rows.generator[part]}),
                    "rows": int(part.sum()),
                    "mean_probability": rounded(rows.columns[OURS][part].mean()),
                    "auc": rounded(auc(rows.columns[OURS][mask], rows.is_fake[mask])),
                }
            )
    return told


def verdict_counts(rows: Rows) -> dict[str, dict[str, int]]:
    """How often each verdict was given, by what was true."""
    told = {}
    for label, side in (("real", ~rows.is_fake), ("fake", rows.is_fake)):
        words, times = np.unique(rows.verdict[side], return_counts=True)
        told[label] = {str(word): int(n) for word, n in zip(words, times, strict=True)}
    return told


def verdict_figures(rows: Rows, limits: VerdictLimits, counts: Counts) -> dict[str, Any]:
    """What the verdicts at the shipped thresholds are worth, and how often there is one."""
    large = rows.measures["face size in pixels"] >= LARGE_FACE_PX
    decided = rows.verdict != "inconclusive"
    sides = {"": np.ones(len(rows), bool), "_real": ~rows.is_fake, "_fake": rows.is_fake}
    return {
        "thresholds": {"fake": limits.fake, "real": limits.real},
        "real_called_fake": called(rows, ~rows.is_fake, "fake", counts),
        "fake_called_fake": called(rows, rows.is_fake, "fake", counts),
        "fake_called_real": called(rows, rows.is_fake, "real", counts),
        "decided": {f"all{name}": share(decided, side, counts) for name, side in sides.items()}
        | {f"from_64_px{name}": share(decided, side & large, counts) for name, side in sides.items()},
        "judged_from_64_px": share(rows.judged, large, counts),
    }


def called(rows: Rows, side: np.ndarray, word: str, counts: Counts) -> dict[str, Any]:
    """How many judged rows of one side got a verdict, and the most that this leaves possible (95 %, one-sided).

    The bound on rows holds if they are independent, as stills of different people are; frames of a clip are not, so the
    people are counted too: those who were called so at least once.
    """
    judged = side & rows.judged
    hits = judged & (rows.verdict == word)
    people, people_hit = len(np.unique(rows.group[judged])), len(np.unique(rows.group[hits]))
    return {
        "judged": int(judged.sum()),
        "called": int(hits.sum()),
        **share(hits, judged, counts),
        "bound_95": rounded(upper_bound(int(hits.sum()), int(judged.sum()))),
        "people": people,
        "people_called": people_hit,
        "people_bound_95": rounded(upper_bound(people_hit, people)),
    }


def share(hits: np.ndarray, among: np.ndarray, counts: Counts) -> Figure:
    """The share of some rows with its 90 % interval over people; None where there are none."""
    if not among.any():
        return {"share": None, "low": None, "high": None, "rows": 0}
    low, high = interval(mean_of_draws(hits[among].astype(np.float64), counts[:, among]))
    return {"share": rounded(hits[among].mean()), "low": rounded(low), "high": rounded(high), "rows": int(among.sum())}


def pooled_calibration(parts: Sequence[Rows], draws: int = 1000) -> dict[str, Any]:
    """The calibration figures of several kinds of rows together, such as stills and clips."""
    given, is_fake, group = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("given", "is_fake", "group")
    )
    return calibration_figures(given, is_fake, draw_people(group, is_fake, draws))


def calibration_figures(
    given: Float[np.ndarray, " rows"], is_fake: Bool[np.ndarray, " rows"], counts: Counts
) -> dict[str, Any]:
    """Calibration error, reliability and risk against coverage of what was judged, both classes weighing the same."""
    judged = np.isfinite(given)
    given, labels = given[judged], is_fake[judged].astype(int)
    if len(np.unique(labels)) < 2:
        return {"calibration_error": None}
    llr, counts = logit(given), counts[:FEW_DRAWS, judged]

    def error(weight: np.ndarray) -> float:
        return expected_calibration_error(given, labels, sample_weight=weight)

    def risk_at(coverage: float) -> Callable[[np.ndarray], float]:
        return lambda weight: risk_coverage(llr, labels, weight).at(coverage)

    balanced = balanced_weights(labels)
    diagram, curve = reliability(given, labels, 10, balanced), risk_coverage(llr, labels, balanced)
    full = diagram.faces > 0
    return {
        "calibration_error": rounded(error(balanced)),
        "calibration_error_interval": drawn_interval(error, labels, counts),
        "reliability": {
            "said": [rounded(value) for value in diagram.said[full]],
            "fake": [rounded(value) for value in diagram.fake[full]],
            "rows": [int(count) for count in diagram.faces[full]],
        },
        "risk_coverage": {
            "area": rounded(curve.area),
            "error_at_full_coverage": rounded(curve.at(1.0)),
            "error_at_full_coverage_interval": drawn_interval(risk_at(1.0), labels, counts),
            "error_at_80_percent": rounded(curve.at(0.8)),
            "error_at_80_percent_interval": drawn_interval(risk_at(0.8), labels, counts),
            "coverage": [rounded(value) for value in CURVE_POINTS],
            "risk": [rounded(curve.at(value)) for value in CURVE_POINTS],
        },
    }


def drawn_interval(figure: Callable[[np.ndarray], float], labels: np.ndarray, counts: Counts) -> list[float | None]:
    """The 90 % interval of a figure of weighted rows, draw by draw; both classes weigh the same in each."""
    values = []
    for drawn in counts:
        if drawn[labels == 0].any() and drawn[labels == 1].any():
            values.append(figure(balanced_weights(labels, drawn)))
    return [rounded(edge) for edge in interval(np.array(values))]


def bands(rows: Rows) -> dict[str, list[dict[str, Any]]]:
    """Verdicts by what can be measured of a face without knowing who it is; sharpness by its quarters."""
    sharp = rows.measures["sharpness of the face"]
    known = sharp[np.isfinite(sharp)]
    quarters = np.quantile(known, [0, 0.25, 0.5, 0.75, 1]) if len(known) else np.zeros(1)
    edges = BANDS | {"sharpness of the face": tuple(np.unique(np.r_[quarters[:-1], np.inf]).tolist())}
    return {name: [band(rows, name, *ends) for ends in pairwise(some)] for name, some in edges.items()}


def band(rows: Rows, measure: str, low: float, high: float) -> dict[str, Any]:
    values = rows.measures[measure]
    part = rows.part((values >= low) & (values < high))
    told: dict[str, Any] = {"from": rounded(low), "to": rounded(high)}
    for label, side in (("real", ~part.is_fake), ("fake", part.is_fake)):
        told |= {label: int(side.sum()), f"{label}_people": len(np.unique(part.group[side]))}
        for word in ("real", "fake", "inconclusive"):
            hits = part.verdict[side] == word
            told[f"{label}_called_{word}"] = rounded(hits.mean()) if len(hits) else None
    return told | {"auc": rounded(auc(part.columns[OURS], part.is_fake))}


def subset_figures(scored: Sequence[Scored], fusion: FusionWeights, draws: int = 1000) -> list[dict[str, Any]]:
    """AUC of stills and clips with every subset of the experts, and what is lost against all of them.

    Empty without both classes of either kind, or where no expert that the fusion knows was asked.
    """
    experts = [name for name in fusion.experts if any(name in look.logits for one in scored for look in one.judged)]
    kinds = {kind: [one for one in scored if one.item.kind == kind] for kind in ("image", "video")}
    both = {kind: some for kind, some in kinds.items() if len({one.item.is_fake for one in some}) == 2}
    if not experts or not both:
        return []
    tables = {kind: SubsetTable(some, fusion, experts, draws) for kind, some in both.items()}
    return [
        {"experts": list(chosen)} | {kind: table.figures(chosen) for kind, table in tables.items()}
        for chosen in subsets_of(experts)
    ]


class SubsetTable:
    """Files of one kind, on which subsets of the experts are compared draw by draw."""

    def __init__(self, scored: Sequence[Scored], fusion: FusionWeights, experts: Sequence[str], draws: int) -> None:
        self._scored, self._fusion = scored, fusion
        self._is_fake = np.array([one.item.is_fake for one in scored], bool)
        source = np.array([one.item.source for one in scored], str)
        group = np.array([one.item.group for one in scored], str)
        large = large_sources(source, group, ~self._is_fake)
        self._masks = [self._is_fake | (source == name) for name in large] or [np.ones(len(scored), bool)]
        self._counts = draw_people(group, self._is_fake, draws)
        self._whole = self._column(experts)
        self._drawn = auc_of_draws(self._whole, self._is_fake, self._counts)

    def figures(self, experts: Sequence[str]) -> Mapping[str, Any]:
        """AUC, the same with real sources weighing the same, and the loss against all experts with its interval."""
        column = self._column(experts)
        drawn = auc_of_draws(column, self._is_fake, self._counts)
        low, high = interval(self._drawn - drawn)
        loss = auc(self._whole, self._is_fake) - auc(column, self._is_fake)
        return auc_figure(column, self._is_fake, self._counts) | {
            "sources_equal": mean_auc(column, self._is_fake, self._masks, self._counts)["auc"],
            "loss": {"difference": rounded(loss), "low": rounded(low), "high": rounded(high)},
        }

    def _column(self, experts: Sequence[str]) -> Float[np.ndarray, " files"]:
        llr = file_llrs(self._scored, self._fusion, experts)
        return np.array([sigmoid(value) if np.isfinite(value) else 0.5 for value in llr])


def rounded(value: float) -> float | None:
    """Four digits; None for what is not finite, as JSON has it."""
    return round(float(value), 4) if np.isfinite(value) else None
