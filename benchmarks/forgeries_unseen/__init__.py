"""Four ways of forging that training never sees: the robustness suite alone uses them, and nothing here is shared with
the training's families: other warps, other colour transfers, other masks and blends, other generators.
"""

from benchmarks.forgeries_unseen.diffusion import diffused
from benchmarks.forgeries_unseen.morph import morphed
from benchmarks.forgeries_unseen.multiband import swapped
from benchmarks.forgeries_unseen.quilt import quilted
from stream_detect.training.forgeries.family import Family

UNSEEN: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "multiband_swap",
            "blended",
            "an identity swap blended band by band: Burt & Adelson, ACM Trans. Graphics 2(4), 1983",
            swapped,
        ),
        Family(
            "morph", "blended", "two people's shapes and textures half and half: Ferrara et al., IJCB 2014", morphed
        ),
        Family(
            "quilting",
            "resynthesised",
            "a face sewn together from patches of other people: Efros & Freeman, SIGGRAPH 2001",
            quilted,
        ),
        Family(
            "patch_diffusion",
            "resynthesised",
            "noise added and taken away again by the exact patch-wise score of other people's faces: "
            "Meng et al. (SDEdit), ICLR 2022; Kamb & Ganguli, 2024, arXiv 2412.20292",
            diffused,
        ),
    )
}
