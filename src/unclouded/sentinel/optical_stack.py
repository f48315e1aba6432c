"""Optical scenes in GeoTIFFs, or in JPEG 2000 images without their product."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
from jaxtyping import Integer
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.files import named, resolved
from unclouded.io.raster import band_named, offset_steps
from unclouded.io.strips import RowReader
from unclouded.sensors import SENTINEL2, SENTINEL2_L2A, Sensor, optical_level, optical_sensor
from unclouded.sentinel.band_stack import (
    FIRST_LIGHT,
    acquired_by_names,
    open_image,
    read_acquisition_time,
    require_files,
)
from unclouded.sentinel.identify import JP2, BandStack, GeoTiff
from unclouded.sentinel.optical_delivery import (
    BandSelection,
    ItemFacts,
    converter,
    open_classes,
    read_item,
    read_tile_info,
    require_consistent,
    select_bands_of,
)
from unclouded.sentinel.optical_scene import OpticalScene, sun_of
from unclouded.sentinel.radiometry import NO_DATA, Radiometry, without_offset
from unclouded.sentinel.resample import Resampling
from unclouded.sentinel.safe import ProductFolder
from unclouded.sentinel.sentinel2 import (
    CLASSES_M,
    BandFile,
    Sentinel2Product,
)
from unclouded.sentinel.sentinel2_pixels import NO_MANIFEST, grid_of_jp2, open_granule, pixel_of_jp2


@contextmanager
def open_stack(
    source: BandStack | GeoTiff, offset: int | None, resampling: Resampling, *, allow_l2a: bool
) -> Iterator[OpticalScene]:
    """Open GeoTIFFs; the radiometry is that of their tags or of a STAC item, the level that of their bands."""
    selection = select_of(source)
    sensor = optical_sensor(selection.level) if allow_l2a else SENTINEL2
    facts = facts_of(source)
    with ExitStack() as stack:
        convert = converter(source.path, sensor, selection)
        rows = stack.enter_context(open_image(source, sensor, resampling, convert))
        last = rows.stored(rows.geobox.shape[0] - 1, rows.geobox.shape[0])
        radiometry = Radiometry(offset_steps(last, sensor), last.values.dtype.name, last.nodata)
        if any(radiometry.offsets):
            refuse_another_offset(source.path, radiometry, offset)
            _refuse_other_item(source, radiometry, facts)
        else:
            radiometry = _with_offset(source, radiometry, rows.bands, facts, offset)

        def read(top: int, bottom: int) -> Integer[np.ndarray, "band rows x"]:
            return rows.stored(top, bottom).with_gaps_as(NO_DATA)

        taken = read_acquisition_time(rows.first, rows.path)
        require_consistent(source.path, facts, optical_level(sensor), taken.time)
        acquired, remarks = facts.acquired or taken.time, () if facts.acquired else taken.remarks
        yield OpticalScene(
            path=source.path,
            sensor=sensor,
            geobox=rows.geobox,
            radiometry=radiometry,
            acquired=acquired,
            remarks=(*remarks, *facts.remarks),
            names_bands=isinstance(source, BandStack)
            or all(band_named(one or "", sensor) for one in last.descriptions),
            sun=sun_of(acquired, rows.geobox),
            offset_known=facts.offsets is not None,
            _read_stored=read,
            _read_classes=_classes_of(source, selection, sensor, rows.geobox, stack),
        )


def read_optical_time(source: BandStack | GeoTiff) -> datetime | None:
    """Return the acquisition time of images without a product; None if it is unknown.

    Raises:
        InputError: The image or its STAC item is damaged.
    """
    if (stated := facts_of(source).acquired) is not None:
        return stated
    if isinstance(source, GeoTiff):
        return read_acquisition_time(source.path).time
    first = next(iter(source.files.values()))[0]
    if is_jp2(source):
        return acquired_by_names([first, resolved(source.path)])
    return read_acquisition_time(first, source.path).time


def facts_of(source: BandStack | GeoTiff) -> ItemFacts:
    """Return the facts in the files beside the bands of a folder."""
    if isinstance(source, GeoTiff):
        return ItemFacts()
    return read_item(source.item) if source.item else read_tile_info(source.path)


def _with_offset(
    source: BandStack | GeoTiff, radiometry: Radiometry, bands: tuple[str, ...], facts: ItemFacts, offset: int | None
) -> Radiometry:
    """Return the radiometry of files without tags: with the offset of the item, or that of the user.

    Raises:
        InputError: They differ, or the item lacks a band.
    """
    if facts.offsets is not None:
        if missing := [band for band in bands if band not in facts.offsets]:
            raise InputError(f"{named(source.path)}: item.json has no offset for {' '.join(missing)}; fetch it again")
        radiometry = replace(radiometry, offsets=tuple(facts.offsets[band] for band in bands))
        refuse_another_offset(source.path, radiometry, offset)
        return radiometry
    return radiometry if offset is None else replace(radiometry, offsets=(offset,) * len(bands))


def _refuse_other_item(source: BandStack | GeoTiff, radiometry: Radiometry, facts: ItemFacts) -> None:
    if facts.offsets is not None and set(facts.offsets.values()) != set(radiometry.offsets):
        tags, item = (" or ".join(map(str, sorted(set(one)))) for one in (radiometry.offsets, facts.offsets.values()))
        raise InputError(
            f"{named(source.path)} has the offset {tags} in its tags, but {item} in item.json; fetch it again"
        )


def _classes_of(
    source: BandStack | GeoTiff, selection: BandSelection, sensor: Sensor, geobox: GeoBox, stack: ExitStack
) -> RowReader[NDArray[np.uint8]] | None:
    """Return a reader of the scene classification in a folder or file; None if there is none."""
    if sensor != SENTINEL2_L2A:
        return None
    if isinstance(source, BandStack):
        return stack.enter_context(open_classes(source.classes, 0, geobox)) if source.classes else None
    if selection.classes is None:
        return None
    return stack.enter_context(open_classes(source.path, selection.classes, geobox))


def select_of(source: BandStack | GeoTiff) -> BandSelection:
    """Return the level and the bands of an image; those of a folder have files of their own.

    Raises:
        InputError: A GeoTIFF cannot be opened, or names a band twice.
    """
    if isinstance(source, GeoTiff):
        return select_bands_of(source.path)
    of_l2a = len(source.files) == len(SENTINEL2_L2A.bands) and "B10" not in source.files
    return BandSelection("L2A" if of_l2a else "L1C", classes=0 if source.classes else None)


def is_jp2(source: BandStack) -> bool:
    """Return whether the bands of a folder are JPEG 2000 images."""
    return next(iter(source.files.values()))[0].suffix.lower() == JP2


@contextmanager
def open_jp2(
    source: BandStack, offset: int | None, resampling: Resampling, work_folder: Path | None, *, allow_l2a: bool
) -> Iterator[OpticalScene]:
    """Open JPEG 2000 images of a granule without its product, as in the archive on AWS."""
    sensor = optical_sensor(select_of(source).level) if allow_l2a else SENTINEL2
    files = {band: _relative(source.path, path) for band, path in require_files(source, sensor).items()}
    facts = facts_of(source)
    taken = acquired_by_names([source.path / files["B02"], resolved(source.path)])
    require_consistent(source.path, facts, optical_level(sensor), taken)
    acquired = facts.acquired or taken
    product = ProductFolder(source.path, resolved(source.path), None)
    geobox = grid_of_jp2(product.checked(files["B02"]))
    classes = source.classes if source.classes and source.classes.suffix.lower() == JP2 else None
    described = tuple(BandFile(band, name, pixel_of_jp2(product.checked(name), geobox)) for band, name in files.items())
    description = Sentinel2Product(
        identity=source.path.name,
        level=optical_level(sensor),
        tile="",
        acquired=acquired or FIRST_LIGHT,
        baseline="",
        geobox=geobox,
        radiometry=_with_offset(source, without_offset(len(sensor.bands)), sensor.bands, facts, offset),
        files=described,
        classes=BandFile("SCL", _relative(source.path, classes), CLASSES_M, "uint8") if classes else None,
    )
    with (
        tempfile.TemporaryDirectory(prefix="unclouded-", dir=work_folder) as folder,
        open_granule(product, description, Path(folder), resampling) as granule,
    ):
        yield OpticalScene(
            path=source.path,
            sensor=sensor,
            geobox=geobox,
            radiometry=description.radiometry,
            acquired=acquired,
            remarks=(NO_MANIFEST, *facts.remarks),
            sun=sun_of(acquired, geobox),
            offset_known=facts.offsets is not None,
            _read_stored=granule.stored,
            _read_classes=granule.classes if sensor == SENTINEL2_L2A else None,
        )


def _relative(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def refuse_another_offset(path: Path, found: Radiometry, offset: int | None) -> None:
    """Refuse an offset of the user that differs from that of the metadata.

    Raises:
        InputError: The offsets differ.
    """
    if offset is not None and set(found.offsets) != {offset}:
        steps = " or ".join(map(str, sorted(set(found.offsets))))
        raise InputError(f"{named(path)} has the offset {steps} in its metadata, not {offset}; leave the setting out")
