"""Fit one network on samples: pairs in one batch, light augmentation, checkpoints that an interrupted run resumes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from stream_detect.training.samples import Samples

CHECKPOINT_STEPS = 200
Progress = Callable[[str, int, int, float], None]  # network, step, steps, smoothed loss
FaceNetwork = Callable[[Tensor], Tensor]  # aligned faces in [0, 1] to a logit, positive for fake


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast one network learns."""

    epochs: float = 4.0  # passes over the units of samples
    batch: int = 32  # faces a step
    rate: float = 1e-3  # highest learning rate
    stem_rate: float = 1.0  # factor on it for layers whose name begins with "stem" (started from ImageNet)
    weight_decay: float = 0.02
    smoothing: float = 0.05  # of the labels
    is_augmented: bool = True  # shifts, light, colour and covered patches beside the mirroring
    seed: int = 7


def fit_network(
    network: Any, samples: Samples, weights: np.ndarray, schedule: Schedule, checkpoint: Path, progress: Progress
) -> None:
    """Fit in place; `weights` (samples,) say how often a row is drawn and how much it counts.

    A checkpoint is written every `CHECKPOINT_STEPS`; one that fits is gone on from, to the same weights in the end.
    """
    steps = max(1, int(schedule.epochs * len(samples) / schedule.batch))
    optimizer = torch.optim.AdamW(parameter_groups(network, schedule), weight_decay=schedule.weight_decay)
    rates = [group["lr"] for group in optimizer.param_groups]
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps, pct_start=0.15)
    begun = resume(network, optimizer, plan, checkpoint, steps)
    smoothed = 0.7
    network.train()
    batches = draw_batches(samples, weights, schedule, begun, steps)
    for step, rows in zip(range(begun, steps), batches, strict=False):
        torch.manual_seed(schedule.seed * 1_000_003 + step)  # dropout falls the same whether resumed or not
        loss = batch_loss(network, samples, rows, schedule, step)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimizer.step()
        plan.step()
        smoothed += 0.02 * (float(loss.detach()) - smoothed)
        progress(checkpoint.stem, step + 1, steps, smoothed)
        if (step + 1) % CHECKPOINT_STEPS == 0 or step + 1 == steps:
            save_checkpoint(network, optimizer, checkpoint, step + 1, steps)
    network.eval()


def parameter_groups(network: Any, schedule: Schedule) -> list[dict[str, Any]]:
    named = list(network.named_parameters())
    stem = [p for name, p in named if name.startswith("stem")]
    rest = [p for name, p in named if not name.startswith("stem")]
    groups = [{"params": rest, "lr": schedule.rate}, {"params": stem, "lr": schedule.rate * schedule.stem_rate}]
    return [group for group in groups if group["params"]]


def batch_loss(network: FaceNetwork, samples: Samples, rows: np.ndarray, schedule: Schedule, step: int) -> Tensor:
    """Cross-entropy with smoothed labels, real and fake faces of the batch counting equally."""
    generator = np.random.default_rng([schedule.seed, step])
    faces = augment(samples.aligned[rows], generator, schedule.is_augmented)
    is_fake = torch.from_numpy(samples.is_fake[rows].astype(np.float32))
    share = is_fake.mean().clamp(0.05, 0.95)
    balance = is_fake / (2 * share) + (1 - is_fake) / (2 * (1 - share))
    target = is_fake * (1 - 2 * schedule.smoothing) + schedule.smoothing
    return F.binary_cross_entropy_with_logits(network(faces), target, weight=balance)


def draw_batches(
    samples: Samples, weights: np.ndarray, schedule: Schedule, begun: int, steps: int
) -> Iterator[np.ndarray]:
    """Rows of each step: units drawn by weight, a real face always with the forgery made from it."""
    order = np.argsort(samples.pair, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(samples.pair[order]) != 0])
    units = np.split(order, starts[1:])
    chance = np.array([weights[unit].mean() for unit in units])
    chance /= chance.sum()
    size = np.mean([len(unit) for unit in units])
    count = max(2, round(schedule.batch / size))
    for step in range(begun, steps):
        drawn = np.random.default_rng([schedule.seed, 1, step]).choice(len(units), count, p=chance)
        yield np.concatenate([units[k] for k in drawn])


def augment(faces: np.ndarray, rng: np.random.Generator, is_full: bool = True) -> Tensor:
    """Mirroring and, if full, shifts, light, colour and covered patches: (B, 256, 256, 3) uint8 to (B, 3, 256, 256)."""
    x = torch.from_numpy(faces).permute(0, 3, 1, 2).float().div_(255)
    count = len(x)
    flips = torch.from_numpy(rng.random(count) < 0.5)
    x[flips] = x[flips].flip(3)
    if not is_full:
        return x
    shifts = rng.integers(-10, 11, (count, 2))
    x = torch.stack([torch.roll(face, (int(dy), int(dx)), (1, 2)) for face, (dy, dx) in zip(x, shifts, strict=True)])
    gain = torch.from_numpy(rng.uniform(0.8, 1.2, (count, 1, 1, 1)).astype(np.float32))
    tint = torch.from_numpy(rng.uniform(0.93, 1.07, (count, 3, 1, 1)).astype(np.float32))
    light = torch.from_numpy(rng.uniform(-0.08, 0.08, (count, 1, 1, 1)).astype(np.float32))
    x = (x * gain * tint + light).clamp_(0, 1)
    for face in np.flatnonzero(rng.random(count) < 0.3):
        side = int(rng.integers(24, 80))
        top, left = rng.integers(0, 256 - side, 2)
        x[face, :, top : top + side, left : left + side] = x[face].mean()
    return x


def save_checkpoint(network: Any, optimizer: Any, path: Path, step: int, steps: int) -> None:
    """Network and optimizer in one safetensors file, replaced at once: a kill leaves the old one or the new one."""
    tensors = {f"network.{name}": value.contiguous() for name, value in network.state_dict().items()}
    for key, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{key}.{name}": torch.as_tensor(value).contiguous() for name, value in state.items()}
    tensors |= {"step": torch.tensor(step), "steps": torch.tensor(steps)}
    partial = path.with_suffix(".part")
    save_file(tensors, partial)
    partial.replace(path)


def resume(network: Any, optimizer: Any, plan: Any, path: Path, steps: int) -> int:
    """Load a checkpoint of the same network and a run of the same length; the number of steps that are done."""
    if not path.is_file():
        return 0
    tensors = load_file(path)
    learned = {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    if int(tensors["steps"]) != steps or {name: value.shape for name, value in learned.items()} != shapes:
        return 0
    network.load_state_dict(learned)
    resume_optimizer(optimizer, {k: v for k, v in tensors.items() if k.startswith("optimizer.")})
    done = int(tensors["step"])
    plan.load_state_dict({"last_epoch": done - 1, "_step_count": done + 1})
    plan.step()  # sets the learning rate that follows the last step done
    return done


def resume_optimizer(optimizer: Any, tensors: dict[str, Tensor]) -> None:
    """Give the optimizer its state back, each tensor laid out in memory as its parameter is."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        _, key, field = name.split(".", 2)
        state.setdefault(int(key), {})[field] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    for parameter, kept in optimizer.state.items():
        laid_out = {k: torch.empty_like(parameter).copy_(v) for k, v in kept.items() if v.shape == parameter.shape}
        kept.update(laid_out)


@torch.inference_mode()
def embed_all(network: Any, samples: Samples, rows: np.ndarray, batch: int = 32) -> np.ndarray:
    """The embedding of each row, (rows, dim) float32."""
    network.eval()
    parts = []
    for start in range(0, len(rows), batch):
        faces = torch.from_numpy(samples.aligned[rows[start : start + batch]])
        parts.append(network.features(faces.permute(0, 3, 1, 2).float().div_(255)).numpy())
    return np.concatenate(parts)
