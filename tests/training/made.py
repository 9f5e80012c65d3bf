"""Made-up faces, pictures and samples for the tests of training."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from stream_detect.training.forgeries import FIVE_POINTS
from stream_detect.training.samples import Pictures, Samples
from stream_detect.types import Face
from tests import clips


def made_face(x: float = 150, y: float = 150, side: float = 100) -> Face:
    """A face about (x, y) whose box is `side` wide and high, its landmarks where they are on average."""
    box = np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2], np.float32)
    eyes_apart = side / 2.4
    landmarks = FIVE_POINTS * eyes_apart + np.array([x, y - 0.5 * eyes_apart], np.float32)
    return Face(box, landmarks.astype(np.float32), 0.99)


def noise(height: int = 300, width: int = 300, seed: int = 0) -> np.ndarray:
    """A picture with detail at every scale, so that every change shows: (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.integers(40, 216, (12, 12, 3), dtype=np.uint8), (width, height))
    return np.clip(coarse + rng.normal(0, 12, (height, width, 3)), 0, 255).astype(np.uint8)


def person(number: int, height: int = 300, width: int = 300, face_px: float = 130) -> np.ndarray:
    """The astronaut as somebody else: mirrored, stretched and of another colour, by number."""
    rgb = clips.portrait(height, width, face_px)
    if number % 2:
        rgb = np.ascontiguousarray(rgb[:, ::-1])
    wide = cv2.resize(rgb, (width + 10 * (number % 5), height), interpolation=cv2.INTER_CUBIC)[:, :width]
    tint = 1 + 0.04 * np.array([number % 3 - 1, number % 4 - 1, number % 5 - 2])
    return np.clip(wide * tint + 4 * (number % 7), 0, 255).astype(np.uint8)


def write_people(folder: Path, count: int, first: int = 0) -> Path:
    """A folder with a picture of each of `count` people."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        Image.fromarray(person(number)).save(folder / f"person{number:02d}.png")
    return folder


def striped_samples(pairs: int, lone: int = 0, seed: int = 0, kinds: tuple[str, ...] = ("synthesised",)) -> Samples:
    """Pairs of a real face (soft) and a forgery (the same with fine stripes), then forgeries without a partner."""
    rng = np.random.default_rng(seed)
    rows = []
    for pair in range(pairs + lone):
        soft = cv2.resize(rng.integers(60, 190, (5, 5, 3), dtype=np.uint8), (256, 256))
        forged = soft.copy()
        forged[:, ::2] += 40
        rows += [(soft, False, pair, "real")] if pair < pairs else []
        rows += [(forged, True, pair, kinds[pair % len(kinds)])]
    return made_samples(
        np.stack([row[0] for row in rows]),
        np.array([row[1] for row in rows]),
        np.array([row[2] for row in rows], np.int64),
        np.array([row[3] for row in rows]),
    )


def made_samples(aligned: np.ndarray, is_fake: np.ndarray, pair: np.ndarray, kind: np.ndarray) -> Samples:
    """Samples that are blank but for what is given; all of a forgery is forged."""
    blank = np.zeros((len(is_fake), 2), np.float32)
    mask = np.broadcast_to(np.where(is_fake, 255, 0).astype(np.uint8)[:, None, None], (len(is_fake), 16, 16)).copy()
    return Samples(
        aligned=Pictures([aligned]),
        mask=mask,
        spectrum=blank,
        residual=blank,
        color=blank,
        quality=blank,
        is_fake=is_fake,
        kind=kind,
        made=np.where(is_fake, "stripes", "real"),
        item=pair,
        pair=pair,
        strength=np.zeros(len(is_fake), np.float32),
    )
