"""The page docs/accuracy.md: every figure in it comes out of the reports, none is written by hand."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stream_detect.training.report import (
    bands_tables,
    ends,
    experts_table,
    number,
    parts_table,
    percent,
    table,
    verdict_table,
    with_interval,
)

KINDS = {"image": "stills", "video": "clips", "frame": "frames of clips"}
FFHQ = "zoya2244/AI-Lab-Final-Project-FALL25 (Kaggle 140k)"
SHORT = {FFHQ: "FFHQ", "braun-steven/dfi-tensorflow (LFW deep-funneled)": "LFW"}
SHEET = re.compile(r"SelfishGene[^/]*__(?P<sheet>[\w-]+?)_\d+_\d+\.\w+$")  # what a sheet of SFHQ-T2I varies
SHEETS = {"Glasses-Style": "glasses", "Facial-Hair": "beards", "Age": "age", "Face-Pose": "poses"}
FIXED_MS = "crops, quality and fusion"  # what a face costs besides its experts
LARGEST_COST_MS = 25.0
SUITE = "../benchmarks/results/{version}/robustness"
Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Measured:
    """What the page is made of."""

    reports: Mapping[str, Figures]  # terms -> report.json
    about: Figures  # commit, processor, time
    lines: Mapping[str, Sequence[Figures]]  # terms -> scores.jsonl
    experts: Figures | None  # benchmarks.experts
    suite: Figures | None  # benchmarks.robustness
    version: str


@dataclass(frozen=True, slots=True)
class Target:
    """What was asked for and what was reached; None where it was not measured."""

    words: str
    asked: str
    reached: str
    is_met: bool | None

    @property
    def verdict(self) -> str:
        return "not measured" if self.is_met is None else "met" if self.is_met else "**missed**"


def page(measured: Measured) -> str:
    """The page as Markdown."""
    parts = [
        "# Accuracy",
        head(measured),
        "## In short",
        in_short(measured),
        "## What was asked for, and what was reached",
        targets_table(measured),
        "## Stills and clips that were never seen",
        NEVER_SEEN,
        auc_table(measured),
        *(generator_part(measured, kind) for kind in KINDS),
        "## What a verdict is worth",
        VERDICTS,
        *(verdict_part(measured, terms, kind) for terms in measured.reports for kind in KINDS),
        "## Whether a probability means what it says, and what silence is worth",
        CALIBRATION,
        calibration_table(measured),
        *(plots(measured, terms) for terms in measured.reports),
        "## Whom it fails",
        FAILS,
        *(bands_part(measured, terms, kind) for terms in measured.reports for kind in ("image", "frame")),
        sheets_part(measured),
        "## What each expert is worth, and what it costs",
        costs_text(measured.experts),
        *(experts_part(measured, terms) for terms in measured.reports),
        suite_part(measured),
        "## Limits",
        limits(measured),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


NEVER_SEEN = """AUC is how often a forged file scores above a real one; .5 is guessing. "Controlled" means that every
face was first brought to a box 112 pixels wide and encoded as H.264 of crf 26: size, codec and rate then tell nothing.
LFW's stills look like none of the forged ones, which flatters: the column against FFHQ alone, and the one in which both
sources weigh the same, are the ones to read. "facts" is a baseline that sees only size, codec and rate of the file,
learned on these very files (out of fold). "mean of experts" is the plain mean of their logits: what the fusion has to
beat. Official MesoNet is the authors' published network on the same crops."""

VERDICTS = """At the shipped thresholds. "At most" is the largest rate that the counts leave possible (95 %, one-sided,
Clopper-Pearson): without a single error that is about 3 divided by how many were judged. Frames of one clip are not
independent, so people are counted beside them: those for whom it happened at least once. "Decided" is the share with
the verdict real or fake; the rest is inconclusive."""

CALIBRATION = """Both classes weigh the same here, as the calibration is for even odds. Risk against coverage: the least
certain answers are given up first; the error is that of calling a file fake above .5."""

FAILS = """By what can be measured of a face without knowing who it is. "Turn" is how far the nose lies from the middle
between the eyes, in their distance: about .2 for a head turned by 20 degrees, above .5 for a profile. Brightness is
the mean luma of the face, between 0 and 1: it is a poor proxy of skin colour, as it mixes skin with light and exposure;
no figure by skin colour follows from it. Sharpness falls with blur."""


def head(measured: Measured) -> str:
    about, raw = measured.about, measured.reports["raw"]
    failed = [words for report in measured.reports.values() for words in report["failed"]]
    return (
        "Printed by `make accuracy` from the reports in [evaluation/](evaluation/); no figure here is written by hand. "
        f"Measured at {about['at']}, commit {about['commit']}, weights {raw['weights'][:12]}, stream-detect "
        f"{measured.version}.\n\n"
        f"{raw['files']} files that training never saw, and of nobody whom it is known to have seen; {len(failed)} "
        "could not be read; "
        f"{raw['near_duplicates_left_out']} near-duplicates of training files are left out. Intervals are 90 %, from "
        f"{raw['draws']} draws of people with replacement."
    )


def in_short(measured: Measured) -> str:
    raw, controlled = measured.reports["raw"], measured.reports["controlled"]
    lines = [f"- {KINDS[kind].capitalize()}: {short_line(raw, controlled, kind)}" for kind in ("image", "video")]
    alarms = [f"{KINDS[kind]}: {rate(one)}" for kind in KINDS if (one := part_of(raw, kind).get("real_called_fake"))]
    lines.append(f"- Real ones called fake, as published: {'; '.join(alarms) or 'not measured'}.")
    missed = [one for one in targets(measured) if one.is_met is False]
    lines.append(f"- {len(missed)} of {len(targets(measured))} targets are missed; they stand below as they are.")
    return "\n".join(lines)


def short_line(raw: Figures, controlled: Figures, kind: str) -> str:
    return (
        f"AUC {with_interval(auc_of(raw, kind))} as published, "
        f"{with_interval(auc_of(controlled, kind))} controlled ({counted(raw, kind)})."
    )


def counted(report: Figures, kind: str) -> str:
    part = part_of(report, kind)
    if not part:
        return "no files"
    return (
        f"{part['fake']} forged of {part['fake_groups']} people or files, {part['real']} real of {part['real_groups']}"
    )


def part_of(report: Figures, kind: str) -> Figures:
    part: Figures = report.get(kind) or {}
    return part


def auc_of(report: Figures, kind: str, name: str = "ours") -> Figures | None:
    figure: Figures | None = part_of(report, kind).get("auc", {}).get(name)
    return figure


def targets(measured: Measured) -> list[Target]:
    """Everything that was asked for."""
    raw, controlled = measured.reports["raw"], measured.reports["controlled"]
    told = [
        least("stills, as published, AUC", 0.97, auc_of(raw, "image")),
        least("stills, controlled, AUC", 0.90, auc_of(controlled, "image")),
        least("clips, as published, AUC", 0.93, auc_of(raw, "video")),
        least("clips, controlled, AUC", 0.90, auc_of(controlled, "video")),
        *suite_targets(measured.suite),
        *alarm_targets(measured.reports),
        *calibration_targets(measured),
        *coverage_targets(measured.reports),
        *risk_targets(measured.reports),
        cost_target(measured.experts),
    ]
    return told


def least(words: str, asked: float, figure: Figures | None, key: str = "auc") -> Target:
    value = None if figure is None else figure[key]
    met = None if value is None else value >= asked
    return Target(words, f"at least {asked:.2f}", with_interval(figure, key), met)


def suite_targets(suite: Figures | None) -> list[Target]:
    """Those of the robustness suite, whose own report says more."""
    fused = suite["figures"]["auc"]["fused"] if suite else None
    worst = fused and fused["worst_cell"]
    cell = f" ({worst['family']}, {worst['channel']})" if worst else ""
    return [
        least("own self-blends, unseen people, every channel", 0.95, fused and fused["families"].get("self_blend")),
        least("robustness suite, mean", 0.90, fused and fused["mean"]),
        least(f"robustness suite, worst cell{cell}", 0.75, worst),
        least("robustness suite, test-only families", 0.85, fused and fused["mean_unseen"]),
    ]


def alarm_targets(reports: Mapping[str, Figures]) -> list[Target]:
    told = []
    for terms, report in reports.items():
        frames = part_of(report, "frame").get("real_called_fake")
        clips = part_of(report, "video").get("real_called_fake")
        told.append(
            Target(f"judged real frames called fake, {terms}", "at most 1 %", rate(frames), at_most(frames, 0.01))
        )
        told.append(Target(f"real clips called fake, {terms}", "none", rate(clips), clips and clips["called"] == 0))
    return told


def rate(figure: Figures | None) -> str:
    if figure is None:
        return "-"
    bound = f"at most {percent(figure['bound_95'])} with 95 %"
    return f"{figure['called']} of {figure['judged']}: {percent(figure['share'])}, {bound}"


def at_most(figure: Figures | None, limit: float) -> bool | None:
    return None if figure is None or figure["share"] is None else bool(figure["share"] <= limit)


def calibration_targets(measured: Measured) -> list[Target]:
    still = part_of(measured.reports["raw"], "image")
    error = still.get("calibration_error")
    within = f" ({ends(still['calibration_error_interval'])})" if error is not None else ""
    words = "calibration error in domain (stills as published: training knows their generators)"
    told = [Target(words, "at most 0.03", number(error) + within, None if error is None else error <= 0.03)]
    worst = measured.suite["figures"]["summary"]["worst_calibration_error"] if measured.suite else {}
    value: float | None = worst.get("value")
    words = "calibration error, worst channel" + (f" ({worst['channel']})" if worst else "")
    return [*told, Target(words, "at most 0.08", number(value), None if value is None else value <= 0.08)]


def coverage_targets(reports: Mapping[str, Figures]) -> list[Target]:
    """Coverage is where a probability is given; how often that becomes real or fake stands beside it."""
    told = []
    for terms, report in reports.items():
        for kind, words in (("image", "stills"), ("frame", "frames")):
            if part := part_of(report, kind):
                judged, decided = part["judged_from_64_px"], part["decided"]["from_64_px"]
                reached = f"{with_interval(judged, 'share')}; decided {with_interval(decided, 'share')}"
                one = least(f"judged, faces from 64 px, {words}, {terms}", 0.90, judged, "share")
                told.append(Target(one.words, one.asked, reached, one.is_met))
    return told


def risk_targets(reports: Mapping[str, Figures]) -> list[Target]:
    told = []
    for terms, report in reports.items():
        for kind, words in KINDS.items():
            if risk := part_of(report, kind).get("risk_coverage"):
                full, some = risk["error_at_full_coverage"], risk["error_at_80_percent"]
                reached = f"{number(some)} against {number(full)}"
                met = bool(some <= full / 3)
                told.append(
                    Target(
                        f"error at 80 % coverage, {words}, {terms}", "a third of that at full coverage", reached, met
                    )
                )
    return told


def cost_target(experts: Figures | None) -> Target:
    cost = experts["batches"]["1"]["all experts"]["median_ms"] if experts else None
    met = None if cost is None else cost <= LARGEST_COST_MS
    words = "all experts, milliseconds a face on one thread"
    return Target(words, f"at most {LARGEST_COST_MS:.0f}", "-" if cost is None else f"{cost:.1f}", met)


def targets_table(measured: Measured) -> str:
    rows = [[one.words, one.asked, one.reached, one.verdict] for one in targets(measured)]
    return joined(table(["", "asked", "reached (90 % interval)", ""], rows))


def auc_table(measured: Measured) -> str:
    """A table a kind of file: a row a detector, columns by terms and by which reals."""
    return "\n\n".join(kind_table(measured, kind) for kind in KINDS if part_of(measured.reports["raw"], kind))


def kind_table(measured: Measured, kind: str) -> str:
    parts = {terms: part for terms, report in measured.reports.items() if (part := part_of(report, kind))}
    columns: dict[str, Callable[[str], str]] = {}
    for terms, part in parts.items():
        columns[f"{terms}, all reals"] = cell_of(part["auc"])
        for source, against in part["auc_against"].items():
            columns[f"{terms}, {SHORT.get(source, source)} ({against['real']})"] = cell_of(against["auc"])
        if len(part["auc_against"]) > 1:
            columns[f"{terms}, both weighing the same"] = cell_of(part["auc_sources_equal"])
    names = list(dict.fromkeys(name for part in parts.values() for name in part["auc"]))
    rows = [[f"**{name}**" if name == "ours" else name, *(cell(name) for cell in columns.values())] for name in names]
    title = f"### {KINDS[kind].capitalize()}: {counted(measured.reports['raw'], kind)}"
    return joined([title, "", *table(["AUC", *columns], rows)])


def cell_of(figures: Figures) -> Callable[[str], str]:
    return lambda name: with_interval(figures.get(name))


def generator_part(measured: Measured, kind: str) -> str:
    lines: list[str] = []
    for terms, report in measured.reports.items():
        if part := part_of(report, kind):
            lines += ["", *parts_table(f"{KINDS[kind]}, {terms}: generator", part["auc_by_generator"]), ""]
            lines += parts_table(f"{KINDS[kind]}, {terms}: reals of", part["auc_by_real_source"])
    return joined(lines).strip()


def verdict_part(measured: Measured, terms: str, kind: str) -> str:
    part = part_of(measured.reports[terms], kind)
    return joined([f"### {KINDS[kind].capitalize()}, {terms}", "", *verdict_table(part)]) if part else ""


def calibration_table(measured: Measured) -> str:
    """Stills, clips, both together and frames, on all terms."""
    rows = []
    for terms, report in measured.reports.items():
        parts = {words: part_of(report, kind) for kind, words in KINDS.items()}
        parts["stills and clips together"] = part_of(report, "files_together")
        rows += [
            [f"{words}, {terms}", *calibration_cells(part)] for words, part in parts.items() if "reliability" in part
        ]
    head = ["", "calibration error", "error at full coverage", "error at 80 %", "area under risk-coverage"]
    return joined(table(head, rows))


def calibration_cells(part: Figures) -> list[str]:
    risk = part["risk_coverage"]
    pairs = [(part["calibration_error"], part["calibration_error_interval"])]
    pairs += [(risk[key], risk[f"{key}_interval"]) for key in ("error_at_full_coverage", "error_at_80_percent")]
    return [*(f"{number(value)} ({ends(within)})" for value, within in pairs), number(risk["area"])]


def plots(measured: Measured, terms: str) -> str:
    shown = [kind for kind in KINDS if part_of(measured.reports[terms], kind)]
    return "\n".join(f"![{KINDS[kind]}, {terms}](evaluation/{terms}-{kind}s.png)" for kind in shown)


def bands_part(measured: Measured, terms: str, kind: str) -> str:
    part = part_of(measured.reports[terms], kind)
    return (
        joined([f"### {KINDS[kind].capitalize()}, {terms}", "", *bands_tables(part["bands"])]).strip() if part else ""
    )


def sheets_part(measured: Measured) -> str:
    """Forged stills by the sheet that they come from, which names what it varies; nothing is known of single files."""
    rows = []
    for terms, lines in measured.lines.items():
        by_sheet: dict[str, list[Figures]] = {}
        for line in lines:
            if (found := SHEET.search(line["path"])) and line["counts"]:
                by_sheet.setdefault(found["sheet"], []).append(line)
        for sheet, some in sorted(by_sheet.items()):
            verdicts = [line["verdict"] for line in some]
            counts = [str(verdicts.count(word)) for word in ("fake", "inconclusive", "real")]
            rows.append([f"{sheet}, {terms}", str(len(some)), *counts])
    if not rows:
        return ""
    text = (
        "Forged stills of text-to-image generators by what their sheet varies. A sheet says nothing of its single "
        "faces; only the sheet of glasses shows (mostly) one group."
    )
    return joined([text, "", *table(["sheet", "files", "called fake", "inconclusive", "called real"], rows)])


def experts_part(measured: Measured, terms: str) -> str:
    """Each alone and all but one, then the front of accuracy against cost."""
    report = measured.reports[terms]
    if not report.get("subsets"):
        return ""
    lines = [f"### {terms.capitalize()}", "", *experts_table(report["subsets"]), ""]
    for kind in ("image", "video"):
        front = [point for point in front_of(measured, terms, kind) if point["is_front"]]
        if front:
            rows = [[" + ".join(p["experts"]), f"{p['ms']:.1f}", number(p["auc"])] for p in front]
            lines += table([f"no cheaper set is better: {KINDS[kind]}", "ms a face", "AUC"], rows)
            lines += ["", f"![front, {KINDS[kind]}](evaluation/{terms}-front-{kind}s.png)", ""]
    return joined(lines).strip()


def costs_text(experts: Figures | None) -> str:
    if experts is None:
        return "What experts cost was not measured: `python -m benchmarks.experts`."
    return (
        "The same files scored again with fewer experts, from what each of them said of every face; the fusion has "
        "weights for every subset, which heed the quality of the picture even where one expert is alone. Costs are "
        "median milliseconds a face on one thread, one face at a time, "
        f"with the {costs_of(experts).get(FIXED_MS, 0):.1f} ms that every face costs (`python -m benchmarks.experts`, "
        f"weights {experts['weights']}, commit {experts['about']['commit']})."
    )


def front_of(measured: Measured, terms: str, kind: str) -> list[dict[str, Any]]:
    """Every subset of the experts with its cost and AUC, the cheapest first; on the front none cheaper is as good."""
    costs = costs_of(measured.experts)
    subsets = [
        one
        for one in measured.reports[terms].get("subsets") or []
        if kind in one and all(name in costs for name in one["experts"]) and one[kind]["auc"] is not None
    ]
    points = [
        {
            "experts": one["experts"],
            "ms": costs.get(FIXED_MS, 0.0) + sum(costs[name] for name in one["experts"]),
            "auc": one[kind]["auc"],
        }
        for one in subsets
    ]
    points.sort(key=lambda point: (point["ms"], -point["auc"]))
    best = 0.0
    for point in points:
        point["is_front"] = point["auc"] > best
        best = max(best, point["auc"])
    return points


def costs_of(experts: Figures | None) -> dict[str, float]:
    """Milliseconds a face, one at a time on one thread."""
    return {name: one["median_ms"] for name, one in experts["batches"]["1"].items()} if experts else {}


def suite_part(measured: Measured) -> str:
    """What the robustness suite says in short, and where the rest of it is."""
    if not measured.suite:
        return "## Robustness\n\nThe suite was not run: `python -m benchmarks.robustness`."
    figures, place = measured.suite["figures"], SUITE.format(version=measured.version)
    names = list(figures["auc"])
    rows = [
        [f"{family} ({about})", *(with_interval(figures["auc"][name]["families"][family]) for name in names)]
        for family, about in figures["families"].items()
    ]
    rows += [
        [f"in {c}", *(with_interval(figures["auc"][n]["channels"][c]) for n in names)] for c in figures["channels"]
    ]
    text = (
        f"Ten ways of forging in eight channels, on {figures['faces']} real faces of {figures['people']} people that "
        f"training never saw (weights {measured.suite['weights']}); [every cell]({place}/robustness.md), below the "
        "heat-map of the fused score. Test-only families were not in training."
    )
    picture = f"![the fused score in every cell]({place}/heat_fused.png)"
    return joined(["## Robustness", "", text, "", *table(["AUC", *names], rows), "", picture])


def limits(measured: Measured) -> str:
    """What these figures can't say."""
    raw = measured.reports["raw"]
    clips = part_of(raw, "video")
    lines = []
    if clips:
        maker, count = largest_maker(clips["auc_by_generator"])
        low, high = (auc_of(raw, "video") or {}).get("low"), (auc_of(raw, "video") or {}).get("high")
        called = clips["real_called_fake"]
        lines += [
            f"{count} of the {clips['fake']} forged clips were made by {maker}, "
            f"and {clips['fake_groups']} people stand behind all of them: read the interval ({number(low)} to "
            f"{number(high)}), not the figure.",
            f"{called['judged']} real clips, {called['called']} of them called fake, leave it possible that "
            f"{percent(called['bound_95'])} of all real clips are.",
        ]
    lines += [
        "Val's stills come from the generators of training (other pictures); val's clips from generators that training "
        "never saw. On other generators, cameras and codecs expect less, and run `stream-detect evaluate` on yours.",
        "Nothing is known by skin colour, age, sex, beards or for children: no file of a real person carries such a "
        "label, and the sheets of forged faces name what they vary, not what a face shows. Brightness is a proxy of "
        "light, not of skin.",
        "A forgery whose traces the channel has wiped out can't be seen. A low score is no proof that a face is real.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def largest_maker(generators: Figures) -> tuple[str, int]:
    """The generator behind most files, whatever came after it (`name+restoration`), and how many those are."""
    counts: dict[str, int] = {}
    for name, one in generators.items():
        base = name.split("+")[0]
        counts[base] = counts.get(base, 0) + one["files"]
    return max(counts.items(), key=lambda one: one[1])


def joined(lines: Sequence[str]) -> str:
    return "\n".join(lines)
