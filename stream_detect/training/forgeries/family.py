"""What every family of forgeries has in common: what it is given, what it gives back, how it is named."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from stream_detect.training.scenes import Scene
from stream_detect.types import Kind

Rng = np.random.Generator
Picture = UInt8[np.ndarray, "height width 3"]
AnyPicture = UInt8[np.ndarray, "_ _ 3"]  # of another size
Mask = Float32[np.ndarray, "height width"]


@dataclass(frozen=True, slots=True)
class Footage:
    """A real face and where more of its like is to be had; both finders give None where there is nothing fit."""

    scene: Scene
    find_partner: Callable[[Rng], Scene | None]  # somebody else's face of similar pose, from the same side of the split
    find_sibling: Callable[[Rng], Scene | None]  # another frame of the same clip


@dataclass(frozen=True, slots=True, eq=False)
class Forged:
    """A forgery beside its real partner: the same picture in everything but the forgery."""

    real: Picture  # of the scene's size; often its own picture
    fake: Picture  # of the same size
    mask: Mask  # of the same size, in [0, 1]: how much of each pixel is not the real partner's


@dataclass(frozen=True, slots=True)
class Family:
    """One way of forging."""

    name: str
    kind: Kind
    source: str  # where the idea comes from
    forge: Callable[[Footage, Rng], Forged | None]  # None where this footage doesn't allow it
    share: float = 1.0  # how often it is drawn, against the others of its kind
