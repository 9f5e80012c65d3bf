"""A picture of what is said: boxes, verdict words and probability bars drawn on frames."""

import cv2
import numpy as np

from stream_detect.decode.frame import Frame
from stream_detect.types import FaceVerdict, FrameVerdict

Color = tuple[int, int, int]  # RGB
COLORS: dict[str, Color] = {"fake": (220, 40, 40), "real": (40, 160, 60), "inconclusive": (220, 160, 20)}
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
INK = {"fake": WHITE, "real": WHITE, "inconclusive": BLACK}  # what can be read on each colour
BANNER = "ALERT: a face is probably forged"
FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw(frame: Frame, verdict: FrameVerdict) -> np.ndarray:
    """The frame in RGB, (height, width, 3) uint8, with what is said of it.

    Every face has its box, its verdict in words and its probability as a bar; below stand the source and the time,
    above a banner while an alert is active, or why the frame was not judged.
    """
    return drawn(whole(frame), verdict)


def whole(frame: Frame) -> np.ndarray:
    """All of a frame in RGB, an array of its own."""
    return np.array(frame.rgb((0, 0, frame.width, frame.height)))


def drawn(rgb: np.ndarray, verdict: FrameVerdict) -> np.ndarray:
    """The same picture with what is said of it drawn on it, in place."""
    scale = max(0.4, min(rgb.shape[:2]) / 900)
    for face in verdict.faces:
        draw_face(rgb, face, scale)
    label(rgb, where_and_when(verdict), (0, rgb.shape[0]), BLACK, WHITE, scale)
    if any(face.alert for face in verdict.faces):
        label(rgb, BANNER, (0, 0), COLORS["fake"], WHITE, 1.25 * scale)
    elif verdict.reasons:
        label(rgb, ", ".join(verdict.reasons), (0, 0), COLORS["inconclusive"], INK["inconclusive"], scale)
    return rgb


def where_and_when(verdict: FrameVerdict) -> str:
    """Such as `cam1  0:01:04.2`, the time in the stream; what OpenCV's font can't write becomes a question mark."""
    tenths = round(10 * verdict.pts_s)
    minutes, seconds = divmod(tenths // 10, 60)
    source = verdict.source.encode("ascii", "replace").decode()
    return f"{source}  {minutes // 60}:{minutes % 60:02}:{seconds:02}.{tenths % 10}".strip()


def draw_face(rgb: np.ndarray, face: FaceVerdict, scale: float) -> None:
    """Draw one face in place; a line of dashes says inconclusive where colours can't be told apart."""
    x1, y1, x2, y2 = (round(side) for side in face.box)
    color, thickness = COLORS[face.verdict], max(1, round(3 * scale))
    if face.verdict == "inconclusive":
        draw_dashed(rgb, (x1, y1, x2, y2), color, thickness)
    else:
        cv2.rectangle(rgb, (x1, y1), (x2, y2), color, thickness * (2 if face.alert else 1))
    label(rgb, words(face), (x1, y1 - round(6 * scale)), color, INK[face.verdict], scale)
    draw_bar(rgb, face, (x1, y2 + round(4 * scale), x2, y2 + round(14 * scale)), color)


def words(face: FaceVerdict) -> str:
    """Such as `#3 FAKE 93 %` or `#4 inconclusive: small_face`; an active alert is told."""
    number = "" if face.track is None else f"#{face.track} "
    alert = "ALERT " if face.alert else ""
    verdict = face.verdict.upper() if face.verdict == "fake" else face.verdict
    probability = "" if face.fake_probability is None else f" {100 * face.fake_probability:.0f} %"
    why = f": {', '.join(face.reasons)}" if face.reasons else ""
    return f"{alert}{number}{verdict}{probability}{why}"


def label(rgb: np.ndarray, text: str, at: tuple[int, int], ground: Color, ink: Color, scale: float) -> None:
    """Words on a coloured ground, moved into the picture; `at` is their lower left corner."""
    thickness = max(1, round(2 * scale))
    (width, height), below = cv2.getTextSize(text, FONT, scale, thickness)
    x = max(0, min(at[0], rgb.shape[1] - width))
    y = max(height + below, min(at[1], rgb.shape[0] - below))
    cv2.rectangle(rgb, (x, y - height - below), (x + width, y + below), ground, cv2.FILLED)
    cv2.putText(rgb, text, (x, y), FONT, scale, ink, thickness, cv2.LINE_AA)


def draw_bar(rgb: np.ndarray, face: FaceVerdict, place: tuple[int, int, int, int], color: Color) -> None:
    """How much of the bar is filled is the probability; a tick shows the track's running one."""
    x1, y1, x2, y2 = place
    cv2.rectangle(rgb, (x1, y1), (x2, y2), BLACK, cv2.FILLED)
    if face.fake_probability is not None:
        cv2.rectangle(rgb, (x1, y1), (x1 + round((x2 - x1) * face.fake_probability), y2), color, cv2.FILLED)
    if face.track_probability is not None:
        x = x1 + round((x2 - x1) * face.track_probability)
        cv2.line(rgb, (x, y1 - 2), (x, y2 + 2), WHITE, max(1, (y2 - y1) // 4))


def draw_dashed(rgb: np.ndarray, box: tuple[int, int, int, int], color: Color, thickness: int) -> None:
    x1, y1, x2, y2 = box
    dash = max(4, (x2 - x1) // 12)
    for x in range(x1, x2, 2 * dash):
        for y in (y1, y2):
            cv2.line(rgb, (x, y), (min(x + dash, x2), y), color, thickness)
    for y in range(y1, y2, 2 * dash):
        for x in (x1, x2):
            cv2.line(rgb, (x, y), (x, min(y + dash, y2)), color, thickness)
