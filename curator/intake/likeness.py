"""What two pictures are compared by, and whether they are the same picture.

The 64-bit pHash proposes pairs. It says which of the low frequencies of a 32x32 grey picture lie
above their median, bit for bit as the library imagehash does, in half the time. It is blunt: a
camera that does not move gives all its pictures one hash. A signature decides: a 60x60 grey
picture with a 15x15 picture of its colours. One of two signatures is moved, stretched and
brightened to fit the other; then the largest difference of any small part counts, not the mean
over the picture. So a copy that was resized, compressed, brightened or cropped at its border is
near, and the same part with a scratch is not.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curator.base.arrays import BoolArray
from curator.settings.sections import DuplicatesSettings, IngestSettings

SIDE = 60
COLOUR_SIDE = 15
OUTLINE_SIDE = 10
OUTLINE_STEPS = 32
"""Values of an outline per standard deviation."""
GREY_BYTES, COLOUR_BYTES = SIDE * SIDE, 2 * COLOUR_SIDE * COLOUR_SIDE
SIGNATURE_BYTES = GREY_BYTES + COLOUR_BYTES
"""4,050 bytes."""

FLAT_CONTRAST = 2.0
"""Grey levels of standard deviation below which a picture counts as flat."""
MEAN_TOLERANCE = 32
"""Grey levels by which the mean brightness of near-duplicates may differ."""
GAIN_LIMIT = 1.33
"""Factor by which the contrast of near-duplicates may differ."""
COLOUR_TOLERANCE = 12
"""Levels of Cb and Cr by which the mean colours, and any part's colour beyond that, may differ."""
GRADIENT_SHARE = 0.1
"""Share of the brightness gradient at a place that its difference may have besides.

What resampling leaves is in proportion to the gradient.
"""
MOVED_GRADIENT_SHARE = 0.2
"""The same where a picture was moved or stretched: a rest of misalignment comes on top."""

_COMPARED_SIDE = 384
_SMALL_SIDE = 128
_HASH_SIDE, _OVERSAMPLING = 8, 4


def compared_side(ingest: IngestSettings) -> int:
    """Pixels of the longer side that a decoder has to give for comparing and for the preview."""
    return max(ingest.preview_size, _COMPARED_SIDE)


def shrunk_for_comparing(pixels: Image.Image) -> Image.Image:
    """The picture with a shorter side of 128 to 255 pixels where it is larger."""
    factor = min(pixels.size) // _SMALL_SIDE
    return pixels.reduce(factor) if factor > 1 else pixels


def perceptual_hash(small: Image.Image) -> int:
    """The 64-bit pHash of a picture as an unsigned integer.

    Krawetz (2011), "Looks like it", with the median over all 64 coefficients.
    """
    side = _HASH_SIDE * _OVERSAMPLING
    grey = small.convert("L").resize((side, side), Image.Resampling.LANCZOS)
    values = np.asarray(grey, dtype=np.float64)
    waves = _low_waves()
    # Without BLAS, whose threads cost more than this product; rounded, so that the noise of
    # arithmetic stays out of flat pictures.
    rows = np.einsum("wi,ij->wj", waves, values)
    frequencies = np.round(np.einsum("wj,vj->wv", rows, waves), 6)
    middle = np.partition(frequencies, (31, 32), axis=None)
    bits = np.packbits(frequencies > (middle[31] + middle[32]) / 2)
    return int.from_bytes(bits.tobytes(), "big")


@cache
def _low_waves() -> NDArray[np.float64]:
    """The first eight rows of the cosine transform (type II, not normalised), (8, 32)."""
    from scipy.fft import dct

    whole = dct(np.eye(_HASH_SIDE * _OVERSAMPLING), axis=0)
    return np.asarray(whole[:_HASH_SIDE], dtype=np.float64)


def signature(pixels: Image.Image) -> bytes:
    """60x60 values of brightness, then 15x15 of Cb and of Cr: 4,050 unsigned bytes."""
    # Not from `shrunk_for_comparing`: `reduce` stretches the last row and column of blocks.
    square = pixels.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0)
    grey, *colours = square.convert("YCbCr").split()
    reduced = [colour.reduce(SIDE // COLOUR_SIDE) for colour in colours]
    return b"".join(band.tobytes() for band in (grey, *reduced))


def outlines(signatures: NDArray[np.uint8]) -> NDArray[np.int8]:
    """10x10 grey values of each signature in 1/32 standard deviations, (n, 100).

    Most proposed pairs are told apart by these alone.
    """
    step = SIDE // OUTLINE_SIDE
    values = _grey(signatures).reshape(-1, OUTLINE_SIDE, step, OUTLINE_SIDE, step)
    values = values.mean(axis=(2, 4)).reshape(len(values), -1)
    values -= values.mean(axis=1, keepdims=True)
    contrast = np.maximum(values.std(axis=1, keepdims=True), FLAT_CONTRAST)
    steps = np.rint(values * (OUTLINE_STEPS / contrast)).clip(-127, 127)
    return np.asarray(steps, dtype=np.int8)


def misfit(first: NDArray[np.int8], second: NDArray[np.int8]) -> NDArray[np.float32]:
    """What a small motion and another contrast leave of the difference of outlines, rms, (n,).

    Both have shape (n, 100); the result is in standard deviations of a picture. One linear step
    from the mean of the two (Lucas and Kanade, 1981), a hundredth of the work of `near`.
    """
    left, right = (
        outline.reshape(-1, OUTLINE_SIDE, OUTLINE_SIDE).astype(np.float32) / OUTLINE_STEPS
        for outline in (first, second)
    )
    middle, inside = (left + right) / 2, (slice(None), slice(1, -1), slice(1, -1))
    centre = ((np.arange(OUTLINE_SIDE, dtype=np.float32) + 0.5) * (2 / OUTLINE_SIDE) - 1)[1:-1]
    across = (middle[:, 1:-1, 2:] - middle[:, 1:-1, :-2]) / 2
    down = (middle[:, 2:, 1:-1] - middle[:, :-2, 1:-1]) / 2
    parts = (across, centre * across, down, centre[:, None] * down, middle[inside])
    pixels = (OUTLINE_SIDE - 2) ** 2
    basis = np.stack([part.reshape(-1, pixels) for part in parts], axis=1)
    basis -= basis.mean(axis=2, keepdims=True)
    rest = (left - right)[inside].reshape(-1, pixels, 1)
    rest -= rest.mean(axis=1, keepdims=True)
    normal = basis @ basis.transpose(0, 2, 1)
    diagonal = np.arange(len(parts))
    # A flat picture says nothing about its motion: the ridge keeps it where it is.
    normal[:, diagonal, diagonal] += 1e-3 * pixels
    solved = np.linalg.solve(normal, basis @ rest)
    rest -= basis.transpose(0, 2, 1) @ solved
    return np.asarray(np.sqrt(np.square(rest[:, :, 0]).mean(axis=1)), dtype=np.float32)


def near(
    first: NDArray[np.uint8], second: NDArray[np.uint8], duplicates: DuplicatesSettings
) -> tuple[BoolArray, NDArray[np.float32]]:
    """Whether signatures are near each other row by row, and their local differences.

    Both have shape (n, 4050). The local difference is the largest one of any place in grey
    levels, beyond what the gradient there explains; infinite where the whole pictures differ.
    """
    local = np.full(len(first), np.inf, np.float32)
    alike = np.zeros(len(first), np.bool_)
    for start in range(0, len(first), _COMPARED_AT_ONCE):
        part = slice(start, start + _COMPARED_AT_ONCE)
        left, right = _grey(first[part]), _grey(second[part])
        contrast = np.maximum(left.std(axis=(1, 2)), FLAT_CONTRAST)
        # Coarse first: it finds larger shifts, and drops most pairs, many of them half way.
        coarse_left, coarse_right = _halved(left), _halved(right)
        limit = 2 * duplicates.pixel_tolerance * contrast
        motion, residual = _fit(coarse_left, coarse_right, None, _COARSE_STEPS)
        rows = np.flatnonzero(residual <= _HOPELESS * limit)
        if len(rows):
            motion[rows], residual[rows] = _fit(
                coarse_left[rows], coarse_right[rows], motion[rows], _COARSE_STEPS
            )
            rows = rows[residual[rows] <= limit[rows]]
        if not len(rows):
            continue
        left, right = _smoothed(left[rows]), _smoothed(right[rows])
        motion, _ = _fit(left, right, motion[rows], _FINE_STEPS)
        difference, residual = _local_difference(left, right, motion)
        local[start + rows] = difference
        colour = _colour_difference(first[part][rows], second[part][rows], motion)
        brightness = np.abs((left - right).mean(axis=(1, 2)))
        alike[start + rows] = (
            (difference <= duplicates.local_tolerance)
            & (residual <= duplicates.pixel_tolerance * contrast[rows])
            & (brightness <= MEAN_TOLERANCE)
            & (colour <= COLOUR_TOLERANCE)
        )
    return alike, local


Stack = NDArray[np.float32]
"""Small pictures of one size, (n, side, side)."""

_COMPARED_AT_ONCE = 128
_COARSE_STEPS, _FINE_STEPS = 2, 1
"""Coarse steps twice."""
_HOPELESS = 1.4
"""Multiple of what may be left after all coarse steps; copies had at most 1.2 half way."""
_UNMOVED = 0.05
"""Shift in pixels of a signature below which a picture is not resampled."""
_MOVED = 0.1
"""Shift at a border from which on the pixels there have no counterpart."""


def _grey(signatures: NDArray[np.uint8]) -> Stack:
    return signatures[:, :GREY_BYTES].reshape(-1, SIDE, SIDE).astype(np.float32)


def _halved(stack: Stack) -> Stack:
    pairs = stack[:, ::2] + stack[:, 1::2]
    return np.asarray((pairs[:, :, ::2] + pairs[:, :, 1::2]) / 4, dtype=np.float32)


def _smoothed(stack: Stack) -> Stack:
    """Each value with its neighbours, weights 1 2 1 along either axis."""
    wide = np.pad(stack, ((0, 0), (1, 1), (1, 1)), mode="edge")
    wide = wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]
    return np.asarray((wide[:, :, :-2] + 2 * wide[:, :, 1:-1] + wide[:, :, 2:]) / 16)


def _still(count: int) -> NDArray[np.float32]:
    """No motion: zoom and shift along x, then along y, in half pictures, (n, 4)."""
    return np.tile(np.array([1, 0, 1, 0], np.float32), (count, 1))


def _sampled_at(zoom: NDArray[np.float32], shift: NDArray[np.float32], side: int) -> Stack:
    """Where each pixel of a row lies in the moved picture, in its pixels, (n, side)."""
    centre = (np.arange(side, dtype=np.float32) + 0.5) * (2 / side) - 1
    return (zoom[:, None] * centre + shift[:, None] + 1) * (side / 2) - 0.5


def _moved(stack: Stack, motion: NDArray[np.float32]) -> Stack:
    """The pictures seen through `motion` (n, 4), bicubic, the border repeated."""
    side = stack.shape[1]
    columns = np.arange(side, dtype=np.float32)
    weights = []
    for zoom, shift in ((motion[:, 2], motion[:, 3]), (motion[:, 0], motion[:, 1])):
        sources = _sampled_at(zoom, shift, side).clip(0, side - 1)
        away = np.abs(sources[:, :, None] - columns)
        # Keys (1981), a = -1/2: triangles would blur what is compared sharply otherwise.
        near_by = (1.5 * away - 2.5) * away**2 + 1
        further = ((2.5 - 0.5 * away) * away - 4) * away + 2
        kernel = np.where(away < 1, near_by, np.where(away < 2, further, 0))
        weights.append(kernel / kernel.sum(axis=2, keepdims=True))
    return np.asarray(weights[0] @ stack @ weights[1].transpose(0, 2, 1), dtype=np.float32)


def _fit(
    left: Stack, right: Stack, motion: NDArray[np.float32] | None, steps: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The motion under which `right` resembles `left` most, and what then is left (rms), (n,).

    Gauss-Newton over zoom and shift along both axes, gain and offset (Lucas and Kanade, 1981),
    from `motion`; None is at rest.
    """
    count, side = len(left), left.shape[1]
    centre = ((np.arange(side, dtype=np.float32) + 0.5) * (2 / side) - 1)[1:-1]
    target = left[:, 1:-1, 1:-1].reshape(count, -1, 1)
    target = target - target.mean(axis=1, keepdims=True)
    basis = np.empty((count, 5, (side - 2) ** 2), np.float32)
    diagonal = np.arange(5)
    for _ in range(steps):
        warped = right if motion is None else _moved(right, motion)
        motion = _still(count) if motion is None else motion
        across = (warped[:, 1:-1, 2:] - warped[:, 1:-1, :-2]) * (side / 4)
        down = (warped[:, 2:, 1:-1] - warped[:, :-2, 1:-1]) * (side / 4)
        parts = (centre * across, across, centre[:, None] * down, down, warped[:, 1:-1, 1:-1])
        for row, part in enumerate(parts):
            basis[:, row] = part.reshape(count, -1)
        basis -= basis.mean(axis=2, keepdims=True)
        normal = basis @ basis.transpose(0, 2, 1)
        # A flat picture says nothing about its motion: the ridge keeps it where it is.
        normal[:, diagonal, diagonal] = normal[:, diagonal, diagonal] * 1.001 + 1
        solved = np.linalg.solve(normal, basis @ target)
        gain = np.where(np.abs(solved[:, 4]) < 0.3, 1, solved[:, 4])
        motion = motion + (solved[:, :4, 0] / gain).clip(-0.08, 0.08)
        motion[:, ::2] = motion[:, ::2].clip(1 / 1.15, 1.15)
        motion[:, 1::2] = motion[:, 1::2].clip(-0.13, 0.13)
    rest = target[:, :, 0] - (solved.transpose(0, 2, 1) @ basis)[:, 0]
    assert motion is not None
    return motion, np.sqrt(np.square(rest).mean(axis=1))


def _overlap(motion: NDArray[np.float32], side: int) -> BoolArray:
    """Which pixels both pictures show, (n, side, side): a crop has no counterpart to a border.

    Smoothing mixed the outermost pixels with their neighbours, which only one of the two has.
    """
    inside = []
    for zoom, shift in ((motion[:, 2], motion[:, 3]), (motion[:, 0], motion[:, 1])):
        sources = _sampled_at(zoom, shift, side)
        ahead = np.abs(sources[:, :1]) > _MOVED
        behind = np.abs(sources[:, -1:] - (side - 1)) > _MOVED
        own = np.arange(side)
        outside = ((sources < 0.9) | (own < 1)) & ahead
        outside |= ((sources > side - 1.9) | (own > side - 2)) & behind
        inside.append(~outside)
    overlap: BoolArray = inside[0][:, :, None] & inside[1][:, None, :]
    return overlap


def _local_difference(
    left: Stack, right: Stack, motion: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The largest local difference beyond the gradient's share, and the rms, both (n,)."""
    sources = [_sampled_at(motion[:, axis], motion[:, axis + 1], SIDE) for axis in (0, 2)]
    at_rest = np.arange(SIDE, dtype=np.float32)
    shifts = np.max([np.abs(source - at_rest).max(axis=1) for source in sources], axis=0)
    motion = np.where(shifts[:, None] < _UNMOVED, _still(len(left)), motion)
    warped, overlap = _moved(right, motion), _overlap(motion, SIDE)
    count = overlap.sum(axis=(1, 2))
    means = [(stack * overlap).sum(axis=(1, 2)) / count for stack in (left, warped)]
    own, other = (
        (s - m[:, None, None]) * overlap for s, m in zip((left, warped), means, strict=True)
    )
    # The one in numerator and denominator: flat pictures keep a gain of 1.
    gain = ((own * other).sum(axis=(1, 2)) / count + 1) / ((other**2).sum(axis=(1, 2)) / count + 1)
    rest = own - gain.clip(1 / GAIN_LIMIT, GAIN_LIMIT)[:, None, None] * other
    # Where brightening ran into white or black, one picture no longer shows what the other does.
    clipped = ((warped > 252) | (left < 3)) & (rest > 0) | ((left > 252) | (warped < 3)) & (
        rest < 0
    )
    rest[clipped] = 0
    gradient = np.zeros_like(warped)
    gradient[:, :, 1:-1] = np.abs(warped[:, :, 2:] - warped[:, :, :-2]) / 2
    gradient[:, 1:-1] += np.abs(warped[:, 2:] - warped[:, :-2]) / 2
    share = np.where(shifts < _UNMOVED, GRADIENT_SHARE, MOVED_GRADIENT_SHARE)
    beyond = np.abs(rest) - share[:, None, None] * _largest_around(gradient)
    rms = np.sqrt(np.square(rest).sum(axis=(1, 2)) / count)
    return np.maximum(beyond, 0).max(axis=(1, 2)).astype(np.float32), rms


def _largest_around(stack: Stack) -> Stack:
    wide = np.pad(stack, ((0, 0), (1, 1), (1, 1)), mode="edge")
    wide = np.maximum(np.maximum(wide[:, :-2], wide[:, 1:-1]), wide[:, 2:])
    return np.maximum(np.maximum(wide[:, :, :-2], wide[:, :, 1:-1]), wide[:, :, 2:])


def _colour_difference(
    first: NDArray[np.uint8], second: NDArray[np.uint8], motion: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The largest difference of Cb or Cr: of the means, or of a part beyond that, (n,)."""
    largest = np.zeros(len(first), np.float32)
    for start in range(GREY_BYTES, SIGNATURE_BYTES, COLOUR_SIDE * COLOUR_SIDE):
        left, right = (
            signatures[:, start : start + COLOUR_SIDE * COLOUR_SIDE]
            .reshape(-1, COLOUR_SIDE, COLOUR_SIDE)
            .astype(np.float32)
            for signatures in (first, second)
        )
        warped = _moved(right, motion)
        rest = (left - warped) * _overlap(motion, COLOUR_SIDE)
        mean = rest.mean(axis=(1, 2), keepdims=True)
        slope = np.zeros_like(warped)
        slope[:, :, 1:-1] = np.abs(warped[:, :, 2:] - warped[:, :, :-2]) / 2
        slope[:, 1:-1] += np.abs(warped[:, 2:] - warped[:, :-2]) / 2
        local = np.abs(rest - mean) - 0.5 * _largest_around(slope)
        largest = np.maximum(largest, np.abs(mean[:, 0, 0]))
        largest = np.maximum(largest, local.max(axis=(1, 2)))
    return largest
