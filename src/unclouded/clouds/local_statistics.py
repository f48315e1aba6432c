"""Means and quantiles of the surroundings of each pixel, without the pixels that have no data."""

from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float32
from scipy.ndimage import uniform_filter

from unclouded.jit import compiled

FEWEST = 0.02
"""Share of a block that must be selected for its quantile to count."""


def smoothed(values: Float32[np.ndarray, "y x"], side_px: int = 3) -> Float32[np.ndarray, "y x"]:
    """Return the mean of the valid pixels of a square; NaN where the pixel itself has no data."""
    known = np.isfinite(values)
    if known.all():
        return np.asarray(uniform_filter(values, side_px, mode="nearest"), np.float32)
    weight = uniform_filter(known.astype(np.float32), side_px, mode="nearest")
    total = uniform_filter(np.where(known, values, np.float32(0.0)), side_px, mode="nearest")
    return np.asarray(np.divide(total, weight, out=np.full_like(values, np.nan), where=known), np.float32)


def block_quantile(
    values: Float32[np.ndarray, "y x"],
    where: Bool[np.ndarray, "y x"],
    quantile: float,
    block_px: int,
    otherwise: float,
) -> Float32[np.ndarray, "y x"]:
    """Return a quantile of the neighbourhood of each pixel: of blocks, averaged with those around, interpolated.

    Args:
        values: Values; finite where selected.
        where: Selected pixels.
        quantile: Quantile, 0 to 1.
        block_px: Side of a block.
        otherwise: Value where neither a block nor its neighbours have enough selected pixels.
    """
    height, width = values.shape
    rows, columns = -(-height // block_px), -(-width // block_px)
    level, weight = np.zeros((rows, columns), np.float32), np.zeros((rows, columns), np.float32)
    for row in range(rows):
        for column in range(columns):
            part = slice(row * block_px, (row + 1) * block_px, 2), slice(column * block_px, (column + 1) * block_px, 2)
            selected = values[part][where[part]]  # every fourth pixel is enough
            if len(selected) > FEWEST * block_px**2 / 4:
                level[row, column], weight[row, column] = np.quantile(selected, quantile), len(selected)
    total, near = (uniform_filter(field, 3, mode="constant") for field in (level * weight, weight))
    known = near > 0
    level = np.where(known, total / np.where(known, near, 1), np.float32(otherwise)).astype(np.float32)
    return upsample_blocks(level, block_px, values.shape)


def repeat_blocks(
    blocks: Bool[np.ndarray, "rows columns"], factor: int, shape: tuple[int, ...]
) -> Bool[np.ndarray, "y x"]:
    """Return the pixels of the blocks of a mask; the last blocks may extend beyond the shape."""
    return np.asarray(blocks.repeat(factor, 0).repeat(factor, 1)[: shape[0], : shape[1]])


def upsample_blocks(
    blocks: Float32[np.ndarray, "rows columns"], factor: int, shape: tuple[int, int], top: int = 0
) -> Float32[np.ndarray, "y x"]:
    """Interpolate block values bilinearly to pixels, as :func:`~unclouded.clouds.detector.upsample` does, but faster.

    Args:
        blocks: One value per block, located at its centre.
        factor: Side of a block, pixels.
        shape: Rows and columns of the result.
        top: First row of the result, counted from the first row of the first block.
    """
    result = np.empty(shape, np.float32)
    _upsample(blocks, factor, top, result)
    return result


@compiled
@no_type_check
def _upsample(blocks, factor, top, result):
    last_row, last_column = blocks.shape[0] - 1, blocks.shape[1] - 1
    for y in range(result.shape[0]):
        place = min(max((top + y + 0.5) / factor - 0.5, 0.0), float(last_row))
        row = min(int(place), max(last_row - 1, 0))
        below, next_row = np.float32(place - row), min(row + 1, last_row)
        for x in range(result.shape[1]):
            place = min(max((x + 0.5) / factor - 0.5, 0.0), float(last_column))
            column = min(int(place), max(last_column - 1, 0))
            right, next_column = np.float32(place - column), min(column + 1, last_column)
            above = blocks[row, column] * (1 - right) + blocks[row, next_column] * right
            under = blocks[next_row, column] * (1 - right) + blocks[next_row, next_column] * right
            result[y, x] = above * (1 - below) + under * below


def halved(pixels: Float32[np.ndarray, "band y x"]) -> Float32[np.ndarray, "band rows columns"]:
    """Return the mean of 2 x 2 pixels, over those with data in all bands; NaN where there is none."""
    bands, height, width = pixels.shape
    result = np.empty((bands, -(-height // 2), -(-width // 2)), np.float32)
    _halve(np.ascontiguousarray(pixels), result)
    return result


@compiled
@no_type_check
def _halve(pixels, result):
    bands, height, width = pixels.shape
    count = np.empty(result.shape[2], np.int64)
    valid = np.empty((2, width), np.bool_)
    for row in range(result.shape[1]):
        high = min(2 * row + 2, height) - 2 * row
        valid[:] = True
        for band in range(bands):
            for y in range(high):
                for x in range(width):
                    valid[y, x] &= np.isfinite(pixels[band, 2 * row + y, x])
        count[:] = 0
        for y in range(high):
            for x in range(width):
                count[x // 2] += valid[y, x]
        for band in range(bands):
            total = result[band, row]
            total[:] = 0
            for y in range(high):
                for x in range(width):
                    if valid[y, x]:
                        total[x // 2] += pixels[band, 2 * row + y, x]
            for column in range(len(count)):
                total[column] = total[column] / count[column] if count[column] else np.nan
