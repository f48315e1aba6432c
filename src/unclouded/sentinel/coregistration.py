"""Estimation of the shift between radar and optical images from their common edges, regardless of contrast sign."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Bool, Float32, Float64
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2

from unclouded.errors import InputError
from unclouded.jit import compiled

REACH_PX = 8
"""Largest shift that can be found."""
SMALLEST_PX = 8 * REACH_PX
"""Smallest side of images that can be compared."""
ORIENTATIONS = 9
_ANGLES = np.arange(ORIENTATIONS) * np.pi / ORIENTATIONS
RADAR_SIGMA_PX, OPTICAL_SIGMA_PX, FEATURE_SIGMA_PX = 1.5, 1.0, 2.0
OPTICAL_BANDS = ("B02", "B04", "B08", "B11")
"""Bands whose edges are compared: visible, near and short-wave infrared."""
CONFIDENT = 0.015
"""Smallest gap of a confident estimate; docs/products.md shows how often those are right."""
_APART_PX = 3
"""Distance from the best shift beyond which a shift counts as a different one."""


@dataclass(frozen=True)
class Shift:
    """Shift of the radar image relative to the optical image, to the right and down.

    Attributes:
        right_px: Columns; the radar's column c shows what the optical image shows at c - right_px.
        down_px: Rows.
        correlation: Correlation of the edges at that shift, from -1 to 1.
        gap: Difference to the highest correlation at shifts more than 3 px away, the measure of confidence.
        blocks: Number of blocks of the scene.
        spread_px: Median distance of the confident estimates of single blocks from the shift; NaN for one block.
    """

    right_px: float
    down_px: float
    correlation: float
    gap: float
    blocks: int = 1
    spread_px: float = float("nan")

    @property
    def is_confident(self) -> bool:
        """Whether the gap is large enough for a reliable estimate."""
        return self.gap >= CONFIDENT

    def __str__(self) -> str:
        certain = "" if self.is_confident else ", not confident"
        return f"{self.right_px:+.2f} px right, {self.down_px:+.2f} px down (gap {self.gap:.3f}{certain})"


@dataclass(frozen=True, eq=False)
class EdgeCorrelation:
    """Correlation of the edges of a block at every integer shift within reach; blocks are combined by summation.

    Attributes:
        products: Sum of the products of features, by rows down and columns right.
        energy: Norm of the features, the divisor of the products.
    """

    products: Float64[np.ndarray, "shifts shifts"]
    energy: float

    def shift(self) -> Shift:
        """Return the best shift, refined to subpixels by a parabola through the best integer one and its neighbours."""
        surface = self.products / max(self.energy, 1e-12)
        row, column = np.unravel_index(int(surface.argmax()), surface.shape)
        down, right = np.mgrid[: surface.shape[0], : surface.shape[1]]
        others = surface[np.hypot(down - row, right - column) > _APART_PX]
        return Shift(
            right_px=float(column - REACH_PX + _vertex(surface[row], int(column))),
            down_px=float(row - REACH_PX + _vertex(surface[:, column], int(row))),
            correlation=float(surface[row, column]),
            gap=float(surface[row, column] - others.max()),
        )


def estimate_shift(
    radar: Float32[np.ndarray, "2 y x"],
    optical: Float32[np.ndarray, "band y x"],
    where: Bool[np.ndarray, "y x"] | None = None,
) -> Shift:
    """Estimate the shift of a radar image relative to an optical one on the same grid.

    Channel features of oriented gradients (Ye et al. 2019, Fast and robust matching for multimodal remote sensing image
    registration, IEEE TGRS 57), correlated by Fourier transform.

    Args:
        radar: VV and VH in dB; NaN for no data.
        optical: Reflectance of bands that share edges with the radar, such as :data:`OPTICAL_BANDS`; NaN for no data.
        where: Mask of optical pixels to compare, such as those without clouds; all if omitted.

    Raises:
        InputError: The images differ in size, or are too small to be shifted.
    """
    return correlate_edges(radar, optical, where).shift()


def correlate_edges(
    radar: Float32[np.ndarray, "2 y x"],
    optical: Float32[np.ndarray, "band y x"],
    where: Bool[np.ndarray, "y x"] | None = None,
) -> EdgeCorrelation:
    """Compare the edges of a block at every shift within reach; see :func:`estimate_shift`."""
    height, width = radar.shape[1:]
    if optical.shape[1:] != (height, width) or min(height, width) < SMALLEST_PX:
        raise InputError(
            f"expected radar and optical images of one size, at least {SMALLEST_PX} px, found {radar.shape[1:]} px "
            f"and {optical.shape[1:]} px"
        )
    usable = np.isfinite(optical).all(axis=0)
    usable = usable if where is None else usable & where
    seen = _features(radar, np.isfinite(radar).all(axis=0), RADAR_SIGMA_PX)  # radar sees the ground under clouds
    shown = _features(optical, usable, OPTICAL_SIGMA_PX, np.outer(np.hanning(height), np.hanning(width)))
    shape = tuple(next_fast_len(side + REACH_PX, real=True) for side in (height, width))  # no shift wraps around
    products = irfft2((rfft2(seen, shape) * np.conj(rfft2(shown, shape))).sum(axis=0), shape)
    within = np.arange(-REACH_PX, REACH_PX + 1)
    compared = (seen**2 * (shown != 0)).sum() * (shown**2).sum()
    return EdgeCorrelation(products[np.ix_(within, within)], float(np.sqrt(compared)))


def combine_shifts(agreements: Iterable[EdgeCorrelation]) -> Shift:
    """Return the shift of a scene from the sum of its blocks' correlations, and the spread of their own estimates."""
    parts = [part for part in agreements if part.energy > 0]
    if not parts:
        return Shift(float("nan"), float("nan"), float("nan"), 0.0, blocks=0)
    shift = EdgeCorrelation(
        np.sum([part.products for part in parts], axis=0), sum(part.energy for part in parts)
    ).shift()
    own = [part.shift() for part in parts]
    away = [np.hypot(one.right_px - shift.right_px, one.down_px - shift.down_px) for one in own if one.is_confident]
    spread = float(np.median(away)) if len(away) > 1 else float("nan")
    return Shift(shift.right_px, shift.down_px, shift.correlation, shift.gap, len(parts), spread)


def _features(
    image: Float32[np.ndarray, "band y x"], usable: NDArray[np.bool_], sigma: float, window: Any = 1.0
) -> Float64[np.ndarray, "orientation y x"]:
    """Return the edge strength by orientation, regardless of contrast sign; zero mean, 0 at the rim.

    Edges at unusable pixels are excluded: a hole in both images would be an edge that never moves. Only one image is
    multiplied by a window, because two windows would correlate with each other, best at shift 0.
    """
    known = _apart(usable, sigma)
    total = np.zeros((ORIENTATIONS, *usable.shape))
    share = _smoothed_share(usable, sigma)
    for band in image:
        across, down = _gradient(band, usable, share, sigma) * known
        strength = np.sqrt((across**2 + down**2).sum() / max(known.sum(), 1)) + 1e-9
        _add_orientations(total, across, down, _ANGLES, strength)
    share = _smoothed_share(known, FEATURE_SIGMA_PX)
    total = _smoothed(total, FEATURE_SIGMA_PX) / np.maximum(share, 1e-3)
    total = 0.5 * total + 0.25 * (np.roll(total, 1, axis=0) + np.roll(total, -1, axis=0))
    weight = window * _apart(known, FEATURE_SIGMA_PX)
    length = np.sqrt((total**2).sum(axis=0))
    total /= length + 0.5 * (length * weight).sum() / max(weight.sum(), 1e-9) + 1e-9
    mean = (total * weight).sum(axis=(1, 2)) / max(weight.sum(), 1e-9)
    return np.asarray((total - mean[:, None, None]) * weight)


def _gradient(
    band: NDArray[np.float32], usable: NDArray[np.bool_], share: NDArray[np.float64], sigma: float
) -> Float64[np.ndarray, "2 y x"]:
    """Return the gradient of a smoothed band, to the right and down.

    Args:
        band: One band.
        usable: Usable pixels.
        share: The same, smoothed by ``sigma``.
        sigma: Standard deviation of the Gaussian.
    """
    filled = np.where(usable, band, 0.0).astype(np.float64)
    down, across = np.gradient(_smoothed(filled[None], sigma)[0] / np.maximum(share, 1e-3))
    return np.stack([across, down])


def _apart(usable: NDArray[np.bool_], sigma: float) -> NDArray[np.bool_]:
    """Return the pixels whose filter support holds no unusable pixel."""
    return np.asarray(_smoothed_share(usable, sigma) > 0.999)


def _smoothed_share(usable: NDArray[np.bool_], sigma: float) -> NDArray[np.float64]:
    share = usable.astype(np.float64)
    return share if usable.all() else _smoothed(share[None], sigma)[0]


def _smoothed(planes: Float64[np.ndarray, "plane y x"], sigma: float) -> Float64[np.ndarray, "plane y x"]:
    """Smooth by a Gaussian of 4 standard deviations with reflected edges, as ``scipy.ndimage.gaussian_filter``."""
    radius = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
    found: NDArray[np.float64] = _convolved(planes, weights / (2 * weights.sum() - weights[0]))
    return found


@compiled
@no_type_check
def _convolved(planes, weights):
    """Convolve rows and columns with a symmetric kernel, given by its centre and one half.

    The innermost loops run over slices, which the compiler turns into vector instructions.
    """
    count, height, width = planes.shape
    radius = len(weights) - 1
    line, found = np.empty(width + 2 * radius), np.empty_like(planes)
    down = line[radius : radius + width]
    for plane in range(count):
        for y in range(height):
            _weigh(down, planes[plane, y], planes[plane, y], 0.5 * weights[0], True)
            for k in range(1, radius + 1):
                above, below = _reflected(y - k, height), _reflected(y + k, height)
                _weigh(down, planes[plane, above], planes[plane, below], weights[k], False)
            for k in range(1, radius + 1):
                line[radius - k] = down[_reflected(-k, width)]
                line[radius + width - 1 + k] = down[_reflected(width - 1 + k, width)]
            across = found[plane, y]
            _weigh(across, down, down, 0.5 * weights[0], True)
            for k in range(1, radius + 1):
                before, after = line[radius - k : radius - k + width], line[radius + k : radius + k + width]
                _weigh(across, before, after, weights[k], False)
    return found


@compiled
@no_type_check
def _weigh(into, first, second, weight, is_first):
    if is_first:
        for x in range(len(into)):
            into[x] = weight * (first[x] + second[x])
    else:
        for x in range(len(into)):
            into[x] += weight * (first[x] + second[x])


@compiled
@no_type_check
def _reflected(place, length):
    """Return the place of a pixel beyond the edges in an image that is repeated as d c b a | a b c d | d c b a."""
    while place < 0 or place >= length:
        place = -1 - place if place < 0 else 2 * length - 1 - place
    return place


@compiled
@no_type_check
def _add_orientations(total, across, down, angles, strength):
    """Add the relative strength of the gradient in each direction, regardless of its sign, in place."""
    for orientation in range(len(angles)):
        right, below = np.cos(angles[orientation]), np.sin(angles[orientation])
        for y in range(total.shape[1]):
            for x in range(total.shape[2]):
                total[orientation, y, x] += abs(right * across[y, x] + below * down[y, x]) / strength


def _vertex(values: NDArray[np.float64], place: int) -> float:
    """Return the distance from a maximum to the vertex of the parabola through it and its neighbours."""
    if not 0 < place < len(values) - 1:
        return 0.0
    before, top, after = values[place - 1 : place + 2]
    bend = before - 2 * top + after
    return float(0.5 * (before - after) / bend) if bend < 0 else 0.0
