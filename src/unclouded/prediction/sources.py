"""The two images of a scene, opened together and read by one thread, ahead of who needs them."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Integer
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.models.network import Level
from unclouded.prediction.tiling import Window
from unclouded.progress import ProgressCallback
from unclouded.sentinel.coregistration import Shift
from unclouded.sentinel.footprints import require_on_earth
from unclouded.sentinel.optical import OpticalScene, OpticalSettings, open_optical
from unclouded.sentinel.radar import RadarScene, open_radar
from unclouded.sentinel.radar_units import RadarUnits
from unclouded.sentinel.radiometry import Radiometry
from unclouded.sentinel.scene_alignment import ReadMask, scene_shift
from unclouded.settings import Settings
from unclouded.tensors.observation import Observation, positions


class RadarSettings(Settings):
    """How the radar image comes to the grid of the optical scene; see :mod:`unclouded.sentinel.radar`.

    Attributes:
        align: Warp a GeoTIFF on another grid; products always are.
        units: Of a GeoTIFF.
        heights: Elevation model for the terrain correction of a product.
        heights_datum_m: What is added to its heights to make them heights above the ellipsoid, metres.
    """

    align: bool = False
    units: RadarUnits = "dB"
    heights: Path | None = None
    heights_datum_m: float = 0.0


@dataclass(frozen=True, eq=False)
class Rows:
    """Whole rows of both images.

    Attributes:
        top: The first row.
        stored: Stored integers of ``bands``.
        sar: VV and VH, dB; NaN where there is no data.
        bands: Optical bands.
        radiometry: What the integers of these bands mean.
    """

    top: int
    stored: Integer[np.ndarray, "band rows x"]
    sar: Float32[np.ndarray, "2 rows x"]
    bands: tuple[str, ...]
    radiometry: Radiometry

    @property
    def window(self) -> Window:
        """Where the rows lie."""
        return Window(self.top, 0, self.top + self.stored.shape[1], self.stored.shape[2])

    @cached_property
    def optical(self) -> Bool[np.ndarray, "rows x"]:
        """Where all optical bands have data."""
        found = np.ones(self.stored.shape[1:], bool)
        for band in self.stored:  # one after the other: rows of a wide scene are much
            found &= self.radiometry.is_data(band)
        return found

    @cached_property
    def radar(self) -> Bool[np.ndarray, "rows x"]:
        """Where both radar bands have data."""
        return np.asarray(np.isfinite(self.sar).all(axis=0))

    def observation(
        self,
        window: Window,
        cloud_map: Float32[np.ndarray, "rows x"],
        seen: Bool[np.ndarray, "rows x"] | None = None,
    ) -> Observation:
        """Return a window of the rows as a remover sees it; m is never NaN in it.

        Args:
            window: Within the rows.
            cloud_map: The map m of all the rows; NaN where it is unknown.
            seen: Where any band of the optical image saw something. There, pixels with unknown m or with a missing band
                are shown as opaque cloud (m = 1), so that the remover makes them. If omitted, pixels with unknown m are
                shown as gaps: nothing is learnt from them.
        """
        part = window.within(self.window)
        cloudy, m = self.radiometry.decode(self.stored[:, *part]), cloud_map[part]
        unknown = np.isnan(m)
        if seen is not None:
            made = seen[part] & (unknown | ~self.optical[part])
            cloudy[:, made] = _completed(cloudy[:, made])
            m = np.where(made, np.float32(1.0), m)
        else:
            cloudy[:, unknown] = np.nan
        images = self.sar[:, *part], cloudy, np.nan_to_num(m, nan=0.0)[None]
        sar, optical, shown = (torch.from_numpy(np.ascontiguousarray(image))[None] for image in images)
        return Observation(sar, optical, shown, self.bands, (window.top, window.left))


def _completed(pixels: Float32[np.ndarray, "band pixel"]) -> Float32[np.ndarray, "band pixel"]:
    """Give missing bands of a pixel the mean of its others, or 1, as bright cloud has, where it has no others."""
    known = np.isfinite(pixels)
    count = known.sum(axis=0, dtype=np.float32)
    total = np.where(known, pixels, np.float32(0.0)).sum(axis=0)
    mean = np.divide(total, count, out=np.ones_like(total), where=count > 0)
    return np.where(known, pixels, mean)


@dataclass(frozen=True, eq=False)
class Sources:
    """A cloudy optical scene and the radar image on its grid, both open.

    Attributes:
        optical: The optical scene.
        radar: The radar image.
    """

    optical: OpticalScene
    radar: RadarScene
    _reader: ThreadPoolExecutor = field(repr=False)

    @property
    def geobox(self) -> GeoBox:
        """The grid of both."""
        return self.optical.geobox

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        height, width = self.geobox.shape
        return height, width

    def stored(self, top: int, bottom: int) -> "Future[Any]":
        """Start to read rows of all optical bands, as they are stored."""
        return self._reader.submit(self.optical.stored, top, bottom)

    def rows(self, top: int, bottom: int, bands: tuple[str, ...], after: "Future[Any] | None" = None) -> "Future[Rows]":
        """Start to read rows of both images, with some of the optical bands; once something else is done, if asked."""
        return self._reader.submit(self._rows, top, bottom, bands, after)

    def _rows(self, top: int, bottom: int, bands: tuple[str, ...], after: "Future[Any] | None") -> Rows:
        if after is not None:
            wait([after])
        stored, whole = self.optical.stored(top, bottom), bands == self.optical.bands
        stored = stored if whole else stored[positions(bands, self.optical.bands)]
        return Rows(top, stored, self.radar.read(top, bottom), bands, self.radiometry(bands))

    def shift(self, where: ReadMask) -> "Future[Shift]":
        """Start to estimate how far the radar lies from the optical scene, by the pixels that ``where`` allows."""
        return self._reader.submit(scene_shift, self.radar, self.optical, where)

    def radiometry(self, bands: tuple[str, ...]) -> Radiometry:
        """Return what the integers of some of the bands mean."""
        whole = self.optical.radiometry
        return replace(whole, offsets=tuple(whole.offsets[i] for i in positions(bands, self.optical.bands)))


@contextmanager
def open_sources(
    cloudy: Path,
    sar: Path,
    work_folder: Path,
    radar: RadarSettings | None = None,
    level: Level = "L1C",
    optical: OpticalSettings | None = None,
    on_progress: ProgressCallback = lambda *_: None,
    require_offset: bool = False,
) -> Iterator[Sources]:
    """Open an optical scene and the radar image of its place; both are opened, read and closed by one thread.

    Args:
        cloudy: Sentinel-2 product or GeoTIFF.
        sar: Sentinel-1 product or GeoTIFF.
        work_folder: Where products are decoded.
        radar: How the radar comes to the optical grid.
        level: Which product the remover was made for.
        optical: What the user says of the optical image.
        on_progress: Called with (stage, completed, total); decoding the products of a whole tile takes a minute.
        require_offset: Refuse an optical GeoTIFF whose offset is in doubt.

    Raises:
        InputError: An image cannot be used, is of the other level, or the two lie on different grids.
    """
    with ThreadPoolExecutor(1) as reader, ExitStack() as closed:
        stack = ExitStack()
        closed.callback(lambda: reader.submit(stack.close).result())
        on_progress("opening images", 0, 2)
        said = (optical or OpticalSettings()).model_dump()
        to_open = open_optical(
            cloudy, allow_l2a=level == "L2A", work_folder=work_folder, require_offset=require_offset, **said
        )
        scene = reader.submit(stack.enter_context, to_open).result()
        if scene.level != level:
            raise InputError(f"{named(cloudy)} is {scene.level}, but the weights were trained on {level}; give that")
        require_on_earth(cloudy, scene.geobox)
        on_progress("opening images", 1, 2)
        how = (radar or RadarSettings()).model_dump()
        opened = reader.submit(stack.enter_context, open_radar(sar, scene.geobox, work_folder=work_folder, **how))
        sources = Sources(scene, opened.result(), reader)
        on_progress("opening images", 2, 2)
        yield sources
