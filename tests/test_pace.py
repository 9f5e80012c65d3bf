"""Rates are spread evenly over frames, whatever their own rate."""

import numpy as np
import pytest

from stream_detect.pace import Beat, Pace


def picked(beat: Beat, stamps) -> list[int]:
    return [index for index, pts_s in enumerate(stamps) if beat.falls_on(pts_s)]


def test_six_a_second_of_thirty_is_every_fifth():
    assert picked(Beat(6), np.arange(31) / 30) == [0, 5, 10, 15, 20, 25, 30]


@pytest.mark.parametrize("fps", [7.0, 12.5, 23.976, 25.0, 50.0])
def test_a_rate_is_kept_on_average_and_gaps_are_even(fps):
    at = picked(Beat(6), np.arange(round(20 * fps)) / fps)
    assert len(at) == pytest.approx(120, abs=1)
    assert max(np.diff(at)) - min(np.diff(at)) <= 1


def test_stamps_that_jitter_change_little():
    stamps = np.arange(300) / 30 + np.random.default_rng(0).uniform(-0.005, 0.005, 300)
    assert len(picked(Beat(6), np.sort(stamps))) == pytest.approx(60, abs=1)


def test_frames_that_come_more_slowly_are_all_picked():
    assert picked(Beat(6), np.arange(10) / 5) == list(range(10))
    assert picked(Beat(None), np.arange(10) / 30) == list(range(10))


def test_nothing_is_made_up_for_after_a_pause():
    assert picked(Beat(6), [0.0, 0.1, 5.0, 5.03, 5.06, 5.17]) == [0, 2, 5]


def test_a_stream_that_begins_again_is_picked_at_once():
    assert picked(Beat(1), [0.0, 0.5, 1.0, 1.5, 0.2, 0.7, 1.2]) == [0, 2, 4, 6]


def test_a_rate_of_nothing_fails():
    with pytest.raises(ValueError, match="more than 0 Hz"):
        Beat(0.0)


def test_faces_are_followed_between_judged_frames():
    pace = Pace(analyse_hz=6, follow_hz=12)
    said = [pace.due(index / 30) for index in range(10)]
    assert [index for index, due in enumerate(said) if due == "judge"] == [0, 5]
    assert said.count("follow") == 2
    assert said.count("pass") == 6


def test_a_pace_without_rates_judges_everything():
    pace = Pace()
    assert {pace.due(index / 30) for index in range(10)} == {"judge"}


def test_feeds_of_different_phases_are_due_at_different_times():
    paces = [Pace(analyse_hz=6, follow_hz=12, phase=phase) for phase in (0, 1 / 3, 2 / 3)]
    at = [[index for index in range(61) if pace.due(index / 30) == "judge"] for pace in paces]
    assert at[0] == [*range(0, 61, 5)]
    assert not set(at[0][1:]) & set(at[1][1:])
    assert not set(at[1][1:]) & set(at[2][1:])
    assert {len(each) for each in at} <= {12, 13}


def test_a_phase_moves_followed_frames_with_the_judged_ones():
    pace = Pace(analyse_hz=6, follow_hz=12, phase=1 / 3)
    said = [pace.due(index / 60) for index in range(120)]
    assert said.count("judge") + said.count("follow") == pytest.approx(24, abs=1)
