"""The picture of an explanation: the face, the maps over it, residuals, spectrum, experts and, of a clip, the time.

Every map is drawn in "cividis", whose brightness rises evenly and which looks the same to colour-blind people, on a
scale that never changes; lines and words say what the colours say.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stream_detect.errors import OutputError
from stream_detect.explain.explanation import Explanation, Sight
from stream_detect.explain.folder import SUBJECT, check_drawing
from stream_detect.explain.maps import FaceMap, over_crop
from stream_detect.explain.residual import ResidualMap
from stream_detect.explain.spectrum import BAND, SpectrumLines
from stream_detect.types import ALIGNED_PX, Reason, Score

DPI = 100
WIDTH_IN = 14.0  # of the picture
HEADER_IN, FACES_IN, CURVES_IN, TIME_IN, MESSAGE_IN = 1.25, 4.55, 4.1, 2.5, 5.2
COLORS = "cividis"
INK, FAINT, ACCENT = "0.1", "0.55", "#b35806"
PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # behind words that a line may cross
ATTENTION_LIMIT = 4.0  # multiples of the average place, the end of its scale
RESIDUAL_LIMIT_DB = 9.0  # the ends of its scale, an eighth and eight times the energy of the surroundings
SPECTRUM_DB = (-60.0, 25.0)
SHOWN_NAME = 90  # characters of a file's name
MOST_MAPS = 3

REASONS: dict[Reason, str] = {
    "no_face": "no face was found",
    "small_face": "the face has too few pixels to be judged",
    "blurred": "the face is too blurred to be judged",
    "over_compressed": "compression left too little of the face to be judged",
    "frozen": "the picture stood still",
    "corrupt": "the picture is damaged",
    "disagreement": "between the limits of real and fake",
}
ASKED = {
    "synthesised": ("Generated?", "a network generated something"),
    "resynthesised": ("Redrawn?", "a network redrew something"),
    "blended": ("Pasted in?", "another face was pasted in"),
    "partial": ("Altered in part?", "a part was altered"),
}
LESSONS = {"synthesised": "generated", "resynthesised": "redrawn", "blended": "pasted-in", "partial": "partly altered"}


def save_picture(explanation: Explanation, path: Path, subject: str = "") -> Path:
    """Write the picture as PNG; `subject` goes into its text, see `ExplanationFolder`.

    Raises:
        UsageError: if matplotlib is not installed.
        OutputError: if the place can't be written.
    """
    figure = make_figure(explanation)
    about = {"Software": "stream-detect", SUBJECT: subject} if subject else {"Software": "stream-detect"}
    try:
        figure.savefig(path, dpi=DPI, metadata=about)
    except OSError as exc:
        raise OutputError(f"{path}: can't be written ({exc.strerror or exc}); choose another folder") from exc
    return path


def make_figure(explanation: Explanation) -> Any:
    """The picture as a figure of matplotlib."""
    check_drawing()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sight = explanation.sight
    is_judged = sight is not None and sight.verdict.llr is not None
    heights = [HEADER_IN, FACES_IN, CURVES_IN] if is_judged else [HEADER_IN, MESSAGE_IN]
    if len(explanation.moments) > 1:
        heights.append(TIME_IN)
    figure = Figure(figsize=(WIDTH_IN, sum(heights)), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    rows: Any = figure.subfigures(len(heights), 1, height_ratios=heights)
    draw_header(rows[0], explanation)
    if sight is not None and is_judged:
        draw_sight(rows[1], rows[2], sight, explanation)
    else:
        draw_message(rows[1], explanation)
    if len(explanation.moments) > 1:
        draw_time(rows[-1], explanation)
    return figure


def draw_header(figure: Any, explanation: Explanation) -> None:
    """File, verdict in words, kinds of forgery, and what was looked at with which weights."""
    score = explanation.score
    figure.text(0.012, 0.74, shortened(Path(score.path).name or "picture"), fontsize=13, color=INK, va="center")
    figure.text(0.012, 0.40, verdict_words(score), fontsize=19, weight="bold", color=INK, va="center")
    figure.text(0.012, 0.12, " · ".join(details(explanation)), fontsize=10, color="0.3", va="center")
    figure.text(
        0.988, 0.74, "An indication, not proof.", fontsize=10, color="0.3", va="center", ha="right", style="italic"
    )


def shortened(name: str) -> str:
    """A file's name on one line, without characters that can't be drawn and not too long."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in name).replace("$", r"\$")
    return plain if len(plain) <= SHOWN_NAME else f"{plain[: SHOWN_NAME // 2]} ... {plain[-SHOWN_NAME // 2 + 5 :]}"


def verdict_words(score: Score) -> str:
    """Such as `FAKE: probability of a forgery 0.93` or `INCONCLUSIVE: no face was found`."""
    said = [] if score.fake_probability is None else [f"probability of a forgery {score.fake_probability:.2f}"]
    said += [REASONS.get(reason, reason) for reason in score.reasons]
    return f"{score.verdict.upper()}: {', '.join(said)}" if said else score.verdict.upper()


def details(explanation: Explanation) -> list[str]:
    score = explanation.score
    faces = f"{score.faces} face" + ("" if score.faces == 1 else "s")
    told = [faces] if score.kind == "image" else [f"clip, {faces}", f"{score.judged} of {score.frames} frames judged"]
    if score.kinds:
        told.append("suspected: " + ", ".join(f"{kind} {p:.2f}" for kind, p in score.kinds.items()))
    return [*told, f"weights {explanation.digest[:12] or 'not stored'}"]


def draw_sight(top: Any, bottom: Any, sight: Sight, explanation: Explanation) -> None:
    """The face and its maps in one row, the curves and bars in the next; residuals go where there is more room."""
    maps = sight.maps[:MOST_MAPS]
    is_above = len(maps) < MOST_MAPS
    panels = top.subplots(1, 1 + len(maps) + is_above, squeeze=False)[0]
    show_face(panels[0], sight, explanation)
    for axes, one in zip(panels[1:], maps, strict=False):
        show_map(axes, sight.aligned, one, sight.verdict.kinds)
    widths = [1.5, 1.0] if is_above else [1.0, 1.5, 1.0]
    below = bottom.subplots(1, len(widths), width_ratios=widths)
    if sight.residual is not None:
        show_residual(panels[-1] if is_above else below[0], sight.residual)
    if sight.spectrum is not None:
        plot_spectrum(below[-2], sight.spectrum)
    plot_experts(below[-1], explanation)


def title(axes: Any, words: str, explained: str, width: int = 44) -> None:
    """What a panel is, in bold, and below it in plain words what one sees."""
    lines = [*textwrap.wrap(explained, width), ""][:2]
    axes.set_title("\n".join(lines), fontsize=9.5, color="0.3", loc="left")
    axes.annotate(
        words,
        (0, 1),
        (0, 6 + 13.2 * len(lines)),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=11.5,
        weight="bold",
        color=INK,
    )


def show_face(axes: Any, sight: Sight, explanation: Explanation) -> None:
    """The face in its surroundings, framed."""
    where = ""
    if explanation.score.kind == "video":
        where = f"at {sight.pts_s:.2f} s, where it looks worst"
    elif explanation.score.faces > 1:
        where = "the most suspicious one"
    if sight.verdict.llr is None:
        where = "; ".join(REASONS.get(reason, reason) for reason in sight.verdict.reasons)
    show(axes, sight.close_up)
    square(axes, sight.close_up.shape, sight.box)
    frame_box(axes, sight.box)
    side = round(float(np.sqrt((sight.box[2] - sight.box[0]) * (sight.box[3] - sight.box[1]))))
    title(axes, "The face", f"about {side} pixels" + (f", {where}" if where else ""))


def show_map(axes: Any, aligned: np.ndarray, one: FaceMap, kinds: Mapping[str, float]) -> None:
    """A map over the aligned face in gray, with a line where suspicion passes one half or attention twice the mean."""
    limit, level = (1.0, 0.5) if one.is_forgery else (ATTENTION_LIMIT, 2.0)
    values = over_crop(one.values[0], one.crop_px)
    margin = (ALIGNED_PX - one.crop_px) // 2
    extent = (margin, margin + one.crop_px, margin + one.crop_px, margin)
    gray = aligned.astype(np.float32).mean(axis=2)
    axes.imshow(gray, cmap="gray", vmin=-40, vmax=300)
    shown = axes.imshow(values, cmap=COLORS, vmin=0, vmax=limit, alpha=0.62, extent=extent)
    places = margin + 0.5 + np.arange(one.crop_px)
    if values.min() < level < values.max():
        drawn = axes.contour(places, places, values, [level], colors="white", linewidths=1.6)
        drawn.set_path_effects([outline(3.2)])
        told = axes.clabel(drawn, fmt={level: f"{level:g}" if one.is_forgery else f"{level:g}x"}, fontsize=9)
        for text in told:
            text.set_path_effects([outline(2.5)])
    axes.set(xlim=(margin, margin + one.crop_px), ylim=(margin + one.crop_px, margin), xticks=[], yticks=[])
    title(axes, *map_words(one, kinds))
    if one.is_forgery:
        scale(axes, shown, [0, 0.5, 1], ["0 not here", "0.5", "1 here"])
    else:
        scale(axes, shown, [0, 1, 2, 4], ["0", "1 average", "2x", "4x or more"])


def map_words(one: FaceMap, kinds: Mapping[str, float]) -> tuple[str, str]:
    """The title of a map, with the probability of its kind where it is known, and what one sees on it.

    A map of places was learned with as many forged places as others: it tells where, not whether.
    """
    if one.is_forgery:
        words, happened = ASKED[one.kinds[0]]
        chance = kinds.get(one.kinds[0])
        told = words if chance is None else f"{words} probability {chance:.2f}"
        return told, f"if {happened}, bright = where; it tells where, not whether"
    lesson = ", ".join(LESSONS[kind] for kind in one.kinds)
    seen = "bright = weighs more in what this network says; not a map of what is forged"
    return f"Where it looks: {lesson}?" if lesson else "Where it looks", seen


def show_residual(axes: Any, residual: ResidualMap) -> None:
    """Residual energy over the face and its ring, with a line where it equals that of the ring."""
    limit = RESIDUAL_LIMIT_DB
    shown = axes.imshow(residual.db, cmap=COLORS, vmin=-limit, vmax=limit)
    frame_box(axes, residual.box)
    axes.set(xticks=[], yticks=[])
    square(axes, residual.db.shape, residual.box)
    more = "more" if residual.face_db > 0 else "less"
    seen = f"bright = more than around the face, dark = less; face {abs(residual.face_db):.1f} dB {more}"
    if not residual.has_ring:
        seen = "bright = more than the mean of the face, dark = less; there is nothing around it"
    title(axes, "Fine detail and noise", seen)
    scale(axes, shown, [-limit, 0, limit], ["1/8", "as around it" if residual.has_ring else "mean", "8x"])


def plot_spectrum(axes: Any, lines: SpectrumLines) -> None:
    """The face's curve, that of its surroundings, and the band of real faces."""
    x = lines.cycles_per_px
    if lines.real_db is not None and lines.real_sd_db is not None:
        low, high = lines.real_db - BAND * lines.real_sd_db, lines.real_db + BAND * lines.real_sd_db
        axes.fill_between(x, low, high, color="0.87", label="real faces: mean, 2 sd each side")
        axes.plot(x, lines.real_db, color="0.65", linewidth=1)
    axes.plot(x, lines.around_db, color=FAINT, linestyle="--", linewidth=1.6, label="around the face")
    axes.plot(x, lines.face_db, color=INK, linewidth=2.2, label="the face")
    outside = lines.outside_band
    seen = "these weights hold no band of real faces to compare with"
    if outside is not None:
        seen = f"{100 * outside:.0f} % of the solid line lies outside the gray band of real faces"
    title(axes, "Spectrum: how much detail of each fineness", seen, 80)
    axes.set(xlim=(0, float(x[-1])), ylim=SPECTRUM_DB)
    axes.set_xlabel("coarse   \u2190   cycles a pixel   \u2192   fine", fontsize=9.5)
    axes.set_ylabel("power, dB", fontsize=9.5)
    axes.legend(fontsize=9, loc="upper right", frameon=False)
    plain(axes)


def plot_experts(axes: Any, explanation: Explanation) -> None:
    """A bar for all together, then one an expert, with the limits of the verdict."""
    score, limits = explanation.score, explanation.limits
    rows: list[tuple[str, float | None]] = [("all together", score.fake_probability), *score.experts.items()]
    for row, (_, p) in enumerate(rows):
        axes.barh(row, p or 0.0, height=0.62, color=INK if row == 0 else "0.62")
        axes.text((p or 0.0) + 0.015, row, "silent" if p is None else f"{p:.2f}", va="center", fontsize=9.5, bbox=PAPER)
    for limit, words, side in ((limits.real, "real", "right"), (limits.fake, "fake", "left")):
        axes.axvline(limit, color=ACCENT, linewidth=1.2, linestyle="--")
        axes.text(limit, -0.62, f" {words} ", color=ACCENT, fontsize=9.5, ha=side, va="bottom")
    axes.set(yticks=range(len(rows)), yticklabels=[name for name, _ in rows], xlim=(0, 1.1), xticks=[0, 0.5, 1])
    axes.set_ylim(len(rows) - 0.5, -1.1)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("probability of a forgery", fontsize=9.5)
    subject = "the clip" if score.kind == "video" else "the face"
    title(axes, "What each expert says", f"of {subject}, each alone; the dashed limits hold for all together", 52)
    plain(axes)


def draw_time(figure: Any, explanation: Explanation) -> None:
    """Every judged frame of a clip, the deciding face as a line, others as circles."""
    axes = figure.subplots()
    worst = [one for one in explanation.moments if one.is_worst]
    others = [one for one in explanation.moments if not one.is_worst]
    if others:
        label = "other faces"
        times, said = [one.pts_s for one in others], [one.fake_probability for one in others]
        axes.plot(times, said, "o", markersize=4, markerfacecolor="none", color=FAINT, label=label)
    times, said = [one.pts_s for one in worst], [one.fake_probability for one in worst]
    axes.plot(times, said, ".-", color=INK, markersize=5, linewidth=1, label="the face above")
    for limit, words in ((explanation.limits.fake, "fake"), (explanation.limits.real, "real")):
        axes.axhline(limit, color=ACCENT, linewidth=1.2, linestyle="--")
        va = "bottom" if words == "fake" else "top"
        axes.text(1.004, limit, words, color=ACCENT, fontsize=9.5, va=va, transform=axes.get_yaxis_transform())
    if explanation.sight is not None:
        axes.axvline(explanation.sight.pts_s, color=FAINT, linewidth=1, linestyle=":")
    seen = "each judged frame; the dotted line marks the frame shown above"
    title(axes, "Over time", seen, 120)
    axes.set(ylim=(-0.04, 1.04), yticks=[0, 0.5, 1])
    axes.set_xlabel("seconds", fontsize=9.5)
    axes.set_ylabel("probability of a forgery", fontsize=9.5)
    if others:
        axes.legend(fontsize=9, loc="best", frameon=False)
    plain(axes)


def draw_message(figure: Any, explanation: Explanation) -> None:
    """The picture in which nothing could be judged, and why."""
    left, right = figure.subplots(1, 2)
    if explanation.sight is not None:
        show_face(left, explanation.sight, explanation)
    elif explanation.picture is not None:
        show(left, explanation.picture)
        title(left, "The picture", "in which no face was found")
    else:
        left.set_axis_off()
    right.set_axis_off()
    why = [REASONS.get(reason, reason) for reason in explanation.score.reasons]
    lines = ["Nothing could be judged:", *why, "", "There are no maps and no bars, because the experts were not asked."]
    words = "\n".join(line for text in lines for line in (textwrap.wrap(text, 52) or [""]))
    right.text(0, 0.9, words, fontsize=13, color=INK, va="top", linespacing=1.6)


def show(axes: Any, rgb: np.ndarray) -> None:
    axes.imshow(rgb)
    axes.set(xticks=[], yticks=[])


def square(axes: Any, shape: tuple[int, ...], box: Sequence[float]) -> None:
    """Show a square of a picture about the middle of a box, unless the box would not fit in."""
    side = min(shape[:2])
    if max(box[2] - box[0], box[3] - box[1]) > side:
        return
    starts = [(box[axis] + box[axis + 2] - side) / 2 for axis in (0, 1)]
    x, y = (float(np.clip(start, 0, shape[1 - axis] - side)) - 0.5 for axis, start in enumerate(starts))
    axes.set(xlim=(x, x + side), ylim=(y + side, y))


def frame_box(axes: Any, box: Sequence[float]) -> None:
    """A box that is seen on light and on dark ground."""
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = box
    frame = Rectangle((x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1, fill=False, edgecolor="white", linewidth=1.4)
    frame.set_path_effects([outline(3.2)])
    axes.add_patch(frame)


def scale(axes: Any, shown: Any, ticks: Sequence[float], words: Sequence[str]) -> None:
    """The fixed scale of a map, below it, in words."""
    bar = axes.figure.colorbar(shown, cax=axes.inset_axes((0, -0.07, 1, 0.04)), orientation="horizontal")
    bar.set_ticks(list(ticks), labels=list(words))
    bar.ax.tick_params(labelsize=9, length=2)
    first, *_, last = bar.ax.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    bar.solids.set_alpha(1)
    bar.outline.set_visible(False)


def outline(width: float) -> Any:
    """A black edge that keeps a white line or word legible on any ground."""
    from matplotlib.patheffects import withStroke

    return withStroke(linewidth=width, foreground="black")


def plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9.5)
