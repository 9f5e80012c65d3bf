"""The robustness suite's pictures and what the detector says of each: forged, sent through the channels, judged."""

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.forgeries_unseen import UNSEEN
from benchmarks.robustness_people import People
from stream_detect.decode.frame import Frame
from stream_detect.detector import Detector
from stream_detect.experts.table import Expert
from stream_detect.scoring import LOGIT_LIMIT
from stream_detect.training.channel.degradation import Degradation
from stream_detect.training.degrade import CHANNELS
from stream_detect.training.evaluate import official_mesonet
from stream_detect.training.forgeries import FAMILIES, Family, Footage, Forged, face_side
from stream_detect.training.looks import Look, Recorder
from stream_detect.training.scenes import Scene
from stream_detect.types import Face, FaceCrops
from stream_detect.weights import Weights

SOUGHT_PX = (
    320  # faces are sought on copies whose longer side is at most this: a face is then as large as in a live frame
)
LEAST_IOU = 0.3  # of a found face with where the face must be
MESONET = "official MesoNet"
PLAIN = -1  # the family of a scene's own picture
# The families of the suite, and which of training's each stands for; the last four are the test-only ones.
SUITE: dict[str, tuple[str, ...]] = {
    "self_blend": ("self_blend",),
    "swap": ("swap",),
    "low_res_swap": ("low_res_swap",),
    "reenact": ("reenact",),
    "mouth_or_eyes": ("mouth", "eyes"),
    "resynth": ("resynth_transposed", "resynth_nearest", "resynth_bilinear", "resynth_shuffle"),
    **{name: (name,) for name in UNSEEN},
}


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """A row for every picture that came out of a channel, real or forged."""

    families: tuple[str, ...]
    channels: tuple[str, ...]
    experts: tuple[str, ...]
    people: tuple[str, ...]
    face: np.ndarray  # (rows,) int: which real face it is or was made of
    person: np.ndarray  # (rows,) int into `people`
    family: np.ndarray  # (rows,) int into `families`; of a real one that which needed it so, or `PLAIN`
    channel: np.ndarray  # (rows,) int into `channels`
    is_fake: np.ndarray  # (rows,) bool
    partner: np.ndarray  # (rows,) int: the row of the real picture beside it in the same channel; its own if real
    face_px: np.ndarray  # (rows,) float: side of the face's box after the channel
    is_found: np.ndarray  # (rows,) bool: the face finder found the face in the real partner's frame
    llr: np.ndarray  # (rows,) float, NaN where the detector did not judge
    is_called_fake: np.ndarray  # (rows,) bool: the verdict at the weights' thresholds
    is_decided: np.ndarray  # (rows,) bool: the verdict is fake or real, not inconclusive
    said: Mapping[str, np.ndarray]  # expert, or other detector -> (rows,) logit of what it reports, NaN where nothing
    looks: tuple[Look | None, ...]  # what the experts said and saw, None where no face was found
    cost_ms: Mapping[str, float]  # expert -> processor time a face

    def __len__(self) -> int:
        return len(self.llr)

    @property
    def is_judged(self) -> np.ndarray:
        return np.asarray(np.isfinite(self.llr))

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """What is compared: the fusion, each expert, and official MesoNet if it was asked."""
        return {"fused": self.llr, **self.said}


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A picture that goes through the channels."""

    rgb: np.ndarray
    family: int
    is_fake: bool
    partner: int  # its real partner among the pictures shown with it


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One picture after one channel; `partner` counts from the first row of its face."""

    face: int
    family: int
    channel: int
    is_fake: bool
    partner: int
    seen: Face
    look: Look | None


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """All rows of one face, and what they cost: expert -> seconds and faces."""

    rows: list[Row]
    spent: Mapping[str, tuple[float, int]]


def score(
    people: People,
    detector: Detector,
    official: Path | None,
    seed: int,
    tell: Callable[[int, int], None] = lambda *_: None,
    jobs: int = 1,
) -> Scores:
    """Forge every face in every way, send it and its forgeries through every channel, judge what comes out.

    The detector's experts look one after the other, in one thread; with several jobs, in as many processes. The
    figures are the same.
    """
    parts = []
    with contextlib.closing(parts_of(people, detector, official, seed, jobs)) as done:
        for number, part in enumerate(done, start=1):
            parts.append(part)
            tell(number, len(people))
    return scores_of(people, tuple(detector.experts), (MESONET,) if official else (), parts)


def parts_of(
    people: People, detector: Detector, official: Path | None, seed: int, jobs: int
) -> Generator[Part, None, None]:
    """The rows of each face, in order."""
    if jobs == 1:
        detector.close()
        with Judge(people, detector, official, seed) as judge:
            yield from map(judge, range(len(people)))
        return
    start = (people, detector.weights, list(detector.experts), official, seed)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=start_worker, initargs=start) as pool:
        yield from pool.map(judge_in_worker, range(len(people)))


def start_worker(people: People, weights: Weights, experts: list[str], official: Path | None, seed: int) -> None:
    """Make the judge that this process keeps until it ends."""
    import cv2

    cv2.setNumThreads(1)
    detector = Detector("cpu", weights, experts)
    detector.close()
    worker["judge"] = contextlib.ExitStack().enter_context(Judge(people, detector, official, seed))


def judge_in_worker(index: int) -> Part:
    return worker["judge"](index)


class Judge:
    """Makes the rows of one face after another; a context manager, during which it listens to the detector."""

    def __init__(self, people: People, detector: Detector, official: Path | None, seed: int) -> None:
        self._people, self._detector, self._seed = people, detector, seed
        self._own = dict(detector.experts)
        self._clocks = {name: Clock(expert) for name, expert in self._own.items()}
        self._recorder = Recorder(detector, {MESONET: official_mesonet(official)} if official else {})
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Judge":
        self._stack.callback(self._detector.experts.update, self._own)
        self._detector.experts.update({name: clock.expert for name, clock in self._clocks.items()})
        self._stack.enter_context(self._recorder.listening())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(self, index: int) -> Part:
        scene, rows = self._people.faces[index].scene, list[Row]()
        shown = forged_pictures(self._people, index, self._seed)
        for number, channel in enumerate(CHANNELS.values()):
            sent = channel(np.random.default_rng([self._seed, 2, index, number]), face_side(scene.face))
            first = len(rows)
            for one, (face, look) in zip(
                shown, judged(scene, shown, sent, self._detector, self._recorder), strict=True
            ):
                rows.append(Row(index, one.family, number, one.is_fake, first + one.partner, face, look))
        return Part(rows, {name: clock.take() for name, clock in self._clocks.items()})


worker: dict[str, Judge] = {}  # of this process, where it is one of several


class Clock:
    """An expert whose processor time is taken."""

    def __init__(self, expert: Expert) -> None:
        self.spent_s, self.faces = 0.0, 0

        def extract(crops: FaceCrops) -> np.ndarray:
            started_s = time.thread_time()
            features = expert.extract(crops)
            self.spent_s += time.thread_time() - started_s
            self.faces += len(crops)
            return features

        self.expert = replace(expert, extract=extract)

    def take(self) -> tuple[float, int]:
        """Seconds, and for how many faces, since the last time."""
        taken, self.spent_s, self.faces = (self.spent_s, self.faces), 0.0, 0
        return taken


def forged_pictures(people: People, index: int, seed: int) -> list[Shown]:
    """A scene's own picture, its forgery by every family that allows one, and other real partners that these need."""
    footage = people.footage(index)
    shown = [Shown(footage.scene.rgb, PLAIN, False, 0)]
    for number, names in enumerate(SUITE.values()):
        forged = forged_by(names, footage, np.random.default_rng([seed, 1, index, number]))
        if forged is None:
            continue
        partner = 0
        if forged.real is not footage.scene.rgb and not np.array_equal(forged.real, footage.scene.rgb):
            partner = len(shown)
            shown.append(Shown(forged.real, number, False, partner))
        shown.append(Shown(forged.fake, number, True, partner))
    return shown


def forged_by(names: Sequence[str], footage: Footage, rng: np.random.Generator) -> Forged | None:
    """By one of these families, in random order: the first that this footage allows."""
    for k in rng.permutation(len(names)):
        if (forged := family(names[k]).forge(footage, rng)) is not None:
            return forged
    return None


def family(name: str) -> Family:
    return UNSEEN[name] if name in UNSEEN else FAMILIES[name]


def judged(
    scene: Scene, shown: Sequence[Shown], sent: Degradation, detector: Detector, recorder: Recorder
) -> list[tuple[Face, Look | None]]:
    """For each picture after the channel: the face in its real partner's frame, and what is said of it there.

    Where the face finder loses the face nothing is judged; the face is then where it must be.
    """
    frames = [sent(one.rgb) for one in shown]
    expected = face_after(scene, sent)
    reals = sorted({one.partner for one in shown})
    sought = detector.find_faces([frames[k] for k in reals], SOUGHT_PX)
    found = {k: nearest(faces, expected) for k, faces in zip(reals, sought, strict=True)}
    seen = [(frame, found[one.partner]) for frame, one in zip(frames, shown, strict=True)]
    given: list[tuple[Frame, list[Face]]] = [(frame, [face]) for frame, face in seen if face is not None]
    recorder.take()
    if given:
        detector.judge(given)
    looks = iter(recorder.take())
    return [(expected, None) if face is None else (face, next(looks)) for _, face in seen]


def face_after(scene: Scene, sent: Degradation) -> Face:
    """Where the channel puts a scene's face."""
    height, width = scene.rgb.shape[:2]
    box = sent.place(scene.face.box.reshape(2, 2).astype(np.float64), height, width).reshape(4)
    landmarks = sent.place(scene.face.landmarks.astype(np.float64), height, width)
    return Face(box.astype(np.float32), landmarks.astype(np.float32), 1.0)


def nearest(faces: Sequence[Face], expected: Face) -> Face | None:
    best = max(faces, key=lambda face: overlap(face.box, expected.box), default=None)
    return best if best is not None and overlap(best.box, expected.box) >= LEAST_IOU else None


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    areas = float(np.prod(a[2:] - a[:2])) + float(np.prod(b[2:] - b[:2]))
    return shared / max(areas - shared, 1e-9)


def scores_of(people: People, experts: tuple[str, ...], beside: tuple[str, ...], parts: Sequence[Part]) -> Scores:
    """All rows as columns."""
    rows = [row for part in parts for row in part.rows]
    starts = np.cumsum([0, *(len(part.rows) for part in parts)])
    partner = [int(start) + row.partner for start, part in zip(starts[:-1], parts, strict=True) for row in part.rows]
    groups = tuple(dict.fromkeys(people.groups))
    member = np.array([groups.index(group) for group in people.groups])
    face = np.array([row.face for row in rows], np.int64)
    looks = tuple(row.look for row in rows)
    verdicts = [look.verdict if look else None for look in looks]
    said = {name: np.array([reported(look, name) for look in looks]) for name in experts}
    others = {name: np.array([look.beside.get(name, np.nan) if look else np.nan for look in looks]) for name in beside}
    return Scores(
        families=tuple(SUITE),
        channels=tuple(CHANNELS),
        experts=experts,
        people=groups,
        face=face,
        person=member[face],
        family=np.array([row.family for row in rows], np.int64),
        channel=np.array([row.channel for row in rows], np.int64),
        is_fake=np.array([row.is_fake for row in rows], bool),
        partner=np.array(partner, np.int64),
        face_px=np.array([face_side(row.seen) for row in rows]),
        is_found=np.array([look is not None for look in looks]),
        llr=np.array([np.nan if v is None or v.llr is None else v.llr for v in verdicts], np.float64),
        is_called_fake=np.array([v is not None and v.verdict == "fake" for v in verdicts]),
        is_decided=np.array([v is not None and v.verdict != "inconclusive" for v in verdicts]),
        said=said | others,
        looks=looks,
        cost_ms={name: cost([part.spent[name] for part in parts]) for name in experts},
    )


def cost(spent: Sequence[tuple[float, int]]) -> float:
    """Milliseconds a face."""
    return 1000 * sum(s for s, _ in spent) / max(sum(faces for _, faces in spent), 1)


def reported(look: Look | None, expert: str) -> float:
    """The logit of the probability that an expert reports; NaN where it says nothing."""
    probability = None if look is None else look.verdict.experts.get(expert)
    if probability is None:
        return float("nan")
    with np.errstate(divide="ignore"):
        return float(np.clip(np.log(probability) - np.log1p(-probability), -LOGIT_LIMIT, LOGIT_LIMIT))


def contact_sheet(people: People, seed: int, faces: int = 8, side_px: int = 192) -> np.ndarray:
    """A row a face: the real one, then one forgery a family; gray where a family allows none."""
    import cv2

    rows = []
    for index in range(min(faces, len(people))):
        scene, shown = people.faces[index].scene, forged_pictures(people, index, seed)
        fakes = {one.family: one.rgb for one in shown if one.is_fake}
        blank = np.full_like(scene.rgb, 128)
        pictures = [scene.rgb, *(fakes.get(number, blank) for number in range(len(SUITE)))]
        window = tuple(middle(scene))
        cut = [picture[window] for picture in pictures]
        rows.append(np.hstack([cv2.resize(one, (side_px, side_px), interpolation=cv2.INTER_AREA) for one in cut]))
    return np.vstack(rows)


def middle(scene: Scene) -> Iterator[slice]:
    """Rows and columns of the square around a face, as far as the scene goes."""
    x1, y1, x2, y2 = (float(side) for side in scene.face.box)
    half = 0.75 * max(x2 - x1, y2 - y1)
    for center in ((y1 + y2) / 2, (x1 + x2) / 2):
        yield slice(max(0, round(center - half)), round(center + half))
