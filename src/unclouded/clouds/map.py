"""The cloud map m: which pixels a remover has to mend, and how far."""

import math
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from jaxtyping import Float32
from pydantic import Field, field_validator
from scipy.ndimage import gaussian_filter

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.detector import PIXEL_M, Detector, ReadRows, at_resolution
from unclouded.clouds.detectors import S2CLOUDLESS, find_detector
from unclouded.settings import Settings


class CloudMapSettings(Settings):
    """How a cloud probability becomes the map m.

    Attributes:
        detector: Name of what tells the probability; the paper's is s2cloudless. Those with ``+shadow`` take shadow for
            cloud.
        mode: ``continuous`` is the paper's map, ``binary`` the mask of the s2cloudless package, ``ones`` the ablation.
        threshold: Continuous: probabilities below it count as 0.
        sigma_px: Continuous: standard deviation of the Gaussian, pixels.
        binary_threshold: Binary: averaged probabilities above it are cloud.
        binary_average_px: Binary: radius of the averaging disk, pixels.
        binary_dilation_px: Binary: radius of the dilating disk, pixels; 0 dilates nothing.
        resolution_m: Pixel size at which the detector looks, metres; the paper's is 10.
    """

    detector: str = S2CLOUDLESS.name
    mode: Literal["continuous", "binary", "ones"] = "continuous"
    threshold: float = Field(default=0.5, ge=0.0, le=1.0)
    sigma_px: float = Field(default=2.0, ge=0.0, le=100.0)
    binary_threshold: float = Field(default=0.4, ge=0.0, le=1.0)
    binary_average_px: int = Field(default=4, ge=1, le=100)
    binary_dilation_px: int = Field(default=2, ge=0, le=100)
    resolution_m: Literal[10, 20, 60] = 10

    @field_validator("detector")
    @classmethod
    def _is_known(cls, name: str) -> str:
        return find_detector(name).name


PAPER = CloudMapSettings()
"""The map of section II-A of the paper."""


def cloud_map(
    reflectance: Float32[np.ndarray, "band y x"],
    bands: tuple[str, ...],
    settings: CloudMapSettings = PAPER,
    detector: Detector | None = None,
    cache: ProbabilityCache | None = None,
) -> Float32[np.ndarray, "y x"]:
    """Map the clouds of an image: its cloud probability, then the map m.

    Args:
        reflectance: TOA reflectance; NaN where there is no data.
        bands: Its band names.
        settings: How the probability becomes the map.
        detector: What tells the probability, instead of the one that the settings name; not asked in mode ``ones``.
        cache: Where to keep probabilities; nothing is kept if omitted.

    Returns:
        The map m, 0 clear to 1 cloudy; NaN where it is unknown, because the detector lacks data there. In mode ``ones``
        it is 1 everywhere.

    Raises:
        InputError: The detector lacks a band.
    """
    if settings.mode == "ones":
        return np.ones(reflectance.shape[1:], dtype=np.float32)
    asked = at_resolution(detector or find_detector(settings.detector), settings.resolution_m)
    if cache is not None:
        return cloud_map_from_probability(cache.probability(reflectance, bands, asked), settings)
    return cloud_map_from_probability(asked.probability(reflectance, bands), settings)


def cloud_map_from_probability(
    probability: Float32[np.ndarray, "y x"], settings: CloudMapSettings = PAPER
) -> Float32[np.ndarray, "y x"]:
    """Turn a cloud probability into the map m of section II-A of the paper.

    Args:
        probability: Cloud probability in [0, 1]; NaN where it is unknown, which counts as 0 for the pixels around.
        settings: Mode and its parameters.

    Returns:
        The map m in [0, 1]: in the paper probabilities of at least 0.5, smoothed by a Gaussian of 2 px. NaN where the
        probability is unknown, except in mode ``ones``.
    """
    if settings.mode == "ones":
        return np.ones_like(probability)
    unknown = np.isnan(probability)
    known = np.where(unknown, np.float32(0.0), probability)
    m = _binary_mask(known, settings) if settings.mode == "binary" else _smoothed(known, settings)
    m[unknown] = np.nan
    return m


def _smoothed(probability: Float32[np.ndarray, "y x"], settings: CloudMapSettings) -> Float32[np.ndarray, "y x"]:
    kept = np.where(probability >= settings.threshold, probability, np.float32(0.0))
    smooth = gaussian_filter(kept, settings.sigma_px, mode="reflect", truncate=4.0)
    return np.asarray(np.clip(smooth, 0.0, 1.0), dtype=np.float32)


def _binary_mask(probability: Float32[np.ndarray, "y x"], settings: CloudMapSettings) -> Float32[np.ndarray, "y x"]:
    from s2cloudless.cloud_detector import S2PixelCloudDetector  # takes seconds to import

    package = S2PixelCloudDetector(
        threshold=settings.binary_threshold,
        average_over=settings.binary_average_px,
        dilation_size=settings.binary_dilation_px,
    )
    return np.asarray(package.get_mask_from_prob(probability[None])[0], dtype=np.float32)


def mean_coverage(cloud_map: Float32[np.ndarray, "y x"]) -> float:
    """Cloud coverage as the mean of m; of the two definitions in use, the one that weighs thin cloud less.

    As everywhere in this package, a coverage is of the pixels whose m is known; NaN where there are none.
    """
    unknown = np.isnan(cloud_map)
    known = cloud_map[~unknown] if unknown.any() else cloud_map
    return float(np.mean(known, dtype=np.float64)) if known.size else math.nan


def cloudy_share(cloud_map: Float32[np.ndarray, "y x"]) -> float:
    """Cloud coverage as the share of pixels with m > 0 among those whose m is known: those that a remover may change.

    NaN where m is unknown everywhere.
    """
    known = int(np.count_nonzero(~np.isnan(cloud_map)))
    return int(np.count_nonzero(cloud_map > 0)) / known if known else math.nan


# The cloud map of a scene of any height, strip by strip, in bounded memory; the same numbers as in one piece.


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
    detector = detector or find_detector(settings.detector)
    here = detector_of_rows(detector, settings, read, height, bands)
    for top, bottom in strips_of(height, strip_px):
        above, below = with_reach(top, bottom, height, settings)
        strip = cloud_map(read(above, below), bands, settings, here(above))
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
