"""The demonstration's forgery: what a live face swapper does to a frame, imitated without a network.

A live swapper cuts the face out at a small fixed size, has a network paint another identity there, and pastes the
result back. Here the same way is gone by hand: the 112-pixel crop gets other proportions (a smooth warp), half of its
coarse light and shade from the average of a hundred other faces, no skin texture (networks smooth it away), and is
brought to 224 pixels by a transposed convolution whose phases differ, which leaves the checkerboard such layers leave.
Tone and place flicker from frame to frame; the paste is an ellipse. No part of the training makes forgeries so, and
the astronaut is in none of its data. It is an imitation: that it is caught shows that the chain works, not how well
the detector does on a given face swapper. For that see the model card.
"""

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

Picture = UInt8[np.ndarray, "height width 3"]
Crop = Float32[np.ndarray, "rows columns 3"]
CROP_PX = 112  # what the imitated network sees
CROP_CENTER = (224.0, 122.0)  # of the crop in the portrait, x and y
CROP_SPAN = 150.0  # side of the crop in the portrait's pixels
# Proportions: (x, y) in the crop from -1 to 1, and how far the point moves in the same units.
PROPORTIONS = {
    (-0.28, -0.28): (-0.05, 0.03),  # eyes: wider apart, lower
    (0.31, -0.26): (0.05, 0.03),
    (0.0, 0.1): (0.0, 0.06),  # nose: longer
    (-0.3, 0.22): (0.05, 0.05),  # mouth: narrower, lower
    (0.28, 0.24): (-0.05, 0.05),
    (-0.55, 0.3): (0.07, 0.0),  # cheeks: narrower
    (0.55, 0.3): (-0.07, 0.0),
}
REACH = 0.3  # of each point's move, as a Gaussian's sigma in the same units
TAPS = np.array([0.25, 0.75, 0.75, 0.25], np.float32)  # a 4 x 4 kernel with stride 2 that interpolates linearly...
CHECKER = np.array([[1.04, 0.97], [0.98, 1.03]], np.float32)  # ...but whose four phases differ in gain


class FaceSwap:
    """Replaces the portrait's face in frames whose pose is known, as a live swapper that tracks it would."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng([seed, 1])
        self.to_crop = portrait_to_crop()
        self.map_x, self.map_y = reshaping()
        self.stranger = average_stranger()
        self.mask = ellipse()

    def __call__(self, rgb: Picture, to_frame: Float32[np.ndarray, "2 3"]) -> Picture:
        """The frame with the face swapped.

        Args:
            to_frame: the affine map from the portrait's pixels to the frame's.
        """
        frame_to_crop = chained(self.to_crop, cv2.invertAffineTransform(to_frame))
        crop = cv2.warpAffine(rgb, frame_to_crop, (CROP_PX, CROP_PX), flags=cv2.INTER_LINEAR).astype(np.float32)
        painted = self.tinted(upsampled(smoothed(self.other_identity(crop))))
        return paste(painted, self.mask, self.jittered(frame_to_crop), rgb)

    def other_identity(self, crop: Crop) -> Crop:
        """Other proportions, and half of the coarse shading of the average stranger."""
        reshaped = cv2.remap(crop, self.map_x, self.map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        luma = reshaped.mean(axis=2)
        coarse = cv2.GaussianBlur(luma, (0, 0), 6)
        middle = (slice(CROP_PX // 4, 3 * CROP_PX // 4),) * 2
        wanted = self.stranger * coarse[middle].std() + coarse[middle].mean()
        other: np.ndarray = reshaped + 0.5 * (wanted - coarse)[..., None]
        return other

    def tinted(self, painted: Crop) -> Crop:
        """Warmer and flatter than the frame, by an amount that flickers."""
        gain = np.array([1.06, 0.99, 0.93], np.float32) * self.rng.normal(1, 0.012)
        flat = (painted - 128) * np.float32(self.rng.normal(0.94, 0.01)) + 128
        return np.asarray(flat * gain, np.float32)

    def jittered(self, frame_to_crop: np.ndarray) -> np.ndarray:
        """Landmarks wobble: a third of a crop pixel."""
        moved = frame_to_crop.copy()
        moved[:, 2] += self.rng.normal(0, 0.35, 2)
        return moved


def portrait_to_crop() -> Float32[np.ndarray, "2 3"]:
    scale = CROP_PX / CROP_SPAN
    left, top = CROP_CENTER[0] - CROP_SPAN / 2, CROP_CENTER[1] - CROP_SPAN / 2
    return np.array([[scale, 0, -scale * left], [0, scale, -scale * top]], np.float32)


def reshaping() -> tuple[Float32[np.ndarray, "rows columns"], Float32[np.ndarray, "rows columns"]]:
    """For each pixel of the new crop, where it comes from in the old one."""
    axis = np.linspace(-1, 1, CROP_PX, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    shift_x, shift_y = np.zeros_like(x), np.zeros_like(y)
    for (at_x, at_y), (by_x, by_y) in PROPORTIONS.items():
        weight = np.exp(-((x - at_x - by_x) ** 2 + (y - at_y - by_y) ** 2) / (2 * REACH**2))
        shift_x += by_x * weight
        shift_y += by_y * weight
    pixels = (CROP_PX - 1) / 2
    return (x - shift_x + 1) * pixels, (y - shift_y + 1) * pixels


def average_stranger() -> Float32[np.ndarray, "rows columns"]:
    """Coarse shading of the mean of LFW's first hundred faces (25 x 25, in scikit-image); zero mean, unit spread."""
    import skimage.data

    faces: np.ndarray = skimage.data.lfw_subset()  # type: ignore[no-untyped-call]
    mean = faces[:100].mean(axis=0).astype(np.float32)
    eyes = np.array([[5.0, 8.0], [15.0, 8.0], [10.0, 18.5]], np.float32)  # and the mouth, in the mean face
    place = (np.array([[-0.28, -0.28], [0.31, -0.26], [0.0, 0.23]], np.float32) + 1) * (CROP_PX - 1) / 2
    matrix = cv2.getAffineTransform(eyes, place.astype(np.float32))
    shading = cv2.warpAffine(mean, matrix, (CROP_PX, CROP_PX), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    shading = cv2.GaussianBlur(shading, (0, 0), 4)
    shading = (shading - shading.mean()) / shading.std()
    return np.asarray(shading, np.float32)


def ellipse() -> Float32[np.ndarray, "rows columns"]:
    """1 over the face, falling to 0 within a tenth of its width; twice the crop's size."""
    mask = np.zeros((2 * CROP_PX, 2 * CROP_PX), np.float32)
    cv2.ellipse(
        mask, (CROP_PX, round(CROP_PX * 0.98)), (round(CROP_PX * 0.56), round(CROP_PX * 0.72)), 0, 0, 360, 1.0, -1
    )
    return cv2.GaussianBlur(mask, (0, 0), 4)


def smoothed(crop: Crop) -> Crop:
    """Edges without texture."""
    return np.asarray(cv2.bilateralFilter(crop, 5, 22, 2.5), np.float32)


def upsampled(crop: Crop) -> Float32[np.ndarray, "rows2 columns2 3"]:
    """Twice the size by a transposed convolution (stride 2, 4 x 4 taps) with phases of uneven gain."""
    height, width = crop.shape[:2]
    spread = np.zeros((2 * height, 2 * width, 3), np.float32)
    spread[::2, ::2] = crop
    doubled = cv2.sepFilter2D(spread, -1, TAPS, TAPS, anchor=(2, 2), borderType=cv2.BORDER_REFLECT_101)
    checkered: np.ndarray = doubled * np.tile(CHECKER, (height, width))[..., None]
    return checkered


def paste(painted: Crop, mask: np.ndarray, frame_to_crop: np.ndarray, rgb: Picture) -> Picture:
    """The painted crop (twice the crop's size) blended into the frame by the mask."""
    to_frame = cv2.invertAffineTransform(chained(np.array([[2, 0, 0.5], [0, 2, 0.5]], np.float32), frame_to_crop))
    left, top, right, bottom = reached(to_frame, mask.shape, rgb.shape)
    to_frame[:, 2] -= np.array([left, top])
    face = cv2.warpAffine(painted, to_frame, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
    weight = cv2.warpAffine(mask, to_frame, (right - left, bottom - top), flags=cv2.INTER_LINEAR)[..., None]
    pasted, under = rgb.copy(), rgb[top:bottom, left:right]
    pasted[top:bottom, left:right] = np.clip(under + weight * (face - under) + 0.5, 0, 255)
    return pasted


def reached(to_frame: np.ndarray, crop: tuple[int, ...], frame: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The box of the frame that a crop covers: left, top, right, bottom; never empty."""
    corners = np.array([[0, 0], [crop[1], 0], [0, crop[0]], [crop[1], crop[0]]]) @ to_frame[:, :2].T + to_frame[:, 2]
    left, top = (int(side) for side in np.clip(np.floor(corners.min(0)), 0, [frame[1] - 1, frame[0] - 1]))
    right, bottom = (int(side) for side in np.clip(np.ceil(corners.max(0)), [left + 1, top + 1], frame[1::-1]))
    return left, top, right, bottom


def chained(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The affine map that does `first`, then `second`."""
    linear = second[:, :2] @ first[:, :2]
    return np.column_stack([linear, second[:, :2] @ first[:, 2] + second[:, 2]]).astype(np.float32)
