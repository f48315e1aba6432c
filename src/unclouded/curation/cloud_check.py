"""A coarse look at a part of a Sentinel-2 product: a thirtieth of its pixels, enough to see how cloudy it is there."""

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
from unclouded.sentinel.safe import open_product
from unclouded.sentinel.sentinel2 import describe_product
from unclouded.sentinel.sentinel2_pixels import decode_part, refuse_holes

COARSE_M = 60
"""Pixel size of the look: that of the coarsest bands."""

STEP = COARSE_M // 10
"""Pixels of 10 m along a coarse one."""


def read_overview(
    path: Path,
    bands: tuple[str, ...],
    center: tuple[float, float],
    size_px: tuple[int, int],
    work_folder: Path | None = None,
    tile: str | None = None,
) -> Float32[np.ndarray, "band y x"]:
    """Read the part of a Level-1C product around a place, in pixels of 60 m.

    Bands of 10 and 20 m are decoded no finer than needed, and averaged. Every file is checked against the manifest.

    Args:
        path: SAFE folder or zip.
        bands: Which.
        center: Longitude and latitude of the middle.
        size_px: Rows and columns of the part, in pixels of 10 m; what lies beyond the tile is NaN.
        work_folder: Where a zip is unpacked; the system's temporary folder if omitted.
        tile: Which granule, where a product of the old format has several.

    Returns:
        Reflectance; NaN where there is no data.

    Raises:
        InputError: Another product, or one that is damaged.
    """
    with (
        tempfile.TemporaryDirectory(prefix="unclouded-", dir=work_folder) as folder,
        open_product(path, Path(folder), tile=tile) as product,
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
            refuse_holes(product, dict(zip(bands, empty.tolist(), strict=True)))
    offsets = dict(zip(description.bands, description.radiometry.offsets, strict=True))
    return Radiometry(tuple(offsets[band] for band in bands)).decode(stored)


@dataclass(frozen=True)
class _Part:
    """A rectangle of a tile in coarse pixels: where it begins and ends, and how much of that the tile has."""

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
        """Where what the tile has goes."""
        return (
            slice(self.rows.start - self.top, self.rows.stop - self.top),
            slice(self.columns.start - self.left, self.columns.stop - self.left),
        )


# How cloudy a product is over a region, and how much of the region it shows: looked at once, coarsely.


MAP = PAPER.model_copy(update={"sigma_px": PAPER.sigma_px / STEP})
"""The paper's map in pixels of 60 m: the same detector and threshold, and the Gaussian of the same metres."""

LIMIT_BYTES = 64 << 20


def look_at(
    path: Path,
    center: tuple[float, float],
    size_px: tuple[int, int],
    work_folder: Path | None = None,
    tile: str | None = None,
) -> tuple[float | None, float]:
    """Measure the clouds of a Level-1C product over a region, in pixels of 60 m; kept by the content of the product.

    Args:
        path: SAFE folder or zip.
        center: Longitude and latitude of the region's middle.
        size_px: Its rows and columns, in pixels of 10 m.
        work_folder: Where a zip is unpacked; the system's temporary folder if omitted.
        tile: Which granule, where a product of the old format has several.

    Returns:
        The mean of the cloud map m over what the product shows of the region, None where that is nothing; and the
        share of the region that it shows.

    Raises:
        InputError: Another product, or one that is damaged.
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
