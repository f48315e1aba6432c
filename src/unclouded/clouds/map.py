"""The cloud map m of section II-A of the paper: how cloudy each pixel is, 0 clear to 1 cloudy.

:func:`cloud_map` maps an image in memory, :func:`map_rows` a scene of any height in strips, with the same result.
"""

import math
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray
from pydantic import Field, field_validator
from scipy.ndimage import gaussian_filter

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.csmask import CSMASK_L2A
from unclouded.clouds.detector import PIXEL_M, Detector, ReadRows, at_resolution, has_data, select_bands
from unclouded.clouds.detectors import S2CLOUDLESS, find_detector
from unclouded.clouds.product_map import ProductMap, survey_scene
from unclouded.clouds.scene_classes import REACH_PX, class_map
from unclouded.errors import InputError
from unclouded.io.strips import RowReader, read_ahead, row_ranges
from unclouded.settings import Settings
from unclouded.sun import Sun

MapMode = Literal["continuous", "binary", "ones", "product", "scl"]
"""Kinds of cloud map; see :class:`CloudMapSettings`."""


class CloudMapSettings(Settings):
    """Settings of the cloud map m.

    Attributes:
        detector: Name of the cloud detector; the paper's is s2cloudless. Those with ``+shadow`` count shadow as cloud.
        mode: ``continuous`` is the paper's map, ``binary`` the mask of the s2cloudless package, ``ones`` the ablation,
            ``product`` the map of :mod:`unclouded.clouds.product_map`, which includes cloud shadow, and ``scl`` that of
            the scene classification of an L2A product (:mod:`unclouded.clouds.scene_classes`), without a detector.
        threshold: Continuous: probabilities below it count as 0.
        sigma_px: Continuous: standard deviation of the Gaussian, pixels.
        binary_threshold: Binary: averaged probabilities above it are cloud.
        binary_average_px: Binary: radius of the averaging disk, pixels.
        binary_dilation_px: Binary: radius of the dilating disk, pixels; 0 for no dilation.
        resolution_m: Pixel size at which the detector runs, metres; the paper's is 10.
    """

    detector: str = S2CLOUDLESS.name
    mode: MapMode = "continuous"
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

PRODUCT = CloudMapSettings(mode="product")
"""The map for products that are made without weights."""

PRODUCT_L2A = CloudMapSettings(mode="product", detector=CSMASK_L2A.name)
"""The same for images of L2A."""

SCENE_CLASSES = CloudMapSettings(mode="scl")
"""The map for L2A products that have a scene classification."""


def cloud_map(
    reflectance: Float32[np.ndarray, "band y x"],
    bands: tuple[str, ...],
    settings: CloudMapSettings = PAPER,
    detector: Detector | None = None,
    cache: ProbabilityCache | None = None,
    sun: Sun | None = None,
    sar: Float32[np.ndarray, "2 y x"] | None = None,
) -> Float32[np.ndarray, "y x"]:
    """Return the cloud map m of an image (section II-A of the paper): its cloud probability, thresholded and smoothed.

    Args:
        reflectance: TOA reflectance; NaN where there is no data.
        bands: Band names.
        settings: Detector, mode and thresholds.
        detector: Detector that replaces the one of the settings; unused in mode ``ones``.
        cache: Cache of probabilities; none if omitted.
        sun: Position of the sun, for the shadows of mode ``product``; None if unknown.
        sar: VV and VH in dB, to distinguish water from shadow in mode ``product``; none if omitted.

    Returns:
        The map m, 0 clear to 1 cloudy; NaN where a band of the detector has no data. In mode ``ones`` 1 everywhere.

    Raises:
        InputError: A band of the detector is missing, or the map is that of a scene classification.
    """
    if settings.mode == "ones":
        return np.ones(reflectance.shape[1:], dtype=np.float32)
    if settings.mode == "scl":
        raise InputError("the cloud map scl needs the scene classification of an L2A product; choose another map")
    chosen = at_resolution(detector or find_detector(settings.detector), settings.resolution_m)
    if cache is not None:
        chosen = cache.caching(chosen)
    if settings.mode == "product":
        read_sar = None if sar is None else _reader(sar)
        surveyed = survey_product(_reader(reflectance), reflectance.shape[1], bands, chosen, sun, read_sar)
        return product_rows(surveyed, 0, reflectance, bands, chosen)
    return cloud_map_from_probability(chosen.probability(reflectance, bands), settings)


def _reader(image: Float32[np.ndarray, "band y x"]) -> ReadRows:
    return lambda top, bottom: image[:, top:bottom]


def cloud_map_from_probability(
    probability: Float32[np.ndarray, "y x"], settings: CloudMapSettings = PAPER
) -> Float32[np.ndarray, "y x"]:
    """Return the cloud map m of a cloud probability (section II-A of the paper).

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
    """Return the cloud coverage as the mean of m; of the two definitions in use, the one that weighs thin cloud less.

    Pixels whose m is unknown (NaN) do not count, as in every coverage of this package; NaN if m is unknown everywhere.
    """
    unknown = np.isnan(cloud_map)
    known = cloud_map[~unknown] if unknown.any() else cloud_map
    return float(np.mean(known, dtype=np.float64)) if known.size else math.nan


def cloudy_share(cloud_map: Float32[np.ndarray, "y x"]) -> float:
    """Return the cloud coverage as the share of pixels with m > 0, which a remover may change.

    Pixels whose m is unknown (NaN) do not count; NaN if m is unknown everywhere.
    """
    known = int(np.count_nonzero(~np.isnan(cloud_map)))
    return int(np.count_nonzero(cloud_map > 0)) / known if known else math.nan


# Scenes of any height: strip by strip in bounded memory, with the same result as in one piece.


STRIP_PX = 768
"""Rows of a strip: a multiple of the tiles of 256 px, and of the 2 and 6 px of coarser detection."""


def map_rows(
    read: ReadRows,
    height: int,
    bands: tuple[str, ...],
    settings: CloudMapSettings = PAPER,
    detector: Detector | None = None,
    strip_px: int = STRIP_PX,
    sun: Sun | None = None,
    read_classes: RowReader[NDArray[np.uint8]] | None = None,
) -> Iterator[tuple[int, Float32[np.ndarray, "rows x"]]]:
    """Yield the cloud map of a scene in strips from top to bottom.

    Each strip is read with a margin as wide as the reach of the map, so that no seams appear.

    Args:
        read: Row reader of the scene, TOA reflectance.
        height: Number of rows of the scene.
        bands: Names of the bands that ``read`` returns.
        settings: Detector, mode and thresholds.
        detector: Detector that replaces the one of the settings. One that reads surroundings reads the whole scene
            before the first strip.
        strip_px: Rows of a strip; a multiple of 6 for coarser detection.
        sun: Position of the sun, for the shadows of mode ``product``; None if unknown.
        read_classes: Row reader of the scene classification, for mode ``scl``.

    Yields:
        First row and map m of each strip.
    """
    if settings.mode == "scl" and read_classes is not None:
        for top, bottom in row_ranges(height, strip_px):
            above, below = rows_in_reach(top, bottom, height, settings)
            yield top, class_map(read_classes(above, below)).m[top - above : bottom - above]
        return
    detector = detector or find_detector(settings.detector)
    strips = row_ranges(height, strip_px)
    if settings.mode == "product":
        surveyed = survey_product(read, height, bands, detector, sun)
        for (top, _), rows in zip(strips, read_ahead(read, strips), strict=True):
            yield top, product_rows(surveyed, top, rows, bands, detector)
        return
    detector_at = detector_for_rows(detector, settings, read, height, bands)
    with_margins = [rows_in_reach(*strip, height, settings) for strip in strips]
    for (top, bottom), (above, _), rows in zip(strips, with_margins, read_ahead(read, with_margins), strict=True):
        yield top, cloud_map(rows, bands, settings, detector_at(above))[top - above : bottom - above]


def survey_product(
    read: ReadRows,
    height: int,
    bands: tuple[str, ...],
    detector: Detector,
    sun: Sun | None,
    sar: ReadRows | None = None,
) -> ProductMap:
    """Return the product map of a scene with any detector; see :func:`~unclouded.clouds.product_map.survey_scene`."""
    return survey_scene(read, height, bands, detector.over(read, height, bands), sun, sar)


def product_rows(
    surveyed: ProductMap,
    top: int,
    reflectance: Float32[np.ndarray, "band rows x"],
    bands: tuple[str, ...],
    detector: Detector,
) -> Float32[np.ndarray, "rows x"]:
    """Return rows of the product map; NaN where a band of the detector has no data.

    Args:
        surveyed: Map of the scene.
        top: First row.
        reflectance: The rows.
        bands: Band names.
        detector: Detector of the map.
    """
    known = has_data(select_bands(reflectance, bands, detector.bands, detector.name))
    return np.where(known, surveyed.cloud_map(top, top + len(known)), np.float32(np.nan))


def detector_for_rows(
    detector: Detector, settings: CloudMapSettings, read: ReadRows, height: int, bands: tuple[str, ...]
) -> Callable[[int], Detector]:
    """Return a callable (first row) that returns the detector for a strip; see :meth:`Detector.over`.

    Args:
        detector: Any detector, also one that reads surroundings.
        settings: Cloud map settings; in mode ``ones`` the scene is not read.
        read: Row reader of the scene, TOA reflectance.
        height: Number of rows of the scene.
        bands: Names of the bands that ``read`` returns.
    """
    return (lambda _: detector) if settings.mode == "ones" else detector.over(read, height, bands)


def rows_in_reach(top: int, bottom: int, height: int, settings: CloudMapSettings) -> tuple[int, int]:
    """Return (first row, row after the last) of a strip with the margin that its map depends on.

    Args:
        top: First row of the strip.
        bottom: Row after the last row of the strip.
        height: Number of rows of the scene.
        settings: Settings of the map, which give the margin; see :func:`reach_px`.
    """
    margin = reach_px(settings)
    return max(top - margin, 0), min(bottom + margin, height)


def reach_px(settings: CloudMapSettings) -> int:
    """Return the distance, in rows, over which a pixel affects the map, rounded up to whole coarse pixels."""
    factor = settings.resolution_m // PIXEL_M
    match settings.mode:
        case "ones" | "product":  # the product map comes from a survey of the whole scene
            return 0
        case "scl":
            return REACH_PX
        case "continuous":
            reach = int(4.0 * settings.sigma_px + 0.5)
        case "binary":
            reach = settings.binary_average_px + settings.binary_dilation_px
    return -(-(reach + (2 * factor if factor > 1 else 0)) // factor) * factor
