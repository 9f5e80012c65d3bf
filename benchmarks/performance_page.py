"""The tables of docs/performance.md, written between its markers from benchmarks/results/<version>/*.json alone.

python -m benchmarks.performance_page [--check]

A marker is `<!-- results: NAME -->`, and the table ends with `<!-- end -->`; the text around them is written by hand.
--check writes nothing and fails if the page and the results do not agree.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, ROOT
from stream_detect.bench.footage import FPS

PAGE = ROOT / "docs" / "performance.md"
BLOCK = re.compile(r"(<!-- results: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
COMMANDS = {  # of results that are not named after their script
    "stages": "python -m benchmarks.stages --profile full|light",
    "stream": "python -m benchmarks.stream --source rtsp|file --profile full|light",
    "feeds": "python -m benchmarks.feeds --profile full|light",
}
SPEEDS = ("experts", "engines", "cold_start", "kernels", "stages", "stream", "feeds", "peers", "isolation", "soak")
GPU_FACES = ("1", "8", "64")  # of which the page shows the kernels

Result = Mapping[str, Any]
Results = Mapping[str, Result]  # name of the file, without its suffix


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if page and results do not agree")
    args = parser.parse_args(arguments)
    if not args.check:
        print(write_page())
        return 0
    text = PAGE.read_text(encoding="utf-8")
    if filled(text, read_results()) == text:
        return 0
    print("docs/performance.md and benchmarks/results do not agree: run python -m benchmarks.performance_page")
    return 1


def write_page(page: Path = PAGE, folder: Path | None = None) -> Path:
    """Fill the tables of a page from the results in a folder, by default those of this version."""
    text = page.read_text(encoding="utf-8")
    page.write_text(filled(text, read_results(folder)), encoding="utf-8")
    return page


def read_results(folder: Path | None = None) -> dict[str, Result]:
    place = folder or RESULTS / version("stream-detect")
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(place.glob("*.json"))}


def filled(text: str, results: Results) -> str:
    """The page with every table written anew.

    Raises:
        ValueError: for a marker that names no table, or if there is no marker at all.
    """
    if not BLOCK.search(text):
        raise ValueError("expected markers <!-- results: NAME --> ... <!-- end --> in the page, found none")

    def table_of(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in TABLES:
            raise ValueError(f"no table is called {name!r}, expected one of {', '.join(TABLES)}")
        return f"{match[1]}\n{TABLES[name](results) or not_measured(name)}\n\n{match[3]}"

    return BLOCK.sub(table_of, text)


def not_measured(name: str) -> str:
    command = COMMANDS.get(name, f"python -m benchmarks.{name.partition('-')[0]}")
    return f"Not measured yet: `{command}`."


def machine_table(results: Results) -> str:
    """Where and when each result was taken."""
    rows = []
    for name, result in results.items():
        about = result.get("about")
        if not about or "command" not in about or not is_speed(name):
            continue
        gpu = about.get("gpu")
        place = f"{about['cpu'].partition(' (')[0]}, {about['cores']} cores" + (f"; {gpu['name']}" if gpu else "")
        load = (about.get("load_average_before") or ["?"])[0]
        rows.append((f"`{name}`", about["at"][:16].replace("T", " "), about["commit"], place, load, others(result)))
    head = ("result", "taken (UTC)", "commit", "machine", "load before", "cores of others meanwhile")
    return markdown(head, rows) if rows else ""


def is_speed(name: str) -> bool:
    return name.partition("-")[0] in SPEEDS


def others(result: Result) -> object:
    """Cores that everything else used, where a result tells it; of several runs the most."""
    runs = [result, result.get("run") or {}, *(result.get("rows") or [])]
    used = [one["cores_used"]["everything_else"] for one in runs if one.get("cores_used")]
    return max(used) if used else "-"


def targets_table(results: Results) -> str:
    """Everything that was asked for, met or not."""
    words = {True: "met", False: "**missed**", None: "not measured"}
    rows = []
    for name, result in results.items():
        for one in result.get("targets", []) if is_speed(name) else []:
            reached = "-" if one["reached"] is None else one["reached"]
            rows.append((one["what"], f"`{name}`", one["asked"], reached, words[one["met"]]))
    return markdown(("what", "result", "asked", "reached", ""), rows) if rows else ""


def stream_table(results: Results) -> str:
    """One feed from a server."""
    runs = named(results, "stream-rtsp-")
    head = ("profile", "judged a second", "p50 ms", "p95 ms", "p99 ms", "lost", "cores", "memory MiB", "grew MiB")
    rows = []
    for profile, run in runs.items():
        latency, memory, cores = run["latency_ms"], run["rss_mib"] or {}, run["cores_used"] or {}
        figures = (run["analysed_fps"], latency["p50"], latency["p95"], latency["p99"], percent(run["lost_share"]))
        rows.append((profile, *figures, cores.get("watch", "-"), memory.get("most", "-"), memory.get("growth", "-")))
    return markdown(head, rows) if rows else ""


def floor_table(results: Results) -> str:
    """A file as fast as it goes, against decoding alone."""
    head = ("profile", "frames a second", "judged a second", "decoding alone", "share of it", "first verdict after s")
    rows = [
        (
            profile,
            run["fps"],
            run["analysed_fps"],
            run["decoding_alone"]["fps"],
            percent(run["share_of_decoding_alone"]),
            run["first_verdict_s"],
        )
        for profile, run in named(results, "stream-file-").items()
    ]
    return markdown(head, rows) if rows else ""


def stages_table(results: Results) -> str:
    """Processor time of each stage for a frame, a column a profile."""
    runs = named(results, "stages-")
    if not runs:
        return ""
    names = list(dict.fromkeys(name for run in runs.values() for name in run["stages"]))
    names.sort(key=lambda name: name == "the rest")
    rows: list[tuple[object, ...]] = []
    for name in names:
        cells = [run["stages"].get(name) for run in runs.values()]
        rows.append((name, *(f"{cell['cpu_ms_a_frame']:.2f} ({cell['share']:.0%})" if cell else "-" for cell in cells)))
    rows.append(("all", *(f"{run['cpu_ms_a_frame']:.2f}" for run in runs.values())))
    rows.append(("decoding alone", *(f"{run['decoding_alone']['cpu_ms_a_frame']:.2f}" for run in runs.values())))
    return markdown(("ms of processor time a frame", *runs), rows)


def feeds_table(results: Results) -> str:
    """How cost grows with feeds, and the wall."""
    parts = []
    head = ("profile", "feeds", "judged a second and feed", "p50 ms", "p95 ms", "cores", "GPU %", "NVDEC %", "carried")
    rows = []
    for profile, result in named(results, "feeds-").items():
        for row in result["rows"]:
            gpu, latency, cores = row["gpu_percent"] or {}, row["latency_ms"], row["cores_used"] or {}
            times = (row["slowest_feed_analysed_fps"], latency["p50"], latency["p95"])
            busy = (cores.get("watch", "-"), gpu.get("gpu", "-"), gpu.get("nvdec", "-"))
            rows.append((profile, row["asked_feeds"], *times, *busy, "yes" if row["is_carried"] else "no"))
        if wall := result["wall"]:
            carried = f"{result['carried']} feed{'s' * (result['carried'] != 1)} of {FPS} frames a second"
            parts.append(f"Profile {profile}: {carried}; the wall: {wall['what']} ({percent(wall['share'])} used).")
    return "\n\n".join([markdown(head, rows), *parts]) if rows else ""


def faces_table(results: Results) -> str:
    """What a face costs, ours and others."""
    if "peers" not in results:
        return ""
    tables = [faces_rows("one CPU thread, ms a face", results["peers"]["a_face_on_one_cpu_thread"])]
    on_gpu = results["peers"]["a_face_on_a_gpu"]
    if isinstance(on_gpu, str):
        return "\n\n".join([*tables, sentence(on_gpu)])
    return "\n\n".join([*tables, *(faces_rows(f"GPU, {size}, ms a face", rows) for size, rows in on_gpu.items())])


def faces_rows(title: str, rows: Mapping[str, Any]) -> str:
    cells = [(name, *timing(row), row["times_ours"]) for name, row in rows.items()]
    return markdown((title, "median", "quartiles", "times ours"), cells)


def loops_table(results: Results) -> str:
    """What a frame costs, ours and the usual loop."""
    loops = results.get("peers", {}).get("a_frame")
    if not loops:
        return ""
    ours = loops["ours, profile full"]["fps"]
    rows = [(name, one["fps"], f"{one['fps'] / ours:.2f}") for name, one in loops.items() if isinstance(one, dict)]
    said = sorted({sentence(one) for one in loops.values() if isinstance(one, str)})
    return "\n\n".join([markdown(("every frame of a 720p clip", "frames a second", "of ours, full"), rows), *said])


def kernels_table(results: Results) -> str:
    """The kernels on a GPU; without one, the definitions on the CPU."""
    if (result := results.get("kernels")) is None:
        return ""
    if result["without_gpu"]:
        return "\n\n".join([sentence(result["without_gpu"]), definitions_table(result)])
    rows = []
    for faces in [count for count in GPU_FACES if count in result["batches"]]:
        for name, row in result["batches"][faces].items():
            roof = result["roofline"][faces][name]
            others = (
                row[way]["median_ms"] if row[way] else "-" for way in ("definition", "definition_on_device", "naive")
            )
            reached = (roof["megabytes"], roof["gb_a_second"], percent(roof["share_of_copy"]))
            launches = sum(one["a_batch"] for one in row["launches"].values())
            rows.append((faces, f"`{name}`", row["kernel"]["median_ms"], *reached, *others, launches))
    head = (
        "faces",
        "kernel",
        "ms",
        "MB it must move",
        "GB/s",
        "of a copy",
        "NumPy ms",
        "CuPy ms",
        "naive ms",
        "launches",
    )
    copied = result["copy_gb_a_second"]["median"]
    return "\n\n".join([f"A plain copy on this card: {copied} GB/s.", markdown(head, rows)])


def definitions_table(result: Result) -> str:
    names = list(next(iter(result["batches"].values())))
    rows = [
        (faces, *(rows[name]["definition"]["median_ms"] for name in names)) for faces, rows in result["batches"].items()
    ]
    return markdown(("faces (NumPy on one CPU thread, ms)", *(f"`{name}`" for name in names)), rows)


def experts_table(results: Results) -> str:
    """What each expert costs."""
    if "experts" not in results:
        return ""
    batches = results["experts"]["batches"]
    names = list(next(iter(batches.values())))
    rows = [(name, *(cell for rows in batches.values() for cell in timing(rows[name]))) for name in names]
    heads = [words for size in batches for words in (f"batch of {size}", "quartiles")]
    return markdown(("ms a face, one CPU thread", *heads), rows)


def starts_table(results: Results) -> str:
    """How long until the first score, and what that takes."""
    if "cold_start" not in results:
        return ""
    rows = []
    for name, row in results["cold_start"]["starts"].items():
        low, high = row["iqr_s"]
        rows.append((name, f"{row['median_s']:.2f}", f"{low:.2f} to {high:.2f}", row.get("peak_rss_mib", "-")))
    return markdown(("a new process", "s", "quartiles", "most memory, MiB"), rows)


def engines_table(results: Results) -> str:
    """Each network by each engine, and by how much its probabilities move."""
    if (result := results.get("engines")) is None:
        return ""
    rows = []
    for network, engines in result["speed"].items():
        for name, row in engines.items():
            moved = result["scores"].get(name, {}).get("probability", {}).get("p99", "-")
            rows.append((network, name, *timing(row), row["ratio_to_reference"], moved))
    reference = result["settings"]["reference"]
    words = ("ms a face", "quartiles", f"to {reference}", "p99 of the probabilities' difference")
    refused = [f"{name.capitalize()} was not measured." for name in result["refused"]]
    return "\n\n".join([markdown(("network", "engine", *words), rows), *refused])


def isolation_table(results: Results) -> str:
    """What a process of its own costs a feed."""
    if (result := results.get("isolation")) is None:
        return ""
    rows: list[tuple[object, ...]] = []
    for mode, one in result["modes"].items():
        cpu, age, first = one["cpu_ms_a_frame"], one["age_when_taken_ms"], one["first_frame_ms"]
        rows.append((mode, f"{cpu['median']:.2f}", f"{age['p50']:.1f}", f"{age['p95']:.1f}", round(first["median"])))
    head = (
        "decoded in a",
        "ms of processor time a frame",
        "age when taken, p50 ms",
        "p95 ms",
        "to the first frame, ms",
    )
    memory, killed = result["memory_mib"], result["killed_ms"]
    said = (
        f"A process takes {memory['worker']['median']:.0f} MiB, the one they are forked from "
        f"{memory['nursery']:.0f}. One that is killed is missed after {killed['noticed']['median']:.0f} ms; "
        f"the next frame comes after {killed['next_frame']['median']:.0f} ms."
    )
    return "\n\n".join([markdown(head, rows), said])


def soak_table(results: Results) -> str:
    """Every fault of a long run: how soon it was told and overcome."""
    if (result := results.get("soak")) is None:
        return ""
    head = ("fault", "times", "told after s, median", "most", "back after s, median", "most", "never back")
    rows = [
        (kind.replace("_", " "), row["times"], *both(row["noticed_s"]), *both(row["back_s"]), row["never_back"])
        for kind, row in result["faults"].items()
    ]
    about = result["settings"]
    said = f"{about['feeds']} feeds for {about['minutes']:g} minutes, profile {about['profile']}."
    return "\n\n".join([said, markdown(head, rows)])


def both(seconds: Mapping[str, Any]) -> tuple[object, object]:
    return seconds["p50"], seconds["max"]


TABLES: dict[str, Callable[[Results], str]] = {
    "machine": machine_table,
    "targets": targets_table,
    "stream": stream_table,
    "stream-floor": floor_table,
    "stages": stages_table,
    "feeds": feeds_table,
    "peers-faces": faces_table,
    "peers-loops": loops_table,
    "kernels": kernels_table,
    "experts": experts_table,
    "engines": engines_table,
    "cold_start": starts_table,
    "isolation": isolation_table,
    "soak": soak_table,
}


def named(results: Results, prefix: str) -> dict[str, Result]:
    """Results whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): result for name, result in results.items() if name.startswith(prefix)}


def timing(row: Mapping[str, Any]) -> tuple[str, str]:
    low, high = row["iqr_ms"]
    return f"{row['median_ms']:.2f}", f"{low:.2f} to {high:.2f}"


def percent(share: float) -> str:
    return f"{share:.1%}" if abs(share) < 0.1 else f"{share:.0%}"


def sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def markdown(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A table whose first column is text and whose others are aligned to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(in_a_cell(cell) for cell in line)} |" for line in lines)


def in_a_cell(value: object) -> str:
    """The value as Markdown's tables take it: a bar of its own would begin the next column."""
    return str(value).replace("|", r"\|")


if __name__ == "__main__":
    sys.exit(main())
