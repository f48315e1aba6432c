"""The cloud map of a scene, made once, strip by strip, and read back by rows."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32
from numpy.typing import NDArray

from unclouded.clouds.map import CloudMapSettings, map_clouds
from unclouded.clouds.probability import detector as named_detector
from unclouded.clouds.rows import STRIP_PX, detector_of_rows, strips_of, with_reach
from unclouded.errors import InputError
from unclouded.files import named
from unclouded.prediction.own_map import ReadMap, open_own_map
from unclouded.prediction.sources import Sources, Told
from unclouded.prediction.streaming import Strip, StripStore, ahead
from unclouded.raster import check_limits
from unclouded.tensors.triplet import positions

WIDE_PX = 5490
"""Half a Sentinel-2 tile; wider scenes are mapped in strips of half the height, for the sake of memory."""


@dataclass(frozen=True, eq=False)
class SceneMap:
    """The cloud map m of a scene, and where its optical image has data; rows are read from disk.

    Attributes:
        store: Where its strips lie.
        strips: First row of each, and the row after its last.
    """

    store: StripStore
    strips: list[tuple[int, int]]
    _recent: dict[int, Strip] = field(default_factory=dict, repr=False)

    def cloud_map(self, top: int, bottom: int) -> Float32[np.ndarray, "rows x"]:
        """Return rows of the map m."""
        return self._rows("cloud_map", top, bottom)

    def has_data(self, top: int, bottom: int) -> Bool[np.ndarray, "rows x"]:
        """Say where all optical bands of the remover have data."""
        return self._rows("has_data", top, bottom)

    def has_data_everywhere(self) -> Bool[np.ndarray, "y x"]:
        """Say the same of the whole scene, one strip in memory after the other."""
        return np.concatenate([self.has_data(*strip) for strip in self.strips])

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


def _present(store: StripStore, top: int) -> Strip:
    strip = store.get(top)
    if strip is None:
        raise RuntimeError(f"{store.folder} lost the cloud map from row {top} on while it was used")
    return strip


def map_scene(
    sources: Sources,
    bands: tuple[str, ...],
    settings: CloudMapSettings,
    store: StripStore,
    told: Told,
    own: Path | None = None,
) -> SceneMap:
    """Map the clouds of a scene; strips that the store holds already are not made again.

    Args:
        sources: The scene.
        bands: Of the remover.
        settings: How the map is made.
        store: Where strips are kept.
        told: Is told how far it is.
        own: A map that the user brings, which is taken as it is; no detector is asked then.

    Raises:
        InputError: The image has values that no reflectance has, the detector lacks a band, or the user's map has other
            values than 0 to 1, or none where the image has data.
    """
    height, width = sources.shape
    strips = strips_of(height, STRIP_PX if width <= WIDE_PX else STRIP_PX // 2)
    missing = [strip for strip in strips if not store.holds(strip[0])]
    with ExitStack() as stack:
        if own is not None:
            made = _taken(sources, missing, stack.enter_context(open_own_map(own, sources.geobox)), own)
        else:
            made = _detected(sources, missing, settings)
        places = positions(bands, sources.optical.bands)
        for strip, m, reflectance in made:
            store.put(strip[0], {"cloud_map": m, "has_data": np.asarray(np.isfinite(reflectance[places]).all(axis=0))})
            told("mapping clouds", strip[1], height)
    return SceneMap(store, strips)


Mapped = Iterator[tuple[tuple[int, int], NDArray[np.float32], NDArray[np.float32]]]
"""Strips, each with its map m (rows, x) and its reflectance (band, rows, x)."""


def _detected(sources: Sources, strips: list[tuple[int, int]], settings: CloudMapSettings) -> Mapped:
    """Map strips by the detector, each seen with as many rows around as reach into its map."""
    optical, height = sources.optical, sources.shape[0]
    if not strips:
        return

    def rows(strip: tuple[int, int]) -> tuple[int, int]:
        return with_reach(*strip, height, settings)

    def read(top: int, bottom: int) -> NDArray[np.float32]:
        return optical.radiometry.decode(sources.stored(top, bottom).result())

    detector_from = detector_of_rows(named_detector(settings.detector), settings, read, height, optical.bands)
    for strip, stored in ahead(strips, lambda strip: sources.stored(*rows(strip))):
        here = slice(strip[0] - rows(strip)[0], strip[1] - rows(strip)[0])
        reflectance = optical.radiometry.decode(stored)
        check_limits(optical.path, reflectance, optical.sensor)
        yield (
            strip,
            map_clouds(reflectance, optical.bands, settings, detector_from(rows(strip)[0]))[here],
            reflectance[:, here],
        )


def _taken(sources: Sources, strips: list[tuple[int, int]], read_own: ReadMap, own: Path) -> Mapped:
    """Take strips of the user's map; where the image has no data, it need not say anything."""
    optical = sources.optical
    for strip, stored in ahead(strips, lambda strip: sources.stored(*strip)):
        reflectance, m = optical.radiometry.decode(stored), read_own(*strip)
        check_limits(optical.path, reflectance, optical.sensor)
        if unknown := int(np.count_nonzero(np.isnan(m) & np.isfinite(reflectance).all(axis=0))):
            found = (
                f"says nothing of {unknown:,} px from row {strip[0]} to {strip[1]}, where the optical image has data"
            )
            raise InputError(f"{named(own)} {found}; say 1 there if they are to be made, otherwise 0")
        yield strip, np.nan_to_num(m), reflectance
