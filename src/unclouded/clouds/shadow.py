"""Cloud shadow by darkness and, where the position of the sun is known, by its geometry.

Shadow is ground that is dark in B08 and B11 compared with the bright ground around, is not water, and has a cloud in
the direction of the sun: :func:`find_shadow`. All arrays have pixels of 20 m.
"""

from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, Int32
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, distance_transform_edt, label, uniform_filter

from unclouded.clouds.local_statistics import block_quantile, repeat_blocks, smoothed
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
_WHOLE = 0.8
"""Explained share from which the rest of a dark area is shadow, too."""
_BLOCK_PX = 50
"""Side of the blocks, in coarse pixels, that share heights of clouds with their neighbours: 3 km."""
_FEWEST_PX = 100
"""Coarse ground pixels in the direction of a cloud from which a step can be judged."""
_LIFT, _NEARLY = 0.2, 0.9
"""Least share of otherwise bright ground that a supported step makes dark, and its least ratio to the best step."""
_CHANCE = 0.95
"""Quantile of the same share for directions without sun that a supported step must exceed."""
_EDGE_M = 4_000.0
"""Height of a cloud outside the image that is allowed for."""
_COARSE = 3
"""Pixels of the search along the sun direction are this many times larger."""
_SIDEWAYS = 0.15
"""Displacement of a cloud by the viewing angle, up to 10 degrees east or west, per metre of height."""

Steps = Int[np.ndarray, "step 3"]
"""Displacements along rows and columns in coarse pixels, each with a height in metres."""


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

    If the position of the sun is known, half of a dark area must have cloud in its direction at one height of 200 m to
    12 km, or the edge of the image at a height below 4 km. Forest is as dark as shadow on fields, and beside many
    clouds half of it has one in any direction. Therefore only heights count at which the clouds within 4.5 km coincide
    with dark ground better than by chance; of a dark area that they explain in part only this part is shadow.

    Args:
        probability: Result of :func:`shadow_probability`.
        cloud: Mask of the clouds that are opaque enough for a shadow.
        sun: Position of the sun. If it is unknown, the nearest cloud must be at most 3 km away.
    """
    areas, count = label(probability >= _GROWN, np.ones((3, 3)))
    if not count or not cloud.any():
        return np.zeros(cloud.shape, bool)
    wide = uniform_filter((probability >= _SEED).astype(np.float32), _NARROWEST_PX, mode="nearest") > 0.9
    sizes = np.bincount(areas[probability >= _SEED], minlength=count + 1)
    sizes[np.bincount(areas[wide], minlength=count + 1) == 0] = 0
    kept = sizes >= _SMALLEST_PX
    kept[0] = False
    coarse = coarse_mask(cloud)
    if sun is None:
        near = distance_transform_edt(~coarse) * (PIXEL_M * _COARSE) <= _NEAR_M
        kept &= np.bincount(areas[repeat_blocks(near, _COARSE, cloud.shape)], minlength=count + 1) > 0
        return np.asarray(kept[areas])
    steps = _steps(sun)
    kept &= _is_explained(areas, count, coarse, steps)
    ground = _explained_ground(probability >= _SEED, probability > 0, coarse, steps)
    cast = repeat_blocks(ground, _COARSE, cloud.shape)
    share = np.bincount(areas[cast], minlength=count + 1) / np.maximum(np.bincount(areas.ravel()), 1)
    kept &= share >= _EXPLAINED
    return np.asarray(kept[areas] & (cast | (share >= _WHOLE)[areas]))


def coarse_mask(mask: Bool[np.ndarray, "y x"]) -> Bool[np.ndarray, "rows columns"]:
    """Return a mask of larger pixels, True where any of the small ones is."""
    height, width = mask.shape
    padded = np.pad(mask, ((0, -height % _COARSE), (0, -width % _COARSE)))
    return np.asarray(padded.reshape(-(-height // _COARSE), _COARSE, -1, _COARSE).any(axis=(1, 3)))


def _is_explained(
    areas: Int32[np.ndarray, "y x"], count: int, cloud: Bool[np.ndarray, "rows columns"], steps: Steps
) -> NDArray[np.bool_]:
    """Return for each dark area whether a cloud of one height explains half of it."""
    middle = _COARSE // 2
    sampled = areas[middle::_COARSE, middle::_COARSE]
    rows, columns = np.nonzero(sampled)
    found: NDArray[np.bool_] = _explained(
        sampled[rows, columns], rows, columns, count, cloud, steps, _EXPLAINED, _EDGE_M
    )
    return found


def _explained_ground(
    dark: Bool[np.ndarray, "y x"],
    ground: Bool[np.ndarray, "y x"],
    cloud: Bool[np.ndarray, "rows columns"],
    steps: Steps,
) -> Bool[np.ndarray, "rows columns"]:
    """Return the ground, in coarse pixels, where clouds at the heights that the neighbourhood shows cast shadow."""
    rows, columns = (
        np.minimum(np.arange(size) * _COARSE + _COARSE // 2, full - 1)
        for size, full in zip(cloud.shape, dark.shape, strict=True)
    )
    dark, ground = (mask[np.ix_(rows, columns)] for mask in (dark, ground))
    south, east, _ = steps.T
    turned = [np.stack(way, axis=1) for way in ((south, east), (-east, south), (-south, -east), (east, -south))]
    counts = np.stack([_overlaps(dark, ground, cloud, way, _BLOCK_PX) for way in turned])
    around = 9 * uniform_filter(counts.astype(np.float64), (1, 1, 3, 3, 1), mode="constant")
    cast: NDArray[np.bool_] = _cast(binary_dilation(cloud), ground, steps, _supported(around), _BLOCK_PX, _EDGE_M)
    return np.asarray(binary_dilation(cast))


def _supported(counts: Float64[np.ndarray, "direction step row column 4"]) -> Bool[np.ndarray, "step row column"]:
    """Return the steps by which clouds coincide with dark ground, for each block.

    Ground may be dark for other reasons, such as forest. Steps in three other directions than that of the sun show how
    well clouds coincide with dark ground by chance.

    Args:
        counts: Ground pixels with cloud, with cloud and dark, all, and all dark; the direction of the sun is first.
    """
    covered, both, everything, dark = np.moveaxis(counts, -1, 0)
    elsewhere = (dark - both) / np.maximum(everything - covered, 1)
    lift = (both / np.maximum(covered, 1) - elsewhere) / np.maximum(1 - elsewhere, 0.05)
    lift *= covered / (covered + _FEWEST_PX)
    chance = np.quantile(lift[1:], _CHANCE, axis=(0, 1))
    found = lift[0] >= np.maximum(np.maximum(_LIFT, chance), _NEARLY * lift[0].max(axis=0))
    found[:, covered[0].max(axis=0) < _FEWEST_PX] = True
    return np.asarray(found)


def _steps(sun: Sun) -> Steps:
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
    return np.array([(down, right, height) for (down, right), height in found.items()])


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


@compiled
@no_type_check
def _overlaps(dark, ground, cloud, steps, block_px):
    """Return ground pixels by step and block: with cloud in the direction, with cloud and dark, all, and all dark."""
    height, width = dark.shape
    counts = np.zeros((len(steps), (height - 1) // block_px + 1, (width - 1) // block_px + 1, 4), np.int64)
    for step in range(len(steps)):
        down, right = steps[step, 0], steps[step, 1]
        for row in range(max(0, -down), min(height, height - down)):
            for column in range(max(0, -right), min(width, width - right)):
                if ground[row, column]:
                    block = counts[step, row // block_px, column // block_px]
                    covered, black = cloud[row + down, column + right], dark[row, column]
                    block[0] += covered
                    block[1] += covered and black
                    block[2] += 1
                    block[3] += black
    return counts


@compiled
@no_type_check
def _cast(cloud, ground, steps, supported, block_px, edge_m):
    """Return the ground pixels with cloud in the direction of a supported step, or the outside of the image."""
    height, width = ground.shape
    found = np.zeros(ground.shape, np.bool_)
    for step in range(len(steps)):
        down, right, above = steps[step, 0], steps[step, 1], steps[step, 2]
        for row in range(height):
            for column in range(width):
                if (
                    ground[row, column]
                    and not found[row, column]
                    and supported[step, row // block_px, column // block_px]
                ):
                    to, along = row + down, column + right
                    if 0 <= to < height and 0 <= along < width:
                        found[row, column] = cloud[to, along]
                    else:
                        found[row, column] = above <= edge_m
    return found
