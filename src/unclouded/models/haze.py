"""Detail of the ground that shows through haze, where the haze is thin and the same all around."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from unclouded.models.smoothing import local_mean, reach_px

WIDE_PX = 16.0
"""Standard deviation of the Gaussian of everything that is said of a place's haze."""
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
"""How far away an observed pixel can change what is said here."""
REACH_OF_PREDICTED_PX = reach_px(WIDE_PX)
"""How far away a predicted one can."""


@dataclass(frozen=True, eq=False)
class ShownThrough:
    """What of the ground an observation shows although it is called cloudy.

    Attributes:
        detail: To add to the prediction, whose own detail it replaces; reflectance.
        weight: How far the haze is thin and uniform, 0 to 1; the detail is weighed with it already.
    """

    detail: Float32[Tensor, "batch band h w"]
    weight: Float32[Tensor, "batch 1 h w"]


def shown_through(
    observed: Float32[Tensor, "batch band h w"],
    predicted: Float32[Tensor, "batch band h w"],
    valid: Bool[Tensor, "batch 1 h w"],
    bands: tuple[str, ...],
) -> ShownThrough:
    """Judge the haze by how much brighter than the prediction the visible bands are, in the mean of a wide window.

    Args:
        observed: TOA reflectance with clouds.
        predicted: TOA reflectance without, from elsewhere.
        valid: Pixels where both have data.
        bands: Their names; without any of :data:`VISIBLE` nothing shows through.
    """
    visible = [bands.index(band) for band in VISIBLE if band in bands]
    x, y = torch.where(valid, observed, 0.0), torch.where(valid, predicted, 0.0)
    if not visible:
        return ShownThrough(torch.zeros_like(x), torch.zeros_like(x[:, :1]))
    wide_x, wide_y = local_mean(x, valid, WIDE_PX), local_mean(y, valid, WIDE_PX)
    bright, dark = wide_x[:, visible].mean(dim=1, keepdim=True), wide_y[:, visible].mean(dim=1, keepdim=True)
    opacity = (bright - dark) / (CLOUD_REFLECTANCE - dark).clamp(min=0.1)
    weight = _falling(opacity.abs(), THIN) * _falling(_unevenness(x[:, visible], valid), UNIFORM)
    weight = torch.where(valid, weight, 0.0)
    through = (x - wide_x) / (1 - opacity.clamp(0.0, 0.5))
    return ShownThrough(weight * (through - (y - wide_y)), weight)


def _unevenness(visible: Float32[Tensor, "batch band h w"], valid: Bool[Tensor, "batch 1 h w"]) -> Tensor:
    coarse = torch.where(valid, local_mean(visible.mean(dim=1, keepdim=True), valid, FINE_PX), 0.0)
    mean, square = local_mean(coarse, valid, WIDE_PX), local_mean(coarse.square(), valid, WIDE_PX)
    return (square - mean.square()).clamp(min=0).sqrt()


def _falling(value: Float32[Tensor, "batch 1 h w"], limit: float) -> Float32[Tensor, "batch 1 h w"]:
    """1 up to the limit, 0 from twice the limit, straight between."""
    return (2 - value / limit).clamp(0.0, 1.0)
