"""The two input images of a scene, opened together and read row by row by a single background thread.

One thread does all the reading, because GDAL data sets must not be shared between threads; callers receive futures,
so that they can prefetch.
"""

import datetime
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float32, Integer
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.clouds.detector import ReadRows
from unclouded.errors import InputError
from unclouded.files import named
from unclouded.io.strips import RowReader
from unclouded.prediction.tiling import Window
from unclouded.progress import ProgressCallback, no_progress
from unclouded.sensors import SENTINEL1, SENTINEL2, Level
from unclouded.sentinel.coregistration import Shift
from unclouded.sentinel.footprints import latitude_deg, require_on_earth
from unclouded.sentinel.identify import BandStack, GeoTiff, Source, identify
from unclouded.sentinel.optical import OpticalSettings, open_optical
from unclouded.sentinel.optical_scene import OpticalScene
from unclouded.sentinel.radar import RadarScene, open_radar
from unclouded.sentinel.radar_delivery import RadarRadiometry
from unclouded.sentinel.radar_units import RadarUnits
from unclouded.sentinel.radiometry import Radiometry
from unclouded.sentinel.scene_alignment import scene_shift
from unclouded.sentinel.target_grid import TargetGrid
from unclouded.settings import Settings
from unclouded.tensors.observation import Observation, Reference, Season, positions

T = TypeVar("T")


class RadarSettings(Settings):
    """Settings for resampling the radar image to the grid of the optical scene; see :mod:`unclouded.sentinel.radar`.

    Attributes:
        align: Warp a GeoTIFF on another grid; products are always warped.
        units: Units of a GeoTIFF; those that its name states (OPERA, HyP3, Planetary Computer) if omitted, or dB.
        heights: Elevation model for the terrain correction of a product.
        heights_datum_m: Height of the model's zero above the ellipsoid, metres; added to its heights.
        radiometry: Radiometry of a GeoTIFF; the one that its name states if omitted, or sigma0.
        incidence: Incidence angle for the conversion of gamma0 to sigma0, degrees or radians.
    """

    align: bool = False
    units: RadarUnits | None = None
    heights: Path | None = None
    heights_datum_m: float = 0.0
    radiometry: RadarRadiometry | None = None
    incidence: Path | None = None


@dataclass(frozen=True, eq=False)
class ReferenceRows:
    """Full-width rows of another date of the place; see :mod:`unclouded.prediction.references`.

    Attributes:
        name: Name of the image.
        date: Date of acquisition; None if unknown.
        stored: Stored integers of the bands of the scene.
        radiometry: Scale, offset and nodata value of the stored integers.
        cloud_map: The map m of that date; NaN where it is unknown.
        sar: VV and VH of about that date, dB; None if there is none.
    """

    name: str
    date: datetime.date | None
    stored: Integer[np.ndarray, "band rows x"]
    radiometry: Radiometry
    cloud_map: Float32[np.ndarray, "rows x"]
    sar: Float32[np.ndarray, "2 rows x"] | None = None

    def reference(self, part: tuple[slice, slice]) -> Reference:
        """Return some rows and columns; pixels of unknown m count as cloudy."""
        cloudy, m = self.radiometry.decode(self.stored[:, *part]), np.nan_to_num(self.cloud_map[part], nan=1.0)
        sar = None if self.sar is None else torch.from_numpy(np.ascontiguousarray(self.sar[:, *part]))[None]
        return Reference(self.name, self.date, torch.from_numpy(cloudy)[None], torch.from_numpy(m)[None, None], sar)


@dataclass(frozen=True, eq=False)
class SceneRows:
    """Full-width rows of both images.

    Attributes:
        top: First row.
        stored: Stored integers of ``bands``.
        sar: VV and VH, dB; NaN for no data.
        bands: Optical bands.
        radiometry: Scale, offset and nodata value of the stored integers.
        season: Season and latitude of the scene; None if unknown.
        date: Date of acquisition; None if unknown.
        references: The same rows of other dates.
        level: Processing level of the optical images.
    """

    top: int
    stored: Integer[np.ndarray, "band rows x"]
    sar: Float32[np.ndarray, "2 rows x"]
    bands: tuple[str, ...]
    radiometry: Radiometry
    season: Season | None = None
    date: datetime.date | None = None
    references: tuple[ReferenceRows, ...] = ()
    level: Level = "L1C"

    @property
    def window(self) -> Window:
        """Window of the rows in the scene."""
        return Window(self.top, 0, self.top + self.stored.shape[1], self.stored.shape[2])

    @cached_property
    def optical(self) -> Bool[np.ndarray, "rows x"]:
        """True where all optical bands have data."""
        found = np.ones(self.stored.shape[1:], bool)
        for band in self.stored:  # band by band, to save memory in wide scenes
            found &= self.radiometry.is_data(band)
        return found

    @cached_property
    def radar(self) -> Bool[np.ndarray, "rows x"]:
        """True where both radar bands have data."""
        return np.asarray(np.isfinite(self.sar).all(axis=0))

    def observation(
        self,
        window: Window,
        cloud_map: Float32[np.ndarray, "rows x"],
        seen: Bool[np.ndarray, "rows x"] | None = None,
        *,
        fill: bool = True,
    ) -> Observation:
        """Return a window of the rows as input for a remover; m is never NaN in it.

        Args:
            window: Window within the rows.
            cloud_map: The map m of all rows; NaN where it is unknown.
            seen: True where any band of the optical image has a value. There, pixels with unknown m or with a missing
                band are passed as opaque cloud (m = 1), so that the remover predicts them. If omitted, pixels with
                unknown m are passed as gaps, so that nothing is fitted to them.
            fill: Fill missing bands of the pixels that are passed as opaque cloud.
        """
        part = window.within(self.window)
        cloudy, m = self.radiometry.decode(self.stored[:, *part]), cloud_map[part]
        unknown = np.isnan(m)
        if seen is not None:
            predicted = seen[part] & (unknown | ~self.optical[part])
            if fill:
                cloudy[:, predicted] = _fill_missing_bands(cloudy[:, predicted])
            m = np.where(predicted, np.float32(1.0), m)
        else:
            cloudy[:, unknown] = np.nan
        images = self.sar[:, *part], cloudy, np.nan_to_num(m, nan=0.0)[None]
        sar, optical, shown = (torch.from_numpy(np.ascontiguousarray(image))[None] for image in images)
        references = tuple(one.reference(part) for one in self.references)
        corner, seasons = (window.top, window.left), (self.season,)
        return Observation(sar, optical, shown, self.bands, corner, self.date, references, seasons, self.level)


def _fill_missing_bands(pixels: Float32[np.ndarray, "band pixel"]) -> Float32[np.ndarray, "band pixel"]:
    """Fill missing bands of a pixel with the mean of its other bands, or with 1 (bright cloud) if it has none."""
    known = np.isfinite(pixels)
    count = known.sum(axis=0, dtype=np.float32)
    total = np.where(known, pixels, np.float32(0.0)).sum(axis=0)
    mean = np.divide(total, count, out=np.ones_like(total), where=count > 0)
    return np.where(known, pixels, mean)


ReferenceReader = Callable[[int, int, tuple[str, ...]], ReferenceRows]
"""Reads some bands of the rows from the first to before the second."""


@dataclass(frozen=True, eq=False)
class Sources:
    """An open cloudy optical scene and, if any, the open radar image on its grid.

    Attributes:
        optical: Optical scene.
        radar: Radar image; None for prediction from the optical image alone.
        target: Part and pixel size of the scene.
        references: Readers of the rows of other dates.
    """

    optical: OpticalScene
    radar: RadarScene | None
    _reader: ThreadPoolExecutor = field(repr=False)
    target: TargetGrid
    references: tuple[ReferenceReader, ...] = ()

    @property
    def geobox(self) -> GeoBox:
        """Common grid of both images."""
        return self.optical.geobox

    @cached_property
    def season(self) -> Season | None:
        """Season and latitude of the optical scene; None if its date is unknown."""
        if (time := self.optical.acquired) is None:
            return None
        return Season(time.timetuple().tm_yday, latitude_deg(self.geobox))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        height, width = self.geobox.shape
        return height, width

    @property
    def date(self) -> datetime.date | None:
        """Date of acquisition of the optical scene, UTC; None if unknown."""
        return self.optical.acquired.date() if self.optical.acquired else None

    def in_reader(self, function: Callable[[], T]) -> T:
        """Return the result of a function that is run by the thread that reads the images."""
        return self.submit(function).result()

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """Start a function in the thread that reads the images."""
        return self._reader.submit(function)

    def stored(self, top: int, bottom: int) -> "Future[Any]":
        """Start to read rows of all optical bands as stored integers."""
        return self._reader.submit(self.optical.stored, top, bottom)

    @property
    def read_sar(self) -> ReadRows | None:
        """Reader of rows of the radar image, VV and VH in dB; None without radar."""
        radar = self.radar
        if radar is None:
            return None
        return lambda top, bottom: self._reader.submit(radar.read, top, bottom).result()

    def rows(
        self, top: int, bottom: int, bands: tuple[str, ...], after: "Future[Any] | None" = None
    ) -> "Future[SceneRows]":
        """Start to read rows of both images with some of the optical bands, after another task if one is given."""
        return self._reader.submit(self._rows, top, bottom, bands, after)

    def _rows(self, top: int, bottom: int, bands: tuple[str, ...], after: "Future[Any] | None") -> SceneRows:
        if after is not None:
            wait([after])
        stored, whole = self.optical.stored(top, bottom), bands == self.optical.bands
        stored = stored if whole else stored[positions(bands, self.optical.bands)]
        if self.radar is None:
            sar = np.full((len(SENTINEL1.bands), *stored.shape[1:]), np.nan, np.float32)
        else:
            sar = self.radar.read(top, bottom)
        references = tuple(read(top, bottom, bands) for read in self.references)
        known = self.season, self.date, references, self.optical.level
        return SceneRows(top, stored, sar, bands, self.radiometry(bands), *known)

    def shift(self, where: RowReader[NDArray[np.bool_]]) -> "Future[Shift]":
        """Start to estimate the shift of the radar against the optical scene, from the pixels selected by ``where``.

        Raises:
            ValueError: There is no radar.
        """
        if self.radar is None:
            raise ValueError("there is no radar whose shift could be estimated")
        return self._reader.submit(scene_shift, self.radar, self.optical, where)

    def radiometry(self, bands: tuple[str, ...]) -> Radiometry:
        """Return scale, offset and nodata value of some of the bands."""
        return self.optical.radiometry.picked(positions(bands, self.optical.bands))


@contextmanager
def open_sources(
    cloudy: Path | Source,
    sar: Path | Source | None,
    work_folder: Path,
    radar: RadarSettings | None = None,
    level: Level | None = "L1C",
    optical: OpticalSettings | None = None,
    on_progress: ProgressCallback = no_progress,
    require_offset: bool = False,
    area: Path | None = None,
    resolution_m: int = 10,
) -> Iterator[Sources]:
    """Open an optical scene and the radar image of the same area; one thread opens, reads and closes both.

    Args:
        cloudy: Sentinel-2 product or GeoTIFF.
        sar: Sentinel-1 product or GeoTIFF; None for the optical scene alone.
        work_folder: Folder for decoded bands of products.
        radar: Resampling and correction of the radar image.
        level: Processing level that the remover is for; None for both.
        optical: Reading of the optical image.
        on_progress: Called with (stage, completed, total); decoding the products of a whole tile takes a minute.
        require_offset: Refuse an optical GeoTIFF whose offset is in doubt.
        area: GeoJSON file with the area to cut out.
        resolution_m: Pixel size, 10 or 20 m.

    Raises:
        InputError: An image cannot be used, is of another level, the two are on different grids, or the area lies
            elsewhere.
    """
    with ThreadPoolExecutor(1) as reader, ExitStack() as closed:
        stack = ExitStack()
        closed.callback(lambda: reader.submit(stack.close).result())
        on_progress("opening images", 0, 2)
        source = identify(cloudy, SENTINEL2)
        optical, radar = optical or OpticalSettings(), radar or RadarSettings()
        to_open = open_optical(
            source,
            resampling=optical.resampling,
            allow_l2a=level != "L1C",
            tile=optical.tile,
            offset=optical.offset,
            date=optical.date,
            work_folder=work_folder,
            require_offset=require_offset,
        )
        scene = reader.submit(stack.enter_context, to_open).result()
        if level not in (None, scene.level):
            raise InputError(
                f"{named(source.path)} is {scene.level}, but the weights were trained on {level}; use that level"
            )
        require_on_earth(source.path, scene.geobox)
        on_progress("opening images", 1, 2)
        target = TargetGrid.of(scene.geobox, area, resolution_m)
        opened = None
        if sar is not None:
            opened = reader.submit(stack.enter_context, open_radar_on(target, sar, radar, work_folder)).result()
        on_progress("opening images", 2, 2)
        yield Sources(target.optical(scene), opened, reader, target)


@contextmanager
def open_radar_on(
    target: TargetGrid, sar: Path | Source, settings: RadarSettings, work_folder: Path
) -> Iterator[RadarScene]:
    """Open a radar image on the target grid of a scene.

    Args:
        target: Part and pixel size of the scene.
        sar: Sentinel-1 product or GeoTIFF; a GeoTIFF that is not to be warped has the full grid of the scene.
        settings: Resampling and correction.
        work_folder: Folder for decoded bands of products.

    Raises:
        InputError: See :func:`~unclouded.sentinel.radar.open_radar`.
    """
    source = identify(sar, SENTINEL1)
    as_stored = isinstance(source, BandStack | GeoTiff) and not settings.align
    with open_radar(
        source,
        target.full if as_stored else target.fine,
        align=settings.align,
        units=settings.units,
        heights=settings.heights,
        heights_datum_m=settings.heights_datum_m,
        work_folder=work_folder,
        radiometry=settings.radiometry,
        incidence=settings.incidence,
        allow_single=True,
    ) as scene:
        yield target.radar(scene)
