"""An image in one GeoTIFF, or in a folder of GeoTIFFs, one a band, as catalogues deliver it: read row by row."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.geotiff import StoredImage
from unclouded.raster import band_named, describe, same_grid
from unclouded.scenes.radiometry import NO_DATA
from unclouded.scenes.resample import Resampling, on_finer_rows
from unclouded.sensors import SENTINEL2, Sensor
from unclouded.strips import ReadStored, SceneRows, open_rows

SUFFIXES = (".tif", ".tiff")
COARSEST = 6
"""Pixels of the finest band along one of the coarsest: 60 m over 10 m."""


@contextmanager
def open_image(path: Path, sensor: Sensor, resampling: Resampling = "nearest") -> Iterator[SceneRows]:
    """Open a GeoTIFF with the bands of a sensor, or a folder with one GeoTIFF for each of them.

    Args:
        path: The file, or the folder.
        sensor: What to expect.
        resampling: How coarser bands of a folder come to the grid of the finest.

    Raises:
        InputError: A file cannot be used (see :func:`~unclouded.strips.open_rows`), or files do not go together.
    """
    if not path.is_dir():
        with open_rows(path, sensor) as rows:
            yield rows
        return
    files = _files_of(path, sensor)
    with ExitStack() as stack:
        opened = tuple(
            stack.enter_context(open_rows(files[band], replace(sensor, name=f"{sensor.name} {band}", bands=(band,))))
            for band in sensor.bands
        )
        tags = tuple(one.stored(0, 1) for one in opened)
        _refuse_mixed(files, sensor, tags)
        finest = max(opened, key=lambda one: one.geobox.shape[0]).geobox
        for one in opened:
            _refuse_other_grid(one, finest)
        yield SceneRows(path, sensor, finest, opened[0].path, _reader(opened, tags, sensor, finest, resampling))


def _reader(
    files: Sequence[SceneRows], tags: Sequence[StoredImage], sensor: Sensor, geobox: GeoBox, resampling: Resampling
) -> ReadStored:
    """Return what reads rows of all bands, the coarser ones brought to the finest grid."""
    scales, offsets = (tuple(value for one in tags for value in getattr(one, name)) for name in ("scales", "offsets"))

    def read(top: int, bottom: int) -> StoredImage:
        bands = [_band(file, geobox.shape[0] // file.geobox.shape[0], top, bottom, resampling) for file in files]
        values = np.stack([values for values, _ in bands])
        masks = [np.ones(values.shape[1:], bool) if valid is None else valid for _, valid in bands]
        valid = None if all(valid is None for _, valid in bands) else np.stack(masks)
        return StoredImage(values, geobox[top:bottom, :], tags[0].nodata, sensor.bands, scales, offsets, valid)

    return read


def _band(
    file: SceneRows, factor: int, top: int, bottom: int, resampling: Resampling
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return rows of a band, and where its mask leaves them valid; a coarser band has its gaps as stored 0 instead."""
    if factor == 1:
        stored = file.stored(top, bottom)
        return np.asarray(stored.values[0]), None if stored.valid is None else stored.valid[0]

    def read(first: int, last: int) -> NDArray[Any]:
        return np.asarray(file.stored(first, last).with_gaps_as(NO_DATA)[0])

    return on_finer_rows(read, file.geobox.shape[0], factor, top, bottom, resampling), None


def is_stack(path: Path, sensor: Sensor) -> bool:
    """Say whether a path is a folder of GeoTIFFs named after bands of a sensor, and no product."""
    return path.is_dir() and not looks_whole(path) and len(band_files(path, sensor)) > 1


def looks_whole(folder: Path) -> bool:
    """Say whether a folder has the manifest or the metadata of a product."""
    return any(
        path.name == "manifest.safe" or ("MTD" in path.name and path.suffix == ".xml") for path in folder.iterdir()
    )


def band_files(folder: Path, sensor: Sensor) -> dict[str, list[Path]]:
    """Return the GeoTIFFs of a folder by the band that their names tell, such as ``T32TQM_B02_10m.tif``."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        usable = path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
        if usable and (band := band_named(path.stem, sensor)):
            found.setdefault(band, []).append(path)
    return found


def _files_of(folder: Path, sensor: Sensor) -> dict[str, Path]:
    found = band_files(folder, sensor)
    if missing := [band for band in sensor.bands if band not in found]:
        remedy = "Level-2A has no B10: fetch the L1C of this scene" if missing == ["B10"] else "fetch them, too"
        raise InputError(f"{named(folder)} has no GeoTIFF named after {' '.join(missing)}; {remedy}")
    for band in sensor.bands:
        if len(found[band]) > 1:
            names = " and ".join(path.name[-80:] for path in found[band][:2])
            raise InputError(f"{named(folder)} has {names} for {band}, expected one file; leave one in the folder")
    return {band: found[band][0] for band in sensor.bands}


def _refuse_mixed(files: Mapping[str, Path], sensor: Sensor, tags: Sequence[StoredImage]) -> None:
    """Refuse a file that says another band than its name, and bands of different types or nodata tags.

    Without a tag no data is what the sensor never measures.
    """
    for (band, path), one in zip(files.items(), tags, strict=True):
        if (said := band_named(one.descriptions[0] or "", sensor)) not in (None, band):
            raise InputError(f"{named(path)} holds {said}, but is named after {band}; rename it")
    kinds = [(one.values.dtype.name, *(sensor.no_data[:1] if one.nodata is None else (one.nodata,))) for one in tags]
    told = [" with nodata ".join(map(str, kind)) for kind in kinds]
    for band, path in files.items():
        if (found := told[sensor.bands.index(band)].removesuffix(".0")) != (usual := told[0].removesuffix(".0")):
            raise InputError(f"{named(path)} is {found}, but {sensor.bands[0]} is {usual}; convert one of them")


def _refuse_other_grid(file: SceneRows, finest: GeoBox) -> None:
    """Refuse a band whose pixels are not made of whole ones of the finest band."""
    grid = file.geobox
    factor = max(round(finest.shape[0] / grid.shape[0]), 1)
    finer = GeoBox((grid.shape[0] * factor, grid.shape[1] * factor), grid.affine @ Affine.scale(1 / factor), grid.crs)
    if factor > (COARSEST if file.sensor.unit == SENTINEL2.unit else 1) or not same_grid(finer, finest, 1e-3):
        grids = f"({describe(grid)}, not {describe(finest)})"
        raise InputError(
            f"{named(file.path)} lies on another grid than the finest band {grids}; fetch one scene's bands"
        )
