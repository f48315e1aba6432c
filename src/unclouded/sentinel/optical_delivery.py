"""Optical images as archives deliver them: bands selected by name, integers in floats, and the facts of a STAC item."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.dates import parse_utc
from unclouded.errors import InputError
from unclouded.files import is_file, named
from unclouded.io.geotiff import StoredImage, grid_of, image_bands, open_geotiff, stored_rows
from unclouded.io.raster import band_named, describe_grid, same_grid
from unclouded.io.strips import RowReader
from unclouded.sensors import SENTINEL2, SENTINEL2_L2A, Level, Sensor, optical_sensor
from unclouded.sentinel.band_stack import refined
from unclouded.sentinel.identify import CLASSES
from unclouded.sentinel.radiometry import NO_DATA, QUANTIFICATION
from unclouded.sentinel.resample import upsample_rows
from unclouded.strict_json import read_json_object

# Bands of a GeoTIFF, selected by their descriptions.


@dataclass(frozen=True)
class BandSelection:
    """Bands of a GeoTIFF.

    Attributes:
        level: Processing level, by the names of the bands or else by their number.
        bands: Positions of the bands of that level; None for all bands as they are.
        classes: Position of the scene classification; None if there is none.
    """

    level: Level
    bands: tuple[int, ...] | None = None
    classes: int | None = None


def select_bands_of(path: Path) -> BandSelection:
    """Return the bands of a GeoTIFF; those of a file that names all of a level may have any order, with others beside.

    Raises:
        InputError: The file cannot be opened, or names a band twice.
    """
    with open_geotiff(path) as source:
        described = [str(source.descriptions[band - 1] or "") for band in image_bands(source)]
    names = [band_named(one, SENTINEL2) for one in described]
    if not set(SENTINEL2_L2A.bands) <= set(names):
        return BandSelection("L2A" if len(names) == len(SENTINEL2_L2A.bands) else "L1C")
    level: Level = "L1C" if "B10" in names else "L2A"
    wanted = optical_sensor(level).bands
    if twice := [band for band in wanted if names.count(band) > 1]:
        raise InputError(f"{named(path)} has several bands named {twice[0]}, expected one; leave one of them")
    classes = next((place for place, one in enumerate(described) if one.upper() == CLASSES), None)
    return BandSelection(level, tuple(names.index(band) for band in wanted), classes)


def converter(path: Path, sensor: Sensor, selection: BandSelection) -> Callable[[StoredImage], StoredImage]:
    """Return a function that selects bands and turns whole numbers in floats into integers; for each read."""

    def convert(stored: StoredImage) -> StoredImage:
        picked = stored if selection.bands is None else pick(stored, selection.bands)
        return _as_integers(path, picked) if len(picked.values) == len(sensor.bands) else picked

    return convert


def pick(stored: StoredImage, bands: tuple[int, ...]) -> StoredImage:
    """Return some bands of stored rows, in the order given."""
    taken: dict[str, Any] = {
        name: tuple(values[band] for band in bands) if (values := getattr(stored, name)) else values
        for name in ("descriptions", "scales", "offsets")
    }
    valid = None if stored.valid is None else stored.valid[list(bands)]
    return replace(stored, values=stored.values[list(bands)], valid=valid, **taken)


_MOST = 65_534
"""Largest stored integer of a measurement."""


def _as_integers(path: Path, stored: StoredImage) -> StoredImage:
    """Return whole numbers in floats, as Earth Engine exports them, as integers; others unchanged, to be refused.

    Raises:
        InputError: Rows after the first hold fractions, or numbers that no Sentinel-2 image has.
    """
    if stored.values.dtype.kind != "f":
        return stored
    gap = stored.is_gap
    known = stored.values[~gap]
    if (known != np.rint(known)).any():
        return stored
    if known.size and not (known.min() >= 0 and known.max() <= _MOST):
        raise InputError(
            f"{named(path)} holds numbers from {known.min():g} to {known.max():g}, expected reflectance x 10000 from 0 "
            f"to {_MOST}; set no data as nodata tag, and convert the others"
        )
    values = np.where(gap, NO_DATA, stored.values).astype(np.uint16)
    return replace(stored, values=values, nodata=NO_DATA, valid=None)


# Scene classification in a file of its own, or in a band.


@contextmanager
def open_classes(path: Path, band: int, geobox: GeoBox) -> Iterator[RowReader[NDArray[np.uint8]]]:
    """Open a scene classification on the grid of a scene, or on one of coarser pixels.

    Args:
        path: GeoTIFF.
        band: Position of the band.
        geobox: Grid of the scene.

    Raises:
        InputError: The file cannot be opened, lies on another grid, or holds numbers that are not classes.
    """
    with open_geotiff(path) as source:
        grid = grid_of(source)
        factor = max(round(geobox.shape[0] / grid.shape[0]), 1)
        if not same_grid(refined(grid, factor), geobox, 1e-3):
            grids = f"({describe_grid(grid)}, not {describe_grid(geobox)})"
            raise InputError(f"{named(path)}, the scene classification, lies on another grid than the bands {grids}")

        def read_coarse(top: int, bottom: int) -> NDArray[np.uint8]:
            stored = stored_rows(path, source, top, bottom)
            classes = np.where(stored.is_gap[band], 0, stored.values[band])
            if (classes != np.rint(classes)).any() or classes.min() < 0 or classes.max() > np.iinfo(np.uint8).max:
                raise InputError(f"{named(path)} holds numbers that are not classes, expected 0 to 11; fetch it again")
            return classes.astype(np.uint8)

        def read(top: int, bottom: int) -> NDArray[np.uint8]:
            return np.asarray(upsample_rows(read_coarse, grid.shape[0], factor, top, bottom, "nearest"), np.uint8)

        yield read


# Facts of a STAC item or of the files that archives put beside the bands.


@dataclass(frozen=True)
class ItemFacts:
    """Metadata of a folder of bands.

    Attributes:
        acquired: Acquisition time in UTC; None if unknown.
        offsets: RADIO_ADD_OFFSET in stored steps by band; None if unknown.
        level: Processing level; None if unknown.
        remarks: Warnings about the metadata.
    """

    acquired: datetime | None = None
    offsets: Mapping[str, int] | None = None
    level: Level | None = None
    remarks: tuple[str, ...] = ()


OFFSET_SINCE = 4.0
"""First processing baseline whose stored integers have an offset."""
_SAME_DATE = timedelta(days=1)
_LEVEL = re.compile(r"(?:MSI|sentinel-2-|^)(L?[12][AC])", re.IGNORECASE)


def read_item(path: Path) -> ItemFacts:
    """Read the facts of a STAC item of the Planetary Computer, earth-search and the like.

    The offset of a band is that of ``raster:bands``, unless ``earthsearch:boa_offset_applied`` states that it was
    applied already; without both it is derived from the processing baseline, with a remark.

    Raises:
        InputError: The file is not an item, or its facts are impossible or contradict each other.
    """
    content = read_json_object(path)
    properties, assets = content.get("properties"), content.get("assets") or {}
    if content.get("type") != "Feature" or not isinstance(properties, dict) or not isinstance(assets, dict):
        raise InputError(f"{named(path)} is not a STAC item, expected a Feature with properties; leave it out")
    offsets, remarks = _offsets(path, properties, assets)
    return ItemFacts(_acquired(path, properties.get("datetime")), offsets, _level(content, properties), remarks)


def read_tile_info(folder: Path) -> ItemFacts:
    """Return the acquisition time in ``tileInfo.json``, which the archive on AWS has beside the bands."""
    path = folder / "tileInfo.json"
    if not is_file(path):
        return ItemFacts()
    return ItemFacts(_acquired(path, read_json_object(path).get("timestamp")))


def require_consistent(path: Path, facts: ItemFacts, level: Level, acquired: datetime | None) -> None:
    """Compare the facts of an item with its images.

    Raises:
        InputError: Level or date differ.
    """
    if facts.level not in (None, level):
        bands = "B10" if level == "L1C" else "no B10"
        raise InputError(f"{named(path)} states {facts.level}, but the images have {bands}; fetch both again")
    if facts.acquired and acquired and abs(facts.acquired - acquired) > _SAME_DATE:
        raise InputError(
            f"{named(path)} states {facts.acquired:%Y-%m-%d}, but the images are of {acquired:%Y-%m-%d}; fetch both "
            "again"
        )


def _acquired(path: Path, stamp: Any) -> datetime | None:
    if stamp is None:
        return None
    try:
        return parse_utc(stamp)
    except InputError:
        raise InputError(f"{named(path)} has the time {str(stamp)[:40]!r}, expected one of ISO 8601") from None


def _level(content: Mapping[str, Any], properties: Mapping[str, Any]) -> Level | None:
    for stated in (properties.get("s2:product_type"), properties.get("processing:level"), content.get("collection")):
        if isinstance(stated, str) and (match := _LEVEL.search(stated)):
            return "L2A" if match[1].upper().endswith("2A") else "L1C"
    return None


def _offsets(
    path: Path, properties: Mapping[str, Any], assets: Mapping[str, Any]
) -> tuple[Mapping[str, int] | None, tuple[str, ...]]:
    if properties.get("earthsearch:boa_offset_applied") is True:
        return dict.fromkeys(SENTINEL2.bands, 0), ()
    stated = {band: steps for key, asset in assets.items() for band, steps in _offset_of(path, key, asset)}
    if stated:
        return stated, ()
    baseline = properties.get("s2:processing_baseline")
    if not isinstance(baseline, str) or not re.fullmatch(r"\d{2}\.\d{2}", baseline):
        return None, ()
    steps = -1000 if float(baseline) >= OFFSET_SINCE else 0
    remark = f"the offset {steps} was derived from the processing baseline {baseline} of {path.name}"
    return dict.fromkeys(SENTINEL2.bands, steps), (remark,)


def _offset_of(path: Path, key: str, asset: Any) -> Iterator[tuple[str, int]]:
    """Yield the band of an asset and its offset in stored steps, if it states one."""
    band = band_named(key, SENTINEL2) if re.fullmatch(r"\w+", key) else None
    listed = asset.get("raster:bands") if isinstance(asset, dict) else None
    if band is None or not isinstance(listed, list) or len(listed) != 1 or not isinstance(listed[0], dict):
        return
    scale, offset = listed[0].get("scale", 1.0), listed[0].get("offset", 0.0)
    if not isinstance(scale, int | float) or not isinstance(offset, int | float):
        raise InputError(f"{named(path)} has scale {str(scale)[:20]} and offset {str(offset)[:20]}, expected numbers")
    steps = offset * QUANTIFICATION
    if abs(scale * QUANTIFICATION - 1) > 1e-6 and (scale, offset) != (1, 0):
        raise InputError(f"{named(path)} has the scale {scale:g} for {key[:20]}, expected 0.0001; fetch it again")
    if not -10_000 <= steps <= 0 or abs(steps - round(steps)) > 1e-3:
        raise InputError(f"{named(path)} has the offset {offset:g} for {key[:20]}, expected -0.1 or 0; fetch it again")
    yield band, round(steps)
