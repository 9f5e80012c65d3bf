"""Faces with their surroundings, cut once from every file of a manifest, before anything is forged or degraded."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from stream_detect.decode.frame import Frame
from stream_detect.errors import SourceError
from stream_detect.faces import FaceDetector, find_faces
from stream_detect.sources import open_source, read_frames
from stream_detect.sources.picture import read_picture
from stream_detect.training.manifest import Item
from stream_detect.types import Face

MARGIN = 2.4  # side of a scene, in sides of its face
LARGEST_FACE_PX = 320  # larger faces are reduced to this
SMALLEST_FACE_PX = 40  # smaller ones teach nothing


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A face with its surroundings; `face` is in the picture's own pixels."""

    rgb: np.ndarray  # (height, width, 3) uint8
    face: Face
    item: int  # index into the manifest's items


def scenes_of(item: Item, index: int, detector: FaceDetector, per_clip: int) -> Iterator[Scene]:
    """The largest face of a picture, or of `per_clip` frames spread evenly over a clip; none is no error.

    Raises:
        SourceError: if the file can't be read.
    """
    for frame in frames_of(item, per_clip):
        faces = find_faces([frame], detector)[0]
        if faces:
            yield cut_scene(frame, max(faces, key=_area), index)


def frames_of(item: Item, per_clip: int) -> list[Frame]:
    """A picture, or `per_clip` frames spread evenly over a clip."""
    if item.kind == "image":
        return [read_picture(item.path)]
    count = sum(1 for _ in read_frames(open_source(str(item.path))))
    wanted = set(np.linspace(0, count - 1, min(per_clip, count)).astype(int).tolist())
    return [frame for k, frame in enumerate(read_frames(open_source(str(item.path)))) if k in wanted]


def cut_scene(frame: Frame, face: Face, index: int) -> Scene:
    """The square of `MARGIN` face sides around a face, as far as the frame goes."""
    x1, y1, x2, y2 = (float(side) for side in face.box)
    half = MARGIN * float(np.sqrt(_area(face))) / 2
    left, top = max(0, round((x1 + x2) / 2 - half)), max(0, round((y1 + y2) / 2 - half))
    right, bottom = min(frame.width, round((x1 + x2) / 2 + half)), min(frame.height, round((y1 + y2) / 2 + half))
    rgb = frame.rgb((left, top, right, bottom))
    scale = min(1.0, LARGEST_FACE_PX / float(np.sqrt(_area(face))))
    if scale < 1:
        to = (round(rgb.shape[1] * scale), round(rgb.shape[0] * scale))
        rgb = cv2.resize(rgb, to, interpolation=cv2.INTER_AREA)
    return Scene(rgb, moved(face, (-left, -top), scale), index)


def moved(face: Face, by: tuple[float, float], scale: float = 1.0) -> Face:
    """A face shifted, then scaled, in its landmarks as in its box."""
    shift = np.array(by, np.float32)
    landmarks = ((face.landmarks + shift) * scale).astype(np.float32)
    return Face(((face.box + np.tile(shift, 2)) * scale).astype(np.float32), landmarks, face.confidence, face.track)


def _area(face: Face) -> float:
    x1, y1, x2, y2 = (float(side) for side in face.box)
    return max(0.0, x2 - x1) * max(0.0, y2 - y1)


class SceneStore:
    """Scenes in a folder, one pair of files a scene, so that an interrupted run goes on where it stopped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def is_done(self, index: int) -> bool:
        return (self.folder / f"{index:06d}.json").is_file()

    def save(self, index: int, scenes: Sequence[Scene]) -> None:
        """The scenes of item `index`; the .json is written last and says that all are there."""
        for k, scene in enumerate(scenes):
            np.save(self.folder / f"{index:06d}_{k:03d}.npy", scene.rgb)
        faces = [{"box": s.face.box.tolist(), "landmarks": s.face.landmarks.tolist()} for s in scenes]
        partial = self.folder / f"{index:06d}.part"
        partial.write_text(json.dumps(faces))
        partial.replace(self.folder / f"{index:06d}.json")

    def keys(self, indices: Sequence[int]) -> list[tuple[int, int]]:
        """(item, scene) of every stored scene of these items."""
        return [(i, k) for i in indices if self.is_done(i) for k in range(len(self._faces(i)))]

    def load(self, key: tuple[int, int]) -> Scene:
        index, k = key
        return Scene(np.load(self.folder / f"{index:06d}_{k:03d}.npy"), self.face(key), index)

    def face(self, key: tuple[int, int]) -> Face:
        """The face of a scene without its picture."""
        about = self._faces(key[0])[key[1]]
        return Face(np.array(about["box"], np.float32), np.array(about["landmarks"], np.float32), 1.0)

    def _faces(self, index: int) -> list[dict[str, list[float]]]:
        faces: list[dict[str, list[float]]] = json.loads((self.folder / f"{index:06d}.json").read_text())
        return faces


def collect(
    items: Sequence[Item],
    store: SceneStore,
    detector: FaceDetector,
    per_clip: int,
    on_skipped: Callable[[str], None] = lambda words: None,
) -> Iterator[int]:
    """Cut the scenes of each item that the store lacks; yields each index as it is done.

    A file that can't be read gives none, and `on_skipped` hears its name and what is wrong.
    """
    for index, item in enumerate(items):
        if not store.is_done(index):
            try:
                store.save(index, list(scenes_of(item, index, detector, per_clip)))
            except SourceError as error:
                on_skipped(f"left out: {error}")
                store.save(index, [])
        yield index
