"""Radar scenes in any accepted form, read by rows as VV and VH in dB on the grid of an optical scene.

:func:`open_radar` accepts an IW GRDH product (SAFE folder or zip), a folder with slices of one pass, a GeoTIFF of VV
and VH, or a folder with a GeoTIFF for each. Products are calibrated and geocoded, GeoTIFFs warped if requested.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.files import named, require_room
from unclouded.io.raster import band_named, describe_grid, same_grid
from unclouded.io.rows import SceneRows, require_rows
from unclouded.io.strips import RowReader, row_ranges
from unclouded.sensors import SENTINEL1, Sensor
from unclouded.sentinel.band_stack import open_image, read_acquisition_time
from unclouded.sentinel.calibration import to_db
from unclouded.sentinel.eopf_zarr import EopfProduct
from unclouded.sentinel.footprints import require_on_earth
from unclouded.sentinel.geocoding import ElevationModel, GroundControlPositions, TerrainPositions, geocode
from unclouded.sentinel.identify import BandStack, GeoTiff, Source, identify, products_of
from unclouded.sentinel.radar_delivery import (
    NO_ANGLE,
    SINGLE,
    IncidenceAngle,
    RadarRadiometry,
    angle_beside,
    bursts_of,
    files_of,
    polarisations,
    stated_by,
    to_sigma0,
    with_estimated_vh,
)
from unclouded.sentinel.radar_gaps import without_zero_gaps
from unclouded.sentinel.radar_units import RadarUnits, check_radar_plausibility, in_db, stored_as
from unclouded.sentinel.raw_store import RawBandCache, block_rows
from unclouded.sentinel.regridding import needed_window, transformer, warp_bilinear
from unclouded.sentinel.safe import Product, ProductFolder, open_product
from unclouded.sentinel.sentinel1 import Sentinel1Product, describe_radar_product

NO_TERRAIN = (
    "no elevation model: geocoded by the geolocation grid only, so each metre of height difference shifts the radar by "
    "about a metre; use an elevation model in hilly terrain"
)
NO_NOISE = "the product has no thermal noise, or one of unknown scale, so none was subtracted"
UNUSED_HEIGHTS = (
    "the elevation model was not used: radar GeoTIFFs are already georeferenced; use the GRDH product for terrain "
    "correction"
)
_COVERS = "the radar covers"
_STRIP_PX = 512
_PROBES, _PROBE_PX = 5, 16
"""Number of strips of the sample for the unit check, and rows of each."""


@dataclass(frozen=True, eq=False)
class RadarScene:
    """Open radar image, read by rows.

    Attributes:
        path: Path given by the user.
        geobox: Requested grid.
        identity: Name of the product; None for a GeoTIFF.
        acquired: Acquisition time in UTC; None if unknown, which happens for GeoTIFFs only.
        processing: Processing steps, as text.
        remarks: Warnings for the user about this input.
        sensor: Sentinel-1.
        orbit: Direction of the pass, ``ascending`` or ``descending``; None if unknown.
    """

    path: Path
    geobox: GeoBox
    _read: RowReader[NDArray[np.float32]] = field(repr=False)
    identity: str | None = None
    acquired: datetime | None = None
    processing: str = "as it came"
    remarks: tuple[str, ...] = ()
    sensor: Sensor = SENTINEL1
    orbit: str | None = None

    @property
    def bands(self) -> tuple[str, ...]:
        """VV and VH."""
        return self.sensor.bands

    def read(self, top: int, bottom: int) -> Float32[np.ndarray, "band rows x"]:
        """Read the rows from ``top`` to before ``bottom`` in dB; NaN for no data.

        Raises:
            InputError: The rows are damaged, or hold values in another unit.
            ValueError: The rows exceed the image.
        """
        require_rows(self.path, self.geobox, top, bottom)
        return self._read(top, bottom)

    def metadata(self) -> dict[str, str]:
        """Return product, time and processing as text, for the tags of files."""
        known = {
            "product": self.identity or self.path.name,
            "acquired": self.acquired.isoformat() if self.acquired else None,
            "processing": self.processing,
            "orbit": self.orbit,
        }
        return {key: value for key, value in known.items() if value is not None}


@contextmanager
def open_radar(
    path: Path | str | Source,
    geobox: GeoBox,
    *,
    align: bool = False,
    units: RadarUnits | None = None,
    heights: Path | None = None,
    heights_datum_m: float = 0.0,
    work_folder: Path | None = None,
    radiometry: RadarRadiometry | None = None,
    incidence: Path | None = None,
    allow_single: bool = False,
) -> Iterator[RadarScene]:
    """Open a Sentinel-1 image on a grid: an IW GRDH product (SAFE folder or zip), or GeoTIFFs of VV and VH.

    Args:
        path: Product, or folder with slices of one pass; GeoTIFF of VV and VH, or folder with a GeoTIFF for each,
            named after them; or what :func:`~unclouded.sentinel.identify.identify` returned for one of them.
        geobox: Grid of the optical scene.
        align: Whether to warp a GeoTIFF on another grid; products are always geocoded to ``geobox``.
        units: Units of a GeoTIFF; those that its name states (OPERA, HyP3, Planetary Computer) if omitted, or dB.
        heights: Elevation model for the terrain correction of a product, which needs the extra ``sar``; the
            geolocation grid of the product if omitted.
        heights_datum_m: Constant added to the elevation model to obtain heights above the ellipsoid: the geoid
            undulation for models above sea level.
        work_folder: Parent of a temporary folder of 1 GB for a whole tile; the temporary folder of the system if
            omitted.
        radiometry: Radiometry of a GeoTIFF; the one that its name states if omitted, or sigma0. Gamma0 is converted.
        incidence: GeoTIFF with the incidence angle for that conversion; the one beside the images if omitted.
        allow_single: Whether to accept an image of VV alone; VH is estimated from it, with a remark.

    Raises:
        InputError: The path is another product or file, which the message names; or it is truncated, damaged, changed,
            in other units, on another grid, or does not overlap the grid.
    """
    source = identify(path, SENTINEL1)
    if isinstance(source, EopfProduct):
        raise InputError(f"{named(source.path)} is a Zarr store, expected a Sentinel-1 product; fetch it as SAFE")
    if not isinstance(source, BandStack | GeoTiff):
        model = ElevationModel.read(heights, heights_datum_m) if heights else None
        if model and geobox.crs is not None:
            model.require_over(geobox)
        if radiometry == "gamma0" or incidence is not None:
            raise InputError(f"{named(source.path)} is a product, which is calibrated to sigma0; leave gamma0 out")
        with ExitStack() as stack:
            opened = [
                stack.enter_context(_opened_product(one, geobox, model, work_folder, allow_single=allow_single))
                for one in products_of(source)
            ]
            yield _joined(source.path, opened) if len(opened) > 1 else opened[0]
    else:
        stated = stated_by(files_of(source))
        units = units or (stated.units if stated else "dB")
        remarks = (UNUSED_HEIGHTS,) if heights else ()
        with ExitStack() as stack:
            open_one = partial(
                _opened_stack, geobox=geobox, units=units, align=align, work_folder=work_folder, remarks=remarks,
                allow_single=allow_single,
            )  # fmt: skip
            scene = _opened_images(source, open_one, stack, align=align)
            if (radiometry or (stated and stated.radiometry)) == "gamma0":
                scene = _in_sigma0(scene, incidence or angle_beside(source))
            elif incidence is not None:
                raise InputError(f"{named(source.path)} is sigma0, which needs no incidence angle; leave it out")
            yield scene


def _in_sigma0(scene: RadarScene, path: Path | None) -> RadarScene:
    """Return a scene of gamma0 as sigma0."""
    angle = None if path is None else IncidenceAngle.read(path)
    if angle is not None:
        angle.require_over(scene.geobox)
    return replace(
        scene,
        processing=f"{scene.processing}, gamma0 to sigma0 by {'the' if angle else 'a mean'} incidence angle",
        remarks=scene.remarks if angle else (*scene.remarks, NO_ANGLE),
        _read=to_sigma0(scene.read, scene.geobox, angle),
    )


def _opened_images(
    source: BandStack | GeoTiff,
    open_one: Callable[[BandStack | GeoTiff], AbstractContextManager[RadarScene]],
    stack: ExitStack,
    *,
    align: bool,
) -> RadarScene:
    """Open GeoTIFFs; several images of one pass in a folder, such as bursts, are joined where they overlap the grid.

    Raises:
        InputError: An image cannot be used, or none overlaps the grid.
    """
    bursts = bursts_of(source) if isinstance(source, BandStack) and align else [source]
    opened, elsewhere = [], None
    for one in bursts:
        try:
            opened.append(stack.enter_context(open_one(one)))
        except _ElsewhereError as error:
            elsewhere = error
    if not opened and elsewhere is not None:
        raise elsewhere
    return _joined(source.path, opened) if len(opened) > 1 else opened[0]


class _ElsewhereError(InputError):
    """The image does not overlap the grid."""


@contextmanager
def _opened_product(
    source: Product,
    geobox: GeoBox,
    heights: ElevationModel | None,
    work_folder: Path | None,
    *,
    allow_single: bool,
) -> Iterator[RadarScene]:
    with (
        _work(work_folder) as folder,
        open_product(source, folder) as product,
        _geocoded(product, geobox, folder, heights, allow_single=allow_single) as scene,
    ):
        yield scene


def _joined(path: Path, slices: list[RadarScene]) -> RadarScene:
    """Join slices of one pass; where several have data, the earliest counts."""
    first = slices[0]

    def read(top: int, bottom: int) -> NDArray[np.float32]:
        found = first.read(top, bottom)
        for one in slices[1:]:
            np.copyto(found, one.read(top, bottom), where=np.isnan(found))
        return found

    height, width = first.geobox.shape
    seen = sum(int(np.isfinite(read(*rows)[0]).sum()) for rows in row_ranges(height, _STRIP_PX)) / (height * width)
    remarks = [remark for one in slices for remark in one.remarks if not remark.startswith(_COVERS)]
    return replace(
        first,
        path=path,
        identity=" + ".join(str(one.identity) for one in slices) if first.identity else None,
        processing=f"{first.processing}, {len(slices)} {'slices' if first.identity else 'images'}",
        remarks=(*dict.fromkeys(remarks), *_gaps(seen)),
        _read=read,
    )


def _gaps(seen: float) -> Iterator[str]:
    if seen < 0.999:
        yield f"{_COVERS} {seen:.1%} of the optical scene; the rest has no data"


@contextmanager
def _work(work_folder: Path | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="unclouded-", dir=work_folder) as folder:
        yield Path(folder)


@contextmanager
def _geocoded(
    product: ProductFolder, geobox: GeoBox, folder: Path, heights: ElevationModel | None, *, allow_single: bool
) -> Iterator[RadarScene]:
    description = describe_radar_product(product, allow_single=allow_single)
    if geobox.crs is None:
        raise InputError(
            f"{named(product.path)} cannot be geocoded to a grid without CRS; use an optical scene with CRS"
        )
    with _store(folder / "radar.raw", geobox, product.path, len(description.channels)) as store:
        terrain = TerrainPositions(description, heights, geobox) if heights else None
        seen = geocode(
            product, description, terrain or GroundControlPositions(description.ground, geobox), geobox, store
        )
        if not seen:
            raise InputError(f"{named(product.path)} does not overlap the optical scene ({describe_grid(geobox)})")
        yield RadarScene(
            path=product.path,
            geobox=geobox,
            identity=description.identity,
            acquired=description.acquired,
            processing=_processing(description, terrain),
            remarks=tuple(_remarks(product, description, terrain, geobox, seen)),
            orbit=description.orbit,
            _read=_reader(store),
        )


def _processing(description: Sentinel1Product, terrain: TerrainPositions | None) -> str:
    noise = "" if any(channel.noise.is_zero for channel in description.channels) else "thermal noise, "
    place = "terrain correction" if terrain else "geolocation grid"
    return f"border noise, {noise}calibration to sigma0, {place}, dB"


def _remarks(
    product: ProductFolder, description: Sentinel1Product, terrain: TerrainPositions | None, geobox: GeoBox, seen: float
) -> Iterator[str]:
    if len(description.channels) == 1:
        yield SINGLE
    if terrain is None:
        yield NO_TERRAIN
    elif terrain.without_height:
        share = terrain.without_height / (geobox.shape[0] * geobox.shape[1])
        yield f"the elevation model has no height for {share:.1%} of the scene, where height 0 was used"
    if any(channel.noise.is_zero for channel in description.channels):
        yield NO_NOISE
    if product.listed is None:
        yield "no manifest.safe: a changed bit is not detected, and border noise of old processors was searched for"
    yield from _gaps(seen)


@contextmanager
def _opened_stack(
    source: BandStack | GeoTiff,
    geobox: GeoBox,
    units: RadarUnits,
    align: bool,
    work_folder: Path | None,
    remarks: tuple[str, ...],
    *,
    allow_single: bool,
) -> Iterator[RadarScene]:
    path, sensor = source.path, stored_as(units)
    if allow_single and (bands := polarisations(source)) != sensor.bands:
        sensor, remarks = replace(sensor, bands=bands), (*remarks, SINGLE)
    with open_image(source, sensor) as rows:

        def read_db(top: int, bottom: int) -> NDArray[np.float32]:
            return in_db(rows.read(top, bottom), units)

        both = read_db if sensor.bands == SENTINEL1.bands else with_estimated_vh(read_db)
        read = without_zero_gaps(both, rows.geobox.shape[0])
        taken = read_acquisition_time(rows.first, path)
        remarks = (*remarks, *_plausibility_remarks(rows, read, units), *taken.remarks)
        known: dict[str, Any] = {"acquired": taken.time, "remarks": remarks}
        if same_grid(rows.geobox, geobox):
            yield RadarScene(path, geobox, read, **known)
            return
        grids = f"({describe_grid(rows.geobox)}, not {describe_grid(geobox)})"
        if not align or rows.geobox.crs is None or geobox.crs is None:
            remedy = (
                "warp it with --align" if rows.geobox.crs and geobox.crs else "assign the CRS that one of them lacks"
            )
            raise InputError(f"{named(path)} lies on another grid than the optical scene {grids}; {remedy}")
        require_on_earth(path, rows.geobox)
        with _work(work_folder) as folder, _store(folder / "source.raw", rows.geobox, path) as original:
            _copy(read, original)
            with _store(folder / "radar.raw", geobox, path) as target:
                if not (seen := warp(original, rows.geobox, target, geobox)):
                    raise _ElsewhereError(f"{named(path)} does not overlap the optical scene {grids}")
                if seen <= 0.999:
                    remarks = (*remarks, f"{_COVERS} {seen:.1%} of the optical scene")
                known = {"acquired": taken.time, "processing": f"warped {grids}", "remarks": remarks}
                yield RadarScene(path, geobox, _reader(target), **known)


def _plausibility_remarks(rows: SceneRows, read: RowReader[NDArray[np.float32]], units: RadarUnits) -> tuple[str, ...]:
    """Check order and unit of the bands by rows spread over the image, and return warnings."""
    height = rows.geobox.shape[0]
    parts = [(top, min(top + _PROBE_PX, height)) for top in sorted({*_probes(height)})]
    values = np.concatenate([read(*part) for part in parts], axis=1)
    named_bands = all(band_named(name or "", rows.sensor) for name in rows.stored(0, 1).descriptions)
    return check_radar_plausibility(rows.path, values, units, named_bands=named_bands)


def _probes(height: int) -> list[int]:
    return [int(top) for top in np.linspace(0, max(height - _PROBE_PX, 0), _PROBES)]


@contextmanager
def _store(path: Path, geobox: GeoBox, purpose: Path, bands: int = 2) -> Iterator[RawBandCache]:
    store = RawBandCache(path, (bands, *geobox.shape), np.dtype(np.float32))
    require_room(path.parent, store.bytes, f"read {named(purpose)}")
    try:
        yield store
    finally:
        store.close()


def _copy(read: RowReader[NDArray[np.float32]], store: RawBandCache) -> None:
    """Copy all rows of a file: damage raises here, before anything is computed from the image."""
    for top, bottom in row_ranges(store.shape[1], _STRIP_PX):
        for band, one in enumerate(read(top, bottom)):
            store.write(band, top, 0, one)


def _reader(store: RawBandCache) -> RowReader[NDArray[np.float32]]:
    """Return a reader of VV and VH; the latter is estimated if it is not there."""

    def read(top: int, bottom: int) -> NDArray[np.float32]:
        return np.stack([store.read(band, top, bottom) for band in range(store.shape[0])])

    return read if store.shape[0] == len(SENTINEL1.bands) else with_estimated_vh(read)


# Warping of radar images from decoded rows, never from a file: GDAL warps damaged files to zeros without error.


def warp(source: RawBandCache, source_geobox: GeoBox, target: RawBandCache, geobox: GeoBox) -> float:
    """Warp VV and VH in dB to another grid, bilinearly in linear power.

    Args:
        source: Complete source image, two bands of float32 in dB.
        source_geobox: Grid of the source.
        target: Output, two bands of float32 in dB; NaN outside the source.
        geobox: Grid of the output.

    Returns:
        The share of the target that the source covers.
    """
    seen = 0
    to_source = transformer(geobox, source_geobox)
    for top, parts in block_rows(geobox):
        for left, part in parts:
            rows, columns = needed_window(part, source_geobox, to_source)
            for band in range(2):
                power = _warped(source, source_geobox, band, rows, columns, part)
                seen += int(np.isfinite(power).sum()) if band == 0 else 0
                target.write(band, top, left, to_db(power))
    return float(seen / (geobox.shape[0] * geobox.shape[1]))


def _warped(
    source: RawBandCache, source_geobox: GeoBox, band: int, rows: slice, columns: slice, part: GeoBox
) -> Float32[np.ndarray, "y x"]:
    found = np.full(part.shape, np.nan, np.float32)
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return found
    db = source.read(band, rows.start, rows.stop)[:, columns]
    warp_bilinear(np.power(np.float32(10), db / 10), source_geobox[rows, columns], found, part)
    return found
