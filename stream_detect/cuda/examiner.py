"""The examiner of a GPU: found, cut, measured and judged there; only scores and boxes come to the host.

A batch of faces, of any frames and feeds, is one queue of work without a wait: crops, fingerprints, networks, heads,
then one copy and one event.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, TypeVar, final

import numpy as np

from stream_detect.cuda.crops import cut_faces, room_for
from stream_detect.cuda.faces import MOST_PICTURES, DeviceFinder
from stream_detect.cuda.faults import faults_told, is_out_of_memory
from stream_detect.cuda.fingerprints import DeviceHeads, HeldRfft2, color_features, spectrum_features
from stream_detect.cuda.networks import MOST_FACES, SHIPPED, DeviceNetworks, Precision, bucket_of
from stream_detect.cuda.quality import quality_measures
from stream_detect.cuda.residual import residual_features
from stream_detect.cuda.stream import CudaLane, Lane
from stream_detect.cuda.transfers import Transfers
from stream_detect.decode.frame import Frame
from stream_detect.errors import DeviceLost
from stream_detect.examiner import Examined, Examiner, Seen, spread
from stream_detect.experts.table import EXPERTS
from stream_detect.fusion.quality import QUALITY_NAMES, QualityLimits, quality_reasons
from stream_detect.types import Face
from stream_detect.weights import Weights

LAYOUTS = ("nv12", "yuv420")  # that the kernels read
T = TypeVar("T")
Pairs = list[tuple[Frame, Face]]
log = logging.getLogger("stream_detect")


@final
class CudaExaminer:
    """A GPU's examiner, for one thread at a time; an `Examiner`.

    Frames of layout "nv12" or "yuv420" that lie on the host are copied to the device, each once. Frames of other
    layouts, and experts of other packages, go to the CPU's examiner.

    Args:
        weights: heads and networks.
        names: of the experts.
        limits: faces beyond these are not judged.
        on_host: makes the CPU's examiner, with the named experts; asked for when it is needed.
        device: "cuda:N".
        precision: of the networks' arithmetic.
        lane: the device to work on, by default that GPU.

    Raises:
        DeviceLost: if the GPU can't be used.
        ValueError: if the heads know different kinds of forgery.
    """

    def __init__(
        self,
        weights: Weights,
        names: Sequence[str],
        limits: QualityLimits,
        on_host: Callable[[Sequence[str]], Examiner],
        device: str = "cuda:0",
        precision: Precision = SHIPPED,
        lane: Lane | None = None,
    ) -> None:
        self._weights, self._precision = weights, precision
        self._names, self._limits = tuple(names), limits
        self._ours = [name for name in names if name in EXPERTS]
        self._theirs = [name for name in names if name not in EXPERTS]
        self._make_on_host = on_host
        self._hosts: dict[tuple[str, ...], Examiner] = {}
        self._most = {"faces": MOST_FACES, "pictures": MOST_PICTURES}
        self._has_told = False  # that a batch was too large
        with faults_told(device):
            self._lane: Lane = CudaLane(int(device.removeprefix("cuda:"))) if lane is None else lane
            self.transfers = Transfers(self._lane.bench.xp, self._lane.landing)
            self._uploads = Uploads(self._lane.bench.xp)
            with self._lane.current():
                self._finder = DeviceFinder(self._lane, self.transfers)
        self._desk: Desk | None = None  # made for the first faces

    @property
    def decode_device(self) -> str:
        return self._lane.name

    @property
    def launches(self) -> Counter[str]:
        """Of each kernel, since it was made."""
        return self._lane.bench.launches

    def close(self) -> None:
        for examiner in self._hosts.values():
            examiner.close()

    def find_faces(self, frames: Sequence[Frame], max_side: int = 640) -> list[list[Face]]:
        """The faces of each frame, sought on copies whose longer side is at most `max_side` pixels.

        Raises:
            DeviceLost: if the device fails.
        """
        self._uploads.forget()
        found: dict[int, list[Face]] = {}
        ours, others = by_layout(frames)
        for rows, said in self._in_parts(
            "pictures", ours, lambda rows: self._finder.find([self._uploads.placed(frames[k]) for k in rows], max_side)
        ):
            found.update(zip(rows, said, strict=True))
        if others:
            said = self._host(self._names).find_faces([frames[k].on_host() for k in others], max_side)
            found.update(zip(others, said, strict=True))
        return [found[k] for k in range(len(frames))]

    def examine(self, seen: Seen) -> Examined:
        """All faces go through every expert, at most 64 in a batch.

        Raises:
            DeviceLost: if the device fails.
        """
        pairs = [(frame, face) for frame, faces in seen for face in faces]
        ours, others = by_layout([frame for frame, _ in pairs])
        whole = Together(len(pairs))
        for rows, said in self._in_parts("faces", ours, lambda rows: self._judged([pairs[k] for k in rows])):
            whole.put(rows, said)
        for rows, names in ((others, self._names), (ours, tuple(self._theirs))):
            if rows and names:
                some = [(pairs[k][0].on_host(), (pairs[k][1],)) for k in rows]
                whole.put(rows, self._host(names).examine(some))
        self._uploads.forget()
        return whole.examined(self._names)

    def _judged(self, pairs: Pairs) -> Examined:
        """The numbers of a batch that there is memory for."""
        if self._desk is None:
            self._desk = Desk(self._lane, self._weights, self._ours, self._most["faces"], self._precision)
        desk = self._desk
        placed = [(self._uploads.placed(frame), face) for frame, face in pairs]
        logits, measures = self.transfers.bring(*desk.judged(in_frames(placed)))
        usable = np.flatnonzero([not some for some in quality_reasons(measures, self._limits)])
        said = {name: spread(logits[usable, k], usable, len(logits)) for k, name in enumerate(desk.names)}
        return Examined(measures, said)

    def _in_parts(
        self, what: str, rows: Sequence[int], work: Callable[[list[int]], T]
    ) -> Iterator[tuple[list[int], T]]:
        """`work` on as many rows at once as there is memory for; batches that were too large are done in halves."""
        left = list(rows)
        while left:
            part = left[: self._most[what]]
            done = self._tried(lambda: work(part))  # noqa: B023  (called at once)
            if done is None:
                self._halve(what, len(part))
                continue
            left = left[len(part) :]
            yield part, done

    def _tried(self, work: Callable[[], T]) -> T | None:
        """What `work` gives; None where the device has no memory for it."""
        try:
            with faults_told(self._lane.name), self._lane.current():
                return work()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        return None

    def _halve(self, what: str, number: int) -> None:
        """From now on at most half of what was too much; all that was made for it is let go."""
        if number == 1:
            raise DeviceLost(f"{self._lane.name} has no memory left for {what}, not even one at a time")
        self._most[what] = bucket_of(number) // 2
        self._desk = None
        self._finder.forget()
        self._lane.release()
        if not self._has_told:
            self._has_told = True
            log.warning(
                "%s has no memory for %d %s at once; from now on it gets %d or, if need be, fewer",
                *(self._lane.name, number, what, self._most[what]),
            )

    def _host(self, names: tuple[str, ...]) -> Examiner:
        if names not in self._hosts:
            self._hosts[names] = self._make_on_host(names)
        return self._hosts[names]


@final
class Desk:
    """Where a batch of faces is worked on: room for their crops, and what was made for it.

    Args:
        lane: where it stands.
        weights: heads and networks.
        names: of the experts.
        most: faces at once.
        precision: of the networks.
    """

    def __init__(self, lane: Lane, weights: Weights, names: Sequence[str], most: int, precision: Precision) -> None:
        self.names = tuple(names)
        self._bench, self._most = lane.bench, most
        self._room = room_for(lane.bench, most)
        self._room.tiles[...] = 0  # rows that no face has filled yet go through FFT and networks too
        self._room.network[...] = 0
        self._rfft2 = HeldRfft2(lane.bench.xp)
        self._heads = DeviceHeads(lane.bench, {name: weights.heads[name] for name in names})
        networks = {name: given for name, given in weights.networks.items() if name in names}
        self._networks = DeviceNetworks(lane, networks, self._room.network, precision)

    def judged(self, seen: Seen) -> tuple[Any, Any]:
        """Logits (faces, experts, kinds) and quality measures (faces, 8) of up to `most` faces, on the device."""
        crops = cut_faces(self._bench, seen, self._room)
        faces = len(crops)
        measures = quality_measures(self._bench, crops.tiles, crops.face_px, crops.around_share)
        features = self._fingerprints(crops.tiles, crops.pixels, faces) | self._networks(faces)
        return self._heads({name: features[name] for name in self.names}), measures

    def _fingerprints(self, tiles: Any, pixels: Any, faces: int) -> dict[str, Any]:
        features = {}
        if "spectrum" in self.names:
            whole = self._room.tiles[: min(bucket_of(faces), self._most)]  # as many as FFT plans are held for
            features["spectrum"] = spectrum_features(self._bench, whole, self._rfft2)[:faces]
        if "residual" in self.names:
            features["residual"] = residual_features(self._bench, tiles)
        if "color" in self.names:
            features["color"] = color_features(self._bench, pixels)
        return features


@final
class Uploads:
    """Frames that were decoded on the host, copied to the device once a batch."""

    def __init__(self, xp: Any) -> None:
        self._xp = xp
        self._placed: dict[int, tuple[Frame, Frame]] = {}  # by the frame's id; it is kept, so that the id stays its own

    def placed(self, frame: Frame) -> Frame:
        """The frame with its planes on the current device."""
        if id(frame) not in self._placed:
            planes = tuple(self._plane(plane) for plane in frame.planes)
            is_there = all(ours is theirs for ours, theirs in zip(planes, frame.planes, strict=True))
            self._placed[id(frame)] = (frame, frame if is_there else replace(frame, planes=planes))
        return self._placed[id(frame)][1]

    def forget(self) -> None:
        self._placed.clear()

    def _plane(self, plane: Any) -> Any:
        is_host = isinstance(plane, np.ndarray) and self._xp is not np
        return self._xp.asarray(np.ascontiguousarray(plane) if is_host else plane)


@final
class Together:
    """The numbers of a batch that came in parts."""

    def __init__(self, faces: int) -> None:
        self._measures = np.zeros((faces, len(QUALITY_NAMES)), np.float32)
        self._logits: dict[str, np.ndarray] = {}

    def put(self, rows: Sequence[int], part: Examined) -> None:
        self._measures[rows] = part.measures
        for name, logits in part.logits.items():
            nothing = np.full((len(self._measures), logits.shape[1]), np.nan, np.float32)
            self._logits.setdefault(name, nothing)[rows] = logits

    def examined(self, names: Sequence[str]) -> Examined:
        return Examined(self._measures, {name: self._logits[name] for name in names if name in self._logits})


def by_layout(frames: Sequence[Frame]) -> tuple[list[int], list[int]]:
    """Which frames the kernels read, and which they don't."""
    ours = [k for k, frame in enumerate(frames) if frame.layout in LAYOUTS]
    return ours, [k for k, frame in enumerate(frames) if frame.layout not in LAYOUTS]


def in_frames(pairs: Pairs) -> list[tuple[Frame, list[Face]]]:
    """Faces that follow each other and share a frame, together."""
    groups = (list(group) for _, group in groupby(pairs, key=lambda pair: id(pair[0])))
    return [(group[0][0], [face for _, face in group]) for group in groups]
