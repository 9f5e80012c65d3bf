"""The dashboard and the alert rules ask for what is there: every name, every label, every state and fault."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, ProcessCollector

from stream_detect import errors
from stream_detect.metrics import FAMILIES, PREFIX, STATES

DOCS = Path(__file__).parents[2] / "docs"
DASHBOARD = json.loads((DOCS / "monitoring" / "grafana.json").read_text(encoding="utf-8"))
RULES = yaml.safe_load((DOCS / "monitoring" / "alerts.yml").read_text(encoding="utf-8"))
OF_PROMETHEUS = {"job", "instance"}  # labels that a scrape adds
VARIABLE = re.compile(r"\$\{?(\w+)\}?")
METRIC = re.compile(rf"\b{PREFIX}_\w+")
SELECTOR = re.compile(rf"\b({PREFIX}_\w+)\{{([^}}]*)\}}")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')
KNOWN_FAULTS = {error.fault for error in vars(errors).values() if isinstance(error, type) and hasattr(error, "fault")}
KNOWN = {
    "state": set(STATES),
    "event": {"raised", "updated", "cleared"},
    "fault": KNOWN_FAULTS | {"busy", "unreachable"},
    "cause": {"stale", "late", "corrupt", "frozen", "profile", "device", "unseen"},
}


def series() -> dict[str, set[str]]:
    """Every name that can be asked for, with its labels."""
    known: dict[str, set[str]] = {}
    for name, (kind, labels, _) in FAMILIES.items():
        full = f"{PREFIX}_{name}"
        if kind == "histogram":
            known |= {f"{full}_bucket": {*labels, "le"}, f"{full}_sum": set(labels), f"{full}_count": set(labels)}
        else:
            known[full + ("_total" if kind == "counter" else "")] = set(labels)
    process = ProcessCollector(namespace=PREFIX, registry=CollectorRegistry())
    return known | {sample.name: set() for family in process.collect() for sample in family.samples}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def questions() -> Iterator[str]:
    """Everything that Prometheus is asked."""
    for panel in panels():
        yield from (target["expr"] for target in panel["targets"])
    yield from (note["expr"] for note in DASHBOARD["annotations"]["list"])
    yield from (variable["definition"] for variable in DASHBOARD["templating"]["list"] if "definition" in variable)
    yield from (rule["expr"] for rule in rules())


@pytest.mark.parametrize("question", sorted(set(questions())))
def test_every_question_can_be_answered(question):
    known = series()
    asked = set(METRIC.findall(question))
    assert asked
    assert asked <= known.keys()
    assert all(question.count(opening) == question.count(closing) for opening, closing in ("()", "[]", "{}"))
    for name, matchers in SELECTOR.findall(question):
        for label, _, value in MATCHER.findall(matchers):
            assert label in known[name] | OF_PROMETHEUS, f"{name} has no label {label}"
            if label in KNOWN and "$" not in value:
                assert set(value.split("|")) <= KNOWN[label]
    summed = {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", question) for label in group.split(",")}
    assert summed <= set.union(*(known[name] for name in asked)) | OF_PROMETHEUS
    counters = {name for name in asked if name.endswith(("_total", "_bucket", "_sum", "_count"))}
    assert not counters or re.search(r"\b(?:rate|increase)\(", question), "a counter is of use by its growth alone"


def test_every_metric_is_shown_or_warned_of():
    asked = {name for question in questions() for name in METRIC.findall(question)}
    not_shown = {"worker_threads", "worker_resident_bytes", "state_seconds"}
    for name, (kind, _, _) in FAMILIES.items():
        suffix = {"counter": "_total", "gauge": "", "histogram": "_"}[kind]
        assert name in not_shown or any(one.startswith(f"{PREFIX}_{name}{suffix}") for one in asked), name


def test_panels_lie_side_by_side_on_the_grid():
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_panels_and_their_questions_are_told_apart():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    titles = [panel["title"] for panel in DASHBOARD["panels"]]
    assert len(set(titles)) == len(titles)
    for panel in panels():
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)
        assert {"defaults", "overrides"} <= panel["fieldConfig"].keys()


def test_the_dashboard_uses_the_variables_that_it_has():
    own = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(VARIABLE.findall(json.dumps(DASHBOARD)))
    assert own == {"datasource", "job", "instance", "feed"}
    assert {name for name in used if not name.startswith("_")} == own
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in panels())


def test_it_can_be_imported_as_a_new_dashboard():
    assert DASHBOARD["id"] is None
    assert DASHBOARD["schemaVersion"] >= 39
    assert DASHBOARD["title"] == "stream-detect"


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_rule_says_how_bad_it_is_and_what_to_do(rule):
    assert rule["labels"]["severity"] in ("info", "warning", "critical")
    assert {"summary", "description"} <= rule["annotations"].keys()
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
    labels = {label for words in rule["annotations"].values() for label in re.findall(r"\$labels\.(\w+)", words)}
    known = series()
    assert labels <= set.union(*(known[name] for name in METRIC.findall(rule["expr"])))


def test_rules_have_names_of_their_own_and_are_explained():
    names = [rule["alert"] for rule in rules()]
    operations = (DOCS / "operations.md").read_text(encoding="utf-8")
    assert len(set(names)) == len(names)
    assert [name for name in names if f"`{name}`" not in operations] == []


def test_every_metric_is_explained():
    operations = (DOCS / "operations.md").read_text(encoding="utf-8")
    told = {name + ("_total" if kind == "counter" else "") for name, (kind, _, _) in FAMILIES.items()}
    assert [name for name in sorted(told) if f"`{name}`" not in operations] == []
