"""Adapt weights to a user's own real footage: heads, fusion, calibration and limits, in minutes on two cores.

The networks stay as they are, unless they are asked to be tuned as well. Forgeries are made from the footage and
degraded as in training; whatever is fitted to them is taken only if it says more of people and families that the fit
has not seen (`stream_detect.training.refit`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stream_detect.detector import settings_from
from stream_detect.errors import ConfigError, WeightsError
from stream_detect.experts.heads import KindHeads
from stream_detect.faces import load_detector
from stream_detect.fusion.fusion import fuse
from stream_detect.fusion.quality import QUALITY_NAMES, QualityLimits, quality_reasons
from stream_detect.training.folds import Fitted, Footing, make_folds
from stream_detect.training.footage import Warn, base_weights, limits_of, own_footage, save_beside, spread, told_names
from stream_detect.training.manifest import Item
from stream_detect.training.networks import embed_all
from stream_detect.training.refit import (
    AS_IT_WAS,
    Candidate,
    as_it_is,
    better_heads,
    figures,
    is_clearly_better,
    missing_kinds,
    recalibrated,
    refitted,
)
from stream_detect.training.samples import FINGERPRINTS, Key, Partners, Samples, Task, Workshop, read_shards
from stream_detect.training.scenes import SceneStore, collect
from stream_detect.training.train import (
    FEWEST_PEOPLE,
    FUSIONS,
    HELD_OUT,
    Tell,
    TrainSettings,
    claim_run,
    held_out,
    made_shards,
    operating_point,
    row_weights,
)
from stream_detect.training.tune import trunks_of, tune_networks
from stream_detect.types import KINDS
from stream_detect.weights import Weights

NOTES = "ADAPTED.md"
MOST_FRAMES = 24  # of a clip
SHARD_FACES = 16  # made between two looks at how far it is
PEOPLE_FOR_LIMITS = 300  # of whom none called fake says that at most 1 % are, at 95 % (the rule of three)


@dataclass(frozen=True, slots=True)
class AdaptSettings:
    """What weights are adapted to, and how much of it is looked at."""

    out: Path  # the new weights go here
    run: Path  # faces and forgeries are kept here, some hundred megabytes
    real: tuple[Path, ...]  # folders of real footage; enough on their own
    fake: tuple[Path, ...] = ()  # folders of forged footage; may be empty
    base: Path | None = None  # weights to start from; by default those that came with the package
    faces: int = 500  # faces that are forged, spread evenly over people
    networks: bool = False  # also fine-tune the attention trunks: hours, and many more people
    epochs: float = 1.0  # passes of each trunk over the samples
    strengths: tuple[float, ...] = (0.0, 0.35, 0.85)  # of the degradations, in [0, 1]; drawn face by face
    jobs: int = 2  # processes that forge and degrade
    seed: int = 11

    def __post_init__(self) -> None:
        if min(self.faces, self.jobs) < 1 or self.epochs <= 0:
            raise ConfigError(
                f"faces, jobs and epochs must be positive, got {self.faces}, {self.jobs} and {self.epochs:g}"
            )


@dataclass(frozen=True, slots=True)
class Adapted:
    """What became of the weights, and what that is worth out of fold."""

    taken: str  # heads, fusion and calibration that won
    refitted: tuple[str, ...]  # experts whose heads were fitted anew
    missing: tuple[str, ...]  # kinds of forgery that the footage does not have
    people: int
    faces: int  # rows that could be judged, real and forged
    too_poor: int  # rows that could not be judged
    before: Mapping[str, float]
    after: Mapping[str, float]
    limits: Mapping[str, tuple[float, float]]  # of verdicts, before and after


def adapt(settings: AdaptSettings, tell: Tell = lambda *_: None, warn: Warn = lambda words: None) -> Adapted:
    """Adapt, write the weights with their notes, say what was gained.

    Args:
        settings: what to adapt and to what.
        tell: hears how far each step is.
        warn: hears of files that were left out.

    Raises:
        ConfigError: without real footage or faces, with too few people, or with other work in the run's folder.
        WeightsError: if the weights to start from are missing, damaged, or too old to know kinds of forgery.
        OutputError: if a folder can't be written, or the new weights would replace the old ones.
    """
    items = own_footage(settings.real, settings.fake)
    base = base_weights(settings.base, settings.out)
    check_kinds(base)
    items = [items[k] for k in spread([item.group for item in items], 2 * settings.faces)]
    if settings.networks:
        trunks_of(base)
    store, keys = cut_faces(items, settings, tell, warn)
    held = people_held(items, keys) if settings.networks else set()
    samples = make_samples(items, store, keys, held, settings, tell)
    is_held = np.array([not held or items[k].group in held for k in samples.item])
    features, given, too_poor = evidence(samples, items, base, is_held, tell)
    best, before = best_candidate(base, features, given, tell)
    if settings.networks:
        chances = np.where(is_held, 0, row_weights(items, samples))
        tuned = tune_networks(base, samples, chances, settings.epochs, run_settings(settings, 1), tell)
        features, given, _ = evidence(samples, items, tuned, is_held, tell)
        other, _ = best_candidate(tuned, features, given, tell)
        if is_clearly_better(other.llr, best.llr, given):
            base, best = tuned, replace(other, name=f"networks ({other.name} of the rest)")
    old = limits_of(base)
    new = old if best.name == before.name else careful_limits(best, old)
    report = Adapted(
        taken=best.name,
        refitted=tuple(name for name in best.heads if best.heads[name] is not base.heads[name]),
        missing=tuple(missing_kinds(given, KINDS)),
        people=len(np.unique(given.groups)),
        faces=len(given.groups),
        too_poor=too_poor,
        before=figures(before, old),
        after=figures(best, new),
        limits={name: (old[name], new[name]) for name in new},
    )
    save_beside(adapted_weights(base, best, new, report), settings.base, settings.out, {NOTES: notes_text(report)})
    return report


def check_kinds(base: Weights) -> None:
    """Raise WeightsError if the weights don't tell apart the kinds of forgery that are made here."""
    if base.kinds != KINDS:
        raise WeightsError(
            f"expected weights that tell apart {', '.join(KINDS)}, got {', '.join(base.kinds)}; "
            "weights of this version can be adapted, others only calibrated: stream-detect calibrate"
        )


def cut_faces(items: Sequence[Item], settings: AdaptSettings, tell: Tell, warn: Warn) -> tuple[SceneStore, list[Key]]:
    """The faces to forge, `settings.faces` at most.

    Raises:
        ConfigError: if no face was found, or the real ones are of too few people.
    """
    per_clip = int(np.clip(-(-settings.faces // len(items)), 2, MOST_FRAMES))
    claim_run(items, run_settings(settings, per_clip))
    store = SceneStore(settings.run / "scenes")
    for index in collect(items, store, load_detector(), per_clip, warn):
        tell("cutting faces", index + 1, len(items), items[index].path.name)
    keys = store.keys(range(len(items)))
    if faceless := [item.path for k, item in enumerate(items) if not store.keys([k])]:
        warn(f"no face in {told_names(faceless)} of {len(items)} files")
    people = {items[k].group for k, _ in keys if not items[k].is_fake}
    if not people:
        raise ConfigError("no face was found in the real footage; expected pictures or clips with faces of 40 pixels")
    if len(people) < FEWEST_PEOPLE:
        raise ConfigError(
            f"too few people: expected real faces of {FEWEST_PEOPLE} or more, so that some can be held out, got "
            f"{len(people)}; give more footage, one folder of pictures or one clip a person"
        )
    return store, [keys[k] for k in spread([items[k].group for k, _ in keys], settings.faces)]


def people_held(items: Sequence[Item], keys: Sequence[Key]) -> set[str]:
    """Whom tuned networks don't see, so that the rest can be judged on them.

    Raises:
        ConfigError: if there are too few.
    """
    held = held_out([items[k].group for k, _ in keys if not items[k].is_fake])
    if len(held) < FEWEST_PEOPLE:
        raise ConfigError(
            f"too few people to tune networks: about one in {HELD_OUT} is held out, expected {FEWEST_PEOPLE} of them, "
            f"got {len(held)}; give more footage or leave out --networks"
        )
    return held


def run_settings(settings: AdaptSettings, per_clip: int) -> TrainSettings:
    """What the run's folder is claimed with."""
    return TrainSettings(
        out=settings.out,
        run=settings.run,
        real=settings.real,
        fake=settings.fake,
        rounds=1,
        per_clip=per_clip,
        strengths=settings.strengths,
        pretrained=False,
        seed=settings.seed,
    )


def make_samples(
    items: Sequence[Item], store: SceneStore, keys: Sequence[Key], held: set[str], settings: AdaptSettings, tell: Tell
) -> Samples:
    """The faces and forgeries of them, degraded; shards that are there already are kept.

    Faces of people who are held out are swapped with each other alone.
    """
    order = np.random.default_rng(settings.seed).permutation(len(keys))
    tasks = [
        Task(
            f"{'held' if held else 'faces'}{len(keys):05d}-{number:04d}",
            tuple(keys[k] for k in order[start : start + SHARD_FACES]),
            settings.seed,
            settings.strengths,
        )
        for number, start in enumerate(range(0, len(keys), SHARD_FACES))
    ]
    partners = Partners(items, store, keys, held)
    shards = []
    for shard in made_shards(Workshop(items, store, settings.run / "shards"), tasks, partners, settings.jobs):
        shards.append(shard)
        tell("forging and degrading", len(shards), len(tasks), shard.name)
    return read_shards(shards)


def evidence(
    samples: Samples, items: Sequence[Item], base: Weights, wanted: np.ndarray, tell: Tell
) -> tuple[dict[str, np.ndarray], Footing, int]:
    """Features by expert and the logits of the base's heads, on wanted rows that can be judged; how many could not be.

    Raises:
        ConfigError: if real or forged faces that can be judged are missing, or too few people have any.
        WeightsError: if the heads expect other features.
    """
    limits = settings_from(QualityLimits(), base.quality_limits)
    rows = np.flatnonzero(wanted & np.array([not some for some in quality_reasons(samples.quality, limits)]))
    features = features_of(samples, rows, base, tell)
    groups = np.array([items[k].group for k in samples.item[rows]])
    check_judged(samples.is_fake[rows], groups)
    measures = [QUALITY_NAMES.index(name) for name in base.fusion.quality]
    given = Footing(
        logits=np.stack([base.heads[name](features[name]) for name in base.fusion.experts], axis=1),
        quality=samples.quality[rows][:, measures],
        kind_of=samples.kind[rows],
        family=samples.made[rows],
        groups=groups,
        weight=row_weights(items, samples)[rows],
    )
    said = np.flatnonzero(np.isfinite(fuse(given.logits, given.quality, base.fusion)))
    features = {name: values[said] for name, values in features.items()}
    return features, given.rows(said), int(wanted.sum()) - len(said)


def features_of(samples: Samples, rows: np.ndarray, base: Weights, tell: Tell) -> dict[str, np.ndarray]:
    """What each expert measures on some rows, in the order of the fusion; networks are the base's."""
    from stream_detect.experts.networks import build

    features = {}
    for done, name in enumerate(base.fusion.experts, start=1):
        if name in FINGERPRINTS:
            features[name] = getattr(samples, name)[rows]
        elif name in base.networks:
            features[name] = embed_all(build(base.networks[name]), samples, rows)
        else:
            raise WeightsError(f"{name}: an expert that is not built in can't be adapted; take weights without it")
        if base.heads[name].dim != features[name].shape[1]:
            raise WeightsError(
                f"{name}: the weights expect {base.heads[name].dim} numbers a face, this version measures "
                f"{features[name].shape[1]}; take weights that were made for this version"
            )
        tell("asking the experts", done, len(base.fusion.experts), name)
    return features


def check_judged(is_fake: np.ndarray, groups: np.ndarray) -> None:
    """Raise ConfigError if what can be judged is too little to fit on."""
    people = len(np.unique(groups[~is_fake]))
    if not is_fake.any() or people < FEWEST_PEOPLE:
        raise ConfigError(
            f"too few faces that can be judged: expected real ones of {FEWEST_PEOPLE} people and forgeries, got "
            f"{int((~is_fake).sum())} real of {people} people and {int(is_fake.sum())} forged; give clearer or larger "
            "faces"
        )


def best_candidate(
    base: Weights, features: Mapping[str, np.ndarray], given: Footing, tell: Tell
) -> tuple[Candidate, Candidate]:
    """The last of ever bolder changes that was clearly better than what came before, and the base as it is."""
    folds = make_folds(given.groups, given.family, given.kind_of)
    heads, fusion = {name: base.heads[name] for name in base.fusion.experts}, base.fusion
    before = best = as_it_is(heads, fusion, given)
    steps = 3
    new_heads, new_given = better_heads(heads, features, given, folds, FINGERPRINTS)
    tell("fitting", 1, steps, "heads")
    candidates = [recalibrated("calibration", heads, fusion, given, folds)]
    if any(new_heads[name] is not heads[name] for name in heads):
        candidates.append(recalibrated("heads and calibration", new_heads, fusion, new_given, folds))
    tell("fitting", 2, steps, "calibration")
    if fusion.joint != "linear" or not missing_kinds(given, fusion.kinds):  # a linear one weighs all kinds together
        way = FUSIONS.get(str(base.operating.get("fusion")), {"joint": fusion.joint, "l2": 3e-3, "l2_quality": 1.0})
        candidates.append(refitted("heads, fusion and calibration", new_heads, fusion, new_given, folds, way))
    tell("fitting", 3, steps, "fusion")
    for candidate in candidates:
        if is_clearly_better(candidate.llr, best.llr, given):
            best = candidate
    return best, before


def careful_limits(best: Candidate, old: Mapping[str, float]) -> dict[str, float]:
    """The limits that these rows ask for; without many people only those that call fewer faces fake or real."""
    found = operating_point(Fitted(best.fusion, np.zeros((len(best.llr), 0)), best.llr, ()), best.given)
    fake, real = found["fake"], found["real"]
    if len(np.unique(best.given.groups[best.given.labels == 0])) < PEOPLE_FOR_LIMITS:
        fake, real = max(fake, old["fake"]), min(real, old["real"])
    return {"fake": fake, "real": min(real, fake), "disagreement": found["disagreement"]}


def adapted_weights(base: Weights, best: Candidate, limits: Mapping[str, float], report: Adapted) -> Weights:
    """The base's networks and quality limits with what was found; what the experts know of the spectrum stays too."""
    told: dict[str, float | str] = {
        "adapted": report.taken,
        "adapted_people": report.people,
        "adapted_faces": report.faces,
    }
    measured = {f"adapted_{name}": round(value, 4) for name, value in report.after.items()}
    heads: dict[str, KindHeads] = {**base.heads, **best.heads}
    return replace(
        base,
        heads=heads,
        fusion=best.fusion,
        thresholds={**base.thresholds, **limits},
        operating={**base.operating, **limits, **told, **measured},
        data=f"{base.data}; adapted to {report.faces} faces of {report.people} people of the user's own footage",
        digest="",
    )


def notes_text(report: Adapted) -> str:
    """What was adapted to what, and the figures before and after, for a person."""
    return "\n\n".join(["# Adapted weights", summary(report), figures_text(report), CAUTION]) + "\n"


CAUTION = (
    "The figures are of people and families of forgeries that no fit had seen, on this footage alone; the limits were "
    "chosen on the same figures. They say nothing of generators that were not there: what the weights know of those is "
    "in MODEL_CARD.md, which is about the weights that were adapted."
)
WORDS = {
    "auc": "AUC",
    "log_loss": "log loss (nats)",
    "calibration_error": "calibration error",
    "real_called_fake": "real faces called fake",
    "forged_called_fake": "forged faces called fake",
    "coverage": "faces called fake or real",
}


def summary(report: Adapted) -> str:
    """One paragraph: on what, and what changed."""
    changed = "Nothing was clearly better than before" if report.taken == AS_IT_WAS else f"New: {report.taken}"
    heads = f" (heads of {', '.join(report.refitted)})" if report.refitted else ""
    kept = f" Kept as they were, for want of such forgeries: {', '.join(report.missing)}." if report.missing else ""
    return (
        f"{report.faces} real and forged faces of {report.people} people; {report.too_poor} more were too poor to "
        f"judge. {changed}{heads}.{kept}"
    )


def figures_text(report: Adapted) -> str:
    """A table of figures and limits before and after, in Markdown."""
    rows = [(words, report.before[name], report.after[name]) for name, words in WORDS.items()]
    rows += [(f"limit: {name}", *pair) for name, pair in report.limits.items()]
    lines = [f"| {words} | {old:.3f} | {new:.3f} |" for words, old, new in rows]
    return "\n".join(["| out of fold | before | after |", "|---|---|---|", *lines])
