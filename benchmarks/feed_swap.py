"""When is a swapped feed told: another person's clip, or the same picture through another encoder?

python -m benchmarks.feed_swap DATA

DATA holds train/manifest.csv and val/manifest.csv; their real clips are looked at twice a second, as they are and after
wires. A swap is one clip for 4 s and then another clip, or the same one after another wire. Alarms are counted on clips
that nobody swapped, at the level that the shipped thresholds give the rule for the usual budget.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import metadata, on_one_thread, rounded, write_result
from stream_detect.config import DecisionSettings
from stream_detect.detector import Detector
from stream_detect.errors import SourceError, StreamDetectError
from stream_detect.pipeline import Judge
from stream_detect.sources import open_source, read_frames
from stream_detect.temporal import Thresholds
from stream_detect.temporal.swap import KNOWN_AFTER_S, SwapState, feed_swap
from stream_detect.training.budget import poisson_bound
from stream_detect.training.manifest import Item, read_manifest
from stream_detect.training.prints import FEWEST, Stream, prints_of, swap_tail
from stream_detect.training.traces import WIRES, pictures_of, write_clip
from stream_detect.weights import load_weights

SENT = ("as it is", "h264 1 Mbit/s", "vp8 250 kbit/s", "hevc half size")
SWAP_S = 4.0  # seconds of the first clip
LEAST_S = 7.0  # of a clip that is swapped
LEAST_PRINTS = 8  # of it


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    args = parser.parse_args(arguments)
    on_one_thread()
    try:
        result = measure(args.data)
    except StreamDetectError as error:
        print(f"feed_swap: {error}", file=sys.stderr)
        return error.exit_code
    write_result("feed_swap", result)
    show(result)
    return 0


def measure(data: Path) -> dict[str, Any]:
    items = [item for part in ("train", "val") for item in read_manifest(data / part / "manifest.csv")]
    clips = [item for item in items if item.kind == "video" and not item.is_fake]
    with Detector("cpu") as detector:
        streams = all_streams(clips, detector)
    known = {key: stream for key, stream in streams.items() if sum(one is not None for _, one in stream) >= FEWEST}
    level = level_of(load_weights().alerts)
    hours = sum(stream[-1][0] for stream in known.values()) / 3600
    unique = {path: stream[-1][0] for (path, _), stream in known.items()}
    tail = swap_tail([(path.name, stream) for (path, _), stream in known.items()])
    assert tail is not None
    alarms = sum(told_after(stream, 0.0, level) is not None for stream in known.values())
    return {
        "question": "when a swapped feed is told, and how often one that was not swapped",
        "about": metadata(),
        "level": rounded(level),
        "tail": {"level": rounded(tail.level), "per_hour": rounded(tail.per_hour), "scale": rounded(tail.scale)},
        "clips": len({path for path, _ in streams}),
        "clips_with_fingerprints": len(unique),
        "minutes": rounded(sum(unique.values()) / 60),
        "hours_replayed": rounded(hours),
        "alarms": alarms,
        "bound_95_per_hour": poisson_bound(alarms, sum(unique.values()) / 3600),
        "swaps": {kind: figures(some, level) for kind, some in swaps(known)},
    }


def level_of(thresholds: Thresholds) -> float:
    return thresholds.levels(DecisionSettings()).swap_at


def all_streams(clips: Sequence[Item], detector: Judge) -> dict[tuple[Path, str], Stream]:
    streams = {}
    for item in clips:
        for wire in SENT:
            try:
                streams[item.path, wire] = stream_of(item.path, wire, detector)
            except SourceError as error:
                print(f"left out: {error}", file=sys.stderr)
        print(item.path.name, file=sys.stderr, flush=True)
    return streams


def stream_of(path: Path, wire: str, detector: Judge) -> Stream:
    sent = WIRES[wire]
    if sent is None:
        return list(prints_of(read_frames(open_source(str(path))), detector))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sent.mkv"
        write_clip(file, pictures_of(path), sent)
        return list(prints_of(read_frames(open_source(str(file))), detector))


def swaps(known: dict[tuple[Path, str], Stream]) -> Iterator[tuple[str, list[Stream]]]:
    """Feeds that are swapped after `SWAP_S`, by what takes their place."""
    long = {
        key: s for key, s in known.items() if s[-1][0] >= LEAST_S and sum(p is not None for _, p in s) >= LEAST_PRINTS
    }
    for wire in SENT:
        pairs = [(path, other) for path, other in long if other != wire and (path, wire) in long]
        yield f"the same picture, now {wire}", [spliced(long[p, other], long[p, wire], 0.0) for p, other in pairs]
    own = [path for path, wire in long if wire == SENT[0]]
    others = [own[(k + len(own) // 2) % len(own)] for k in range(len(own))]
    yield (
        "another clip",
        [spliced(long[a, SENT[0]], long[b, SENT[0]], SWAP_S) for a, b in zip(own, others, strict=True)],
    )


def spliced(first: Stream, then: Stream, later_s: float) -> Stream:
    """The first stream until the swap, then the other one, which began `later_s` after it."""
    return [x for x in first if x[0] < SWAP_S] + [(at + later_s, p) for at, p in then if at + later_s >= SWAP_S]


def told_after(stream: Stream, since_s: float, level: float) -> float | None:
    """How long after a time the swap was told; None if it was not."""
    state = SwapState()
    for pts_s, prints in stream:
        state, events = feed_swap(state, pts_s, prints, level)
        if any(event.kind == "raised" for event in events) and pts_s >= since_s:
            return pts_s - since_s
    return None


def figures(feeds: Sequence[Stream], level: float) -> dict[str, Any]:
    told = [after for feed in feeds if (after := told_after(feed, SWAP_S, level)) is not None]
    share = len(told) / len(feeds) if feeds else 0.0
    return {"feeds": len(feeds), "told": rounded(share), "median_s": rounded(np.median(told)) if told else None}


def show(result: dict[str, Any]) -> None:
    print(
        f"{result['clips_with_fingerprints']} of {result['clips']} clips have fingerprints, {result['minutes']} minutes"
    )
    print(
        f"{result['alarms']} alarms in {result['hours_replayed']} h, at level {result['level']}; tail {result['tail']}"
    )
    print(f"a feed is known after {KNOWN_AFTER_S:g} s\n| swapped for | feeds | told | median, s |\n|---|---|---|---|")
    for kind, one in result["swaps"].items():
        print(f"| {kind} | {one['feeds']} | {one['told']} | {one['median_s']} |")


if __name__ == "__main__":
    sys.exit(main())
