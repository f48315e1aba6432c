"""The cloud map m: which pixels a remover has to mend, and how far."""

import math
from typing import Literal

import numpy as np
from jaxtyping import Float32
from pydantic import Field, field_validator
from scipy.ndimage import gaussian_filter

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.detector import Detector
from unclouded.clouds.probability import S2CLOUDLESS
from unclouded.clouds.probability import detector as named_detector
from unclouded.clouds.resolution import at_resolution
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
        return named_detector(name).name


PAPER = CloudMapSettings()
"""The map of section II-A of the paper."""


def map_clouds(
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
    asked = at_resolution(detector or named_detector(settings.detector), settings.resolution_m)
    if cache is not None:
        return cloud_map(cache.probability(reflectance, bands, asked), settings)
    return cloud_map(asked.probability(reflectance, bands), settings)


def cloud_map(
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
