"""Cloud map for products made without weights: clouds without single detections, and their shadow.

The paper's map takes every pixel above a threshold for cloud. This map adds two facts to the probability of the
detector, both relative to the clear ground around: the brightness of B01, in which most ground is dark, and the haze
index B02 - B04 / 2 (after Zhang et al. 2002, Remote Sensing of Environment 82), in which bright ground is dark. They
separate thin cloud over forest from clear towns, to which the detector gives the same probability. The map removes
single detections and adds the shadow of clouds (:mod:`unclouded.clouds.shadow`).

It is computed at 20 m, the pixel size of most bands, from the whole scene: :func:`survey_scene` reads the scene once,
and :meth:`ProductMap.cloud_map` returns rows of the map.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32
from scipy.ndimage import gaussian_filter, label

from unclouded.clouds.detector import Detector, ReadRows, block_mean, select_bands
from unclouded.clouds.local_statistics import block_quantile, halved, repeat_blocks, smoothed, upsample_blocks
from unclouded.clouds.shadow import find_shadow, shadow_probability
from unclouded.io.strips import read_ahead, row_ranges
from unclouded.sun import Sun

BANDS = ("B01", "B02", "B04", "B08", "B11")
"""Bands that the map reads beside those of the detector."""
STRIP_PX = 384
"""Rows that the survey reads at a time."""
BLOCK_PX = 128
"""Side of the blocks that the ground is measured in, 2.56 km."""

_GROUND = 0.1
"""Quantile of a block that is clear ground, in B01 and in the haze index."""
_GROUND_RANGE = {"L1C": ((0.10, 0.19), (0.04, 0.11)), "L2A": ((0.0, 0.08), (-0.03, 0.04))}
"""Lowest and highest B01 and haze index of clear ground: above it, the block is overcast."""
_LOGIT, _B01, _HAZE, _LEVEL = 0.67, 95.0, 175.0, 5.0
"""Logit of cloud = logit of the detector x 0.67 + (B01 above ground) x 95 + (haze index above ground) x 175 - 5.

Fitted to real pairs of a cloudy and a clear image by ``proofs/fit_product_map.py``, and rounded."""
_CAPS, _MOST = 0.04, 6.0
"""Largest excess that counts, of each and of both: without any probability of the detector nothing is cloud, such as
snow or salt."""
_OPAQUE, _FEWEST_OPAQUE_PX = (0.08, 0.04), 4
"""Excess of B01 and of the haze index in opaque cloud, and the least number of such pixels in a cloud with shadow."""
_SEED, _GROWN = 0.5, 0.35
"""A cloud has pixels above the first probability and ends below the second."""
_SMALLEST_PX = 20
"""Pixels of the smallest cloud: 60 x 60 m, which smoothing by 3 x 3 pixels widens."""
_RADAR_PX, _WATER_DB = 6, (-16.5, -22.5)
"""Side of the blocks of 10 m pixels in which radar is averaged, and the highest VV and VH of open water, dB."""
_SIGMA_PX, _TRUNCATE = 1.0, 2.0
"""Gaussian for the rim, pixels of 20 m, and its end in standard deviations."""


@dataclass(frozen=True, eq=False)
class ProductMap:
    """Map of clouds and their shadow in a scene.

    Attributes:
        m: The map, 0 clear to 1 cloud or shadow, in pixels of 20 m.
        shadow: True where the map is due to shadow, in pixels of 20 m.
        width: Columns of the scene in pixels of 10 m.
    """

    m: Float32[np.ndarray, "rows columns"]
    shadow: Bool[np.ndarray, "rows columns"]
    width: int

    def cloud_map(self, top: int, bottom: int) -> Float32[np.ndarray, "rows x"]:
        """Return rows of the map in pixels of 10 m, also where the image has no data."""
        return upsample_blocks(self.m, 2, (bottom - top, self.width), top)

    def is_shadow(self, top: int, bottom: int) -> Bool[np.ndarray, "rows x"]:
        """Return a mask of the rows of 10 m pixels that are replaced because of shadow."""
        rows = self.shadow[top // 2 : (bottom + 1) // 2].repeat(2, 0)[top % 2 :][: bottom - top]
        return np.asarray(rows.repeat(2, 1)[:, : self.width])


def survey_scene(
    read: ReadRows,
    height: int,
    bands: tuple[str, ...],
    detector: Callable[[int], Detector],
    sun: Sun | None = None,
    sar: ReadRows | None = None,
) -> ProductMap:
    """Map clouds and shadow of a scene, which is read once in strips.

    Args:
        read: Row reader of the scene, reflectance.
        height: Number of rows of the scene.
        bands: Names of the bands that ``read`` returns.
        detector: Callable (first row) that returns the detector of a strip.
        sun: Position of the sun; None if unknown.
        sar: Row reader of VV and VH in dB, from which water is known that looks like shadow; None without radar.

    Raises:
        InputError: A band is missing.
    """
    strips = row_ranges(height, STRIP_PX)
    tops = [top for top, _ in strips]
    scene, width = np.empty((0, 0, 0), np.float32), 0
    for top, rows in zip(tops, read_ahead(read, strips), strict=True):
        strip, width = _strip(rows, bands, detector(top))
        if top == 0:
            scene = np.empty((1 + len(BANDS), -(-height // 2), -(-width // 2)), np.float32)
        scene[:, top // 2 : (top + STRIP_PX) // 2] = strip
    probability, pixels = scene[0], scene[1:]
    water = np.zeros(probability.shape, bool)
    if sar is not None:
        blocks = np.concatenate([_radar_water(rows) for rows in read_ahead(sar, strips)])
        water |= repeat_blocks(blocks, _RADAR_PX // 2, water.shape)
    level = "L1C" if "B10" in bands else "L2A"
    m, shadow = _mapped(probability, dict(zip(BANDS, pixels, strict=True)), level, water, sun)
    return ProductMap(m, shadow, width)


def _radar_water(sar: Float32[np.ndarray, "2 rows x"]) -> Bool[np.ndarray, "block_rows block_columns"]:
    """Return blocks of 60 m of open water: both polarisations are weak; False where the radar has no data."""
    vv, vh = block_mean(sar, _RADAR_PX)
    return np.asarray((vv < _WATER_DB[0]) & (vh < _WATER_DB[1]))


def _strip(
    reflectance: Float32[np.ndarray, "band rows x"], bands: tuple[str, ...], detector: Detector
) -> tuple[Float32[np.ndarray, "6 half_rows half_columns"], int]:
    """Return cloud probability and the bands of the map in pixels of 20 m, and the columns of the strip."""
    needed = tuple(dict.fromkeys((*detector.bands, *BANDS)))
    pixels = select_bands(reflectance, bands, needed, detector.name)
    coarse = halved(pixels)
    if detector.survey is None:
        probability = detector.probability(coarse, needed)
    else:  # works on pixels of its own size
        probability = halved(detector.probability(reflectance, bands)[None])[0]
    return np.stack([probability, *(coarse[needed.index(band)] for band in BANDS)]), pixels.shape[2]


Image = Float32[np.ndarray, "y x"]


def _mapped(
    probability: Image, pixels: Mapping[str, Image], level: str, water: Bool[np.ndarray, "y x"], sun: Sun | None
) -> tuple[Image, Bool[np.ndarray, "y x"]]:
    """Return the map and the mask of its shadow, from arrays with pixels of 20 m."""
    known = np.isfinite(probability)
    excess = excess_over_ground(pixels, known, level)
    cloud = combined_probability(probability, excess)
    clouds = large_areas(cloud)
    dark = shadow_probability(pixels["B08"], pixels["B11"], clouds, BLOCK_PX, water)
    shadows = find_shadow(dark, _opaque(clouds, excess), sun)
    cloud[~clouds] = 0
    rims = [gaussian_filter(part, _SIGMA_PX, truncate=_TRUNCATE) for part in (cloud, shadows.astype(np.float32))]
    return np.clip(rims[0] + rims[1], 0.0, 1.0), rims[1] > rims[0]


def excess_over_ground(pixels: Mapping[str, Image], known: Bool[np.ndarray, "y x"], level: str) -> tuple[Image, Image]:
    """Return B01 and the haze index above those of the clear ground around; NaN where there are no data.

    Args:
        pixels: B01, B02 and B04 by name, reflectance.
        known: Pixels with data.
        level: ``L1C`` or ``L2A``.
    """
    b01, haze = (smoothed(image) for image in (pixels["B01"], pixels["B02"] - pixels["B04"] / 2))
    above = (
        image - block_quantile(image, known, _GROUND, BLOCK_PX, high).clip(low, high)
        for image, (low, high) in zip((b01, haze), _GROUND_RANGE[level], strict=True)
    )
    return next(above), next(above)


def combined_probability(probability: Image, excess: tuple[Image, Image]) -> Image:
    """Return the cloud probability from that of a detector and the excess over clear ground; 0 without data."""
    b01, haze = (np.minimum(one, np.float32(_CAPS)) for one in excess)
    evidence = np.minimum(np.float32(_B01) * b01 + np.float32(_HAZE) * haze, np.float32(_MOST))
    p = smoothed(probability).clip(0.01, 0.99)
    logit = np.float32(_LOGIT) * np.log(p / (1 - p)) + evidence - np.float32(_LEVEL)
    return np.where(np.isfinite(logit), 1 / (1 + np.exp(-logit)), np.float32(0)).astype(np.float32)


def _opaque(clouds: Bool[np.ndarray, "y x"], excess: tuple[Image, Image]) -> Bool[np.ndarray, "y x"]:
    """Return the areas of cloud that are opaque somewhere: only these cast a dark shadow."""
    areas, count = label(clouds, np.ones((3, 3)))
    opaque = clouds & (excess[0] > _OPAQUE[0]) & (excess[1] > _OPAQUE[1])
    kept = np.bincount(areas[opaque], minlength=count + 1) >= _FEWEST_OPAQUE_PX
    return np.asarray(kept[areas] & clouds)


def large_areas(probability: Float32[np.ndarray, "y x"]) -> Bool[np.ndarray, "y x"]:
    """Return the areas of cloud: connected, with enough pixels of high probability."""
    areas, count = label(probability >= _GROWN, np.ones((3, 3)))
    kept = np.bincount(areas[probability >= _SEED], minlength=count + 1) >= _SMALLEST_PX
    kept[0] = False
    return np.asarray(kept[areas])
