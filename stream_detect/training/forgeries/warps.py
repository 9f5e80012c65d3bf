"""Faces drawn into other places: smooth and piecewise warps over a coarse lattice, and aligned canvases of few pixels.

A warp is a function from points of the picture that is drawn to points of the picture that is read.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import combinations

import cv2
import numpy as np

from stream_detect.training.forgeries.family import AnyPicture
from stream_detect.training.forgeries.geometry import (
    FIVE_POINTS,
    Matrix,
    Points,
    apply,
    fit_affine,
    fit_similarity,
)
from stream_detect.types import Face

Warp = Callable[[Points], Points]
NODES = 24  # of the lattice a side
KERNELS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4, cv2.INTER_NEAREST)
KERNEL_SHARES = (0.5, 0.25, 0.15, 0.1)
CANVAS_TOP = -1.2  # upper side of an aligned canvas in canonical units
RING = np.array([[1.45 * np.sin(t), 0.4 + 1.75 * np.cos(t)] for t in np.linspace(0, 2 * np.pi, 12, endpoint=False)])


def by_similarity(source: Face, target: Face) -> Warp:
    """From the target's landmarks to the source's by rotation, scale and shift."""
    matrix = fit_similarity(target.landmarks, source.landmarks)
    return lambda points: apply(matrix, points)


def by_affine(source: Face, target: Face) -> Warp:
    """From the target's landmarks to the source's by an affine map."""
    matrix = fit_affine(target.landmarks, source.landmarks)
    return lambda points: apply(matrix, points)


def by_mesh(source: Face, target: Face) -> Warp:
    """Triangle by triangle between five landmarks and a ring around them, each landmark meeting its like."""
    ours, theirs = _meshed(target), _meshed(source)
    whole = fit_similarity(ours, theirs)
    maps = [(ours[list(t)], fit_affine(ours[list(t)], theirs[list(t)])) for t in _triangles()]

    def warp(points: Points) -> Points:
        mapped = apply(whole, points)
        for corners, matrix in maps:
            inside = _is_inside(points, corners)
            mapped[inside] = apply(matrix, points[inside])
        return mapped

    return warp


def by_spline(points: np.ndarray, to: np.ndarray) -> Warp:
    """The thin-plate spline that takes `points` to `to` exactly (Bookstein, PAMI 1989)."""
    points, to = np.asarray(points, np.float64), np.asarray(to, np.float64)
    center, scale = points.mean(0), max(float(np.abs(points - points.mean(0)).max()), 1e-6)
    knots = (points - center) / scale
    design = np.column_stack([np.ones(len(knots)), knots])
    system = np.block([[_bending(knots, knots), design], [design.T, np.zeros((3, 3))]])
    weights = np.linalg.lstsq(system, np.vstack([to, np.zeros((3, 2))]), rcond=None)[0]

    def warp(at: Points) -> Points:
        near = (np.asarray(at, np.float64) - center) / scale
        mapped: Points = np.column_stack([_bending(near, knots), np.ones(len(near)), near]) @ weights
        return mapped

    return warp


def by_shifts(centers: np.ndarray, shifts: np.ndarray, reach: float) -> Warp:
    """Points near each center are read `shifts` further on, fading with a Gaussian of width `reach` pixels."""

    def warp(points: Points) -> Points:
        distance = ((points[:, None] - centers[None]) ** 2).sum(2)
        return np.asarray(points + np.exp(-distance / (2 * reach**2)) @ shifts)

    return warp


def chain(*warps: Warp) -> Warp:
    """Warps one after the other, the first one first."""

    def warp(points: Points) -> Points:
        for step in warps:
            points = step(points)
        return points

    return warp


def draw(source: AnyPicture, warp: Warp, shape: tuple[int, ...], kernel: int = cv2.INTER_LINEAR) -> np.ndarray:
    """A picture of `shape` (height, width) whose every pixel is read where `warp` says; reduced without aliasing."""
    height, width = shape[:2]
    grid_y, grid_x = np.meshgrid(np.linspace(0, height - 1, NODES), np.linspace(0, width - 1, NODES), indexing="ij")
    places = warp(np.column_stack([grid_x.ravel(), grid_y.ravel()])).reshape(NODES, NODES, 2)
    source, places = _reduced(source, places, (height, width))
    across, down = _hats(width), _hats(height)
    maps = [(down @ places[..., axis].astype(np.float32) @ across.T).astype(np.float32) for axis in (0, 1)]
    return np.asarray(cv2.remap(source, maps[0], maps[1], kernel, borderMode=cv2.BORDER_REFLECT_101))


def canvas_of(face: Face, px: int, span: float) -> Matrix:
    """From pixels of an upright aligned canvas to the picture: `px` a side, `span` distances between the eyes wide."""
    to_face = fit_similarity(FIVE_POINTS, face.landmarks)
    unit = span / px
    to_canonical = np.array([[unit, 0, -span / 2], [0, unit, CANVAS_TOP], [0, 0, 1]])
    return np.asarray(to_face @ to_canonical)


def through_canvas(
    source: AnyPicture, warp: Warp, face: Face, shape: tuple[int, ...], px: int, span: float, kernel: int
) -> np.ndarray:
    """A face as a generator gives it: drawn upright on `px` x `px` pixels, then enlarged into a picture of `shape`."""
    matrix = canvas_of(face, px, span)
    canvas = draw(source, chain(lambda points: apply(matrix, points), warp), (px, px))
    to = (shape[1], shape[0])
    return np.asarray(cv2.warpAffine(canvas, matrix, to, flags=kernel, borderMode=cv2.BORDER_REPLICATE))


def draw_kernel(rng: np.random.Generator) -> int:
    """A kernel for enlarging; the ones that swappers use are the likelier ones."""
    return int(rng.choice(KERNELS, p=KERNEL_SHARES))


def _reduced(source: AnyPicture, places: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Source and places in it, reduced where neighbouring pixels would be read far apart."""
    middle = places[NODES // 4 : -NODES // 4, NODES // 4 : -NODES // 4]
    steps = [
        np.hypot(*np.moveaxis(np.diff(middle, axis=axis), 2, 0)).mean() * (NODES - 1) / max(side - 1, 1)
        for axis, side in ((0, shape[0]), (1, shape[1]))
    ]
    scale = float(np.sqrt(steps[0] * steps[1]))
    height, width = source.shape[:2]
    if scale < 1.25 or min(height, width) / scale < 8:
        return source, places
    small = cv2.resize(source, (round(width / scale), round(height / scale)), interpolation=cv2.INTER_AREA)
    return small, (places + 0.5) * [small.shape[1] / width, small.shape[0] / height] - 0.5


@lru_cache(maxsize=512)
def _hats(length: int) -> np.ndarray:
    """(length, nodes) weights of linear interpolation between lattice nodes from end to end."""
    at = np.linspace(0, NODES - 1, length)[:, None]
    return np.asarray(np.maximum(0, 1 - np.abs(at - np.arange(NODES))), np.float32)


def _bending(points: np.ndarray, knots: np.ndarray) -> np.ndarray:
    squared = ((points[:, None] - knots[None]) ** 2).sum(2)
    return np.asarray(squared * np.log(np.maximum(squared, 1e-12)))


def _meshed(face: Face) -> np.ndarray:
    ring = apply(fit_similarity(FIVE_POINTS, face.landmarks), RING)
    return np.vstack([np.asarray(face.landmarks, np.float64), ring])


@lru_cache(maxsize=1)
def _triangles() -> tuple[tuple[int, int, int], ...]:
    """The Delaunay triangles of the canonical mesh: those whose circumcircle holds no other point."""
    points = np.vstack([FIVE_POINTS, RING]) + np.random.default_rng(0).normal(0, 1e-3, (17, 2))  # no four on a circle
    found = []
    for triple in combinations(range(len(points)), 3):
        a, b, c = points[list(triple)]
        system = 2 * np.array([b - a, c - a])
        if abs(np.linalg.det(system)) < 1e-9:
            continue
        center = np.linalg.solve(system, [b @ b - a @ a, c @ c - a @ a])
        distance = np.hypot(*(points - center).T)
        if np.delete(distance, triple).min() > distance[triple[0]]:
            found.append(triple)
    return tuple(found)


def _is_inside(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """(points,) bool: which points lie inside a triangle or on its border."""
    sides = np.roll(corners, -1, axis=0) - corners
    rest = points[:, None] - corners[None]
    turns = sides[:, 0] * rest[..., 1] - sides[:, 1] * rest[..., 0]
    return np.asarray((turns >= 0).all(1) | (turns <= 0).all(1))
