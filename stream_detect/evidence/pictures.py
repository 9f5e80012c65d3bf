"""The pictures of an alert: the frames that decided, the face, and what the experts saw of it; PNG files by OpenCV."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stream_detect.decode.frame import Frame
from stream_detect.errors import OutputError
from stream_detect.explain.maps import FaceMap, face_maps, over_crop
from stream_detect.explain.residual import ResidualMap, residual_map, window_around
from stream_detect.explain.spectrum import SpectrumLines, spectrum_lines
from stream_detect.faces import cut_faces
from stream_detect.faces.crop import sound_box
from stream_detect.privacy import blurred
from stream_detect.temporal.people import overlap
from stream_detect.types import ALIGNED_PX, Face, FaceCrops

LEAST_IOU = 0.3  # of a face that is found again with where it was followed
RESIDUAL_DB = 9.0  # from dark to bright
ATTENTION_TIMES = 4.0  # of the average place, where a map is brightest
MAP_SHARE = 0.55  # of a map's colours over the gray face
COLORS = cv2.COLORMAP_INFERNO
log = logging.getLogger("stream_detect.evidence")


@dataclass(frozen=True, slots=True, eq=False)
class Telling:
    """One frame that decided."""

    pts_s: float
    rgb: np.ndarray  # (height, width, 3) uint8, the whole frame
    box: tuple[float, float, float, float]  # of the face, xyxy in pixels of `rgb`
    fake_probability: float | None


@dataclass(frozen=True, slots=True)
class Picture:
    """A file, and what it shows."""

    name: str
    title: str
    words: str


@dataclass(slots=True)
class Pictures:
    """What was written."""

    frames: list[Picture] = field(default_factory=list)
    maps: list[Picture] = field(default_factory=list)  # close-ups and maps of the most telling one
    spectrum: Mapping[str, Any] = field(default_factory=dict)  # curves in decibels over cycles a pixel
    why_no_maps: str = ""


def warm_up(detector: Any) -> None:
    """Import what maps need, so that the first alert does not pay for it."""
    import torch  # noqa: F401

    weights = getattr(detector, "weights", None)
    if weights is not None:
        face_maps(weights, np.zeros((1, ALIGNED_PX, ALIGNED_PX, 3), np.uint8))


def write_pictures(folder: Path, telling: Sequence[Telling], detector: Any, *, hides_faces: bool) -> Pictures:
    """Write the frames as they are and, unless faces are hidden, close-ups and maps of the most telling one.

    Raises:
        OutputError: if a file can't be written.
    """
    made = Pictures()
    for number, one in enumerate(telling, start=1):
        rgb = blurred(one.rgb, [one.box, *others_in(one, detector)]) if hides_faces else one.rgb
        write_png(folder / f"frame-{number}.png", rgb)
        sure = "" if one.fake_probability is None else f", probability of a forgery {one.fake_probability:.2f}"
        made.frames.append(Picture(f"frame-{number}.png", f"Frame at {one.pts_s:.2f} s", f"as it came{sure}"))
    if hides_faces or not telling:
        made.why_no_maps = "faces are hidden" if hides_faces else "no frame was kept"
        return made
    worst = max(telling, key=lambda one: -1.0 if one.fake_probability is None else one.fake_probability)
    try:
        write_maps(folder, worst, detector, made)
    except OutputError:
        raise
    except Exception as error:  # a map that can't be drawn takes nothing else with it
        log.info("maps of %s can't be drawn: %s", folder.name, error, exc_info=error)
        made.why_no_maps = f"they can't be drawn ({type(error).__name__})"
    return made


def others_in(one: Telling, detector: Any) -> list[tuple[float, float, float, float]]:
    """All faces that are found in a frame, whether they were followed or not."""
    (found,) = detector.find_faces([Frame.from_rgb(one.rgb)])
    return [(float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in (face.box for face in found)]


def write_maps(folder: Path, one: Telling, detector: Any, made: Pictures) -> None:
    """The face, its residual, where the networks look, and its spectrum."""
    frame = Frame.from_rgb(one.rgb)
    face = found_again(frame, one.box, detector)
    window = window_around(sound_box(np.array(one.box, np.float32)), frame)
    write_png(folder / "face.png", frame.rgb(window))
    made.maps.append(Picture("face.png", "The face", f"at {one.pts_s:.2f} s, with what is around it"))
    if face is None:
        made.why_no_maps = "the face was not found again in the frame"
        return
    crops = cut_faces(frame, [face])
    residual = residual_map(frame, face)
    write_png(folder / "residual.png", drawn_residual(residual))
    more = "more" if residual.face_db > 0 else "less"
    words = f"bright: more than around the face, dark: less; the face has {abs(residual.face_db):.1f} dB {more}"
    made.maps.append(Picture("residual.png", "Fine detail and noise", words))
    weights = getattr(detector, "weights", None)
    if weights is None:
        return
    write_attention(folder, crops, face_maps(weights, crops.aligned, getattr(detector, "experts", None)), made)
    made.spectrum = spectrum_of(spectrum_lines(crops.tiles, weights.reference))
    write_text(folder / "spectrum.json", json.dumps(made.spectrum, indent=1))


def found_again(frame: Frame, box: tuple[float, float, float, float], detector: Any) -> Face | None:
    """The face of a box, with its landmarks."""
    (faces,) = detector.find_faces([frame])
    best = max(faces, key=lambda face: overlap(tuple(face.box.tolist()), box), default=None)
    return best if best is not None and overlap(tuple(best.box.tolist()), box) >= LEAST_IOU else None


def write_attention(folder: Path, crops: FaceCrops, maps: Sequence[FaceMap], made: Pictures) -> None:
    for number, one in enumerate(maps, start=1):
        name = f"attention-{number}.png"
        write_png(folder / name, drawn_map(crops.aligned[0], one))
        kinds = ", ".join(one.kinds) or "forgeries"
        if one.is_forgery:
            made.maps.append(Picture(name, f"Where: {kinds}", "bright: where it would be; it tells where, not whether"))
        else:
            words = "bright: weighs more in what this network says; no map of what is forged"
            made.maps.append(Picture(name, f"Where it looks: {kinds}", words))


def drawn_map(aligned: np.ndarray, one: FaceMap) -> np.ndarray:
    """The map in colours over the gray face, as much of it as is covered: (crop, crop, 3) uint8."""
    margin = (ALIGNED_PX - one.crop_px) // 2
    inside = slice(margin, margin + one.crop_px)
    values = over_crop(one.values[0], one.crop_px) / (1.0 if one.is_forgery else ATTENTION_TIMES)
    gray = aligned[inside, inside].astype(np.float32).mean(axis=2, keepdims=True)
    mixed = MAP_SHARE * colored(values) + (1 - MAP_SHARE) * gray
    return np.asarray(np.clip(mixed + 0.5, 0, 255), np.uint8)


def drawn_residual(residual: ResidualMap) -> np.ndarray:
    """Residual energy in colours, with the face's box: (height, width, 3) uint8."""
    rgb = np.ascontiguousarray(colored((residual.db + RESIDUAL_DB) / (2 * RESIDUAL_DB)).astype(np.uint8))
    x1, y1, x2, y2 = (round(side) for side in residual.box)
    cv2.rectangle(rgb, (x1, y1), (x2, y2), (255, 255, 255), 1)
    return rgb


def colored(values: np.ndarray) -> np.ndarray:
    """Values in [0, 1] as colours: (height, width, 3) float32, 0 to 255."""
    levels = np.clip(255 * values + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(levels, COLORS)[..., ::-1], np.float32)


def spectrum_of(lines: SpectrumLines) -> dict[str, Any]:
    """The curves as plain numbers."""
    named = {
        "cycles_per_px": lines.cycles_per_px,
        "face_db": lines.face_db,
        "around_db": lines.around_db,
        "real_db": lines.real_db,
        "real_sd_db": lines.real_sd_db,
    }
    told = {name: None if one is None else [round(float(x), 3) for x in one] for name, one in named.items()}
    outside = lines.outside_band
    return {**told, "outside_band": None if outside is None else round(outside, 3)}


def write_png(path: Path, rgb: np.ndarray) -> None:
    """Write a picture.

    Raises:
        OutputError: if it can't be written.
    """
    _, data = cv2.imencode(".png", np.ascontiguousarray(rgb[..., ::-1]))
    write_bytes(path, bytes(data))


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file; a part of it is removed if that fails.

    Raises:
        OutputError: if it can't be written.
    """
    try:
        path.write_bytes(data)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OutputError(f"{path.name}: can't be written ({error.strerror})") from error
