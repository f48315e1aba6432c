"""What radar says about a pixel and its surroundings, at several scales."""

import math

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from unclouded.models.smoothing import local_mean, reach_px
from unclouded.sensors import SENTINEL1

MEAN_SCALES_PX = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Standard deviations of the Gaussians of the local means."""

SPREAD_SCALES_PX = (2.0, 8.0)
"""Standard deviations of the Gaussians of the local spreads."""

REACH_PX = max(reach_px(max(MEAN_SCALES_PX)), 2 * reach_px(max(SPREAD_SCALES_PX)))
"""How far away a pixel can change a feature."""


def radar_features(sar: Float[Tensor, "batch 2 h w"]) -> Float32[Tensor, "batch feature h w"]:
    """Describe each pixel by its backscatter and by that of its surroundings, in dB.

    For VV and for VH: the backscatter clipped to [-25, 0] dB (section III-B.2 of the paper), its Gaussian means at
    :data:`MEAN_SCALES_PX`, and the roots of the Gaussian means of its squared distance from them at
    :data:`SPREAD_SCALES_PX`.

    Args:
        sar: VV and VH, dB; pixels without data are left out of every mean.

    Returns:
        16 features; NaN where VV or VH has no data.
    """
    valid = sar.isfinite().all(dim=1, keepdim=True)
    backscatter = torch.where(valid, sar.float().clamp(*SENTINEL1.clip), 0.0)
    means = {sigma: local_mean(backscatter, valid, sigma) for sigma in MEAN_SCALES_PX}
    details = {sigma: torch.where(valid, backscatter - means[sigma], 0.0) for sigma in SPREAD_SCALES_PX}
    spreads = [local_mean(detail.square(), valid, sigma).sqrt() for sigma, detail in details.items()]
    features = torch.cat([backscatter, *means.values(), *spreads], dim=1)
    return torch.where(valid, features, math.nan)
