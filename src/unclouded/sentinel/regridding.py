"""Optical scenes on the grid of another scene: shifted by whole pixels, or warped."""

from dataclasses import replace
from functools import cache, lru_cache
from typing import Any

import numpy as np
from affine import Affine
from jaxtyping import Float32, Float64, UInt8
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.warp import reproject

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.io.raster import describe_grid, same_grid
from unclouded.io.strips import RowReader, row_ranges
from unclouded.sentinel.optical_scene import OpticalScene
from unclouded.sentinel.radiometry import NO_DATA

MARGIN_PX = 4
"""Margin of source pixels around the extent of a block's outline."""

_OUTLINE = 33
"""Points along each side of a block whose positions in the source are computed."""

_BLOCK_ROWS = 256
"""Rows that are warped at once, from the first row of the grid: the result must not depend on the rows requested."""

_SAME_PX = 1e-3
"""Largest distance from whole pixels at which grids count as shifted."""


def on_grid(scene: OpticalScene, geobox: GeoBox, *, align: bool = False) -> OpticalScene:
    """Return an optical scene on another grid; pixels outside its image have no data.

    A scene whose pixels coincide with those of the grid is shifted, with its stored integers unchanged.

    Args:
        scene: Open scene.
        geobox: Grid of the result.
        align: Whether to warp a scene on another grid, bilinearly in reflectance.

    Raises:
        InputError: The scene does not overlap the grid, or lies on another one and is not to be warped.
    """
    if same_grid(scene.geobox, geobox, _SAME_PX):
        return scene
    grids = f"({describe_grid(scene.geobox)}, not {describe_grid(geobox)})"
    if scene.geobox.crs is None or geobox.crs is None:
        raise InputError(
            f"{named(scene.path)} lies on another grid than the cloudy scene {grids}, and without a georeference it "
            "cannot be warped; give an image of the same size"
        )
    if not _overlap(scene.geobox, geobox):
        raise InputError(
            f"{named(scene.path)} is of another place: it does not overlap the cloudy scene {grids}; give an image of "
            "the same tile"
        )
    if (shift := whole_shift(scene.geobox, geobox)) is not None:
        classes = _shifted(scene.classes, scene.geobox, geobox, shift) if scene.has_classes else None
        stored = _shifted(scene.stored, scene.geobox, geobox, shift)
        return replace(scene, geobox=geobox, _read_stored=stored, _read_classes=classes)
    if not align:
        raise InputError(
            f"{named(scene.path)} lies on another grid than the cloudy scene {grids}; warp it with --align"
        )
    classes = _warped_classes(scene, geobox) if scene.has_classes else None
    return replace(scene, geobox=geobox, _read_stored=_warped(scene, geobox), _read_classes=classes)


def needed_window(part: GeoBox, source: GeoBox, to_source: Transformer) -> tuple[slice, slice]:
    """Return the rows and columns of a source that a part of a target needs; empty slices where it needs none."""
    there = places_in(part, source, to_source)
    there = there[:, np.isfinite(there).all(axis=0)]
    if not there.size:
        return slice(0, 0), slice(0, 0)
    first = np.maximum(np.floor(there.min(axis=1)) - MARGIN_PX, 0).astype(int).tolist()
    last = np.minimum(np.ceil(there.max(axis=1)) + MARGIN_PX, source.shape[::-1]).astype(int).tolist()
    return slice(first[1], last[1]), slice(first[0], last[0])


def places_in(part: GeoBox, source: GeoBox, to_source: Transformer) -> Float64[np.ndarray, "2 places"]:
    """Return columns and rows of a source at places spread over a part of a target, its outline included."""
    down, right = (np.linspace(0, side, _OUTLINE) for side in part.shape)
    column, row = np.meshgrid(right, down)
    x, y = to_source.transform(*(part.affine * (column.ravel(), row.ravel())))
    return np.stack((~source.affine) * (np.asarray(x), np.asarray(y)))


def transformer(geobox: GeoBox, source: GeoBox) -> Transformer:
    """Return the transformation of coordinates of a grid to those of another."""
    return Transformer.from_crs(str(geobox.crs), str(source.crs), always_xy=True)


def _overlap(first: GeoBox, second: GeoBox) -> bool:
    """Return whether more than the border of two grids coincides."""
    rows, columns = needed_window(second, first, transformer(second, first))
    return all(part.stop - part.start > 2 * MARGIN_PX for part in (rows, columns))


def whole_shift(source: GeoBox, target: GeoBox) -> tuple[int, int] | None:
    """Return row and column of the target's corner in the source; None if the pixels do not coincide."""
    if source.crs != target.crs:
        return None
    column, row = (~source.affine) * (target.affine * (0, 0))
    down, right = round(row), round(column)
    moved = GeoBox(target.shape, source.affine * Affine.translation(right, down), source.crs)
    return (down, right) if same_grid(moved, target, _SAME_PX) else None


def _shifted(
    read_source: RowReader[NDArray[Any]], source: GeoBox, geobox: GeoBox, shift: tuple[int, int]
) -> RowReader[NDArray[Any]]:
    (down, right), (height, width) = shift, source.shape
    columns = slice(max(right, 0), min(right + geobox.shape[1], width))

    @cache
    def empty_row() -> NDArray[Any]:
        one = read_source(0, 1)
        return np.full((*one.shape[:-1], geobox.shape[1]), NO_DATA, one.dtype)

    def read(top: int, bottom: int) -> NDArray[Any]:
        found = empty_row().repeat(bottom - top, axis=-2)
        first, last = max(top + down, 0), min(bottom + down, height)
        if first < last and columns.start < columns.stop:
            rows = slice(first - down - top, last - down - top)
            inside = slice(columns.start - right, columns.stop - right)
            found[..., rows, inside] = read_source(first, last)[..., columns]
        return found

    return read


def _warped(scene: OpticalScene, geobox: GeoBox) -> RowReader[NDArray[np.integer]]:
    height, to_source = geobox.shape[0], transformer(geobox, scene.geobox)

    @lru_cache(maxsize=2)
    def block(top: int) -> NDArray[np.integer]:
        part = geobox[top : min(top + _BLOCK_ROWS, height), :]
        rows, columns = needed_window(part, scene.geobox, to_source)
        found = np.full((len(scene.bands), *part.shape), np.nan, np.float32)
        if rows.start < rows.stop and columns.start < columns.stop:
            stored = scene.stored(rows.start, rows.stop)[:, :, columns]
            warp_bilinear(scene.radiometry.decode(stored), scene.geobox[rows, columns], found, part)
        return scene.radiometry.encode(found)

    def read(top: int, bottom: int) -> NDArray[np.integer]:
        blocks = [first for first, last in row_ranges(height, _BLOCK_ROWS) if first < bottom and last > top]
        return np.concatenate([block(first)[:, max(top - first, 0) : bottom - first] for first in blocks], axis=1)

    return read


def _warped_classes(scene: OpticalScene, geobox: GeoBox) -> RowReader[NDArray[np.uint8]]:
    """Return a reader of the nearest class of each pixel; 0 outside the image."""
    to_source = transformer(geobox, scene.geobox)

    def read(top: int, bottom: int) -> NDArray[np.uint8]:
        part = geobox[top:bottom, :]
        rows, columns = needed_window(part, scene.geobox, to_source)
        found = np.zeros(part.shape, np.uint8)
        if rows.start < rows.stop and columns.start < columns.stop:
            classes = np.ascontiguousarray(scene.classes(rows.start, rows.stop)[:, columns])
            warp_nearest(classes, scene.geobox[rows, columns], found, part)
        return found

    return read


def warp_nearest(
    codes: UInt8[np.ndarray, "*band _y _x"], source: GeoBox, found: UInt8[np.ndarray, "*band y x"], part: GeoBox
) -> None:
    """Warp codes in place of ``found`` without interpolation; 0 is no data."""
    reproject(
        codes, found,
        src_transform=source.affine, src_crs=str(source.crs), src_nodata=0,
        dst_transform=part.affine, dst_crs=str(part.crs), dst_nodata=0,
        resampling=Resampling.nearest, num_threads=1, tolerance=0.01,
    )  # fmt: skip


def warp_bilinear(
    values: Float32[np.ndarray, "*band _y _x"], source: GeoBox, found: Float32[np.ndarray, "*band y x"], part: GeoBox
) -> None:
    """Warp decoded values in place of ``found``, from memory: GDAL warps damaged files to zeros without error."""
    reproject(
        values, found,
        src_transform=source.affine, src_crs=str(source.crs), src_nodata=np.nan,
        dst_transform=part.affine, dst_crs=str(part.crs), dst_nodata=np.nan,
        resampling=Resampling.bilinear, num_threads=1, tolerance=0.01,
    )  # fmt: skip
