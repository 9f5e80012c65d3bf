"""What each expert is worth: the scores of a set of files made again with every subset of the experts."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Float

from stream_detect.experts.table import gather_logits
from stream_detect.fusion.fusion import FusionWeights, fuse
from stream_detect.fusion.quality import QUALITY_NAMES
from stream_detect.training.looks import Look, Scored, file_llr

MOST_EXPERTS = 6  # 63 subsets; of more experts only each alone, all but one, and all


def subsets_of(experts: Sequence[str]) -> list[tuple[str, ...]]:
    """Every subset in the order of the experts, the smaller ones first."""
    sizes = tuple(range(1, len(experts) + 1))
    if len(experts) > MOST_EXPERTS:
        sizes = (1, len(experts) - 1, len(experts))
    return [chosen for size in sizes for chosen in combinations(experts, size)]


def llr_with(looks: Sequence[Look], fusion: FusionWeights, experts: Sequence[str]) -> Float[np.ndarray, " looks"]:
    """What the fusion makes of judged looks when only these experts speak; NaN where none of them could say."""
    if not looks:
        return np.zeros(0)
    silent = [name not in experts for name in fusion.experts]
    names = list(looks[0].logits)
    known = gather_logits({name: np.stack([look.logits[name] for look in looks]) for name in names}, fusion.experts)
    known[:, silent] = np.nan
    quality = np.stack([look.quality for look in looks if look.quality is not None])
    return fuse(known, quality[:, [QUALITY_NAMES.index(name) for name in fusion.quality]], fusion).astype(np.float64)


def file_llrs(scored: Sequence[Scored], fusion: FusionWeights, experts: Sequence[str]) -> Float[np.ndarray, " files"]:
    """The score of every file when only these experts speak; NaN where nothing was judged."""
    judged = [one.judged for one in scored]
    llr = llr_with([look for looks in judged for look in looks], fusion, experts)
    parts = np.split(llr, np.cumsum([len(looks) for looks in judged])[:-1]) if judged else []
    return np.array([file_llr(one, part) for one, part in zip(scored, parts, strict=True)])
