"""Radar features of a pixel and its surroundings at several scales."""

import math

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor
from torch.nn import functional as F

from unclouded.sensors import SENTINEL1

MEAN_SCALES_PX = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Standard deviations of the Gaussians of the local means."""

SPREAD_SCALES_PX = (2.0, 8.0)
"""Standard deviations of the Gaussians of the local spreads."""


# Gaussian means of images with holes.


def reach_px(sigma_px: float) -> int:
    """Return the radius of a Gaussian kernel, which is cut at three sigma."""
    return math.ceil(3 * sigma_px)


REACH_PX = max(reach_px(max(MEAN_SCALES_PX)), 2 * reach_px(max(SPREAD_SCALES_PX)))
"""Largest distance at which a pixel affects a feature."""


def radar_features(sar: Float[Tensor, "batch 2 h w"]) -> Float32[Tensor, "batch feature h w"]:
    """Return the backscatter of each pixel and of its surroundings, in dB.

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


def local_mean(
    values: Float32[Tensor, "batch band h w"], valid: Bool[Tensor, "batch 1 h w"], sigma_px: float
) -> Float32[Tensor, "batch band h w"]:
    """Gaussian mean over the valid pixels of an image whose invalid pixels are 0; 0 where none is in reach.

    Args:
        values: Any channels.
        valid: Which pixels count.
        sigma_px: Standard deviation of the Gaussian.
    """
    weight = blur(valid.float(), sigma_px)
    return blur(values, sigma_px) / weight.clamp(min=torch.finfo(weight.dtype).tiny)


def blur(image: Float32[Tensor, "batch band h w"], sigma_px: float) -> Float32[Tensor, "batch band h w"]:
    """Convolve with a Gaussian, down the columns and along the rows; zeros outside, cut at three sigma.

    Sums shifted copies, which on a CPU takes half the time of a convolution of few channels.

    Args:
        image: Any channels.
        sigma_px: Standard deviation.
    """
    radius = reach_px(sigma_px)
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma_px) ** 2)
    weights = (kernel / kernel.sum()).tolist()
    for axis, margins in ((-2, (0, 0, radius, radius)), (-1, (radius, radius))):
        padded, image = F.pad(image, margins), torch.zeros_like(image)
        for shift, weight in enumerate(weights):
            image.add_(padded.narrow(axis, shift, image.shape[axis]), alpha=weight)
    return image
