"""A radar image on another grid than it came: from values that were read and found whole, never from a file."""

import numpy as np
from jaxtyping import Float32
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.warp import reproject

from unclouded.scenes.blocks import block_rows
from unclouded.scenes.calibration import to_db
from unclouded.scenes.store import RawStore

MARGIN_PX = 4
"""Source pixels around a block that may reach into it, besides what its outline spans."""
_OUTLINE = 33


def warp(source: RawStore, source_geobox: GeoBox, target: RawStore, geobox: GeoBox) -> float:
    """Bring VV and VH in dB from one grid to another: bilinear, in linear power.

    Args:
        source: Two bands of float32 in dB, complete.
        source_geobox: Its grid.
        target: Takes two bands of float32 in dB; NaN where the source has nothing.
        geobox: Its grid.

    Returns:
        The share of the target that the source covers.
    """
    seen = 0
    to_source = Transformer.from_crs(str(geobox.crs), str(source_geobox.crs), always_xy=True)
    for top, parts in block_rows(geobox):
        for left, part in parts:
            rows, columns = _needed(part, source_geobox, to_source)
            for band in range(2):
                power = _warped(source, source_geobox, band, rows, columns, part)
                seen += int(np.isfinite(power).sum()) if band == 0 else 0
                target.write(band, top, left, to_db(power))
    return float(seen / (geobox.shape[0] * geobox.shape[1]))


def _needed(part: GeoBox, source: GeoBox, to_source: Transformer) -> tuple[slice, slice]:
    """Return the window of the source that a part of the target needs; empty where it needs none."""
    down, right = (np.linspace(0, side, _OUTLINE) for side in part.shape)
    column, row = np.meshgrid(right, down)
    x, y = part.affine * (column.ravel(), row.ravel())
    x, y = to_source.transform(x, y)
    there = np.stack((~source.affine) * (np.asarray(x), np.asarray(y)))
    there = there[:, np.isfinite(there).all(axis=0)]
    if not there.size:
        return slice(0, 0), slice(0, 0)
    first = np.maximum(np.floor(there.min(axis=1)) - MARGIN_PX, 0).astype(int).tolist()
    last = np.minimum(np.ceil(there.max(axis=1)) + MARGIN_PX, source.shape[::-1]).astype(int).tolist()
    return slice(first[1], last[1]), slice(first[0], last[0])


def _warped(
    source: RawStore, source_geobox: GeoBox, band: int, rows: slice, columns: slice, part: GeoBox
) -> Float32[np.ndarray, "y x"]:
    found = np.full(part.shape, np.nan, np.float32)
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return found
    db = source.read(band, rows.start, rows.stop)[:, columns]
    reproject(
        np.power(np.float32(10), db / 10), found,
        src_transform=source_geobox[rows, columns].affine, src_crs=str(source_geobox.crs), src_nodata=np.nan,
        dst_transform=part.affine, dst_crs=str(part.crs), dst_nodata=np.nan,
        resampling=Resampling.bilinear, num_threads=1, tolerance=0.01,
    )  # fmt: skip
    return found
