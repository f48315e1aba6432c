"""Baselines without training, for comparison with networks."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float32, Float64
from torch import Tensor

from unclouded.errors import InputError
from unclouded.models.adaptation.radar_features import REACH_PX, radar_features
from unclouded.models.adaptation.standard_atmosphere import surface_spectrum
from unclouded.models.identity import hash_of_json
from unclouded.models.remover import CloudRemover, keep_clear_pixels
from unclouded.sensors import RGB, SENTINEL1, SENTINEL2
from unclouded.settings import nearest
from unclouded.tensors.observation import Observation, finite_pixels

# Mean over all pixels of the 59 clear patches of SEN12MS-CR among the samples of tests/real/ (folder sen12mscr, sensor
# s2): spring 26 and 101; summer 31, 102 and 135; fall 85, 136 and 148; winter 84, 102 and 112. None of these 11 regions
# is a test region. The sample is small and not representative: much open water, some snow, thin cirrus in fall 85 and
# 136.
FIXED_SPECTRUM = dict(
    zip(
        SENTINEL2.bands,
        (0.1750, 0.1442, 0.1165, 0.0979, 0.1044, 0.1226, 0.1296, 0.1235, 0.1338, 0.0555, 0.0125, 0.0755, 0.0478),
        strict=True,
    )
)
"""TOA reflectance by band of a mean clear pixel, for images without clear pixels."""

MIN_CLEAR_SHARE = 0.01
"""Share of clear pixels below which ``sar-regression`` is the same as ``clear-mean``."""


@dataclass(frozen=True)
class Baseline:
    """A :class:`~unclouded.models.remover.CloudRemover` without weights.

    Attributes:
        name: One of :data:`BASELINES`.
        bands: Optical bands of the result.
    """

    name: str
    bands: tuple[str, ...]
    level: None = None

    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image as reflectance; NaN where the input has no data."""
        return BASELINES[self.name](observation.select(self.bands))

    def description(self) -> dict[str, str]:
        """Return the hash of the constants of all baselines; see :mod:`unclouded.models.identity`."""
        return {"constants": hash_of_json([FIXED_SPECTRUM, MIN_CLEAR_SHARE, RIDGE_PX, FLAT_DB])}

    @property
    def repeats_input(self) -> bool:
        """Whether the result is the cloudy image itself, which is NaN where a band is missing."""
        return self.name == "cloudy"

    @property
    def needs_radar(self) -> bool:
        """Whether the result depends on radar."""
        return self.name.startswith("sar-")

    @property
    def margin_px(self) -> int:
        """Largest distance at which a pixel affects the result: the reach of the radar features for a regression."""
        return REACH_PX if self.name == "sar-regression" else 0

    @property
    def align_px(self) -> int:
        """1: windows may start anywhere."""
        return 1

    def adapt(self, sample: Sequence[Observation]) -> CloudRemover:
        """Return the baseline with the mean clear pixel and, for ``sar-regression``, the regression of a scene."""
        seen = [one.select(self.bands) for one in sample]
        match self.name:
            case "clear-mean":
                return AdaptedRule(self.name, self.bands, _mean_spectrum(seen))
            case "sar-regression":
                return AdaptedRule(self.name, self.bands, _mean_spectrum(seen), _regression(seen))
            case _:
                return self


@dataclass(frozen=True, eq=False)
class Regression:
    """Ridge regression with an intercept that is not penalised; features are clipped to the range of the fit.

    Attributes:
        centre: Mean of each feature.
        scale: Standard deviation of each feature.
        low: Smallest value of each feature, standardised.
        high: Largest value of each feature, standardised.
        slopes: Change of reflectance per standard deviation of each feature.
        level: Mean reflectance of each band.
    """

    centre: Float64[Tensor, "feature 1"]
    scale: Float64[Tensor, "feature 1"]
    low: Float64[Tensor, "feature 1"]
    high: Float64[Tensor, "feature 1"]
    slopes: Float64[Tensor, "feature band"]
    level: Float64[Tensor, "band 1"]

    def __call__(self, features: Float32[Tensor, "feature h w"]) -> Float32[Tensor, "band h w"]:
        """Return reflectance in [0, 1]; NaN where a feature is NaN."""
        z = ((features.flatten(1).double() - self.centre) / self.scale).clamp(self.low, self.high)
        predicted = (self.slopes.T @ z + self.level).clamp(0.0, 1.0).float()
        return predicted.view(-1, *features.shape[1:])


@dataclass(frozen=True, eq=False)
class AdaptedRule:
    """``clear-mean`` or ``sar-regression``, adapted to a scene.

    Attributes:
        name: Name of the baseline.
        bands: Optical bands of the result.
        spectrum: Mean clear pixel of the scene, or :data:`FIXED_SPECTRUM` without clear pixels.
        regression: Regression of the scene; None for ``clear-mean``, or if too little of the scene is clear.
    """

    name: str
    bands: tuple[str, ...]
    spectrum: Float[Tensor, "1 band 1 1"]
    regression: Regression | None = None

    @property
    def needs_radar(self) -> bool:
        """Whether the result depends on radar."""
        return self.name.startswith("sar-")

    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image as TOA reflectance; NaN where the input has no data."""
        seen = observation.select(self.bands)
        if self.regression is None:
            return _composite(seen, self.spectrum.to(seen.cloudy.device).expand_as(seen.cloudy))
        return _composite(seen, torch.stack([self.regression(features) for features in radar_features(seen.sar)]))


def baseline(name: str, bands: tuple[str, ...] = RGB) -> Baseline:
    """Return a baseline by name.

    Raises:
        InputError: There is no such baseline or no such band.
    """
    if name not in BASELINES:
        raise InputError(f"unknown baseline {name[:80]!r}{nearest(name, list(BASELINES))}")
    return Baseline(name, SENTINEL2.named(bands))


def cloudy(observation: Observation) -> Float[Tensor, "batch band h w"]:
    """Return the cloudy image itself (row "S2 cloudy" of Table III of the paper)."""
    return observation.cloudy


def clear_mean(observation: Observation) -> Float[Tensor, "batch band h w"]:
    """Fill pixels with m > 0 with the mean spectrum of those with m = 0, or :data:`FIXED_SPECTRUM` without any."""
    return _composite(observation, _clear_spectrum(observation).expand_as(observation.cloudy))


def sar_vv(observation: Observation) -> Float[Tensor, "batch band h w"]:
    """Return VV as a grey image: -25 dB black, 0 dB white (row "S1 VV" of Table III of the paper)."""
    return _grey(observation, "VV")


def sar_vh(observation: Observation) -> Float[Tensor, "batch band h w"]:
    """Return VH as a grey image: -25 dB black, 0 dB white (row "S1 VH" of Table III of the paper)."""
    return _grey(observation, "VH")


def sar_regression(observation: Observation) -> Float[Tensor, "batch band h w"]:
    """Fill pixels with m > 0 with a ridge regression of reflectance on radar, fitted to the pixels with m = 0.

    Each image has its own regression, from :func:`~unclouded.models.adaptation.radar_features.radar_features` to its
    bands. Images with too few clear pixels (:data:`MIN_CLEAR_SHARE`) are filled as by :func:`clear_mean`. A cloudy
    pixel without radar data is NaN.
    """
    fallback = _clear_spectrum(observation).expand_as(observation.cloudy)
    features = radar_features(observation.sar)
    known = _has_clear_data(observation) & finite_pixels(features[:, :1])
    predicted = [
        fit_ridge(x[:, clear[0]], y[:, clear[0]])(x) if clear.double().mean() >= MIN_CLEAR_SHARE else otherwise
        for x, y, clear, otherwise in zip(features, observation.cloudy, known, fallback, strict=True)
    ]
    return _composite(observation, torch.stack(predicted))


BASELINES: dict[str, Callable[[Observation], Tensor]] = {
    "cloudy": cloudy,
    "clear-mean": clear_mean,
    "sar-vv": sar_vv,
    "sar-vh": sar_vh,
    "sar-regression": sar_regression,
}
"""Baselines by name."""


def _has_clear_data(observation: Observation) -> Bool[Tensor, "batch 1 h w"]:
    return (observation.cloud_map == 0) & finite_pixels(observation.cloudy)


def _clear_spectrum(observation: Observation) -> Float[Tensor, "batch band 1 1"]:
    return _spectrum(*_clear_total(observation), observation).to(observation.cloudy.dtype)


def _mean_spectrum(sample: Sequence[Observation]) -> Float[Tensor, "1 band 1 1"]:
    total, count = (torch.stack(each).sum(dim=0) for each in zip(*map(_clear_total, sample), strict=True))
    return _spectrum(total, count, sample[0]).to(sample[0].cloudy.dtype)


def _clear_total(observation: Observation) -> tuple[Tensor, Tensor]:
    """Return the sum of the clear pixels of each image and band, and their number."""
    clear = _has_clear_data(observation)
    total = torch.where(clear, observation.cloudy, 0.0).sum(dim=(2, 3), keepdim=True, dtype=torch.float64)
    return total, clear.sum(dim=(2, 3), keepdim=True)


def _spectrum(total: Tensor, count: Tensor, seen: Observation) -> Tensor:
    spectrum = surface_spectrum(FIXED_SPECTRUM) if seen.level == "L2A" else FIXED_SPECTRUM
    fixed = total.new_tensor([spectrum[band] for band in seen.bands]).view(1, -1, 1, 1)
    return torch.where(count > 0, total / count, fixed)


def _composite(
    observation: Observation, prediction: Float[Tensor, "batch band h w"]
) -> Float[Tensor, "batch band h w"]:
    """Return the prediction with the observed clear pixels, and NaN where the cloudy image is NaN."""
    return keep_clear_pixels(torch.where(observation.cloudy.isnan(), math.nan, prediction), observation)


def _grey(observation: Observation, polarisation: str) -> Float[Tensor, "batch band h w"]:
    low, high = SENTINEL1.clip
    backscatter = observation.sar[:, SENTINEL1.indices(polarisation)].clamp(low, high)
    return ((backscatter - low) / (high - low)).expand(-1, len(observation.bands), -1, -1)


def _regression(sample: Sequence[Observation]) -> Regression | None:
    """Return the regression of all clear pixels of a sample; None if there are too few."""
    features = [radar_features(one.sar) for one in sample]
    known = [
        (_has_clear_data(one) & finite_pixels(each[:, :1]))[0, 0] for one, each in zip(sample, features, strict=True)
    ]
    if torch.cat([where.flatten() for where in known]).double().mean() < MIN_CLEAR_SHARE:
        return None
    x = torch.cat([each[0, :, where] for each, where in zip(features, known, strict=True)], dim=1)
    y = torch.cat([one.cloudy[0, :, where] for one, where in zip(sample, known, strict=True)], dim=1)
    return fit_ridge(x, y)


# Ridge regression of reflectance on radar features.


RIDGE_PX = 3000.0
"""Strength of the ridge penalty of ``sar-regression``, as a number of pixels with zero slope.

Chosen once, for the highest PSNR on eight clear patches with radar (four of Sen1Floods11 in Spain; winter 112 and
spring 101 of SEN12MS-CR) under the cloud maps of six other patches. The optimum is flat: from 1,000 to 10,000 the PSNR
changes by less than 0.05 dB.
"""

FLAT_DB = 0.1
"""Smallest standard deviation that a feature is divided by; dividing by less would amplify rounding errors."""


def fit_ridge(features: Float32[Tensor, "feature pixel"], reflectance: Float32[Tensor, "band pixel"]) -> Regression:
    """Fit a regression of reflectance on features over pixels, in float64.

    Args:
        features: Radar features of each pixel, dB; no NaN.
        reflectance: TOA reflectance of the same pixels.
    """
    x, y = features.double(), reflectance.double()
    centre, scale = x.mean(dim=1, keepdim=True), x.std(dim=1, keepdim=True, correction=0).clamp(min=FLAT_DB)
    level = y.mean(dim=1, keepdim=True)
    z = (x - centre) / scale
    penalty = RIDGE_PX * torch.eye(len(z), dtype=z.dtype, device=z.device)
    slopes = torch.linalg.solve(z @ z.T + penalty, z @ (y - level).T)
    return Regression(centre, scale, z.amin(dim=1, keepdim=True), z.amax(dim=1, keepdim=True), slopes, level)
