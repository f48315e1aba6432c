"""Spatial shift and time gap between the radar and the optical scene of one place."""

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float32
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from unclouded.errors import InputError
from unclouded.io.raster import describe_grid, same_grid
from unclouded.io.strips import RowReader
from unclouded.sentinel.coregistration import OPTICAL_BANDS, EdgeCorrelation, Shift, combine_shifts, correlate_edges
from unclouded.sentinel.optical import OpticalScene
from unclouded.sentinel.radar import RadarScene

BLOCK_PX = 256
"""Side of the blocks that are compared; a scene with room for few is compared everywhere, in larger ones."""
BLOCKS = 5
"""Most blocks along each side of a scene."""
CLEAR_SHARE = 0.1
"""Blocks with less of their pixels to be compared are left out, for a few edges fit anywhere."""
TEXTURE = 0.01
"""So are those whose near infrared, without speckle of single pixels, varies less: open water has no edges."""
_STEP_PX, _TEXTURE_SIGMA_PX = 128, 2.0


def scene_shift(radar: RadarScene, optical: OpticalScene, where: RowReader[NDArray[np.bool_]] | None = None) -> Shift:
    """Estimate how far the radar lies from the optical scene, from up to 25 blocks spread over it.

    Each of 5 x 5 cells of the scene gives the block in which most pixels may be compared; the blocks of one row of
    cells lie side by side, so that a tenth of a large scene is read. Blocks without texture count for nothing.

    Args:
        radar: On the grid of the optical scene.
        optical: The scene.
        where: Which pixels may be compared; all with data if omitted. Clouds have edges, too: leave them out.

    Raises:
        InputError: The grids differ, or the scene is smaller than 64 px.
    """
    if not same_grid(radar.geobox, optical.geobox):
        grids = f"{describe_grid(radar.geobox)}, not {describe_grid(optical.geobox)}"
        raise InputError(f"{radar.path} lies on another grid than the optical scene ({grids}); align it first")
    width = optical.geobox.shape[1]
    return combine_shifts(
        _agreements(radar, optical, where or (lambda top, bottom: np.ones((bottom - top, width), bool)))
    )


def _agreements(
    radar: RadarScene, optical: OpticalScene, where: RowReader[NDArray[np.bool_]]
) -> Iterator[EdgeCorrelation]:
    height = optical.geobox.shape[0]
    for rows in _cells(height):
        (top, bottom), columns = _clearest(where(*rows), rows[0], _side(height))
        mask = where(top, bottom)
        seen, shown = radar.read(top, bottom), optical.read(top, bottom, OPTICAL_BANDS)
        for left, right in columns:
            block = np.s_[..., left:right]
            if mask[block].mean() >= CLEAR_SHARE and _has_texture(shown[block], mask[block]):
                yield correlate_edges(seen[block], shown[block], mask[block])


def _clearest(
    mask: Bool[np.ndarray, "rows x"], first: int, height: int
) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """Return rows, and for each column of cells the columns, of the blocks with most pixels; of equals the middle ones.

    Args:
        mask: Which pixels may be compared, of one row of cells.
        first: Its first row.
        height: Of a block.
    """
    found, columns = [], _cells(mask.shape[1])
    width = _side(mask.shape[1])
    for top in _starts(0, len(mask), height):
        sums = np.concatenate([[0], mask[top : top + height].sum(axis=0).cumsum()])
        lefts = [max(_starts(*cell, width), key=lambda left: sums[left + width] - sums[left]) for cell in columns]
        found.append((sum(int(sums[left + width] - sums[left]) for left in lefts), top, lefts))
    _, top, lefts = max(found, key=lambda one: one[0])
    return (first + top, first + top + height), [(left, left + width) for left in lefts]


def _cells(side: int) -> list[tuple[int, int]]:
    """Cut a side into equal parts, each at least a block long; one where there is room for no more."""
    count = min(BLOCKS, max(side // BLOCK_PX, 1))
    return list(pairwise(np.linspace(0, side, count + 1).round().astype(int).tolist()))


def _side(length: int) -> int:
    """Return the side of the blocks along a side of the scene."""
    cells = len(_cells(length))
    return BLOCK_PX if cells == BLOCKS else length // cells


def _starts(low: int, high: int, size: int) -> list[int]:
    """Return where a block may begin within a part, the middle first."""
    middle = (low + high - size) // 2
    return sorted({middle, *range(low, high - size + 1, _STEP_PX)}, key=lambda start: abs(start - middle))


def _has_texture(shown: Float32[np.ndarray, "band y x"], mask: Bool[np.ndarray, "y x"]) -> bool:
    """Return whether the near infrared has enough texture among the pixels to compare."""
    infrared = shown[OPTICAL_BANDS.index("B08")]
    usable = mask & np.isfinite(infrared)
    share = gaussian_filter(usable.astype(np.float32), _TEXTURE_SIGMA_PX)
    smooth = gaussian_filter(np.where(usable, infrared, np.float32(0)), _TEXTURE_SIGMA_PX)
    return bool(usable.any() and np.std(smooth[usable] / share[usable]) > TEXTURE)


def date_gap_days(radar: datetime | None, optical: datetime | None) -> float | None:
    """Return the days from the optical to the radar acquisition; None if a time is unknown.

    Args:
        radar: Acquisition time with time zone.
        optical: Acquisition time with time zone.
    """
    if radar is None or optical is None:
        return None
    return (radar - optical).total_seconds() / 86_400
