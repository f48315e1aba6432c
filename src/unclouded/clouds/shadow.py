"""Cloud shadow by darkness and, where the position of the sun is known, by its geometry.

Shadow is ground that is dark in B08 and B11 compared with the bright ground around, is not water, and has a cloud in
the direction of the sun: :func:`find_shadow`. All arrays have pixels of 20 m.
"""

from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float32, Int32
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, distance_transform_edt, label, uniform_filter

from unclouded.clouds.local_statistics import block_quantile, smoothed
from unclouded.jit import compiled
from unclouded.sun import Sun

PIXEL_M = 20
"""Pixel size of the arrays, metres."""
HEIGHTS_M = (200.0, 12_000.0)
"""Lowest and highest cloud that may cast a shadow."""

_BRIGHT = 0.85
"""Quantile of the ground that shadow is compared with: sunlit ground of a neighbourhood half in shadow, too."""
_TYPICAL = {"B08": 0.22, "B11": 0.20}
"""Bright ground where a scene shows none of it."""
_SLOPE, _LEVEL = 3.0, 3.7
"""Logit of shadow: -slope (ln of the ratios of B08 and B11 to bright ground) - level. It is 0 at a ratio of 0.54."""
_SEED, _GROWN = 0.5, 0.3
"""A shadow has pixels above the first probability and ends below the second."""
_SMALLEST_PX = 25
"""Pixels of the smallest shadow, 1 ha: smaller dark spots are houses, ponds and trees."""
_NARROWEST_PX = 5
"""Pixels of the narrowest shadow, 100 m: rivers and roads are narrower."""
_SHORE_PX = 2
"""Pixels along the shore that are mixed with water."""
_NEAR_M = 3_000.0
"""Distance to the nearest cloud up to which darkness alone is shadow where the sun is unknown."""
_EXPLAINED = 0.5
"""Share of a dark area that must have cloud in the direction of the sun, for one height of the cloud."""
_EDGE_M = 4_000.0
"""Height of a cloud outside the image that is allowed for."""
_COARSE = 3
"""Pixels of the search along the sun direction are this many times larger."""
_SIDEWAYS = 0.15
"""Displacement of a cloud by the viewing angle, up to 10 degrees east or west, per metre of height."""

Reach = tuple[int, int, int]
"""Steps along rows and columns in coarse pixels, and height in metres."""


def shadow_probability(
    b08: Float32[np.ndarray, "y x"],
    b11: Float32[np.ndarray, "y x"],
    cloud: Bool[np.ndarray, "y x"],
    block_px: int,
    water: Bool[np.ndarray, "y x"] | None = None,
) -> Float32[np.ndarray, "y x"]:
    """Return the probability of shadow by darkness alone; 0 on clouds, on water and where there are no data.

    Args:
        b08: Reflectance of the near infrared; NaN for no data.
        b11: Reflectance of the short-wave infrared at 1.6 um.
        cloud: Cloud mask.
        block_px: Side of the blocks whose bright ground is measured.
        water: Water known from elsewhere, beside that which its darkness shows.
    """
    smooth = {"B08": smoothed(b08), "B11": smoothed(b11)}
    dark = (smooth["B08"] < 0.06) & (smooth["B11"] < 0.04) | (smooth["B11"] < 0.012)
    water = binary_dilation(dark if water is None else dark | water, iterations=_SHORE_PX)
    ground = np.isfinite(smooth["B08"] + smooth["B11"]) & ~dark & ~binary_dilation(cloud, iterations=3)
    logit = np.full(b08.shape, np.float32(-_LEVEL))
    for band, values in smooth.items():
        bright = block_quantile(values, ground, _BRIGHT, block_px, _TYPICAL[band])
        logit -= np.float32(_SLOPE) * np.log(np.maximum(values, np.float32(0.005)) / bright)
    shadow = np.float32(1) / (np.float32(1) + np.exp(-logit))
    shadow[~np.isfinite(shadow) | water | cloud] = 0
    return shadow


def find_shadow(
    probability: Float32[np.ndarray, "y x"], cloud: Bool[np.ndarray, "y x"], sun: Sun | None
) -> Bool[np.ndarray, "y x"]:
    """Return the dark areas that clouds explain.

    Args:
        probability: Result of :func:`shadow_probability`.
        cloud: Mask of the clouds that are opaque enough for a shadow.
        sun: Position of the sun. If it is known, half of a dark area must have cloud in its direction at one height
            of 200 m to 12 km, or the edge of the image at a height below 4 km. If not, the nearest cloud must be at
            most 3 km away.
    """
    areas, count = label(probability >= _GROWN, np.ones((3, 3)))
    if not count or not cloud.any():
        return np.zeros(cloud.shape, bool)
    wide = uniform_filter((probability >= _SEED).astype(np.float32), _NARROWEST_PX, mode="nearest") > 0.9
    sizes = np.bincount(areas[probability >= _SEED], minlength=count + 1)
    sizes[np.bincount(areas[wide], minlength=count + 1) == 0] = 0
    kept = sizes >= _SMALLEST_PX
    kept[0] = False
    if sun is None:
        near = distance_transform_edt(~coarse_mask(cloud)) * (PIXEL_M * _COARSE) <= _NEAR_M
        kept[1:] &= np.bincount(areas[_fine(near, cloud.shape)], minlength=count + 1)[1:] > 0
    else:
        kept &= _is_explained(areas, count, coarse_mask(cloud), sun)
    return np.asarray(kept[areas])


def coarse_mask(mask: Bool[np.ndarray, "y x"]) -> Bool[np.ndarray, "rows columns"]:
    """Return a mask of larger pixels, True where any of the small ones is."""
    height, width = mask.shape
    padded = np.pad(mask, ((0, -height % _COARSE), (0, -width % _COARSE)))
    return np.asarray(padded.reshape(-(-height // _COARSE), _COARSE, -1, _COARSE).any(axis=(1, 3)))


def _fine(mask: Bool[np.ndarray, "rows columns"], shape: tuple[int, int]) -> Bool[np.ndarray, "y x"]:
    return np.asarray(mask.repeat(_COARSE, 0).repeat(_COARSE, 1)[: shape[0], : shape[1]])


def _is_explained(
    areas: Int32[np.ndarray, "y x"], count: int, cloud: Bool[np.ndarray, "rows columns"], sun: Sun
) -> NDArray[np.bool_]:
    """Return for each dark area whether a cloud of one height explains half of it."""
    middle = _COARSE // 2
    sampled = areas[middle::_COARSE, middle::_COARSE]
    rows, columns = np.nonzero(sampled)
    found: NDArray[np.bool_] = _explained(
        sampled[rows, columns], rows, columns, count, cloud, np.array(_steps(sun)), _EXPLAINED, _EDGE_M
    )
    return found


def _steps(sun: Sun) -> list[Reach]:
    """Return the displacements to search, each once: one coarse pixel apart along the sun, and to the sides."""
    coarse_m = PIXEL_M * _COARSE
    per_metre = float(np.hypot(*sun.towards_m(1.0)))
    interval = max(coarse_m / max(per_metre, 1e-6), 100.0)
    found: dict[tuple[int, int], int] = {}
    for height in np.arange(HEIGHTS_M[0], HEIGHTS_M[1] + 1, interval):
        south, east = sun.towards_m(float(height))
        for side in (0.0, -_SIDEWAYS, _SIDEWAYS):
            step = round(south / coarse_m), round((east + side * height) / coarse_m)
            found.setdefault(step, int(height))
    return [(down, right, height) for (down, right), height in found.items()]


@compiled
@no_type_check
def _explained(area, rows, columns, count, cloud, steps, needed, edge_m):
    """Return for each dark area whether enough of its pixels have cloud in one of the displacements.

    The outside of the image counts as cloud for heights up to ``edge_m``.
    """
    size, hits, found = np.zeros(count + 1), np.zeros(count + 1), np.zeros(count + 1, np.bool_)
    for i in range(len(area)):
        size[area[i]] += 1
    for step in range(len(steps)):
        down, right, height = steps[step]
        hits[:] = 0
        for i in range(len(area)):
            row, column = rows[i] + down, columns[i] + right
            if 0 <= row < cloud.shape[0] and 0 <= column < cloud.shape[1]:
                hits[area[i]] += cloud[row, column]
            elif height <= edge_m:
                hits[area[i]] += 1
        for one in range(count + 1):
            found[one] |= size[one] > 0 and hits[one] >= needed * size[one]
    return found
