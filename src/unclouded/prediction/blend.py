"""What a remover says and what was observed, put together in the integers of the input."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, Integer, UInt8

from unclouded.prediction.provenance import Provenance
from unclouded.scenes.radiometry import Radiometry

_BESIDE = (-8, -4, 4, 8)
"""Networks have a faint pattern of their own stride, 4 px, which is no seam: only pairs of one phase are alike."""


def compose(
    reflectance: Float32[np.ndarray, "band y x"],
    observed: Integer[np.ndarray, "band y x"],
    provenance: UInt8[np.ndarray, "y x"],
    radiometry: Radiometry,
) -> Integer[np.ndarray, "band y x"]:
    """Store what the remover says where it is asked, and keep the stored integers elsewhere.

    Args:
        reflectance: The remover's answer.
        observed: The input's integers of the same bands.
        provenance: Of each pixel.
        radiometry: What the integers mean.

    Returns:
        Integers of the input's type. Observed pixels are the input's own, bit for bit; pixels without data are 0 in all
        bands; no other pixel is.
    """
    made = radiometry.encode(reflectance)
    kept = provenance == Provenance.OBSERVED
    return np.where(kept, observed, np.where(provenance == Provenance.NO_DATA, observed.dtype.type(0), made))


def seam_index(
    image: Float[np.ndarray, "band y x"],
    rows: Sequence[int],
    columns: Sequence[int],
    where: Bool[np.ndarray, "y x"] | None = None,
) -> float:
    """Return how much larger jumps are across the borders of windows than beside them; 1 where no border shows.

    The mean absolute difference of two pixels that face each other across a border, over that of the four pairs that
    lie 4 and 8 px further on either side, on nearly the same ground and in the same phase of a network's stride.

    Args:
        image: Prediction, in any unit; NaN where nothing is to be compared.
        rows: Rows that are the first of a window, at least 9 px from the image's ends.
        columns: Columns that are the first of a window, likewise.
        where: Pixels to look at, such as the cloudy ones; all pixels if omitted.
    """
    seen = image if where is None else np.where(where, image, np.nan)
    across, beside = [], []
    for axis, starts in ((1, rows), (2, columns)):
        jumps = np.abs(np.diff(seen, axis=axis))
        across += [np.take(jumps, start - 1, axis=axis).ravel() for start in starts]
        beside += [np.take(jumps, start - 1 + step, axis=axis).ravel() for start in starts for step in _BESIDE]
    return float(np.nanmean(np.concatenate(across)) / np.nanmean(np.concatenate(beside)))
