"""The demonstration's picture: the face before and after, the score over time, the spectra."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stream_detect.demo.report import Kept, Recording, has_alert
from stream_detect.errors import OutputError, UsageError
from stream_detect.experts.spectrum import spectrum_curve
from stream_detect.faces import cut_faces
from stream_detect.overlay import draw
from stream_detect.types import Face

NO_LANDMARKS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)


def save_plots(recording: Recording, path: Path) -> Path:
    """Write the picture of a demonstration as PNG.

    Raises:
        UsageError: if matplotlib is not installed.
        OutputError: if the place can't be written.
    """
    figure = make_figure(recording)
    try:
        figure.savefig(path, dpi=110)
    except OSError as exc:
        raise OutputError(f"{path}: can't be written ({exc.strerror}); choose another folder with --out") from exc
    return path


def make_figure(recording: Recording) -> Any:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise UsageError("the demo's picture needs matplotlib: pip install 'stream-detect[demo]'") from exc
    figure = Figure(figsize=(12, 10), layout="constrained")
    FigureCanvasAgg(figure)
    before, after, score, spectra = figure.subplot_mosaic("AB;CC;DD", height_ratios=[1.5, 1, 1]).values()
    show_frame(before, frame_before(recording), "before")
    show_frame(after, frame_after(recording), "after")
    plot_scores(score, recording)
    plot_spectra(spectra, recording)
    return figure


def frame_before(recording: Recording) -> Kept | None:
    """The last frame that was kept before the change; of a control, one from the middle."""
    kept = [one for one in recording.kept if recording.is_before(one.verdict.pts_s)]
    if recording.change_s is None:
        kept = kept[: len(kept) // 2 + 1]
    return kept[-1] if kept else None


def frame_after(recording: Recording) -> Kept | None:
    """The first frame with an alert, or else the last one that was kept."""
    alerted = [one for one in recording.kept if has_alert(one)]
    return alerted[0] if alerted else (recording.kept[-1] if recording.kept else None)


def show_frame(axes: Any, kept: Kept | None, word: str) -> None:
    axes.set_axis_off()
    if kept is None:
        axes.set_title(f"no frame {word}")
        return
    axes.imshow(draw(kept.frame, kept.verdict))
    axes.set_title(f"{word}: {kept.verdict.pts_s:.1f} s")


def plot_scores(axes: Any, recording: Recording) -> None:
    """Probability of a forgery over time: each frame's and the running one, with the change and the alert."""
    said = [(one.pts_s, one.faces[0]) for one in recording.verdicts if one.faces]
    times = [pts_s for pts_s, _ in said]
    axes.plot(
        times, [number(face.fake_probability) for _, face in said], ".", markersize=3, color="0.55", label="frame"
    )
    axes.plot(times, [number(face.track_probability) for _, face in said], "-", color="C0", label="running")
    if recording.change_s is not None:
        axes.axvline(recording.change_s, color="C1", linestyle="--", label="face becomes forged")
    if recording.alert_s is not None:
        axes.axvline(recording.alert_s, color="C3", linestyle=":", linewidth=2, label="alert")
    axes.set(xlabel="time in the stream, seconds", ylabel="probability of a forgery", ylim=(-0.03, 1.03))
    axes.legend(loc="center left")


def plot_spectra(axes: Any, recording: Recording) -> None:
    """Mean spectrum of the face, and of its surroundings, before and after the change."""
    halves = {True: ("before", "C0"), False: ("after", "C3")}
    for is_before, (word, color) in halves.items():
        kept = [one for one in recording.kept if recording.is_before(one.verdict.pts_s) == is_before]
        tiles = face_tiles(kept)
        if len(tiles):
            curve = spectrum_curve(tiles)
            axes.plot(curve.cycles_per_px, curve.inside_db.mean(axis=0), "-", color=color, label=f"face {word}")
            axes.plot(curve.cycles_per_px, curve.around_db.mean(axis=0), ":", color=color, label=f"around it {word}")
    axes.set(xlabel="cycles per pixel", ylabel="power of the luma, dB")
    if axes.lines:
        axes.legend(loc="upper right")


def face_tiles(kept: Sequence[Kept]) -> np.ndarray:
    """The fingerprint tiles of every face in the frames that were kept: (faces, 28, 64, 64)."""
    crops = [cut_faces(one.frame, [face_in(box.box) for box in one.verdict.faces]).tiles for one in kept]
    return np.concatenate(crops) if crops else np.zeros((0, 28, 64, 64), np.float32)


def face_in(box: tuple[float, float, float, float]) -> Face:
    """A face of which only the box is known: enough for tiles, which don't use landmarks."""
    corners = np.array(box, np.float32)
    return Face(corners, corners[:2] + NO_LANDMARKS * (corners[2:] - corners[:2]), 1.0)


def number(value: float | None) -> float:
    return float("nan") if value is None else value
