"""Convolutions on a GPU in float32 as on a CPU."""

from typing import Any


def plain_convolutions() -> None:
    """Keep cuDNN from TF32 in the whole process: its ten bits of mantissa move boxes by a pixel.

    Only torch's older switch leaves both of its interfaces readable: with the newer one alone, whoever asks for
    `torch.backends.cudnn.allow_tf32`, or uses `torch.backends.cudnn.flags`, gets a RuntimeError.
    """
    import torch

    cudnn: Any = torch.backends.cudnn
    cudnn.allow_tf32 = False
    cudnn.conv.fp32_precision = "ieee"  # whatever torch.backends.fp32_precision says of all
