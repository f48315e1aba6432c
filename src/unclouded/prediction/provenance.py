"""Where each pixel of a cleared scene comes from."""

from enum import IntEnum

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from scipy.ndimage import maximum_filter1d

SYNTHESISED_FROM = 0.5
"""From this m on a pixel counts as synthesised, below as blended: more of it is made than was seen."""


class Provenance(IntEnum):
    """Where a pixel comes from; the numbers of the provenance raster."""

    NO_DATA = 0
    """The optical image has no data here, or it is cloudy here and the radar has none."""
    OBSERVED = 1
    """m = 0: the stored integers are the input's, bit for bit."""
    BLENDED = 2
    """0 < m < 0.5: through thin cloud, or at the rim of a cloud."""
    SYNTHESISED = 3
    """m >= 0.5: made by the remover."""
    NEAR_GAP = 4
    """Made, with pixels without data in what the remover looked at: those were shown to it as the scene's mean."""


def trace(
    cloud_map: Float32[np.ndarray, "y x"],
    optical: Bool[np.ndarray, "y x"],
    radar: Bool[np.ndarray, "y x"],
    reach_px: int,
) -> UInt8[np.ndarray, "y x"]:
    """Say of each pixel where it comes from.

    Args:
        cloud_map: The map m.
        optical: Where all optical bands of the remover have data.
        radar: Where both radar bands have data.
        reach_px: How far the remover looks.

    Returns:
        Numbers of :class:`Provenance`.
    """
    traced = np.full(cloud_map.shape, Provenance.BLENDED, np.uint8)
    traced[cloud_map >= SYNTHESISED_FROM] = Provenance.SYNTHESISED
    missing = ~(optical & radar)
    if missing.any() and reach_px:
        traced[_near(missing, reach_px)] = Provenance.NEAR_GAP
    traced[~radar] = Provenance.NO_DATA
    traced[cloud_map == 0] = Provenance.OBSERVED
    traced[~optical] = Provenance.NO_DATA
    return traced


def _near(where: Bool[np.ndarray, "y x"], reach_px: int) -> Bool[np.ndarray, "y x"]:
    """Say which pixels have a true one within a square around them."""
    near = where.astype(np.uint8)
    for axis in (0, 1):
        near = maximum_filter1d(near, 2 * reach_px + 1, axis=axis, mode="constant", cval=0)
    return np.asarray(near > 0)
