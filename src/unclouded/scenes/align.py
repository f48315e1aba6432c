"""Radar and optics of one place: how far apart they lie, and how many days."""

from collections.abc import Callable, Iterator
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from unclouded.errors import InputError
from unclouded.raster import describe, same_grid
from unclouded.scenes.optical import OpticalScene
from unclouded.scenes.radar import RadarScene
from unclouded.scenes.shift import OPTICAL_BANDS, REACH_PX, Agreement, Shift, agreement, combined

BLOCK_PX = 512
"""Side of the blocks that are compared."""
BLOCKS = 5
"""Most blocks along each side of a scene."""

ReadMask = Callable[[int, int], NDArray[np.bool_]]
"""From first row and row after the last to a mask (rows, x), such as of pixels without clouds."""


def scene_shift(radar: RadarScene, optical: OpticalScene, where: ReadMask | None = None) -> Shift:
    """Estimate how far the radar lies from the optical scene, from up to 25 blocks spread over it.

    Args:
        radar: On the grid of the optical scene.
        optical: The scene.
        where: Which pixels may be compared; all with data if omitted. Clouds have edges, too: leave them out.

    Raises:
        InputError: The grids differ, or the scene is smaller than 64 px.
    """
    if not same_grid(radar.geobox, optical.geobox):
        grids = f"{describe(radar.geobox)}, not {describe(optical.geobox)}"
        raise InputError(f"{radar.path} lies on another grid than the optical scene ({grids}); align it first")
    return combined(_agreements(radar, optical, where))


def _agreements(radar: RadarScene, optical: OpticalScene, where: ReadMask | None) -> Iterator[Agreement]:
    height, width = optical.geobox.shape
    wanted = [optical.bands.index(band) for band in OPTICAL_BANDS]
    for top, bottom in _blocks(height):
        mask = None if where is None else where(top, bottom)
        seen, shown = radar.read(top, bottom), optical.read(top, bottom)[wanted]
        for left, right in _blocks(width):
            part = None if mask is None else mask[:, left:right]
            yield agreement(seen[:, :, left:right], shown[:, :, left:right], part)


def _blocks(side: int) -> list[tuple[int, int]]:
    """Spread blocks evenly over a side, as many as fit."""
    size = min(side, BLOCK_PX)
    count = min(BLOCKS, max(side // max(size, 8 * REACH_PX), 1))
    starts = np.linspace(0, side - size, count).round().astype(int).tolist() if count > 1 else [(side - size) // 2]
    return [(start, start + size) for start in starts]


def date_gap_days(radar: datetime | None, optical: datetime | None) -> float | None:
    """Return by how many days the radar is later than the optical scene; None where a time is unknown.

    Args:
        radar: Time of acquisition, with its zone.
        optical: Idem.
    """
    if radar is None or optical is None:
        return None
    return (radar - optical).total_seconds() / 86_400
