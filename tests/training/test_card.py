"""The model card: where it was learned, what was measured, and that new figures take the place of old ones."""

from pathlib import Path

import pytest

from stream_detect.config import VerdictLimits
from stream_detect.errors import OutputError
from stream_detect.training.card import data_table, put_figures
from stream_detect.training.figures import figures
from stream_detect.training.manifest import Item
from stream_detect.training.rows import rows_of
from tests.training.scored import clip, still


def made_report(shift: float = 0.0):
    """A report on 40 stills and 6 clips."""
    files = [still(k, k % 2 == 1, (2.0 if k % 2 else -2.0) + shift) for k in range(40)]
    files += [clip(k, k % 2 == 1, [2.0, 1.0] if k % 2 else [-2.0, -1.0], person=f"p{k}") for k in range(6)]
    about = {"manifest": "m.csv", "encoding": "as published", "files": 46, "scored": 46, "failed": [], "draws": 20}
    told = {kind: figures(rows, VerdictLimits(), 20) for kind, rows in rows_of(files).items()}
    return about | told | {"near_duplicates_left_out": 0, "weights": "abc", "subsets": []}


def test_figures_come_before_what_the_weights_can_not_do(tmp_path):
    card = tmp_path / "MODEL_CARD.md"
    card.write_text("# Weights\n\nLearned.\n\n## What they can't do\n\n- Much.\n")
    put_figures(card, {"raw": made_report(), "controlled": made_report()}, "abc123")
    text = card.read_text()
    assert text.index("Learned.") < text.index("Measured on m.csv") < text.index("## What they can't do")
    assert "| AUC (90 % interval) | as published | controlled |" in text
    assert "| ours | 1.000 (1.000 to 1.000) | 1.000 (1.000 to 1.000) |" in text
    assert "| real called fake | 0 of 20 (at most 0.139 with 95 %) |" in text
    assert "no such label" in text


def test_new_figures_take_the_place_of_old_ones(tmp_path):
    card = tmp_path / "MODEL_CARD.md"
    for commit in ("first", "second"):
        put_figures(card, {"raw": made_report()}, commit)
    text = card.read_text()
    assert "Commit second." in text
    assert "Commit first." not in text
    assert text.count("## Measured on m.csv") == 1


def test_a_card_that_can_not_be_written_is_told(tmp_path):
    with pytest.raises(OutputError, match="can't write the model card"):
        put_figures(tmp_path / "nowhere" / "MODEL_CARD.md", {"raw": made_report()}, "abc")


def test_the_data_are_told_with_their_licences():
    items = [
        Item(Path("a.png"), False, "image", source="calls", licence="CC BY 4.0"),
        Item(Path("b.png"), True, "image", "paint", source="calls", licence="research | only"),
        Item(Path("c.png"), True, "image", "paint"),
    ]
    assert "| calls | 1 | 1 | 2 | CC BY 4.0; research / only |" in data_table(items)
    assert "| not said | 0 | 1 | 1 | not said |" in data_table(items)
