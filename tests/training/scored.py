"""Made-up scored files: figures can be worked out without a detector, a picture or a clip."""

from pathlib import Path

import numpy as np

from stream_detect.fusion.quality import QUALITY_NAMES
from stream_detect.temporal import probability_of
from stream_detect.training.facts import FileFacts
from stream_detect.training.looks import Look, Scored
from stream_detect.training.manifest import Item
from stream_detect.types import FaceVerdict, Score, Verdict

EXPERTS = ("spectrum", "residual")
FACTS = FileFacts(256, 256, "h264", 25.0, 0.1)
MISSING = float("nan")


def verdict_of(llr: float) -> Verdict:
    """Fake from 0.8, real up to 0.35."""
    probability = probability_of(llr)
    return "fake" if probability >= 0.8 else "real" if probability <= 0.35 else "inconclusive"


def made_look(llr: float = 0.0, pts_s: float = 0.0, side: float = 100.0, track: int | None = None) -> Look:
    """A face of so many pixels of which both experts say the same; NaN: one that was not judged."""
    is_judged = bool(np.isfinite(llr))
    probability = probability_of(llr) if is_judged else None
    verdict = FaceVerdict(
        track=track,
        box=(0.0, 0.0, side, side),
        fake_probability=probability,
        llr=llr if is_judged else None,
        track_probability=None,
        verdict=verdict_of(llr) if is_judged else "inconclusive",
        reasons=() if is_judged else ("small_face",),
        experts=dict.fromkeys(EXPERTS, probability),
        quality=1.0,
    )
    if not is_judged:
        return Look(pts_s, verdict, turn=0.05)
    logits = {name: np.array(llr, np.float32) for name in EXPERTS}
    measures = np.full(len(QUALITY_NAMES), 0.3, np.float32)
    return Look(pts_s, verdict, 0.05, logits, {"official Meso4_DF": -llr}, measures)


def made_file(name: str, is_fake: bool, *looks: Look, source: str = "calls", identity: str = "") -> Scored:
    """A still of one look, or a clip of several, that is scored by their mean."""
    kind = "video" if name.endswith(".mp4") else "image"
    said = [look.verdict.llr for look in looks if look.verdict.llr is not None]
    llr = float(np.mean(said)) if said else MISSING
    probability = probability_of(llr) if said else None
    item = Item(Path(name), is_fake, kind, "paint" if is_fake else "none", source, identity)
    score = Score(
        path=name,
        kind="video" if kind == "video" else "image",
        fake_probability=probability,
        verdict=verdict_of(llr) if said else "inconclusive",
        reasons=() if said else ("small_face",),
        faces=1,
        frames=len(looks),
        judged=len(said),
        experts=dict.fromkeys(EXPERTS, probability) if said else {},
    )
    return Scored(item, score, FACTS, looks)


def still(number: int, is_fake: bool, llr: float, source: str = "calls", side: float = 100.0) -> Scored:
    return made_file(f"{number}.png", is_fake, made_look(llr, side=side), source=source)


def clip(number: int, is_fake: bool, llrs: list[float], person: str = "") -> Scored:
    looks = [made_look(llr, pts_s=k / 8, track=0) for k, llr in enumerate(llrs)]
    return made_file(f"{number}.mp4", is_fake, *looks, identity=person)
