"""A cloud map that the user brings, read row by row: what other detectors found, or what was drawn by hand."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.geotiff import grid_of, image_bands, open_geotiff, stored_rows
from unclouded.raster import describe, same_grid

ReadMap = Callable[[int, int], NDArray[np.float32]]
"""From first row and row after the last to the map m (rows, x); NaN where it has no data."""


@contextmanager
def open_own_map(path: Path, geobox: GeoBox) -> Iterator[ReadMap]:
    """Open a map m, 0 clear to 1 cloudy, whatever its type; a mask of zeros and ones is one, too.

    Args:
        path: GeoTIFF of one band.
        geobox: The grid of the scene; the map's must be the same.

    Raises:
        InputError: The file is damaged, has more than one band, or lies on another grid; on reading, other values.
    """
    with open_geotiff(path) as source:
        if (count := len(image_bands(source))) != 1:
            raise InputError(f"{named(path)} has {count} bands, expected one, the cloud map; leave one in it")
        if not same_grid(grid_of(source), geobox):
            grids = f"({describe(grid_of(source))}, not {describe(geobox)})"
            raise InputError(f"{named(path)} lies on another grid than the optical scene {grids}; warp it first")

        def read(top: int, bottom: int) -> NDArray[np.float32]:
            stored = stored_rows(path, source, top, bottom)
            m = np.array(stored.values[0], np.float32)
            m[stored.is_gap[0]] = np.nan
            _refuse_other_values(path, m)
            return m

        yield read


def _refuse_other_values(path: Path, m: Float32[np.ndarray, "rows x"]) -> None:
    low, high = (float(extreme.reduce(m, axis=None)) for extreme in (np.fmin, np.fmax))  # both pass over NaN
    if low < 0.0 or high > 1.0:
        raise InputError(
            f"{named(path)} has values from {low:.4g} to {high:.4g}, expected 0 for clear to 1 for cloudy; scale them, "
            "or say which classes are cloud first"
        )
