"""Explanations made up for the tests, without a detector."""

from typing import Any

import numpy as np

from stream_detect.config import VerdictLimits
from stream_detect.decode.frame import Frame
from stream_detect.experts.spectrum import spectrum_features
from stream_detect.explain import Explanation, FaceMap, Moment, Sight, residual_map, spectrum_lines, spectrum_reference
from stream_detect.types import Face, FaceVerdict, Score
from tests import clips

BOX = (180.0, 110.0, 300.0, 260.0)
EXPERTS = {"spectrum": 0.4, "residual": None, "attention": 0.97}


def maps(num: int = 3) -> list[FaceMap]:
    values = np.random.default_rng(2).random((1, 8, 8)).astype(np.float32)
    told = [
        FaceMap("attention synthesised", ("synthesised", "resynthesised"), False, 4 * values, 192),
        FaceMap("attention border", ("blended",), True, values, 224),
        FaceMap("attention border", ("partial",), True, values.mean(axis=(1, 2), keepdims=True) + 0 * values, 224),
    ]
    return told[:num]


def verdict(llr: float | None = 2.0, **about: Any) -> FaceVerdict:
    given: dict[str, Any] = {"verdict": "fake", "reasons": (), "experts": EXPERTS, "quality": 0.9, **about}
    return FaceVerdict(1, BOX, None if llr is None else 0.88, llr, None, **given)


def sight(num_maps: int = 3, llr: float | None = 2.0, **about: Any) -> Sight:
    rgb = clips.portrait(face_px=150)
    tiles = np.random.default_rng(0).normal(0.5, 0.02, (1, 28, 64, 64)).astype(np.float32)
    reference = spectrum_reference(np.array(spectrum_features(tiles.repeat(2, axis=0))))
    aligned = np.ascontiguousarray(rgb[52:308, 112:368])
    face = Face(np.array(BOX, np.float32), np.zeros((5, 2), np.float32), 1.0)
    residual = residual_map(Frame.from_rgb(rgb), face)
    return Sight(
        verdict(llr, **about), 1.5, rgb, BOX, aligned, maps(num_maps), residual, spectrum_lines(tiles, reference)
    )


def score(**about: Any) -> Score:
    given: dict[str, Any] = {
        "path": "/home/anna/secret-folder/portrait.jpg",
        "kind": "image",
        "fake_probability": 0.88,
        "verdict": "fake",
        "reasons": (),
        "faces": 1,
        "frames": 1,
        "judged": 1,
        "experts": EXPERTS,
    }
    return Score(**(given | about))


def explanation(**about: Any) -> Explanation:
    given: dict[str, Any] = {
        "score": score(),
        "sight": sight(),
        "picture": None,
        "moments": (),
        "limits": VerdictLimits(),
        "digest": "abcdef0123456789",
    }
    return Explanation(**(given | about))


def nothing_found(**about: Any) -> Explanation:
    """A picture without a face."""
    told = score(fake_probability=None, verdict="inconclusive", reasons=("no_face",), faces=0, judged=0, experts={})
    return explanation(score=told, sight=None, picture=clips.scenery()[0], **about)


def clip() -> Explanation:
    said = [Moment(k / 8, 0.5 + 0.4 * np.sin(k / 3), True) for k in range(24)]
    others = [Moment(k / 8, 0.2, False) for k in range(24)]
    told = score(path="talk.mp4", kind="video", frames=75, judged=24, faces=2, kinds={"blended": 0.81, "partial": 0.2})
    return explanation(score=told, moments=[*said, *others])
