"""The short benchmark for users: what each stage costs, how fast the whole line is, what this machine can carry."""

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stream_detect.bench.footage import FPS, coded, write_clip
from stream_detect.bench.line import Ran, decode_alone, detector_for, percentiles, run_line
from stream_detect.bench.machine import machine
from stream_detect.bench.timers import StageTable, timed_stages
from stream_detect.config import PROFILES, WatchSettings
from stream_detect.device import resolve_device
from stream_detect.weights import load_weights

LOOP_PICTURES = 60  # coded for the clip, which repeats them
KBPS = 4000
FEEDS_AT_ONCE = {"cpu": 2, "cuda": 16}  # clips that the rate is measured with; their faces are judged together
WARM_UP_S = 1.5
FLOOR_S = 2.0
SPARE = 1.5  # the clip is so much longer than decoding alone would get through
BUSY_SHARE = 0.1  # of the cores: more than this taken by others is said

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BenchSettings:
    """What is measured, and for how long."""

    seconds: float = 8.0  # of each of the three parts, in seconds
    device: str = "auto"
    weights: Path | None = None  # the shipped ones by default


@dataclass(frozen=True, slots=True)
class Measured:
    """What one profile reaches: as fast as it can, from files."""

    ran: Ran
    stages: StageTable


@dataclass(frozen=True, slots=True)
class BenchReport:
    """Everything that was found out."""

    about: Mapping[str, Any]
    floor: Mapping[str, float]  # decoding alone: fps, cpu_ms_a_frame
    profiles: Mapping[str, Measured]
    live: Ran  # one feed in real time at the profile "full"
    device: str

    @property
    def busy_cores(self) -> float:
        """Cores that other programs used meanwhile, at most."""
        ran = [self.live, *(one.ran for one in self.profiles.values())]
        return max(one.other_cores or 0.0 for one in ran)

    def to_json(self) -> dict[str, Any]:
        profiles = {
            name: {
                **one.ran.to_json(),
                "latency_ms": None,  # of files, waiting for the one before is part of it
                "share_of_decoding_alone": round(one.ran.fps / self.floor["fps"], 3),
                "feeds_720p30": math.floor(one.ran.fps / FPS),
                "stages": one.stages.to_json(),
            }
            for name, one in self.profiles.items()
        }
        return {
            "schema": 1,
            "type": "bench",
            "about": dict(self.about),
            "device": self.device,
            "decoding_alone": dict(self.floor),
            "profiles": profiles,
            "live": self.live.to_json(),
            "carries": self.carries(),
            "warning": self.warning() or None,
        }

    def carries(self) -> str:
        """What this machine can carry, in words."""
        parts = [f"{carried(self.profiles[name].ran.fps)} at profile {name}" for name in reversed(list(self.profiles))]
        return f"this machine carries {', '.join(parts)}"

    def warning(self) -> str:
        """What makes the figures worse than the machine is; empty if nothing does."""
        cores = int(self.about["cores"] or 1)
        if self.busy_cores < BUSY_SHARE * cores:
            return ""
        return (
            f"other programs used up to {self.busy_cores:.1f} of {cores} cores meanwhile: "
            "the figures are of what was left; measure again when the machine is quiet"
        )


def carried(fps: float) -> str:
    """How many feeds of 30 frames a second a rate is enough for, in words."""
    feeds = math.floor(fps / FPS)
    if feeds < 1:
        return f"no whole feed 720p30 (one at {fps:.0f} frames a second)"
    return f"about {feeds} feed{'s' * (feeds > 1)} 720p30"


def bench(settings: BenchSettings, say: Say = lambda words: None) -> BenchReport:
    """Measure this machine; takes about four times `settings.seconds` and a quarter of a minute.

    Args:
        say: hears what is being done.

    Raises:
        UsageError: for a device that there isn't, or if there is no scikit-image, which brings the face.
        WeightsError: if the weights are missing or damaged.
    """
    about = {"version": version("stream-detect"), **machine()}
    device = resolve_device(settings.device)
    weights = load_weights(settings.weights)
    about["weights"] = weights.digest[:12]
    with tempfile.TemporaryDirectory(prefix="stream-detect-bench-") as name:
        folder = Path(name)
        say("making a clip")
        pictures = coded(KBPS, num=LOOP_PICTURES)
        short = write_clip(folder / "short.ts", pictures, 10)
        say("decoding alone")
        floor = decode_alone(short, FLOOR_S)
        clip = write_clip(folder / "clip.ts", pictures, length_s(floor["fps"], settings.seconds))
        profiles = {}
        for profile in PROFILES:
            say(f"as fast as it goes, profile {profile}")
            profiles[profile] = through(clip, profile, weights, device, settings.seconds, folder)
        say("one feed in real time")
        live = in_real_time(clip, "full", weights, device, settings.seconds, folder)
    return BenchReport(about, floor, profiles, live, device)


def length_s(floor_fps: float, seconds: float) -> float:
    """How long a clip has to be, in seconds of video, so that it doesn't end before a measurement of `seconds`."""
    return max(30.0, SPARE * floor_fps * (seconds + 2 * WARM_UP_S) / FPS)


def through(clip: Path, profile: str, weights: Any, device: str, seconds: float, folder: Path) -> Measured:
    """Every frame of several readings of a clip, as fast as the line takes them, with timers."""
    feeds = FEEDS_AT_ONCE[device.partition(":")[0]]
    settings = WatchSettings(profile=profile, every_frame=True, duration_s=seconds)
    with detector_for(profile, weights, device) as detector, timed_stages(device) as timers:
        ran = run_line([clip] * feeds, detector, settings, folder / f"{profile}.jsonl", WARM_UP_S)
    return Measured(ran, timers.table(WARM_UP_S))


def in_real_time(clip: Path, profile: str, weights: Any, device: str, seconds: float, folder: Path) -> Ran:
    """One feed at the pace of a camera, the newest frame first."""
    settings = WatchSettings(profile=profile, every_frame=False, duration_s=seconds)
    with detector_for(profile, weights, device) as detector:
        return run_line([clip], detector, settings, folder / "live.jsonl", WARM_UP_S)


def rows_of_stages(report: BenchReport) -> list[tuple[str, ...]]:
    """The table: a stage a row; for each profile milliseconds of processor time a frame, and its share."""
    names = list(dict.fromkeys(name for one in report.profiles.values() for name in one.stages.stages))
    rows = []
    for name in sorted(names, key=lambda name: name == "the rest"):
        cells = [name]
        for one in report.profiles.values():
            row = one.stages.stages.get(name)
            cells += [f"{row['cpu_ms_a_frame']:.2f}", f"{row['share']:.0%}"] if row else ["", ""]
        rows.append(tuple(cells))
    totals = [f"{one.stages.cpu_ms_a_frame:.2f}" for one in report.profiles.values()]
    return [*rows, ("all", *(cell for total in totals for cell in (total, "100%")))]


def rows_of_rates(report: BenchReport) -> list[tuple[str, str]]:
    """The figures of the whole line, in words."""
    rows = [("decoding alone", f"{report.floor['fps']:.0f} frames a second")]
    for name, one in report.profiles.items():
        share = one.ran.fps / report.floor["fps"]
        judged = "" if one.ran.analysed_fps > 0.98 * one.ran.fps else f", {one.ran.analysed_fps:.0f} of them judged"
        rows.append((f"profile {name}", f"{one.ran.fps:.0f} frames a second{judged}; {share:.0%} of decoding alone"))
    latency = percentiles(report.live.latency_ms)
    words = ", ".join(f"{name} {value:.0f}" for name, value in latency.items())
    rows.append(("one live feed, profile full", f"{report.live.analysed_fps:.1f} frames a second judged"))
    rows.append(("from arrival to verdict, ms", words))
    lost = sum(number for cause, number in report.live.dropped.items() if cause not in ("unseen", "profile"))
    rows.append(("frames lost meanwhile", str(lost)))
    return rows
