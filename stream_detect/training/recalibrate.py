"""Move the limits of verdicts to a user's own cameras: so few real faces are called fake as the user asks for."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from stream_detect.decode.frame import Frame
from stream_detect.detector import Counted, Detector
from stream_detect.errors import ConfigError, SourceError
from stream_detect.fusion.fusion import disagreement
from stream_detect.scoring import logit
from stream_detect.sources import open_source, read_frames, read_picture
from stream_detect.temporal import Thresholds, probability_of
from stream_detect.training.alarms import AlarmSettings, learn_alerts
from stream_detect.training.budget import FEWEST_PEOPLE
from stream_detect.training.footage import Warn, base_weights, limits_of, own_footage, save_beside, spread, told_names
from stream_detect.training.limits import least_above
from stream_detect.training.manifest import Item
from stream_detect.training.metrics import upper_bound
from stream_detect.training.train import Tell
from stream_detect.types import FaceVerdict
from stream_detect.weights import Weights

NOTES = "CALIBRATED.md"
LOOKED_HZ = 3.0  # so many frames of a second of a clip are judged at most
FEWEST_GROUPS = 5  # people or files, fewer of which say nothing of others
LEAST_FAKE = 0.5  # no face is called fake that is more likely real
BATCH = 8  # frames that are judged together
OF_OTHER_LIMITS = ("false_positive_rate", "miss_rate", "found", "coverage")  # notes that hold for one limit alone


@dataclass(frozen=True, slots=True)
class CalibrateSettings:
    """Whose limits are moved, and on what."""

    out: Path  # the new weights go here
    real: tuple[Path, ...]  # folders of real footage
    false_positive_rate: float = 0.01  # share of judged real faces that may be called fake, in (0, 0.5)
    base: Path | None = None  # weights to start from; by default those that came with the package
    faces: int = 6000  # faces that are judged at most, spread evenly over files
    device: str = "auto"
    threads: int = 1  # CPU threads of each network
    alarms: AlarmSettings | None = field(default_factory=AlarmSettings)  # how alert levels are learned; None: not

    def __post_init__(self) -> None:
        if not 0 < self.false_positive_rate < 0.5:
            raise ConfigError(
                f"the false positive rate must lie between 0 and 0.5, got {self.false_positive_rate:g}; such as 0.01"
            )
        if self.faces < self.fewest_faces:
            raise ConfigError(
                f"at least {self.fewest_faces} faces are needed for a rate of {self.false_positive_rate:g}, "
                f"got {self.faces}; ask for more faces or a larger rate"
            )

    @property
    def fewest_faces(self) -> int:
        """With fewer, not one of them called fake would be no sign of so low a rate (the rule of three)."""
        return math.ceil(3 / self.false_positive_rate - 1e-9)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What a detector says of real faces."""

    llr: np.ndarray  # (faces,)
    doubt: np.ndarray  # (faces,) how much experts contradict one another, in [0, 1]
    groups: np.ndarray  # (faces,) whose each is: a person, else a file

    @property
    def chance(self) -> np.ndarray:
        """(faces,) the probability of fake, as verdicts compare it with their limits."""
        return np.array([probability_of(llr) for llr in self.llr], np.float64)

    @property
    def weight(self) -> np.ndarray:
        """How much each face counts, summing to 1: every person or file the same."""
        _, member, counts = np.unique(self.groups, return_inverse=True, return_counts=True)
        shares: np.ndarray = 1 / (len(counts) * counts[member])
        return shares


@dataclass(frozen=True, slots=True)
class Outcome:
    """What limits make of judged real faces, every person or file counting the same."""

    limits: Mapping[str, float]
    called_fake: float  # share
    bound_95: float  # of that share among people or files like these (Clopper & Pearson over them)
    called_real: float  # share
    coverage: float  # share that is called either


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The same faces under the limits before and after."""

    asked: float
    groups: int  # people or files
    faces: int
    too_poor: int  # faces that were found and could not be judged
    before: Outcome
    after: Outcome
    found: float | None  # share of forged validation rows found at the limit before, if the weights say so
    alerts: Thresholds | None = None  # at which alerts are raised from now on; None: as before


def calibrate(settings: CalibrateSettings, tell: Tell = lambda *_: None, warn: Warn = lambda words: None) -> Calibrated:
    """Judge the footage, move the limits, write the weights with their notes.

    Args:
        settings: what to judge and which rate to reach.
        tell: hears how far it is.
        warn: hears of files that were left out.

    Raises:
        ConfigError: without real footage, or with too few judged faces, people or files for such a rate.
        WeightsError: if the weights to start from are missing or damaged.
        OutputError: if the folder can't be written, or the new weights would replace the old ones.
    """
    items = own_footage(settings.real)
    base = base_weights(settings.base, settings.out)
    chosen = [items[k] for k in spread([item.group for item in items], settings.faces)]
    with Detector(settings.device, base, threads=settings.threads) as detector:
        judged, too_poor = judge_all(chosen, detector, settings.faces, tell, warn)
        check_enough(judged, settings)
        alerts = alert_levels(items, detector, settings.alarms, tell, warn)
    before = limits_of(base)
    after = moved_limits(judged, before, settings.false_positive_rate)
    if after["fake"] > probability_of(float(base.fusion.limit[0])):
        warn("so many real faces look as forged as can be that no face will be called fake; see stream-detect train")
    found = base.operating.get("found")
    report = Calibrated(
        asked=settings.false_positive_rate,
        groups=len(np.unique(judged.groups)),
        faces=len(judged.llr),
        too_poor=too_poor,
        before=outcome(judged, before),
        after=outcome(judged, after),
        found=float(found) if isinstance(found, int | float) else None,
        alerts=alerts,
    )
    save_beside(calibrated_weights(base, report), settings.base, settings.out, {NOTES: notes_text(report)})
    return report


def alert_levels(
    items: Sequence[Item], detector: Detector, settings: AlarmSettings | None, tell: Tell, warn: Warn
) -> Thresholds | None:
    """Alert levels for the clips among the footage; None where they are not asked for or there are too few people."""
    if settings is None:
        return None
    people = {item.group for item in items if item.kind == "video"}
    if len(people) < FEWEST_PEOPLE:
        warn(f"alert levels stay as they are: they need clips of {FEWEST_PEOPLE} people or more, got {len(people)}")
        return None
    return learn_alerts(items, detector, settings, tell, warn)


def judge_all(items: Sequence[Item], detector: Detector, faces: int, tell: Tell, warn: Warn) -> tuple[Judged, int]:
    """What is said of every face of these files, and how many faces could not be judged."""
    said: list[tuple[FaceVerdict, str]] = []
    faceless: list[Path] = []
    for done, item in enumerate(items, start=1):
        try:
            found = list(verdicts_of(item, detector, max(1, faces // len(items))))
        except SourceError as error:
            warn(f"left out: {error}")
            continue
        finally:
            tell("judging", done, len(items), item.path.name)
        if not found:
            faceless.append(item.path)
        said += [(verdict, item.group) for verdict in found]
    if faceless:
        warn(f"no face in {told_names(faceless)} of {len(items)} files")
    usable = [(verdict, group) for verdict, group in said if verdict.llr is not None]
    return Judged(
        llr=np.array([verdict.llr for verdict, _ in usable], np.float64),
        doubt=doubts([verdict for verdict, _ in usable], detector.weights.fusion.experts),
        groups=np.array([group for _, group in usable], str),
    ), len(said) - len(usable)


def doubts(verdicts: Sequence[FaceVerdict], experts: Sequence[str]) -> np.ndarray:
    """How far the experts of the fusion contradict one another on each face, in [0, 1]."""
    said = [[np.nan if (p := one.experts.get(name)) is None else p for name in experts] for one in verdicts]
    return disagreement(np.stack([logit(np.array(row, np.float64)) for row in said])) if said else np.zeros(0)


def verdicts_of(item: Item, detector: Detector, most: int) -> Iterator[FaceVerdict]:
    """The verdicts on all faces of a picture, or of about `most` frames spread evenly over a clip.

    Raises:
        SourceError: if the file can't be read.
    """
    if item.kind == "image":
        picture = read_picture(item.path)
        yield from verdicts_on([picture], detector, max_side=1280)
        return
    batch: list[Frame] = []
    for frame in Counted(rate_for(item.path, most)).evenly(read_frames(open_source(str(item.path)))):
        batch.append(frame)
        if len(batch) == BATCH:
            yield from verdicts_on(batch, detector)
            batch = []
    if batch:
        yield from verdicts_on(batch, detector)


def verdicts_on(frames: Sequence[Frame], detector: Detector, max_side: int = 640) -> list[FaceVerdict]:
    found = detector.find_faces(frames, max_side)
    return [verdict for said in detector.judge(list(zip(frames, found, strict=True))) for verdict in said]


def rate_for(path: Path, most: int) -> float:
    """How many frames a second give about `most` of a clip; all of it is read once to know how long it is."""
    last_s = max((frame.pts_s for frame in read_frames(open_source(str(path)))), default=0.0)
    return min(LOOKED_HZ, most / max(last_s, 1e-3))


def check_enough(judged: Judged, settings: CalibrateSettings) -> None:
    """Raise ConfigError if so few faces, people or files can't show the rate that is asked for."""
    faces, groups = len(judged.llr), len(np.unique(judged.groups))
    if not faces:
        raise ConfigError(
            "no face in the footage could be judged; expected faces of 40 pixels or more, not too blurred"
        )
    if faces < settings.fewest_faces:
        raise ConfigError(
            f"too few faces: a rate of {settings.false_positive_rate:g} needs {settings.fewest_faces} or more that can "
            f"be judged, got {faces}; give more footage or ask for a larger rate"
        )
    if groups < FEWEST_GROUPS:
        raise ConfigError(
            f"too few people: expected {FEWEST_GROUPS} or more people or files, got {groups}; "
            "give one folder of pictures or one clip a person"
        )


def moved_limits(judged: Judged, limits: Mapping[str, float], rate: float) -> dict[str, float]:
    """The lowest limit "fake", 0.5 at least, that at most this share of the faces reaches; "real" is at most that."""
    is_sure = judged.doubt <= limits["disagreement"]  # where experts contradict one another nothing is called fake
    reached = least_above(np.where(is_sure, judged.chance, -1.0), judged.weight, rate)
    fake = min(max(reached, LEAST_FAKE), 1.0)
    return {**limits, "fake": fake, "real": min(limits["real"], fake)}


def outcome(judged: Judged, limits: Mapping[str, float]) -> Outcome:
    """What these limits make of the faces."""
    weight, is_sure = judged.weight, judged.doubt <= limits["disagreement"]
    fake = is_sure & (judged.chance >= limits["fake"])
    real = is_sure & (judged.chance <= limits["real"]) & ~fake
    groups, share = len(np.unique(judged.groups)), float(weight[fake].sum())
    return Outcome(
        limits=limits,
        called_fake=share,
        bound_95=upper_bound(math.ceil(groups * share - 1e-9), groups),
        called_real=float(weight[real].sum()),
        coverage=float(weight[fake | real].sum()),
    )


def calibrated_weights(base: Weights, report: Calibrated) -> Weights:
    """The base with other limits; notes that hold for its own limits alone are marked as such."""
    limits = report.after.limits
    is_moved = limits["fake"] != report.before.limits["fake"]
    kept = {
        f"before_{name}" if is_moved and name in OF_OTHER_LIMITS else name: note
        for name, note in base.operating.items()
    }
    told = {
        "calibrated_rate": report.asked,
        "calibrated_called_fake": round(report.after.called_fake, 4),
        "calibrated_bound_95": round(report.after.bound_95, 4),
        "calibrated_people": report.groups,
        "calibrated_faces": report.faces,
    }
    return replace(
        base,
        thresholds={**base.thresholds, "fake": limits["fake"], "real": limits["real"]},
        operating={**kept, "fake": limits["fake"], "real": limits["real"], **told},
        alerts=base.alerts if report.alerts is None else report.alerts,
        data=f"{base.data}; limits moved to {report.faces} faces of {report.groups} people or files of the user's own",
        digest="",
    )


def notes_text(report: Calibrated) -> str:
    """What was moved to what, and the figures before and after, for a person."""
    parts = (summary(report), figures_text(report), found_words(report), alert_words(report), CAUTION)
    return "\n\n".join(["# Calibrated weights", *parts]) + "\n"


CAUTION = (
    "The limits were chosen on the same faces that these shares are of: on other days and cameras expect more, up to "
    "the bound and beyond it. They are of single faces; how many false alarms `watch` may raise is set by "
    "`false_alarms_per_hour` under [decision] in a configuration file."
)


def alert_words(report: Calibrated) -> str:
    """What stands behind the alert levels, and what that can't show."""
    if report.alerts is None:
        return "Alert levels stay as they were."
    basis = report.alerts.basis
    return (
        f"Alert levels were fitted to {basis.minutes:.1f} minutes of {basis.identities} people, replayed as "
        f"{basis.hours_replayed:.2f} hours. Levels that were fitted without them raised {basis.alarms} alarms on these "
        f"people. The budget of {basis.false_alarms_per_hour:g} false alarms an hour is read from the prolonged tail "
        f"of what was counted: so much footage alone bounds their number by {basis.bound_95_per_hour:.3g} an hour "
        "(95 %, Poisson), no lower."
    )


def summary(report: Calibrated) -> str:
    """One sentence: on what, and what was asked for."""
    return (
        f"{report.faces} real faces of {report.groups} people or files were judged, {report.too_poor} more were too "
        f"poor; at most {report.asked:.3g} of them may be called fake, every person or file counting the same."
    )


def figures_text(report: Calibrated) -> str:
    """A table of limits and shares before and after, in Markdown."""
    pair = (report.before, report.after)
    rows = {
        "limit: fake": [one.limits["fake"] for one in pair],
        "limit: real": [one.limits["real"] for one in pair],
        "real faces called fake": [one.called_fake for one in pair],
        "the same among all such people, at most (95 %)": [one.bound_95 for one in pair],
        "real faces called real": [one.called_real for one in pair],
        "faces called fake or real": [one.coverage for one in pair],
    }
    lines = [f"| {words} | {old:.4f} | {new:.4f} |" for words, (old, new) in rows.items()]
    return "\n".join(["| | before | after |", "|---|---|---|", *lines])


def found_words(report: Calibrated) -> str:
    """What is known of the forgeries that are still found."""
    if report.found is None:
        return "How many forgeries are still found isn't known: the weights don't say how many they found before."
    old, new = report.before.limits["fake"], report.after.limits["fake"]
    share = f"{report.found:.3f} of the forged faces that the weights were validated on"
    if new == old:
        return f"{share} are called fake, as before."
    return f"{share} were called fake before; now it is {'at most' if new > old else 'at least'} as many."
