"""The one place that imports torchvision: import this module before timm or torchvision.

    import stream_detect.vision  # noqa: F401  (before timm)
    import timm

torchvision's compiled operators are linked against one build of torch. Beside another build (a CPU torch and the CUDA
torchvision from PyPI, say) they don't load, and `import torchvision`, so `import timm` too, dies with
`operator torchvision::nms does not exist`. The real import is tried first. Only if it dies in that way are the missing
operators declared, which is enough for transforms and for timm; calling one of them still fails, and we never do.
"""

import importlib
import importlib.metadata
import re
import sys

import torch

# Schemas as in torchvision 0.26-0.28, csrc/ops/{nms,quantized/cpu/qnms_kernel}.cpp.
SCHEMAS = {
    "torchvision::nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "torchvision::qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
MISSING_OPERATOR = re.compile(r"operator torchvision::(\w+) does not exist")


def torchvision_problem() -> str | None:
    """Why torchvision's compiled operators are absent and what to do about it, or None if they work."""
    return _problem


def import_torchvision() -> str | None:
    """Import torchvision, declaring what its compiled part should have brought if that part doesn't load.

    Returns:
        None if the real import worked, else one line on the mismatch.

    Raises:
        ImportError: if torchvision is not installed.
        RuntimeError: if it fails in another way than a missing operator.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as exc:
        if not MISSING_OPERATOR.search(str(exc)):
            raise
        declare_operators()
        importlib.import_module("torchvision")
        return mismatch()
    return None


def declare_operators() -> None:
    """Declare the operators' schemas and forget the torchvision that was imported half."""
    for operator, schema in SCHEMAS.items():
        torch.library.define(operator, schema)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]


def mismatch() -> str:
    installed = importlib.metadata.version("torchvision")
    return (
        f"torchvision {installed} was built for another torch than {torch.__version__}: its compiled operators are "
        "absent (stream-detect needs none of them). To have them, install both from one index, such as "
        "pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu"
    )


_problem = import_torchvision()
