"""``scene-adapted``: a remover without training data, fitted in closed form to the clear pixels of the scene."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float32
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from unclouded.models import radar_features, scene_regression
from unclouded.models.gaussian import blur, local_mean, reach_px
from unclouded.models.predicted_error import confidence_of, predicted_error
from unclouded.models.prior_spectrum import PRIOR, Prior
from unclouded.models.remover import adapt_per_image, keep_clear_pixels
from unclouded.models.scene_regression import STRIP_PX, NodeGrid, SceneMoments, SceneRegression
from unclouded.sensors import RGB
from unclouded.settings import Settings
from unclouded.tensors.observation import Observation, Season

NAME = "scene-adapted"

DARKEST = 1e-4
"""Least reflectance that is predicted: the smallest number that a file has for a valid pixel."""


class SceneAdaptedSettings(Settings):
    """Settings of the fit to a scene, chosen by ``proofs/scene_adapted_settings.py``.

    Attributes:
        erosion_px: Distance to cloud within which clear pixels are left out of the fit.
        ridge_share: Weight of the ridge penalty on slopes, as a share of the scene.
        prior_weight: Factor of the weights of the prior spectra.
        node_px: Distance between the nodes of the local regressions; a scene that is no larger has one node.
        tie_share: Weight of the regression of the whole scene at a node, as a share of the node's surroundings.
        seam_px: Standard deviation of the Gaussian that extends the residual beside a cloud under it; 0 for none.
        detail: Whether detail of the ground is taken from the observed image where it is visible through thin haze.
    """

    erosion_px: int = Field(2, ge=0, le=32)
    ridge_share: float = Field(0.05, gt=0.0, le=100.0)
    prior_weight: float = Field(1.0, ge=0.0, le=1e6)
    node_px: int = Field(2048, ge=64)
    tie_share: float = Field(0.1, gt=0.0, le=1e6)
    seam_px: float = Field(4.0, ge=0.0, le=16.0)
    detail: bool = True


DEFAULT = SceneAdaptedSettings()


@dataclass(frozen=True)
class SceneAdapted:
    """A :class:`~unclouded.models.remover.SceneRemover`; called by itself it takes every image for a scene of its own.

    Attributes:
        bands: Optical bands it returns.
        settings: Settings of the fit.
        prior: Prior spectra.
    """

    bands: tuple[str, ...] = RGB
    settings: SceneAdaptedSettings = DEFAULT
    prior: Prior = PRIOR
    name: str = NAME
    align_px: int = 1
    needs_radar: bool = False

    @property
    def margin_px(self) -> int:
        """Largest distance at which a pixel affects the result: that of the features plus that of haze or seam."""
        of_predicted = max(REACH_OF_PREDICTED_PX, reach_px(self.settings.seam_px))
        return max(radar_features.REACH_PX + of_predicted, REACH_OF_OBSERVED_PX)

    def adapt(self, sample: Sequence[Observation]) -> "AdaptedToScene":
        """Fit to a sample of a scene; every image of the sample is read once."""
        ends = [o + n for seen in sample for o, n in zip(seen.origin_px, seen.cloudy.shape[-2:], strict=True)]
        grid = NodeGrid(None if max(ends) <= self.settings.node_px else self.settings.node_px)
        moments, without_radar, prior = SceneMoments(grid), SceneMoments(grid), self.prior.at(_season(sample))
        for seen in sample:
            _add_clear_pixels(seen.select(self.bands), moments, prior, self.settings.erosion_px)
            _add_without_radar(seen.select(self.bands), without_radar, prior, self.settings.erosion_px)
        shares = self.settings.prior_weight * prior.shares(self.bands)
        chosen = self.settings
        regression, level = (
            scene_regression.fit(each, len(self.bands), chosen.ridge_share, shares, chosen.tie_share)
            for each in (moments, without_radar)
        )
        return AdaptedToScene(self.bands, chosen, prior, regression, level)

    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image as TOA reflectance; NaN where there is no data to make it from."""
        return self.with_confidence(observation)[0]

    def with_confidence(
        self, observation: Observation
    ) -> tuple[Float[Tensor, "batch band h w"], Float[Tensor, "batch 1 h w"]]:
        """Return the clear image and its confidence; the remover is fitted to each image of a batch separately."""
        return adapt_per_image(self, observation)


@dataclass(frozen=True, eq=False)
class AdaptedToScene:
    """``scene-adapted`` fitted to a scene: a :class:`~unclouded.models.remover.ConfidentRemover`.

    Attributes:
        bands: Optical bands it returns.
        settings: Settings of the fit.
        prior: Prior spectra in the season of the scene.
        regression: Fitted regression.
        level: Regression without features for pixels without radar: the level of the scene and of its nodes.
        error_level: Factor of the predicted errors; see :mod:`unclouded.models.predicted_error`.
    """

    bands: tuple[str, ...]
    settings: SceneAdaptedSettings
    prior: Prior
    regression: SceneRegression
    level: SceneRegression
    name: str = NAME
    needs_radar: bool = False
    error_level: float = 1.0

    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image of windows of the scene."""
        return self.with_confidence(observation)[0]

    def with_confidence(
        self, observation: Observation
    ) -> tuple[Float[Tensor, "batch band h w"], Float[Tensor, "batch 1 h w"]]:
        """Return the clear image of windows of the scene, and its confidence.

        The confidence stands for the predicted error of a pixel, see :mod:`unclouded.models.predicted_error`; it is 1
        where m = 0.
        """
        shown = observation.select(self.bands)
        features = radar_features.radar_features(shown.sar)
        synthesised, extrapolation = self._synthesised(features, shown.origin_px)
        observed, clear = shown.cloudy.float(), ~shown.is_cloudy
        if (gap := synthesised.isnan().any(dim=1, keepdim=True)).any():
            synthesised = torch.where(gap, self._without_radar(shown), synthesised)
        valid = synthesised.isfinite().all(dim=1, keepdim=True) & observed.isfinite().all(dim=1, keepdim=True)
        answer = synthesised
        if self.settings.detail:
            answer = answer + detail_through_haze(observed, synthesised, valid, self.bands).detail
        if self.settings.seam_px > 0:
            near, error = _beside(observed - synthesised, valid & clear, self.settings.seam_px)
            answer = answer + near * error
        answer = torch.where(observed.isnan(), math.nan, answer.clamp(DARKEST, 1.0)).to(shown.cloudy.dtype)
        answer = keep_clear_pixels(answer, shown)
        confidence = confidence_of(self._predicted_error(shown, features, extrapolation, synthesised))
        confidence = torch.where(clear, 1.0, confidence)
        return answer, torch.where(answer.isnan().any(dim=1, keepdim=True), math.nan, confidence)

    def _predicted_error(
        self,
        shown: Observation,
        features: Float32[Tensor, "batch feature h w"],
        extrapolation: Float32[Tensor, "batch 1 h w"],
        synthesised: Float32[Tensor, "batch band h w"],
    ) -> Float32[Tensor, "batch 1 h w"]:
        prior = self.prior.spectrum(features, self.bands)
        prior = torch.where(prior.isnan(), self.prior.plain(self.bands), prior)
        departure = (synthesised - prior).abs().mean(dim=1, keepdim=True).float()
        visible = [self.bands.index(band) for band in VISIBLE if band in self.bands]
        excess = (shown.cloudy.float() - synthesised)[:, visible].mean(dim=1, keepdim=True) if visible else None
        land = self.prior.plain(self.bands).mean().item()
        clear = (~shown.is_cloudy).float()
        return self.error_level * predicted_error(features, extrapolation, departure, excess, clear, land)

    def _synthesised(
        self, features: Float32[Tensor, "batch feature h w"], origin_px: tuple[int, int]
    ) -> tuple[Float32[Tensor, "batch band h w"], Float32[Tensor, "batch 1 h w"]]:
        """Return prior plus fitted departure everywhere, and the distance of the radar from that of clear ground."""
        top, left = origin_px
        strips = [
            self._strip(features[..., row : row + STRIP_PX, :], (top + row, left))
            for row in range(0, features.shape[-2], STRIP_PX)
        ]  # in double precision a whole window is much
        synthesised, extrapolation = (torch.cat(parts, dim=-2) for parts in zip(*strips, strict=True))
        return synthesised, extrapolation

    def _without_radar(self, shown: Observation) -> Float32[Tensor, "1 band h w"]:
        """Return a prediction without radar: the prior of land and the level of the scene.

        The level of clear ground near a cloud was tried, too: beside small clouds it is that of haze and bright roofs,
        and the error on real triplets rose by a tenth.
        """
        none = torch.zeros(0, *shown.cloudy.shape[-2:], dtype=torch.float64)
        departure, _, _ = self.level.departure(none, shown.origin_px)
        return (self.prior.plain(self.bands) + departure).clamp(DARKEST, 1.0).float()[None]

    def _strip(
        self, features: Float32[Tensor, "batch feature h w"], origin_px: tuple[int, int]
    ) -> tuple[Float32[Tensor, "batch band h w"], Float32[Tensor, "batch 1 h w"]]:
        images, extrapolations = [], []
        for one, level in zip(features.double(), self.prior.spectrum(features, self.bands), strict=True):
            departure, extrapolation, _ = self.regression.departure(one, origin_px)
            images.append(level + departure)
            extrapolations.append(extrapolation)
        return torch.stack(images).clamp(DARKEST, 1.0).float(), torch.stack(extrapolations).float()


def _season(sample: Sequence[Observation]) -> Season | None:
    """Return the first known season of a sample; all its windows are of one scene."""
    return next((season for seen in sample for season in seen.each_season() if season is not None), None)


def _add_clear_pixels(seen: Observation, moments: SceneMoments, prior: Prior, erosion_px: int) -> None:
    features = radar_features.radar_features(seen.sar)
    departures = seen.cloudy.double() - prior.spectrum(features, seen.bands)
    has_data = (features.isfinite().all(dim=1) & seen.cloudy.isfinite().all(dim=1))[0]
    clear = has_data & ~_grown(seen.is_cloudy, erosion_px)[0, 0]
    moments.add(seen.origin_px, features[0].double(), departures[0], clear, has_data)


def _add_without_radar(seen: Observation, moments: SceneMoments, prior: Prior, erosion_px: int) -> None:
    """Add the departures of clear ground from the prior of land, whether there is radar or not."""
    has_data = seen.cloudy.isfinite().all(dim=1)[0]
    departures = seen.cloudy[0].double() - prior.plain(seen.bands)
    clear = has_data & ~_grown(seen.is_cloudy, erosion_px)[0, 0]
    moments.add(seen.origin_px, departures[:0], departures, clear, has_data)


def _grown(mask: Bool[Tensor, "batch 1 h w"], radius_px: int) -> Bool[Tensor, "batch 1 h w"]:
    return F.max_pool2d(mask.float(), 2 * radius_px + 1, stride=1, padding=radius_px) > 0


def _beside(
    error: Float32[Tensor, "batch band h w"], clear: Bool[Tensor, "batch 1 h w"], sigma_px: float
) -> tuple[Float32[Tensor, "batch 1 h w"], Float32[Tensor, "batch band h w"]]:
    """Return the proximity of clear ground, 1 at the edge of a cloud and 0 far under it, and its mean residual."""
    share = blur(clear.float(), sigma_px)
    mean = blur(torch.where(clear, error, 0.0), sigma_px) / share.clamp(min=torch.finfo(share.dtype).tiny)
    return (2 * share).clamp(max=1.0), mean


# Detail of the ground that shows through haze, where the haze is thin and the same all around.


WIDE_PX = 16.0
"""Standard deviation of the Gaussian that averages haze and ground."""

FINE_PX = 4.0
"""Detail finer than this is not haze."""

THIN = 0.1
"""Opacity up to which haze counts as thin; at twice this it hides too much."""

UNIFORM = 0.01
"""Standard deviation of reflectance, from 4 px to 16 px, up to which haze counts as uniform; at twice this it is none.

The edge of a cloud is not: its own shape would come through as detail of the ground.
"""

CLOUD_REFLECTANCE = 0.8
"""Of opaque cloud in the visible bands: the brightest of real maps have 0.76 in B04 (``clouds/physical.py``)."""

VISIBLE = ("B02", "B03", "B04")

REACH_OF_OBSERVED_PX = reach_px(WIDE_PX) + reach_px(FINE_PX)
"""Largest distance at which an observed pixel affects the haze detail."""

REACH_OF_PREDICTED_PX = reach_px(WIDE_PX)
"""Largest distance at which a predicted pixel affects the haze detail."""


@dataclass(frozen=True, eq=False)
class HazeDetail:
    """Detail of the ground that is visible in pixels of the cloud map.

    Attributes:
        detail: Reflectance to add to the prediction; replaces its own detail.
        weight: Degree to which the haze is thin and uniform, 0 to 1; already applied to the detail.
    """

    detail: Float32[Tensor, "batch band h w"]
    weight: Float32[Tensor, "batch 1 h w"]


def detail_through_haze(
    observed: Float32[Tensor, "batch band h w"],
    predicted: Float32[Tensor, "batch band h w"],
    valid: Bool[Tensor, "batch 1 h w"],
    bands: tuple[str, ...],
) -> HazeDetail:
    """Judge the haze by how much brighter than the prediction the visible bands are, in the mean of a wide window.

    Args:
        observed: TOA reflectance with clouds.
        predicted: TOA reflectance without, from elsewhere.
        valid: Pixels where both have data.
        bands: Their names; without any of :data:`VISIBLE` nothing shows through.
    """
    visible = [bands.index(band) for band in VISIBLE if band in bands]
    x, y = torch.where(valid, observed, 0.0), torch.where(valid, predicted, 0.0)
    if not visible:
        return HazeDetail(torch.zeros_like(x), torch.zeros_like(x[:, :1]))
    wide_x, wide_y = local_mean(x, valid, WIDE_PX), local_mean(y, valid, WIDE_PX)
    bright, dark = wide_x[:, visible].mean(dim=1, keepdim=True), wide_y[:, visible].mean(dim=1, keepdim=True)
    opacity = (bright - dark) / (CLOUD_REFLECTANCE - dark).clamp(min=0.1)
    weight = _falling(opacity.abs(), THIN) * _falling(_unevenness(x[:, visible], valid), UNIFORM)
    weight = torch.where(valid, weight, 0.0)
    through = (x - wide_x) / (1 - opacity.clamp(0.0, 0.5))
    return HazeDetail(weight * (through - (y - wide_y)), weight)


def _unevenness(visible: Float32[Tensor, "batch band h w"], valid: Bool[Tensor, "batch 1 h w"]) -> Tensor:
    coarse = torch.where(valid, local_mean(visible.mean(dim=1, keepdim=True), valid, FINE_PX), 0.0)
    mean, square = local_mean(coarse, valid, WIDE_PX), local_mean(coarse.square(), valid, WIDE_PX)
    return (square - mean.square()).clamp(min=0).sqrt()


def _falling(value: Float32[Tensor, "batch 1 h w"], limit: float) -> Float32[Tensor, "batch 1 h w"]:
    """1 up to the limit, 0 from twice the limit, straight between."""
    return (2 - value / limit).clamp(0.0, 1.0)
