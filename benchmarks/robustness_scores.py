"""The robustness suite's pictures and what the detector says of each: forged, sent through the channels, judged."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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


def score(
    people: People,
    detector: Detector,
    official: Path | None,
    seed: int,
    tell: Callable[[int, int], None] = lambda *_: None,
) -> Scores:
    """Forge every face in every way, send it and its forgeries through every channel, judge what comes out.

    The detector's experts look one after the other, in this thread.
    """
    detector.close()
    beside = {MESONET: official_mesonet(official)} if official else {}
    table = Table(people, tuple(detector.experts), tuple(beside))
    clocks = {name: Clock(expert) for name, expert in detector.experts.items()}
    own = dict(detector.experts)
    detector.experts.update({name: clock.expert for name, clock in clocks.items()})
    try:
        with Recorder(detector, beside).listening() as recorder:
            for index in range(len(people)):
                shown = forged_pictures(people, index, seed)
                for number, channel in enumerate(CHANNELS.values()):
                    rng = np.random.default_rng([seed, 2, index, number])
                    scene = people.faces[index].scene
                    sent = channel(rng, face_side(scene.face))
                    table.add(index, number, shown, judged(scene, shown, sent, detector, recorder))
                tell(index + 1, len(people))
    finally:
        detector.experts.update(own)
    return table.scores({name: clock.ms_a_face for name, clock in clocks.items()})


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

    @property
    def ms_a_face(self) -> float:
        return 1000 * self.spent_s / self.faces if self.faces else float("nan")


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


class Table:
    """Collects the rows."""

    def __init__(self, people: People, experts: tuple[str, ...], beside: tuple[str, ...]) -> None:
        self.people = tuple(dict.fromkeys(people.groups))
        self.person = [self.people.index(group) for group in people.groups]
        self.experts, self.beside = experts, beside
        self.rows: list[tuple[int, int, int, int, bool, int, Face]] = []
        self.looks: list[Look | None] = []

    def add(self, index: int, channel: int, shown: Sequence[Shown], seen: Sequence[tuple[Face, Look | None]]) -> None:
        first = len(self.rows)
        for one, (face, look) in zip(shown, seen, strict=True):
            partner = first + one.partner
            self.rows.append((index, self.person[index], one.family, channel, one.is_fake, partner, face))
            self.looks.append(look)

    def scores(self, cost_ms: Mapping[str, float]) -> Scores:
        face, person, number, channel, is_fake, partner, faces = (
            np.array(c, object) for c in zip(*self.rows, strict=True)
        )
        verdicts = [look.verdict if look else None for look in self.looks]
        llr = [np.nan if v is None or v.llr is None else v.llr for v in verdicts]
        said = {name: np.array([reported(look, name) for look in self.looks]) for name in self.experts}
        said |= {
            name: np.array([np.nan if look is None else look.beside.get(name, np.nan) for look in self.looks])
            for name in self.beside
        }
        return Scores(
            families=tuple(SUITE),
            channels=tuple(CHANNELS),
            experts=self.experts,
            people=self.people,
            face=face.astype(np.int64),
            person=person.astype(np.int64),
            family=number.astype(np.int64),
            channel=channel.astype(np.int64),
            is_fake=is_fake.astype(bool),
            partner=partner.astype(np.int64),
            face_px=np.array([face_side(one) for one in faces]),
            is_found=np.array([look is not None for look in self.looks]),
            llr=np.array(llr, np.float64),
            is_called_fake=np.array([v is not None and v.verdict == "fake" for v in verdicts]),
            is_decided=np.array([v is not None and v.verdict != "inconclusive" for v in verdicts]),
            said=said,
            looks=tuple(self.looks),
            cost_ms=cost_ms,
        )


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
