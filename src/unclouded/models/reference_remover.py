"""``reference-adapted``: a remover that uses other dates of the place, fitted in closed form to each scene.

What other dates show is brought to today's radiometry by :mod:`~unclouded.models.reference_regression`, the residual of
clear ground is carried under the clouds, and the answer is blended with one without references by measured errors.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float32, Float64, Int16, Int64
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from unclouded.models.radar_features import local_mean, reach_px
from unclouded.models.reference_regression import (
    FOLDS,
    DateError,
    PixelSample,
    ReferenceRegression,
    ReferenceRegressionSettings,
    fit_references,
    patterns,
)
from unclouded.models.remover import ConfidentRemover, SceneRemover, adapt_per_image, keep_clear_pixels
from unclouded.models.scene_adapted import DARKEST
from unclouded.sensors import RGB, SENTINEL1
from unclouded.settings import Settings
from unclouded.tensors.observation import Observation, Reference

NAME = "reference-adapted"

RADAR_SCALES_PX = (2.0, 8.0)
"""Standard deviations of the Gaussian means of radar that are features."""

CHANGE_SCALE_PX = 2.0
"""Standard deviation of the Gaussian mean of the radar change: about 25 pixels, so that speckle averages out."""


class ReferenceSettings(Settings):
    """Settings of the remover; ``proofs/references.py`` measures them.

    Attributes:
        regression: Settings of the regression on references.
        erosion_px: Clear pixels this near to cloud, today or in a reference, are not used.
        sample_px: Clear pixels of a scene that the regression is fitted to, at most.
        levels: Levels of the pyramid by which residuals are carried under clouds, of 1, 2, 4 ... px; 0 for none.
        carried_noise: Weight, as a share of clear ground, at which a carried residual shrinks to half.
        blend_power: Power of the inverse errors by which the answers with and without references are weighted.
        change_db: Least change of radar for ground to count as changed since a reference, dB.
        change_sigmas: Least change in robust standard deviations of the scene's change.
    """

    regression: ReferenceRegressionSettings = ReferenceRegressionSettings()
    erosion_px: int = Field(2, ge=0, le=32)
    sample_px: int = Field(20_000, ge=100, le=1_000_000)
    levels: int = Field(4, ge=0, le=6)
    carried_noise: float = Field(0.02, ge=0.0, le=10.0)
    blend_power: float = Field(4.0, ge=0.0, le=16.0)
    change_db: float = Field(3.0, ge=0.0, le=60.0)
    change_sigmas: float = Field(5.0, ge=0.0, le=100.0)


DEFAULT = ReferenceSettings()

OBSERVED, FALLBACK = -1, -2
"""Sources of pixels that rest on no reference: clear today; predicted without references."""


@dataclass(frozen=True, eq=False)
class ReferencePrediction:
    """A clear image and what it rests on.

    Attributes:
        clear: Reflectance; NaN where there is nothing to make it from.
        error: Expected mean absolute error over bands, reflectance; 0 where clear today.
        confidence: 0 a guess, 1 as good as observed; NaN without data.
        source: Position of the reference with the largest weight; :data:`OBSERVED` or :data:`FALLBACK` otherwise.
    """

    clear: Float[Tensor, "batch band h w"]
    error: Float32[Tensor, "batch 1 h w"]
    confidence: Float32[Tensor, "batch 1 h w"]
    source: Int16[Tensor, "batch 1 h w"]


@dataclass(frozen=True)
class ReferenceRemover:
    """A :class:`~unclouded.models.remover.SceneRemover` that uses ``Observation.references``.

    Attributes:
        bands: Optical bands it returns.
        settings: Settings.
        fallback: Remover where no reference helps; None for the regression without references.
    """

    bands: tuple[str, ...] = RGB
    settings: ReferenceSettings = DEFAULT
    fallback: SceneRemover | None = None
    name: str = NAME
    align_px: int = 1

    @property
    def margin_px(self) -> int:
        """How far away a pixel can change the adapted remover's answer."""
        features = max(reach_px(max(RADAR_SCALES_PX)), reach_px(CHANGE_SCALE_PX) + self.settings.erosion_px)
        own = features + carried_reach_px(self.settings.levels)
        return max(own, self.fallback.margin_px if self.fallback else 0)

    def adapt(self, sample: Sequence[Observation]) -> "AdaptedToReferences":
        """Fit to a sample of a scene whose windows have the same references in the same order."""
        seen = [one.select(self.bands) for one in sample]
        changes = [_usual_change(seen, k) for k in range(len(seen[0].references))]
        pixels = sample_pixels(seen, changes, self.settings)
        regression = fit_references(pixels, self.settings.regression)
        fallback = self.fallback.adapt(sample) if self.fallback else None
        assert fallback is None or isinstance(fallback, ConfidentRemover)
        return AdaptedToReferences(self.bands, self.settings, tuple(changes), regression, fallback)

    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image; each image of a batch is a scene of its own."""
        return self.with_confidence(observation)[0]

    def with_confidence(
        self, observation: Observation
    ) -> tuple[Float[Tensor, "batch band h w"], Float[Tensor, "batch 1 h w"]]:
        """Return the clear image and the confidence in it; each image of a batch is a scene of its own."""
        return adapt_per_image(self, observation)


@dataclass(frozen=True, eq=False)
class AdaptedToReferences:
    """:class:`ReferenceRemover` fitted to a scene: a :class:`~unclouded.models.remover.ConfidentRemover`.

    Attributes:
        bands: Optical bands it returns.
        settings: Settings.
        changes: Usual change of radar since each reference; None without radar of both dates.
        regression: Regression on references and radar; None if too little ground is clear today.
        fallback: Adapted remover where no reference helps.
    """

    bands: tuple[str, ...]
    settings: ReferenceSettings
    changes: tuple["UsualChange | None", ...]
    regression: ReferenceRegression | None
    fallback: ConfidentRemover | None
    name: str = NAME

    @property
    def dates(self) -> tuple[DateError, ...]:
        """Held-out error of each reference by itself; empty if too little ground is clear today."""
        return self.regression.dates if self.regression else ()

    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image of windows of the scene."""
        return self.predict(observation).clear

    def with_confidence(
        self, observation: Observation
    ) -> tuple[Float[Tensor, "batch band h w"], Float[Tensor, "batch 1 h w"]]:
        """Return the clear image of windows of the scene, and the confidence in it."""
        answer = self.predict(observation)
        return answer.clear, answer.confidence

    def predict(self, observation: Observation) -> ReferencePrediction:
        """Return the clear image of a window, its expected error, confidence and sources."""
        seen = observation.select(self.bands)
        clear = ~seen.is_cloudy
        answer = self._from_references(seen)
        if self.fallback is not None:
            answer = self._blended(answer, *self.fallback.with_confidence(observation))
        image = torch.where(seen.cloudy.isnan(), math.nan, answer.clear.clamp(DARKEST, 1.0)).to(seen.cloudy.dtype)
        image = keep_clear_pixels(image, seen)
        lost = image.isnan().any(dim=1, keepdim=True)
        return ReferencePrediction(
            image,
            torch.where(lost, math.nan, torch.where(clear, 0.0, answer.error)),
            torch.where(lost, math.nan, torch.where(clear, 1.0, answer.confidence)),
            torch.where(clear, OBSERVED, answer.source).to(torch.int16),
        )

    def _blended(
        self,
        own: ReferencePrediction,
        other: Float[Tensor, "batch band h w"],
        other_confidence: Float[Tensor, "batch 1 h w"],
    ) -> ReferencePrediction:
        """Weight two answers by powers of their expected errors; where one is missing, take the other."""
        if self.regression is None:  # nothing measured: references as they are, else the fallback
            weight = own.clear.isfinite().all(dim=1, keepdim=True).float()
            error = own.error
        else:
            without = self.regression.error_without.mean().item()
            relative = (own.error / without).clamp(max=1.0)
            weight = torch.where(own.source == FALLBACK, 0.0, 1 / (1 + relative**self.settings.blend_power))
            error = torch.where(weight > 0, own.error, without)
        weight = torch.where(other.isfinite().all(dim=1, keepdim=True), weight, 1.0)
        mixed = torch.where(weight == 1, own.clear, other)
        mixed = torch.where((weight > 0) & (weight < 1), other + weight * (own.clear - other), mixed)
        confidence = own.confidence.nan_to_num(0.0)
        confidence = 1 - (1 - confidence) * (1 - other_confidence.nan_to_num(0.0))
        return ReferencePrediction(mixed, error, confidence, own.source)

    def _from_references(self, seen: Observation) -> ReferencePrediction:
        images = [self._of_image(one) for one in seen.images()]
        return ReferencePrediction(
            torch.cat([one.clear for one in images]),
            torch.cat([one.error for one in images]),
            torch.cat([one.confidence for one in images]),
            torch.cat([one.source for one in images]),
        )

    def _of_image(self, seen: Observation) -> ReferencePrediction:
        """Predict one image."""
        groups, radar = reference_features(seen, self.changes, self.settings)
        if self.regression is None:
            return _as_they_are(seen, groups)
        size = seen.cloudy.shape[-2:]
        usable = _usable_today(seen, self.settings.erosion_px)
        near = F.max_pool2d(seen.is_cloudy.float(), 2 * self._carried_px + 1, 1, self._carried_px)[0, 0] > 0
        at = near.flatten()
        predicted, present = self.regression([one[:, at] for one in groups], radar[:, at])
        image = torch.full((len(self.bands), at.numel()), math.nan)
        image[:, at] = predicted
        image = image.view(-1, *size)
        error, source = (torch.zeros(1, at.numel(), dtype=kind) for kind in (torch.float32, torch.int16))
        error[0, at], source[0, at] = _by_pattern(self.regression, present)
        error, source = error.view(1, *size), source.view(1, *size)
        if self.settings.levels:
            residual = torch.where(usable & near, seen.cloudy[0] - image, math.nan)
            image = image + carried(residual, seen.origin_px, error, self.settings)
        without = self.regression.error_without.mean().item()
        confidence = 1 - (error / max(without, 1e-6)).clamp(0.0, 1.0).square()
        return ReferencePrediction(image[None], error[None], confidence[None], source[None])

    @property
    def _carried_px(self) -> int:
        return carried_reach_px(self.settings.levels)


def _by_pattern(
    regression: ReferenceRegression, present: Bool[Tensor, "group pixel"]
) -> tuple[Float32[Tensor, " pixel"], Int16[Tensor, " pixel"]]:
    """Expected error, and position of the reference with the largest weight, by which references are present."""
    pixels = present.shape[1]
    error = torch.full((pixels,), regression.error.mean().item())
    source = torch.full((pixels,), FALLBACK, dtype=torch.int16)
    references = len(regression.used)
    for pattern, where in patterns(present) if references else ():
        there = pattern[:references].nonzero().flatten().tolist()
        error[where] = float(regression.expected_error(pattern).mean())
        source[where] = regression.used[there[0]] if there else FALLBACK
    return error, source


def _as_they_are(seen: Observation, groups: list[Float32[Tensor, "band pixel"]]) -> ReferencePrediction:
    """Return the references interpolated in time, without any clear ground of today.

    Each pixel is the mean of the references that show it, weighted by the inverse square of the days between; the
    expected error is the weighted mean absolute deviation of references from it, or unknown with one.
    """
    size = seen.cloudy.shape[-2:]
    shape = (len(seen.bands), *size)
    if not groups:
        nothing, source = torch.full((1, 1, *size), math.nan), torch.full((1, 1, *size), FALLBACK, dtype=torch.int16)
        return ReferencePrediction(nothing.expand(1, *shape), nothing, nothing, source)
    values = torch.stack(groups)
    days = torch.tensor([_days_apart(seen, one) for one in seen.references]).float()
    weight = values.isfinite().all(dim=1).float() / (days[:, None] + 1).square()
    total = weight.sum(dim=0)
    mean = (values.nan_to_num(0.0) * weight[:, None]).sum(dim=0) / total
    spread = ((values - mean).abs().mean(dim=1).nan_to_num(0.0) * weight).sum(dim=0) / total
    source = torch.where(total > 0, weight.argmax(dim=0), FALLBACK).to(torch.int16)
    error = torch.where(weight.count_nonzero(dim=0) > 1, spread, math.nan)
    image, one = torch.where(total > 0, mean, math.nan).view(1, *shape), (1, 1, *size)
    return ReferencePrediction(image, error.view(one), torch.zeros(one), source.view(one))


def _days_apart(seen: Observation, reference: Reference) -> float:
    if seen.date is None or reference.date is None:
        return 30.0
    return abs((reference.date - seen.date).days)


# Features: references without their clouds and without ground that changed since, and means of radar.


@dataclass(frozen=True, eq=False)
class UsualChange:
    """Change of radar between a reference and today over a scene.

    Attributes:
        middle: Median change of VV and VH, dB.
        spread: Robust standard deviation.
    """

    middle: Float32[Tensor, "2 1 1"]
    spread: Float32[Tensor, "2 1 1"]


def _usual_change(sample: Sequence[Observation], reference: int) -> UsualChange | None:
    parts = [_radar_change(one, one.references[reference]) for one in sample]
    known = [part[0].flatten(1) for part in parts if part is not None]
    change = torch.cat(known, dim=1) if known else torch.zeros(2, 0)
    change = change[:, change.isfinite().all(dim=0)]
    if change.shape[1] < FEWEST_CHANGE_PX:
        return None
    middle = change.median(dim=1, keepdim=True).values
    spread = 1.4826 * (change - middle).abs().median(dim=1, keepdim=True).values
    return UsualChange(middle[..., None], spread[..., None])


FEWEST_CHANGE_PX = 400
"""Pixels with radar of both dates below which no change is judged."""


def _radar_change(seen: Observation, reference: Reference) -> Float32[Tensor, "1 2 h w"] | None:
    """Smoothed difference of radar, today minus the reference, dB; NaN without data, None without radar."""
    if reference.sar is None:
        return None
    low, high = SENTINEL1.clip
    difference = seen.sar.float().clamp(low, high) - reference.sar.float().clamp(low, high)
    valid = difference.isfinite().all(dim=1, keepdim=True)
    smooth = local_mean(torch.where(valid, difference, 0.0), valid, CHANGE_SCALE_PX)
    return torch.where(valid, smooth, math.nan)


def changed_ground(
    seen: Observation, reference: Reference, usual: UsualChange | None, settings: ReferenceSettings
) -> Bool[Tensor, "1 1 h w"]:
    """Return where radar shows that the ground changed since a reference.

    The smoothed change of VV or VH differs from the scene's median by :attr:`ReferenceSettings.change_db` and by
    :attr:`ReferenceSettings.change_sigmas` robust standard deviations. False without radar of both dates.

    Args:
        seen: One image.
        reference: One of its references.
        usual: Usual change of the scene.
        settings: Thresholds.
    """
    change = None if usual is None else _radar_change(seen, reference)
    if usual is None or change is None:
        return torch.zeros_like(seen.is_cloudy)
    limit = (settings.change_sigmas * usual.spread).clamp(min=settings.change_db)
    return ((change - usual.middle).abs() > limit).any(dim=1, keepdim=True)


def reference_features(
    seen: Observation, changes: Sequence[UsualChange | None], settings: ReferenceSettings
) -> tuple[list[Float32[Tensor, "band pixel"]], Float32[Tensor, "feature pixel"]]:
    """Return the bands of each reference, NaN in its gaps, and the radar features, of one image.

    A gap is a cloud, what lies near one, a pixel without data, and ground that changed since.
    """
    groups = []
    for reference, usual in zip(seen.references, changes, strict=True):
        gap = ~reference.cloudy.isfinite().all(dim=1, keepdim=True) | changed_ground(seen, reference, usual, settings)
        gap |= _grown(reference.cloud_map > 0, settings.erosion_px)
        groups.append(torch.where(gap, math.nan, reference.cloudy.float())[0].flatten(1))
    return groups, _radar_means(seen.sar)[0].flatten(1)


def _radar_means(sar: Float[Tensor, "batch 2 h w"]) -> Float32[Tensor, "batch feature h w"]:
    valid = sar.isfinite().all(dim=1, keepdim=True)
    backscatter = torch.where(valid, sar.float().clamp(*SENTINEL1.clip), 0.0)
    means = torch.cat([local_mean(backscatter, valid, sigma) for sigma in RADAR_SCALES_PX], dim=1)
    return torch.where(valid, means, math.nan)


def _grown(mask: Bool[Tensor, "batch 1 h w"], radius_px: int) -> Bool[Tensor, "batch 1 h w"]:
    return F.max_pool2d(mask.float(), 2 * radius_px + 1, stride=1, padding=radius_px) > 0


def _usable_today(seen: Observation, erosion_px: int) -> Bool[Tensor, "h w"]:
    known = seen.cloudy.isfinite().all(dim=1, keepdim=True)
    return (known & ~_grown(seen.is_cloudy, erosion_px))[0, 0]


def sample_pixels(
    sample: Sequence[Observation], changes: Sequence[UsualChange | None], settings: ReferenceSettings
) -> PixelSample:
    """Return evenly spaced pixels of a sample: clear ones to fit to, and half as many others, which help to fill gaps.

    Args:
        sample: Windows of a scene, each a batch of one.
        changes: Usual change of radar since each reference.
        settings: Settings of the remover.
    """
    usable = [_usable_today(one, settings.erosion_px) for one in sample]
    known = [one.cloudy.isfinite().all(dim=1)[0] for one in sample]
    clear = sum(int(where.sum()) for where in usable)
    hidden = sum(int(where.sum()) for where in known) - clear
    steps = max(1, math.ceil(clear / settings.sample_px)), max(1, math.ceil(2 * hidden / settings.sample_px))
    parts = [_columns(*each, changes, settings, steps) for each in zip(sample, usable, known, strict=True)]
    joined = [torch.cat(arrays, dim=-1) for arrays in zip(*parts, strict=True)]
    return PixelSample(tuple(joined[3:]), joined[1], joined[0], joined[2][0].long())


def _columns(
    seen: Observation,
    usable: Bool[Tensor, "h w"],
    known: Bool[Tensor, "h w"],
    changes: Sequence[UsualChange | None],
    settings: ReferenceSettings,
    steps: tuple[int, int],
) -> list[Float64[Tensor, "_ pixel"]]:
    """Values, radar, folds, and references of some pixels of a window."""
    groups, radar = reference_features(seen, changes, settings)
    clear, other = usable.flatten(), (known & ~usable).flatten()
    at = torch.cat([where.nonzero().flatten()[::step] for where, step in zip((clear, other), steps, strict=True)])
    values = torch.where(clear, seen.cloudy[0].flatten(1).double(), math.nan)
    fold = blocks(seen.origin_px, known.shape).double()
    return [part[:, at].double() for part in (values, radar, fold.view(1, -1), *groups)]


def blocks(origin_px: tuple[int, int], size: Sequence[int]) -> Int64[Tensor, "h w"]:
    """Return the fold of each pixel: square blocks, neighbours in different folds."""
    side = min(max(min(size) // FOLDS, 4), 32)
    row, column = ((torch.arange(n) + first) // side for n, first in zip(size, origin_px, strict=True))
    return (row[:, None] + 2 * column) % FOLDS


# Residuals of clear ground, carried under clouds from coarse to fine.


def carried_reach_px(levels: int) -> int:
    """Return how far away a residual can change what is carried to a pixel."""
    return sum(4 << level for level in range(levels))


def carried(
    residual: Float32[Tensor, "band h w"],
    origin_px: tuple[int, int],
    error: Float32[Tensor, "1 h w"],
    settings: ReferenceSettings,
) -> Float32[Tensor, "band h w"]:
    """Return the residual of clear ground, continued under clouds and fading out; 0 far from clear ground.

    A pyramid of cells of 8, 4, 2 and 1 px that are aligned to the scene: at each level the weighted mean of the
    residual around, shrunk where little of the surroundings is clear, then the same of what is left.

    Args:
        residual: Observed minus predicted on clear ground, NaN elsewhere.
        origin_px: Row and column of the upper left pixel in the scene.
        error: Expected error; residuals much larger are outliers and count less.
        settings: Settings of the remover.
    """
    known = residual.isfinite().all(dim=0, keepdim=True)
    left = torch.where(known, residual, 0.0)
    outlying = left.abs().mean(dim=0, keepdim=True) / (settings.regression.outlier * error.clamp(min=1e-4))
    weight = known.float() / (1 + outlying.square())
    total = torch.zeros_like(left)
    for level in reversed(range(settings.levels)):
        part = _carried_at(left, weight, origin_px, 1 << level, settings.carried_noise)
        total += part
        left = left - part
    return total


def _carried_at(
    residual: Float32[Tensor, "band h w"],
    weight: Float32[Tensor, "1 h w"],
    origin_px: tuple[int, int],
    cell_px: int,
    noise: float,
) -> Float32[Tensor, "band h w"]:
    height, width = residual.shape[1:]
    before = [first % cell_px for first in (origin_px[1], origin_px[0])]
    after = [-(first + length) % cell_px for first, length in zip(before, (width, height), strict=True)]
    padded = F.pad(torch.cat([residual * weight, weight]), (before[0], after[0], before[1], after[1]))
    cells = _binomial(F.avg_pool2d(padded[None], cell_px))[0]
    mean = cells[:-1] / (cells[-1:] + noise)
    if cell_px > 1:
        mean = F.interpolate(mean[None], scale_factor=cell_px, mode="bilinear")[0]
    return mean[:, before[1] : before[1] + height, before[0] : before[0] + width]


def _binomial(image: Float32[Tensor, "1 channel h w"]) -> Float32[Tensor, "1 channel h w"]:
    """Mean over 5 x 5 cells with binomial weights, a standard deviation of 1 cell; zeros outside."""
    for axis in (-2, -1):
        padded = F.pad(image, (2, 2) if axis == -1 else (0, 0, 2, 2))
        length = image.shape[axis]
        image = sum(padded.narrow(axis, i, length) * (weight / 16) for i, weight in enumerate((1, 4, 6, 4, 1)))  # type: ignore[assignment]
    return image
