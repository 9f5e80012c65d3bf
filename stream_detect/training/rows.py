"""What figures are made of: one row a still, a clip or a frame of a clip, in arrays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from stream_detect.scoring import logit
from stream_detect.temporal import probability_of
from stream_detect.training.facts import guess_from_facts
from stream_detect.training.looks import EXPOSURE, SHARPNESS, Look, Scored, file_llr

RowKind = Literal["image", "video", "frame"]
OURS, FACTS, MEAN = "ours", "facts", "mean of experts"
OFFICIAL = "official "  # begins the names of MesoNet with its authors' weights
MEASURES: dict[str, Callable[[Look], float]] = {
    "face size in pixels": lambda look: look.face_px,
    "turn of the head": lambda look: look.turn,
    "brightness of the face": lambda look: quality_of(look, EXPOSURE),
    "sharpness of the face": lambda look: quality_of(look, SHARPNESS),
}


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Stills, clips or frames of clips; all arrays are (rows,)."""

    kind: RowKind
    is_fake: Bool[np.ndarray, " rows"]
    group: np.ndarray  # whose they are
    generator: np.ndarray
    source: np.ndarray
    given: Float[np.ndarray, " rows"]  # fake_probability; NaN where nothing could be judged
    verdict: np.ndarray
    columns: dict[str, Float[np.ndarray, " rows"]]  # "ours", baselines, experts: in [0, 1], 0.5 where nothing was said
    measures: dict[str, Float[np.ndarray, " rows"]]  # of MEASURES; NaN where there is none

    def __len__(self) -> int:
        return len(self.is_fake)

    @property
    def judged(self) -> Bool[np.ndarray, " rows"]:
        judged: np.ndarray = np.isfinite(self.given)
        return judged

    def part(self, chosen: np.ndarray) -> "Rows":
        """Some of the rows, by their numbers or by a mask."""
        return Rows(
            kind=self.kind,
            is_fake=self.is_fake[chosen],
            group=self.group[chosen],
            generator=self.generator[chosen],
            source=self.source[chosen],
            given=self.given[chosen],
            verdict=self.verdict[chosen],
            columns={name: column[chosen] for name, column in self.columns.items()},
            measures={name: values[chosen] for name, values in self.measures.items()},
        )


def rows_of(scored: Sequence[Scored]) -> dict[RowKind, Rows]:
    """The rows of stills, clips and frames of clips."""
    return {"image": file_rows("image", scored), "video": file_rows("video", scored), "frame": frame_rows(scored)}


def file_rows(kind: Literal["image", "video"], scored: Sequence[Scored]) -> Rows:
    """A row for every file of one kind."""
    some = [one for one in scored if one.item.kind == kind]
    is_fake = np.array([one.item.is_fake for one in some], bool)
    group = np.array([one.item.group for one in some], str)
    given = np.array([or_nan(one.score.fake_probability) for one in some], np.float64)
    columns = {OURS: or_half(given)}
    if len(np.unique(is_fake)) == 2:
        columns[FACTS] = guess_from_facts([one.facts for one in some], is_fake, group)
    experts = list(dict.fromkeys(name for one in some for name in one.score.experts))
    said = {name: np.array([or_nan(one.score.experts.get(name)) for one in some], np.float64) for name in experts}
    beside = list(dict.fromkeys(name for one in some for look in one.judged for name in look.beside))
    columns |= {name: or_half(np.array([beside_probability(one, name) for one in some])) for name in beside}
    measures = {name: np.array([median_of(one.main, of) for one in some]) for name, of in MEASURES.items()}
    return Rows(
        kind=kind,
        is_fake=is_fake,
        group=group,
        generator=np.array([one.item.generator for one in some], str),
        source=np.array([one.item.source for one in some], str),
        given=given,
        verdict=np.array([one.score.verdict for one in some], str),
        columns=columns | expert_columns(said, len(some)),
        measures=measures,
    )


def frame_rows(scored: Sequence[Scored]) -> Rows:
    """A row for the largest face of every analysed frame of the clips."""
    seen = [(one, look) for one in scored if one.item.kind == "video" for look in one.main]
    given = np.array([or_nan(look.verdict.fake_probability) for _, look in seen], np.float64)
    experts = list(dict.fromkeys(name for _, look in seen for name in look.verdict.experts))
    said = {name: np.array([or_nan(look.verdict.experts.get(name)) for _, look in seen]) for name in experts}
    names = list(dict.fromkeys(name for _, look in seen for name in look.beside))
    beside = {name: np.array([sigmoid(look.beside.get(name)) for _, look in seen]) for name in names}
    return Rows(
        kind="frame",
        is_fake=np.array([one.item.is_fake for one, _ in seen], bool),
        group=np.array([one.item.group for one, _ in seen], str),
        generator=np.array([one.item.generator for one, _ in seen], str),
        source=np.array([one.item.source for one, _ in seen], str),
        given=given,
        verdict=np.array([look.verdict.verdict for _, look in seen], str),
        columns={OURS: or_half(given)}
        | {name: or_half(column) for name, column in beside.items()}
        | expert_columns(said, len(seen)),
        measures={name: np.array([of(look) for _, look in seen]) for name, of in MEASURES.items()},
    )


def beside_probability(one: Scored, name: str) -> float:
    """What another detector says of a file, by the same way from faces to files; NaN where it said nothing."""
    return sigmoid(file_llr(one, np.array([look.beside.get(name, np.nan) for look in one.judged])))


def expert_columns(said: dict[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
    """Each expert's probabilities, after the sigmoid of the plain mean of their logits: what the fusion has to beat."""
    if not said:
        return {MEAN: np.full(rows, 0.5)}
    halves = {name: or_half(column) for name, column in said.items()}
    total = np.sum([logit(column) for column in halves.values()], axis=0)  # a half adds nothing
    means = total / np.maximum(np.sum([np.isfinite(column) for column in said.values()], axis=0), 1)
    return {MEAN: 1 / (1 + np.exp(-means))} | halves


def median_of(looks: Sequence[Look], measure: Callable[[Look], float]) -> float:
    values = np.array([measure(look) for look in looks])
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def quality_of(look: Look, measure: int) -> float:
    return float("nan") if look.quality is None else float(look.quality[measure])


def sigmoid(logit: float | None) -> float:
    return float("nan") if logit is None or not np.isfinite(logit) else probability_of(logit)


def or_nan(probability: float | None) -> float:
    return float("nan") if probability is None else probability


def or_half(column: Float[np.ndarray, " rows"]) -> Float[np.ndarray, " rows"]:
    """A probability where nothing was said is one half."""
    return np.where(np.isfinite(column), column, 0.5)
