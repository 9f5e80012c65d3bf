"""The card that training lays beside its weights: what they learned from, what was measured, what they can't do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream_detect.errors import OutputError
from stream_detect.training.manifest import Item
from stream_detect.training.report import KINDS as SHOWN
from stream_detect.training.report import bands_tables, counted, number, table, told_files, with_interval
from stream_detect.training.rows import OURS

if TYPE_CHECKING:
    from stream_detect.training.train import TrainSettings

CARD = "MODEL_CARD.md"
Report = Mapping[str, Mapping[str, float | None]]  # expert or "fused" -> way of forging or "all" -> AUC
BY_SIZE = "fused, by face size in pixels"  # a row of the report of its own kind
BY_FUSION = "ways to fuse, out of fold"  # another: name -> auc and log_loss
CANT = "## What they can't do"
TOLD = ("rounds", "per_clip", "strengths", "epochs", "input_px", "pretrained", "seed")
BEGIN, END = "<!-- figures of stream-detect evaluate -->", "<!-- end of figures -->"
TERMS = {"raw": "as published", "alike": "alike", "controlled": "controlled"}
UNKNOWN = (
    "By skin colour, age, sex, beards, glasses, or for children: the footage carries no such label of real people, so "
    "that nothing is said. Brightness is the light on a face, not its skin."
)
LIMITS = (
    "The figures above are on footage of the same sources as the training, forged and degraded in the same ways. "
    "On other cameras, other codecs and forgeries made otherwise expect less: run `stream-detect evaluate` on yours.",
    "Faces below the size in heads.json (`min_face_px`), heavy blur and heavy compression are beyond what was learned.",
    "A forgery whose traces the channel has wiped out can't be seen. A low score is no proof that a face is real.",
)


def write_card(folder: Path, report: Report, items: Sequence[Item], settings: "TrainSettings") -> Path:
    """Write the card into the folder of the weights; gives its path.

    Args:
        folder: of the weights.
        report: AUC on held-out people, by expert and way of forging, as `train` measures it.
        items: what was learned from.
        settings: of the training.

    Raises:
        OutputError: if the folder can't be written.
    """
    path = folder / CARD
    try:
        path.write_text(card_text(report, items, settings), encoding="utf-8")
    except OSError as exc:
        raise OutputError(f"{path}: can't write the model card: {exc.strerror}; check the folder") from exc
    return path


def card_text(report: Report, items: Sequence[Item], settings: "TrainSettings") -> str:
    chosen = ", ".join(f"{name} {value}" for name, value in asdict(settings).items() if name in TOLD)
    parts = [
        "# Weights of stream-detect",
        f"Made by `stream-detect train` {version('stream-detect')} ({chosen}).",
        "## Learned from",
        data_table(items),
        f"Forgeries were also made from the real faces, by {families()}. Real and forged faces went through the same "
        "draws of resizing, screens, filters, light, noise, JPEG, H.264, H.265, VP8, VP9 and lost packets, of strength "
        "0 (untouched) to 0.85.",
        "Licence: these weights were learned from the footage named here, and its terms may reach as far as they do. "
        "Check them before you pass the weights on.",
        "## Measured on people held out (AUC)",
        "Rows with an expert's name are its own word; those with `alone`, `without` and `fused` are the fusion's, "
        "said by fits that saw neither the person nor the way of forging. The networks and heads saw the ways.",
        figures_table(report),
        CANT,
        "\n".join(f"- {limit}" for limit in LIMITS),
    ]
    if settings.mesonet_start:
        parts.insert(4, "Meso-4 started from the weights that its authors published (Afchar et al. 2018, Apache-2.0).")
    return "\n\n".join(parts) + "\n"


def put_figures(path: Path, reports: Mapping[str, Mapping[str, Any]], commit: str) -> None:
    """Write the figures of an evaluation into a card, in place of those that it held.

    Args:
        path: of the card; one that is not there is begun.
        reports: of `evaluate` by their terms, all of the same weights.
        commit: of the code that they were made with.

    Raises:
        OutputError: if the card can't be written.
    """
    try:
        text = path.read_text(encoding="utf-8") if path.is_file() else "# Weights of stream-detect\n"
        path.write_text(with_figures(text, figures_text(reports, commit)), encoding="utf-8")
    except OSError as exc:
        raise OutputError(f"{path}: can't write the model card: {exc.strerror}; check the folder") from exc


def with_figures(text: str, figures: str) -> str:
    """The card with this part where such a part was, else before what the weights can't do, else at its end."""
    part = f"{BEGIN}\n\n{figures}\n\n{END}"
    if BEGIN in text and END in text:
        before, rest = text.split(BEGIN, 1)
        return before + part + rest.split(END, 1)[1]
    before, mark, after = text.partition(CANT)
    return f"{before.rstrip()}\n\n{part}\n\n{mark}{after}".rstrip() + "\n"


def figures_text(reports: Mapping[str, Mapping[str, Any]], commit: str) -> str:
    """Measured on files that training never saw: by detector, by generator, by channel, and whom it fails."""
    first = next(iter(reports.values()))
    parts = [f"## Measured on {first['manifest']}", f"{told_files(first)} Commit {commit}."]
    for kind, words in SHOWN.items():
        shown = {terms: report[kind] for terms, report in reports.items() if report[kind]}
        if shown:
            parts += [f"### {words.capitalize()}: {counted(next(iter(shown.values())))}", *kind_parts(shown)]
    parts += ["### Whom it fails", *band_parts(reports), f"Not known: {UNKNOWN[0].lower()}{UNKNOWN[1:]}"]
    return "\n\n".join(parts)


def kind_parts(shown: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A column each for every way of encoding: detectors, generators, verdicts, calibration."""
    head = ["AUC (90 % interval)", *(TERMS[terms] for terms in shown)]
    names = list(dict.fromkeys(name for part in shown.values() for name in part["auc"]))
    rows = [[name, *(with_interval(part["auc"].get(name)) for part in shown.values())] for name in names]
    for source in dict.fromkeys(name for part in shown.values() for name in part["auc_against"]):
        against = [part["auc_against"].get(source) for part in shown.values()]
        cells = [with_interval(one and one["auc"][OURS]) for one in against]
        rows.append([f"{OURS}, against the reals of {source} alone", *cells])
    for key, words in (("auc_by_generator", "made by"), ("auc_by_real_source", "against the reals of")):
        for name in dict.fromkeys(name for part in shown.values() for name in part[key]):
            found = [part[key].get(name) for part in shown.values()]
            count = next(one["files"] for one in found if one)
            rows.append([f"{OURS}, {words} {name} ({count})", *(with_interval(one) for one in found)])
    plain = [[words, *(told(part) for part in shown.values())] for words, told in PLAIN.items()]
    return ["\n".join(table(head, rows)), "\n".join(table(["", *(TERMS[terms] for terms in shown)], plain))]


def called(part: Mapping[str, Any], key: str) -> str:
    one = part[key]
    return f"{one['called']} of {one['judged']} (at most {number(one['bound_95'])} with 95 %)"


PLAIN: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "real called fake": lambda part: called(part, "real_called_fake"),
    "fake called fake": lambda part: called(part, "fake_called_fake"),
    "fake called real": lambda part: called(part, "fake_called_real"),
    "judged, of faces from 64 px": lambda part: with_interval(part["judged_from_64_px"], "share"),
    "real or fake, of faces from 64 px": lambda part: with_interval(part["decided"]["from_64_px"], "share"),
    "calibration error": lambda part: number(part["calibration_error"]),
}


def band_parts(reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Verdicts by what can be measured of a face, of stills and frames."""
    parts = []
    for terms, report in reports.items():
        for kind in ("image", "frame"):
            if report[kind]:
                parts.append(f"{SHOWN[kind].capitalize()}, {TERMS[terms]}:")
                parts.append("\n".join(bands_tables(report[kind]["bands"])).strip())
    return parts


def families() -> str:
    """The training's own ways of forging, in words."""
    from stream_detect.training.forgeries import FAMILIES

    return ", ".join(FAMILIES)


def data_table(items: Sequence[Item]) -> str:
    """Files, people and licences of every source."""
    head = ["source", "real files", "forged files", "people or files", "licence, in the source's words"]
    rows = []
    for source in sorted({item.source for item in items}):
        some = [item for item in items if item.source == source]
        fakes = sum(item.is_fake for item in some)
        people = len({item.group for item in some})
        licences = "; ".join(sorted({item.licence.replace("|", "/") for item in some if item.licence})) or "not said"
        rows.append([source or "not said", str(len(some) - fakes), str(fakes), str(people), licences])
    return "\n".join(table(head, rows))


def figures_table(report: Report) -> str:
    """A row an expert, a column a way of forging; then the fused figure by the size of the face."""
    tables = [table_of({name: figures for name, figures in report.items() if name not in (BY_SIZE, BY_FUSION)})]
    if BY_SIZE in report:
        tables.append(table_of({"fused": {f"from {size} px": auc for size, auc in report[BY_SIZE].items()}}))
    return "\n\n".join(tables)


def table_of(report: Report) -> str:
    kinds = list(dict.fromkeys(kind for figures in report.values() for kind in figures))
    rows = [["", *kinds], ["---"] * (len(kinds) + 1)]
    rows += [[name, *(cell(figures.get(kind)) for kind in kinds)] for name, figures in report.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def cell(auc: float | None) -> str:
    return "-" if auc is None or auc != auc else f"{auc:.3f}"
