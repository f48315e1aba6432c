"""Predicted error of each pixel, fitted to the errors on covered clear ground of the same scene.

The prior is that a prediction is wrong by a quarter of its reflectance. The errors on covered ground correct this by a
ridge regression on what is known of every pixel, cloudy or covered: how much clear ground is near, its radar, and its
predicted reflectance.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float32, Float64
from torch import Tensor

from unclouded.models.radar_features import MEAN_SCALES_PX, blur, local_mean, radar_features
from unclouded.tensors.observation import Observation

PRIOR_SHARE = 0.25
"""Error of a prediction as a share of its reflectance, before any ground of the scene was covered.

Overcast real triplets have 0.23 to 0.29, in 13 bands and in red, green and blue alike."""

CELL_PX = 32
"""Side of the cells that count as one observation: neighbouring pixels have the same error."""

PRIOR_CELLS = 10.0
"""Number of completely covered cells whose weight equals that of the prior."""

SMALLEST_SHARE, LARGEST_SHARE = 0.02, 1.0
"""Range of the predicted error as a share of the predicted reflectance."""

HALF_ERROR = 0.03
"""Predicted error with a confidence of one half, reflectance; about the median of real cloudy pixels."""

_NEAR_PX, _WIDE_PX = 4.0, 16.0
_VV_WIDE, _VH_WIDE = (2 * (1 + MEAN_SCALES_PX.index(16.0)) + i for i in range(2))
_VH_NEAR = 2 * (1 + MEAN_SCALES_PX.index(4.0)) + 1
_SPREAD_NEAR = 2 * (1 + len(MEAN_SCALES_PX))
_CHOSEN = (_VV_WIDE, _VH_WIDE, _VH_NEAR, _SPREAD_NEAR)


def confidence_of(error: Float32[Tensor, "batch 1 h w"]) -> Float32[Tensor, "batch 1 h w"]:
    """Return the confidence that stands for a predicted error: 1 for none, one half for :data:`HALF_ERROR`."""
    return torch.exp2(-error / HALF_ERROR)


def error_of(confidence: Float32[Tensor, "batch 1 h w"]) -> Float32[Tensor, "batch 1 h w"]:
    """Return the predicted error that a confidence stands for; the inverse of :func:`confidence_of`."""
    return -HALF_ERROR * torch.log2(confidence)


def error_features(
    observation: Observation, prediction: Float[Tensor, "batch band h w"]
) -> Float32[Tensor, "batch feature h w"]:
    """Return what the error of a pixel may depend on.

    The shares of clear ground within 4 and 16 px (Gaussian means), the radar within 2 to 16 px, and the logarithm of
    the predicted reflectance. Pixels without radar have the mean of the window.
    """
    data = observation.cloudy.isfinite().all(dim=1, keepdim=True)
    clear = (data & ~observation.is_cloudy).float()
    shares = [local_mean(clear, data, sigma) for sigma in (_NEAR_PX, _WIDE_PX)]
    radar = radar_features(observation.sar)[:, list(_CHOSEN)]
    known = radar.nanmean(dim=(-2, -1), keepdim=True).nan_to_num(0.0)
    return torch.cat([*shares, torch.where(radar.isnan(), known, radar), _brightness(prediction).log()], dim=1)


def _brightness(prediction: Float[Tensor, "batch band h w"]) -> Float32[Tensor, "batch 1 h w"]:
    return prediction.float().mean(dim=1, keepdim=True).clamp(min=1e-3)


@dataclass(frozen=True, eq=False)
class ErrorModel:
    """Predicted error of a pixel: its predicted reflectance times a share that is linear in its features.

    Attributes:
        centre: Mean of each feature over covered ground.
        scale: Standard deviation of each feature.
        low: Least value of each feature, standardised; features are clipped to the range of the fit.
        high: Greatest value.
        coefficients: Change of the share, relative to the prior: intercept, then slopes.
        cells: Covered cells of the fit.
    """

    centre: Float64[Tensor, " feature"]
    scale: Float64[Tensor, " feature"]
    low: Float64[Tensor, " feature"]
    high: Float64[Tensor, " feature"]
    coefficients: Float64[Tensor, " one_and_feature"]
    cells: float

    def __call__(
        self, observation: Observation, prediction: Float[Tensor, "batch band h w"]
    ) -> Float32[Tensor, "batch 1 h w"]:
        """Return the predicted mean absolute error over the bands, reflectance; 0 where m = 0, NaN without data."""
        features = error_features(observation, prediction).double()
        z = (features - self.centre.view(-1, 1, 1)) / self.scale.view(-1, 1, 1)
        z = torch.minimum(torch.maximum(z, self.low.view(-1, 1, 1)), self.high.view(-1, 1, 1))
        change = self.coefficients[0] + (z * self.coefficients[1:].view(-1, 1, 1)).sum(dim=1, keepdim=True)
        share = (PRIOR_SHARE * (1 + change)).clamp(SMALLEST_SHARE, LARGEST_SHARE).float()
        error = share * _brightness(prediction)
        error = torch.where(observation.is_cloudy, error, 0.0)
        return torch.where(prediction.isnan().any(dim=1, keepdim=True), math.nan, error)


Covered = tuple[Observation, Float[Tensor, "1 band h w"], Float[Tensor, "1 band h w"], Bool[Tensor, "1 1 h w"]]
"""Covered observation, its prediction, the clear image, and the pixels to compare."""


def fit_error(covered: Iterable[Covered]) -> ErrorModel:
    """Fit the predicted error to covered clear ground; without any, it is the prior.

    Ridge regression of the error on reflectance times [1, standardised features]; the penalty counts as
    :data:`PRIOR_CELLS` cells in which the prior holds.
    """
    features, errors, bright = [], [], []
    for observation, prediction, clear, where in covered:
        used = (where & prediction.isfinite().all(dim=1, keepdim=True))[0, 0]
        features.append(error_features(observation, prediction)[0][:, used].double())
        errors.append((prediction - clear).abs().mean(dim=1)[0][used].double())
        bright.append(_brightness(prediction)[0, 0][used].double())
    if not features or not sum(len(one) for one in errors):
        return prior_error(len(features[0]) if features else 2 + len(_CHOSEN) + 1)
    x, error, b = torch.cat(features, dim=1), torch.cat(errors), torch.cat(bright)
    centre, scale = x.mean(dim=1), x.std(dim=1, correction=0).clamp(min=0.05)
    z = (x - centre[:, None]) / scale[:, None]
    level = PRIOR_SHARE * b / (PRIOR_SHARE * b).mean()
    rows = torch.cat([torch.ones_like(z[:1]), z]) * level
    target = error / (PRIOR_SHARE * b).mean() - level
    per_cell = 1 / CELL_PX**2
    gram = per_cell * rows @ rows.T + PRIOR_CELLS * torch.eye(len(rows), dtype=rows.dtype)
    coefficients = torch.linalg.solve(gram, per_cell * rows @ target)
    return ErrorModel(centre, scale, z.amin(dim=1), z.amax(dim=1), coefficients, len(error) * per_cell)


def prior_error(features: int = 2 + len(_CHOSEN) + 1) -> ErrorModel:
    """Return the predicted error of a scene without covered ground: :data:`PRIOR_SHARE` of the predicted reflectance."""
    zeros, ones = torch.zeros(features, dtype=torch.float64), torch.ones(features, dtype=torch.float64)
    return ErrorModel(zeros, ones, zeros, zeros, torch.zeros(1 + features, dtype=torch.float64), 0.0)
