"""Few lines out of many statuses: each trouble once, its count when it is over."""

import pytest

from stream_detect.alerts.troubles import LASTING_S, MANY, REMIND_S, Troubles, time_words
from stream_detect.types import Status


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def troubles(clock) -> Troubles:
    return Troubles(clock)


def text(troubles: Troubles, state: str, reason: str = "", **faults: int) -> str | None:
    news = troubles.news(Status("cam", state, reason, reconnects=faults))
    return news and news.text


def test_a_start_is_told_once_and_signs_of_life_are_not(troubles):
    assert text(troubles, "connecting", "rtsp://cam") == "connecting: rtsp://cam"
    assert text(troubles, "connecting", "rtsp://cam") is None
    assert text(troubles, "live", "640x480") == "live: 640x480"
    assert text(troubles, "live") is None


def test_a_trouble_is_told_once_and_counted_when_it_is_over(troubles, clock):
    text(troubles, "live", "640x480")
    assert text(troubles, "reconnecting", "nobody listens", refused=1) == "reconnecting: nobody listens"
    for attempt in range(2, 38):
        clock.now_s += 1.1
        assert text(troubles, "reconnecting", f"nobody listens; attempt {attempt}", refused=attempt) is None
    assert text(troubles, "live", "640x480", refused=37) == "live: came back after 40 s (37 refused)"


def test_another_fault_in_the_same_trouble_is_told(troubles):
    text(troubles, "live", "640x480")
    assert text(troubles, "stalled", "no frame for 2.5 s")
    assert text(troubles, "reconnecting", "no frame", silent=1)
    assert text(troubles, "reconnecting", "nobody listens", silent=1, refused=1)
    assert text(troubles, "reconnecting", "no frame", silent=2, refused=1) is None
    assert text(troubles, "live", "", silent=2, refused=1).endswith("(2 silent, 1 refused)")


def test_faults_of_before_do_not_count(troubles):
    text(troubles, "live", "640x480", refused=7)
    assert text(troubles, "stalled", "no frame", refused=7)
    assert text(troubles, "live", "", refused=7) == "live: came back after 0.0 s"


def test_a_trouble_that_lasts_is_told_every_ten_minutes(troubles, clock):
    told = 0
    for second in range(3600):
        clock.now_s = 1000.0 + second
        told += text(troubles, "reconnecting", "refused", refused=second + 1) is not None
    assert told == 1 + 3600 // REMIND_S - 1


def test_a_source_that_comes_and_goes_all_day_is_told_less_often(troubles, clock):
    told = []
    for times in range(1200):  # an hour: lost every 3 s
        clock.now_s += 1.5
        told.append(text(troubles, "reconnecting", "it ended", ended=times + 1))
        clock.now_s += 1.5
        told.append(text(troubles, "live", "", ended=times + 1))
    lines = [line for line in told if line]
    assert len(lines) <= 2 * MANY + 3600 / REMIND_S
    assert f"it happened {MANY + 1} times in 10 min" in lines[2 * MANY]


def test_a_long_trouble_after_many_short_ones_is_told_with_its_end(troubles, clock):
    for times in range(2 * MANY):
        clock.now_s += 1
        text(troubles, "reconnecting", "it ended", ended=times + 1)
        text(troubles, "live", "", ended=times + 1)
    assert text(troubles, "reconnecting", "it ended", ended=50) is None
    clock.now_s += LASTING_S + 1
    assert text(troubles, "reconnecting", "refused", ended=50, refused=9) == "reconnecting: refused (for 61 s)"
    assert text(troubles, "live", "", ended=50, refused=9).startswith("live: came back after 61 s")


def test_an_end_is_always_told_and_forgotten(troubles):
    text(troubles, "reconnecting", "refused", refused=1)
    assert text(troubles, "failed", "given up after 3 attempts") == "failed: given up after 3 attempts"
    assert text(troubles, "connecting", "again") == "connecting: again"


def test_sources_do_not_mix(troubles):
    assert troubles.news(Status("a", "reconnecting", "refused"))
    assert troubles.news(Status("b", "reconnecting", "refused"))


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.42, "0.4 s"), (41.2, "41 s"), (725.0, "12 min"), (11_520.0, "3.2 h")]
)
def test_times_in_words(seconds, words):
    assert time_words(seconds) == words
