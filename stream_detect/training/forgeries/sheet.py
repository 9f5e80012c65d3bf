"""A contact sheet of the families: rows of real picture, forgery and mask, to look at before one learns from it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stream_detect.decode.frame import Frame
from stream_detect.errors import ConfigError, OutputError
from stream_detect.faces import FaceDetector, find_faces
from stream_detect.training.forgeries.family import Family, Footage, Forged, Rng
from stream_detect.training.forgeries.geometry import cut_patch, face_side, misfit
from stream_detect.training.forgeries.restore import restored
from stream_detect.training.forgeries.temporal import Drift, drifted
from stream_detect.training.manifest import Item
from stream_detect.training.scenes import Scene, cut_scene, scenes_of

CELL_PX = 144  # side of each picture on the sheet
LABEL_PX = 168  # width of the column of names
TRIPLES = 4  # a row
ROOM = 2.0  # side of what is shown of a scene, in sides of its face
MOST_ITEMS = 40  # looked at
FRAMES_A_CLIP = 3
TRIES = 12  # faces that are tried for a triple, before its place stays empty
BACKGROUND, INK = (24, 24, 27), (235, 235, 235)
Row = tuple[str, str, Callable[[Footage, Rng], Forged | None]]  # name, kind, forge


def draw_sheet(path: Path, scenes: Sequence[Scene], families: Sequence[Family], seed: int = 0) -> Path:
    """Write a PNG with a row for each family, then one for restoration and one for drift; says where it is.

    Scenes with the same `item` are frames of one clip, others are other people. The same seed gives the same sheet.

    Raises:
        ConfigError: if there is no scene.
        OutputError: if the file can't be written.
    """
    if not scenes:
        raise ConfigError("no face to forge: expected real footage with at least one face of 40 pixels or more")
    rows = [(family.name, family.kind, family.forge) for family in families] + _afterwards(families)
    size = (LABEL_PX + TRIPLES * 3 * CELL_PX, len(rows) * CELL_PX)
    sheet = Image.new("RGB", size, BACKGROUND)
    for k, row in enumerate(rows):
        _draw_row(sheet, k * CELL_PX, row, scenes, np.random.default_rng([seed, k]))
    try:
        sheet.save(path, format="PNG")
    except OSError as exc:
        raise OutputError(f"{path}: can't write the contact sheet there ({exc.strerror or exc})") from exc
    return path


def scenes_to_show(items: Sequence[Item], detector: FaceDetector, seed: int = 0) -> list[Scene]:
    """Faces of at most 40 real items, drawn by seed: of pictures one, of clips a few frames.

    Raises:
        SourceError: if a file can't be read.
        ConfigError: if no item is real.
    """
    real = [k for k, item in enumerate(items) if not item.is_fake]
    if not real:
        raise ConfigError("no real footage: expected rows labelled real, or --real DIR")
    drawn = np.random.default_rng(seed).permutation(real)[:MOST_ITEMS]
    return [scene for k in sorted(drawn.tolist()) for scene in scenes_of(items[k], k, detector, FRAMES_A_CLIP)]


def demo_scenes(detector: FaceDetector) -> list[Scene]:
    """The public-domain face of scikit-image, alone.

    Raises:
        UsageError: if scikit-image is not installed.
    """
    from stream_detect.demo.clip import astronaut

    frame = Frame.from_rgb(astronaut())
    faces = find_faces([frame], detector)[0]
    return [cut_scene(frame, face, 0) for face in faces[:1]]


def footage_of(scene: Scene, scenes: Sequence[Scene]) -> Footage:
    """A scene whose partners and siblings are found among `scenes`."""
    others = sorted((s for s in scenes if s.item != scene.item), key=lambda s: misfit(s.face, scene.face))[:TRIES]
    siblings = [s for s in scenes if s.item == scene.item and s is not scene]
    return Footage(scene, lambda rng: _one_of(others, rng), lambda rng: _one_of(siblings, rng))


def _one_of(scenes: Sequence[Scene], rng: Rng) -> Scene | None:
    return scenes[int(rng.integers(len(scenes)))] if scenes else None


def _afterwards(families: Sequence[Family]) -> list[Row]:
    """Rows of what is done after a forgery, shown on the first family."""
    if not families:
        return []
    first = families[0]

    def restore(footage: Footage, rng: Rng) -> Forged | None:
        forged = first.forge(footage, rng)
        return None if forged is None else restored(forged, rng)

    def drift(footage: Footage, rng: Rng) -> Forged | None:
        forged = first.forge(footage, rng)
        return None if forged is None else drifted(forged, Drift.draw(rng, face_side(footage.scene.face)))

    return [("restored", f"after {first.name}", restore), ("drifted", f"after {first.name}", drift)]


def _draw_row(sheet: Image.Image, top: int, row: Row, scenes: Sequence[Scene], rng: Rng) -> None:
    name, kind, forge = row
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    pen.text((10, top + CELL_PX // 2 - 18), f"{name}\n({kind})", fill=INK, font=font)
    left = LABEL_PX
    for _ in range(TRIPLES):
        if (made := _first_made(forge, scenes, rng)) is None:
            pen.text((left + 10, top + CELL_PX // 2), "needs other footage", fill=INK, font=font)
            return
        for picture in _triple(*made):
            sheet.paste(Image.fromarray(picture), (left, top))
            left += CELL_PX


def _first_made(
    forge: Callable[[Footage, Rng], Forged | None], scenes: Sequence[Scene], rng: Rng
) -> tuple[Scene, Forged] | None:
    for _ in range(TRIES):
        scene = scenes[int(rng.integers(len(scenes)))]
        if (forged := forge(footage_of(scene, scenes), rng)) is not None:
            return scene, forged
    return None


def _triple(scene: Scene, forged: Forged) -> list[np.ndarray]:
    """Real, fake and mask around the face, each (cell, cell, 3) uint8."""
    mask = cv2.merge([np.rint(255 * forged.mask).astype(np.uint8)] * 3)
    shown = [cut_patch(Scene(rgb, scene.face, scene.item), ROOM).rgb for rgb in (forged.real, forged.fake, mask)]
    return [_fitted(rgb) for rgb in shown]


def _fitted(rgb: np.ndarray) -> np.ndarray:
    """The picture within a cell, its proportions kept."""
    scale = (CELL_PX - 4) / max(rgb.shape[:2])
    width, height = max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale))
    cell = np.full((CELL_PX, CELL_PX, 3), BACKGROUND, np.uint8)
    kernel = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    cell[2 : 2 + height, 2 : 2 + width] = cv2.resize(rgb, (width, height), interpolation=kernel)
    return cell
