"""How much room and time a scene takes, told before the work begins, from a rehearsal on one window of it."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from unclouded.clouds.map import CloudMapSettings, map_clouds
from unclouded.models.remover import CloudRemover
from unclouded.prediction.clearing import crew_of
from unclouded.prediction.sources import Sources
from unclouded.prediction.uncertainty import ANSWERS
from unclouded.prediction.windows import Window

T = TypeVar("T")

REHEARSED_PX = 256
"""Side of the window that is timed."""


def forecast(
    sources: Sources,
    removers: Sequence[CloudRemover],
    clouds: CloudMapSettings,
    window_px: int,
    needed_bytes: int,
    uncertainty: bool,
) -> str:
    """Say how large the scene is, and how much disk space and time it takes at most, were all of it cloudy.

    Args:
        sources: The scene; the middle of it is mapped and cleared once.
        removers: What clears it.
        clouds: How the cloud map is made.
        window_px: Side of a window.
        needed_bytes: Disk space.
        uncertainty: Whether an ensemble answers.
    """
    height, width = sources.shape
    mapping, clearing, margin = rehearse(sources, removers, clouds)
    overhead = (1 + 2 * margin / min(window_px, max(height, width))) ** 2
    answers = (1 + len(removers) * ANSWERS) if uncertainty else 1
    seconds = height * width * (mapping + clearing * answers * min(overhead, 9.0))
    return (
        f"{width:,} x {height:,} px: at most {needed_bytes / 2**30:.1f} GiB of disk, "
        f"and about {as_duration(seconds)} if all of it is cloudy"
    )


def rehearse(sources: Sources, removers: Sequence[CloudRemover], clouds: CloudMapSettings) -> tuple[float, float, int]:
    """Return seconds a pixel of mapping and of clearing, and the margin of the removers."""
    height, width = sources.shape
    top, left = (max(length - REHEARSED_PX, 0) // 8 * 4 for length in (height, width))
    window = Window(top, left, min(top + REHEARSED_PX, height), min(left + REHEARSED_PX, width))
    columns = slice(window.left, window.right)
    reflectance = sources.optical.radiometry.decode(sources.stored(window.top, window.bottom).result()[:, :, columns])
    map_clouds(reflectance, sources.optical.bands, clouds)  # the first call compiles
    mapping, _ = _timed(lambda: map_clouds(reflectance, sources.optical.bands, clouds))
    bands = removers[0].bands
    rows = sources.rows(window.top, window.bottom, bands).result()
    seen = rows.observation(window, np.ones(rows.sar.shape[1:], np.float32))
    if not (rows.optical & rows.radar)[:, columns].any():
        return mapping / window.pixels, 0.0, 0
    crew = crew_of(removers, [seen], "scene", uncertainty=False)
    crew.removers[0](seen)
    clearing, _ = _timed(lambda: crew.removers[0](seen))
    return mapping / window.pixels, clearing / window.pixels, crew.margin_px


def as_duration(seconds: float) -> str:
    """Return a duration in words, such as ``40 s`` or ``1 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    began = time.perf_counter()
    done = work()
    return time.perf_counter() - began, done
