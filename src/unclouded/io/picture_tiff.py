"""Pictures as cloud-optimised GeoTIFFs: three bands of 8 bit in JPEG, and a mask of the pixels with data.

GDAL writes them from a complete file, because a JPEG file with masks is more than rows of blocks; pictures are small.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from jaxtyping import Float32
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError

from unclouded.files import unwritable, whole_file
from unclouded.io.gdal import gdal_path, gdal_reason, gdal_session
from unclouded.io.geotiff import READ_BACK_DIFFERS
from unclouded.io.rows import COG_BLOCK_PX, write_rows
from unclouded.io.strips import row_ranges

QUALITY = 85
_BLOCK_PX, _ERROR, _STRIP_PX = 16, 6.0, 512
"""Side of blocks, largest mean error of their means in a strip, rows of a strip. JPEG keeps means, if not pixels."""
_CONTRAST = 0.25
"""Share of the standard deviation that is added: colours of single bright pixels are clipped, which moves means."""


def write_picture(
    path: Path, strips: Iterable[tuple[int, NDArray[np.uint8]]], tags: dict[str, str], geobox: GeoBox
) -> None:
    """Write a picture from strips of rows; the result is compared with them.

    Args:
        path: Output file; an older file is replaced only when the new one is complete.
        strips: First row, and red, green, blue, and 255 where there are data, of each strip, from top to bottom.
        tags: Tags of the file.
        geobox: Grid.

    Raises:
        MachineError: The disk is full, or the folder cannot be written.
    """
    plain = path.with_name(f".{path.stem}.plain.tif")
    try:
        with write_rows(plain, ("red", "green", "blue", "alpha"), geobox, "uint8", tags=tags) as write:
            for top, values in strips:
                write(top, values)
        with whole_file(path) as partial, gdal_session(), gdal_path(plain) as source, gdal_path(partial) as local:
            try:
                with rasterio.open(source, "r+", driver="GTiff") as file:
                    file.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
                rasterio.shutil.copy(source, local, driver="COG", **_options())
                is_intact = _resembles(local, source)
            except RasterioError as error:
                raise unwritable(path, gdal_reason(error)) from error
            if not is_intact:
                raise unwritable(path, READ_BACK_DIFFERS)
    finally:
        plain.unlink(missing_ok=True)


def _options() -> dict[str, Any]:
    return {
        "COMPRESS": "JPEG",
        "QUALITY": str(QUALITY),
        "OVERVIEW_QUALITY": str(QUALITY),
        "BLOCKSIZE": str(COG_BLOCK_PX),
        "OVERVIEW_RESAMPLING": "AVERAGE",
        "BIGTIFF": "IF_SAFER",
        "NUM_THREADS": "1",  # the order of the blocks, and so the bytes, must not depend on the machine
    }


def _resembles(path: Path, plain: Path) -> bool:
    """Return whether a picture has the mask of its source, and its colours but for the loss of JPEG."""
    with rasterio.open(path, driver="GTiff") as file, rasterio.open(plain, driver="GTiff") as source:
        for rows in row_ranges(file.height, _STRIP_PX):
            window = (rows, (0, file.width))
            colours, valid = file.read(window=window), file.dataset_mask(window=window)
            *expected, alpha = source.read(window=window)
            errors = _block_means((colours.astype(np.float32) - np.stack(expected)) * (alpha > 0))
            most = _ERROR + _CONTRAST * float(np.std(expected))
            if not np.array_equal(valid, alpha) or np.abs(errors).mean() > most:
                return False
    return True


def _block_means(values: Float32[np.ndarray, "band y x"]) -> Float32[np.ndarray, "band blocks_y blocks_x"]:
    starts = [np.arange(0, length, _BLOCK_PX) for length in values.shape[1:]]
    sums = np.add.reduceat(np.add.reduceat(values, starts[0], axis=1), starts[1], axis=2)
    return np.asarray(sums / np.float32(_BLOCK_PX**2))
