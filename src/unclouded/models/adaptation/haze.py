"""Detail of the ground that shows through haze, where the haze is thin and the same all around."""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float32

from unclouded.jit import compiled
from unclouded.models.adaptation.gaussian import mean_bands, mean_where, reach_px

WIDE_PX = 16.0
"""Standard deviation of the Gaussian that averages haze and ground."""

FINE_PX = 4.0
"""Detail finer than this is not haze."""

THIN = 0.1
"""Opacity up to which haze counts as thin; at twice this it hides too much."""

UNIFORM = 0.01
"""Standard deviation of reflectance, from 4 px to 16 px, up to which haze counts as uniform; at twice this it is none.

The edge of a cloud is not: its own shape would come through as detail of the ground.
"""

CLOUD_REFLECTANCE = 0.8
"""Of opaque cloud in the visible bands: the brightest of real maps have 0.76 in B04 (``clouds/physical.py``)."""

VISIBLE = ("B02", "B03", "B04")

REACH_OF_OBSERVED_PX = reach_px(WIDE_PX) + reach_px(FINE_PX)
"""Largest distance at which an observed pixel affects the haze detail."""

REACH_OF_PREDICTED_PX = reach_px(WIDE_PX)
"""Largest distance at which a predicted pixel affects the haze detail."""


@dataclass(frozen=True, eq=False)
class Haze:
    """Haze in an image.

    Attributes:
        weight: Degree to which the haze is thin and uniform, 0 to 1; 0 without data.
        gain: Contrast of the ground by that of the observed image.
        valid: Pixels with data.
        share: Blurred mask of these.
    """

    weight: Float32[np.ndarray, "y x"]
    gain: Float32[np.ndarray, "y x"]
    valid: Bool[np.ndarray, "y x"]
    share: Float32[np.ndarray, "y x"]

    def detail(
        self,
        observed: Float32[np.ndarray, "y x"],
        predicted: Float32[np.ndarray, "y x"],
        where: Bool[np.ndarray, "y x"],
    ) -> Float32[np.ndarray, "y x"]:
        """Return what to add to the prediction of a band, in place of its own detail, in selected pixels.

        Args:
            observed: TOA reflectance with clouds.
            predicted: TOA reflectance without, from elsewhere.
            where: Pixels to compute; 0 elsewhere.
        """
        thin, out = where & (self.weight > 0), np.zeros_like(observed)
        if thin.any():
            images = [np.where(self.valid, one, np.float32(0)) for one in (observed, predicted)]
            means = (mean_where(one, self.share, WIDE_PX, thin) for one in images)
            _detail(*images, *means, self.weight, self.gain, thin, out)
        return out


def find_haze(
    observed: Float32[np.ndarray, "y x"], predicted: Float32[np.ndarray, "y x"], valid: Bool[np.ndarray, "y x"]
) -> Haze:
    """Find haze by how much brighter than the prediction the visible bands are, in the mean of a wide window.

    Args:
        observed: Mean of the visible bands, TOA reflectance with clouds.
        predicted: The same without, from elsewhere.
        valid: Pixels where both have data.
    """
    images, means = np.zeros((2, 4, *valid.shape), np.float32)
    for image, values in zip(images, (observed, predicted), strict=False):
        np.copyto(image, values, where=valid)
    mean_bands(images[:1], valid, FINE_PX, images[2:3])
    images[2][~valid] = 0
    np.square(images[2], out=images[3])
    share = mean_bands(images, valid, WIDE_PX, means)
    weight, gain = np.empty((2, *valid.shape), np.float32)
    _find_haze(means, valid, weight, gain)
    return Haze(weight, gain, valid, share)


@compiled
@no_type_check
def _find_haze(means, valid, weight, gain):
    zero, one, two, half = np.float32(0), np.float32(1), np.float32(2), np.float32(0.5)
    thin, uniform, cloud, least = np.float32(THIN), np.float32(UNIFORM), np.float32(CLOUD_REFLECTANCE), np.float32(0.1)
    for y in range(valid.shape[0]):
        for x in range(valid.shape[1]):
            bright, dark, mean = means[0, y, x], means[1, y, x], means[2, y, x]
            opacity = (bright - dark) / max(cloud - dark, least)
            spread = np.sqrt(max(means[3, y, x] - mean * mean, zero))
            degree = min(max(two - abs(opacity) / thin, zero), one) * min(max(two - spread / uniform, zero), one)
            weight[y, x] = degree if valid[y, x] else zero
            gain[y, x] = one / (one - min(max(opacity, zero), half))


@compiled
@no_type_check
def _detail(observed, predicted, mean_observed, mean_predicted, weight, gain, thin, out):
    for y in range(thin.shape[0]):
        for x in range(thin.shape[1]):
            if thin[y, x]:
                through = (observed[y, x] - mean_observed[y, x]) * gain[y, x]
                out[y, x] = weight[y, x] * (through - (predicted[y, x] - mean_predicted[y, x]))
