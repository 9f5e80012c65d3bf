"""Whose faces the robustness suite is made of: real faces cut from any footage, spread over its sources and people."""

import contextlib
import itertools
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stream_detect.decode.frame import Frame
from stream_detect.errors import ConfigError, SourceError, SourceNotFound
from stream_detect.faces import FaceDetector, find_faces
from stream_detect.sources import open_source, read_frames
from stream_detect.sources.picture import read_picture
from stream_detect.training.forgeries import Footage, face_side, misfit
from stream_detect.training.manifest import Item, items_in_folders, read_manifest
from stream_detect.training.scenes import Scene, cut_scene
from stream_detect.training.train import held_out

LEAST_FACE_PX = 64.0  # geometric mean of a box's sides; smaller faces are passed over
CLIP_FRAMES = (5, 35, 65)  # of a clip, these are looked at: more than a second apart
MOST_OF_A_PERSON = 3  # faces
LEAST_PEOPLE = 2  # a swap needs somebody else
CANDIDATES = 12  # drawn to forge with; the one whose pose fits best is taken
Rng = np.random.Generator


@dataclass(frozen=True, slots=True, eq=False)
class RealFace:
    """A real face with its surroundings."""

    scene: Scene
    group: str  # the person, else the file
    source: str
    is_clip: bool


class People:
    """The real faces of a run, and who of them is forged with whom."""

    def __init__(self, faces: Sequence[RealFace]) -> None:
        self.faces = list(faces)

    def __len__(self) -> int:
        return len(self.faces)

    @property
    def groups(self) -> list[str]:
        return [face.group for face in self.faces]

    def footage(self, index: int) -> Footage:
        return Footage(
            self.faces[index].scene, lambda rng: self._partner(index, rng), lambda rng: self._sibling(index, rng)
        )

    def _partner(self, index: int, rng: Rng) -> Scene | None:
        """Of a few faces of other people, half of them at most, the one whose pose fits best."""
        own = self.faces[index]
        others: list[Scene] = [face.scene for face in self.faces if face.group != own.group]
        if not others:
            return None
        drawn = rng.choice(len(others), min(CANDIDATES, (len(others) + 1) // 2), replace=False)
        fitting: Scene = min((others[k] for k in drawn), key=lambda scene: misfit(scene.face, own.scene.face))
        return fitting

    def _sibling(self, index: int, rng: Rng) -> Scene | None:
        """Another frame of the same clip."""
        own = self.faces[index].scene
        others = [face.scene for face in self.faces if face.scene.item == own.item and face.scene is not own]
        return others[int(rng.integers(len(others)))] if others else None


def gather(footage: Path, held_out_of: Path | None, count: int, seed: int, finder: FaceDetector) -> People:
    """Up to `count` real faces of a folder or manifest; the same ones for the same footage and seed.

    Args:
        footage: a folder of real footage, one with a manifest.csv, or a manifest; forged items are left out.
        held_out_of: a manifest that was trained on: people whom that training saw are left out.

    Raises:
        SourceNotFound: if there is no such folder or manifest.
        ConfigError: if nothing real is left, there is no face in it, or those of one person only.
    """
    items = real_items(footage, held_out_of)
    faces = list(itertools.islice(faces_in_turn(items, seed, finder), count))
    if not faces:
        raise ConfigError(
            f"{footage}: no face of {LEAST_FACE_PX:.0f} pixels or more in {len(items)} files; give other footage"
        )
    if len({face.group for face in faces}) < LEAST_PEOPLE:
        raise ConfigError(
            f"{footage}: expected faces of {LEAST_PEOPLE} people or more, since one is forged with another's, "
            f"got those of one ({faces[0].group}); give footage of more, or name them in the manifest's column identity"
        )
    return People(faces)


def real_items(footage: Path, held_out_of: Path | None) -> list[Item]:
    """The real pictures and clips of a folder or manifest."""
    if not footage.exists():
        raise SourceNotFound(f"{footage}: no such folder or manifest; expected real pictures or clips")
    manifest = footage / "manifest.csv" if footage.is_dir() else footage
    known = read_manifest(manifest) if manifest.is_file() else items_in_folders([footage])
    items = [item for item in known if not item.is_fake]
    if held_out_of is not None:
        trained = {item.group for item in read_manifest(held_out_of)}
        trained -= held_out(sorted(trained))
        items = [item for item in items if item.group not in trained]
    if not items:
        raise ConfigError(
            f"{footage}: expected real footage of people who were held out, found none in {len(known)} files"
        )
    return items


def faces_in_turn(items: Sequence[Item], seed: int, finder: FaceDetector) -> Iterator[RealFace]:
    """Faces of the sources in turn, so that no large one outnumbers the others; a few of each person at most."""
    rng = np.random.default_rng([seed, 0])
    by_source: dict[tuple[str, str], list[int]] = {}
    for index, item in enumerate(items):
        by_source.setdefault((item.source, item.kind), []).append(index)
    queues = [[rows[k] for k in rng.permutation(len(rows))] for rows in by_source.values()]
    seen: Counter[str] = Counter()
    for turn in itertools.zip_longest(*queues):
        for index in turn:
            if index is None or seen[items[index].group] >= MOST_OF_A_PERSON:
                continue
            for face in faces_of(items[index], index, finder):
                seen[face.group] += 1
                yield face


def faces_of(item: Item, index: int, finder: FaceDetector) -> Iterator[RealFace]:
    """The largest face of a picture, or of a few frames of a clip; a file that can't be read has none."""
    try:
        frames = frames_of(item)
    except SourceError:
        return
    for frame, found in zip(frames, find_faces(frames, finder), strict=True):
        largest = max(found, key=face_side, default=None)
        if largest is not None and face_side(largest) >= LEAST_FACE_PX:
            yield RealFace(cut_scene(frame, largest, index), item.group, item.source, item.kind == "video")


def frames_of(item: Item) -> list[Frame]:
    if item.kind == "image":
        return [read_picture(item.path)]
    with contextlib.closing(clip_frames(item.path)) as frames:
        return [frame for k, frame in enumerate(itertools.islice(frames, CLIP_FRAMES[-1] + 1)) if k in CLIP_FRAMES]


def clip_frames(path: Path) -> Generator[Frame, None, None]:
    yield from read_frames(open_source(str(path)))
