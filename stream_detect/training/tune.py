"""Fine-tune the attention trunks of given weights on a user's own footage: hours, where adapting takes minutes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stream_detect.errors import WeightsError
from stream_detect.experts.heads import KindHeads
from stream_detect.training.evidence import trunk_heads
from stream_detect.training.networks import fit_network
from stream_detect.training.samples import Samples
from stream_detect.training.train import Tell, TrainSettings, network_plans, pack_network
from stream_detect.weights import Weights

GENTLE = 0.2  # of the learning rate with which the trunks once began


def tune_networks(
    base: Weights, samples: Samples, chances: np.ndarray, epochs: float, settings: TrainSettings, tell: Tell
) -> Weights:
    """The base with trunks that learned on; Meso-4 and everything else stay.

    Args:
        base: weights whose attention expert is made of trunks.
        samples: to learn from.
        chances: (samples,) how often each is drawn; 0 for people held out.
        epochs: passes of each trunk over its samples.
        settings: of the run; checkpoints are kept in its folder and gone on from.
        tell: hears of every step.

    Raises:
        WeightsError: if the attention expert is of another kind.
    """
    trunks = trunks_of(base)
    before = trunk_heads(trunks)
    for name, trunk in trunks.each().items():
        plan = network_plans(settings)[name]
        rate = GENTLE * plan.schedule.rate
        fit_network(
            trunk,
            samples,
            chances,
            plan.kinds,
            replace(plan.schedule, epochs=epochs, rate=rate),
            checkpoint_of(settings.run, name),
            lambda what, step, steps, loss: tell(f"tuning {what}", step, steps, f"loss {loss:.3f}"),
        )
    head = as_calibrated(trunk_heads(trunks), before, base.heads["attention"])
    return replace(
        base,
        networks={**base.networks, "attention": pack_network(trunks)},
        heads={**base.heads, "attention": head},
    )


def trunks_of(base: Weights) -> Any:
    """The attention expert's trunks, ready to learn."""
    from stream_detect.experts.attention import AttentionTrunks
    from stream_detect.experts.networks import build

    network = build(base.networks["attention"]) if "attention" in base.networks else None
    if not isinstance(network, AttentionTrunks):
        raise WeightsError("expected an attention expert made of trunks, which can be tuned; leave out --networks")
    return network


def checkpoint_of(run: Path, name: str) -> Path:
    folder = run / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"tuned-{name}.safetensors"


def as_calibrated(now: KindHeads, before: KindHeads, given: KindHeads) -> KindHeads:
    """A network's last layer rescaled, kind by kind, as its earlier state was to become the heads that were given."""
    scale = (given.weight * before.weight).sum(axis=0) / np.maximum((before.weight**2).sum(axis=0), 1e-12)
    offset = given.bias - scale * before.bias
    weight, bias = now.weight * scale, now.bias * scale + offset
    return replace(now, weight=weight.astype(np.float32), bias=bias.astype(np.float32))
