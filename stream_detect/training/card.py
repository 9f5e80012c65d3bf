"""The card that training lays beside its weights: what they learned from, what was measured, what they can't do."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from stream_detect.errors import OutputError
from stream_detect.training.manifest import Item

if TYPE_CHECKING:
    from stream_detect.training.train import TrainSettings

CARD = "MODEL_CARD.md"
Report = Mapping[str, Mapping[str, float | None]]  # expert or "fused" -> way of forging or "all" -> AUC
BY_SIZE = "fused, by face size in pixels"  # a row of the report of its own kind
TOLD = ("rounds", "per_clip", "strengths", "epochs", "input_px", "pretrained", "seed")
LIMITS = (
    "The figures above are on footage of the same sources as the training, forged and degraded in the same ways. "
    "On other cameras, other codecs and forgeries made otherwise expect less: run `stream-detect evaluate` on yours.",
    "The people behind the figures were kept from networks and heads, but fusion and calibration were fitted on "
    "them: the row `fused` flatters a little.",
    "Faces that come to less than about 40 pixels, heavy blur and heavy compression are beyond what was learned.",
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
        "Forgeries were also made from the real faces: self-blends (after Shiohara & Yamasaki, CVPR 2022) and swaps "
        "between people. Real and forged faces went through the same resizing, blur, noise, JPEG and H.264.",
        "Licence: these weights were learned from the footage named here, and its terms may reach as far as they do. "
        "Check them before you pass the weights on.",
        "## Measured on people held out (AUC)",
        figures_table(report),
        "## What they can't do",
        "\n".join(f"- {limit}" for limit in LIMITS),
    ]
    if settings.mesonet_start:
        parts.insert(4, "Meso-4 started from the weights that its authors published (Afchar et al. 2018, Apache-2.0).")
    return "\n\n".join(parts) + "\n"


def data_table(items: Sequence[Item]) -> str:
    """Files and people of every source."""
    rows = ["| source | real files | forged files | people or files |", "|---|---|---|---|"]
    for source in sorted({item.source for item in items}):
        some = [item for item in items if item.source == source]
        fakes = sum(item.is_fake for item in some)
        people = len({item.group for item in some})
        rows.append(f"| {source or 'not said'} | {len(some) - fakes} | {fakes} | {people} |")
    return "\n".join(rows)


def figures_table(report: Report) -> str:
    """A row an expert, a column a way of forging; then the fused figure by the size of the face."""
    tables = [table_of({name: figures for name, figures in report.items() if name != BY_SIZE})]
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
