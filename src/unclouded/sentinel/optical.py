"""Optical scenes in any accepted form, read by rows as reflectance or as stored integers.

:func:`open_optical` accepts a product (SAFE folder or zip), a folder of products that are parts of one tile, a GeoTIFF,
or a folder with a GeoTIFF per band. Order and unit of the bands are checked by their spectra when a scene is opened.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from datetime import date as Day
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from jaxtyping import Integer
from numpy.typing import NDArray
from pydantic import Field

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.io.raster import same_grid
from unclouded.sensors import SENTINEL2, optical_sensor
from unclouded.sentinel.eopf_zarr import EopfProduct
from unclouded.sentinel.identify import ONE_PASS, BandStack, GeoTiff, Source, identify, products_of
from unclouded.sentinel.optical_scene import OpticalScene, sun_of
from unclouded.sentinel.optical_stack import (
    is_jp2,
    open_jp2,
    open_stack,
    refuse_another_offset,
    select_of,
)
from unclouded.sentinel.plausibility import OFFSET_LEFT, check_optical_plausibility
from unclouded.sentinel.radiometry import NO_DATA, SATURATED, Radiometry
from unclouded.sentinel.resample import Resampling
from unclouded.sentinel.safe import Product, open_product
from unclouded.sentinel.sentinel2 import (
    ProcessingLevel,
    describe_product,
    processing_level,
    require_accepted,
)
from unclouded.sentinel.sentinel2_pixels import NO_MANIFEST, GranuleImages, open_granule, open_images
from unclouded.settings import Settings

MAYBE_OFFSET = (
    "the optical image has no offset tag, and no band in its middle is dark: unless high cloud covers it, its stored "
    "numbers carry the offset of processing baseline 04.00, and reflectance is 0.1 too high; set --offset -1000 in "
    "that case, and --offset 0 otherwise"
)
NO_CHECKSUM = "Zarr has no checksums: a changed bit is not detected, and lost chunks only by their share without data"
_ONE_PART = timedelta(seconds=1)
"""Parts of a tile start seconds apart; versions of one part start at the same time."""
_BRIGHT = 950
"""Stored number that the darkest band (mostly B10) exceeds everywhere only with an offset, or under high cloud."""

_PROBES, _PROBE_ROWS, _PROBE_PIXELS = 5, 4, 4096
"""Sample for the check of order and unit: number of strips, and smallest number of rows per strip and of pixels."""

Offset = Annotated[int, Field(ge=-10_000, le=0)]
"""RADIO_ADD_OFFSET in DN: 0, or -1000 since processing baseline 04.00."""

FIRST_DAY = Day(2015, 6, 27)
"""Day of the first image of Sentinel-2A."""


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


def read_level(source: Source) -> ProcessingLevel:
    """Return the level of an optical image from its metadata: that of a GeoTIFF or folder by its bands.

    Raises:
        InputError: The image is another one, which the message names, or its metadata are damaged.
    """
    if isinstance(source, BandStack | GeoTiff):
        selection = select_of(source)
        return ProcessingLevel(selection.level, selection.classes is not None and selection.level == "L2A")
    if isinstance(source, EopfProduct):
        return source.level
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
    if not FIRST_DAY <= date <= datetime.now(UTC).date() + timedelta(days=1):
        raise InputError(f"{date} is no day of Sentinel-2, which has taken images since {FIRST_DAY}; check the date")
    sun = sun_of(datetime.combine(date, time(), UTC), scene.geobox)
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
    if isinstance(source, BandStack) and is_jp2(source):
        with open_jp2(source, offset, resampling, work_folder, allow_l2a=allow_l2a) as scene:
            yield scene
        return
    if isinstance(source, BandStack | GeoTiff):
        with open_stack(source, offset, resampling, allow_l2a=allow_l2a) as scene:
            yield scene
        return
    if isinstance(source, EopfProduct):
        with _open_eopf(source, resampling, offset, work_folder, allow_l2a=allow_l2a) as scene:
            yield scene
        return
    with ExitStack() as stack:
        options: dict[str, Any] = {"resampling": resampling, "allow_l2a": allow_l2a, "tile": tile, "offset": offset}
        opened = [
            stack.enter_context(_open_product(one, work_folder=work_folder, **options)) for one in products_of(source)
        ]
        yield _joined(source.path, opened) if len(opened) > 1 else opened[0]


@contextmanager
def _open_eopf(
    source: EopfProduct, resampling: Resampling, offset: int | None, work_folder: Path | None, *, allow_l2a: bool
) -> Iterator[OpticalScene]:
    """Open a product in the Zarr format of the EOPF."""
    level = source.level.level
    require_accepted(source.path, level, allow_l2a=allow_l2a)
    refuse_another_offset(source.path, source.radiometry, offset)
    images = GranuleImages(source.path, source.files, source.classes, source.geobox, source.decode)
    with (
        tempfile.TemporaryDirectory(prefix="unclouded-", dir=work_folder) as folder,
        open_images(images, Path(folder), resampling, check_holes=True) as granule,
    ):
        yield OpticalScene(
            path=source.path,
            sensor=optical_sensor(level),
            geobox=source.geobox,
            radiometry=source.radiometry,
            identity=source.identity,
            acquired=source.acquired,
            remarks=(NO_CHECKSUM,),
            sun=sun_of(source.acquired, source.geobox),
            _read_stored=granule.stored,
            _read_classes=granule.classes,
        )


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
        refuse_another_offset(source.path, description.radiometry, offset)
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


def _plausibility_remarks(scene: OpticalScene, offset: int | None) -> tuple[str, ...]:
    """Check order and unit of the bands (:mod:`unclouded.sentinel.plausibility`) and return warnings."""
    known = scene.offset_known or scene.identity is not None or offset is not None
    unknown = not known and not any(scene.radiometry.offsets)
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
