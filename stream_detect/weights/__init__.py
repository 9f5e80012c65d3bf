"""The store of trained weights: safetensors beside one heads.json that says what they are and checks them by hash.

A folder of weights holds `heads.json`, `heads.safetensors` (the experts' linear heads, the fusion and curves for
explanations, float32) and for each network `<expert>.safetensors` (float16, its vectors float32) and `<expert>.onnx`,
the graph that onnxruntime fills with these tensors. Nothing is unpickled. Version 3 has graphs; version 2 has none, so
that each start exports them, with torch; version 1 knows of one kind of forgery alone.
"""

import hashlib
import importlib.resources
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from importlib.metadata import version
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from stream_detect.errors import OutputError, WeightsError
from stream_detect.experts.heads import KindHeads, LinearHead
from stream_detect.fusion.fusion import FusionWeights, empty_fusion
from stream_detect.temporal.thresholds import Thresholds, load_thresholds, save_thresholds
from stream_detect.types import KINDS

FORMAT = "stream-detect weights"
FORMAT_VERSION = 3
INDEX = "heads.json"
HEADS = "heads.safetensors"
TENSORS, GRAPH = ".safetensors", ".onnx"  # how the names of a network's files end
REFERENCE = "reference."  # how the names of curves for explanations begin in there
FLOAT16_MAX = 65504.0
ANOTHER_COPY = "take another copy of the folder, or train again with `stream-detect train`"


@dataclass(frozen=True, slots=True, eq=False)
class NetworkWeights:
    """What a network is built from: its kind, the fields of its configuration, and its tensors (float32)."""

    kind: str  # a key of stream_detect.experts.networks.NETWORKS
    config: Mapping[str, Any]
    tensors: Mapping[str, np.ndarray]
    graph: bytes = b""  # ONNX without its tensors (`stream_detect.experts.graph`); empty: to be made of kind and config


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """All that training brings forth and detection needs."""

    heads: Mapping[str, KindHeads]  # of each expert
    networks: Mapping[str, NetworkWeights]  # of the experts that are networks
    fusion: FusionWeights
    quality_limits: Mapping[str, float] = field(default_factory=dict)  # below or above which nothing is judged
    thresholds: Mapping[str, float] = field(default_factory=dict)  # of the verdict and of the alert rules
    data: str = ""  # what they were learned from, and under which licence that is
    created_by: str = ""  # name and version of the program that wrote them
    digest: str = ""  # sha256 of heads.json, which holds the hashes of the rest; empty if never written
    reference: Mapping[str, np.ndarray] = field(default_factory=dict)  # small float32 arrays that explanations show
    operating: Mapping[str, float | str] = field(default_factory=dict)  # how limits were chosen and what they gave
    alerts: Thresholds = field(
        default_factory=Thresholds
    )  # at which alerts are raised, if they were fitted with these weights
    files_digest: str = ""  # sha256 over the hashes of the files that judge; empty if never written

    def __post_init__(self) -> None:
        for name, head in self.heads.items():
            if name in self.fusion.experts and head.kinds != self.fusion.kinds:
                raise ValueError(
                    f"expected heads for {', '.join(self.fusion.kinds)} of {name}, as the fusion has, "
                    f"got {', '.join(head.kinds)}"
                )

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of forgery that these weights tell apart; one alone for weights that know none."""
        return self.fusion.kinds


def load_weights(folder: Path | None = None) -> Weights:
    """The weights in `folder`, or those that came with the package; every file is checked against its hash.

    Raises:
        WeightsError: if anything is missing, damaged, of another format or of a newer version.
    """
    place = importlib.resources.files(__name__) if folder is None else Path(folder)
    check_folder(place, shipped=folder is None)
    text = read_bytes(place / INDEX)
    index = parse_index(place / INDEX, text)
    try:
        files = {name: read_file(place, name, digest) for name, digest in index["files"].items()}
        weights = assemble(place, index, files, hashlib.sha256(text).hexdigest())
    except WeightsError:
        raise
    except KeyError as exc:
        raise WeightsError(f"{place}: expected {exc.args[0]!r} in the weights, found none; {ANOTHER_COPY}") from exc
    except (AttributeError, TypeError, ValueError) as exc:
        raise WeightsError(f"{place}: these weights don't fit together: {exc}; {ANOTHER_COPY}") from exc
    judging = digest_of_files(index["files"])
    return replace(weights, alerts=load_thresholds(place, judging) or Thresholds(), files_digest=judging)


def digest_of_files(digests: Mapping[str, str]) -> str:
    """What alert thresholds are tied to: the files that judge faces, not the limits that make words of it."""
    return hashlib.sha256(json.dumps(dict(digests), sort_keys=True).encode()).hexdigest()


def save_weights(weights: Weights, folder: Path) -> None:
    """Write the weights to `folder`; heads.json comes last, so that a broken write is never taken for weights.

    Networks are rounded to float16: evaluate what `load_weights` gives back. Graphs that are missing are exported.
    Alert thresholds that were fitted with other heads or networks are left out.

    Raises:
        ValueError: if a tensor is not finite.
        OutputError: if the folder can't be written.
    """
    from stream_detect.experts.graph import graph_of

    files = {f"{name}{TENSORS}": pack_network(network) for name, network in weights.networks.items()}
    files |= {f"{name}{GRAPH}": graph_of(network) for name, network in weights.networks.items()}
    files[HEADS] = pack_heads(weights)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    files[INDEX] = json.dumps(make_index(weights, digests), indent=2, allow_nan=False).encode() + b"\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            partial = folder / f".{name}.partial"
            partial.write_bytes(content)
            os.replace(partial, folder / name)
    except OSError as exc:
        raise OutputError(f"{folder}: can't write weights here: {exc.strerror or exc}; name a folder that can") from exc
    if weights.alerts.weights == digest_of_files(digests):
        save_thresholds(weights.alerts, folder)


def random_weights(seed: int = 0) -> Weights:
    """Small untrained weights for tests: they judge nothing, but everything that needs weights runs with them."""
    import torch

    from stream_detect.experts.attention import AttentionConfig, AttentionNet
    from stream_detect.experts.color import COLOR_DIM
    from stream_detect.experts.mesonet import MesoInception4
    from stream_detect.experts.networks import pack
    from stream_detect.experts.residual import RESIDUAL_DIM
    from stream_detect.experts.spectrum import SPECTRUM_DIM
    from stream_detect.fusion.quality import QUALITY_NAMES

    tiny = AttentionConfig(stem="patches", input_px=64, dim=24, depth=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        networks = {"mesonet": pack(MesoInception4()), "attention": pack(AttentionNet(tiny))}
    dims = {
        "spectrum": SPECTRUM_DIM,
        "residual": RESIDUAL_DIM,
        "color": COLOR_DIM,
        "mesonet": 16,
        "attention": tiny.dim,
    }
    rng = np.random.default_rng(seed)
    heads = {name: random_head(rng, dim) for name, dim in dims.items()}
    fusion = even_fusion(tuple(dims), tuple(QUALITY_NAMES), KINDS)
    return Weights(heads, networks, fusion, data="untrained random numbers, for tests")


def random_head(rng: np.random.Generator, dim: int, kinds: tuple[str, ...] = KINDS) -> KindHeads:
    weight = (rng.standard_normal((dim, len(kinds))) / math.sqrt(dim)).astype(np.float32)
    zeros, ones, no_knots = np.zeros(dim, np.float32), np.ones(dim, np.float32), np.zeros((dim, 0), np.float32)
    return KindHeads(kinds, zeros, ones, no_knots, weight, np.zeros(len(kinds), np.float32))


def even_fusion(experts: tuple[str, ...], quality: tuple[str, ...], kinds: tuple[str, ...] = KINDS) -> FusionWeights:
    """The mean of the experts that spoke, whatever the quality: a start for tests, not a calibrated fusion."""
    rows = np.arange(1, 2 ** len(experts))
    members = (rows[:, None] >> np.arange(len(experts)) & 1).astype(np.float32)
    shares = members / members.sum(axis=1, keepdims=True)
    return replace(
        empty_fusion(experts, quality, kinds),
        weights=np.repeat(shares[:, :, None], len(kinds), axis=2),
        limit=np.full(1, 8, np.float32),
    )


def check_folder(place: Traversable, shipped: bool) -> None:
    if shipped and not (place / INDEX).is_file():
        raise WeightsError(
            "no weights came with this installation of stream-detect: install a released package, "
            "or give a folder of weights with --weights DIR"
        )
    if not place.is_dir():
        raise WeightsError(f"{place}: expected a folder of weights with {INDEX} in it, found none; give its path")
    if not (place / INDEX).is_file():
        raise WeightsError(f"{place}: expected {INDEX} in this folder, found none; give a folder of weights")


def read_bytes(path: Traversable) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise WeightsError(f"{path}: can't be read: {exc.strerror or exc}; check that it exists and is yours") from exc


def parse_index(path: Traversable, text: bytes) -> dict[str, Any]:
    """heads.json, if it is one of ours and of a version that is known here."""
    try:
        index = json.loads(text)
    except ValueError as exc:
        raise WeightsError(f"{path}: expected JSON, got something else ({exc}); {ANOTHER_COPY}") from exc
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        found = index.get("format") if isinstance(index, dict) else type(index).__name__
        raise WeightsError(f"{path}: expected the format {FORMAT!r}, got {found!r}; give a folder of our weights")
    number = index.get("version")
    if not isinstance(number, int) or number < 1:
        raise WeightsError(f"{path}: expected a version from 1 to {FORMAT_VERSION}, got {number!r}; {ANOTHER_COPY}")
    if number > FORMAT_VERSION:
        raise WeightsError(
            f"{path}: expected a version up to {FORMAT_VERSION}, got {number}, written by {index.get('created_by')}; "
            "install a newer stream-detect"
        )
    if not isinstance(index.get("files"), dict):
        raise WeightsError(f"{path}: expected the files and their hashes, found none; {ANOTHER_COPY}")
    return index


def read_file(place: Traversable, name: str, digest: str) -> bytes:
    """What a file holds, if it is the one that heads.json means."""
    path = place / name
    if Path(name).name != name or not name.endswith((TENSORS, GRAPH)):
        expected = f"<expert>{TENSORS} or <expert>{GRAPH}"
        raise WeightsError(f"{place}: expected files named {expected}, got {name!r}; {ANOTHER_COPY}")
    if not path.is_file():
        raise WeightsError(f"{path}: expected this file beside {INDEX}, found none; {ANOTHER_COPY}")
    content = read_bytes(path)
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise WeightsError(
            f"{path}: expected sha256 {digest}, got {found}; it is damaged or not the one: {ANOTHER_COPY}"
        )
    return content


def read_tensors(path: Traversable, content: bytes) -> dict[str, np.ndarray]:
    """The tensors of a file as float32."""
    try:
        tensors = load_safetensors(content)
    except (SafetensorError, KeyError) as exc:
        raise WeightsError(f"{path}: expected safetensors, got something else ({exc}); {ANOTHER_COPY}") from exc
    for key, tensor in tensors.items():
        if tensor.dtype not in (np.float16, np.float32) or not np.isfinite(tensor).all():
            raise WeightsError(f"{path}: expected finite float16 or float32 in {key}, got other values; {ANOTHER_COPY}")
    return {key: tensor.astype(np.float32) for key, tensor in tensors.items()}


def assemble(place: Traversable, index: Mapping[str, Any], files: Mapping[str, bytes], digest: str) -> Weights:
    """The weights from the parsed index and files; what is missing or doesn't fit raises KeyError or ValueError."""
    tensors = {name: read_tensors(place / name, held) for name, held in files.items() if name.endswith(TENSORS)}
    given = tensors[HEADS]
    experts = index["experts"]
    networks = {
        name: NetworkWeights(
            entry["network"]["kind"],
            entry["network"]["config"],
            tensors[f"{name}{TENSORS}"],
            files.get(f"{name}{GRAPH}", b""),
        )
        for name, entry in experts.items()
        if "network" in entry
    }
    heads = {name: read_head(name, entry, given) for name, entry in experts.items()}
    for name, head in heads.items():
        if head.dim != experts[name]["dim"]:
            raise ValueError(f"expected a head of {experts[name]['dim']} numbers for {name}, got {head.dim}")
    return Weights(
        heads=heads,
        networks=networks,
        fusion=read_fusion(index["fusion"], given),
        quality_limits=finite_numbers("quality_limits", index["quality_limits"]),
        thresholds=finite_numbers("thresholds", index["thresholds"]),
        data=str(index["data"]),
        created_by=str(index["created_by"]),
        digest=digest,
        reference={
            name.removeprefix(REFERENCE): tensor for name, tensor in given.items() if name.startswith(REFERENCE)
        },
        operating=plain_notes(index.get("operating", {})),
    )


def read_head(name: str, entry: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> KindHeads:
    """An expert's heads; those of version 1 name no kinds."""
    if "kinds" not in entry:
        return LinearHead(*(given[f"{name}.{part}"] for part in array_parts(LinearHead))).as_kinds()
    return KindHeads(tuple(entry["kinds"]), **{part: given[f"{name}.{part}"] for part in array_parts(KindHeads)})


def read_fusion(entry: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> FusionWeights:
    """The fusion; that of version 1 has one kind and one band of quality."""
    experts, quality = tuple(entry["experts"]), tuple(entry["quality"])
    if "kinds" not in entry:
        weights, modulation, quality_weights, bias = (
            given[f"fusion.{part}"] for part in ("weights", "modulation", "quality_weights", "bias")
        )
        return replace(
            empty_fusion(experts, quality),
            quality_mean=given["fusion.quality_mean"],
            quality_scale=given["fusion.quality_scale"],
            weights=weights[:, :, None],
            modulation=modulation[:, :, None],
            quality_weights=quality_weights[:, None],
            bias=bias[:, None],
            limit=given["fusion.limit"],
        )
    arrays = {part: given[f"fusion.{part}"] for part in array_parts(FusionWeights)}
    return FusionWeights(experts, quality, tuple(entry["kinds"]), str(entry["joint"]), **arrays)


def make_index(weights: Weights, digests: Mapping[str, str]) -> dict[str, Any]:
    """What heads.json says."""
    experts: dict[str, dict[str, Any]] = {
        name: {"dim": head.dim, "kinds": list(head.kinds)} for name, head in weights.heads.items()
    }
    fusion = weights.fusion
    for name, network in weights.networks.items():
        experts[name]["network"] = {"kind": network.kind, "config": dict(network.config)}
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "created_by": f"stream-detect {version('stream-detect')}",
        "files": dict(digests),
        "experts": experts,
        "fusion": {
            "experts": list(fusion.experts),
            "quality": list(fusion.quality),
            "kinds": list(fusion.kinds),
            "joint": fusion.joint,
        },
        "quality_limits": finite_numbers("quality_limits", weights.quality_limits),
        "thresholds": finite_numbers("thresholds", weights.thresholds),
        "operating": plain_notes(weights.operating),
        "data": weights.data,
    }


def pack_network(network: NetworkWeights) -> bytes:
    """Matrices and kernels as float16; vectors (biases, statistics of normalization), which are small, as float32."""
    return pack_tensors({name: half(tensor) for name, tensor in network.tensors.items()})


def pack_heads(weights: Weights) -> bytes:
    heads = weights.heads.items()
    tensors = {f"{name}.{part}": getattr(head, part) for name, head in heads for part in array_parts(KindHeads)}
    tensors |= {f"fusion.{part}": getattr(weights.fusion, part) for part in array_parts(FusionWeights)}
    tensors |= {f"{REFERENCE}{name}": np.asarray(array) for name, array in weights.reference.items()}
    return pack_tensors({name: tensor.astype(np.float32) for name, tensor in tensors.items()})


def pack_tensors(tensors: Mapping[str, np.ndarray]) -> bytes:
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ValueError(f"expected finite numbers in {name}, got NaN or infinity: the training diverged")
    packed: bytes = save_safetensors({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
    return packed


def half(tensor: np.ndarray) -> np.ndarray:
    fits = tensor.ndim > 1 and np.abs(tensor).max(initial=0) <= FLOAT16_MAX
    return tensor.astype(np.float16 if fits else np.float32)


def finite_numbers(what: str, given: Mapping[str, Any]) -> dict[str, float]:
    for name, number in given.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise ValueError(f"expected a number for {what} {name}, got {number!r}")
    return {name: float(number) for name, number in given.items()}


def plain_notes(given: Mapping[str, Any]) -> dict[str, float | str]:
    """Notes as they go into heads.json: finite numbers and words."""
    for name, note in given.items():
        if not isinstance(note, str) and not (isinstance(note, int | float) and math.isfinite(note)):
            raise ValueError(f"expected a number or words for operating {name}, got {note!r}")
    return dict(given)


def array_parts(kind: type[Any]) -> list[str]:
    """The fields of a dataclass that hold arrays."""
    return [part.name for part in fields(kind) if part.type is np.ndarray]
