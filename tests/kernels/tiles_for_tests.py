"""Tiles of luma that try a kernel: noise, a camera's smooth pictures, steps of gray, edges, grids and nothing."""

import numpy as np
from jaxtyping import Float32

SHAPE = (28, 64, 64)


def noise(faces: int = 2) -> Float32[np.ndarray, "faces 28 64 64"]:
    return np.random.default_rng(faces).random((faces, *SHAPE), np.float32)


def camera(faces: int = 2) -> Float32[np.ndarray, "faces 28 64 64"]:
    """Smooth shading with a gray level of noise."""
    rng = np.random.default_rng(faces)
    y, x = np.mgrid[:64, :64]
    shading = 0.5 + 0.2 * np.sin(x / 9 + rng.uniform(0, 6, (faces, 28, 1, 1))) + 0.1 * np.cos(y / 13)
    return (shading + rng.normal(0, 1 / 255, (faces, *SHAPE))).astype(np.float32)


def gray_levels(faces: int = 2) -> Float32[np.ndarray, "faces 28 64 64"]:
    """A camera's pictures in 8 bits, so that many differences are equal or zero."""
    return (np.rint(camera(faces) * 255) / 255).astype(np.float32)


def ramp(faces: int = 2) -> Float32[np.ndarray, "faces 28 64 64"]:
    """Slopes whose second differences are rounding errors and nothing else."""
    y, x = np.mgrid[:64, :64]
    slopes = np.arange(1, 29).reshape(28, 1, 1) * 1e-4
    return np.broadcast_to(0.2 + slopes * x + 2e-3 * y, (faces, *SHAPE)).astype(np.float32)


def constant(faces: int = 2) -> Float32[np.ndarray, "faces 28 64 64"]:
    return np.full((faces, *SHAPE), 0.3, np.float32)


def black(faces: int = 2) -> Float32[np.ndarray, "faces 28 64 64"]:
    return np.zeros((faces, *SHAPE), np.float32)


def edge(faces: int = 2) -> Float32[np.ndarray, "faces 28 64 64"]:
    """One edge a tile, upright at another column of each, with a level one across it."""
    tiles = np.full((faces, *SHAPE), 0.1, np.float32)
    for place in range(28):
        tiles[:, place, :, 2 * place + 4 :] += 0.5
        tiles[:, place, 60 - 2 * place :] += 0.25
    return tiles


def checkerboard(faces: int = 2) -> Float32[np.ndarray, "faces 28 64 64"]:
    y, x = np.mgrid[:64, :64]
    return np.broadcast_to((x + y) % 2, (faces, *SHAPE)).astype(np.float32)


def enlarged(faces: int = 2) -> Float32[np.ndarray, "faces 28 64 64"]:
    """Noise of half the size, each pixel shown as a block of 2 x 2."""
    return noise(faces)[..., ::2, ::2].repeat(2, axis=-1).repeat(2, axis=-2)


def corner(faces: int = 2) -> Float32[np.ndarray, "faces 28 64 64"]:
    """One bright pixel in the last corner of each tile, which only the outermost differences see."""
    tiles = black(faces)
    tiles[..., -1, -1] = 1.0
    return tiles


PICTURES = (noise, camera, gray_levels, ramp, constant, black, edge, checkerboard, enlarged, corner)
