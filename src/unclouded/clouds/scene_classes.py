"""Cloud map from the scene classification (SCL) of Sentinel-2 L2A products by Sen2Cor.

The classes of cloud and of cloud shadow are widened, because both reach beyond them, and get a soft rim. Pixels without
a certain class are unknown.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from scipy.ndimage import gaussian_filter, maximum_filter1d

from unclouded.clouds.local_statistics import repeat_blocks, upsample_blocks

NO_DATA, SATURATED, UNCLASSIFIED = 0, 1, 7
"""Classes of unknown cloud state, as are all numbers without a class.

Unclassified pixels do not count as clear ground: they cover 8 and 10 % of dates that are clear by eye, and 26 and 37 %
of those that are not (``proofs/scene_classes.py``, two places in Flanders).
"""
CLOUD = (8, 9, 10)
"""Cloud of medium and of high probability, and thin cirrus."""
SHADOW = (3,)
"""Cloud shadow."""
CLEAR = (2, 4, 5, 6, 11)
"""Dark areas (shadow of relief), vegetation, bare ground, water, and snow."""

FACTOR = 2
"""Side of a pixel of the classification, in pixels of 10 m."""
CLOUD_REACH_PX, SHADOW_REACH_PX = 5, 3
"""Pixels of 20 m by which the classes are widened.

Clear classes are brighter than on clear dates by 0.075 and 0.106 in 20 m from cloud, by 0.027 and 0.009 in 100 m, and
hardly less beyond; and darker by 0.009 and 0.056 in 20 m from shadow, by 0.002 and 0.041 in 60 m (medians of two
places, ``proofs/scene_classes.py``).
"""
_SIGMA_PX, _TRUNCATE = 1.0, 2.0
"""Gaussian for the rim, pixels of 20 m, and its end in standard deviations, as in the product map."""

REACH_PX = FACTOR * (CLOUD_REACH_PX + int(_TRUNCATE * _SIGMA_PX) + 1)
"""Distance in rows of 10 m over which a class affects the map."""


@dataclass(frozen=True, eq=False)
class ClassMap:
    """Cloud map from a scene classification.

    Attributes:
        m: The map, 0 clear to 1 cloud or shadow; NaN where it is unknown.
        shadow: True where the map is due to shadow.
    """

    m: Float32[np.ndarray, "y x"]
    shadow: Bool[np.ndarray, "y x"]


def class_map(classes: UInt8[np.ndarray, "y x"], factor: int = FACTOR) -> ClassMap:
    """Return the cloud map of a scene classification, whose first row starts a pixel of 20 m.

    Args:
        classes: Class of each pixel.
        factor: Pixels along a side of 20 m: 2 on the grid of 10 m, 1 on that of 20 m.
    """
    coarse = classes[::factor, ::factor]
    cloud, shadow = (
        _dilated(_is_one_of(coarse, kind), reach)
        for kind, reach in ((CLOUD, CLOUD_REACH_PX), (SHADOW, SHADOW_REACH_PX))
    )
    rims = [
        gaussian_filter(part.astype(np.float32), _SIGMA_PX, truncate=_TRUNCATE, mode="nearest")
        for part in (cloud, shadow & ~cloud)
    ]
    m = np.clip(rims[0] + rims[1], 0.0, 1.0)
    m = upsample_blocks(m, factor, classes.shape) if factor > 1 else m
    covered = repeat_blocks(cloud | shadow, factor, classes.shape)
    unknown = ~_is_one_of(classes, (*CLEAR, *CLOUD, *SHADOW))
    m[(unknown & ~covered) | _is_one_of(classes, (NO_DATA, SATURATED))] = np.nan
    return ClassMap(m, repeat_blocks(rims[1] > rims[0], factor, classes.shape))


def _is_one_of(classes: UInt8[np.ndarray, "y x"], kinds: tuple[int, ...]) -> Bool[np.ndarray, "y x"]:
    table = np.zeros(256, bool)
    table[list(kinds)] = True
    return np.asarray(table[classes])


def _dilated(mask: Bool[np.ndarray, "rows columns"], radius: int) -> Bool[np.ndarray, "rows columns"]:
    """Return a mask widened by a disk: rows widened by the width of the disk at each distance, shifted up and down."""
    found = np.zeros_like(mask)
    for away in range(min(radius, len(mask) - 1) + 1):
        half = math.isqrt(radius * radius + radius - away * away)
        wide = maximum_filter1d(mask.view(np.uint8), 2 * half + 1, axis=1, mode="constant").view(bool)
        found[away:] |= wide[: len(wide) - away]
        found[: len(found) - away] |= wide[away:]
    return found
