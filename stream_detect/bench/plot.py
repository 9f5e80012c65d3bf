"""The picture of `stream-detect bench`: where the time goes, how far from decoding alone, how long a verdict takes."""

from pathlib import Path
from typing import Any

import numpy as np

from stream_detect.bench.footage import FPS
from stream_detect.bench.run import BenchReport
from stream_detect.errors import OutputError, UsageError


def save_plot(report: BenchReport, path: Path) -> Path:
    """Write the picture; its suffix says which kind (PNG, SVG, PDF).

    Raises:
        UsageError: if matplotlib is not installed, or the kind is unknown.
        OutputError: if the place can't be written.
    """
    figure = make_figure(report)
    try:
        figure.savefig(path, dpi=110)
    except OSError as exc:
        raise OutputError(f"{path}: can't be written ({exc.strerror}); choose another place with --plot") from exc
    except ValueError as exc:
        raise UsageError(f"{path}: not a kind of picture that is known here; name it .png, .svg or .pdf") from exc
    return path


def require_matplotlib() -> None:
    """Say early what would be missing at the end.

    Raises:
        UsageError: if matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as exc:
        raise UsageError("--plot needs matplotlib: pip install 'stream-detect[demo]'") from exc


def make_figure(report: BenchReport) -> Any:
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    stages, rates, latency = figure.subplots(1, 3, width_ratios=[1.6, 1, 1])
    plot_stages(stages, report)
    plot_rates(rates, report)
    plot_latency(latency, report)
    figure.suptitle(f"{report.carries()}\n{report.warning() or report.about['cpu']}", fontsize=10)
    return figure


def plot_stages(axes: Any, report: BenchReport) -> None:
    """Processor time of each stage for a frame, a bar a profile."""
    names = list(dict.fromkeys(name for one in report.profiles.values() for name in one.stages.stages))
    places, height = np.arange(len(names)), 0.8 / len(report.profiles)
    for turn, (profile, one) in enumerate(report.profiles.items()):
        values = [one.stages.stages.get(name, {}).get("cpu_ms_a_frame", 0.0) for name in names]
        axes.barh(places + turn * height, values, height, label=profile)
    axes.set_yticks(places + 0.4 - height / 2, names)
    axes.invert_yaxis()
    axes.set(xlabel="processor time a frame, ms", title="where the time goes")
    axes.legend(title="profile")


def plot_rates(axes: Any, report: BenchReport) -> None:
    """Frames a second against decoding alone and against a camera's 30."""
    rates = {name: one.ran.fps for name, one in report.profiles.items()} | {"decoding\nalone": report.floor["fps"]}
    axes.bar(list(rates), list(rates.values()), color=["C0", "C1", "0.6"][: len(rates)])
    axes.axhline(FPS, color="C3", linestyle="--", label="one camera")
    axes.set(ylabel="720p frames a second", title="as fast as it goes")
    axes.legend()


def plot_latency(axes: Any, report: BenchReport) -> None:
    """Which share of the frames had a verdict after so many milliseconds."""
    values = np.sort(report.live.latency_ms)
    axes.plot(values, np.arange(1, len(values) + 1) / len(values) * 100)
    axes.set(xlabel="from arrival to verdict, ms", ylabel="share of frames, %", title="one live feed", xlim=(0, None))
    axes.grid(alpha=0.3)
