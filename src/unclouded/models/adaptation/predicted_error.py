"""Predicted error of each pixel of ``scene-adapted``, and the confidence that stands for it.

The error of a cloudy pixel is a share of the reflectance of land or water, raised where the scene moves the prediction
away from the prior, where radar is weak or unlike that of clear ground, and where the cloud is opaque; lowered where
clear ground is near. Covered clear ground of a scene sets the level, see :mod:`unclouded.prediction.auto_remover`.
"""

import math

import torch
from jaxtyping import Float32
from torch import Tensor

from unclouded.models.adaptation.gaussian import local_mean
from unclouded.models.adaptation.radar_features import MEAN_SCALES_PX

PRIOR_SHARE = 0.2
"""Mean absolute error of a cloudy pixel as a share of the reflectance of land or water, if all else is average."""

DEPARTURE, DEPARTURE_SHARE = 0.02, 0.1
"""A departure from the prior of this reflectance raises the error by this share; six departures count at most."""

WATER_SHARE = 0.5
"""Share of water by radar that is water: smooth bare soil and wet fields look alike."""

WEAK_VV_DB, WEAK_STEP_DB, WEAK_SHARE = -11.0, 3.0, 0.1
"""Mean VV over 4 px of average error on land; each step below raises the error by this share, up to three steps."""

OPAQUE, OPAQUE_SHARE = 0.2, 0.09
"""Excess of the observed visible reflectance over the prediction that raises the error by this share."""

CLEAR_SHARE = 0.2
"""Share by which clear ground all around, within 16 px, lowers the error."""

STRANGE_SHARE = 0.1
"""Each standard deviation of the radar beyond that of clear ground raises the error by this share, up to three."""

HALF_ERROR = 0.03
"""Predicted error, reflectance, whose confidence is one half; about the median of real cloudy pixels."""

CELL_PX, PRIOR_CELLS = 32, 10
"""Side of the cells of covered ground that count as one observation, and their number that outweighs the prior."""

OPACITY_PX, CLEAR_PX = 4.0, 16.0
_VV = 2 * (1 + MEAN_SCALES_PX.index(4.0))


def predicted_error(
    features: Float32[Tensor, "batch feature h w"],
    extrapolation: Float32[Tensor, "batch 1 h w"],
    departure: Float32[Tensor, "batch 1 h w"],
    excess: Float32[Tensor, "batch 1 h w"] | None,
    clear: Float32[Tensor, "batch 1 h w"],
    water: Float32[Tensor, "batch 1 h w"],
    spectra: tuple[float, float],
) -> Float32[Tensor, "batch 1 h w"]:
    """Return the predicted mean absolute error over the bands, reflectance.

    The shares were rounded from a regression of the logarithm of the errors of eight real triplets; their figures are
    those of ``proofs/confidence.py``.

    Args:
        features: Result of :func:`~unclouded.models.adaptation.radar_features.radar_features`; NaN without radar.
        extrapolation: Distance of the radar from that of clear ground, standard deviations.
        departure: Mean absolute difference of prediction and prior over the bands.
        excess: Observed minus predicted reflectance of the visible bands; None without visible bands.
        clear: 1 on clear pixels, 0 on others.
        water: Probability of water; NaN without radar.
        spectra: Mean reflectance over the bands of land and of water.
    """
    land, wet = spectra
    water = water.nan_to_num(0.0)
    weak = ((WEAK_VV_DB - features[:, _VV : _VV + 1]) / WEAK_STEP_DB).clamp(-3.0, 3.0).nan_to_num(0.0) * (1 - water)
    change = DEPARTURE_SHARE * (departure / DEPARTURE).clamp(max=6.0) + WEAK_SHARE * weak
    change = change - CLEAR_SHARE * local_mean(clear, None, CLEAR_PX)
    if excess is not None:
        opaque = (local_mean(excess.nan_to_num(0.0), None, OPACITY_PX) / OPAQUE).clamp(-0.5, 3.0)
        change = change + OPAQUE_SHARE * opaque
    change = change + STRANGE_SHARE * extrapolation.nan_to_num(0.0).clamp(max=3.0)
    return PRIOR_SHARE * (land + WATER_SHARE * water * (wet - land)) * change.exp()


def confidence_of(error: Float32[Tensor, "batch 1 h w"]) -> Float32[Tensor, "batch 1 h w"]:
    """Return the confidence that stands for a predicted error: 2 ** (-error / :data:`HALF_ERROR`)."""
    return torch.exp2(-error / HALF_ERROR)


def error_of(confidence: Float32[Tensor, "batch 1 h w"]) -> Float32[Tensor, "batch 1 h w"]:
    """Return the predicted error that a confidence stands for, reflectance; infinite for 0."""
    return -HALF_ERROR * torch.log2(confidence)


def level_of_error(actual: float, predicted: float, pixels: int) -> float:
    """Return the factor of the predicted errors of a scene, from covered ground.

    Ten cells of 32 x 32 px count for a factor of 1; neighbouring pixels share their error, so that a cell counts once.

    Args:
        actual: Sum of the actual errors of the covered pixels.
        predicted: Sum of their predicted errors.
        pixels: Number of covered pixels.
    """
    if not pixels or not math.isfinite(actual + predicted):
        return 1.0
    prior = PRIOR_CELLS * CELL_PX**2 * predicted / pixels
    return (actual + prior) / (predicted + prior)
