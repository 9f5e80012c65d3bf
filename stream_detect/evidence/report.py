"""The page of an alert: one HTML file that says in plain words what happened, and opens without a network."""

import base64
import csv
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from stream_detect.evidence.pictures import Picture, Pictures, write_text
from stream_detect.types import rounded

if TYPE_CHECKING:
    from jinja2 import Template

WIDEST_PX = 520  # of a picture on the page; the file beside it has all pixels
CHART = (720, 220)  # width and height of a chart, in its own units
MARGIN = (44, 10, 8, 26)  # left, top, right, bottom
RULES = {
    "sustained": "the face looked forged long enough, by its score or against what is normal for it",
    "spike": "a face that looked real turned forged within a second",
    "feed_swap": "the fingerprint of the whole picture changed, as when another source is put on air",
}
CLIPS = {
    "remuxed": "The clip holds the original packets of the feed, not encoded again; it begins at a key frame.",
    "encoded": "The source has no packets to keep: the clip was encoded from pictures of it.",
    "blurred": "The clip was decoded and encoded again, because faces are hidden in it.",
    "none": "There is no clip.",
}
SHADES = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#9d755d", "#72b7b2", "#e45756")
UNSAFE = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the beginning of a formula


@dataclass(frozen=True, slots=True)
class Moment:
    """What was said of the face in one frame."""

    pts_s: float
    fake_probability: float | None
    track_probability: float | None
    experts: Mapping[str, float | None]
    quality: float
    verdict: str


def write_scores(folder: Path, moments: Sequence[Moment]) -> None:
    """scores.csv and scores.json: what was said frame by frame.

    Raises:
        OutputError: if they can't be written.
    """
    experts = list(dict.fromkeys(name for one in moments for name in one.experts))
    rows = [row_of(one, experts) for one in moments]
    table = io.StringIO()
    writer = csv.DictWriter(table, [*ROW, *experts], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: plain(value) for name, value in row.items()} for row in rows)
    write_text(folder / "scores.csv", table.getvalue())
    write_text(folder / "scores.json", json.dumps(rows, indent=1))


ROW = ("pts_s", "fake_probability", "track_probability", "quality", "verdict")


def row_of(one: Moment, experts: Sequence[str]) -> dict[str, Any]:
    said = (one.pts_s, one.fake_probability, one.track_probability, one.quality)
    row: dict[str, Any] = dict(zip(ROW, (rounded(value) for value in said), strict=False))
    return {**row, "verdict": one.verdict, **{name: rounded(one.experts.get(name)) for name in experts}}


def plain(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(UNSAFE) else value


def write_report(
    folder: Path,
    alert: Mapping[str, Any],
    about: Mapping[str, Any],
    moments: Sequence[Moment],
    pictures: Pictures,
    clip: str | None,
    clip_kind: str,
) -> None:
    """report.html, with reduced pictures in it.

    Raises:
        OutputError: if it can't be written.
    """
    raised_s = about.get("raised_s")
    write_text(
        folder / "report.html",
        template().render(
            alert=alert,
            about=about,
            rule=RULES.get(str(alert.get("rule")), ""),
            clip=clip,
            clip_words=CLIPS[clip_kind],
            frames=[(one, inlined(folder / one.name)) for one in pictures.frames],
            maps=[(one, inlined(folder / one.name)) for one in pictures.maps],
            why_no_maps=pictures.why_no_maps,
            experts=expert_rows(alert, moments),
            scores=score_chart(moments, alert.get("started_s"), raised_s),
            spectrum=spectrum_chart(pictures.spectrum),
            outside=pictures.spectrum.get("outside_band"),
            facts=facts_of(about),
        ),
    )


@cache
def template() -> "Template":
    from jinja2 import Environment, StrictUndefined

    text = files("stream_detect.evidence").joinpath("templates/report.html.j2").read_text(encoding="utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(text)


def facts_of(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What else the manifest says, line by line."""
    shown = ("software", "weights", "settings_sha256", "privacy")
    return [(name.replace("_", " "), str(about[name])) for name in shown if about.get(name)]


def expert_rows(alert: Mapping[str, Any], moments: Sequence[Moment]) -> list[tuple[str, float | None, float | None]]:
    """Each expert: what it said when the line was told, and the most that it said around it."""
    told: Mapping[str, float | None] = alert.get("experts") or {}
    names = list(dict.fromkeys([*told, *(name for one in moments for name in one.experts)]))
    said = {name: [p for one in moments if (p := one.experts.get(name)) is not None] for name in names}
    return [(name, told.get(name), max(said[name], default=None)) for name in names]


def inlined(path: Path) -> str:
    """A reduced picture as a data: address; empty where there is none."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        return ""
    scale = min(1.0, WIDEST_PX / picture.shape[1])
    if scale < 1:
        to = (round(picture.shape[1] * scale), max(1, round(picture.shape[0] * scale)))
        picture = np.asarray(cv2.resize(picture, to, interpolation=cv2.INTER_AREA), np.uint8)
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 88])
    return f"data:image/jpeg;base64,{base64.b64encode(bytes(data)).decode()}"


Points = Sequence[tuple[float, float | None]]


def score_chart(moments: Sequence[Moment], started_s: float | None, raised_s: float | None) -> str:
    """Probabilities over time, as SVG: all together, running, and each expert."""
    if len(moments) < 2:
        return ""
    experts = list(dict.fromkeys(name for one in moments for name in one.experts))
    lines: dict[str, Points] = {"all together": [(one.pts_s, one.fake_probability) for one in moments]}
    lines["running"] = [(one.pts_s, one.track_probability) for one in moments]
    lines |= {name: [(one.pts_s, one.experts.get(name)) for one in moments] for name in experts}
    marks = [(at, words) for at, words in ((started_s, "change"), (raised_s, "alert")) if at is not None]
    span = (moments[0].pts_s, moments[-1].pts_s)
    return chart(lines, span, (0.0, 1.0), marks, "seconds of the feed", "probability of a forgery")


def spectrum_chart(spectrum: Mapping[str, Any]) -> str:
    """Power over fineness, as SVG: the face, its surroundings, and the band of real faces."""
    if not spectrum:
        return ""
    x = spectrum["cycles_per_px"]
    lines = {words: list(zip(x, spectrum[name], strict=True)) for name, words in CURVES if spectrum.get(name)}
    band = None
    if spectrum.get("real_db") and spectrum.get("real_sd_db"):
        pairs = list(zip(spectrum["real_db"], spectrum["real_sd_db"], strict=True))
        band = [(at, mean - 2 * sd, mean + 2 * sd) for at, (mean, sd) in zip(x, pairs, strict=True)]
    values = [y for points in lines.values() for _, y in points]
    values += [y for _, low, high in band or [] for y in (low, high)]
    span = (min(values), max(values))
    return chart(lines, (x[0], x[-1]), span, [], "cycles a pixel: coarse to fine", "power, dB", band)


CURVES = (("face_db", "the face"), ("around_db", "around the face"))


def chart(
    lines: Mapping[str, Points],
    across: tuple[float, float],
    up: tuple[float, float],
    marks: Sequence[tuple[float, str]],
    under: str,
    beside: str,
    band: Sequence[tuple[float, float, float]] | None = None,
) -> str:
    """A small chart as SVG, in the colours of the page; gaps where nothing was said."""
    left, top, right, bottom = MARGIN
    width, height = CHART[0] - left - right, CHART[1] - top - bottom

    def place(x: float, y: float) -> str:
        share_x = (x - across[0]) / max(across[1] - across[0], 1e-9)
        share_y = (y - up[0]) / max(up[1] - up[0], 1e-9)
        return f"{left + width * share_x:.1f},{top + height * (1 - share_y):.1f}"

    parts = [f'<svg viewBox="0 0 {CHART[0]} {CHART[1]}" role="img" aria-label="{html.escape(beside)}">']
    parts += [axis_of(across, up, place, under, beside)]
    if band:
        edge = [place(x, high) for x, _, high in band] + [place(x, low) for x, low, _ in reversed(band)]
        parts.append(f'<polygon class="band" points="{" ".join(edge)}"/>')
    for number, points in enumerate(lines.values()):
        weight = 2.4 if number == 0 else 1.2
        for stretch in stretches(points):
            path = " ".join(place(x, y) for x, y in stretch)
            color = "currentColor" if number == 0 else SHADES[(number - 1) % len(SHADES)]
            parts.append(f'<polyline fill="none" stroke="{color}" stroke-width="{weight}" points="{path}"/>')
    for at, words in marks:
        if across[0] <= at <= across[1]:
            x = place(at, up[0]).split(",")[0]
            line = f'<line class="mark" x1="{x}" x2="{x}" y1="{top}" y2="{top + height}"/>'
            parts.append(f'{line}<text x="{x}" y="{top + 10}" dx="4" class="small">{html.escape(words)}</text>')
    return "".join([*parts, "</svg>", legend(list(lines), band is not None)])


def axis_of(across: tuple[float, float], up: tuple[float, float], place: Any, under: str, beside: str) -> str:
    left, base = MARGIN[0], CHART[1] - MARGIN[3]
    parts = []
    for y in np.linspace(*up, 3):
        at = place(across[0], y).split(",")[1]
        parts.append(f'<line class="grid" x1="{left}" x2="{CHART[0] - MARGIN[2]}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text class="small" text-anchor="end" x="{left - 6}" y="{float(at) + 4:.1f}">{y:.3g}</text>')
    for x, anchor in zip(np.linspace(*across, 5), ("start", *3 * ["middle"], "end"), strict=True):
        at = place(x, up[0]).split(",")[0]
        parts.append(f'<text class="small" text-anchor="{anchor}" x="{at}" y="{base + 14}">{x:.3g}</text>')
    corner = f'x="{CHART[0] - 8}" y="{CHART[1] - 1}"'
    parts.append(f'<text class="small" text-anchor="end" {corner}>{html.escape(under)}</text>')
    return "".join(parts)


def legend(names: Sequence[str], has_band: bool) -> str:
    shown = [("currentColor" if k == 0 else SHADES[(k - 1) % len(SHADES)], name) for k, name in enumerate(names)]
    items = [f'<span><i style="background:{color}"></i>{html.escape(name)}</span>' for color, name in shown]
    if has_band:
        items.append('<span><i class="band-key"></i>real faces: mean, two standard deviations each side</span>')
    return f'<p class="legend">{"".join(items)}</p>'


def stretches(points: Points) -> list[list[tuple[float, float]]]:
    """The points between gaps."""
    found: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is None:
            found.append([])
        else:
            found[-1].append((x, y))
    return [stretch for stretch in found if len(stretch) > 1]


__all__ = ["Moment", "Picture", "write_report", "write_scores"]
