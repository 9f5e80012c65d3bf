"""The experts, by name: how each gets its numbers from a face, and the linear heads that make logits of them.

Another package adds an expert by an entry point of the group "stream_detect.experts": its name, and a function
`(weights, device, threads) -> Expert`. Its probability is reported beside the others; the fusion, which was fitted
without it, leaves it out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import final

import numpy as np
from jaxtyping import Float32

from stream_detect.errors import UsageError, WeightsError
from stream_detect.experts.heads import noisy_or
from stream_detect.types import FaceCrops
from stream_detect.weights import Weights

GROUP = "stream_detect.experts"

FORMER_DIMS = {"spectrum": 112, "residual": 100, "color": 51}  # of the first weights: the first of those of today

Extract = Callable[[FaceCrops], np.ndarray]  # -> (faces, dim) float32


@final
@dataclass(frozen=True, slots=True, eq=False)
class Expert:
    """One way of looking at a face."""

    name: str
    extract: Extract
    head: Callable[[np.ndarray], np.ndarray]  # (faces, dim) -> logits, (faces, kinds) or (faces,), positive for fake

    def kind_logits(self, crops: FaceCrops) -> Float32[np.ndarray, "faces kinds"]:
        """A logit a face and kind of forgery, positive for fake; NaN where this expert can't say."""
        if not len(crops):
            return np.zeros((0, len(getattr(self.head, "kinds", "1"))), np.float32)
        logits = self.head(self.extract(crops)).astype(np.float32, copy=False)
        return logits[:, None] if logits.ndim == 1 else logits

    def logits(self, crops: FaceCrops) -> Float32[np.ndarray, " faces"]:
        """A logit a face that it is forged in any way, positive for fake; NaN where this expert can't say."""
        return noisy_or(self.kind_logits(crops)).astype(np.float32)


def spectrum(weights: Weights, device: str, threads: int, engine: str) -> tuple[Extract, int]:
    from stream_detect.experts.spectrum import SPECTRUM_DIM

    return partial(fingerprint, "spectrum", device=device), SPECTRUM_DIM


def residual(weights: Weights, device: str, threads: int, engine: str) -> tuple[Extract, int]:
    from stream_detect.experts.residual import RESIDUAL_DIM

    return partial(fingerprint, "residual", device=device), RESIDUAL_DIM


def color(weights: Weights, device: str, threads: int, engine: str) -> tuple[Extract, int]:
    from stream_detect.experts.color import COLOR_DIM

    return partial(fingerprint, "color", device=device), COLOR_DIM


def mesonet(weights: Weights, device: str, threads: int, engine: str) -> tuple[Extract, int]:
    return network("mesonet", weights, device, threads, engine)


def attention(weights: Weights, device: str, threads: int, engine: str) -> tuple[Extract, int]:
    return network("attention", weights, device, threads, engine)


def network(name: str, weights: Weights, device: str, threads: int, engine: str) -> tuple[Extract, int]:
    from stream_detect.experts.engine import make_engine

    if name not in weights.networks:
        raise WeightsError(f"expected a network for {name} in the weights, found none; take weights that have one")
    run = make_engine(weights.networks[name], device, threads, engine)
    return lambda crops: run(crops.aligned), run.dim


def fingerprint(name: str, crops: FaceCrops, device: str = "cpu") -> Float32[np.ndarray, "faces dim"]:
    """The features of the expert "spectrum", "residual" or "color", which need no weights."""
    from stream_detect.arrays import run
    from stream_detect.experts import host
    from stream_detect.experts.color import color_features
    from stream_detect.experts.residual import residual_features
    from stream_detect.experts.spectrum import spectrum_features

    if name == "color":
        return run(color_features, crops.pixels, device)
    if device == "cpu":
        return host.spectrum_on_host(crops.tiles) if name == "spectrum" else host.residual_on_host(crops.tiles)
    features = {"spectrum": spectrum_features, "residual": residual_features}
    return run(features[name], crops.tiles, device)


EXPERTS: dict[str, Callable[[Weights, str, int, str], tuple[Extract, int]]] = {
    "spectrum": spectrum,
    "residual": residual,
    "color": color,
    "mesonet": mesonet,
    "attention": attention,
}


def build_experts(
    weights: Weights,
    names: Sequence[str] | None = None,
    device: str = "cpu",
    threads: int = 1,
    engine: str = "onnxruntime",
) -> dict[str, Expert]:
    """The experts asked for, in the order of the table; by default every one of the weights and every plug-in.

    Args:
        weights: heads and networks.
        names: such as ["spectrum", "mesonet"].
        device: "cpu" or "cuda:N", as `resolve_device` gives it.
        threads: that each network may use on a CPU.
        engine: that runs the networks on a CPU, one of `stream_detect.experts.engine.ENGINES`.

    Raises:
        UsageError: for a name that no expert has, a plug-in that doesn't load, or an engine that isn't there.
        WeightsError: if the weights don't fit an expert of this version.
    """
    plugins = {point.name: point for point in entry_points(group=GROUP) if point.name not in EXPERTS}
    asked = [*(name for name in EXPERTS if name in weights.heads), *plugins] if names is None else list(names)
    unknown = [name for name in asked if name not in EXPERTS and name not in plugins]
    if unknown or not asked:
        raise UsageError(
            f"no expert is called {', '.join(unknown) or 'so'}: name some of {', '.join([*EXPERTS, *plugins])}"
        )
    known = {name: built_in(name, weights, device, threads, engine) for name in EXPERTS if name in asked}
    return known | {name: plugged_in(plugins[name], weights, device, threads) for name in plugins if name in asked}


def built_in(name: str, weights: Weights, device: str, threads: int, engine: str) -> Expert:
    if name not in weights.heads:
        raise WeightsError(
            f"expected a head for {name} in the weights, found only {', '.join(weights.heads)}; "
            "leave it out with --experts, or take weights that have it"
        )
    extract, dim = EXPERTS[name](weights, device, threads, engine)
    head = weights.heads[name]
    if head.dim == FORMER_DIMS.get(name):
        return Expert(name, lambda crops: extract(crops)[:, : head.dim], head)
    if head.dim != dim:
        raise WeightsError(
            f"{name}: the weights expect {head.dim} numbers a face, this version measures {dim}; "
            "take weights that were made for this version of stream-detect, or train again"
        )
    return Expert(name, extract, head)


def plugged_in(point: EntryPoint, weights: Weights, device: str, threads: int) -> Expert:
    """The expert of another package; whatever its code raises is told under its name."""
    where = f"the expert {point.name} of {point.dist.name if point.dist else point.value} ({point.value})"
    try:
        expert = point.load()(weights, device, threads)
    except Exception as exc:
        raise UsageError(
            f"{where} doesn't load: {exc!r}; repair or uninstall it, or leave it out with --experts"
        ) from exc
    if not isinstance(expert, Expert):
        raise UsageError(f"{where} gives {type(expert).__name__}, expected a stream_detect.experts.table.Expert")
    return expert


def gather_logits(
    logits: Mapping[str, np.ndarray], experts: Sequence[str], kinds: int | None = None
) -> Float32[np.ndarray, "faces experts kinds"]:
    """The logits that a fusion expects, NaN for the experts that are not there; others are left out.

    Args:
        logits: (faces, kinds) of each expert, by name; or (faces,) where there is one kind.
        experts: that the fusion knows, in order.
        kinds: how many it knows; by default as many as its experts gave.
    """
    faces = len(next(iter(logits.values()))) if logits else 0
    known = {name: logits[name].reshape(faces, -1) for name in experts if name in logits}
    width = kinds or max((given.shape[1] for given in known.values()), default=1)
    silent = np.full((faces, width), np.nan, np.float32)
    return np.stack([known.get(name, silent) for name in experts], axis=1).astype(np.float32)
