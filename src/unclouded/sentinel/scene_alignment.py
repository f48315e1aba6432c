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
from unclouded.sentinel.optical_scene import OpticalScene
from unclouded.sentinel.radar import RadarScene

BLOCK_PX = 256
"""Side of the compared blocks; small scenes are compared everywhere, in larger blocks."""
BLOCKS = 5
"""Largest number of blocks along each side of a scene."""
CLEAR_SHARE = 0.1
"""Smallest share of comparable pixels in a block: a few edges alone correlate at any shift."""
TEXTURE = 0.01
"""Smallest standard deviation of the smoothed near infrared in a block: open water has no edges."""
_STEP_PX, _TEXTURE_SIGMA_PX = 128, 2.0


def scene_shift(radar: RadarScene, optical: OpticalScene, where: RowReader[NDArray[np.bool_]] | None = None) -> Shift:
    """Estimate the shift of the radar relative to the optical scene, from up to 25 blocks spread over it.

    In each of 5 x 5 cells of the scene, the block with most comparable pixels is used; the blocks of one row of cells
    share their rows, so that a tenth of a large scene is read. Blocks without texture are skipped.

    Args:
        radar: Radar scene on the grid of the optical scene.
        optical: Optical scene.
        where: Reader of the mask of comparable pixels; all with data if omitted. It should exclude clouds, which have
            edges, too.

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
    """Return the rows, and for each column of cells the columns, of the blocks with most comparable pixels.

    Of equal blocks those in the middle are taken.

    Args:
        mask: Comparable pixels of one row of cells.
        first: First row of the mask in the scene.
        height: Height of a block.
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
    """Divide a side into equal parts of at least one block, one part if it is shorter than two."""
    count = min(BLOCKS, max(side // BLOCK_PX, 1))
    return list(pairwise(np.linspace(0, side, count + 1).round().astype(int).tolist()))


def _side(length: int) -> int:
    """Return the side of the blocks along a side of the scene."""
    cells = len(_cells(length))
    return BLOCK_PX if cells == BLOCKS else length // cells


def _starts(low: int, high: int, size: int) -> list[int]:
    """Return the possible starts of a block within a part, the middle first."""
    middle = (low + high - size) // 2
    return sorted({middle, *range(low, high - size + 1, _STEP_PX)}, key=lambda start: abs(start - middle))


def _has_texture(shown: Float32[np.ndarray, "band y x"], mask: Bool[np.ndarray, "y x"]) -> bool:
    """Return whether the near infrared of the comparable pixels has enough texture."""
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
