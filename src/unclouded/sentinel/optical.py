"""Optical scenes in any accepted form, read by rows as reflectance or as stored integers.

:func:`open_optical` accepts a product (SAFE folder or zip), a folder of products that are parts of one tile, a GeoTIFF,
or a folder with a GeoTIFF per band. Order and unit of the bands are checked by their spectra when a scene is opened.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from datetime import date as Day
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float32, Integer, UInt8
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pydantic import Field

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.io.geotiff import image_bands, open_geotiff
from unclouded.io.raster import band_named, check_limits, offset_steps, same_grid
from unclouded.io.rows import require_rows
from unclouded.io.strips import RowReader
from unclouded.sensors import SENTINEL2, SENTINEL2_L2A, Level, Sensor, optical_sensor
from unclouded.sentinel.band_stack import open_image, read_acquisition_time
from unclouded.sentinel.footprints import centre_deg
from unclouded.sentinel.identify import ONE_PASS, BandStack, GeoTiff, Source, identify, products_of
from unclouded.sentinel.plausibility import OFFSET_LEFT, check_optical_plausibility
from unclouded.sentinel.radiometry import NO_DATA, SATURATED, Radiometry
from unclouded.sentinel.resample import Resampling
from unclouded.sentinel.safe import Product, open_product
from unclouded.sentinel.sentinel2 import ProcessingLevel, describe_product, processing_level
from unclouded.sentinel.sentinel2_pixels import NO_MANIFEST, open_granule
from unclouded.settings import Settings
from unclouded.sun import Sun, sun_position

MAYBE_OFFSET = (
    "the optical image has no offset tag, and no band in its middle is dark: unless high cloud covers it, its stored "
    "numbers carry the offset of processing baseline 04.00, and reflectance is 0.1 too high; set --offset -1000 in "
    "that case, and --offset 0 otherwise"
)
NO_CLASSES = "use another cloud map, such as --clouds product --detector csmask-l2a"
"""Remedy for an image without scene classification."""
_ONE_PART = timedelta(seconds=1)
"""Parts of a tile start seconds apart; versions of one part start at the same time."""
_PASS_HOUR, _INCLINATION_DEG, _SWATH_HOURS = 10.5, 98.57, 0.75
"""Local solar time at which the orbit of Sentinel-2 crosses the equator, its inclination, and the tolerance in time."""
_BRIGHT = 950
"""Stored number that the darkest band (mostly B10) exceeds everywhere only with an offset, or under high cloud."""

_PROBES, _PROBE_ROWS, _PROBE_PIXELS = 5, 4, 4096
"""Sample for the check of order and unit: number of strips, and smallest number of rows per strip and of pixels."""

Offset = Annotated[int, Field(ge=-10_000, le=0)]
"""RADIO_ADD_OFFSET in DN: 0, or -1000 since processing baseline 04.00."""


class OpticalSettings(Settings):
    """Options of reading an optical image.

    Attributes:
        offset: RADIO_ADD_OFFSET of a GeoTIFF without tags; that of products and tagged files is in their metadata.
        resampling: Interpolation of the bands of 20 and 60 m on the 10 m grid.
        tile: Granule of a product of the old format that has several, such as ``T32UPU``.
        date: Day of acquisition (UTC) of a GeoTIFF, in place of the one in its tags or name.
    """

    offset: Offset | None = None
    resampling: Resampling = "nearest"
    tile: str | None = None
    date: Day | None = None


@dataclass(frozen=True, eq=False)
class OpticalScene:
    """Open Sentinel-2 image, read by rows.

    Attributes:
        path: Path given by the user.
        sensor: Sentinel-2, Level-1C or Level-2A.
        geobox: 10 m grid; the CRS of a GeoTIFF may be None.
        radiometry: Scale, offset and nodata value of the stored integers.
        identity: Name of the product; None for a GeoTIFF.
        acquired: Acquisition time in UTC; None if unknown, which happens for GeoTIFFs only.
        baseline: Processing baseline; None for a GeoTIFF.
        remarks: Warnings for the user about this input.
        sun: Position of the sun, from the metadata of a product, or from time and place of a GeoTIFF; None if unknown.
        names_bands: Whether the order of the bands is certain: of a product, of named files or of named bands.
        factor: Pixels of the image along a side of a pixel of the grid; see :mod:`unclouded.sentinel.target_grid`.
    """

    path: Path
    sensor: Sensor
    geobox: GeoBox
    radiometry: Radiometry
    _read_stored: RowReader[NDArray[np.integer]] = field(repr=False)
    identity: str | None = None
    acquired: datetime | None = None
    baseline: str | None = None
    remarks: tuple[str, ...] = ()
    names_bands: bool = True
    sun: Sun | None = None
    factor: int = 1
    _read_classes: RowReader[NDArray[np.uint8]] | None = field(default=None, repr=False)

    @property
    def bands(self) -> tuple[str, ...]:
        """Band names: 13 of Level-1C, 12 of Level-2A."""
        return self.sensor.bands

    @property
    def level(self) -> Level:
        """``L1C`` or ``L2A``."""
        return "L2A" if self.sensor == SENTINEL2_L2A else "L1C"

    @property
    def has_classes(self) -> bool:
        """Whether the image has a scene classification."""
        return self._read_classes is not None

    def classes(self, top: int, bottom: int) -> UInt8[np.ndarray, "rows x"]:
        """Read the scene classification (SCL) of the rows from ``top`` to before ``bottom``; 0 for no data.

        Raises:
            InputError: The image has none, which only L2A products have.
            ValueError: The rows exceed the image.
        """
        if self._read_classes is None:
            raise InputError(
                f"{named(self.path)} has no scene classification (SCL), as L2A products have; {NO_CLASSES}"
            )
        require_rows(self.path, self.geobox, top, bottom)
        return self._read_classes(top, bottom)

    def stored(self, top: int, bottom: int) -> Integer[np.ndarray, "band rows x"]:
        """Read the stored integers of the rows from ``top`` to before ``bottom``; outputs keep them in clear pixels.

        Raises:
            InputError: The rows are damaged.
            ValueError: The rows exceed the image.
        """
        require_rows(self.path, self.geobox, top, bottom)
        return self._read_stored(top, bottom)

    def read(self, top: int, bottom: int, bands: tuple[str, ...] | None = None) -> Float32[np.ndarray, "band rows x"]:
        """Read the rows from ``top`` to before ``bottom`` as reflectance; NaN for no data.

        Args:
            top: First row.
            bottom: Row after the last.
            bands: Bands in the order of the result; all if omitted.

        Raises:
            InputError: The rows are damaged, or hold impossible values.
            ValueError: The rows exceed the image.
        """
        selected = [self.bands.index(band) for band in bands or self.bands]
        radiometry = replace(self.radiometry, offsets=tuple(self.radiometry.offsets[i] for i in selected))
        reflectance = radiometry.decode(self.stored(top, bottom)[selected])
        check_limits(self.path, reflectance, self.sensor)
        return reflectance

    def metadata(self) -> dict[str, str]:
        """Return product, level, time, baseline and radiometry as text, for the tags of files."""
        known = {
            "product": self.identity or self.path.name,
            "level": self.level,
            "acquired": self.acquired.isoformat() if self.acquired else None,
            "baseline": self.baseline,
            "radiometry": str(self.radiometry),
        }
        return {key: value for key, value in known.items() if value is not None}


def read_level(source: Source) -> ProcessingLevel:
    """Return the level of an optical image from its metadata: that of a GeoTIFF or folder by the number of its bands.

    Raises:
        InputError: The image is another one, which the message names, or its metadata are damaged.
    """
    if isinstance(source, BandStack | GeoTiff):
        return ProcessingLevel("L2A" if _band_count(source) == len(SENTINEL2_L2A.bands) else "L1C")
    with (
        tempfile.TemporaryDirectory(prefix="unclouded-") as folder,
        open_product(products_of(source)[0], Path(folder), metadata_only=True) as product,
    ):
        return processing_level(product)


@contextmanager
def open_optical(
    path: Path | str | Source,
    *,
    resampling: Resampling = "nearest",
    allow_l2a: bool = False,
    tile: str | None = None,
    offset: int | None = None,
    date: Day | None = None,
    work_folder: Path | None = None,
    require_offset: bool = False,
) -> Iterator[OpticalScene]:
    """Open a Sentinel-2 image: a product (SAFE folder or zip), a GeoTIFF of its bands, or a folder of them.

    Level-1C has 13 bands, Level-2A the same without B10.

    Products in one folder that are parts of one tile in one pass are joined.

    Args:
        path: Product, GeoTIFF, or folder of GeoTIFFs named after their bands; or what
            :func:`~unclouded.sentinel.identify.identify` returned for one of them.
        resampling: Interpolation of the bands of 20 and 60 m of a product or folder.
        allow_l2a: Whether to accept Level-2A, too.
        tile: Granule of a product of the old format that has several, such as ``T32UPU``.
        offset: RADIO_ADD_OFFSET of a GeoTIFF without tags; that of products and tagged files is in their metadata.
        date: Day of acquisition (UTC) of a GeoTIFF, in place of the one in its tags or name.
        work_folder: Parent of the temporary folder for decoded pixels: 1.3 GB for a whole tile, plus the size of the
            product for a zip. The temporary folder of the system if omitted.
        require_offset: Whether a GeoTIFF of doubtful offset is an error instead of a remark, for batches of scenes.

    Raises:
        InputError: The path is another product or file, which the message names; or it is truncated, damaged, changed
            or contradictory; or its bands are in another order or unit.
    """
    if offset is not None and offset > 0:
        raise InputError(f"expected an offset of 0 or below, such as -1000 (baseline 04.00), found {offset}; negate it")
    source = identify(path, SENTINEL2)
    with _opened(source, resampling, tile, offset, work_folder, allow_l2a=allow_l2a) as scene:
        scene = _of_date(scene, date)
        remarks = (*scene.remarks, *_plausibility_remarks(scene, offset))
        if require_offset and MAYBE_OFFSET in remarks:
            raise InputError(f"{named(source.path)}: {MAYBE_OFFSET}")
        yield replace(scene, remarks=remarks)


def _of_date(scene: OpticalScene, date: Day | None) -> OpticalScene:
    """Return the scene with another day of acquisition; its time is noon UTC, wrong by at most half a day.

    Raises:
        InputError: The scene is a product of another day.
    """
    found = scene.acquired
    if date is None or (found is not None and found.date() == date):
        return scene
    if scene.identity is not None and found is not None:
        raise InputError(f"{named(scene.path)} was acquired on {found:%Y-%m-%d}, not {date}; leave the date out")
    sun = _sun_of(datetime.combine(date, time(), UTC), scene.geobox)
    return replace(scene, acquired=datetime.combine(date, time(12), UTC), sun=sun)


@contextmanager
def _opened(
    source: Source,
    resampling: Resampling,
    tile: str | None,
    offset: int | None,
    work_folder: Path | None,
    *,
    allow_l2a: bool,
) -> Iterator[OpticalScene]:
    if isinstance(source, BandStack | GeoTiff):
        with _open_stack(source, offset, resampling, allow_l2a=allow_l2a) as scene:
            yield scene
        return
    with ExitStack() as stack:
        options: dict[str, Any] = {"resampling": resampling, "allow_l2a": allow_l2a, "tile": tile, "offset": offset}
        opened = [
            stack.enter_context(_open_product(one, work_folder=work_folder, **options)) for one in products_of(source)
        ]
        yield _joined(source.path, opened) if len(opened) > 1 else opened[0]


@contextmanager
def _open_product(
    source: Product,
    *,
    resampling: Resampling,
    allow_l2a: bool,
    tile: str | None,
    offset: int | None,
    work_folder: Path | None,
) -> Iterator[OpticalScene]:
    with (
        tempfile.TemporaryDirectory(prefix="unclouded-", dir=work_folder) as folder,
        open_product(source, Path(folder), tile=tile) as product,
    ):
        description = describe_product(product, allow_l2a=allow_l2a, tile=tile)
        _refuse_another_offset(source.path, description.radiometry, offset)
        with open_granule(product, description, Path(folder), resampling) as granule:
            yield OpticalScene(
                path=source.path,
                sensor=optical_sensor(description.level),
                geobox=description.geobox,
                radiometry=description.radiometry,
                identity=description.identity,
                acquired=description.acquired,
                baseline=description.baseline,
                remarks=() if product.listed is not None else (NO_MANIFEST,),
                sun=description.sun,
                _read_stored=granule.stored,
                _read_classes=granule.classes,
            )


@contextmanager
def _open_stack(
    source: BandStack | GeoTiff, offset: int | None, resampling: Resampling, *, allow_l2a: bool
) -> Iterator[OpticalScene]:
    """Open GeoTIFFs; the radiometry is that of their scale and offset tags, the level that of their band count."""
    sensor = optical_sensor(read_level(source).level) if allow_l2a else SENTINEL2
    with open_image(source, sensor, resampling) as rows:
        last = rows.stored(rows.geobox.shape[0] - 1, rows.geobox.shape[0])
        radiometry = Radiometry(offset_steps(last, sensor), last.values.dtype.name, last.nodata)
        if any(radiometry.offsets):
            _refuse_another_offset(source.path, radiometry, offset)
        elif offset is not None:
            radiometry = replace(radiometry, offsets=(offset,) * len(rows.bands))

        def read(top: int, bottom: int) -> Integer[np.ndarray, "band rows x"]:
            return rows.stored(top, bottom).with_gaps_as(NO_DATA)

        taken = read_acquisition_time(rows.first, rows.path)
        names_bands = all(band_named(name or "", sensor) for name in last.descriptions)
        known: dict[str, Any] = {"acquired": taken.time, "remarks": taken.remarks, "names_bands": names_bands}
        known["sun"] = _sun_of(taken.time, rows.geobox)
        yield OpticalScene(source.path, sensor, rows.geobox, radiometry, read, **known)


def _sun_of(acquired: datetime | None, geobox: GeoBox) -> Sun | None:
    """Return the position of the sun in the middle of a scene; None without time or CRS.

    A time of day at which Sentinel-2 does not pass stands for an unknown one, such as noon for a date alone.
    """
    place = centre_deg(geobox)
    if acquired is None or place is None:
        return None
    midnight = datetime.combine(acquired.date(), time(), UTC) - timedelta(hours=place[0] / 15)
    along = np.tan(np.radians(place[1])) / abs(np.tan(np.radians(_INCLINATION_DEG)))
    expected = _PASS_HOUR + float(np.degrees(np.arcsin(np.clip(along, -1, 1)))) / 15
    hour = (acquired - midnight) % timedelta(days=1) / timedelta(hours=1)
    return sun_position(
        acquired if abs(hour - expected) <= _SWATH_HOURS else midnight + timedelta(hours=expected), *place
    )


def _band_count(source: BandStack | GeoTiff) -> int:
    if isinstance(source, BandStack):
        return len(source.files)
    with open_geotiff(source.path) as file:
        return len(image_bands(file))


def _plausibility_remarks(scene: OpticalScene, offset: int | None) -> tuple[str, ...]:
    """Check order and unit of the bands (:mod:`unclouded.sentinel.plausibility`) and return warnings."""
    unknown = scene.identity is None and offset is None and not any(scene.radiometry.offsets)
    stored = _probe(scene)
    reflectance = scene.radiometry.decode(stored)[:, 0]
    remarks = check_optical_plausibility(scene.path, reflectance, scene.bands, ordered=scene.names_bands)
    if unknown and (any(OFFSET_LEFT in remark for remark in remarks) or _seems_offset(scene)):
        return (MAYBE_OFFSET, *(remark for remark in remarks if OFFSET_LEFT not in remark))
    return remarks


def _probe(scene: OpticalScene) -> Integer[np.ndarray, "band 1 pixel"]:
    """Return stored numbers of rows spread over a scene, side by side.

    Damaged rows are skipped: they raise when they are read, and curation loses only the patches that contain them.
    """
    height, width = scene.geobox.shape
    rows = max(_PROBE_ROWS, -(-_PROBE_PIXELS // (_PROBES * width)))
    tops = np.unique(np.linspace(0, max(height - rows, 0), _PROBES).astype(int)).tolist()
    parts = [np.zeros((len(scene.bands), 1, 0), np.dtype(scene.radiometry.dtype))]
    for top in [0] if height <= _PROBES * rows else tops:
        with suppress(InputError):
            stored = scene.stored(top, height if height <= _PROBES * rows else top + rows)
            parts.append(stored.reshape(len(stored), 1, -1))
    return np.concatenate(parts, axis=2)


def _seems_offset(scene: OpticalScene) -> bool:
    """Return whether no band is dark in the middle of a scene; without offset one is, over land and most clouds."""
    height = scene.geobox.shape[0]
    top = max(height // 2 - 32, 0)
    try:
        stored = scene.stored(top, min(top + 64, height))
    except InputError:  # damaged rows raise when they are read
        return False
    darkest = stored.min(axis=0)[scene.radiometry.is_data(stored).all(axis=0)]
    return bool(darkest.size and np.quantile(darkest, 0.001) >= _BRIGHT)


def _refuse_another_offset(path: Path, found: Radiometry, offset: int | None) -> None:
    if offset is not None and set(found.offsets) != {offset}:
        steps = " or ".join(map(str, sorted(set(found.offsets))))
        raise InputError(f"{named(path)} has the offset {steps} in its metadata, not {offset}; leave the setting out")


def _joined(path: Path, parts: Sequence[OpticalScene]) -> OpticalScene:
    """Join parts of one tile in one pass; where several have data, the earliest part counts.

    Parts of different offsets are converted to the lowest one, which keeps every valid pixel above 0.

    Raises:
        InputError: The parts have different grids or passes, or are versions of one part.
    """
    first, *others = parts = sorted(parts, key=_taken)
    for before, after in pairwise(parts):
        names, gap = f"{before.identity} and {after.identity}", _taken(after) - _taken(before)
        if gap > ONE_PASS or not same_grid(before.geobox, after.geobox):
            raise InputError(f"{named(path)} holds {names}, which are of different places or passes; give one of them")
        if gap < _ONE_PART and before.baseline != after.baseline:
            raise InputError(f"{named(path)} holds {names}, two versions of one product; give one of them")
    lowest = tuple(min(steps) for steps in zip(*(one.radiometry.offsets for one in parts), strict=True))
    radiometry = replace(first.radiometry, offsets=lowest)

    def read(top: int, bottom: int) -> Integer[np.ndarray, "band rows x"]:
        found = _at_offset(first, radiometry, top, bottom)
        for one in others:
            np.copyto(found, _at_offset(one, radiometry, top, bottom), where=found == NO_DATA)
        return found

    def read_classes(top: int, bottom: int) -> NDArray[np.uint8]:
        found = first.classes(top, bottom).copy()
        for one in others:
            np.copyto(found, one.classes(top, bottom), where=found == 0)
        return found

    identities = [str(one.identity) for one in parts]
    remark = f"{len(parts)} products of one tile and pass were joined: {' and '.join(identities)}"
    return replace(
        first,
        path=path,
        radiometry=radiometry,
        identity=" + ".join(identities),
        baseline=" and ".join(dict.fromkeys(str(one.baseline) for one in parts)),
        remarks=tuple(dict.fromkeys([*(known for one in parts for known in one.remarks), remark])),
        _read_stored=read,
        _read_classes=read_classes if all(one.has_classes for one in parts) else None,
    )


def _at_offset(part: OpticalScene, target: Radiometry, top: int, bottom: int) -> Integer[np.ndarray, "band rows x"]:
    """Return the stored integers of a part converted to other offsets, none of them above its own."""
    stored = part.stored(top, bottom)
    if part.radiometry.offsets == target.offsets:
        return stored.copy()
    steps = np.subtract(part.radiometry.offsets, target.offsets).astype(np.int32)[:, None, None]
    moved = np.minimum(stored + steps, SATURATED - 1)
    return np.asarray(np.where(part.radiometry.is_data(stored), moved, stored)).astype(stored.dtype)


def _taken(product: OpticalScene) -> datetime:
    assert product.acquired is not None, "products have an acquisition time"
    return product.acquired
