"""docs/accuracy.md is made of reports alone: targets met and missed, fronts, and nothing without the data."""

import json

import pytest

from benchmarks import accuracy
from benchmarks.accuracy_page import Measured, front_of, page, targets
from tests.training.test_card import made_report

ABOUT = {"at": "2026-01-01T00:00:00+00:00", "commit": "abc123"}
COSTS = {"spectrum": 2.0, "residual": 5.0, "crops, quality and fusion": 3.0, "all experts": 7.0}
BATCH = {name: {"median_ms": ms} for name, ms in COSTS.items()}
EXPERTS = {"weights": "shipped", "about": {"commit": "abc"}, "batches": {"1": BATCH}}


def subset(experts, auc):
    figure = {"auc": auc, "low": auc - 0.1, "high": auc, "sources_equal": auc}
    return {"experts": experts, "image": figure | {"loss": {"difference": 0.0, "low": 0.0, "high": 0.0}}}


SUBSETS = [subset(["spectrum"], 0.8), subset(["residual"], 0.7), subset(["spectrum", "residual"], 0.9)]


def made(**changes):
    reports = {terms: made_report() | {"subsets": SUBSETS} for terms in ("raw", "controlled")}
    line = {"path": "images/SelfishGene__Glasses-Style_00_01.jpg", "verdict": "fake", "counts": True}
    given = {"reports": reports, "about": ABOUT, "lines": {"raw": [line]}, "experts": EXPERTS, "suite": None}
    return Measured(**(given | {"version": "0.1.0"} | changes))


def test_a_target_is_met_missed_or_not_measured():
    told = {one.words: one.verdict for one in targets(made())}
    assert told["stills, as published, AUC"] == "met"
    assert told["robustness suite, mean"] == "not measured"
    assert told["real clips called fake, raw"] == "met"
    slow = EXPERTS | {"batches": {"1": BATCH | {"all experts": {"median_ms": 30.0}}}}
    told = {one.words: one.verdict for one in targets(made(experts=slow))}
    assert told["all experts, milliseconds a face on one thread"] == "**missed**"


def test_no_cheaper_set_on_the_front_is_as_good():
    points = front_of(made(), "raw", "image")
    assert [(point["ms"], point["is_front"]) for point in points] == [(5.0, True), (8.0, False), (10.0, True)]
    assert front_of(made(experts=None), "raw", "image") == []


def test_the_page_says_what_the_reports_say():
    text = page(made())
    assert "at most 63.2 % with 95 %" in text  # no error in 3 clips
    assert "| spectrum + residual | 10.0 | 0.900 |" in text
    assert "| Glasses-Style, raw | 1 | 1 | 0 | 0 |" in text
    assert "The suite was not run" in text
    assert "None" not in text


def test_without_the_data_it_says_so(tmp_path, capsys):
    assert accuracy.main([str(tmp_path / "nowhere"), "--run", str(tmp_path)]) == 2
    assert "make accuracy DATA=" in capsys.readouterr().err


def test_without_a_run_there_is_no_page(tmp_path, capsys):
    assert accuracy.main([str(tmp_path), "--page", "--run", str(tmp_path), "--docs", str(tmp_path / "docs")]) == 2
    assert "nothing was measured yet" in capsys.readouterr().err


@pytest.fixture
def run_folder(tmp_path):
    """What two evaluations leave behind."""
    for terms in accuracy.TERMS:
        folder = tmp_path / "run" / terms
        folder.mkdir(parents=True)
        (folder / "report.json").write_text(json.dumps(made_report() | {"subsets": SUBSETS}))
        (folder / "about.json").write_text(json.dumps(ABOUT))
        for name in ("report.md", "images.png", "videos.png", "frames.png", "scores.jsonl"):
            (folder / name).write_text("")
    return tmp_path / "run"


def test_page_tables_and_card_are_written(run_folder, tmp_path):
    (tmp_path / "docs" / "evaluation").mkdir(parents=True)
    (tmp_path / "docs" / "evaluation" / "alike.json").touch()
    given = ["--page", "--run", str(run_folder), "--docs", str(tmp_path / "docs"), "--weights", str(tmp_path)]
    assert accuracy.main([str(tmp_path), *given]) == 0
    assert (tmp_path / "docs" / "accuracy.md").read_text().startswith("# Accuracy")
    assert "## Measured on m.csv" in (tmp_path / "MODEL_CARD.md").read_text()
    names = {path.name for path in (tmp_path / "docs" / "evaluation").iterdir()}
    assert {"raw.json", "raw.md", "raw-images.png", "controlled-frames.png"} <= names
    assert "alike.json" not in names
