"""What waits for a sink: kept, bounded, in order, and never at the loop's cost."""

import errno
import json
import math
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from stream_detect.config import SinkSettings
from stream_detect.errors import ConfigError, OutputError
from stream_detect.sinks import spool as spools
from stream_detect.sinks.outbox import Figures, Limits, Message, Outbox, Pauses, Refused, name_of
from stream_detect.sinks.spool import Spool
from stream_detect.types import Alert, FrameVerdict, Status
from tests.sinks.receiver import until

ALERT = Alert("raised", "a1", "door", 7, "sustained", "2026-03-01T12:00:00.000Z", 3.0, None, 0.93)
ROOM = SinkSettings("webhook", "https://host/", name="room")
QUICK = Pauses(0.01, 0.02)
ROOT = Path(__file__).parents[2]


@dataclass
class Hand:
    """A carrier that takes what it gets, unless it is told otherwise."""

    fails: Exception | None = None
    keys: list[str] = field(default_factory=list)
    tries: int = 0
    is_free: threading.Event = field(default_factory=threading.Event)
    closed: int = 0

    def __post_init__(self):
        self.is_free.set()

    def deliver(self, message: Message) -> None:
        self.tries += 1
        self.is_free.wait(15.0)
        if self.fails is not None:
            raise self.fails
        self.keys.append(message.key)

    def abort(self) -> None:
        self.is_free.set()

    def close(self) -> None:
        self.closed += 1


class Ear(Hand):
    """A carrier that hears states as well."""

    def __post_init__(self):
        super().__post_init__()
        self.heard = []

    def status(self, line) -> None:
        self.heard.append(line)


class Odd(Alert):
    """An alert that no JSON can tell of."""

    def to_json(self):
        return {"fake_probability": math.nan}


def alert(number: int) -> Alert:
    return replace(ALERT, id=f"a{number}")


def keys(*numbers: int) -> list[str]:
    return [f"a{number}-raised-{number}" for number in numbers]


def filled(folder, *numbers: int) -> None:
    """Let an earlier run leave messages."""
    spool = Spool(folder / "room.jsonl")
    for number in numbers:
        spool.add(alert(number).to_json(), "2026-03-01T12:00:00.000Z")
    spool.close()


def test_only_events_that_are_asked_for_are_sent():
    hand = Hand()
    outbox = Outbox(replace(ROOM, events=("cleared",)), hand, pauses=QUICK)
    for event in ("raised", "updated", "cleared"):
        outbox.take(replace(ALERT, event=event))
    outbox.take(Status("door", "live"))
    outbox.take(FrameVerdict("door", 0, 0.0, "2026-03-01T12:00:00.000Z", 1.0, ()))
    outbox.close()
    assert hand.keys == ["a1-cleared-1"]
    assert outbox.figures() == Figures(delivered=1)


def test_a_carrier_that_hears_states_gets_every_line_but_verdicts_of_frames():
    ear = Ear()
    outbox = Outbox(replace(ROOM, events=("raised",)), ear, pauses=QUICK)
    lines = [Status("door", "live"), ALERT, replace(ALERT, event="cleared")]
    for line in lines:
        outbox.take(line)
    outbox.close()
    assert ear.heard == lines
    assert ear.keys == ["a1-raised-1"]


def test_what_an_earlier_run_left_is_sent_first_and_numbers_go_on(tmp_path):
    filled(tmp_path, 1, 2)
    hand = Hand()
    outbox = Outbox(ROOM, hand, tmp_path, pauses=QUICK)
    outbox.take(alert(3))
    outbox.close()
    again = Outbox(ROOM, hand, tmp_path, pauses=QUICK)
    again.take(alert(4))
    again.close()
    assert hand.keys == keys(1, 2, 3, 4)
    assert (tmp_path / "room.jsonl").read_bytes() == b""


def test_a_torn_last_line_costs_only_itself(tmp_path):
    filled(tmp_path, 1, 2)
    with (tmp_path / "room.jsonl").open("ab") as file:
        file.write(b'{"sequence":3,"made_at":"20')
    hand = Hand()
    outbox = Outbox(ROOM, hand, tmp_path, pauses=QUICK)
    outbox.take(alert(3))
    outbox.close()
    assert hand.keys == keys(1, 2, 3)


def test_a_lost_number_sends_again_with_the_same_keys(tmp_path):
    filled(tmp_path, 1, 2, 3)
    spool = Spool(tmp_path / "room.jsonl")
    spool.done(spool.first())
    spool.close()
    assert (tmp_path / "room.done").read_text() == "1\n"
    (tmp_path / "room.done").write_text("")
    hand = Hand()
    Outbox(ROOM, hand, tmp_path, pauses=QUICK).close()
    assert hand.keys == keys(1, 2, 3)


def test_what_was_delivered_is_not_sent_by_the_next_run(tmp_path):
    filled(tmp_path, 1, 2, 3)
    spool = Spool(tmp_path / "room.jsonl")
    spool.done(spool.first())
    spool.close()
    hand = Hand()
    Outbox(ROOM, hand, tmp_path, pauses=QUICK).close()
    assert hand.keys == keys(2, 3)


@pytest.mark.parametrize("has_spool", [False, True])
def test_of_too_many_the_oldest_are_dropped_counted_and_told_once(tmp_path, caplog, has_spool):
    hand = Hand(fails=Refused("down"))
    folder = tmp_path if has_spool else None
    outbox = Outbox(ROOM, hand, folder, limits=Limits(messages=3), pauses=QUICK)
    for number in range(1, 11):
        outbox.take(alert(number))
    until(lambda: outbox.figures().dropped == 7)
    hand.fails = None
    until(lambda: outbox.figures().pending == 0)
    outbox.close()
    assert hand.keys[-3:] == keys(8, 9, 10)
    assert sum("too many alerts wait" in record.getMessage() for record in caplog.records) == 1


def test_bytes_are_bounded_too_and_the_file_stays_short(tmp_path):
    limit = 100_000
    spool = Spool(tmp_path / "room.jsonl", Limits(num_bytes=limit))
    for number in range(1, 2001):
        spool.add(alert(number).to_json(), "2026-03-01T12:00:00.000Z")
    spool.close()
    assert (tmp_path / "room.jsonl").stat().st_size < limit * 1.25 + spools.REWRITTEN_BYTES + 1000
    again = Spool(tmp_path / "room.jsonl")
    last = again.first()
    while (message := again.first()) is not None:
        again.done(message)
        last = message
    again.close()
    assert spool.dropped > 1500
    assert last.key == "a2000-raised-2000"


def test_a_file_is_written_anew_without_what_is_done_and_without_a_loss(tmp_path):
    filled(tmp_path, *range(1, 1001))
    spool = Spool(tmp_path / "room.jsonl")
    size = (tmp_path / "room.jsonl").stat().st_size
    for _ in range(600):
        spool.done(spool.first())
    assert (tmp_path / "room.jsonl").stat().st_size < size * 0.7
    spool.add(alert(1001).to_json(), "2026-03-01T12:00:00.000Z")
    spool.close()
    hand = Hand()
    outbox = Outbox(ROOM, hand, tmp_path, pauses=QUICK)
    outbox.close(15.0)
    assert hand.keys == keys(*range(601, 1002))


def test_a_full_disk_makes_alerts_wait_in_memory_with_one_warning(tmp_path, caplog, monkeypatch):
    hand = Hand(fails=Refused("down"))
    outbox = Outbox(ROOM, hand, tmp_path, pauses=QUICK)
    outbox.take(alert(1))
    until(lambda: (tmp_path / "room.jsonl").stat().st_size)
    with monkeypatch.context() as full:
        full.setattr(spools, "write_all", no_room)
        for number in range(2, 6):
            outbox.take(alert(number))
        until(lambda: outbox._spool.in_memory == 4)
    outbox.take(alert(6))
    until(lambda: len((tmp_path / "room.jsonl").read_bytes().splitlines()) == 6)
    hand.fails = None
    until(lambda: outbox.figures().delivered == 6)
    outbox.close()
    assert hand.keys == keys(*range(1, 7))
    assert sum("wait in memory" in record.getMessage() for record in caplog.records) == 1
    assert sum("can be written again" in record.getMessage() for record in caplog.records) == 1


def no_room(file, data):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_is_refused_for_good_is_tried_three_times_and_set_aside(tmp_path, caplog):
    hand = Hand(fails=Refused("wrong", permanent=True))
    outbox = Outbox(ROOM, hand, tmp_path, pauses=QUICK)
    outbox.take(alert(1))
    outbox.take(alert(2))
    until(lambda: outbox.figures().refused == 2)
    outbox.close()
    aside = [json.loads(line) for line in (tmp_path / "room.refused.jsonl").read_text().splitlines()]
    assert hand.tries == 6
    assert [one["key"] for one in aside] == keys(1, 2)
    assert sum("are refused" in record.getMessage() for record in caplog.records) == 1


def test_a_fault_of_a_carrier_sets_one_message_aside_and_does_not_end_its_thread():
    hand = Hand(fails=ZeroDivisionError("a fault"))
    outbox = Outbox(ROOM, hand, pauses=QUICK)
    outbox.take(alert(1))
    until(lambda: outbox.figures().refused == 1)
    hand.fails = None
    outbox.take(alert(2))
    outbox.close()
    assert hand.keys == keys(2)


def test_an_outage_is_told_once_at_its_begin_and_once_at_its_end(caplog):
    hand = Hand(fails=Refused("https://me:my-password@host/ is down"))
    outbox = Outbox(ROOM, hand, pauses=QUICK)
    outbox.take(alert(1))
    until(lambda: outbox.figures().failed > 3)
    hand.fails = None
    until(lambda: outbox.figures().delivered == 1)
    outbox.close()
    told = [record.getMessage() for record in caplog.records if record.name == "stream_detect.sinks"]
    assert told == [
        "room: alerts can't be delivered (https://***@host/ is down); they wait",
        "room: alerts are delivered again; 0 wait",
    ]


def test_taking_does_not_wait_for_a_delivery_and_a_close_aborts_it(tmp_path, caplog):
    hand = Hand()
    hand.is_free.clear()
    outbox = Outbox(ROOM, hand, tmp_path, pauses=QUICK)
    for number in range(1, 101):
        outbox.take(alert(number))
    until(lambda: hand.tries == 1)
    outbox.close(0.05)
    until(lambda: hand.closed == 1)
    assert "alerts wait in the spool for the next run" in caplog.text
    hand = Hand()
    until(lambda: not outbox._sender.is_alive())
    outbox = Outbox(ROOM, hand, tmp_path, pauses=QUICK)
    outbox.close(15.0)
    assert hand.keys[-1] == "a100-raised-100"


def test_without_a_spool_a_close_says_what_is_lost(caplog):
    outbox = Outbox(ROOM, Hand(fails=Refused("down")), pauses=QUICK)
    outbox.take(alert(1))
    outbox.take(alert(2))
    outbox.close()
    outbox.close()
    assert "room: 2 alerts were not delivered, and no spool keeps them" in caplog.text
    assert outbox.figures().dropped == 2


def test_a_second_process_on_one_spool_is_refused_and_the_first_goes_on(tmp_path):
    hand = Hand()
    outbox = Outbox(ROOM, hand, tmp_path, pauses=QUICK)
    with pytest.raises(OutputError, match="another process sends what is in it; give this one another folder"):
        Outbox(ROOM, Hand(), tmp_path)
    outbox.take(alert(1))
    outbox.close()
    assert hand.keys == keys(1)


def test_a_folder_that_can_not_be_written_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"alerts can't be kept there .*; choose another folder"):
        Outbox(ROOM, Hand(), tmp_path / "file")


def test_an_alert_that_is_no_json_is_dropped_and_the_next_one_kept(caplog):
    hand = Hand()
    outbox = Outbox(ROOM, hand, pauses=QUICK)
    outbox.take(Odd(**{name: getattr(ALERT, name) for name in ALERT.__dataclass_fields__}))
    outbox.take(alert(1))
    outbox.close()
    assert hand.keys == keys(1)
    assert outbox.figures().dropped == 1
    assert "an alert can't be kept" in caplog.text


def test_pauses_grow_to_their_longest_and_honour_what_is_asked_within_reason():
    pauses = Pauses()
    assert 0.5 <= pauses.after(1, None) <= 1.0
    assert 4.0 <= pauses.after(4, None) <= 8.0
    assert 30.0 <= pauses.after(10_000, None) <= 60.0
    assert pauses.after(1, 20.0) == 20.0
    assert pauses.after(1, 1e9) == 300.0


def test_a_sink_is_called_as_it_says_or_by_its_kind_and_host(monkeypatch):
    monkeypatch.setenv("HOOK", "https://me:my-password@hooks.example/secret-path")
    assert name_of(ROOM) == "room"
    assert name_of(SinkSettings("webhook", "${HOOK}")) == "webhook hooks.example"
    assert name_of(SinkSettings("command", command=("/usr/bin/tell", "me"))) == "command tell"
    with pytest.raises(ConfigError, match="expected a short line without a secret"):
        name_of(replace(ROOM, name="https://me:password@host/"))


def test_files_of_a_spool_are_for_their_owner_alone_and_named_safely(tmp_path):
    Outbox(replace(ROOM, name="../a b/c"), Hand(), tmp_path).close()
    assert {path.name for path in tmp_path.iterdir()} == {"a-b-c.jsonl", "a-b-c.lock"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())


KILLED = """
import sys
from pathlib import Path
from tests.sinks.test_outbox import Hand, Outbox, QUICK, ROOM, Refused, alert, until

outbox = Outbox(ROOM, Hand(fails=Refused("down")), Path(sys.argv[1]), pauses=QUICK)
for number in range(1, 1001):
    outbox.take(alert(number))
    until(lambda: outbox._spool.pending == number)
    print(number, flush=True)
"""


def test_what_was_kept_before_a_kill_is_sent_by_the_next_run(tmp_path):
    program = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    lines = iter(program.stdout)
    told = [int(next(lines)) for _ in range(40)]
    program.kill()
    told += [int(line) for line in lines]
    program.wait()
    program.stdout.close()
    hand = Hand()
    Outbox(ROOM, hand, tmp_path, pauses=QUICK).close(15.0)
    assert hand.keys[: len(told)] == keys(*told)
    assert len(hand.keys) - len(told) in (0, 1)  # one that was kept and not yet told
