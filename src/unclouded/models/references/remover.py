"""``reference-adapted``: a remover that uses other dates of the place, fitted in closed form to each scene.

What other dates show is brought to today's radiometry by :mod:`~unclouded.models.references.regression`, the residual
of clear ground is carried under the clouds, and the answer is blended with one without references by measured errors.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float32, Float64, Int16, Int64
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from unclouded.models.adaptation.gaussian import local_mean, reach_px
from unclouded.models.adaptation.scene_adapted import DARKEST
from unclouded.models.references.regression import (
    FOLDS,
    NO_REFERENCE,
    DateError,
    PixelSample,
    ReferenceRegression,
    ReferenceRegressionSettings,
    cauchy_weights,
    fit_references,
)
from unclouded.models.references.residuals import LocalGains, carried, carried_reach_px
from unclouded.models.remover import ConfidentRemover, SceneRemover, adapt_per_image, keep_clear_pixels
from unclouded.sensors import RGB, SENTINEL1
from unclouded.settings import Settings
from unclouded.tensors.observation import Observation, Reference

NAME = "reference-adapted"

RADAR_SCALES_PX = (2.0, 4.0)
"""Standard deviations of the Gaussian means of radar that are features."""

CHANGE_SCALE_PX = 2.0
"""Standard deviation of the Gaussian mean of the radar change: about 25 pixels, so that speckle averages out."""


CALIBRATION = 1.2
"""Factor from held-out errors to expected ones: held-out blocks lie nearer to clear ground than clouds' middles do.

``proofs/references.py`` prints the ratio of expected to true errors; by place it was 1.1 to 1.3 before.
"""

FEW_LANDMARKS = 64
"""Landmarks of the smooth term in scenes that are larger than the distance of nodes."""


class ReferenceSettings(Settings):
    """Settings of the remover; ``proofs/references.py`` measures them.

    Attributes:
        regression: Settings of the regression on references.
        erosion_px: Clear pixels this near to cloud, today or in a reference, are not used; 0 because cloud maps reach
            beyond the clouds already, and outliers weigh little.
        sample_px: Clear pixels of a scene that the regression is fitted to, at most.
        levels: Levels of the pyramid by which residuals are carried under clouds, of 1, 2, 4 ... px; 0 for none.
        carried_noise: Weight, as a share of clear ground, at which a carried residual shrinks to half.
        node_px: Distance of the places between which gain and offset of a band may change.
        tie_share: Share of a place's clear pixels that votes for the regression of the whole scene.
        blend_power: Power of the inverse errors by which the answers with and without references are weighted.
        change_db: Least change of radar for ground to count as changed since a reference, dB.
        change_sigmas: Least change in robust standard deviations of the scene's change.
    """

    regression: ReferenceRegressionSettings = ReferenceRegressionSettings()
    erosion_px: int = Field(0, ge=0, le=32)
    sample_px: int = Field(20_000, ge=100, le=1_000_000)
    levels: int = Field(4, ge=0, le=6)
    carried_noise: float = Field(0.02, ge=0.0, le=10.0)
    node_px: int = Field(2048, ge=64)
    tie_share: float = Field(0.1, gt=0.0, le=1e6)
    blend_power: float = Field(4.0, ge=0.0, le=16.0)
    change_db: float = Field(3.0, ge=0.0, le=60.0)
    change_sigmas: float = Field(5.0, ge=0.0, le=100.0)


DEFAULT = ReferenceSettings()

OBSERVED, FALLBACK = -1, NO_REFERENCE
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
    uses_references: bool = True
    needs_radar: bool = False
    level: None = None

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
        ends = [o + n for one in seen for o, n in zip(one.origin_px, one.cloudy.shape[-2:], strict=True)]
        chosen = self.settings.regression
        if max(ends) > self.settings.node_px:  # the smooth term is most of the work, and matters least in large scenes
            chosen = chosen.model_copy(update={"landmarks": min(chosen.landmarks, FEW_LANDMARKS)})
        regression = fit_references(pixels, chosen)
        fallback = self.fallback.adapt(sample) if self.fallback else None
        assert fallback is None or isinstance(fallback, ConfidentRemover)
        gains = _local_gains(regression, pixels, self.settings) if regression else None
        return AdaptedToReferences(self.bands, self.settings, tuple(changes), regression, gains, fallback)

    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image; each image of a batch is a scene of its own."""
        return self.with_confidence(observation)[0]

    def with_confidence(
        self, observation: Observation
    ) -> tuple[Float[Tensor, "batch band h w"], Float[Tensor, "batch 1 h w"]]:
        """Return the clear image and the confidence in it; each image of a batch is a scene of its own."""
        return adapt_per_image(self, observation)


def _local_gains(
    regression: ReferenceRegression, pixels: PixelSample, settings: ReferenceSettings
) -> LocalGains | None:
    seen = pixels.at(pixels.is_clear)
    predicted = regression(seen.groups, seen.radar, seen.present).values
    residual = seen.values - predicted
    trust = cauchy_weights(residual, settings.regression.outlier)
    return LocalGains.fit(predicted, residual, trust, seen.position, settings.node_px, settings.tie_share)


@dataclass(frozen=True, eq=False)
class AdaptedToReferences:
    """:class:`ReferenceRemover` fitted to a scene: a :class:`~unclouded.models.remover.ConfidentRemover`.

    Attributes:
        bands: Optical bands it returns.
        settings: Settings.
        changes: Usual change of radar since each reference; None without radar of both dates.
        regression: Regression on references and radar; None if too little ground is clear today.
        gains: Departures of places from it; None in a small scene.
        fallback: Adapted remover where no reference helps.
    """

    bands: tuple[str, ...]
    settings: ReferenceSettings
    changes: tuple["UsualChange | None", ...]
    regression: ReferenceRegression | None
    gains: LocalGains | None
    fallback: ConfidentRemover | None
    name: str = NAME
    needs_radar: bool = False

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
        images = seen.images()
        others = [None] * len(images) if self.fallback is None else self._fallback(observation)
        answers = [self._of_image(one, other) for one, other in zip(images, others, strict=True)]
        answer = ReferencePrediction(
            torch.cat([one.clear for one in answers]),
            torch.cat([one.error for one in answers]),
            torch.cat([one.confidence for one in answers]),
            torch.cat([one.source for one in answers]),
        )
        image = torch.where(seen.cloudy.isnan(), math.nan, answer.clear.clamp(DARKEST, 1.0)).to(seen.cloudy.dtype)
        image = keep_clear_pixels(image, seen)
        lost = image.isnan().any(dim=1, keepdim=True)
        return ReferencePrediction(
            image,
            torch.where(lost, math.nan, torch.where(clear, 0.0, answer.error)),
            torch.where(lost, math.nan, torch.where(clear, 1.0, answer.confidence)),
            torch.where(clear, OBSERVED, answer.source).to(torch.int16),
        )

    def _fallback(self, observation: Observation) -> "list[tuple[Tensor, Tensor] | None]":
        assert self.fallback is not None
        image, confidence = self.fallback.with_confidence(observation)
        return [(image[i].float(), confidence[i].float()) for i in range(len(image))]

    def _of_image(self, seen: Observation, other: tuple[Tensor, Tensor] | None) -> ReferencePrediction:
        """Predict one image.

        Args:
            seen: The image.
            other: Prediction and confidence of the fallback.
        """
        groups, radar, present = reference_features(seen, self.changes, self.settings)
        if self.regression is None:
            return _else(interpolated(seen, groups, present), other)
        size = seen.cloudy.shape[-2:]
        near = near_clouds(seen.is_cloudy, carried_reach_px(self.settings.levels))
        at = near.flatten().nonzero().flatten()
        found = self.regression(groups, radar, present, at)
        without = max(self.regression.error_without.mean().item(), 1e-6)
        ratio = CALIBRATION * found.error / without
        weight = torch.where(found.source == FALLBACK, 0.0, 1 / (1 + ratio**self.settings.blend_power))
        values = found.values
        if other is None and self.regression.without is not None:
            plain = self.regression.without(groups, radar, present, at).values
            values = plain + weight * (values - plain)
        image, error = values.view(-1, *size), found.error.view(1, *size)
        if self.gains is not None:
            image += self.gains(image, seen.origin_px)
        if self.settings.levels:
            residual = torch.where(
                _usable_today(seen, self.settings.erosion_px), seen.cloudy[0].float() - image, math.nan
            )
            image += carried(
                residual,
                seen.origin_px,
                error,
                self.settings.levels,
                self.settings.carried_noise,
                self.settings.regression.outlier,
            )
        confidence = 1 - (error / without).clamp(0.0, 1.0).square()
        source = found.source.view(1, *size)
        if other is not None:
            weight = weight.view(1, *size)
            blended = torch.where(weight > 0, other[0] + weight * (image - other[0]), other[0])
            image = torch.where(other[0].isfinite().all(dim=0, keepdim=True), blended, image)
            confidence = 1 - (1 - confidence) * (1 - other[1].nan_to_num(0.0))
        return ReferencePrediction(image[None], CALIBRATION * error[None], confidence[None], source[None])


def _else(own: ReferencePrediction, other: tuple[Tensor, Tensor] | None) -> ReferencePrediction:
    """Return a prediction, and the fallback's where it has none."""
    if other is None:
        return own
    known = own.clear.isfinite().all(dim=1, keepdim=True)
    return ReferencePrediction(
        torch.where(known, own.clear, other[0]),
        own.error,
        torch.where(known, own.confidence, other[1]),
        own.source,
    )


def near_clouds(is_cloudy: Bool[Tensor, "1 1 h w"], reach_px: int) -> Bool[Tensor, "h w"]:
    """Return the pixels within reach of a cloud, and some more, in whole cells."""
    cell, size = 16, is_cloudy.shape[-2:]
    cells = F.max_pool2d(is_cloudy.float(), cell, ceil_mode=True)
    around = -(-reach_px // cell)
    near = F.max_pool2d(cells, 2 * around + 1, 1, around).repeat_interleave(cell, -2).repeat_interleave(cell, -1)
    return near[0, 0, : size[0], : size[1]] > 0


def interpolated(
    seen: Observation, groups: Sequence[Float32[Tensor, "band pixel"]], present: Bool[Tensor, "group pixel"]
) -> ReferencePrediction:
    """Return the references as they are, linearly interpolated in time, when today shows no ground to fit to.

    Between the nearest date before and the nearest after that show a pixel, or the nearest on one side. The expected
    error is the mean absolute deviation of the two from their weighted mean; NaN, unknown, where one date shows it.

    Args:
        seen: One image.
        groups: Bands of its references.
        present: Which references each pixel has.
    """
    pixels, bands = seen.cloud_map.numel(), len(seen.bands)
    image = torch.full((2, bands, pixels), math.nan)
    days, source = torch.full((2, pixels), math.inf), torch.full((2, pixels), FALLBACK)
    for position, (reference, group) in enumerate(zip(seen.references, groups, strict=True)):
        gap = _days_after(seen, reference)
        side, apart = int(gap > 0), max(abs(gap), 1.0)
        nearer = present[position] & (days[side] > apart)
        image[side] = torch.where(nearer, group, image[side])
        days[side] = torch.where(nearer, apart, days[side])
        source[side] = torch.where(nearer, position, source[side])
    weight = (1 / days) / (1 / days).sum(dim=0)
    mean = (image.nan_to_num(0.0) * weight[:, None].nan_to_num(0.0)).sum(dim=0)
    deviation = ((image - mean).abs().mean(dim=1) * weight).sum(dim=0)  # NaN unless both sides show it
    known = weight.isfinite().all(dim=0)
    chosen = torch.where(weight[0] >= weight[1], source[0], source[1])
    size = seen.cloudy.shape[-2:]
    return ReferencePrediction(
        torch.where(known, mean, math.nan).view(1, bands, *size),
        deviation.view(1, 1, *size),
        torch.where(known, 0.0, math.nan).view(1, 1, *size),
        torch.where(known, chosen, FALLBACK).view(1, 1, *size).to(torch.int16),
    )


UNKNOWN_DAYS = 30.0
"""Days between dates that are not both known."""


def _days_after(seen: Observation, reference: Reference) -> float:
    if seen.date is None or reference.date is None:
        return UNKNOWN_DAYS
    return float((reference.date - seen.date).days)


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
    seen: Observation, reference: Reference, usual: UsualChange, settings: ReferenceSettings
) -> Bool[Tensor, "1 1 h w"]:
    """Return where radar shows that the ground changed since a reference.

    The smoothed change of VV or VH differs from the scene's median by :attr:`ReferenceSettings.change_db` and by
    :attr:`ReferenceSettings.change_sigmas` robust standard deviations.

    Args:
        seen: One image.
        reference: One of its references.
        usual: Usual change of the scene.
        settings: Thresholds.
    """
    change = _radar_change(seen, reference)
    if change is None:
        return torch.zeros_like(seen.is_cloudy)
    limit = (settings.change_sigmas * usual.spread).clamp(min=settings.change_db)
    return ((change - usual.middle).abs() > limit).any(dim=1, keepdim=True)


def reference_features(
    seen: Observation, changes: Sequence[UsualChange | None], settings: ReferenceSettings
) -> tuple[list[Float32[Tensor, "band pixel"]], Float32[Tensor, "feature pixel"], Bool[Tensor, "group pixel"]]:
    """Return the bands of each reference, the radar features, and which of them each pixel of an image has.

    A reference lacks clouds, what lies near them, pixels without data, and ground that changed since.
    """
    there = []
    for reference, usual in zip(seen.references, changes, strict=True):
        gap = ~_has_data(reference.cloudy) | _grown(reference.cloud_map > 0, settings.erosion_px)
        if usual is not None:
            gap = gap | changed_ground(seen, reference, usual, settings)
        there.append(~gap.flatten())
    radar = _radar_means(seen.sar)[0].flatten(1)
    groups = [reference.cloudy[0].float().flatten(1) for reference in seen.references]
    return groups, radar, torch.stack([*there, radar[0].isfinite()])


def _radar_means(sar: Float[Tensor, "batch 2 h w"]) -> Float32[Tensor, "batch feature h w"]:
    valid = sar.isfinite().all(dim=1, keepdim=True)
    backscatter = torch.where(valid, sar.float().clamp(*SENTINEL1.clip), 0.0)
    means = torch.cat([local_mean(backscatter, valid, sigma) for sigma in RADAR_SCALES_PX], dim=1)
    return torch.where(valid, means, math.nan)


def _grown(mask: Bool[Tensor, "batch 1 h w"], radius_px: int) -> Bool[Tensor, "batch 1 h w"]:
    side = 2 * radius_px + 1
    rows = F.max_pool2d(mask.float(), (side, 1), stride=1, padding=(radius_px, 0))
    return F.max_pool2d(rows, (1, side), stride=1, padding=(0, radius_px)) > 0


def _usable_today(seen: Observation, erosion_px: int) -> Bool[Tensor, "h w"]:
    return (_has_data(seen.cloudy) & ~_grown(seen.is_cloudy, erosion_px))[0, 0]


def _has_data(image: Float[Tensor, "batch band h w"]) -> Bool[Tensor, "batch 1 h w"]:
    """Pixels whose bands are all finite; their sum is tested, which is quicker."""
    return image.sum(dim=1, keepdim=True).isfinite()


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
    known = [_has_data(one.cloudy)[0, 0] for one in sample]
    clear = sum(int(where.sum()) for where in usable)
    hidden = sum(int(where.sum()) for where in known) - clear
    steps = max(1, math.ceil(clear / settings.sample_px)), max(1, math.ceil(2 * hidden / settings.sample_px))
    parts = [_columns(*each, changes, settings, steps) for each in zip(sample, usable, known, strict=True)]
    joined = [torch.cat(arrays, dim=-1) for arrays in zip(*parts, strict=True)]
    return PixelSample(tuple(joined[3:]), joined[1], joined[0], joined[2][0].long(), joined[2][1:].long())


def _columns(
    seen: Observation,
    usable: Bool[Tensor, "h w"],
    known: Bool[Tensor, "h w"],
    changes: Sequence[UsualChange | None],
    settings: ReferenceSettings,
    steps: tuple[int, int],
) -> list[Float64[Tensor, "_ pixel"]]:
    """Values, radar, folds and positions, and references of some pixels of a window."""
    groups, radar, present = reference_features(seen, changes, settings)
    clear, other = usable.flatten(), (known & ~usable).flatten()
    at = torch.cat([where.nonzero().flatten()[::step] for where, step in zip((clear, other), steps, strict=True)])
    values = torch.where(clear, seen.cloudy[0].flatten(1).double(), math.nan)
    rows, columns = (torch.arange(n) + first for n, first in zip(known.shape, seen.origin_px, strict=True))
    places = [blocks(seen.origin_px, known.shape), rows[:, None].expand(known.shape), columns.expand(known.shape)]
    known_groups = [
        torch.where(there, group[:, at], math.nan)
        for there, group in zip(present[:, at], [*groups, radar], strict=True)
    ]
    columns_ = (values[:, at], known_groups.pop(), torch.stack(places).flatten(1)[:, at], *known_groups)
    return [part.double() for part in columns_]


def blocks(origin_px: tuple[int, int], size: Sequence[int]) -> Int64[Tensor, "h w"]:
    """Return the fold of each pixel: square blocks, neighbours in different folds."""
    side = max(min(size) // FOLDS, 4)
    row, column = ((torch.arange(n) + first) // side for n, first in zip(size, origin_px, strict=True))
    return (row[:, None] + 2 * column) % FOLDS
