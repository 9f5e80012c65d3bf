"""The JSON lines as others rely on them: every key, its kind, and nothing else."""

from typing import Any

NUMBER = (int, float)
MAYBE_NUMBER = (int, float, type(None))
EXPERTS = {"spectrum", "residual", "color", "mesonet", "attention"}
KINDS = {"synthesised", "resynthesised", "blended", "partial"}
STATES = {"connecting", "live", "stalled", "reconnecting", "ended", "failed"}
REASONS = {"no_face", "small_face", "blurred", "over_compressed", "frozen", "corrupt", "disagreement"}
KEYS: dict[str, dict[str, Any]] = {
    "frame": {
        "run": str,
        "source": str,
        "frame": int,
        "pts_s": NUMBER,
        "seen_at": str,
        "latency_ms": MAYBE_NUMBER,
        "latency_from": str,
        "faces": list,
    },
    "alert": {
        "run": str,
        "event": str,
        "id": str,
        "source": str,
        "track": int,
        "rule": str,
        "seen_at": str,
        "started_s": NUMBER,
        "ended_s": MAYBE_NUMBER,
        "fake_probability": MAYBE_NUMBER,
        "experts": dict,
        "time_to_alert_s": MAYBE_NUMBER,
        "evidence": (str, type(None)),
    },
    "status": {
        "run": str,
        "source": str,
        "state": str,
        "reason": str,
        "frames": int,
        "analysed": int,
        "dropped": dict,
        "reconnects": dict,
    },
    "score": {
        "path": str,
        "kind": str,
        "fake_probability": MAYBE_NUMBER,
        "verdict": str,
        "reasons": list,
        "faces": int,
        "frames": int,
        "judged": int,
        "experts": dict,
        "worst_second": (dict, type(None)),
    },
}
FACE = {
    "track": (int, type(None)),
    "box": list,
    "fake_probability": MAYBE_NUMBER,
    "llr": MAYBE_NUMBER,
    "track_probability": MAYBE_NUMBER,
    "verdict": str,
    "reasons": list,
    "experts": dict,
    "quality": NUMBER,
    "alert": (str, type(None)),
}


def check_line(line: dict[str, Any]) -> None:
    """Assert that a line is one of ours, whole and in range."""
    assert line["schema"] == 1
    expected = KEYS[line["type"]]
    assert set(line) - {"schema", "type", "reasons", "kinds"} == set(expected) - {"reasons"}
    check_kinds(line, expected)
    if line["type"] == "status":
        assert line["state"] in STATES
        assert {"stale", "corrupt"} <= set(line["dropped"])
    if line["type"] == "frame":
        assert line["seen_at"].endswith("Z")
        for face in line["faces"]:
            check_face(face)
    assert set(line.get("reasons", [])) <= REASONS
    check_probabilities(line)


def check_face(face: dict[str, Any]) -> None:
    assert set(face) - {"kinds"} == set(FACE)
    check_kinds(face, FACE)
    x1, y1, x2, y2 = face["box"]
    assert x1 < x2
    assert y1 < y2
    assert face["verdict"] in {"fake", "real", "inconclusive"}
    assert (face["verdict"] == "inconclusive") == bool(face["reasons"])
    assert set(face["reasons"]) <= REASONS
    assert (face["fake_probability"] is None) == (face["llr"] is None)
    assert 0 <= face["quality"] <= 1
    check_probabilities(face)


def check_kinds(line: dict[str, Any], expected: dict[str, Any]) -> None:
    for key, kind in expected.items():
        assert isinstance(line[key], kind), f"{key} is {line[key]!r}, expected {kind}"


def check_probabilities(line: dict[str, Any]) -> None:
    said = [line.get("fake_probability"), line.get("track_probability"), *line.get("experts", {}).values()]
    said += line.get("kinds", {}).values()
    assert all(0 <= p <= 1 for p in said if p is not None)
    assert set(line.get("experts", {})) <= EXPERTS
    assert set(line.get("kinds", {})) <= KINDS
