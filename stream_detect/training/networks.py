"""Fit one network on samples: pairs in one batch, light augmentation, checkpoints that an interrupted run resumes.

A network learns a lesson: some kinds of forgery, one output for each. An output sees real faces and its own kind alone,
so that no kind is learned at another's cost.
"""

from collections.abc import Callable, Iterator, Sequence
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
    lone_share: float = 0.4  # of the units of a batch: forgeries without a real partner, where there are any
    token_weight: float = 0.0  # of the loss that asks every place of a face whether it is forged
    teacher_weight: float = 0.0  # share of the loss that follows a better network's logits
    seed: int = 7


def fit_network(
    network: Any,
    samples: Samples,
    weights: np.ndarray,
    kinds: Sequence[str],
    schedule: Schedule,
    checkpoint: Path,
    progress: Progress,
    teacher: np.ndarray | None = None,
) -> None:
    """Fit in place.

    A checkpoint is written every `CHECKPOINT_STEPS`; one that fits is gone on from, to the same weights in the end.

    Args:
        network: with `kind_logits`, one output for each of `kinds`.
        samples: to learn from; forgeries of other kinds are left out.
        weights: (samples,) how often a row is drawn; 0 for never.
        kinds: of forgery, in the order of the outputs.
        schedule: how long and how fast.
        checkpoint: where unfinished work is kept.
        progress: hears of every step.
        teacher: (samples, kinds) logits of a better network that are followed, NaN where there is none.
    """
    lesson = Lesson(samples, weights, tuple(kinds), teacher)
    steps = max(1, int(schedule.epochs * len(lesson.rows) / schedule.batch))
    optimizer = torch.optim.AdamW(parameter_groups(network, schedule), weight_decay=schedule.weight_decay)
    rates = [group["lr"] for group in optimizer.param_groups]
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps, pct_start=0.15)
    begun = resume(network, optimizer, plan, checkpoint, steps)
    smoothed = 0.7
    network.train()
    batches = draw_batches(lesson, schedule, begun, steps)
    for step, rows in zip(range(begun, steps), batches, strict=False):
        torch.manual_seed(schedule.seed * 1_000_003 + step)  # dropout falls the same whether resumed or not
        loss = batch_loss(network, lesson, rows, schedule, step)
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


class Lesson:
    """What one network learns from: real faces and the forgeries of its kinds, in units that are drawn together."""

    def __init__(
        self, samples: Samples, weights: np.ndarray, kinds: tuple[str, ...], teacher: np.ndarray | None = None
    ) -> None:
        self.samples, self.kinds, self.teacher = samples, kinds, teacher
        self.kind = np.select([samples.kind == kind for kind in kinds], range(len(kinds)), -1)  # -1: real, or not ours
        rows = np.flatnonzero((~samples.is_fake | (self.kind >= 0)) & (weights > 0))
        rows = rows[np.argsort(samples.pair[rows], kind="stable")]
        starts = np.flatnonzero(np.r_[True, np.diff(samples.pair[rows]) != 0])
        units = np.split(rows, starts[1:]) if len(rows) else []
        self.units = [unit for unit in units if samples.is_fake[unit].any()]
        if not self.units:
            raise ValueError(f"expected forgeries of the kinds {', '.join(kinds)} to learn from, got none")
        self.rows = np.concatenate(self.units)
        self.is_lone = np.array([samples.is_fake[unit].all() for unit in self.units])
        self.chance = np.array([weights[unit].mean() for unit in self.units])

    def chances(self, lone_share: float) -> np.ndarray:
        """How likely each unit is drawn; those without a real partner make up `lone_share` of the draws."""
        chance = self.chance.copy()
        if self.is_lone.any() and not self.is_lone.all():
            chance[self.is_lone] *= lone_share / chance[self.is_lone].sum()
            chance[~self.is_lone] *= (1 - lone_share) / chance[~self.is_lone].sum()
        shares: np.ndarray = chance / chance.sum()
        return shares


def parameter_groups(network: Any, schedule: Schedule) -> list[dict[str, Any]]:
    named = list(network.named_parameters())
    stem = [p for name, p in named if name.startswith("stem")]
    rest = [p for name, p in named if not name.startswith("stem")]
    groups = [{"params": rest, "lr": schedule.rate}, {"params": stem, "lr": schedule.rate * schedule.stem_rate}]
    return [group for group in groups if group["params"]]


def batch_loss(network: Any, lesson: Lesson, rows: np.ndarray, schedule: Schedule, step: int) -> Tensor:
    """Cross-entropy of each output on real faces and its own kind, plus the same for places, plus the teacher's."""
    generator = np.random.default_rng([schedule.seed, step])
    pictures, masks = lesson.samples.aligned[rows], lesson.samples.mask[rows]
    faces, masks_seen = augment(pictures, generator, schedule.is_augmented, masks)
    if schedule.token_weight:
        logits, places = network.face_and_token_logits(faces)
    else:
        logits, places = network.kind_logits(faces), None
    kind = lesson.kind[rows]
    loss = torch.stack([output_loss(logits[:, k], kind, k, schedule.smoothing) for k in range(logits.shape[1])]).mean()
    if lesson.teacher is not None:
        follow = teacher_loss(logits, torch.from_numpy(lesson.teacher[rows]).float())
        loss = (1 - schedule.teacher_weight) * loss + schedule.teacher_weight * follow
    if places is not None:
        loss = loss + schedule.token_weight * places_loss(places, kind, masks_seen)
    return loss


def output_loss(logits: Tensor, kind: np.ndarray, output: int, smoothing: float) -> Tensor:
    """Cross-entropy with smoothed labels over real faces (-1) and those of one kind, both counting equally."""
    is_fake = torch.from_numpy(kind == output)
    is_real = torch.from_numpy(kind == -1)
    target = is_fake.float() * (1 - 2 * smoothing) + smoothing
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    sides = [each[side].mean() for side in (is_real, is_fake) if side.any()]
    return torch.stack(sides).mean() if len(sides) == 2 else 0.0 * logits.sum()


def teacher_loss(logits: Tensor, given: Tensor) -> Tensor:
    """Cross-entropy against the teacher's probabilities, where it gave any (distillation, Hinton et al. 2015)."""
    said = torch.isfinite(given)
    if not said.any():
        return 0.0 * logits.sum()
    return F.binary_cross_entropy_with_logits(logits[said], torch.sigmoid(given[said]))


def places_loss(places: Tensor, kind: np.ndarray, masks: Tensor) -> Tensor:
    """Cross-entropy of every place against how much of it is forged, forged and untouched places counting equally.

    `places` (B, outputs, H, W) are read at the output of the face's kind, at all outputs for real faces; `masks`
    (B, 16, 16) lie in [0, 1].
    """
    target = F.adaptive_avg_pool2d(masks[:, None], (places.shape[2], places.shape[3])).expand_as(places)
    own = torch.from_numpy(kind[:, None] == np.arange(places.shape[1])) | torch.from_numpy(kind == -1)[:, None]
    each = F.binary_cross_entropy_with_logits(places, target, reduction="none")
    counts = own[:, :, None, None].float()
    forged, untouched = counts * target, counts * (1 - target)
    return 0.5 * ((each * forged).sum() / (forged.sum() + 1) + (each * untouched).sum() / (untouched.sum() + 1))


def draw_batches(lesson: Lesson, schedule: Schedule, begun: int, steps: int) -> Iterator[np.ndarray]:
    """Rows of each step: units drawn by weight, a real face always with a forgery made from it."""
    chances = lesson.chances(schedule.lone_share)
    size = float(chances @ [len(unit) for unit in lesson.units])
    count = max(2, round(schedule.batch / size))
    for step in range(begun, steps):
        drawn = np.random.default_rng([schedule.seed, 1, step]).choice(len(lesson.units), count, p=chances)
        yield np.concatenate([lesson.units[k] for k in drawn])


def augment(
    faces: np.ndarray, rng: np.random.Generator, is_full: bool = True, masks: np.ndarray | None = None
) -> tuple[Tensor, Tensor]:
    """Mirroring and, if full, shifts, light, colour and covered patches.

    Args:
        faces: (B, 256, 256, 3) uint8.
        rng: draws everything.
        is_full: whether more is done than mirroring.
        masks: (B, 16, 16) uint8, what is forged; nothing by default.

    Returns:
        The faces, (B, 3, 256, 256) in [0, 1], and their masks, (B, 16, 16) in [0, 1].
    """
    x = torch.from_numpy(faces).permute(0, 3, 1, 2).float().div_(255)
    count = len(x)
    seen = torch.zeros(count, 16, 16) if masks is None else torch.from_numpy(masks).float().div_(255)
    flips = torch.from_numpy(rng.random(count) < 0.5)
    x[flips], seen[flips] = x[flips].flip(3), seen[flips].flip(2)
    if not is_full:
        return x, seen
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
    return x, seen


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


def embed_all(network: Any, samples: Samples, rows: np.ndarray, batch: int = 16) -> np.ndarray:
    """The embedding of each row, (rows, dim) float32, as the stored network gives it when it judges."""
    from stream_detect.experts.engine import make_engine
    from stream_detect.experts.networks import pack

    engine = make_engine(pack(network))
    starts = range(0, len(rows), batch)
    return np.concatenate([engine(samples.aligned[rows[start : start + batch]]) for start in starts])
