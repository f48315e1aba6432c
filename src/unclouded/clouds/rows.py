"""The cloud map of a scene of any height, strip by strip, in bounded memory; the same numbers as in one piece."""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float32

from unclouded.clouds.detector import Detector, ReadRows
from unclouded.clouds.map import PAPER, CloudMapSettings, map_clouds
from unclouded.clouds.probability import detector as named_detector
from unclouded.clouds.resolution import PIXEL_M

STRIP_PX = 768
"""Rows of a strip: a multiple of the tiles of 256 px, and of the 2 and 6 px of coarser detection."""


def map_rows(
    read: ReadRows,
    height: int,
    bands: tuple[str, ...],
    settings: CloudMapSettings = PAPER,
    detector: Detector | None = None,
    strip_px: int = STRIP_PX,
) -> Iterator[tuple[int, Float32[np.ndarray, "rows x"]]]:
    """Map the clouds of a scene from top to bottom.

    Each strip is read with as many rows above and below as reach into its map, so that no seam appears.

    Args:
        read: Reads rows of the scene, in TOA reflectance.
        height: Rows of the scene.
        bands: Names of the bands that ``read`` returns.
        settings: How the probability becomes the map.
        detector: What tells the probability, instead of the one that the settings name.
        strip_px: Rows of a strip; a multiple of 6 for coarser detection. A detector that looks at surroundings has read
            the whole scene before.

    Yields:
        The first row of a strip, and its map m.
    """
    detector = detector or named_detector(settings.detector)
    here = detector_of_rows(detector, settings, read, height, bands)
    for top, bottom in strips_of(height, strip_px):
        above, below = with_reach(top, bottom, height, settings)
        strip = map_clouds(read(above, below), bands, settings, here(above))
        yield top, strip[top - above : bottom - above]


def detector_of_rows(
    detector: Detector, settings: CloudMapSettings, read: ReadRows, height: int, bands: tuple[str, ...]
) -> Callable[[int], Detector]:
    """Return what gives the detector for the rows from a row on; see :meth:`Detector.over`.

    Args:
        detector: One that may look at surroundings.
        settings: In mode ``ones`` nothing is asked, and nothing read.
        read: Reads rows of the scene, in TOA reflectance.
        height: Rows of the scene.
        bands: Names of the bands that ``read`` returns.
    """
    return (lambda _: detector) if settings.mode == "ones" else detector.over(read, height, bands)


def strips_of(height: int, strip_px: int = STRIP_PX) -> list[tuple[int, int]]:
    """Return the first row of each strip and the row after its last."""
    return [(top, min(top + strip_px, height)) for top in range(0, height, strip_px)]


def with_reach(top: int, bottom: int, height: int, settings: CloudMapSettings) -> tuple[int, int]:
    """Return the rows that a strip has to see: those that reach into its map, as far as the scene goes.

    Args:
        top: First row of the strip.
        bottom: Row after its last.
        height: Rows of the scene.
        settings: What the map is made by; see :func:`reach_px`.
    """
    margin = reach_px(settings)
    return max(top - margin, 0), min(bottom + margin, height)


def reach_px(settings: CloudMapSettings) -> int:
    """Return how many rows away a pixel can change the map, rounded up to whole coarse pixels."""
    factor = settings.resolution_m // PIXEL_M
    match settings.mode:
        case "ones":
            reach = 0
        case "continuous":
            reach = int(4.0 * settings.sigma_px + 0.5)
        case "binary":
            reach = settings.binary_average_px + settings.binary_dilation_px
    return -(-(reach + (2 * factor if factor > 1 else 0)) // factor) * factor
