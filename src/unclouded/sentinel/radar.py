"""One radar scene on the grid of an optical one, whatever it came in: rows of VV and VH in dB."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
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
from unclouded.sensors import SENTINEL1, Sensor
from unclouded.sentinel.band_stack import is_band_folder, open_image, read_acquisition_time
from unclouded.sentinel.footprints import require_on_earth
from unclouded.sentinel.geocoding import ElevationModel, GroundControlPositions, TerrainPositions, geocode, warp
from unclouded.sentinel.radar_gaps import ReadRows, without_zero_gaps
from unclouded.sentinel.radar_units import RadarUnits, check_radar_plausibility, in_db, stored_as
from unclouded.sentinel.raw_store import RawBandCache
from unclouded.sentinel.safe import ProductFolder, looks_like_product, open_product
from unclouded.sentinel.sentinel1 import Sentinel1Product, describe_radar_product, slices_in

NO_TERRAIN = (
    "no elevation model: placed by the geolocation grid alone, so every metre that the ground differs from it moves "
    "the radar by about a metre; give one where there are hills"
)
NO_NOISE = "the product has no thermal noise, or one of unknown scale, so none was subtracted"
UNUSED_HEIGHTS = (
    "the elevation model was not used: a GeoTIFF of radar lies where its georeference says; give the GRDH product to "
    "have it corrected"
)
_SAW = "the radar saw"
_STRIP_PX = 512
_PROBES, _PROBE_PX = 5, 16
"""Parts of an image by which its unit is judged, and rows of each."""


@dataclass(frozen=True, eq=False)
class RadarScene:
    """An open radar image, read row by row.

    Attributes:
        path: What the user gave.
        geobox: The grid that was asked for.
        identity: Name of the product; None for a GeoTIFF.
        acquired: When it was taken, in UTC; None where a GeoTIFF does not tell.
        processing: What was done to it, in words.
        remarks: What the user has to be told about this input.
        sensor: Sentinel-1.
    """

    path: Path
    geobox: GeoBox
    _read: ReadRows = field(repr=False)
    identity: str | None = None
    acquired: datetime | None = None
    processing: str = "as it came"
    remarks: tuple[str, ...] = ()
    sensor: Sensor = SENTINEL1

    @property
    def bands(self) -> tuple[str, ...]:
        """VV and VH."""
        return self.sensor.bands

    def read(self, top: int, bottom: int) -> Float32[np.ndarray, "band rows x"]:
        """Read the rows from ``top`` to before ``bottom`` in dB; NaN where there is no data.

        Raises:
            InputError: The rows are damaged, or hold values in another unit.
            ValueError: There are no such rows.
        """
        require_rows(self.path, self.geobox, top, bottom)
        return self._read(top, bottom)

    def metadata(self) -> dict[str, str]:
        """Return what is known of the scene, in words, for tags of files."""
        known = {
            "product": self.identity or self.path.name,
            "acquired": self.acquired.isoformat() if self.acquired else None,
            "processing": self.processing,
        }
        return {key: value for key, value in known.items() if value is not None}


@contextmanager
def open_radar(
    path: Path | str,
    geobox: GeoBox,
    *,
    align: bool = False,
    units: RadarUnits = "dB",
    heights: Path | None = None,
    heights_datum_m: float = 0.0,
    work_folder: Path | None = None,
) -> Iterator[RadarScene]:
    """Open a Sentinel-1 image on a grid: an IW GRDH product (SAFE folder or zip), or GeoTIFFs of VV and VH.

    Args:
        path: The product, or a folder with slices of one pass; a file of VV and VH, or a folder with a file for each,
            named after them.
        geobox: The grid of the optical scene.
        align: Bring a GeoTIFF on another grid to this one; products always are.
        units: Of a GeoTIFF.
        heights: Elevation model for the terrain correction of a product, which needs the extra ``sar``; without, it is
            placed by its geolocation grid.
        heights_datum_m: What is added to its heights to make them heights above the ellipsoid: the undulation of the
            geoid, for models above sea level.
        work_folder: Where a folder of 1 GB for a whole tile is made, and removed in the end. The system's temporary
            folder if omitted.

    Raises:
        InputError: Another product or file, named; or one that is cut, damaged, changed, in other units, on another
            grid, or elsewhere.
    """
    path = Path(path)
    if looks_like_product(path) and not is_band_folder(path, SENTINEL1):
        model = ElevationModel.read(heights, heights_datum_m) if heights else None
        if model and geobox.crs is not None:
            model.require_over(geobox)
        with ExitStack() as stack:
            slices = slices_in(path) or [path]
            opened = [stack.enter_context(_opened_product(one, geobox, model, work_folder)) for one in slices]
            yield _joined(path, opened) if len(opened) > 1 else opened[0]
    else:
        remarks = (UNUSED_HEIGHTS,) if heights else ()
        with _opened_stack(path, geobox, units, align, work_folder, remarks) as scene:
            yield scene


@contextmanager
def _opened_product(
    path: Path, geobox: GeoBox, heights: ElevationModel | None, work_folder: Path | None
) -> Iterator[RadarScene]:
    with (
        _work(work_folder) as folder,
        open_product(path, folder) as product,
        _geocoded(product, geobox, folder, heights) as scene,
    ):
        yield scene


def _joined(path: Path, slices: list[RadarScene]) -> RadarScene:
    """Put slices of one pass together; where two saw a pixel, the earlier one counts."""
    first = slices[0]

    def read(top: int, bottom: int) -> NDArray[np.float32]:
        found = first.read(top, bottom)
        for one in slices[1:]:
            np.copyto(found, one.read(top, bottom), where=np.isnan(found))
        return found

    height, width = first.geobox.shape
    strips = [(top, min(top + _STRIP_PX, height)) for top in range(0, height, _STRIP_PX)]
    seen = sum(int(np.isfinite(read(*strip)[0]).sum()) for strip in strips) / (height * width)
    said = [remark for one in slices for remark in one.remarks if not remark.startswith(_SAW)]
    return replace(
        first,
        path=path,
        identity=" + ".join(str(one.identity) for one in slices),
        processing=f"{first.processing}, {len(slices)} slices",
        remarks=(*dict.fromkeys(said), *_gaps(seen)),
        _read=read,
    )


def _gaps(seen: float) -> Iterator[str]:
    if seen < 0.999:
        yield f"{_SAW} {seen:.1%} of the optical scene; the rest has no data"


@contextmanager
def _work(work_folder: Path | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="unclouded-", dir=work_folder) as folder:
        yield Path(folder)


@contextmanager
def _geocoded(
    product: ProductFolder, geobox: GeoBox, folder: Path, heights: ElevationModel | None
) -> Iterator[RadarScene]:
    description = describe_radar_product(product)
    if geobox.crs is None:
        raise InputError(
            f"{named(product.path)} cannot be placed on a grid without CRS; give an optical scene with one"
        )
    with _store(folder / "radar.raw", geobox, product.path) as store:
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
            _read=_reader(store),
        )


def _processing(description: Sentinel1Product, terrain: TerrainPositions | None) -> str:
    noise = "" if any(channel.noise.is_zero for channel in description.channels) else "thermal noise, "
    place = "terrain correction" if terrain else "geolocation grid"
    return f"border noise, {noise}calibration to sigma0, {place}, dB"


def _remarks(
    product: ProductFolder, description: Sentinel1Product, terrain: TerrainPositions | None, geobox: GeoBox, seen: float
) -> Iterator[str]:
    if terrain is None:
        yield NO_TERRAIN
    elif terrain.without_height:
        share = terrain.without_height / (geobox.shape[0] * geobox.shape[1])
        yield f"the elevation model has no height for {share:.1%} of the scene, which was taken at height 0"
    if any(channel.noise.is_zero for channel in description.channels):
        yield NO_NOISE
    if product.listed is None:
        yield "no manifest.safe: a changed bit goes unseen, and the border noise of old processors was looked for"
    yield from _gaps(seen)


@contextmanager
def _opened_stack(
    path: Path, geobox: GeoBox, units: RadarUnits, align: bool, work_folder: Path | None, remarks: tuple[str, ...]
) -> Iterator[RadarScene]:
    with open_image(path, stored_as(units)) as rows:
        read = without_zero_gaps(lambda top, bottom: in_db(rows.read(top, bottom), units), rows.geobox.shape[0])
        taken = read_acquisition_time(rows.first, path)
        remarks = (*remarks, *_judged(rows, read, units), *taken.remarks)
        if same_grid(rows.geobox, geobox):
            known: dict[str, Any] = {"acquired": taken.time, "remarks": remarks}
            yield RadarScene(path, geobox, read, **known)
            return
        grids = f"({describe_grid(rows.geobox)}, not {describe_grid(geobox)})"
        if not align or rows.geobox.crs is None or geobox.crs is None:
            remedy = "warp it with --align" if rows.geobox.crs and geobox.crs else "one of them has no CRS to align by"
            raise InputError(f"{named(path)} lies on another grid than the optical scene {grids}; {remedy}")
        require_on_earth(path, rows.geobox)
        with _work(work_folder) as folder, _store(folder / "source.raw", rows.geobox, path) as source:
            _copy(read, source)
            with _store(folder / "radar.raw", geobox, path) as target:
                if not (seen := warp(source, rows.geobox, target, geobox)):
                    raise InputError(f"{named(path)} does not overlap the optical scene {grids}")
                if seen <= 0.999:
                    remarks = (*remarks, f"the radar covers {seen:.1%} of the optical scene")
                told: dict[str, Any] = {"acquired": taken.time, "processing": f"warped {grids}", "remarks": remarks}
                yield RadarScene(path, geobox, _reader(target), **told)


def _judged(rows: SceneRows, read: ReadRows, units: RadarUnits) -> tuple[str, ...]:
    """Return warnings about order and unit of the bands, by rows from all over the image."""
    height = rows.geobox.shape[0]
    parts = [(top, min(top + _PROBE_PX, height)) for top in sorted({*_probes(height)})]
    values = np.concatenate([read(*part) for part in parts], axis=1)
    named_bands = all(band_named(name or "", rows.sensor) for name in rows.stored(0, 1).descriptions)
    return check_radar_plausibility(rows.path, values, units, named_bands=named_bands)


def _probes(height: int) -> list[int]:
    return [int(top) for top in np.linspace(0, max(height - _PROBE_PX, 0), _PROBES)]


@contextmanager
def _store(path: Path, geobox: GeoBox, purpose: Path) -> Iterator[RawBandCache]:
    store = RawBandCache(path, (2, *geobox.shape), np.dtype(np.float32))
    require_room(path.parent, store.bytes, f"read {named(purpose)}")
    try:
        yield store
    finally:
        store.close()


def _copy(read: ReadRows, store: RawBandCache) -> None:
    """Read a file to its end: whatever is damaged raises here, and nothing is computed from it before."""
    height = store.shape[1]
    for top in range(0, height, _STRIP_PX):
        for band, one in enumerate(read(top, min(top + _STRIP_PX, height))):
            store.write(band, top, 0, one)


def _reader(store: RawBandCache) -> ReadRows:
    return lambda top, bottom: np.stack([store.read(band, top, bottom) for band in range(2)])
