"""Mosaics: the clear patches of a region, stitched together by their georeference."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from jaxtyping import Float32
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.io.geotiff import ImageFile, file_of
from unclouded.io.raster import Raster, describe_grid, read
from unclouded.patches.layouts import CLEAR, find_triplets
from unclouded.patches.reading import DamagedTriplet, each_readable
from unclouded.patches.roi import PatchId, Roi, natural
from unclouded.sensors import SENTINEL2

LARGEST_PX = 20_000
"""Maximum side of a mosaic, four regions of SEN12MS-CR; patches farther apart belong to different regions."""
OFF_GRID_PX = 0.01
"""Maximum offset of a patch from the common pixel grid."""


@dataclass(frozen=True)
class RegionFiles:
    """Clear images of one region.

    Attributes:
        roi: Region.
        clear: Files, ordered by patch number.
    """

    roi: Roi
    clear: tuple[ImageFile, ...]


def clear_regions(root: Path) -> tuple[RegionFiles, ...]:
    """Find the clear images of every region of a data set, with or without radar and cloudy images.

    Args:
        root: Data set in the official layout, or in the flat layout with official names.

    Raises:
        InputError: There is no clear image.
    """
    inventory = find_triplets(root)
    found: dict[Roi, dict[int, ImageFile]] = {}
    images = [(files.patch, files.clear) for files in inventory.triplets if files.patch and files.clear]
    if inventory.layout == "official":
        images = list(_official(root))
    for patch, image in images:
        found.setdefault(patch.roi, {})[patch.number] = image
    if not found:
        raise InputError(
            f"{named(root)} has no clear image with an official name, expected names such as "
            "ROIs1158_spring_s2_106_p30.tif; give a data set in the official layout"
        )
    return tuple(
        RegionFiles(roi, tuple(numbers[number] for number in sorted(numbers)))
        for roi, numbers in sorted(found.items(), key=lambda item: natural(str(item[0])))
    )


def _official(root: Path) -> Iterator[tuple[PatchId, ImageFile]]:
    for path in sorted(root.glob(f"ROIs*_{CLEAR}/{CLEAR}_*/*.tif")):
        with suppress(InputError):
            yield PatchId.parse(path.stem), path


def whole_images(regions: Iterable[RegionFiles], skipped: list[DamagedTriplet]) -> list[RegionFiles]:
    """Return regions with their readable clear images; the others are appended to ``skipped``.

    Raises:
        InputError: A region has no readable clear image.
    """

    def whole(region: RegionFiles) -> RegionFiles:
        def image(index: int) -> ImageFile:
            read(region.clear[index], SENTINEL2)
            return region.clear[index]

        names = [f"{region.roi}, {named(file_of(one))}" for one in region.clear]
        return RegionFiles(region.roi, tuple(each_readable(names, image, "skip", skipped)))

    return [whole(region) for region in regions]


def stitch(files: Sequence[ImageFile], bands: tuple[str, ...]) -> Raster:
    """Stitch patches together by their georeference.

    The first patch wins in overlaps, where patches of one scene have the same values.

    Args:
        files: Sentinel-2 patches of one region, on one pixel grid.
        bands: Bands of the mosaic.

    Returns:
        TOA reflectance; NaN outside all patches.

    Raises:
        InputError: A patch has no georeference, lies on another pixel grid, or is too far away.
    """
    patches = [read(path, SENTINEL2).select(bands) for path in files]
    corners = [_corner(path, patch.geobox, patches[0].geobox) for path, patch in zip(files, patches, strict=True)]
    top, left = (min(corner[axis] for corner in corners) for axis in (0, 1))
    heights = [corner[0] - top + patch.geobox.shape[0] for corner, patch in zip(corners, patches, strict=True)]
    widths = [corner[1] - left + patch.geobox.shape[1] for corner, patch in zip(corners, patches, strict=True)]
    height, width = max(heights), max(widths)
    if max(height, width) > LARGEST_PX:
        span = f"span {width:,} x {height:,} px, expected at most {LARGEST_PX:,}"
        raise InputError(f"the patches beside {named(file_of(files[0]))} {span}; choose those of one region")
    values = np.full((len(bands), height, width), np.nan, np.float32)
    for (row, column), patch in zip(reversed(corners), reversed(patches), strict=True):
        down, right = patch.geobox.shape
        window = np.s_[:, row - top : row - top + down, column - left : column - left + right]
        values[window] = np.where(np.isnan(patch.values), values[window], patch.values)
    grid = patches[0].geobox
    return Raster(values, bands, GeoBox((height, width), grid.affine * Affine.translation(left, top), grid.crs))


def _corner(path: ImageFile, grid: GeoBox, reference: GeoBox) -> tuple[int, int]:
    """Return row and column of the first pixel of a patch, relative to that of the reference."""
    if grid.crs is None:
        raise InputError(
            f"{named(file_of(path))} has no georeference, which a mosaic needs; choose georeferenced patches"
        )
    column, row = ~reference.affine @ (grid.affine.c, grid.affine.f)
    same_pixels = np.allclose(_steps(grid), _steps(reference), rtol=1e-6)
    off = max(abs(column - round(column)), abs(row - round(row)))
    if grid.crs != reference.crs or not same_pixels or off > OFF_GRID_PX:
        rasters = f"({describe_grid(grid)}) than the first patch ({describe_grid(reference)})"
        raise InputError(f"{named(file_of(path))} lies on another pixel grid {rasters}; choose patches of one region")
    return round(row), round(column)


def _steps(grid: GeoBox) -> tuple[float, float, float, float]:
    """Return the pixel steps to the right and down, in units of the coordinate system."""
    return grid.affine.a, grid.affine.b, grid.affine.d, grid.affine.e


def reduced(values: Float32[np.ndarray, "band y x"], factor: int) -> Float32[np.ndarray, "band rows columns"]:
    """Return the mean over the valid pixels of ``factor`` x ``factor`` blocks; incomplete edge blocks are dropped."""
    height, width = (side // factor * factor for side in values.shape[1:])
    squares = values[:, :height, :width].reshape(len(values), height // factor, factor, width // factor, factor)
    known = np.isfinite(squares)
    total = np.where(known, squares, 0).sum(axis=(2, 4), dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / known.sum(axis=(2, 4)), np.float32)
