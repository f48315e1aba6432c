"""Cloud map of a scene, computed once strip by strip and read back by rows.

The map m comes from a cloud detector or from a GeoTIFF of the user. :func:`map_scene` stores it in a checkpoint
together with masks of valid pixels, and returns a :class:`SceneMap` that reads rows from it.
"""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Integer
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.clouds.detectors import find_detector
from unclouded.clouds.map import (
    STRIP_PX,
    CloudMapSettings,
    cloud_map,
    detector_for_rows,
    rows_in_reach,
    survey_product,
)
from unclouded.clouds.scene_classes import FACTOR, class_map
from unclouded.errors import InputError
from unclouded.files import named
from unclouded.io.geotiff import grid_of, image_bands, open_geotiff, stored_rows
from unclouded.io.raster import check_limits, describe_grid, same_grid
from unclouded.io.strips import RowReader, row_ranges
from unclouded.prediction.sources import Sources
from unclouded.prediction.tiling import Strip, StripCheckpoint, prefetch
from unclouded.progress import ProgressCallback
from unclouded.sentinel.radiometry import Radiometry
from unclouded.sun import Sun
from unclouded.tensors.observation import positions

WIDE_PX = 5490
"""Width from which strips have half the height, to save memory: half a Sentinel-2 tile."""


@dataclass(frozen=True, eq=False)
class SceneMap:
    """Cloud map m of a scene with masks of valid optical pixels; rows are read from disk.

    Attributes:
        store: Checkpoint of the strips.
        strips: First row and row after the last of each strip.
    """

    store: StripCheckpoint
    strips: list[tuple[int, int]]
    _recent: dict[int, Strip] = field(default_factory=dict, repr=False)

    def cloud_map(self, top: int, bottom: int) -> Float32[np.ndarray, "rows x"]:
        """Return rows of the map m; NaN where it is unknown, and where no band has a value."""
        return self._rows("cloud_map", top, bottom)

    def has_data(self, top: int, bottom: int) -> Bool[np.ndarray, "rows x"]:
        """Return a mask of the pixels where all optical bands of the remover have data and m is known."""
        return self._rows("has_data", top, bottom)

    def seen(self, top: int, bottom: int) -> Bool[np.ndarray, "rows x"]:
        """Return a mask of the pixels where any optical band has a value, even a saturated one."""
        return self._rows("seen", top, bottom)

    def is_shadow(self, top: int, bottom: int) -> Bool[np.ndarray, "rows x"]:
        """Return a mask of the pixels whose m is due to cloud shadow; those of the product and of the classes only."""
        return self._rows("shadow", top, bottom)

    def everywhere(self, mask: RowReader[NDArray[np.bool_]]) -> Bool[np.ndarray, "y x"]:
        """Return a mask such as :meth:`has_data` for the whole scene, reading one strip at a time."""
        return np.concatenate([mask(*strip) for strip in self.strips])

    def unknown_cloud(self) -> "UnknownCloud":
        """Return counts of the pixels of unknown cloud state, by cause."""
        counts = [_load_strip(self.store, top, {"unknown_cloud"})["unknown_cloud"] for top, _ in self.strips]
        unknown = [int(np.count_nonzero(self.seen(*strip) & np.isnan(self.cloud_map(*strip)))) for strip in self.strips]
        lacking, saturated, other, pixels = np.sum(counts, axis=0).T.tolist()
        return UnknownCloud(lacking, saturated, other, pixels, sum(unknown))

    def is_clear(self, top: int, bottom: int) -> Bool[np.ndarray, "rows x"]:
        """Return a mask of the pixels where the optical image has data and m = 0."""
        return np.asarray(self.has_data(top, bottom) & (self.cloud_map(top, bottom) == 0))

    def _rows(self, name: str, top: int, bottom: int) -> np.ndarray:
        overlapping = [(first, last) for first, last in self.strips if first < bottom and last > top]
        for first in [first for first in self._recent if first not in dict(overlapping)]:
            del self._recent[first]
        for first, _ in overlapping:
            if first not in self._recent:
                self._recent[first] = _load_strip(self.store, first)
        parts = [self._recent[first][name][max(top - first, 0) : bottom - first] for first, _ in overlapping]
        return np.concatenate(parts)


@dataclass(frozen=True)
class UnknownCloud:
    """Counts of pixels of unknown cloud state: some band has a value, but m or a band of the remover is missing.

    All fields except ``unknown`` have one count per band.

    Attributes:
        lacking: Pixels where the band has no data.
        saturated: Pixels where the band is saturated.
        other: Pixels with data in all bands but none in the user's cloud map; the same number for each band.
        pixels: All such pixels; the same number for each band.
        unknown: Such pixels where m is unknown.
    """

    lacking: Sequence[int]
    saturated: Sequence[int]
    other: Sequence[int]
    pixels: Sequence[int]
    unknown: int

    @property
    def state(self) -> str:
        """Missing information, as text: the cloud state, bands of the remover, or either."""
        if not self.unknown:
            return "lacks bands of the remover"
        unknown = "has no known cloud state"
        return unknown if self.unknown == self.pixels[0] else f"{unknown} or lacks bands of the remover"

    def reasons(self, bands: tuple[str, ...]) -> str:
        """Return the causes as text, such as ``B10 has no data``."""
        causes = []
        for counts, one, many in (
            (self.lacking, "has no", "have no"),
            (self.saturated, "is saturated", "are saturated"),
        ):
            if names := [band for band, count in zip(bands, counts, strict=True) if count]:
                causes.append(f"{' '.join(names)} {one if len(names) == 1 else many}")
        causes = [f"{cause} data" if cause.endswith(" no") else cause for cause in causes]
        return " or ".join([*causes, *(["the cloud map has no data"] if any(self.other) else [])])


def _load_strip(store: StripCheckpoint, top: int, names: Collection[str] | None = None) -> Strip:
    strip = store.get(top, names)
    if strip is None:
        raise RuntimeError(f"{store.folder} lost the cloud map from row {top} on during the run")
    return strip


def map_scene(
    sources: Sources,
    bands: tuple[str, ...],
    settings: CloudMapSettings,
    store: StripCheckpoint,
    on_progress: ProgressCallback,
    user_map: Path | None = None,
    sun: Sun | None = None,
) -> SceneMap:
    """Map the clouds of a scene; skip strips that the checkpoint already has.

    Args:
        sources: Images of the scene.
        bands: Bands of the remover.
        settings: Settings of the cloud map.
        store: Checkpoint for the strips.
        on_progress: Called with (stage, completed, total), counted in rows.
        user_map: GeoTIFF of a map m, used unchanged in place of a detector.
        sun: Position of the sun, for the shadows of the product map; that of the optical image if omitted.

    Raises:
        InputError: The image has values outside the range of reflectance, the detector lacks a band, or the user's map
            has values outside 0 to 1.
    """
    height, width = sources.shape
    strips = row_ranges(height, STRIP_PX if width <= WIDE_PX else STRIP_PX // 2)
    missing = [strip for strip in strips if not store.holds(strip[0])]
    with ExitStack() as stack:
        if user_map is not None:
            read_map = stack.enter_context(open_user_mask(user_map, sources.target.full))
            mapped = _user_map_strips(sources, missing, sources.target.cloud_map(read_map))
        elif settings.mode == "scl":
            mapped = _classified_strips(sources, missing, settings)
        elif settings.mode == "product":
            mapped = _surveyed_strips(sources, missing, settings, sun or sources.optical.sun)
        else:
            mapped = _detected_strips(sources, missing, settings)
        places = positions(bands, sources.optical.bands)
        for strip, m, shadow, stored in mapped:
            store.put(strip[0], _strip(m, shadow, stored, sources.optical.radiometry, places))
            on_progress("mapping clouds", strip[1], height)
    return SceneMap(store, strips)


def _strip(
    m: Float32[np.ndarray, "rows x"],
    shadow: Bool[np.ndarray, "rows x"] | None,
    stored: Integer[np.ndarray, "band rows x"],
    radiometry: Radiometry,
    places: Sequence[int],
) -> Strip:
    """Return the arrays of a strip for the checkpoint; m is NaN where no band has a value.

    Args:
        m: The map.
        shadow: Pixels whose m is due to cloud shadow; none if omitted.
        stored: Stored integers of all bands.
        radiometry: Scale, offset and nodata value of the stored integers.
        places: Indices of the bands of the remover.
    """
    seen, complete = np.zeros(m.shape, bool), np.ones(m.shape, bool)
    for number, band in enumerate(stored):  # band by band, to save memory in wide scenes
        seen |= radiometry.is_seen(band)
        if number in places:
            complete &= radiometry.is_data(band)
    m = np.where(seen, m, np.float32(np.nan))
    unknown_cloud = seen & (np.isnan(m) | ~complete)
    counts = np.zeros((len(stored), 4), np.int64)
    if unknown_cloud.any():
        pixels = stored[:, unknown_cloud]
        seen_there, measured = radiometry.is_seen(pixels), radiometry.is_data(pixels)
        counts[:, 0] = (~seen_there).sum(axis=1)
        counts[:, 1] = (seen_there & ~measured).sum(axis=1)
        counts[:, 2] = measured.all(axis=0).sum()
        counts[:, 3] = pixels.shape[1]
    shadow = np.zeros(m.shape, bool) if shadow is None else shadow & (m > 0)
    known = complete & ~np.isnan(m)
    return {"cloud_map": m, "has_data": known, "seen": seen, "shadow": shadow, "unknown_cloud": counts}


MappedStrips = Iterator[tuple[tuple[int, int], NDArray[np.float32], NDArray[np.bool_] | None, NDArray[np.integer]]]
"""Strips, each with its map m (rows, x), its shadow, if any, and its stored integers (band, rows, x)."""


def _detected_strips(sources: Sources, strips: list[tuple[int, int]], settings: CloudMapSettings) -> MappedStrips:
    """Map strips by a detector; each strip is read with the rows around it that affect its map."""
    optical, height = sources.optical, sources.shape[0]
    if not strips:
        return

    def rows(strip: tuple[int, int]) -> tuple[int, int]:
        return rows_in_reach(*strip, height, settings)

    def read(top: int, bottom: int) -> NDArray[np.float32]:
        return optical.radiometry.decode(sources.stored(top, bottom).result())

    detector_from = detector_for_rows(find_detector(settings.detector), settings, read, height, optical.bands)
    for strip, stored in prefetch(strips, lambda strip: sources.stored(*rows(strip))):
        here = slice(strip[0] - rows(strip)[0], strip[1] - rows(strip)[0])
        reflectance = optical.radiometry.decode(stored)
        check_limits(optical.path, reflectance, optical.sensor)
        yield (
            strip,
            cloud_map(reflectance, optical.bands, settings, detector_from(rows(strip)[0]))[here],
            None,
            stored[:, here],
        )


def _surveyed_strips(
    sources: Sources, strips: list[tuple[int, int]], settings: CloudMapSettings, sun: Sun | None
) -> MappedStrips:
    """Map strips by the product map, which reads the whole scene once before the first strip."""
    optical, factor = sources.optical, sources.optical.factor
    if not strips:
        return

    def read(top: int, bottom: int) -> NDArray[np.float32]:
        reflectance = optical.radiometry.decode(sources.stored(top // factor, -(-bottom // factor)).result())
        check_limits(optical.path, reflectance, optical.sensor)
        return _repeated(reflectance, factor, top, bottom)

    def read_sar(top: int, bottom: int) -> NDArray[np.float32]:
        assert sources.read_sar is not None
        return _repeated(sources.read_sar(top // factor, -(-bottom // factor)), factor, top, bottom)

    detector, radar = find_detector(settings.detector), None if sources.read_sar is None else read_sar
    surveyed = survey_product(read, sources.shape[0] * factor, optical.bands, detector, sun, radar)
    needed = positions(detector.bands, optical.bands)
    for strip, stored in prefetch(strips, lambda strip: sources.stored(*strip)):
        rows = (strip[0] * factor, strip[1] * factor)
        m, shadow = surveyed.cloud_map(*rows), surveyed.is_shadow(*rows)
        if factor > 1:
            m, shadow = _block_mean(m, factor), _block_mean(shadow, factor) >= 0.5
        for band in needed:
            m[~optical.radiometry.is_data(stored[band])] = np.nan
        yield strip, m, shadow, stored


def _repeated(values: Float32[np.ndarray, "band y x"], factor: int, top: int, bottom: int) -> NDArray[np.float32]:
    """Return coarse rows in pixels of 10 m, the unit of distances in the product map; of the rows from ``top`` on."""
    if factor == 1:
        return values
    return values.repeat(factor, 1)[:, top % factor :][:, : bottom - top].repeat(factor, 2)


def _block_mean(values: NDArray[np.float32] | NDArray[np.bool_], factor: int) -> NDArray[np.float32]:
    height, width = (length // factor for length in values.shape)
    return np.asarray(values.reshape(height, factor, width, factor).mean(axis=(1, 3), dtype=np.float32))


def _classified_strips(sources: Sources, strips: list[tuple[int, int]], settings: CloudMapSettings) -> MappedStrips:
    """Map strips by the scene classification."""
    optical, height = sources.optical, sources.shape[0]

    def read(strip: tuple[int, int]) -> Future[tuple[NDArray[np.integer], NDArray[np.uint8]]]:
        return sources.submit(
            lambda: (optical.stored(*strip), optical.classes(*rows_in_reach(*strip, height, settings)))
        )

    for strip, (stored, classes) in prefetch(strips, read):
        check_limits(optical.path, optical.radiometry.decode(stored), optical.sensor)
        first = rows_in_reach(*strip, height, settings)[0]
        here = slice(strip[0] - first, strip[1] - first)
        mapped = class_map(classes, FACTOR // optical.factor)
        yield strip, mapped.m[here], mapped.shadow[here], stored


# Cloud maps of the user, from other detectors or drawn by hand.


def _user_map_strips(
    sources: Sources, strips: list[tuple[int, int]], read_map: RowReader[NDArray[np.float32]]
) -> MappedStrips:
    """Read strips of the user's map; m is unknown where it has no data."""
    optical = sources.optical
    for strip, stored in prefetch(strips, lambda strip: sources.stored(*strip)):
        check_limits(optical.path, optical.radiometry.decode(stored), optical.sensor)
        yield strip, read_map(*strip), None, stored


@contextmanager
def open_user_mask(path: Path, geobox: GeoBox) -> Iterator[RowReader[NDArray[np.float32]]]:
    """Open a map m, 0 clear to 1 cloudy, of any data type; a mask of zeros and ones is valid, too.

    Args:
        path: GeoTIFF of one band.
        geobox: Grid of the scene, which must also be that of the map.

    Raises:
        InputError: The file is damaged, has more than one band, or lies on another grid; when reading rows, a value is
            outside 0 to 1.
    """
    with open_geotiff(path) as source:
        if (count := len(image_bands(source))) != 1:
            raise InputError(f"{named(path)} has {count} bands, expected one, the cloud map; remove the others")
        if not same_grid(grid_of(source), geobox):
            grids = f"({describe_grid(grid_of(source))}, not {describe_grid(geobox)})"
            raise InputError(f"{named(path)} lies on another grid than the optical scene {grids}; warp it first")

        def read(top: int, bottom: int) -> NDArray[np.float32]:
            stored = stored_rows(path, source, top, bottom)
            m = np.array(stored.values[0], np.float32)
            m[stored.is_gap[0]] = np.nan
            _require_map_values(path, m)
            return m

        yield read


def _require_map_values(path: Path, m: Float32[np.ndarray, "rows x"]) -> None:
    low, high = (float(extreme.reduce(m, axis=None)) for extreme in (np.fmin, np.fmax))  # both ignore NaN
    if low < 0.0 or high > 1.0:
        raise InputError(
            f"{named(path)} has values from {low:.4g} to {high:.4g}, expected 0 for clear to 1 for cloudy; rescale "
            "the values, or convert class codes to a cloud mask"
        )
