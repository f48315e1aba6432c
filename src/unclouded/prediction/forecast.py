"""Forecast of disk space and time for a scene, from running every stage once on one window of it."""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.clouds.map import CloudMapSettings, cloud_map
from unclouded.clouds.scene_classes import FACTOR, class_map
from unclouded.files import as_room
from unclouded.io.rows import Layer, write_cog
from unclouded.models.remover import CloudRemover
from unclouded.prediction.auto_remover import AutoRemover, repetitions
from unclouded.prediction.clearing import VARIANTS, adapt_removers
from unclouded.prediction.sources import Sources
from unclouded.prediction.tiling import SAMPLE_PX, SAMPLE_SIDE, Window
from unclouded.sentinel.coregistration import OPTICAL_BANDS, SMALLEST_PX, correlate_edges
from unclouded.sentinel.scene_alignment import BLOCK_PX, BLOCKS
from unclouded.tensors.observation import Observation, Reference

T = TypeVar("T")

TIMED_PX = 256
"""Side of the window that is timed."""
WARM_PX = 64
"""Side of the window for which everything is compiled before."""
_COMPARED_PX = (BLOCK_PX * BLOCKS) ** 2
_SAMPLED_PX = (SAMPLE_PX * SAMPLE_SIDE) ** 2


@dataclass(frozen=True)
class StageTimes:
    """Seconds per pixel of every stage, measured on one window, and the margin of the removers.

    Attributes:
        reading: Reading both images, per pixel of the full-width rows.
        mapping: Cloud map.
        comparing: Alignment of radar and optical image.
        adapting: Adapting the removers, expected error included, per pixel of the sample.
        clearing: One prediction.
        writing: Writing all bands to a file.
        margin_px: Margin of the removers, pixels.
    """

    reading: float
    mapping: float
    comparing: float = 0.0
    adapting: float = 0.0
    clearing: float = 0.0
    writing: float = 0.0
    margin_px: int = 0

    def seconds(self, shape: tuple[int, int], window_px: int, predictions: int) -> float:
        """Return the time for a scene that is completely cloudy.

        Args:
            shape: Rows and columns.
            window_px: Side of a window.
            predictions: Predictions per pixel.
        """
        pixels = shape[0] * shape[1]
        overhead = min((1 + 2 * self.margin_px / min(window_px, max(shape))) ** 2, 9.0)
        everywhere = 2 * self.reading + self.mapping + overhead * predictions * self.clearing + self.writing
        return (
            pixels * everywhere + min(pixels, _COMPARED_PX) * self.comparing + min(pixels, _SAMPLED_PX) * self.adapting
        )


def forecast(
    sources: Sources,
    removers: Sequence[CloudRemover],
    clouds: CloudMapSettings | None,
    window_px: int,
    needed_bytes: int,
    uncertainty: bool,
    references: int = 0,
) -> str:
    """Return the size of a scene, and the disk space and time needed if all of it is cloudy, as text.

    Args:
        sources: Images of the scene; its centre is mapped and predicted once.
        removers: Removers to use.
        clouds: Settings of the cloud map; None if the user provides one.
        window_px: Side of a window.
        needed_bytes: Disk space.
        uncertainty: Whether the uncertainty is computed.
        references: Number of other dates.
    """
    height, width = sources.shape
    predictions = (1 + len(removers) * VARIANTS) if uncertainty else 1
    seconds = time_stages(sources, removers, clouds, references).seconds((height, width), window_px, predictions)
    return (
        f"{width:,} x {height:,} px: at most {as_room(needed_bytes)} of disk, "
        f"and about {duration_text(seconds)} if all of it is cloudy"
    )


def time_stages(
    sources: Sources, removers: Sequence[CloudRemover], clouds: CloudMapSettings | None, references: int = 0
) -> StageTimes:
    """Run every stage on one window at the centre of a scene; return the times.

    The window itself stands for the references, which are not mapped yet; each costs as much to read and to map.
    """
    height, width = sources.shape
    top, left = (max(length - TIMED_PX, 0) // 8 * 4 for length in (height, width))
    window = Window(top, left, min(top + TIMED_PX, height), min(left + TIMED_PX, width))
    columns, bands = slice(window.left, window.right), removers[0].bands
    reading, rows = _timed(lambda: sources.rows(window.top, window.bottom, bands).result())
    reflectance = sources.optical.radiometry.decode(sources.stored(window.top, window.bottom).result()[:, :, columns])
    mapping = 0.0
    if clouds is not None:
        _map_window(sources, window, reflectance, clouds)  # the first call compiles
        mapping, _ = _timed(lambda: _map_window(sources, window, reflectance, clouds))
    images = 1 + references
    mapped = StageTimes(images * reading / (window.shape[0] * width), images * mapping / window.pixels)
    usable = rows.optical if sources.radar is None else rows.optical & rows.radar
    if not usable[:, columns].any():
        return mapped
    stored, pixels = rows.stored[:, :, columns], window.pixels
    half_cloudy = np.zeros(rows.sar.shape[1:], np.float32)  # adapting needs both clouds and clear ground
    half_cloudy[: len(half_cloudy) // 2] = 1.0
    observation = _with_references(rows.observation(window, half_cloudy), references)
    down, across = (slice(max(n // 2 - WARM_PX // 2, 0), n // 2 + WARM_PX // 2) for n in window.shape)
    small = observation.transformed(lambda image: image[..., down, across])
    adapt_removers(removers, [small], "scene", uncertainty=False).predict(small)  # the first call compiles
    adapting, ensemble = _timed(lambda: adapt_removers(removers, [observation], "scene", uncertainty=False))
    if any(isinstance(one, AutoRemover) for one in removers):  # a small sample is covered more often than a large one
        adapting *= repetitions(min(height * width, _SAMPLED_PX)) / repetitions(pixels)
    clearing, _ = _timed(lambda: ensemble.predict(observation))
    edges = reflectance[[sources.optical.bands.index(band) for band in OPTICAL_BANDS]]
    large = sources.radar is not None and min(window.shape) >= SMALLEST_PX
    comparing = _timed(lambda: correlate_edges(observation.sar[0].numpy(), edges))[0] if large else 0.0
    return replace(
        mapped,
        comparing=comparing / pixels,
        adapting=adapting / pixels,
        clearing=clearing / pixels,
        writing=_timed(lambda: _write(stored))[0] / pixels,
        margin_px=ensemble.margin_px,
    )


def _map_window(sources: Sources, window: Window, reflectance: NDArray[np.float32], clouds: CloudMapSettings) -> None:
    if clouds.mode == "scl":
        classes = sources.in_reader(lambda: sources.optical.classes(window.top, window.bottom))
        class_map(classes, FACTOR // sources.optical.factor)
    else:
        cloud_map(reflectance, sources.optical.bands, clouds)


def _with_references(observation: Observation, count: int) -> Observation:
    """Return a window with itself, a day apart each, as references without clouds."""
    today, clear = observation.date or date(2020, 1, 1), torch.zeros_like(observation.cloud_map)
    dates = (today + timedelta(days=k + 1) for k in range(count))
    others = tuple(Reference("", day, observation.cloudy, clear, observation.sar) for day in dates)
    return replace(observation, references=others)


def _write(stored: NDArray[np.integer[Any]]) -> None:
    """Write all bands in the format of a product."""
    layer = Layer(tuple(map(str, range(len(stored)))), stored.dtype.name, 0)
    with tempfile.TemporaryDirectory(prefix="unclouded-") as folder:
        write_cog(Path(folder) / "a.tif", [(0, stored)], layer, GeoBox(stored.shape[1:], Affine.identity(), None))


def duration_text(seconds: float) -> str:
    """Return a duration as text, such as ``40 s`` or ``1 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result
