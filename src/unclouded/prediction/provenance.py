"""Where each pixel of a cleared scene comes from."""

from collections.abc import Mapping
from enum import IntEnum

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from scipy.ndimage import maximum_filter1d

SYNTHESISED_FROM = 0.5
"""From this m on a pixel counts as synthesised, below as blended: more of it is made than was seen."""


class Provenance(IntEnum):
    """Where a pixel comes from; the numbers of the provenance raster."""

    NO_DATA = 0
    """The optical image has no data here in any band, or the pixel has to be made and the radar has none."""
    OBSERVED = 1
    """m = 0: the stored integers are the input's, bit for bit."""
    BLENDED = 2
    """0 < m < 0.5: through thin cloud, or at the rim of a cloud."""
    SYNTHESISED = 3
    """m >= 0.5: made by the remover."""
    NEAR_GAP = 4
    """Made, with pixels without data in what the remover looked at: those were shown to it as the scene's mean."""
    UNJUDGED = 5
    """Made as under opaque cloud: m is unknown, or a band has no data or is saturated; other bands saw something."""


def trace(
    cloud_map: Float32[np.ndarray, "y x"],
    optical: Bool[np.ndarray, "y x"],
    radar: Bool[np.ndarray, "y x"],
    reach_px: int,
    seen: Bool[np.ndarray, "y x"] | None = None,
) -> UInt8[np.ndarray, "y x"]:
    """Return where each pixel comes from.

    Args:
        cloud_map: The map m; NaN where it is unknown.
        optical: Where all optical bands of the remover have data.
        radar: Where both radar bands have data.
        reach_px: How far the remover looks.
        seen: Where any band of the optical image saw something; where ``optical`` is true if omitted.

    Returns:
        Numbers of :class:`Provenance`.
    """
    seen = optical if seen is None else seen | optical
    unjudged = seen & (np.isnan(cloud_map) | ~optical)
    traced = np.full(cloud_map.shape, Provenance.BLENDED, np.uint8)
    traced[cloud_map >= SYNTHESISED_FROM] = Provenance.SYNTHESISED
    missing = ~(seen & radar)
    if missing.any() and reach_px:
        traced[_near(missing, reach_px)] = Provenance.NEAR_GAP
    traced[unjudged] = Provenance.UNJUDGED
    traced[~radar] = Provenance.NO_DATA
    traced[(cloud_map == 0) & ~unjudged] = Provenance.OBSERVED
    traced[~seen] = Provenance.NO_DATA
    return traced


def _near(where: Bool[np.ndarray, "y x"], reach_px: int) -> Bool[np.ndarray, "y x"]:
    """Say which pixels have a true one within a square around them."""
    near = where.astype(np.uint8)
    for axis in (0, 1):
        near = maximum_filter1d(near, 2 * reach_px + 1, axis=axis, mode="constant", cval=0)
    return np.asarray(near > 0)


def percent(share: float) -> str:
    """Return a share in per cent; what is not all and not nothing is never rounded to it."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    return "> 99.9 %" if 0.999 < share < 1 else f"{100 * share:.1f} %"


MADE = ("blended", "synthesised", "near_gap")
"""Counts of pixels that were cloudy and are made."""

_CAUSES = {
    "no_data_optical": "the optical image has none",
    "no_data_radar": "the radar has none where a pixel has to be made",
    "no_data_remover": "the remover gave none",
}


def shares(counts: Mapping[str, int]) -> dict[str, float]:
    """Return shares of the whole scene, which add up to 1: observed, made, unjudged and no_data.

    Args:
        counts: Pixels by the lower-case names of :class:`Provenance`.
    """
    total = max(1, sum(counts.get(code.name.lower(), 0) for code in Provenance))
    made = sum(counts.get(name, 0) for name in MADE)
    others = {name: counts.get(name, 0) / total for name in ("observed", "unjudged", "no_data")}
    return {"observed": others["observed"], "made": made / total, **others}


def in_percent(shares: Mapping[str, float]) -> dict[str, str]:
    """Return shares that add up to 1 in per cent, so rounded that the tenths add up to 100, too."""
    tenths = {name: int(1000 * share) for name, share in shares.items()}
    missing = round(1000 * sum(shares.values())) - sum(tenths.values())
    for name in sorted(shares, key=lambda name: tenths[name] - 1000 * shares[name])[:missing]:
        tenths[name] += 1
    return {
        name: f"{tenths[name] / 10:.1f} %" if tenths[name] not in (0, 1000) else percent(share)
        for name, share in shares.items()
    }


def causes(losses: Mapping[str, int], pixels: int) -> str:
    """Return why pixels have no data, in words with shares of the scene, the largest first; empty where none lacks.

    Args:
        losses: Pixels by cause; see :data:`unclouded.prediction.clearing.LOSSES`.
        pixels: Of the scene.
    """
    known = sorted(((losses.get(cause, 0), words) for cause, words in _CAUSES.items()), key=lambda one: -one[0])
    return ", ".join(f"{words} {percent(count / pixels)}" for count, words in known if count)
