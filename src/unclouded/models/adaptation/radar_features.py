"""Radar features of a pixel and its surroundings at several scales."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from unclouded.models.adaptation.gaussian import mean_bands, reach_px
from unclouded.sensors import SENTINEL1
from unclouded.tensors.observation import finite_pixels

MEAN_SCALES_PX = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Standard deviations of the Gaussians of the local means."""

SPREAD_SCALES_PX = (2.0, 8.0)
"""Standard deviations of the Gaussians of the local spreads, in ascending order; each is one of the means."""

REACH_PX = max(reach_px(max(MEAN_SCALES_PX)), 2 * reach_px(max(SPREAD_SCALES_PX)))
"""Largest distance at which a pixel affects a feature."""

FEATURES = 2 * (1 + len(MEAN_SCALES_PX) + len(SPREAD_SCALES_PX))
"""Number of features: each for VV and VH."""


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
    if (kept := _kept.get()) is None or sar.is_inference():  # inference tensors do not count their changes
        return _features(sar)
    key = sar.data_ptr(), sar.shape, sar.stride(), sar.dtype, sar._version
    if key not in kept:
        kept[key] = _features(sar), sar  # the memory of an image that exists belongs to no other one
    return kept[key][0]


_kept: ContextVar[dict[Any, tuple[Tensor, Tensor]] | None] = ContextVar("_kept", default=None)


@contextmanager
def reused_features() -> Iterator[None]:
    """Keep the features of every radar image within this context, so that an image has to be filtered only once."""
    token = _kept.set({} if _kept.get() is None else _kept.get())
    try:
        yield
    finally:
        _kept.reset(token)


def _features(sar: Float[Tensor, "batch 2 h w"]) -> Float32[Tensor, "batch feature h w"]:
    device, sar = sar.device, sar.cpu()
    valid = finite_pixels(sar)
    backscatter = torch.where(valid, sar.float().clamp(*SENTINEL1.clip), 0.0)
    features = torch.empty(len(sar), FEATURES, *sar.shape[2:])
    for image, known, out in zip(backscatter.numpy(), valid[:, 0].numpy(), features.numpy(), strict=True):
        _fill(image, known, out)
    return features.masked_fill_(~valid, math.nan).to(device)


def _fill(
    backscatter: Float32[np.ndarray, "2 y x"], valid: Bool[np.ndarray, "y x"], out: Float32[np.ndarray, "feature y x"]
) -> None:
    out[:2] = backscatter
    spreads = iter(range(2 + 2 * len(MEAN_SCALES_PX), FEATURES, 2))
    for first, sigma in enumerate(MEAN_SCALES_PX):
        means = out[2 + 2 * first : 4 + 2 * first]
        mean_bands(backscatter, valid, sigma, means)
        if sigma in SPREAD_SCALES_PX:
            squares = np.where(valid, np.square(backscatter - means), np.float32(0))
            spread = out[(at := next(spreads)) : at + 2]
            mean_bands(squares, valid, sigma, spread)
            np.sqrt(spread, out=spread)
