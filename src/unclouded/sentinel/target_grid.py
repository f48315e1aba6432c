"""Part and pixel size of a scene to be processed: an area cut out of it, and pixels averaged to a coarser grid.

The images of a scene are opened on its full grid and seen through a :class:`TargetGrid`, so that everything behind it,
cloud maps and removers included, works on the requested part only.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from affine import Affine
from jaxtyping import Bool, Float32, Integer, UInt8
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.features import geometry_mask
from shapely.geometry.base import BaseGeometry

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.io.geojson import read_area
from unclouded.io.raster import describe_grid
from unclouded.sentinel.calibration import to_db
from unclouded.sentinel.optical_scene import OpticalScene
from unclouded.sentinel.radar import RadarScene
from unclouded.sentinel.radiometry import NO_DATA, SATURATED, Radiometry
from unclouded.sentinel.regridding import on_grid

PIXEL_M = 10
"""Pixel size of the full grid of Sentinel-2."""
_ROUNDING_PX = 1e-3
"""Distance from the border of a pixel within which an outline ends at it: degrees are rounded."""
_DENSE_DEG = 0.01
"""Longest edge of an outline in degrees before it is projected, whose straight lines are curves in the other CRS."""


@dataclass(frozen=True, eq=False)
class TargetGrid:
    """Part of the grid of a scene, in pixels of that size or coarser.

    Attributes:
        full: Grid of the scene.
        rows: First row, and row after the last.
        columns: First column, and column after the last.
        factor: Pixels of the full grid along a side of a target pixel.
        outline: Area in the CRS of the scene, outside which outputs have no data; None for the whole rectangle.
            Pixels outside are read, as surroundings of those inside.
    """

    full: GeoBox
    rows: tuple[int, int]
    columns: tuple[int, int]
    factor: int = 1
    outline: BaseGeometry | None = None

    @classmethod
    def of(cls, full: GeoBox, area: Path | None = None, resolution_m: int = PIXEL_M) -> "TargetGrid":
        """Return the target grid of a scene.

        Args:
            full: Grid of the scene.
            area: GeoJSON file with the area to cut out; the whole scene if omitted.
            resolution_m: Pixel size, 10 or 20 m.

        Raises:
            InputError: The area is not a polygon or does not overlap the scene; or the grid has no CRS or other pixels.
        """
        factor = resolution_m // PIXEL_M
        if factor > 1 and (full.crs is None or not full.crs.projected or abs(full.affine.a - PIXEL_M) > 1e-6):
            raise InputError(
                f"pixels of {resolution_m} m are made from pixels of {PIXEL_M} m, found {describe_grid(full)}; leave "
                "the resolution out"
            )
        height, width = (length // factor * factor for length in full.shape)
        if not (height and width):
            raise InputError(f"{describe_grid(full)} are too few for pixels of {resolution_m} m")
        if area is None:
            return cls(full, (0, height), (0, width), factor)
        outline = _projected(area, full)
        window = _window(outline, full.affine, (height, width), factor)
        if window is None:
            raise InputError(
                f"{named(area)} lies outside the scene ({describe_grid(full)}); choose a scene of that area"
            )
        return cls(full, *window, factor, outline)

    @cached_property
    def fine(self) -> GeoBox:
        """Grid of the part in pixels of the scene."""
        return self.full[slice(*self.rows), slice(*self.columns)]

    @cached_property
    def geobox(self) -> GeoBox:
        """Grid of the target."""
        height, width = self.fine.shape
        shape = height // self.factor, width // self.factor
        return GeoBox(shape, self.fine.affine * Affine.scale(self.factor), self.full.crs)

    @property
    def is_whole(self) -> bool:
        """Whether the target is the scene itself."""
        return self.factor == 1 and self.outline is None and self.fine.shape == self.full.shape

    @cached_property
    def _inside(self) -> NDArray[np.uint8] | None:
        """Mask of the area, eight pixels a byte; None without an outline."""
        if self.outline is None:
            return None
        geobox = self.geobox
        return np.packbits(geometry_mask([self.outline], geobox.shape, geobox.affine, invert=True), axis=1)

    def inside(self, top: int, bottom: int) -> Bool[np.ndarray, "rows x"]:
        """Return True for target pixels whose centre lies in the area."""
        width = self.geobox.shape[1]
        if (packed := self._inside) is None:
            return np.ones((bottom - top, width), bool)
        return np.unpackbits(packed[top:bottom], axis=1, count=width).astype(bool)

    def optical(self, scene: OpticalScene, *, align: bool = False) -> OpticalScene:
        """Return an optical scene on the target grid; coarse pixels are means of the stored integers.

        Args:
            scene: Scene on any grid.
            align: Whether to warp a scene whose pixels do not coincide with those of the full grid.

        Raises:
            InputError: See :func:`~unclouded.sentinel.regridding.on_grid`.
        """
        fine, factor = on_grid(scene, self.fine, align=align), self.factor
        if self.is_whole:
            return fine

        def read(top: int, bottom: int) -> Integer[np.ndarray, "band rows x"]:
            stored = fine.stored(top * factor, bottom * factor)
            return averaged_integers(stored, factor, fine.radiometry) if factor > 1 else stored

        def read_classes(top: int, bottom: int) -> UInt8[np.ndarray, "rows x"]:
            return fine.classes(top * factor, bottom * factor)[::factor, : self.fine.shape[1] : factor]

        classes = read_classes if fine.has_classes else None
        return replace(fine, geobox=self.geobox, factor=factor, _read_stored=read, _read_classes=classes)

    def radar(self, scene: RadarScene) -> RadarScene:
        """Return a radar image on the target grid; coarse pixels are means of the power.

        Args:
            scene: Radar image on the full grid, or on :attr:`fine`.
        """
        whole = scene.geobox.shape == self.full.shape
        (top_px, _), (left, right) = (self.rows, self.columns) if whole else ((0, 0), (0, self.fine.shape[1]))

        def read(top: int, bottom: int) -> Float32[np.ndarray, "band rows x"]:
            db = scene.read(top_px + top * self.factor, top_px + bottom * self.factor)[:, :, left:right]
            return averaged_power(db, self.factor) if self.factor > 1 else db

        return scene if self.is_whole else replace(scene, geobox=self.geobox, _read=read)

    def cloud_map(self, read: Callable[[int, int], NDArray[np.float32]]) -> Callable[[int, int], NDArray[np.float32]]:
        """Return a reader of a map on the full grid for the target grid; coarse pixels are means, NaN if any is NaN."""

        def read_part(top: int, bottom: int) -> Float32[np.ndarray, "rows x"]:
            first, last = (self.rows[0] + row * self.factor for row in (top, bottom))
            m = read(first, last)[:, slice(*self.columns)]
            return np.asarray(_blocks(m[None], self.factor).mean(axis=(2, 4), dtype=np.float32)[0])

        return read if self.is_whole else read_part


def averaged_integers(
    stored: Integer[np.ndarray, "band y x"], factor: int, radiometry: Radiometry
) -> Integer[np.ndarray, "band y2 x2"]:
    """Return means of blocks of stored integers, rounded half up; of the measured pixels of a block only.

    A block with a saturated pixel is saturated, one without any measured pixel has no data. Means of stored integers
    are means of reflectance, since the conversion is linear.

    Args:
        stored: Stored integers.
        factor: Side of a block.
        radiometry: Conversion of the integers, for the values that mean no data.
    """
    plain = radiometry.nodata in (None, NO_DATA)
    found = np.empty((len(stored), stored.shape[1] // factor, stored.shape[2] // factor), stored.dtype)
    for band, target in zip(stored, found, strict=True):  # band by band, as most bands have neither gap nor saturation
        whole = plain and band.size > 0 and band.min() > NO_DATA and band.max() < SATURATED
        target[...] = _mean_of_all(band, factor) if whole else _mean_of_measured(band, factor, radiometry)
    return found


def _mean_of_all(band: Integer[np.ndarray, "y x"], factor: int) -> Integer[np.ndarray, "y2 x2"]:
    """Return rounded means of blocks without gaps."""
    total = np.full((band.shape[0] // factor, band.shape[1] // factor), factor * factor // 2, np.uint32)
    for row in range(factor):
        for column in range(factor):
            total += band[row::factor, column::factor].astype(np.uint32)
    return total // (factor * factor)


def _mean_of_measured(
    band: Integer[np.ndarray, "y x"], factor: int, radiometry: Radiometry
) -> Integer[np.ndarray, "y2 x2"]:
    """Return rounded means of the measured pixels of blocks; saturated if one of them is, no data if none is."""
    blocks, measured = _blocks(band[None], factor), _blocks(radiometry.is_data(band)[None], factor)
    count = measured.sum(axis=(2, 4), dtype=np.int64)[0]
    total = np.where(measured, blocks, 0).sum(axis=(2, 4), dtype=np.int64)[0]
    mean = (2 * total + count) // np.maximum(2 * count, 1)
    saturated = (blocks == SATURATED).any(axis=(2, 4))[0]
    return np.where(saturated, SATURATED, np.where(count > 0, mean, NO_DATA))


def averaged_power(db: Float32[np.ndarray, "band y x"], factor: int) -> Float32[np.ndarray, "band y2 x2"]:
    """Return means of blocks in linear power, in dB; of the pixels with data, NaN where a block has none."""
    power = _blocks(np.power(np.float32(10), db / 10), factor)
    known = np.isfinite(power)
    count = known.sum(axis=(2, 4), dtype=np.float32)
    total = np.where(known, power, np.float32(0)).sum(axis=(2, 4))
    with np.errstate(invalid="ignore"):
        return to_db(np.asarray(total / count, np.float32))


def _blocks(values: NDArray[Any], factor: int) -> NDArray[Any]:
    """Return an image as blocks: band, row of blocks, row, column of blocks, column."""
    bands, height, width = values.shape
    return values.reshape(bands, height // factor, factor, width // factor, factor)


def _projected(area: Path, full: GeoBox) -> BaseGeometry:
    if full.crs is None:
        raise InputError(f"{named(area)} cannot be cut out of an image without CRS; assign the right one")
    to_scene = Transformer.from_crs("EPSG:4326", str(full.crs), always_xy=True)
    degrees = shapely.segmentize(read_area(area), _DENSE_DEG)
    projected = shapely.transform(degrees, lambda points: np.stack(to_scene.transform(*points.T), axis=1))
    if not np.isfinite(shapely.get_coordinates(projected)).all():
        raise InputError(f"{named(area)} lies outside the CRS of the scene ({describe_grid(full)}); choose its scene")
    return shapely.make_valid(projected)


def _window(
    outline: BaseGeometry, affine: Affine, shape: tuple[int, int], factor: int
) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return rows and columns of the smallest window with an outline, at multiples of the factor; None if empty."""
    west, south, east, north = outline.bounds
    corners = [~affine * corner for corner in ((west, north), (east, north), (west, south), (east, south))]
    window = []
    for axis, length in ((1, shape[0]), (0, shape[1])):
        places = [corner[axis] for corner in corners]
        first = max(int(np.floor((min(places) + _ROUNDING_PX) / factor)) * factor, 0)
        last = min(int(np.ceil((max(places) - _ROUNDING_PX) / factor)) * factor, length)
        if first >= last:
            return None
        window.append((first, last))
    return window[0], window[1]
