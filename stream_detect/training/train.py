"""Train everything on a manifest or on folders: scenes, forgeries, networks, heads, fusion, calibration, weights.

Every step keeps what it made in the run's folder, so that a run that was interrupted goes on where it stopped.
"""

import hashlib
import json
import multiprocessing
import signal
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from stream_detect.detector import limit_torch_threads
from stream_detect.errors import ConfigError, OutputError
from stream_detect.experts.attention import AttentionConfig
from stream_detect.explain import spectrum_reference
from stream_detect.faces import load_detector
from stream_detect.fusion.fusion import disagreement, standardize_quality
from stream_detect.fusion.quality import QUALITY_NAMES
from stream_detect.training.card import BY_FUSION, BY_SIZE, write_card
from stream_detect.training.evidence import (
    evidence_of,
    fingerprint_heads,
    kinds_among,
    network_heads,
    of_kinds,
    trunk_heads,
    with_all_kinds,
)
from stream_detect.training.folds import Fitted, Footing, compare_settings, fit_with_folds, fusion_report
from stream_detect.training.limits import fit_disagreement, fit_limits, fit_quality_limits
from stream_detect.training.manifest import Item, items_in_folders, read_manifest
from stream_detect.training.networks import Schedule, embed_all, fit_network
from stream_detect.training.samples import Partners, Samples, Task, Workshop, plan_shards, read_shards
from stream_detect.training.scenes import SceneStore, collect
from stream_detect.types import KINDS, LESSONS
from stream_detect.weights import NetworkWeights, Weights, load_weights, save_weights

SIZES = (40, 56, 80, 112, 160, 1000)  # sides of faces between which figures are told, in pixels
FUSIONS: dict[str, dict[str, Any]] = {  # ways to fuse, of which the one with the least out-of-fold log loss is taken
    "noisy-or": {"joint": "noisy_or", "l2": 3e-3, "l2_quality": 1.0},
    "noisy-or, quality weighs experts": {
        "joint": "noisy_or",
        "l2": 3e-3,
        "l2_quality": 0.1,
        "modulate": ("log2_face_px", "sharpness", "blockiness", "flatness", "fine_share"),
    },
    "max": {"joint": "max", "l2": 3e-3, "l2_quality": 1.0},
    "max, quality weighs experts": {
        "joint": "max",
        "l2": 3e-3,
        "l2_quality": 0.1,
        "modulate": ("log2_face_px", "sharpness", "flatness", "fine_share"),
    },
    "linear": {"joint": "linear", "l2": 3e-3, "l2_quality": 1.0},
}
MESONET_DROPOUT = 0.1
TAUGHT = 8000  # rows on which Meso-4 follows the attention trunks
FEWEST_PEOPLE = 8  # with fewer nothing can be held out that figures could stand on
HELD_OUT = 5  # every fifth person is kept from networks and heads, for fusion and calibration
FEW_PEOPLE = 25  # with fewer, exactly every fifth; with more, about every fifth, whoever else is there
MADE_WITH = ("per_clip", "strengths", "seed", "input_px", "pretrained")  # settings that unfinished work depends on
Tell = Callable[[str, int, int, str], None]  # step, done, of, detail


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """What to train on and for how long."""

    out: Path  # the weights go here
    run: Path  # scenes, samples and checkpoints are kept here, some gigabytes
    manifest: Path | None = None
    real: tuple[Path, ...] = ()  # folders of real footage; enough on its own
    fake: tuple[Path, ...] = ()  # folders of forged footage; may be empty
    rounds: int = 2  # times every scene is forged and degraded anew
    per_clip: int = 24  # frames taken from a clip
    strengths: tuple[float, ...] = (0.0, 0.35, 0.85)  # of the degradations, in [0, 1]; drawn scene by scene
    epochs: float = 3.0  # passes of each network over its samples
    input_px: int = 160  # side of what both attention trunks look at, a multiple of 16
    pretrained: bool = True  # start stems from ImageNet, where `start` gives none
    start: Path | None = None  # weights whose attention network is started from
    mesonet_start: Path | None = None  # published MesoNet weights (Meso4_*.h5) to start from; from nothing without
    jobs: int = 1  # processes that make samples
    seed: int = 11

    def __post_init__(self) -> None:
        if self.manifest is None and not self.real:
            raise ConfigError("nothing to train on: expected a manifest, or at least one folder of real footage")
        if min(self.rounds, self.per_clip, self.jobs) < 1 or self.epochs <= 0:
            raise ConfigError(f"rounds, frames a clip, jobs and epochs must be positive, got {self}")
        if not self.strengths or not all(0 <= strength <= 1 for strength in self.strengths):
            raise ConfigError(f"strengths must lie in [0, 1], got {self.strengths}")


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Samples with what the fits need to know of them."""

    items: Sequence[Item]
    samples: Samples
    weights: np.ndarray  # (samples,) how much each row counts
    is_held: np.ndarray  # (samples,) rows of people whom networks and heads never see

    @property
    def groups(self) -> np.ndarray:
        return np.array([self.items[k].group for k in self.samples.item])


def train(
    settings: TrainSettings, tell: Tell = lambda *_: None, warn: Callable[[str], None] = lambda words: None
) -> dict[str, Any]:
    """Train, write the weights and their model card; gives the card's figures: AUC by expert and way of forging.

    Args:
        settings: what to train on and for how long.
        tell: hears how far each step is.
        warn: hears of files that were left out.

    Raises:
        ConfigError: if there are too few people to hold some out, no faces, or other work in the run's folder.
        SourceNotFound: if the manifest or a folder is missing.
        OutputError: if a folder can't be written.
        WeightsError: if the stem is to start from ImageNet and its package is missing.
    """
    items = read_manifest(settings.manifest) if settings.manifest else items_in_folders(settings.real, settings.fake)
    if settings.pretrained:
        check_stem()
    make_folder(settings.out)
    claim_run(items, settings)
    store = SceneStore(settings.run / "scenes")
    detector = load_detector()
    for index in collect(items, store, detector, settings.per_clip, warn):
        tell("cutting faces", index + 1, len(items), items[index].path.name)
    prepared = prepare(items, make_samples(items, store, settings, tell))
    networks = train_networks(prepared, settings, tell)
    weights, report = fit_rest(prepared, networks, settings)
    save_weights(weights, settings.out)
    write_card(settings.out, report, items, settings)
    return report


def check_stem() -> None:
    """Fail at once, rather than after hours, if the ImageNet stem can't be had."""
    from stream_detect.experts.attention import read_lite0

    read_lite0()


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"{folder}: can't make this folder: {exc.strerror}; name another") from exc


def claim_run(items: Sequence[Item], settings: TrainSettings) -> None:
    """Note whose work a run's folder holds; scenes and samples of other footage would be taken for this one's.

    Raises:
        ConfigError: if it holds work on other footage or with other settings.
    """
    make_folder(settings.run)
    path = settings.run / "run.json"
    named = "\n".join(f"{item.path.resolve()} {item.is_fake} {item.group}" for item in items)
    about = {"footage": hashlib.sha256(named.encode()).hexdigest()} | {k: getattr(settings, k) for k in MADE_WITH}
    ours = json.loads(json.dumps(about))  # as it reads when it comes back
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else ours
    if other := [name for name in ours if found.get(name) != ours[name]]:
        raise ConfigError(
            f"{settings.run}: this run was begun with another {', '.join(other)}; name another folder for the run"
        )
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(ours), encoding="utf-8")
    partial.replace(path)


def make_samples(items: Sequence[Item], store: SceneStore, settings: TrainSettings, tell: Tell) -> list[Path]:
    """The shards of all rounds; those that are there already are kept."""
    keys = store.keys(range(len(items)))
    if not keys:
        raise ConfigError(
            "no face was found in the footage; expected pictures or clips with faces of 40 pixels or more"
        )
    tasks = plan_shards(keys, copies_of(items), settings.rounds, settings.seed, settings.strengths)
    partners = Partners(items, store, keys, held_out([item.group for item in items]))
    workshop = Workshop(items, store, settings.run / "shards")
    done = []
    for number, shard in enumerate(made_shards(workshop, tasks, partners, settings.jobs), start=1):
        done.append(shard)
        tell("forging and degrading", number, len(tasks), shard.name)
    return done


def made_shards(workshop: Workshop, tasks: Sequence[Task], partners: Partners, jobs: int) -> Iterator[Path]:
    """The shards in order, made by `jobs` processes; their content does not depend on how many these are."""
    if jobs == 1:
        yield from (make_shard(workshop, task, partners) for task in tasks)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), start_worker) as pool:
        try:
            yield from pool.map(partial(make_shard, workshop, partners=partners), tasks)
        except BaseException:  # unfinished shards are made anew another time
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def start_worker() -> None:
    """One thread a process; its parent, not the terminal, says when it is to end."""
    limit_torch_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def make_shard(workshop: Workshop, task: Task, partners: Partners) -> Path:
    return workshop.make(task, partners)


def copies_of(items: Sequence[Item]) -> dict[int, int]:
    """How often an item's scenes come in a round: files of small sources more often, up to three times."""
    sizes: dict[tuple[str, bool], int] = {}
    for item in items:
        sizes[item.source, item.is_fake] = sizes.get((item.source, item.is_fake), 0) + 1
    largest = max(sizes.values())
    wanted = {key: min(3, max(1, round(np.sqrt(largest / size)))) for key, size in sizes.items()}
    return {k: 1 if item.kind == "video" else wanted[item.source, item.is_fake] for k, item in enumerate(items)}


def prepare(items: Sequence[Item], shards: Sequence[Path]) -> Prepared:
    """Samples with their weights and who is held out.

    Raises:
        ConfigError: if there are too few people, or either side of the split lacks a class.
    """
    samples = read_shards(shards)
    groups = [items[k].group for k in samples.item]
    if len(set(groups)) < FEWEST_PEOPLE:
        raise ConfigError(
            f"too few people: expected faces of {FEWEST_PEOPLE} or more, so that some can be held out, got "
            f"{len(set(groups))}; give more footage, one folder or file a person"
        )
    held = held_out(groups)
    is_held = np.array([group in held for group in groups])
    for name, side in (("training", ~is_held), ("calibration", is_held)):
        if len(np.unique(samples.is_fake[side])) < 2:
            raise ConfigError(f"too few people: the {name} side has no real or no forged faces; give more footage")
    return Prepared(items, samples, row_weights(items, samples), is_held)


def held_out(groups: Sequence[str]) -> set[str]:
    """Every fifth person by the hash of the name, so that whoever else is there changes nothing for large sets."""
    hashes = {group: zlib.crc32(group.encode()) for group in groups}
    if len(hashes) < FEW_PEOPLE:
        return set(sorted(hashes, key=lambda group: hashes[group])[::HELD_OUT])
    return {group for group, code in hashes.items() if code % HELD_OUT == 0}


def row_weights(items: Sequence[Item], samples: Samples) -> np.ndarray:
    """How often each row is drawn: sources by the square root of their people, clips twice that; people likewise.

    A source counts by at most 400 people, within real and within each way of forging; real as much as forged.
    """
    groups = np.array([items[k].group for k in samples.item])
    strata = np.array([f"{items[k].source}|{made}" for k, made in zip(samples.item, samples.made, strict=True)])
    is_clip = np.array([items[k].kind == "video" for k in samples.item])
    weights = np.ones(len(samples))
    _, member, counts = np.unique(groups, return_inverse=True, return_counts=True)
    weights /= np.sqrt(counts[member])
    for stratum in np.unique(strata):
        rows = strata == stratum
        people = len(np.unique(groups[rows]))
        weights[rows] *= (1 + is_clip[rows]) * np.sqrt(min(people, 400)) / weights[rows].sum()
    for is_fake in (False, True):
        rows = samples.is_fake == is_fake
        weights[rows] /= weights[rows].sum()
    return weights * len(samples) / 2


@dataclass(frozen=True, slots=True)
class Plan:
    """How one network is built and what it learns."""

    build: Callable[[], Any]
    kinds: tuple[str, ...]  # of its outputs
    schedule: Schedule


def network_plans(settings: TrainSettings) -> dict[str, Plan]:
    """The networks in the order in which they learn; the last one follows the others.

    Synthesised faces are told by their finest texture, so that trunk sees the middle of the face unreduced; blended
    ones by a border, so that one sees more of the picture, reduced.
    """
    whole = AttentionConfig(crop_px=settings.input_px, input_px=settings.input_px, outputs=2)
    border = AttentionConfig(crop_px=max(224, settings.input_px), input_px=settings.input_px, outputs=2)
    return {
        "synthesised": Plan(
            lambda: new_trunk(whole, settings),
            LESSONS["synthesised"],
            Schedule(settings.epochs, 32, rate=5e-4, stem_rate=0.7, seed=settings.seed + 1),
        ),
        "border": Plan(
            lambda: new_trunk(border, settings),
            LESSONS["border"],
            Schedule(settings.epochs, 32, rate=5e-4, stem_rate=0.7, seed=settings.seed + 2, token_weight=0.5),
        ),
        "mesonet": Plan(
            lambda: new_mesonet(settings),
            KINDS,
            Schedule(settings.epochs, 48, rate=2e-3, seed=settings.seed, is_augmented=False, teacher_weight=0.5),
        ),
    }


def new_mesonet(settings: TrainSettings) -> Any:
    """Meso-4 with less dropout than the paper's 0.5, under which it did not learn these forgeries."""
    from torch import nn

    from stream_detect.experts.mesonet import Meso4

    network = Meso4(len(KINDS))
    if settings.mesonet_start:
        network.load_official(settings.mesonet_start)
    for layer in network.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = MESONET_DROPOUT
    return network


def new_trunk(config: AttentionConfig, settings: TrainSettings) -> Any:
    """An attention trunk that starts from other weights, from ImageNet, or from nothing."""
    import torch

    from stream_detect.experts.attention import AttentionNet, load_pretrained_stem, start_from

    network = AttentionNet(config)
    if settings.start:
        given = load_weights(settings.start).networks["attention"]
        start_from(network, {name: torch.tensor(values) for name, values in given.tensors.items()})
    elif settings.pretrained:
        load_pretrained_stem(network)
    return network


def train_networks(prepared: Prepared, settings: TrainSettings, tell: Tell) -> dict[str, Any]:
    """The networks of the experts, fitted on the people who are not held out."""
    from stream_detect.experts.attention import AttentionTrunks

    trunks = AttentionTrunks({name: train_network(name, prepared, settings, tell) for name in LESSONS})
    teacher = teacher_logits(prepared, trunks, settings)
    return {
        "mesonet": train_network("mesonet", prepared, settings, tell, teacher),
        "attention": trunks,
    }


def teacher_logits(prepared: Prepared, trunks: Any, settings: TrainSettings) -> np.ndarray:
    """What the trunks say of `TAUGHT` rows, (samples, kinds), for Meso-4 to follow; NaN on the others."""
    logits = np.full((len(prepared.samples), len(KINDS)), np.nan, np.float32)
    seen = np.flatnonzero(~prepared.is_held)
    rows = np.sort(np.random.default_rng(settings.seed).choice(seen, min(TAUGHT, len(seen)), replace=False))
    logits[rows] = trunk_heads(trunks)(embed_all(trunks, prepared.samples, rows))
    return logits


def train_network(
    name: str, prepared: Prepared, settings: TrainSettings, tell: Tell, teacher: np.ndarray | None = None
) -> Any:
    import torch

    plan = network_plans(settings)[name]
    torch.manual_seed(settings.seed)
    network = plan.build().to(memory_format=torch.channels_last)
    folder = settings.run / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    fit_network(
        network,
        prepared.samples,
        np.where(prepared.is_held, 0, prepared.weights),
        plan.kinds,
        plan.schedule,
        folder / f"{name}.safetensors",
        lambda what, step, steps, loss: tell(f"learning {what}", step, steps, f"loss {loss:.3f}"),
        teacher,
    )
    return network


def fit_rest(prepared: Prepared, networks: dict[str, Any], settings: TrainSettings) -> tuple[Weights, dict[str, Any]]:
    """Heads on the people seen; fusion, calibration and limits on those held out, reported out of fold."""
    samples, seen, held = prepared.samples, np.flatnonzero(~prepared.is_held), np.flatnonzero(prepared.is_held)
    learned = kinds_among(samples.kind[seen])
    of_networks = {name: with_all_kinds(of_kinds(head, learned)) for name, head in network_heads(networks).items()}
    heads = fingerprint_heads(samples, seen, prepared.weights) | of_networks
    heads, given = evidence_of(samples, held, prepared.weights, prepared.groups, heads, networks)
    names: dict[str, Any] = {
        "experts": tuple(heads),
        "quality_names": QUALITY_NAMES,
        "kinds": KINDS,
        "people": min(3, len(np.unique(given.groups))),
    }
    tried = compare_settings(given, FUSIONS, **names)
    best = min(tried, key=lambda name: tried[name]["log_loss"])
    fitted = fit_with_folds(given, **names, **FUSIONS[best])
    limits = operating_point(fitted, given)
    weights = Weights(
        heads=heads,
        networks={name: pack_network(network) for name, network in networks.items()},
        fusion=fitted.fusion,
        quality_limits=fit_quality_limits(given.quality, fitted.llr, given.labels),
        thresholds={name: limits[name] for name in ("fake", "real", "disagreement")},
        data=describe_data(prepared.items),
        reference=spectrum_reference(samples.spectrum[seen[~samples.is_fake[seen]]]),
        operating={"fusion": best, **{name: round(value, 4) for name, value in limits.items()}},
    )
    return weights, fusion_report(fitted, given) | {BY_SIZE: auc_by_size(fitted.llr, given)} | {BY_FUSION: tried}


def operating_point(fitted: Fitted, given: Footing) -> dict[str, float]:
    """The limits of verdicts, chosen on what was said out of fold, with what they gave there."""
    axis = standardize_quality(given.quality, fitted.fusion.quality_mean, fitted.fusion.quality_scale)
    s = axis @ fitted.fusion.band_axis
    parts = np.searchsorted(fitted.fusion.band_knots, s)
    limits = fit_limits(fitted.llr, given.labels, sample_weight=given.weight, parts=parts)
    doubt = fit_disagreement(fitted.llr, given.labels, disagreement(given.logits), given.weight)
    return limits | {"disagreement": doubt}


def auc_by_size(llr: np.ndarray, given: Footing) -> dict[str, float]:
    """AUC of held-out faces from each of `SIZES` to the next, under the lower size."""
    from stream_detect.training.metrics import auc

    size, is_fake = 2 ** given.quality[:, QUALITY_NAMES.index("log2_face_px")], given.labels == 1
    bins = {low: (size >= low) & (size < high) for low, high in pairwise(SIZES)}
    return {str(low): round(auc(llr[rows], is_fake[rows]), 4) for low, rows in bins.items()}


def pack_network(network: Any) -> NetworkWeights:
    from stream_detect.experts.networks import pack

    return pack(network)


def describe_data(items: Sequence[Item]) -> str:
    sources = sorted({item.source for item in items if item.source})
    return "learned from " + (", ".join(sources) or "the user's own footage") + "; see MODEL_CARD.md for licences"
