"""Fingerprints of the whole picture over a clip, and the level of `feed_swap` that real clips give."""

from collections.abc import Iterable, Iterator, Sequence

from stream_detect.decode.frame import Frame
from stream_detect.errors import SourceError
from stream_detect.pipeline import Judge
from stream_detect.sources import open_source, read_frames
from stream_detect.temporal.fingerprint import picture_fingerprint
from stream_detect.temporal.swap import LOOKS_HZ, Prints, levels_of
from stream_detect.temporal.thresholds import Tail
from stream_detect.training.budget import Peak, excursions, fit_tail
from stream_detect.training.manifest import Item

FEWEST = 4  # fingerprints of a clip, with fewer of which it says nothing
Stream = list[tuple[float, Prints | None]]  # seconds and fingerprint


def prints_of(frames: Iterable[Frame], detector: Judge) -> Iterator[tuple[float, Prints | None]]:
    """The fingerprint of a frame every half second, away from the faces that are found in it."""
    due_s = 0.0
    for frame in frames:
        if frame.pts_s < due_s - 1e-6:
            continue
        due_s = frame.pts_s + 1 / LOOKS_HZ
        (faces,) = detector.find_faces([frame])
        boxes = [(float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in (face.box for face in faces)]
        yield frame.pts_s, picture_fingerprint(frame, boxes)


def swap_tail(streams: Sequence[tuple[str, Stream]]) -> Tail | None:
    """How often feeds that nobody swapped exceed a level; None where none of them has fingerprints.

    Args:
        streams: whose each is, and its fingerprints.
    """
    known = [(group, stream) for group, stream in streams if sum(one is not None for _, one in stream) >= FEWEST]
    hours = sum(stream[-1][0] for _, stream in known) / 3600
    if not hours:
        return None
    levels = [(group, levels_of([at for at, _ in stream], [one for _, one in stream])) for group, stream in known]
    return fit_tail([Peak(value, group) for group, some in levels for value in excursions(iter(some))], hours)


def swap_tail_of(clips: Sequence[Item], detector: Judge) -> Tail | None:
    """The same of real clips as they are; those that can't be read count for nothing."""
    streams = []
    for item in clips:
        try:
            streams.append((item.group, list(prints_of(read_frames(open_source(str(item.path))), detector))))
        except SourceError:
            continue
    return swap_tail(streams)
