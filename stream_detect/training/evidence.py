"""What heads and networks say of people whom they never saw: all that fusion, calibration and limits are fitted on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from stream_detect.experts.heads import KindHeads, calibrate_heads, fit_kind_heads, plain_heads
from stream_detect.training.folds import Footing
from stream_detect.training.networks import embed_all
from stream_detect.training.samples import FINGERPRINTS, Samples
from stream_detect.types import KINDS, LESSONS

KNOTS = 8  # quantiles at which the line of a fingerprint's feature may bend
HEAD_PENALTY = 1e-2
NEVER = -10.0  # the logit of a kind of which nothing was learned


def fingerprint_heads(samples: Samples, rows: np.ndarray, weights: np.ndarray) -> dict[str, KindHeads]:
    """A head for each fingerprint and kind, fitted on some rows; of kinds that are not among them nothing is said."""
    kinds = kinds_among(samples.kind[rows])
    fitted = {
        name: fit_kind_heads(
            getattr(samples, name)[rows],
            samples.kind[rows],
            weights[rows],
            kinds=kinds,
            l2=HEAD_PENALTY,
            knots=KNOTS,
        )
        for name in FINGERPRINTS
    }
    return {name: with_all_kinds(heads) for name, heads in fitted.items()}


def kinds_among(kind: np.ndarray) -> tuple[str, ...]:
    """The kinds of forgery that some rows have, in the order of `KINDS`."""
    return tuple(name for name in KINDS if (kind == name).any())


def with_all_kinds(heads: KindHeads) -> KindHeads:
    """Heads for every one of `KINDS`; those that were lacking never suspect anything."""
    weight, bias = np.zeros((len(heads.weight), len(KINDS)), np.float32), np.full(len(KINDS), NEVER, np.float32)
    for k, kind in enumerate(heads.kinds):
        weight[:, KINDS.index(kind)], bias[KINDS.index(kind)] = heads.weight[:, k], heads.bias[k]
    return replace(heads, kinds=KINDS, weight=weight, bias=bias)


def of_kinds(heads: KindHeads, kinds: Sequence[str]) -> KindHeads:
    """The heads for some of the kinds."""
    columns = [heads.kinds.index(kind) for kind in kinds]
    return replace(heads, kinds=tuple(kinds), weight=heads.weight[:, columns], bias=heads.bias[columns])


def network_heads(networks: Mapping[str, Any]) -> dict[str, KindHeads]:
    """The last layers of the networks as heads over their embeddings."""
    return {"mesonet": meso_heads(networks["mesonet"]), "attention": trunk_heads(networks["attention"])}


def meso_heads(network: Any) -> KindHeads:
    last = network.head[-1]
    return plain_heads(last.weight.detach().numpy(), last.bias.detach().numpy(), KINDS)


def trunk_heads(network: Any) -> KindHeads:
    """The last layers of several trunks over their joint embedding: each kind is read where its trunk's part lies."""
    weight, bias = np.zeros((len(KINDS), network.embedding_dim), np.float32), np.zeros(len(KINDS), np.float32)
    start = 0
    for name, trunk in network.each().items():
        rows = [KINDS.index(kind) for kind in LESSONS[name]]
        weight[rows, start : start + trunk.embedding_dim] = trunk.head.weight.detach().numpy()
        bias[rows] = trunk.head.bias.detach().numpy()
        start += trunk.embedding_dim
    return plain_heads(weight, bias, KINDS)


def evidence_of(
    samples: Samples,
    rows: np.ndarray,
    weights: np.ndarray,
    groups: Sequence[str] | np.ndarray,
    heads: Mapping[str, KindHeads],
    networks: Mapping[str, Any],
) -> tuple[dict[str, KindHeads], Footing]:
    """Every expert's logits on some rows, and the heads with which they mean what they say there."""
    features = {name: getattr(samples, name)[rows] for name in FINGERPRINTS}
    features |= {name: embed_all(network, samples, rows) for name, network in networks.items()}
    kind, weight = samples.kind[rows], weights[rows]
    calibrated = {name: calibrated_head(head, features[name], kind, weight) for name, head in heads.items()}
    return calibrated, Footing(
        logits=np.stack([head(features[name]) for name, head in calibrated.items()], axis=1),
        quality=samples.quality[rows],
        kind_of=kind,
        family=samples.made[rows],
        groups=np.asarray(groups)[rows],
        weight=weight,
    )


def calibrated_head(head: KindHeads, features: np.ndarray, kind: np.ndarray, weight: np.ndarray) -> KindHeads:
    """A head whose logits mean what they say on these rows, for the kinds that are among them; silent on others."""
    kinds = [name for name in kinds_among(kind) if head.bias[KINDS.index(name)] > NEVER]
    rows = np.isin(kind, ["real", *kinds])
    some = of_kinds(head, kinds)
    return with_all_kinds(calibrate_heads(some, some(features[rows]), kind[rows], weight[rows]))
