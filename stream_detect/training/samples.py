"""Training samples: scenes forged, degraded and cut exactly as live frames are, kept in shards on disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stream_detect.experts import table
from stream_detect.faces import cut_faces
from stream_detect.fusion.quality import measure_quality
from stream_detect.training.degrade import Degradation
from stream_detect.training.forgeries import face_side, misfit, self_blend, swap
from stream_detect.training.manifest import Item
from stream_detect.training.scenes import Scene, SceneStore, moved
from stream_detect.types import Face, FaceCrops

FINGERPRINTS = ("spectrum", "residual", "color")
SWAP_SHARE = 0.35  # of the forgeries made from real scenes; the others are self-blends
CANDIDATES = 12  # scenes drawn to swap with; the one whose pose fits best is taken
SHARD_SCENES = 128
Rng = np.random.Generator


@dataclass(frozen=True, slots=True)
class Task:
    """One shard to make: the scenes that go in and the seed of everything drawn for them."""

    name: str
    scenes: tuple[tuple[int, int], ...]
    seed: int
    strength: float


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Faces ready to learn from. Rows with the same `pair` are one real face and a forgery of it, or a lone forgery."""

    aligned: "Pictures"  # (samples, 256, 256, 3) uint8, read when asked for
    spectrum: np.ndarray  # (samples, features) float32, as are the next ones
    residual: np.ndarray
    color: np.ndarray
    quality: np.ndarray
    is_fake: np.ndarray  # (samples,) bool
    made: np.ndarray  # (samples,) str: real, self_blend, swap, or the generator's name
    item: np.ndarray  # (samples,) int64 into the manifest
    pair: np.ndarray  # (samples,) int64

    def __len__(self) -> int:
        return len(self.is_fake)


class Workshop:
    """Makes shards of samples from a scene store."""

    def __init__(self, items: Sequence[Item], store: SceneStore, folder: Path) -> None:
        self.items, self.store, self.folder = items, store, folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, task: Task) -> Path:
        return self.folder / task.name

    def make(self, task: Task, partners: Sequence[tuple[int, int]]) -> Path:
        """Write one shard, say where; one that is there already is left alone. `partners` are scenes to swap with."""
        if (done := self.path(task)).is_dir():
            return done
        rows = [row for k, key in enumerate(task.scenes) for row in self._rows(key, k, task, partners)]
        return write_shard(self.path(task), rows)

    def _rows(
        self, key: tuple[int, int], k: int, task: Task, partners: Sequence[tuple[int, int]]
    ) -> list[dict[str, np.ndarray]]:
        rng = np.random.default_rng([task.seed, key[0], key[1], k])
        scene = self.store.load(key)
        item = self.items[scene.item]
        made = [(scene.rgb, item.generator if item.is_fake else "real")]
        if not item.is_fake:
            made.append(self._forgery(scene, partners, rng))
        channel = Degradation.draw(rng, draw_scale(scene.face, rng, task.strength), task.strength)
        seen = [(cut_degraded(rgb, scene.face, channel, rng_for_face=int(channel.seed)), name) for rgb, name in made]
        pair = task.seed * 10**7 + hash_pair(key, k)
        return [_row(crops, name, scene.item, item.is_fake or j > 0, pair) for j, (crops, name) in enumerate(seen)]

    def _forgery(self, scene: Scene, partners: Sequence[tuple[int, int]], rng: Rng) -> tuple[np.ndarray, str]:
        if rng.random() >= SWAP_SHARE or not partners:
            return self_blend(scene.rgb, scene.face, rng), "self_blend"
        drawn = [partners[k] for k in rng.choice(len(partners), min(CANDIDATES, len(partners)), replace=False)]
        others = [key for key in drawn if self.items[key[0]].group != self.items[scene.item].group] or drawn
        key = min(others, key=lambda key: misfit(self.store.face(key), scene.face))
        other = self.store.load(key)
        return swap(scene.rgb, scene.face, other.rgb, other.face, rng), "swap"


def hash_pair(key: tuple[int, int], k: int) -> int:
    return (key[0] * 1009 + key[1] * 131 + k) % 10**7


def draw_scale(face: Face, rng: Rng, strength: float) -> float:
    """How much to scale a scene: often not at all where the channel is light, else to a face of 48 to 260 pixels."""
    side = face_side(face)
    if rng.random() > strength:
        return 1.0
    wanted = float(np.exp(rng.uniform(np.log(48), np.log(260))))
    largest = 1.25 if rng.random() < 0.15 else 1.0
    return float(np.clip(wanted / side, 40 / side, largest))


def cut_degraded(rgb: np.ndarray, face: Face, channel: Degradation, rng_for_face: int) -> FaceCrops:
    """The crops of the face after the channel, its box and landmarks a little off as a detector's are."""
    frame = channel(rgb)
    scale = np.array([frame.width / rgb.shape[1], frame.height / rgb.shape[0]], np.float32)
    near = moved(face, (0.0, 0.0), float(scale.mean()))
    rng = np.random.default_rng(rng_for_face)
    side = face_side(near)
    landmarks = near.landmarks + rng.normal(0, 0.012 * side, near.landmarks.shape).astype(np.float32)
    box = near.box + rng.normal(0, 0.02 * side, 4).astype(np.float32)
    return cut_faces(frame, [Face(box, landmarks, near.confidence)])


def _row(crops: FaceCrops, made: str, item: int, is_fake: bool, pair: int) -> dict[str, np.ndarray]:
    features = {name: table.fingerprint(name, crops)[0] for name in FINGERPRINTS}
    about = {"is_fake": np.bool_(is_fake), "made": np.str_(made), "item": np.int64(item), "pair": np.int64(pair)}
    return {"aligned": crops.aligned[0], "quality": measure_quality(crops)[0], **features, **about}


def write_shard(folder: Path, rows: Sequence[dict[str, np.ndarray]]) -> Path:
    """One .npy a field, in a folder that gets its name only when it is whole."""
    partial = folder.with_suffix(".part")
    partial.mkdir(parents=True, exist_ok=True)
    for name in rows[0]:
        np.save(partial / f"{name}.npy", np.stack([row[name] for row in rows]))
    partial.rename(folder)
    return folder


class Pictures:
    """The aligned faces of several shards as one sequence, memory-mapped: more of them than memory would hold."""

    def __init__(self, shards: Sequence[np.ndarray]) -> None:
        self.shards = shards
        self.ends = np.cumsum([len(shard) for shard in shards])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        where = np.searchsorted(self.ends, rows, side="right")
        starts = np.concatenate([[0], self.ends[:-1]])
        return np.stack([self.shards[k][row - starts[k]] for k, row in zip(where, rows, strict=True)])


def read_shards(folders: Sequence[Path]) -> Samples:
    """All shards as one; only the pictures stay on disk."""
    rest = {
        name: np.concatenate([np.load(folder / f"{name}.npy") for folder in folders])
        for name in Samples.__dataclass_fields__
        if name != "aligned"
    }
    return Samples(Pictures([np.load(folder / "aligned.npy", mmap_mode="r") for folder in folders]), **rest)


def plan_shards(
    keys: Sequence[tuple[int, int]], copies: dict[int, int], rounds: int, seed: int, strengths: Sequence[float]
) -> list[Task]:
    """Shards over all scenes, shuffled; an item's scenes come `copies[item]` times a round, `strengths` take turns."""
    tasks = []
    for number in range(rounds):
        rng = np.random.default_rng([seed, number])
        repeated = [key for key in keys for _ in range(copies.get(key[0], 1))]
        order = rng.permutation(len(repeated))
        starts = range(0, len(order), SHARD_SCENES)
        for k, start in enumerate(starts):
            chosen = tuple(repeated[i] for i in order[start : start + SHARD_SCENES])
            strength = strengths[number % len(strengths)]
            tasks.append(Task(f"round{number:02d}-{k:04d}", chosen, seed * 1000 + number, strength))
    return tasks
