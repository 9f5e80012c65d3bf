"""From verdicts to alert lines: identifiers, order, updates and ends."""

from dataclasses import replace

import pytest

from stream_detect.config import DecisionSettings
from stream_detect.temporal import Decision, Levels, RuleEvent
from stream_detect.types import FaceVerdict, FrameVerdict

SETTINGS = DecisionSettings()
LEVELS = Levels(drift=0.5, raise_at=2.0, spike_at=4.0, swap_at=1.0)


def face(llr, track=7):
    return FaceVerdict(
        track, (0.0, 0.0, 9.0, 9.0), None, None if llr is None else float(llr), None, "real", (), {"mesonet": 0.5}, 0.9
    )


def frames(llr, start_s, stop_s, track=7, fps=25):
    for number in range(round((stop_s - start_s) * fps)):
        faces = (face(llr, track),) if track is not None else ()
        yield FrameVerdict("cam1", number, float(start_s + number / fps), f"t{number}", 1.0, faces)


def told(decision, frames):
    out, alerts = [], []
    for frame in frames:
        frame, news = decision.judged(frame)
        out.append(frame)
        alerts += news
    return out, alerts


def test_an_alert_is_raised_updated_and_cleared_under_one_identifier():
    decision = Decision("cam1", SETTINGS, levels=LEVELS, run="r")
    _, quiet = told(decision, frames(-2, 0, 3))
    out, alerts = told(decision, frames(3, 3, 8))
    _, ending = told(decision, frames(-3, 8, 16))
    assert quiet == []
    events = [alert.event for alert in alerts + ending]
    assert events[0] == "raised"
    assert events[-1] == "cleared"
    assert set(events[1:-1]) == {"updated"}
    assert len({alert.id for alert in alerts + ending}) == 1
    assert out[-1].faces[0].alert == alerts[0].id
    assert alerts[0].experts == {"mesonet": 0.5}
    assert alerts[0].run == "r"
    assert alerts[0].started_s == pytest.approx(3.0, abs=0.1)
    assert alerts[0].time_to_alert_s == ending[-1].time_to_alert_s > 0.3
    assert ending[-1].ended_s == pytest.approx(12.0, abs=2.5)


def test_updates_come_at_most_once_a_second_unless_the_score_moves():
    decision = Decision("cam1", replace(SETTINGS, score_limit=100.0), levels=LEVELS)
    _, alerts = told(decision, frames(3, 0, 20))
    assert alerts[0].event == "raised"
    assert 1 <= sum(alert.event == "updated" for alert in alerts) <= 21


def test_a_score_that_stands_still_is_not_repeated():
    decision = Decision("cam1", replace(SETTINGS, score_limit=2.5), levels=LEVELS)
    _, alerts = told(decision, frames(3, 0, 20))
    assert len(alerts) <= 3


def test_the_end_of_a_source_clears_its_alerts_once():
    decision = Decision("cam1", SETTINGS, levels=LEVELS)
    told(decision, frames(3, 0, 6))
    (end,) = decision.end()
    assert (end.event, end.ended_s) == ("cleared", pytest.approx(5.96))
    assert decision.end() == []


def test_a_face_that_left_ends_its_alert():
    decision = Decision("cam1", SETTINGS, levels=LEVELS)
    told(decision, frames(3, 0, 6))
    _, alerts = told(decision, frames(0, 6, 10, track=None))
    assert [alert.event for alert in alerts] == ["cleared"]


def test_two_faces_have_two_decisions():
    decision = Decision("cam1", SETTINGS, levels=LEVELS)
    both = [replace(frame, faces=(face(3, 1), face(-3, 2))) for frame in frames(0, 0, 6)]
    out, alerts = told(decision, both)
    assert {alert.track for alert in alerts} == {1}
    assert out[-1].faces[1].alert is None
    assert out[-1].faces[1].track_probability < 0.2 < 0.9 < out[-1].faces[0].track_probability


def test_a_track_that_was_never_judged_has_no_probability():
    out, alerts = told(Decision("cam1", SETTINGS, levels=LEVELS), frames(None, 0, 2))
    assert {frame.faces[0].track_probability for frame in out} == {None}
    assert alerts == []


def test_a_face_without_a_track_is_passed_on():
    decision = Decision("cam1", SETTINGS, levels=LEVELS)
    frame = FrameVerdict("cam1", 0, 0.0, "t", None, (face(3, None),))
    assert decision.judged(frame) == (frame, [])


def test_a_stream_that_begins_again_keeps_its_alert():
    decision = Decision("cam1", SETTINGS, levels=LEVELS)
    told(decision, frames(3, 100, 106))
    out, alerts = told(decision, frames(3, 0, 3))
    assert [alert.event for alert in alerts if alert.event != "updated"] == []
    assert out[-1].faces[0].alert is not None


def test_another_rule_replaces_the_first_one():
    def never(state, pts_s, face, settings, levels):
        return state, ()

    _, alerts = told(Decision("cam1", SETTINGS, levels=LEVELS, rule=never), frames(3, 0, 6))
    assert alerts == []


@pytest.mark.parametrize("reason", ["corrupt", "frozen"])
def test_frames_of_which_nothing_can_be_said_speak_for_no_time(reason):
    """A look after a stretch of them counts as much as one after a single frame, and what was known before stays."""
    decision = Decision("cam1", SETTINGS, levels=replace(LEVELS, raise_at=99.0))
    told(decision, frames(3, 0, 1))
    (before, _) = decision.judged(FrameVerdict("cam1", 25, 1.0, "t", 1.0, (face(3),)))
    unsaid = [replace(frame, reasons=(reason,)) for frame in frames(None, 1.04, 2.0, track=None)]
    _, alerts = told(decision, unsaid)
    (after, _) = decision.judged(FrameVerdict("cam1", 50, 2.0, "t", 1.0, (face(3),)))
    alone = Decision("cam1", SETTINGS, levels=replace(LEVELS, raise_at=99.0))
    told(alone, frames(3, 0, 1.04))
    (expected, _) = alone.judged(FrameVerdict("cam1", 26, 1.04, "t", 1.0, (face(3),)))
    assert alerts == []
    assert after.faces[0].track_probability > before.faces[0].track_probability
    assert after.faces[0].track_probability == pytest.approx(expected.faces[0].track_probability, abs=0.01)


def test_an_alert_ends_when_nothing_could_be_said_for_long():
    decision = Decision("cam1", SETTINGS, levels=LEVELS)
    _, raised = told(decision, frames(3, 0, 5))
    unsaid = [replace(frame, reasons=("frozen",)) for frame in frames(None, 5, 9, track=None)]
    _, alerts = told(decision, unsaid)
    assert raised[0].event == "raised"
    assert [alert.event for alert in alerts] == ["cleared"]
    assert alerts[0].ended_s == pytest.approx(5 + SETTINGS.forget_s, abs=0.1)


def at(box, llr, track):
    return replace(face(llr, track), box=box)


def seen(faces_at, start_s, stop_s, fps=25):
    for number in range(round((stop_s - start_s) * fps)):
        yield FrameVerdict("cam1", number, start_s + number / fps, f"t{number}", 1.0, tuple(faces_at))


BOX, NEAR, FAR = (100.0, 100.0, 200.0, 200.0), (120.0, 100.0, 220.0, 200.0), (400.0, 100.0, 500.0, 200.0)


def test_a_person_who_is_lost_and_found_keeps_the_alert():
    decision = Decision("cam1", SETTINGS, levels=LEVELS)
    _, before = told(decision, seen([at(BOX, 3, 1)], 0, 5))
    _, between = told(decision, seen([], 5, 6))
    out, after = told(decision, seen([at(NEAR, 3, 2)], 6, 10))
    assert [alert.event for alert in before + between + after if alert.event != "updated"] == ["raised"]
    assert out[0].faces[0].alert == before[0].id
    assert after[-1].track == 2


def test_somebody_else_elsewhere_has_an_alert_of_their_own():
    decision = Decision("cam1", SETTINGS, levels=LEVELS)
    _, before = told(decision, seen([at(BOX, 3, 1)], 0, 5))
    _, after = told(decision, seen([at(FAR, 3, 2)], 5, 10))
    raised = {alert.id for alert in before + after if alert.event == "raised"}
    assert len(raised) == 2


def test_two_boxes_around_one_face_are_one_alert():
    decision = Decision("cam1", SETTINGS, levels=LEVELS)
    _, alerts = told(decision, seen([at(BOX, 3, 1), at(NEAR, 3, 2)], 0, 6))
    assert len({alert.id for alert in alerts}) == 1
    assert sum(alert.event == "raised" for alert in alerts) == 1
    ending = decision.end()
    assert [alert.event for alert in ending] == ["cleared"]


def swap(kind, pts_s, started_s=None):
    return RuleEvent(kind, pts_s, pts_s if started_s is None else started_s, "feed_swap")


def test_a_change_of_the_whole_picture_is_an_alert_without_a_track():
    decision = Decision("cam1", SETTINGS, levels=LEVELS)
    told(decision, seen([], 0, 5))
    (raised,) = decision.swapped([swap("raised", 4.9, 4.0)])
    (cleared,) = decision.swapped([swap("cleared", 9.0)])
    assert (raised.rule, raised.track, raised.started_s) == ("feed_swap", None, 4.0)
    assert (cleared.event, cleared.id) == ("cleared", raised.id)


def test_a_swapped_feed_and_its_forged_face_are_one_event():
    decision = Decision("cam1", SETTINGS, levels=LEVELS)
    told(decision, seen([at(BOX, -3, 1)], 0, 5))
    (raised,) = decision.swapped([swap("raised", 5.0)])
    _, alerts = told(decision, seen([at(BOX, 3, 1)], 5, 9))
    assert {alert.id for alert in alerts} == {raised.id}
    assert {alert.event for alert in alerts} == {"updated"}
    assert alerts[-1].track == 1
    assert alerts[-1].fake_probability > 0.5
    assert decision.swapped([swap("cleared", 9.0)]) == []  # the face is still forged
    assert [alert.event for alert in decision.end()] == ["cleared"]


def test_long_after_a_swap_a_forged_face_is_another_event():
    decision = Decision("cam1", replace(SETTINGS, event_s=2.0), levels=LEVELS)
    told(decision, seen([at(BOX, -3, 1)], 0, 5))
    decision.swapped([swap("raised", 5.0)])
    told(decision, seen([at(BOX, -3, 1)], 5, 10))
    _, alerts = told(decision, seen([at(BOX, 3, 1)], 10, 14))
    assert alerts[0].event == "raised"
