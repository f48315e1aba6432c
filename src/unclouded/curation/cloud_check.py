"""Cloud coverage of Level-1C products over a region, measured in pixels of 60 m.

The part of a product around a region is read coarsely (:func:`read_overview`), mapped with the paper's cloud detector
and reduced to the mean cloud coverage and the covered share of the region (:func:`measure_clouds`), cached by content.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from odc.geo.geobox import GeoBox

from unclouded.batch.storage import fingerprint
from unclouded.batch.tasks import content_id
from unclouded.clouds.detector import has_data
from unclouded.clouds.detectors import S2CLOUDLESS
from unclouded.clouds.map import PAPER, cloud_map
from unclouded.io.array_cache import ArrayStore, default_folder
from unclouded.sentinel.footprints import pixel_at
from unclouded.sentinel.radiometry import NO_DATA, Radiometry
from unclouded.sentinel.safe import open_product, require_product
from unclouded.sentinel.sentinel2 import describe_product
from unclouded.sentinel.sentinel2_pixels import decode_part, refuse_holes

COARSE_M = 60
"""Pixel size of an overview, that of the coarsest bands."""

STEP = COARSE_M // 10
"""Pixels of 10 m along a coarse pixel."""

MAP = PAPER.model_copy(update={"sigma_px": PAPER.sigma_px / STEP})
"""The paper's cloud map in pixels of 60 m: same detector and threshold, and a Gaussian of the same width in metres."""

LIMIT_BYTES = 64 << 20
"""Largest size of the cache."""


def measure_clouds(
    path: Path,
    center: tuple[float, float],
    size_px: tuple[int, int],
    work_folder: Path | None = None,
    tile: str | None = None,
) -> tuple[float | None, float]:
    """Measure the cloud coverage of a Level-1C product over a region, in pixels of 60 m; cached by product content.

    Args:
        path: SAFE folder or zip.
        center: Longitude and latitude of the region's centre.
        size_px: Rows and columns of the region, in pixels of 10 m.
        work_folder: Folder in which zips are unpacked; the system's temporary folder if omitted.
        tile: Granule to read, for a product of the old format with several.

    Returns:
        The mean of the cloud map m over the part of the region that the product covers, None if it covers none of it;
        and the covered share of the region.

    Raises:
        InputError: Not a Level-1C product, or a damaged one.
    """
    store = ArrayStore(default_folder() / "region-coverage", LIMIT_BYTES)
    which = [] if tile is None else [tile]
    key = content_id("coverage 1", fingerprint(path), center, size_px, COARSE_M, S2CLOUDLESS.version, *which)
    measured = store.get(key)
    if measured is None:
        measured = _measured(path, center, size_px, work_folder, tile)
        store.put(key, measured)
    coverage, shown = measured.tolist()
    return (coverage if shown else None), shown


def _measured(
    path: Path, center: tuple[float, float], size_px: tuple[int, int], work_folder: Path | None, tile: str | None
) -> Float32[np.ndarray, " 2"]:
    bands = S2CLOUDLESS.bands
    reflectance = read_overview(path, bands, center, size_px, work_folder, tile)
    seen = has_data(reflectance)
    clouds = cloud_map(reflectance, bands, MAP)
    coverage = float(clouds[seen].mean(dtype=np.float64)) if seen.any() else 0.0
    return np.array([coverage, seen.mean()], np.float32)


def read_overview(
    path: Path,
    bands: tuple[str, ...],
    center: tuple[float, float],
    size_px: tuple[int, int],
    work_folder: Path | None = None,
    tile: str | None = None,
) -> Float32[np.ndarray, "band y x"]:
    """Read the part of a Level-1C product around a location, in pixels of 60 m.

    Bands of 10 and 20 m are decoded at the lowest sufficient resolution and averaged. Every file is checked against
    the manifest.

    Args:
        path: SAFE folder or zip.
        bands: Band names.
        center: Longitude and latitude of the centre.
        size_px: Rows and columns of the part, in pixels of 10 m; pixels beyond the tile are NaN.
        work_folder: Folder in which zips are unpacked; the system's temporary folder if omitted.
        tile: Granule to read, for a product of the old format with several.

    Returns:
        TOA reflectance; NaN where there is no data.

    Raises:
        InputError: Not a Level-1C product, or a damaged one.
    """
    with (
        tempfile.TemporaryDirectory(prefix="unclouded-", dir=work_folder) as folder,
        open_product(require_product(path), Path(folder), tile=tile) as product,
    ):
        description = describe_product(product, tile=tile)
        files = {file.band: file for file in description.files}
        part = _Part.around(description.geobox, center, size_px)
        stored = np.zeros((len(bands), *part.shape), np.uint16)
        if part.is_inside:
            for one, band in zip(stored, bands, strict=True):
                fine = COARSE_M // files[band].pixel_m
                shape = tuple(side * 10 // files[band].pixel_m for side in description.geobox.shape)
                image = product.checked(files[band].name)
                one[part.place] = decode_part(image, shape, part.rows, part.columns, fine)
        if product.listed is None:
            empty = (stored == NO_DATA).mean(axis=(1, 2))
            refuse_holes(product.path, dict(zip(bands, empty.tolist(), strict=True)))
    offsets = dict(zip(description.bands, description.radiometry.offsets, strict=True))
    return Radiometry(tuple(offsets[band] for band in bands)).decode(stored)


@dataclass(frozen=True)
class _Part:
    """Rectangle in the coarse pixels of a tile, possibly extending beyond it.

    Attributes:
        top: First row of the rectangle, relative to the tile.
        left: First column.
        shape: Rows and columns of the rectangle.
        rows: Rows of the tile inside the rectangle.
        columns: Columns of the tile inside the rectangle.
    """

    top: int
    left: int
    shape: tuple[int, int]
    rows: slice
    columns: slice

    @classmethod
    def around(cls, grid: GeoBox, center: tuple[float, float], size_px: tuple[int, int]) -> "_Part":
        row, column = pixel_at(grid, center)
        height, width = (max(side // STEP, 1) for side in size_px)
        top, left = row // STEP - height // 2, column // STEP - width // 2
        last_row, last_column = (side // STEP for side in grid.shape)
        rows = slice(max(top, 0), min(top + height, last_row))
        return cls(top, left, (height, width), rows, slice(max(left, 0), min(left + width, last_column)))

    @property
    def is_inside(self) -> bool:
        return bool(self.rows.start < self.rows.stop and self.columns.start < self.columns.stop)

    @property
    def place(self) -> tuple[slice, slice]:
        """Position of the tile's pixels within the rectangle."""
        return (
            slice(self.rows.start - self.top, self.rows.stop - self.top),
            slice(self.columns.start - self.left, self.columns.stop - self.left),
        )
