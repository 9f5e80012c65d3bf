"""Training samples: scenes forged, degraded and cut exactly as live frames are, kept in shards on disk."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from stream_detect.decode.frame import Frame
from stream_detect.experts import table
from stream_detect.faces import cut_faces
from stream_detect.faces.crop import place, sound_box
from stream_detect.fusion.quality import measure_quality
from stream_detect.training.degrade import Degradation
from stream_detect.training.forgeries import Footage, Forged, Kind, face_side, forge, misfit, restored
from stream_detect.training.manifest import Item
from stream_detect.training.scenes import Scene, SceneStore, moved
from stream_detect.types import ALIGNED_PX, Face

FINGERPRINTS = ("spectrum", "residual", "color")
REAL = "real"  # the kind of a sample that is no forgery
LONE_KIND: Kind = "synthesised"  # of the data's forged files: pictures and clips that a network drew as a whole
REDRAWN: Kind = "resynthesised"  # of a real face, beside the forgery with a border
PARTIAL_SHARE = 0.35  # of the forgeries with a border: those of a part of the face alone
RESTORED_SHARE = 0.12  # of all forgeries: those that went through face restoration
CANDIDATES = 12  # scenes drawn to swap with; the one whose pose fits best is taken
SHARD_SCENES = 128
MASK_CELLS = 16  # a side of the map of what is forged, over the aligned face
Rng = np.random.Generator
Key = tuple[int, int]  # item, scene


@dataclass(frozen=True, slots=True)
class Task:
    """One shard to make: the scenes that go in, the seed of everything drawn for them, how hard channels bite.

    `strengths` are drawn scene by scene, each as likely as the others.
    """

    name: str
    scenes: tuple[Key, ...]
    seed: int
    strengths: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Faces ready to learn from. Rows with the same `pair` are one real face and forgeries of it, or a lone forgery."""

    aligned: "Pictures"  # (samples, 256, 256, 3) uint8, read when asked for
    mask: np.ndarray  # (samples, 16, 16) uint8: how much of each cell of the aligned face is forged, 255 for all
    spectrum: np.ndarray  # (samples, features) float32, as are the next ones
    residual: np.ndarray
    color: np.ndarray
    quality: np.ndarray
    is_fake: np.ndarray  # (samples,) bool
    kind: np.ndarray  # (samples,) str: real, synthesised, blended or partial
    made: np.ndarray  # (samples,) str: real, the family of forgeries, or the generator's name
    item: np.ndarray  # (samples,) int64 into the manifest
    pair: np.ndarray  # (samples,) int64
    strength: np.ndarray  # (samples,) float32 in [0, 1], of the channel

    def __len__(self) -> int:
        return len(self.is_fake)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One picture of a scene: what it shows, before the channel."""

    rgb: np.ndarray  # (height, width, 3) uint8
    mask: np.ndarray | None  # (height, width) float32, None where nothing is forged
    kind: str
    made: str
    pair: int


class Workshop:
    """Makes shards of samples from a scene store."""

    def __init__(self, items: Sequence[Item], store: SceneStore, folder: Path) -> None:
        self.items, self.store, self.folder = items, store, folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, task: Task) -> Path:
        return self.folder / task.name

    def make(self, task: Task, partners: "Partners") -> Path:
        """Write one shard, say where; one that is there already is left alone. `partners` finds scenes to swap with."""
        if (done := self.path(task)).is_dir():
            return done
        rows = [row for k, key in enumerate(task.scenes) for row in self._rows(key, k, task, partners)]
        return write_shard(self.path(task), rows)

    def _rows(self, key: Key, k: int, task: Task, partners: "Partners") -> Iterator[dict[str, np.ndarray]]:
        rng = np.random.default_rng([task.seed, key[0], key[1], k])
        scene = self.store.load(key)
        views = list(self._views(scene, key, pair_number(task.seed, key, k), partners, rng))
        strength = float(rng.choice(task.strengths))
        channel = Degradation.draw(rng, draw_scale(scene.face, rng, strength), strength)
        jitter = int(rng.integers(2**31))
        for view in views:
            yield row_of(view, scene, channel(view.rgb), strength, jitter)

    def _views(self, scene: Scene, key: Key, pair: int, partners: "Partners", rng: Rng) -> Iterator[View]:
        """A forged file as it is; of a real one itself, a forgery with a border and a synthesised one."""
        item = self.items[scene.item]
        if item.is_fake:
            yield View(scene.rgb, np.ones(scene.rgb.shape[:2], np.float32), LONE_KIND, item.generator, pair)
            return
        border: Kind = "partial" if rng.random() < PARTIAL_SHARE else "blended"
        real: np.ndarray | None = None
        for kind in (border, REDRAWN):
            seen = scene if real is None else replace(scene, rgb=real)
            made = forge(partners.footage(seen, key), kind, rng)
            if made is None:
                continue
            forged, name = made
            if rng.random() < RESTORED_SHARE:
                forged = restored(forged, rng)
            yield from forged_views(forged, name, kind, pair, is_real_new=forged.real is not real)
            pair, real = (pair, forged.real) if real is None or forged.real is real else (pair + 1, real)


def forged_views(forged: Forged, name: str, kind: str, pair: int, is_real_new: bool) -> Iterator[View]:
    if is_real_new:
        yield View(forged.real, None, REAL, REAL, pair)
    yield View(forged.fake, forged.mask, kind, name, pair)


class Partners:
    """Finds faces to forge with, among people of the same side of the split alone."""

    def __init__(self, items: Sequence[Item], store: SceneStore, keys: Sequence[Key], held: set[str]) -> None:
        self.items, self.store = items, store
        real = [key for key in keys if not items[key[0]].is_fake]
        self.sides = {side: [key for key in real if (items[key[0]].group in held) == side] for side in (False, True)}
        self.held = held
        self.scenes: dict[int, list[Key]] = {}
        for key in keys:
            self.scenes.setdefault(key[0], []).append(key)

    def footage(self, scene: Scene, key: Key) -> Footage:
        return Footage(scene, lambda rng: self._partner(scene, rng), lambda rng: self._sibling(key, rng))

    def _partner(self, scene: Scene, rng: Rng) -> Scene | None:
        """Of a few scenes of other people the one whose pose fits best."""
        group = self.items[scene.item].group
        side = self.sides[group in self.held]
        drawn = [side[k] for k in rng.choice(len(side), min(CANDIDATES, len(side)), replace=False)] if side else []
        others = [key for key in drawn if self.items[key[0]].group != group]
        if not others:
            return None
        return self.store.load(min(others, key=lambda key: misfit(self.store.face(key), scene.face)))

    def _sibling(self, key: Key, rng: Rng) -> Scene | None:
        others = [other for other in self.scenes[key[0]] if other != key]
        return self.store.load(others[int(rng.integers(len(others)))]) if others else None


def pair_number(seed: int, key: Key, k: int) -> int:
    """A number that no other scene of a run shares, even and so with room for a second pair."""
    digest = hashlib.blake2b(f"{seed} {key[0]} {key[1]} {k}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 2 << 1


def draw_scale(face: Face, rng: Rng, strength: float) -> float:
    """How much to scale a scene: often not at all where the channel is light, else to a face of 48 to 260 pixels."""
    side = face_side(face)
    if rng.random() > strength:
        return 1.0
    wanted = float(np.exp(rng.uniform(np.log(48), np.log(260))))
    largest = 1.25 if rng.random() < 0.15 else 1.0
    return float(np.clip(wanted / side, 40 / side, largest))


def row_of(view: View, scene: Scene, frame: Frame, strength: float, jitter: int) -> dict[str, np.ndarray]:
    """Everything that is learned from one picture after the channel."""
    face = detected_face(scene, frame, jitter)
    crops = cut_faces(frame, [face])
    features = {name: table.fingerprint(name, crops)[0] for name in FINGERPRINTS}
    return {
        "aligned": crops.aligned[0],
        "mask": aligned_mask(view.mask, frame, face),
        "quality": measure_quality(crops)[0],
        "is_fake": np.bool_(view.kind != REAL),
        "kind": np.str_(view.kind),
        "made": np.str_(view.made),
        "item": np.int64(scene.item),
        "pair": np.int64(view.pair),
        "strength": np.float32(strength),
        **features,
    }


def detected_face(scene: Scene, frame: Frame, jitter: int) -> Face:
    """The face of a scene in the frame that a channel made of it, box and landmarks a little off as a detector's."""
    scale = np.array([frame.width / scene.rgb.shape[1], frame.height / scene.rgb.shape[0]], np.float32)
    near = moved(scene.face, (0.0, 0.0), float(scale.mean()))
    rng = np.random.default_rng(jitter)
    side = face_side(near)
    landmarks = near.landmarks + rng.normal(0, 0.012 * side, near.landmarks.shape).astype(np.float32)
    box = near.box + rng.normal(0, 0.02 * side, 4).astype(np.float32)
    return Face(box, landmarks, near.confidence)


def aligned_mask(
    mask: Float32[np.ndarray, "height width"] | None, frame: Frame, face: Face
) -> UInt8[np.ndarray, "16 16"]:
    """How much of each cell of the aligned face is forged, 0 to 255."""
    if mask is None:
        return np.zeros((MASK_CELLS, MASK_CELLS), np.uint8)
    placed = place(face.landmarks, sound_box(face.box))
    seen = cv2.resize(mask, (frame.width, frame.height), interpolation=cv2.INTER_AREA)
    turn, shift = placed.turn, placed.shift
    matrix = np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
    aligned = cv2.warpAffine(seen, matrix, (ALIGNED_PX, ALIGNED_PX), borderMode=cv2.BORDER_REPLICATE)
    cells = cv2.resize(aligned, (MASK_CELLS, MASK_CELLS), interpolation=cv2.INTER_AREA)
    levels: np.ndarray = np.clip(255 * cells + 0.5, 0, 255).astype(np.uint8)
    return levels


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
    keys: Sequence[Key], copies: dict[int, int], rounds: int, seed: int, strengths: Sequence[float]
) -> list[Task]:
    """Shards over all scenes, shuffled; an item's scenes come `copies[item]` times a round."""
    tasks = []
    for number in range(rounds):
        rng = np.random.default_rng([seed, number])
        repeated = [key for key in keys for _ in range(copies.get(key[0], 1))]
        order = rng.permutation(len(repeated))
        for k, start in enumerate(range(0, len(order), SHARD_SCENES)):
            chosen = tuple(repeated[i] for i in order[start : start + SHARD_SCENES])
            tasks.append(Task(f"round{number:02d}-{k:04d}", chosen, seed * 1000 + number, tuple(strengths)))
    return tasks
