"""From a budget of false alarms to levels, and the file that keeps them."""

import json
from dataclasses import replace

import pytest

from stream_detect.config import DecisionSettings
from stream_detect.errors import OutputError, WeightsError
from stream_detect.temporal.thresholds import (
    FILE,
    Basis,
    Normal,
    Tail,
    Thresholds,
    load_thresholds,
    save_thresholds,
    with_feed,
)

TAIL = Tail(level=1.0, per_hour=10.0, scale=0.5)
FITTED = Thresholds(sustained=TAIL, spike=Tail(3.0, 5.0, 0.4), weights="abc", basis=Basis(10.0, 50, 1.0, 2, 0.1, 18.0))


def test_a_tenth_of_the_alarms_costs_a_level_of_2_3_scales():
    assert TAIL.at(1.0) - TAIL.at(10.0) == pytest.approx(0.5 * 2.302585, rel=1e-5)


def test_a_budget_above_what_was_counted_is_not_read_from_the_line():
    assert TAIL.at(1000.0) == TAIL.level


@pytest.mark.parametrize("field", ["level", "per_hour", "scale"])
def test_a_tail_without_a_slope_fails(field):
    with pytest.raises(ValueError, match=f"{field} must be more than 0"):
        replace(TAIL, **{field: 0.0})


def test_the_rules_share_the_budget():
    settings = DecisionSettings(false_alarms_per_hour=1.0)
    assert FITTED.levels(settings).raise_at == TAIL.at(FITTED.shares["sustained"])
    alone = DecisionSettings(false_alarms_per_hour=1.0, rules=("sustained",))
    assert FITTED.levels(alone).raise_at == TAIL.at(1.0)


def test_a_smaller_budget_asks_for_more():
    few, many = (FITTED.levels(DecisionSettings(false_alarms_per_hour=budget)) for budget in (0.01, 1.0))
    assert few.raise_at > many.raise_at
    assert few.spike_at > many.spike_at


def test_a_level_that_is_set_is_kept():
    assert FITTED.levels(DecisionSettings(raise_at=9.0, drift=0.25)).raise_at == 9.0
    assert FITTED.levels(DecisionSettings(raise_at=9.0, drift=0.25)).drift == 0.25


def test_a_feed_that_was_learned_has_levels_of_its_own():
    normal = Normal(drift=-1.0, sustained=Tail(0.5, 10.0, 0.1), turned=TAIL, spike=Tail(2.0, 5.0, 0.1), minutes=10.0)
    fitted = with_feed(FITTED, "cam1", normal)
    settings = DecisionSettings()
    assert fitted.levels(settings, "cam1").drift == -1.0
    assert fitted.levels(settings, "cam1").raise_at < fitted.levels(settings, "cam2").raise_at


def test_what_is_written_is_read(tmp_path):
    normal = Normal(
        drift=-1.0, sustained=TAIL, turned=TAIL, spike=TAIL, minutes=10.0, learned_at="2026-11-22T13:00:00.000Z"
    )
    fitted = with_feed(FITTED, "cam1", normal)
    save_thresholds(fitted, tmp_path)
    assert load_thresholds(tmp_path, "abc") == fitted


def test_thresholds_of_other_weights_are_left_alone(tmp_path):
    save_thresholds(FITTED, tmp_path)
    assert load_thresholds(tmp_path, "other") is None
    assert load_thresholds(tmp_path / "nowhere", "abc") is None


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: text[:-20], "can't be read as alert thresholds"),
        (lambda text: text.replace('"version": 1', '"version": 9'), "version 9"),
        (lambda text: text.replace('"level": 1.0', '"level": 0.1'), "changed or damaged"),
        (lambda text: "[]", "can't be read as alert thresholds"),
    ],
)
def test_a_damaged_file_fails(tmp_path, spoil, words):
    save_thresholds(FITTED, tmp_path)
    (tmp_path / FILE).write_text(spoil((tmp_path / FILE).read_text()))
    with pytest.raises(WeightsError, match=words):
        load_thresholds(tmp_path, "abc")


def test_the_file_is_plain_json_that_names_its_footage(tmp_path):
    save_thresholds(FITTED, tmp_path)
    table = json.loads((tmp_path / FILE).read_text())
    assert table["basis"]["identities"] == 50
    assert table["basis"]["bound_95_per_hour"] == 18.0


def test_a_folder_that_is_not_there_fails(tmp_path):
    with pytest.raises(OutputError, match="name another folder"):
        save_thresholds(FITTED, tmp_path / "nowhere")
