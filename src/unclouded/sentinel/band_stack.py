"""Images in one GeoTIFF, or in a folder with one GeoTIFF per band: rows, and the acquisition time.

:func:`open_image` reads both by rows. :func:`read_acquisition_time` finds the time in tags and file names as written by
common processors and catalogues.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.files import named, resolved
from unclouded.io.geotiff import StoredImage, open_geotiff
from unclouded.io.raster import band_named, describe_grid, same_grid
from unclouded.io.rows import SceneRows, open_rows, unchanged
from unclouded.io.strips import RowReader
from unclouded.sensors import SENTINEL2, Sensor
from unclouded.sentinel.identify import BandStack, GeoTiff
from unclouded.sentinel.radiometry import NO_DATA
from unclouded.sentinel.resample import Resampling, upsample_rows

COARSEST = 6
"""Largest ratio of pixel sizes in a folder: 60 m to 10 m."""


@contextmanager
def open_image(
    source: BandStack | GeoTiff,
    sensor: Sensor,
    resampling: Resampling = "nearest",
    convert: Callable[[StoredImage], StoredImage] = unchanged,
) -> Iterator[SceneRows]:
    """Open a GeoTIFF with the bands of a sensor, or a folder with one GeoTIFF for each of them.

    Args:
        source: File or folder, see :func:`~unclouded.sentinel.identify.identify`.
        sensor: Expected sensor.
        resampling: Interpolation of the coarser bands of a folder.
        convert: Function applied to the stored rows of a GeoTIFF, see :func:`~unclouded.io.rows.open_rows`.

    Raises:
        InputError: A file is not usable (see :func:`~unclouded.io.rows.open_rows`), or the files of a folder do not
            match.
    """
    if isinstance(source, GeoTiff):
        with open_rows(source.path, sensor, convert) as rows:
            yield rows
        return
    files = require_files(source, sensor)
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
        yield SceneRows(source.path, sensor, finest, opened[0].path, _reader(opened, tags, sensor, finest, resampling))


def _reader(
    files: Sequence[SceneRows], tags: Sequence[StoredImage], sensor: Sensor, geobox: GeoBox, resampling: Resampling
) -> RowReader[StoredImage]:
    """Return a reader of all bands on the finest grid."""
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
    """Return rows of a band and their mask, None if there is none; gaps of coarser bands are stored as 0 instead."""
    if factor == 1:
        stored = file.stored(top, bottom)
        return np.asarray(stored.values[0]), None if stored.valid is None else stored.valid[0]

    def read(first: int, last: int) -> NDArray[Any]:
        return np.asarray(file.stored(first, last).with_gaps_as(NO_DATA)[0])

    return upsample_rows(read, file.geobox.shape[0], factor, top, bottom, resampling), None


def require_files(stack: BandStack, sensor: Sensor) -> dict[str, Path]:
    """Return the one image of each band.

    Raises:
        InputError: A band is missing, or has several images.
    """
    folder, found = stack.path, stack.files
    if missing := [band for band in sensor.bands if band not in found]:
        remedy = "Level-2A has no B10: fetch the L1C of this scene" if missing == ["B10"] else "fetch them, too"
        raise InputError(f"{named(folder)} has no image named after {' '.join(missing)}; {remedy}")
    for band in sensor.bands:
        if len(found[band]) > 1:
            names = " and ".join(path.name[-80:] for path in found[band][:2])
            raise InputError(f"{named(folder)} has {names} for {band}, expected one file; leave one in the folder")
    return {band: found[band][0] for band in sensor.bands}


def _refuse_mixed(files: Mapping[str, Path], sensor: Sensor, tags: Sequence[StoredImage]) -> None:
    """Refuse a file whose band description contradicts its name, and bands of different types or nodata tags.

    A file without nodata tag counts as tagged with the no-data value of the sensor.
    """
    for (band, path), one in zip(files.items(), tags, strict=True):
        if (described := band_named(one.descriptions[0] or "", sensor)) not in (None, band):
            raise InputError(f"{named(path)} holds {described}, but is named after {band}; rename it")
    kinds = [(one.values.dtype.name, *(sensor.no_data[:1] if one.nodata is None else (one.nodata,))) for one in tags]
    formats = [" with nodata ".join(map(str, kind)).removesuffix(".0") for kind in kinds]
    for band, path in files.items():
        if (found := formats[sensor.bands.index(band)]) != formats[0]:
            raise InputError(f"{named(path)} is {found}, but {sensor.bands[0]} is {formats[0]}; convert one of them")


def _refuse_other_grid(file: SceneRows, finest: GeoBox) -> None:
    """Refuse a band whose pixels do not consist of whole pixels of the finest band."""
    grid = file.geobox
    factor = max(round(finest.shape[0] / grid.shape[0]), 1)
    most = COARSEST if file.sensor.unit == SENTINEL2.unit else 1
    if factor > most or not same_grid(refined(grid, factor), finest, 1e-3):
        grids = f"({describe_grid(grid)}, not {describe_grid(finest)})"
        raise InputError(
            f"{named(file.path)} lies on another grid than the finest band {grids}; fetch the bands of one scene"
        )


def refined(grid: GeoBox, factor: int) -> GeoBox:
    """Return a grid with pixels divided into ``factor`` x ``factor``."""
    height, width = grid.shape
    return GeoBox((height * factor, width * factor), grid.affine @ Affine.scale(1 / factor), grid.crs)


# Acquisition time of a GeoTIFF.

FIRST_LIGHT = datetime(2014, 4, 3, tzinfo=UTC)
"""Launch of Sentinel-1A, the earliest possible acquisition."""

DOMAIN = "IMAGERY"

TAGS = (
    "ACQUISITIONDATETIME",  # GDAL's drivers of remote sensing, in the domain IMAGERY
    "ACQUISITION_START_TIME",  # GDAL's driver of Sentinel-1
    "DATATAKE_1_DATATAKE_SENSING_START",  # and of Sentinel-2
    "PRODUCT_START_TIME",
    "SENSING_TIME",
    "ZERO_DOPPLER_START_TIME",  # OPERA
    "ACQUISITION_DATETIME",
    "ACQUISITION_DATE",
    "ACQUISITIONDATE",
    "DATE_ACQUIRED",
    "START_DATETIME",  # properties of STAC items
    "DATETIME",
)
"""Tags with the acquisition time, in UTC unless they contain a zone; case-insensitive."""

WRITTEN = "TIFFTAG_DATETIME"
"""Image time by TIFF 6.0: some writers store the acquisition time there, others the time of writing."""

_MOMENT = r"(20\d\d)([-_.]?)(\d\d)\2(\d\d)(?:[T-](\d\d)[:_-]?(\d\d)[:_-]?(\d\d))?(?!\d)"

_ANY = re.compile(rf"(?<!\d){_MOMENT}", re.IGNORECASE | re.ASCII)

_FIRST = re.compile(  # names with several dates, the first of which is the acquisition
    r"(?:S1[A-D]_[A-Z0-9]{2}_(?:GRD[FHM]?|SLC)_+\w{4}_"  # Copernicus, Planetary Computer, SNAP
    r"|S1[A-D]-(?:IW|EW|S\d)\d?-(?:GRD|SLC)-[VH]{2}-"  # images in products
    r"|S2[A-D]_MSIL(?:1C|2A)_"
    r"|OPERA_L2_RTC-S1_T\d{3}-\d{6}-IW\d_"
    r"|(?<!\w)(?=\d{8}T\d{6}_\d{8}T\d{6}_T\d\d[A-Z]{3})"  # Earth Engine
    r"|S2[A-D]_OPER_[^.]*_V(?=\d{8}T)"  # Copernicus until December 2016
    rf"){_MOMENT}",
    re.IGNORECASE | re.ASCII,
)

_MADE = re.compile(r"S2[A-D]_OPER_", re.IGNORECASE | re.ASCII)
"""Names of the old format, whose first date is the processing time."""


@dataclass(frozen=True)
class AcquisitionTime:
    """Acquisition time of an image.

    Attributes:
        time: Time in UTC; None if neither tags nor name contain it.
        remarks: Warnings about the reliability of the time.
    """

    time: datetime | None = None
    remarks: tuple[str, ...] = ()


def read_acquisition_time(path: Path, folder: Path | None = None) -> AcquisitionTime:
    """Return the acquisition time of a GeoTIFF; times before Sentinel-1 or in the future are ignored.

    Args:
        path: GeoTIFF; sources in this order: its tags, its name, its time of writing.
        folder: Folder of the bands, if the file is one of several; its name is a source, too.

    Raises:
        InputError: The file cannot be opened.
    """
    with open_geotiff(path) as source:
        tags = {key.upper(): value for place in (None, DOMAIN) for key, value in source.tags(ns=place).items()}
    names = [path.name] if folder in (None, path) else [path.name, resolved(folder).name]
    return next(_found(tags, names), AcquisitionTime())


def acquired_by_names(paths: Sequence[Path]) -> datetime | None:
    """Return the acquisition time in the first name that contains one; None if none does."""
    return next((found.time for path in paths if (found := _named(path.name))), None)


def _found(tags: Mapping[str, str], names: list[str]) -> Iterator[AcquisitionTime]:
    stamps = [tags[tag].strip() for tag in TAGS if tag in tags]
    yield from (_dated(time, len(stamp) > 10, stamp) for stamp in stamps if (time := _in_utc(stamp)))
    yield from (found for name in names if (found := _named(name)))
    if (stamp := tags.get(WRITTEN, "").strip()) and (time := _in_utc(stamp.replace(":", "-", 2))):
        remark = f"the date {time:%Y-%m-%d} was read from {WRITTEN} as UTC; it may be the time of writing"
        yield AcquisitionTime(time, (remark,))


def _dated(time: datetime, to_the_second: bool, origin: str) -> AcquisitionTime:
    """Return the time; for a date without time its noon, which is wrong by at most half a day."""
    if to_the_second:
        return AcquisitionTime(time)
    remark = f"only the day of acquisition is known ({named(Path(origin[:100]))}); noon UTC is assumed"
    return AcquisitionTime(time + timedelta(hours=12), (remark,))


def _in_utc(stamp: str) -> datetime | None:
    with suppress(ValueError, OverflowError):
        time = datetime.fromisoformat(stamp)
        return _possible(time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC))
    return None


def _possible(time: datetime) -> datetime | None:
    return time if FIRST_LIGHT <= time <= datetime.now(UTC) + timedelta(days=1) else None


def _named(name: str) -> AcquisitionTime | None:
    """Return the time in a file name; None if it contains none, or several dates that may all be the acquisition."""
    if first := _FIRST.search(name):
        found = [first]
    elif _MADE.search(name):
        found = []
    else:
        found = list(_ANY.finditer(name))
    times = [(time, match[5] is not None) for match in found if (time := _matched(match))]
    if not times or len({time.date() for time, _ in times}) > 1:
        return None
    timed = [time for time, to_the_second in times if to_the_second]
    return _dated(min(timed) if timed else times[0][0], bool(timed), name)


def _matched(match: re.Match[str]) -> datetime | None:
    year, month, day, hour, minute, second = (int(match[group] or 0) for group in (1, 3, 4, 5, 6, 7))
    with suppress(ValueError):
        return _possible(datetime(year, month, day, hour, minute, second, tzinfo=UTC))
    return None
