"""The robustness suite's figures for people: tables in Markdown, heat-maps, the front of accuracy against cost."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.robustness_figures import FUSED


def write_tables(path: Path, result: Mapping[str, Any]) -> None:
    """All tables as one Markdown file."""
    figures = result["figures"]
    lines = [
        "# Robustness: 10 families of forgeries in 8 channels",
        "",
        f"{figures['faces']} real faces of {figures['people']} people ({result['footage']}), "
        f"{figures['pictures']['fake']} forged and {figures['pictures']['real']} real pictures; weights "
        f"{result['weights']}. Intervals are 90 %, of a bootstrap over people ({figures['draws']} draws). AUC is over "
        "the pictures that the detector judged; how many that are stands below.",
        "",
        *summary_table(figures["summary"]),
        *channel_table(figures["by_channel"]),
    ]
    for name, table in figures["auc"].items():
        lines += grid_table(name, table, figures)
    lines += worth_tables(figures["experts"], figures)
    lines += front_table(result["front"])
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def summary_table(summary: Mapping[str, Any]) -> list[str]:
    rows = ["| | value | 90 % interval | target | met |", "|---|---|---|---|---|"]
    for name, one in summary.items():
        within = f"{one['low']} to {one['high']}" if "low" in one else ""
        where = ", ".join(str(one[key]) for key in ("family", "channel") if one.get(key))
        label = name.replace("_", " ") + (f" ({where})" if where else "")
        rows.append(f"| {label} | {one['value']} | {within} | {one['target']} | {'yes' if one['met'] else 'no'} |")
    return [*rows, ""]


def channel_table(channels: Mapping[str, Any]) -> list[str]:
    rows = [
        "## By channel",
        "",
        "| channel | real ones judged | called fake | at most | coverage | decided | face found | ECE |",
    ]
    rows.append("|---" * 8 + "|")
    rows += [
        f"| {name} | {c['judged_real']} | {c['called_fake']} | {c['false_alarms_at_most']} | {c['coverage']} | "
        f"{c['decided']} | {c['found']} | {c['calibration_error']} |"
        for name, c in channels.items()
    ]
    return [*rows, ""]


def grid_table(name: str, table: Mapping[str, Any], figures: Mapping[str, Any]) -> list[str]:
    """AUC of one column; the fused one with how many pictures stand behind each cell."""
    channels = figures["channels"]
    rows = [f"## AUC: {name}", "", f"| family | {' | '.join(channels)} | mean |", "|---" * (len(channels) + 2) + "|"]
    for family, cells in table["cells"].items():
        fakes, reals = figures["judged_fake"][family], figures["judged_real"][family]
        counts = {c: f" ({fakes[c]}/{reals[c]})" if name == FUSED else "" for c in channels}
        mark = " *" if figures["families"][family] == "test only" else ""
        whole = table["families"][family]
        told = [f"{cells[c]}{counts[c]}" for c in channels]
        rows.append(f"| {family}{mark} | {' | '.join(told)} | {ranged(whole)} |")
    means = " | ".join(str(table["channels"][c]["auc"]) for c in channels)
    rows.append(f"| mean | {means} | {ranged(table['mean'])} |")
    starred = "Test-only families are starred" + ("; in brackets judged forged/real." if name == FUSED else ".")
    return [*rows, "", f"{starred} Their mean: {ranged(table['mean_unseen'])}.", ""]


def ranged(one: Mapping[str, Any]) -> str:
    return f"{one['auc']} ({one['low']} to {one['high']})"


def worth_tables(experts: Mapping[str, Any], figures: Mapping[str, Any]) -> list[str]:
    """Each expert alone, and the fusion without it, by family and by channel."""
    if not experts:
        return []
    lines = []
    for part, names in (("families", list(figures["families"])), ("channels", figures["channels"])):
        lines += [f"## Each expert alone and left out, by {part}", ""]
        lines += [f"| | {' | '.join(names)} | all |", "|---" * (len(names) + 2) + "|"]
        for kind in ("alone", "without"):
            for name, one in experts[kind].items():
                told = " | ".join(str(one[part][k]) for k in names)
                lines.append(f"| {kind} {name} | {told} | {one['mean']} |")
        told = " | ".join(str(experts["all"][part][k]) for k in names)
        lines += [f"| all | {told} | {experts['all']['mean']} |", ""]
    lines += ["| left out | mean AUC lost | 90 % interval |", "|---|---|---|"]
    lines += [
        f"| {n} | {o['loss']['auc']} | {o['loss']['low']} to {o['loss']['high']} |"
        for n, o in experts["without"].items()
    ]
    return [*lines, ""]


def front_table(front: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [
        "## Subsets of experts, the cheapest first",
        "",
        "| experts | ms a face | mean | unseen | worst cell | front |",
    ]
    rows.append("|---|---|---|---|---|---|")
    rows += [
        f"| {', '.join(one['experts'])} | {one['ms_a_face']:.2f} | {one['mean']} | {one['mean_unseen']} | "
        f"{one['worst_cell']} | {'*' if one['on_front'] else ''} |"
        for one in front
    ]
    return [*rows, ""]


def draw_all(folder: Path, result: Mapping[str, Any]) -> list[Path]:
    """A heat-map of every column, and the front."""
    import matplotlib

    matplotlib.use("Agg")
    figures = result["figures"]
    made = [
        draw_heat_map(folder / f"heat_{name.replace(' ', '_')}.png", name, table, figures)
        for name, table in figures["auc"].items()
    ]
    return [*made, draw_front(folder / "front.png", result["front"])] if result["front"] else made


def draw_heat_map(path: Path, name: str, table: Mapping[str, Any], figures: Mapping[str, Any]) -> Path:
    """AUC from 0.5 or less (red) to 1 (green), a row a family, test-only ones below the line."""
    from matplotlib import pyplot as plt

    families, channels = list(figures["families"]), figures["channels"]
    grid = np.array([[table["cells"][f][c] for c in channels] for f in families], np.float64)
    shown, axes = plt.subplots(figsize=(10.5, 6.2), layout="constrained")
    axes.imshow(np.nan_to_num(grid, nan=0.5), cmap="RdYlGn", vmin=0.5, vmax=1.0, aspect="auto")
    for y, x in np.ndindex(*grid.shape):
        axes.text(x, y, "" if np.isnan(grid[y, x]) else f"{grid[y, x]:.2f}", ha="center", va="center", fontsize=9)
    marked = [f"{f} *" if figures["families"][f] == "test only" else f for f in families]
    axes.set(xticks=range(len(channels)), yticks=range(len(families)), yticklabels=marked)
    axes.set_xticklabels(channels, rotation=30, ha="right")
    axes.axhline(sum(1 for f in families if figures["families"][f] != "test only") - 0.5, color="black", linewidth=1.2)
    axes.set_title(f"{name}: AUC, mean {table['mean']['auc']}, * test-only families {table['mean_unseen']['auc']}")
    shown.savefig(path, dpi=110)
    plt.close(shown)
    return path


def draw_front(path: Path, front: Sequence[Mapping[str, Any]]) -> Path:
    """Mean AUC of every subset of the experts over its cost; the best at each cost are joined and numbered."""
    from matplotlib import pyplot as plt

    shown, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    known = [one for one in front if one["mean"] is not None]
    best = [one for one in known if one["on_front"]]
    axes.scatter([one["ms_a_face"] for one in known], [one["mean"] for one in known], s=16, color="0.6")
    axes.plot([one["ms_a_face"] for one in best], [one["mean"] for one in best], marker="o", color="tab:blue")
    for number, one in enumerate(best, start=1):
        axes.annotate(
            str(number), (one["ms_a_face"], one["mean"]), fontsize=9, xytext=(4, -11), textcoords="offset points"
        )
    names = [f"{number}  {' + '.join(one['experts'])}" for number, one in enumerate(best, start=1)]
    axes.text(0.98, 0.03, "\n".join(names), transform=axes.transAxes, ha="right", va="bottom", fontsize=8)
    axes.set(xlabel="processor time, ms a face", ylabel="mean AUC of the suite", title="subsets of the experts")
    shown.savefig(path, dpi=110)
    plt.close(shown)
    return path
