"""Removers that learn nothing beforehand: what a network has to beat."""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from unclouded.errors import InputError
from unclouded.models.radar_features import radar_features
from unclouded.models.remover import keep_clear_pixels
from unclouded.sensors import RGB, SENTINEL1, SENTINEL2
from unclouded.tensors.triplet import Observation

# Mean over all pixels of the 59 clear patches of SEN12MS-CR among the samples of tests/real/ (folder sen12mscr, sensor
# s2): spring 26 and 101; summer 31, 102 and 135; fall 85, 136 and 148; winter 84, 102 and 112. None of these 11 regions
# is a test region. A handful, and not a fair draw: much open water, some snow, thin cirrus in fall 85 and 136.
FIXED_SPECTRUM = dict(
    zip(
        SENTINEL2.bands,
        (0.1750, 0.1442, 0.1165, 0.0979, 0.1044, 0.1226, 0.1296, 0.1235, 0.1338, 0.0555, 0.0125, 0.0755, 0.0478),
        strict=True,
    )
)
"""TOA reflectance by band of a mean clear pixel, for images without one of their own."""

RIDGE_PX = 3000.0
"""Strength of the ridge penalty of ``sar-regression``, as a number of pixels that vote for no slope at all.

Chosen once, for the highest PSNR on eight clear patches with radar (four of Sen1Floods11 in Spain; winter 112 and
spring 101 of SEN12MS-CR) under the cloud maps of six other patches. The optimum is flat: from 1,000 to 10,000 the PSNR
changes by less than 0.05 dB.
"""

FLAT_DB = 0.1
"""A feature that varies less than this says nothing; its rounding errors are not blown up to a signal."""

MIN_CLEAR_SHARE = 0.01
"""Share of clear pixels below which ``sar-regression`` answers as ``clear-mean`` does."""


@dataclass(frozen=True)
class Baseline:
    """A :class:`~unclouded.models.remover.CloudRemover` without weights.

    Attributes:
        name: One of :data:`BASELINES`.
        bands: Optical bands it returns.
    """

    name: str
    bands: tuple[str, ...]

    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image as TOA reflectance; NaN where there is no data to make it from."""
        return BASELINES[self.name](observation.select(self.bands))


def baseline(name: str, bands: tuple[str, ...] = RGB) -> Baseline:
    """Return a baseline by its name.

    Raises:
        InputError: There is no such baseline, or no such band.
    """
    if name not in BASELINES:
        near = difflib.get_close_matches(name, BASELINES, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(BASELINES)}"
        raise InputError(f"{name!r} is no baseline; {hint}")
    return Baseline(name, SENTINEL2.named(bands))


def cloudy(observation: Observation) -> Float[Tensor, "batch band h w"]:
    """Return the cloudy image itself (row "S2 cloudy" of Table III of the paper)."""
    return observation.cloudy


def clear_mean(observation: Observation) -> Float[Tensor, "batch band h w"]:
    """Give every pixel with m > 0 the mean spectrum of those with m = 0, or :data:`FIXED_SPECTRUM` if there is none."""
    return _mended(observation, _clear_spectrum(observation).expand_as(observation.cloudy))


def sar_vv(observation: Observation) -> Float[Tensor, "batch band h w"]:
    """Return VV as a grey image: -25 dB black, 0 dB white (row "S1 VV" of Table III of the paper)."""
    return _grey(observation, "VV")


def sar_vh(observation: Observation) -> Float[Tensor, "batch band h w"]:
    """Return VH as a grey image: -25 dB black, 0 dB white (row "S1 VH" of Table III of the paper)."""
    return _grey(observation, "VH")


def sar_regression(observation: Observation) -> Float[Tensor, "batch band h w"]:
    """Give every pixel with m > 0 what radar says by a ridge regression fitted to the pixels with m = 0.

    One regression for each image, from :func:`~unclouded.models.radar_features.radar_features` to its bands. Images
    with too few clear pixels (:data:`MIN_CLEAR_SHARE`) are mended as by :func:`clear_mean`; a cloudy pixel without
    radar is NaN.
    """
    fallback = _clear_spectrum(observation).expand_as(observation.cloudy)
    features = radar_features(observation.sar)
    known = _has_clear_data(observation) & features.isfinite().all(dim=1, keepdim=True)
    predicted = [
        _regressed(x, y, clear[0]) if clear.double().mean() >= MIN_CLEAR_SHARE else otherwise
        for x, y, clear, otherwise in zip(features, observation.cloudy, known, fallback, strict=True)
    ]
    return _mended(observation, torch.stack(predicted))


BASELINES: dict[str, Callable[[Observation], Tensor]] = {
    "cloudy": cloudy,
    "clear-mean": clear_mean,
    "sar-vv": sar_vv,
    "sar-vh": sar_vh,
    "sar-regression": sar_regression,
}
"""Every baseline by its name."""


def _has_clear_data(observation: Observation) -> Bool[Tensor, "batch 1 h w"]:
    return (observation.cloud_map == 0) & observation.cloudy.isfinite().all(dim=1, keepdim=True)


def _clear_spectrum(observation: Observation) -> Float[Tensor, "batch band 1 1"]:
    clear = _has_clear_data(observation)
    total = torch.where(clear, observation.cloudy, 0.0).sum(dim=(2, 3), keepdim=True, dtype=torch.float64)
    mean = total / clear.sum(dim=(2, 3), keepdim=True)
    fixed = mean.new_tensor([FIXED_SPECTRUM[band] for band in observation.bands]).view(1, -1, 1, 1)
    return torch.where(mean.isnan(), fixed, mean).to(observation.cloudy.dtype)


def _mended(observation: Observation, prediction: Float[Tensor, "batch band h w"]) -> Float[Tensor, "batch band h w"]:
    """Clear pixels as observed, and no data where the cloudy image has none."""
    return keep_clear_pixels(torch.where(observation.cloudy.isnan(), math.nan, prediction), observation)


def _grey(observation: Observation, polarisation: str) -> Float[Tensor, "batch band h w"]:
    low, high = SENTINEL1.clip
    backscatter = observation.sar[:, SENTINEL1.indices(polarisation)].clamp(low, high)
    return ((backscatter - low) / (high - low)).expand(-1, len(observation.bands), -1, -1)


def _regressed(
    features: Float32[Tensor, "feature h w"], optical: Float[Tensor, "band h w"], clear: Bool[Tensor, "h w"]
) -> Float[Tensor, "band h w"]:
    """Ridge regression with a free intercept; features stay within the range they had where it was fitted."""
    x, y = features[:, clear].double(), optical[:, clear].double()
    centre, scale = x.mean(dim=1, keepdim=True), x.std(dim=1, keepdim=True, correction=0).clamp(min=FLAT_DB)
    level = y.mean(dim=1, keepdim=True)
    x = (x - centre) / scale
    penalty = RIDGE_PX * torch.eye(len(x), dtype=x.dtype, device=x.device)
    slopes: Tensor = torch.linalg.solve(x @ x.T + penalty, x @ (y - level).T)
    z = (features.flatten(1).double() - centre) / scale
    z = z.clamp(x.amin(dim=1, keepdim=True), x.amax(dim=1, keepdim=True))
    return (slopes.T @ z + level).clamp(0.0, 1.0).view(optical.shape).to(optical.dtype)
