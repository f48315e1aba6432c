"""The cloud map of a scene, made once, strip by strip, and read back by rows."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Integer
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.clouds.detectors import find_detector
from unclouded.clouds.map import STRIP_PX, CloudMapSettings, cloud_map, detector_of_rows, strips_of, with_reach
from unclouded.errors import InputError
from unclouded.files import named
from unclouded.io.geotiff import grid_of, image_bands, open_geotiff, stored_rows
from unclouded.io.raster import check_limits, describe_grid, same_grid
from unclouded.prediction.sources import Sources
from unclouded.prediction.tiling import Strip, StripCheckpoint, prefetch
from unclouded.progress import ProgressCallback
from unclouded.sentinel.radiometry import Radiometry
from unclouded.tensors.observation import positions

WIDE_PX = 5490
"""Half a Sentinel-2 tile; wider scenes are mapped in strips of half the height, for the sake of memory."""


@dataclass(frozen=True, eq=False)
class SceneMap:
    """The cloud map m of a scene, and where its optical image has data; rows are read from disk.

    Attributes:
        store: Where its strips lie.
        strips: First row of each, and the row after its last.
    """

    store: StripCheckpoint
    strips: list[tuple[int, int]]
    _recent: dict[int, Strip] = field(default_factory=dict, repr=False)

    def cloud_map(self, top: int, bottom: int) -> Float32[np.ndarray, "rows x"]:
        """Return rows of the map m; NaN where it is unknown, and where no band saw anything."""
        return self._rows("cloud_map", top, bottom)

    def has_data(self, top: int, bottom: int) -> Bool[np.ndarray, "rows x"]:
        """Return True where all optical bands of the remover have data and m is known."""
        return self._rows("has_data", top, bottom)

    def seen(self, top: int, bottom: int) -> Bool[np.ndarray, "rows x"]:
        """Return True where any optical band saw something, even if it was saturated."""
        return self._rows("seen", top, bottom)

    def everywhere(self, mask: Callable[[int, int], NDArray[np.bool_]]) -> Bool[np.ndarray, "y x"]:
        """Return a mask such as :meth:`has_data` of the whole scene, with one strip in memory at a time."""
        return np.concatenate([mask(*strip) for strip in self.strips])

    def unjudged(self) -> "Unjudged":
        """Return why pixels of the scene cannot be judged."""
        counts = [_present(self.store, top)["unjudged"] for top, _ in self.strips]
        return Unjudged(*np.sum(counts, axis=0).T.tolist())

    def is_clear(self, top: int, bottom: int) -> Bool[np.ndarray, "rows x"]:
        """Say where the optical image has data and m = 0."""
        return np.asarray(self.has_data(top, bottom) & (self.cloud_map(top, bottom) == 0))

    def _rows(self, name: str, top: int, bottom: int) -> np.ndarray:
        met = [(first, last) for first, last in self.strips if first < bottom and last > top]
        for first in [first for first in self._recent if first not in dict(met)]:
            del self._recent[first]
        for first, _ in met:
            if first not in self._recent:
                self._recent[first] = _present(self.store, first)
        parts = [self._recent[first][name][max(top - first, 0) : bottom - first] for first, _ in met]
        return np.concatenate(parts)


@dataclass(frozen=True)
class Unjudged:
    """Pixels at which something was seen, but m is unknown or a band of the remover is missing; counts by band.

    Attributes:
        lacking: How many of them the band has no data at.
        saturated: How many of them the band is saturated at.
        other: How many have data in all bands, but none in the user's cloud map; the same number in each band.
        pixels: How many there are; the same number in each band.
    """

    lacking: Sequence[int]
    saturated: Sequence[int]
    other: Sequence[int]
    pixels: Sequence[int]

    def reasons(self, bands: tuple[str, ...]) -> str:
        """Return the causes in words, such as ``B10 has no data``."""
        causes = []
        for counts, one, many in (
            (self.lacking, "has no", "have no"),
            (self.saturated, "is saturated", "are saturated"),
        ):
            if names := [band for band, count in zip(bands, counts, strict=True) if count]:
                causes.append(f"{' '.join(names)} {one if len(names) == 1 else many}")
        causes = [f"{cause} data" if cause.endswith(" no") else cause for cause in causes]
        return " or ".join([*causes, *(["the cloud map has no data"] if any(self.other) else [])])


def _present(store: StripCheckpoint, top: int) -> Strip:
    strip = store.get(top)
    if strip is None:
        raise RuntimeError(f"{store.folder} lost the cloud map from row {top} on while it was used")
    return strip


def map_scene(
    sources: Sources,
    bands: tuple[str, ...],
    settings: CloudMapSettings,
    store: StripCheckpoint,
    on_progress: ProgressCallback,
    own: Path | None = None,
) -> SceneMap:
    """Map the clouds of a scene; strips that the store holds already are not made again.

    Args:
        sources: The scene.
        bands: Of the remover.
        settings: How the map is made.
        store: Where strips are kept.
        on_progress: Is told how far it is.
        own: A map that the user brings, which is taken as it is; no detector is asked then.

    Raises:
        InputError: The image has values that no reflectance has, the detector lacks a band, or the user's map has other
            values than 0 to 1.
    """
    height, width = sources.shape
    strips = strips_of(height, STRIP_PX if width <= WIDE_PX else STRIP_PX // 2)
    missing = [strip for strip in strips if not store.holds(strip[0])]
    with ExitStack() as stack:
        if own is not None:
            made = _taken(sources, missing, stack.enter_context(open_user_mask(own, sources.geobox)))
        else:
            made = _detected(sources, missing, settings)
        places = positions(bands, sources.optical.bands)
        for strip, m, stored in made:
            store.put(strip[0], _strip(m, stored, sources.optical.radiometry, places))
            on_progress("mapping clouds", strip[1], height)
    return SceneMap(store, strips)


def _strip(
    m: Float32[np.ndarray, "rows x"],
    stored: Integer[np.ndarray, "band rows x"],
    radiometry: Radiometry,
    places: Sequence[int],
) -> Strip:
    """Return what is kept of a strip; m is unknown where no band saw anything.

    Args:
        m: The map.
        stored: Stored numbers of all bands.
        radiometry: Their meaning.
        places: Which bands are the remover's.
    """
    seen, complete = np.zeros(m.shape, bool), np.ones(m.shape, bool)
    for number, band in enumerate(stored):  # one after the other: a strip of a wide scene is large
        seen |= radiometry.is_seen(band)
        if number in places:
            complete &= radiometry.is_data(band)
    m = np.where(seen, m, np.float32(np.nan))
    unjudged = seen & (np.isnan(m) | ~complete)
    counts = np.zeros((len(stored), 4), np.int64)
    if unjudged.any():
        pixels = stored[:, unjudged]
        seen_there, measured = radiometry.is_seen(pixels), radiometry.is_data(pixels)
        counts[:, 0] = (~seen_there).sum(axis=1)
        counts[:, 1] = (seen_there & ~measured).sum(axis=1)
        counts[:, 2] = measured.all(axis=0).sum()
        counts[:, 3] = pixels.shape[1]
    return {"cloud_map": m, "has_data": complete & ~np.isnan(m), "seen": seen, "unjudged": counts}


Mapped = Iterator[tuple[tuple[int, int], NDArray[np.float32], NDArray[np.integer]]]
"""Strips, each with its map m (rows, x) and its stored numbers (band, rows, x)."""


def _detected(sources: Sources, strips: list[tuple[int, int]], settings: CloudMapSettings) -> Mapped:
    """Map strips by the detector, each seen with as many rows around as reach into its map."""
    optical, height = sources.optical, sources.shape[0]
    if not strips:
        return

    def rows(strip: tuple[int, int]) -> tuple[int, int]:
        return with_reach(*strip, height, settings)

    def read(top: int, bottom: int) -> NDArray[np.float32]:
        return optical.radiometry.decode(sources.stored(top, bottom).result())

    detector_from = detector_of_rows(find_detector(settings.detector), settings, read, height, optical.bands)
    for strip, stored in prefetch(strips, lambda strip: sources.stored(*rows(strip))):
        here = slice(strip[0] - rows(strip)[0], strip[1] - rows(strip)[0])
        reflectance = optical.radiometry.decode(stored)
        check_limits(optical.path, reflectance, optical.sensor)
        yield (
            strip,
            cloud_map(reflectance, optical.bands, settings, detector_from(rows(strip)[0]))[here],
            stored[:, here],
        )


# A cloud map that the user brings, read row by row: what other detectors found, or what was drawn by hand.


ReadMap = Callable[[int, int], NDArray[np.float32]]
"""From first row and row after the last to the map m (rows, x); NaN where it has no data."""


def _taken(sources: Sources, strips: list[tuple[int, int]], read_own: ReadMap) -> Mapped:
    """Take strips of the user's map; where it has no data, m is unknown."""
    optical = sources.optical
    for strip, stored in prefetch(strips, lambda strip: sources.stored(*strip)):
        check_limits(optical.path, optical.radiometry.decode(stored), optical.sensor)
        yield strip, read_own(*strip), stored


@contextmanager
def open_user_mask(path: Path, geobox: GeoBox) -> Iterator[ReadMap]:
    """Open a map m, 0 clear to 1 cloudy, whatever its type; a mask of zeros and ones is one, too.

    Args:
        path: GeoTIFF of one band.
        geobox: The grid of the scene; the map's must be the same.

    Raises:
        InputError: The file is damaged, has more than one band, or lies on another grid; on reading, other values.
    """
    with open_geotiff(path) as source:
        if (count := len(image_bands(source))) != 1:
            raise InputError(f"{named(path)} has {count} bands, expected one, the cloud map; leave one in it")
        if not same_grid(grid_of(source), geobox):
            grids = f"({describe_grid(grid_of(source))}, not {describe_grid(geobox)})"
            raise InputError(f"{named(path)} lies on another grid than the optical scene {grids}; warp it first")

        def read(top: int, bottom: int) -> NDArray[np.float32]:
            stored = stored_rows(path, source, top, bottom)
            m = np.array(stored.values[0], np.float32)
            m[stored.is_gap[0]] = np.nan
            _refuse_other_values(path, m)
            return m

        yield read


def _refuse_other_values(path: Path, m: Float32[np.ndarray, "rows x"]) -> None:
    low, high = (float(extreme.reduce(m, axis=None)) for extreme in (np.fmin, np.fmax))  # both pass over NaN
    if low < 0.0 or high > 1.0:
        raise InputError(
            f"{named(path)} has values from {low:.4g} to {high:.4g}, expected 0 for clear to 1 for cloudy; scale them, "
            "or say which classes are cloud first"
        )
