"""Users' own footage: what of it is looked at, which weights it starts from, and where the new ones may go."""

import importlib.resources
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from stream_detect.config import VerdictLimits
from stream_detect.detector import settings_from
from stream_detect.errors import ConfigError, OutputError, SourceNotFound
from stream_detect.training.card import CARD
from stream_detect.training.manifest import Item, items_in_folders
from stream_detect.weights import Weights, load_weights, save_weights

Warn = Callable[[str], None]
PROBE = ".probe"
TOLD_NAMES = 5  # so many files are named in one line


def own_footage(real: Sequence[Path], fake: Sequence[Path] = ()) -> list[Item]:
    """The pictures and clips of folders, real ones first.

    Raises:
        ConfigError: if there is no folder of real footage, or one is missing or holds nothing to look at.
    """
    if not real:
        only = "only forged footage was given" if fake else "nothing to train on"
        raise ConfigError(f"{only}: expected at least one folder of real footage, --real DIR")
    return [*items_of(real, is_fake=False), *(items_of(fake, is_fake=True) if fake else [])]


def items_of(folders: Sequence[Path], is_fake: bool) -> list[Item]:
    try:
        return items_in_folders((), folders) if is_fake else items_in_folders(folders)
    except SourceNotFound as exc:
        raise ConfigError(str(exc)) from exc


def folder_of(weights: Path | None) -> Path:
    """Where the weights to start from lie; by default with the package."""
    return Path(str(importlib.resources.files("stream_detect.weights"))) if weights is None else weights


def base_weights(folder: Path | None, out: Path) -> Weights:
    """The weights to start from, once it is sure that others can be written to `out`, which is made.

    Raises:
        WeightsError: if the weights are missing or damaged.
        OutputError: if `out` is the folder of these weights, or can't be written.
    """
    weights = load_weights(folder)
    if out.resolve() == folder_of(folder).resolve():
        raise OutputError(f"{out}: these are the weights to start from, which stay as they are; name another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / PROBE).touch()
        (out / PROBE).unlink()
    except OSError as exc:
        raise OutputError(f"{out}: can't write weights here: {exc.strerror or exc}; name another --out") from exc
    return weights


def save_beside(weights: Weights, base: Path | None, out: Path, notes: Mapping[str, str]) -> None:
    """Write weights, the card of those that they came from, and notes by the name of their file.

    Raises:
        OutputError: if the folder can't be written.
    """
    save_weights(weights, out)
    card = folder_of(base) / CARD
    try:
        if card.is_file():
            shutil.copyfile(card, out / CARD)
        for name, text in notes.items():
            (out / name).write_text(text, encoding="utf-8")
    except OSError as exc:
        raise OutputError(f"{out}: can't write here: {exc.strerror or exc}; name another --out") from exc


def limits_of(weights: Weights) -> dict[str, float]:
    """The limits of verdicts that hold with these weights."""
    limits = settings_from(VerdictLimits(), weights.thresholds)
    return {"fake": limits.fake, "real": limits.real, "disagreement": limits.disagreement}


def spread(groups: Sequence[str], count: int) -> list[int]:
    """The numbers of at most `count` entries, as evenly over the groups as they allow, and evenly within each."""
    members: dict[str, list[int]] = {}
    for number, group in enumerate(groups):
        members.setdefault(group, []).append(number)
    chosen: list[int] = []
    smallest_first = sorted(members.values(), key=len)
    for done, numbers in enumerate(smallest_first):
        quota = min(len(numbers), (count - len(chosen)) // (len(smallest_first) - done))
        chosen += [numbers[int(k)] for k in np.linspace(0, len(numbers) - 1, quota)]
    return sorted(chosen)


def told_names(paths: Sequence[Path]) -> str:
    """The first few names, and how many there are."""
    names = ", ".join(path.name for path in paths[:TOLD_NAMES])
    return f"{len(paths)} ({names}{', ...' if len(paths) > TOLD_NAMES else ''})"
