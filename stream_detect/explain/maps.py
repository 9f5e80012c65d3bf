"""Where on a face the attention networks look, and which places those that learned it take for forged."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from stream_detect.types import LESSONS, Kind
from stream_detect.weights import NetworkWeights, Weights

AT_ONCE = 16  # faces that go through a network together


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a trunk learned."""

    kinds: tuple[Kind, ...]  # of forgery, in the order of its outputs
    has_places: bool = False  # whether each place of the face was learned too, or the face as a whole alone


WITH_PLACES = ("border",)  # trunks that learned each place of the face, too


@dataclass(frozen=True, slots=True, eq=False)
class FaceMap:
    """One number for each place of aligned faces, row by row.

    If `is_forgery`, how likely the place belongs to a forgery of that kind, in [0, 1], were half of all places forged:
    it tells where, not whether. Otherwise how much the network's judgement of the face attends to the place, as a
    multiple of the average place.
    """

    network: str  # its name in the weights, and of its trunk, such as "attention border"
    kinds: tuple[Kind, ...]  # what the map tells of; empty if nobody says what the network learned
    is_forgery: bool
    values: np.ndarray  # (faces, height, width) float32
    crop_px: int  # side of the centre of the aligned face that is covered

    def of_face(self, index: int) -> "FaceMap":
        """The map of one face, still with an axis of faces."""
        return FaceMap(self.network, self.kinds, self.is_forgery, self.values[index : index + 1], self.crop_px)


def face_maps(
    weights: Weights, aligned: UInt8[np.ndarray, "faces 256 256 3"], networks: Collection[str] | None = None
) -> list[FaceMap]:
    """The maps of every attention network: one a kind from trunks that learned places, from others their attention.

    Args:
        weights: whose networks look; those of other kinds, such as MesoNet, have no maps.
        aligned: faces as `cut_faces` gives them.
        networks: names of experts to ask; all by default.
    """
    names = [name for name in weights.networks if networks is None or name in networks]
    trunks = [trunk for name in names for trunk in trunks_of(name, weights.networks[name])]
    return [one for name, trunk, lesson in trunks for one in maps_of(name, trunk, lesson, aligned)]


@lru_cache(maxsize=4)
def trunks_of(name: str, weights: NetworkWeights) -> tuple[tuple[str, Any, Lesson], ...]:
    """The attention networks inside stored weights, ready to look, each with its name and lesson."""
    from stream_detect.experts.networks import build

    if weights.kind == "attention":
        return ((name, build(weights), Lesson(())),)
    if weights.kind != "attention_trunks":
        return ()
    trunks: Any = build(weights)
    return tuple((f"{name} {key}", trunk, lesson_of(key, trunk)) for key, trunk in trunks.each().items())


def lesson_of(key: str, trunk: Any) -> Lesson:
    """What the trunk of that name learned; nothing that is known if it has another number of outputs."""
    lesson = Lesson(LESSONS.get(key, ()), key in WITH_PLACES)
    return lesson if len(lesson.kinds) == trunk.config.outputs else Lesson(())


def maps_of(name: str, trunk: Any, lesson: Lesson, aligned: UInt8[np.ndarray, "faces 256 256 3"]) -> list[FaceMap]:
    """The maps of one trunk."""
    crop_px = trunk.config.crop_px
    if not lesson.has_places:
        shares = in_parts(trunk.attention_map, aligned)
        return [FaceMap(name, lesson.kinds, False, shares * (shares.shape[1] * shares.shape[2]), crop_px)]
    logits = in_parts(lambda x: trunk.face_and_token_logits(x)[1], aligned)
    chances = (0.5 + 0.5 * np.tanh(logits / 2)).astype(np.float32)  # the sigmoid, without overflow
    return [FaceMap(name, (kind,), True, chances[:, k], crop_px) for k, kind in enumerate(lesson.kinds)]


def in_parts(look: Any, aligned: UInt8[np.ndarray, "faces 256 256 3"]) -> Float32[np.ndarray, "faces ..."]:
    """What `look` gives for RGB in [0, 1], some faces at a time."""
    import torch

    with torch.inference_mode():
        parts = [look(as_tensor(aligned[k : k + AT_ONCE])).numpy() for k in range(0, max(len(aligned), 1), AT_ONCE)]
    return np.concatenate(parts).astype(np.float32, copy=False)


def as_tensor(aligned: UInt8[np.ndarray, "faces 256 256 3"]) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(aligned)).permute(0, 3, 1, 2).float() / 255


def over_crop(values: Float32[np.ndarray, "height width"], side: int) -> Float32[np.ndarray, "side side"]:
    """A map enlarged to `side` x `side` pixels, linearly between the middles of its places."""
    import cv2

    return cv2.resize(values, (side, side), interpolation=cv2.INTER_LINEAR).astype(np.float32, copy=False)
