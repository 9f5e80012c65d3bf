"""Made-up tiles and pixels that kernels are tried on: noise, camera-like, constant, quantised, saturated."""

from collections.abc import Callable

import numpy as np

SIDE = 64


def smooth(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 64, 64) in [0, 1]: low frequencies alone, as of skin out of focus."""
    y, x = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
    waves = rng.normal(size=(count, 4, 1, 1)) * 0.1
    angle, turns, phase = (rng.random((count, 4, 1, 1)) * span for span in (np.pi, 4, 2 * np.pi))
    along = np.cos(angle) * x + np.sin(angle) * y
    ground = rng.uniform(0.3, 0.7, size=(count, 1, 1))
    return np.clip(ground + (waves * np.sin(2 * np.pi * turns * along / SIDE + phase)).sum(axis=1), 0, 1)


def noise_tiles(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.random((count, SIDE, SIDE))


def camera_tiles(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.clip(smooth(rng, count) + rng.normal(size=(count, SIDE, SIDE)) * 0.01, 0, 1)


def quantised_tiles(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.round(camera_tiles(rng, count) * 255) / 255


def flat_tiles(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.broadcast_to(rng.random((count, 1, 1)), (count, SIDE, SIDE))


TILES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "noise": noise_tiles,
    "camera": camera_tiles,
    "quantised": quantised_tiles,
    "smooth": smooth,
    "flat": flat_tiles,
}


def face_tiles(kind: str, faces: int) -> np.ndarray:
    """(faces, 28, 64, 64) float32."""
    made = TILES[kind](np.random.default_rng(faces), faces * 28)
    return np.ascontiguousarray(made, np.float32).reshape(faces, 28, SIDE, SIDE)


def noise_pixels(rng: np.random.Generator, faces: int) -> np.ndarray:
    return rng.integers(0, 256, size=(faces, SIDE, SIDE, 3))


def camera_pixels(rng: np.random.Generator, faces: int) -> np.ndarray:
    """Smooth skin-like color with a little noise that the channels share in part."""
    luma = smooth(rng, faces)[..., None] * np.array([1.0, 0.75, 0.6])
    shared, own = rng.normal(size=(faces, SIDE, SIDE, 1)), rng.normal(size=(faces, SIDE, SIDE, 3))
    return np.clip(luma * 255 + 1.5 * shared + 2 * own, 0, 255)


def gray_pixels(rng: np.random.Generator, faces: int) -> np.ndarray:
    return np.repeat(camera_tiles(rng, faces)[..., None] * 255, 3, axis=-1).round()


def flat_pixels(rng: np.random.Generator, faces: int) -> np.ndarray:
    return np.broadcast_to(rng.integers(0, 256, size=(faces, 1, 1, 3)), (faces, SIDE, SIDE, 3))


PIXELS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "noise": noise_pixels,
    "camera": camera_pixels,
    "gray": gray_pixels,
    "flat": flat_pixels,
    "black": lambda rng, faces: np.zeros((faces, SIDE, SIDE, 3)),
    "white": lambda rng, faces: np.full((faces, SIDE, SIDE, 3), 255),
    "saturated": lambda rng, faces: np.clip(camera_pixels(rng, faces) * 3 - 200, 0, 255),
    "black and white": lambda rng, faces: 255 * rng.integers(0, 2, size=(faces, SIDE, SIDE, 1)).repeat(3, axis=-1),
    "primaries": lambda rng, faces: 255 * rng.integers(0, 2, size=(faces, SIDE, SIDE, 3)),
}


def face_pixels(kind: str, faces: int) -> np.ndarray:
    """(faces, 64, 64, 3) uint8."""
    return np.ascontiguousarray(PIXELS[kind](np.random.default_rng(faces), faces), np.uint8)
