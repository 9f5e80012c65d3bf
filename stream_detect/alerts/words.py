"""Lines in the words that a person reads, on a terminal and in a log."""

from stream_detect.alerts.views import SourceView
from stream_detect.types import Alert, FaceVerdict

RULES = {"spike": " a jump within a second,", "feed_swap": " the whole picture's fingerprint changed,"}


def face_words(face: FaceVerdict) -> str:
    """Such as `#3 fake 0.93 (running 0.88)`."""
    probability = "" if face.fake_probability is None else f" {face.fake_probability:.2f}"
    running = "" if face.track_probability is None else f" (running {face.track_probability:.2f})"
    why = f" {', '.join(face.reasons)}" if face.reasons else ""
    number = "" if face.track is None else f"#{face.track} "
    return f"{number}{face.verdict}{probability}{running}{why}"


def alert_words(alert: Alert) -> str:
    """Such as `ALERT raised  cam1 track 7: 0.93 forged, since 3.2 s, noticed after 0.6 s`."""
    where = alert.source if alert.track is None else f"{alert.source} track {alert.track}"
    rule = RULES.get(alert.rule, "")
    sure = "" if alert.fake_probability is None else f" probability of a forgery {alert.fake_probability:.2f},"
    if alert.event == "cleared":
        until = "" if alert.ended_s is None else f": it lasted until {alert.ended_s:.1f} s"
        return f"ALERT cleared  {where}{until}"
    after = "" if alert.time_to_alert_s is None else f", noticed after {alert.time_to_alert_s:.1f} s"
    return f"ALERT {alert.event}  {where}:{rule}{sure} since {alert.started_s:.1f} s{after}"


def counted(number: int, thing: str) -> str:
    """Such as `1 alert`, `2 alerts`."""
    return f"{number} {thing}" + ("" if number == 1 else "s")


def causes_words(counts: dict[str, int]) -> str:
    """Such as `20 stale, 3 corrupt`, the largest first; empty where nothing was counted."""
    largest_first = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{short(number)} {cause}" for cause, number in largest_first if number)


def short(number: float) -> str:
    """At most four characters of a number: 999, 1.2k, 34k, 5.6M."""
    for limit, unit in ((1e3, ""), (1e6, "k"), (1e9, "M")):
        if number < limit:
            in_units = number / (limit / 1e3)
            return f"{in_units:.1f}{unit}" if unit and in_units < 9.95 else f"{min(in_units, 999):.0f}{unit}"
    return f"{number / 1e9:.0f}G"


def summary_words(view: SourceView) -> str:
    """How many frames a source had, where the others went, how many alerts, how often it was lost."""
    status = view.status
    lost = ", ".join(f"{number} {cause}" for cause, number in status.dropped.items() if number)
    dropped = f" ({lost})" if lost else ""
    alerts = counted(view.raised, "alert")
    faults = ", ".join(f"{number} {fault}" for fault, number in status.reconnects.items() if number)
    failed = f", connections lost or not made: {faults}" if faults else ""
    highest = "" if view.highest is None else f", highest running probability {view.highest:.2f}"
    return f"{status.source}  {status.frames} frames, {status.analysed} analysed{dropped}, {alerts}{failed}{highest}"
