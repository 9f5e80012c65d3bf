"""The figures of an evaluation as tables in Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

KINDS = {"image": "stills", "video": "clips", "frame": "frames of clips"}
PLAIN = {
    "auc_judged": "AUC of what was judged",
    "ap": "average precision",
    "eer": "equal error rate",
    "tpr_at_1_percent_fpr": "found at 1 % false alarms",
    "coverage_real": "judged, real",
    "coverage_fake": "judged, fake",
}
CALLED = {
    "real_called_fake": "real called fake",
    "fake_called_fake": "fake called fake",
    "fake_called_real": "fake called real",
}
Part = Mapping[str, Any]


def as_markdown(report: Part) -> str:
    """Everything that a report says but the lists of the curves."""
    lines = [f"# {report['manifest']}, {report['encoding']}", "", told_files(report), ""]
    for kind, name in KINDS.items():
        if part := report[kind]:
            lines += [f"## {name.capitalize()}: {counted(part)}", "", *markdown_part(part)]
    if report.get("subsets"):
        lines += ["## Experts: each alone, all but one", "", *experts_table(report["subsets"]), ""]
    if report["failed"]:
        lines += ["## Not read", "", *(f"- {words}" for words in report["failed"]), ""]
    return "\n".join(lines)


def told_files(report: Part) -> str:
    return (
        f"{report['scored']} of {report['files']} files scored; {len(report['failed'])} could not be read; "
        f"{report['near_duplicates_left_out']} near-duplicates of training files left out. "
        f"Intervals are 90 %, from {report['draws']} draws of people. Weights {report['weights'][:12] or 'unsaved'}."
    )


def counted(part: Part) -> str:
    return (
        f"{part['real']} real of {part['real_groups']} people or files, "
        f"{part['fake']} fake of {part['fake_groups']} people or files"
    )


def markdown_part(part: Part) -> list[str]:
    return [
        *auc_table(part),
        "",
        *table(["figure", ""], [[words, number(part[key])] for key, words in PLAIN.items()]),
        "",
        *parts_table("generator", part["auc_by_generator"]),
        "",
        *parts_table("reals of", part["auc_by_real_source"]),
        "",
        *verdict_table(part),
        "",
        *calibration_table(part),
        "",
        *identity_table(part),
        *bands_tables(part["bands"]),
    ]


def auc_table(part: Part) -> list[str]:
    """A row a detector; against all reals, against each large source alone, and those weighing the same."""
    sources = part["auc_against"]
    head = ["AUC", "all reals", *(f"{name} ({one['real']})" for name, one in sources.items())]
    rows = []
    for name, figure in part["auc"].items():
        rows.append([name, with_interval(figure), *(with_interval(one["auc"][name]) for one in sources.values())])
        if len(sources) > 1:
            rows[-1].append(with_interval(part["auc_sources_equal"][name]))
    for name, gap in part["auc_differences"].items():
        rows.append([name, with_interval(gap, "difference"), *([""] * (len(head) - 2 + (len(sources) > 1)))])
    return table([*head, *(["those weighing the same"] if len(sources) > 1 else [])], rows)


def parts_table(title: str, parts: Part) -> list[str]:
    others = list(dict.fromkeys(name for one in parts.values() for name in one["beside"]))
    rows = [
        [name, str(one["files"]), str(one["people"]), with_interval(one), *(number(one["beside"][k]) for k in others)]
        for name, one in parts.items()
    ]
    return table([title, "rows", "people or files", "AUC", *others], rows)


def verdict_table(part: Part) -> list[str]:
    """What the verdicts are worth, with what the counts leave possible."""
    limits = part["thresholds"]
    rows = []
    for key, words in CALLED.items():
        one = part[key]
        bounds = [number(one["bound_95"]), f"{one['people_called']} of {one['people']}", number(one["people_bound_95"])]
        rows.append([words, f"{one['called']} of {one['judged']}", with_interval(one, "share"), *bounds])
    title = f"fake from {number(limits['fake'])}, real up to {number(limits['real'])}"
    head = [title, "of those judged", "share", "at most (95 %)", "people", "at most (95 %)"]
    decided = [[f"decided, {name.replace('_', ' ')}", *decided_cells(one)] for name, one in part["decided"].items()]
    decided.append(["judged, from 64 px", *decided_cells(part["judged_from_64_px"])])
    return [*table(head, rows), "", *table(["", "rows", "share"], decided)]


def decided_cells(one: Part) -> list[str]:
    return [str(one["rows"]), with_interval(one, "share")]


def calibration_table(part: Part) -> list[str]:
    if part["calibration_error"] is None:
        return []
    risk = part["risk_coverage"]
    return table(
        ["of what was judged, both classes weighing the same", "", "90 % interval"],
        [
            ["calibration error", number(part["calibration_error"]), ends(part["calibration_error_interval"])],
            [
                "error at full coverage",
                number(risk["error_at_full_coverage"]),
                ends(risk["error_at_full_coverage_interval"]),
            ],
            ["error at 80 % coverage", number(risk["error_at_80_percent"]), ends(risk["error_at_80_percent_interval"])],
            ["area under risk-coverage", number(risk["area"]), ""],
        ],
    )


def identity_table(part: Part) -> list[str]:
    rows = [
        [
            one["person"],
            one["label"],
            ", ".join(one["made_by"]),
            str(one["rows"]),
            number(one["mean_probability"]),
            number(one["auc"]),
        ]
        for one in part["by_identity"]
    ]
    head = ["person with several rows", "label", "made by", "rows", "mean probability", "AUC against the other side"]
    return [*table(head, rows), ""] if rows else []


def bands_tables(bands: Part) -> list[str]:
    """Verdicts by what can be measured of a face without knowing who it is."""
    lines: list[str] = []
    for name, some in bands.items():
        rows = [
            [
                f"{one['from']:g} to {one['to']:g}" if one["to"] is not None else f"{one['from']:g} and more",
                f"{one['real']} ({one['real_people']})",
                f"{one['fake']} ({one['fake_people']})",
                *(percent(one[f"real_called_{word}"]) for word in ("fake", "inconclusive")),
                *(percent(one[f"fake_called_{word}"]) for word in ("real", "inconclusive")),
                number(one["auc"]),
            ]
            for one in some
            if one["real"] or one["fake"]
        ]
        head = [name, "real (people)", "fake (people)", "real called fake", "real undecided", "fake called real"]
        lines += [*table([*head, "fake undecided", "AUC"], rows), ""]
    return lines


def experts_table(subsets: Sequence[Part]) -> list[str]:
    """Each expert alone, and what is lost without it."""
    kinds = [kind for kind in ("image", "video") if kind in subsets[0]]
    whole = max(subsets, key=lambda one: len(one["experts"]))["experts"]
    by_name = {frozenset(one["experts"]): one for one in subsets}
    rows = []
    for name in whole:
        alone, without = by_name[frozenset([name])], by_name.get(frozenset(whole) - {name})
        row = [name, *(with_interval(alone[kind]) for kind in kinds)]
        row += [with_interval(without[kind]["loss"], "difference") if without else "-" for kind in kinds]
        rows.append(row)
    rows.append(["all", *(with_interval(by_name[frozenset(whole)][kind]) for kind in kinds), *([""] * len(kinds))])
    words = [KINDS[kind] for kind in kinds]
    return table(["expert", *(f"alone, {w}" for w in words), *(f"lost without it, {w}" for w in words)], rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def with_interval(figure: Part | None, key: str = "auc") -> str:
    if figure is None or figure[key] is None:
        return "-"
    return f"{number(figure[key])} ({number(figure['low'])} to {number(figure['high'])})"


def ends(interval: Sequence[float | None]) -> str:
    return f"{number(interval[0])} to {number(interval[1])}"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
