"""Judge predictions patch by patch and sum them up: over all, cloudy and clear pixels, and by cloud coverage."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unclouded.errors import InputError
from unclouded.evaluation import metrics
from unclouded.tensors.triplet import Triplet

DEFINITION = "unclouded-scores-1"
"""Version of all that this module and :mod:`unclouded.evaluation.metrics` define; two versions do not compare."""

METRICS = ("mae", "rmse", "psnr", "ssim", "sam", "sam_global")
"""Reflectance, reflectance, dB, none, degrees, radians; each is defined in :mod:`unclouded.evaluation.metrics`."""

Area = Literal["all", "cloudy", "clear"]
AREAS: tuple[Area, ...] = ("all", "cloudy", "clear")
"""Every pixel, those with m > 0, and those with m = 0."""

ClearPixels = Literal["kept", "network"]
"""Where m = 0 the judged image is the observed one (``kept``), or what the remover says (``network``)."""


@dataclass(frozen=True)
class PatchScores:
    """What one prediction is worth.

    Attributes:
        name: Name of the patch.
        coverage: Mean of the cloud map m over the patch.
        pixels: Area to the number of pixels judged: those that have data in every band of both images.
        values: Area to metric to value; NaN in an area without pixels.
    """

    name: str
    coverage: float
    pixels: Mapping[Area, int]
    values: Mapping[Area, Mapping[str, float]]


@dataclass(frozen=True)
class Scores:
    """What a remover is worth on a data set.

    Attributes:
        bands: Optical bands that were judged.
        clear_pixels: What stands where m = 0.
        patches: Scores of each patch, in the order judged.
    """

    bands: tuple[str, ...]
    clear_pixels: ClearPixels
    patches: tuple[PatchScores, ...]

    def mean(self, area: Area) -> dict[str, float]:
        """Return the mean of each metric over the patches that have pixels in an area, and their number ``n``.

        An infinite PSNR (two equal images) makes an infinite mean. An SSIM that is undefined although the patch has
        pixels (all within 5 px of the border) is left out of its mean.
        """
        defined = [patch.values[area] for patch in self.patches if patch.pixels[area] > 0]
        means = {name: _mean_of_defined(values[name] for values in defined) for name in METRICS}
        return means | {"n": len(defined)}

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values, but for NaN and infinity, which ``write_json`` turns into null."""
        return {
            "definition": DEFINITION,
            "bands": list(self.bands),
            "clear_pixels": self.clear_pixels,
            "mean": self._means(),
            "coverage": [self._coverage_bin(tenth) for tenth in range(10)],
            "patches": {patch.name: _patch_json(patch) for patch in self.patches},
        }

    def _means(self) -> dict[str, Any]:
        return {area: self.mean(area) for area in AREAS}

    def _coverage_bin(self, tenth: int) -> dict[str, Any]:
        """Means over patches with a coverage from ``tenth`` tenths to below one more; the last bin has 1, too."""
        low, high = tenth / 10, (tenth + 1) / 10
        inside = tuple(p for p in self.patches if low <= p.coverage < high or p.coverage == high == 1.0)
        return {"from": low, "to": high, "n": len(inside)} | replace(self, patches=inside)._means()


def score_patches(judged: Iterable[tuple[Triplet, Tensor]], clear_pixels: ClearPixels) -> Scores:
    """Judge predictions against the clear images of their triplets, one after the other.

    Prediction and target are clipped to [0, 1] first, as in section III-B.1 of the paper; what is not finite is no
    data and enters no metric.

    Args:
        judged: A triplet (a batch of one) and the predicted TOA reflectance of its bands.
        clear_pixels: What the predictions show where m = 0; written with the scores, for it decides about them.

    Raises:
        InputError: There is nothing to judge.
    """
    patches: dict[str, PatchScores] = {}
    bands: tuple[str, ...] = ()
    for triplet, prediction in judged:
        if patches and triplet.observation.bands != bands:
            raise ValueError(f"{triplet.name} shows {triplet.observation.bands}, those before it {bands}")
        if triplet.name in patches:
            raise ValueError(f"two patches are called {triplet.name}")
        bands = triplet.observation.bands
        patches[triplet.name] = score_patch(triplet, prediction)
    if not patches:
        raise InputError("expected at least one patch to judge, found none; check the data set and the split")
    return Scores(bands, clear_pixels, tuple(patches.values()))


def score_patch(triplet: Triplet, prediction: Float[Tensor, "1 band h w"]) -> PatchScores:
    """Judge one prediction; see :func:`score_patches`."""
    if prediction.shape != triplet.clear.shape:
        raise ValueError(f"{triplet.name}: prediction {prediction.shape} and target {triplet.clear.shape} differ")
    x, y = _judged_values(prediction), _judged_values(triplet.clear)
    similarity = metrics.structural_similarity_map(x, y)
    has_data = (x + y).isfinite().all(dim=1, keepdim=True)
    cloud_map = triplet.observation.cloud_map
    where = {"all": has_data, "cloudy": has_data & (cloud_map > 0), "clear": has_data & (cloud_map == 0)}
    return PatchScores(
        triplet.name,
        cloud_map.double().mean().item(),
        {area: int(where[area].sum()) for area in AREAS},
        {area: _measure(x, y, similarity, where[area]) for area in AREAS},
    )


def _judged_values(image: Float[Tensor, "1 band h w"]) -> Float[Tensor, "1 band h w"]:
    return torch.where(image.isfinite(), image.clamp(0.0, 1.0), math.nan)


def _measure(
    x: Float[Tensor, "1 band h w"],
    y: Float[Tensor, "1 band h w"],
    similarity: Float[Tensor, "1 band inner_h inner_w"],
    where: Bool[Tensor, "1 1 h w"],
) -> dict[str, float]:
    measured = (
        metrics.mean_absolute_error(x, y, where),
        metrics.root_mean_square_error(x, y, where),
        metrics.peak_signal_to_noise_ratio_db(x, y, where),
        metrics.mean_similarity(similarity, where),
        metrics.spectral_angle_deg(x, y, where),
        metrics.spectral_angle_global_rad(x, y, where),
    )
    return {name: value.item() for name, value in zip(METRICS, measured, strict=True)}


def _mean_of_defined(values: Iterable[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan


def _patch_json(patch: PatchScores) -> dict[str, Any]:
    areas: dict[str, Any] = {area: {**patch.values[area], "pixels": patch.pixels[area]} for area in AREAS}
    return {"coverage": patch.coverage} | areas
