"""``scene-adapted``: a remover without training data, fitted in closed form to the clear pixels of the scene."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from unclouded.jit import compiled
from unclouded.models.adaptation import radar_features, scene_regression
from unclouded.models.adaptation.gaussian import blur, in_parallel, in_rows, mean_where, reach_px
from unclouded.models.adaptation.haze import REACH_OF_OBSERVED_PX, REACH_OF_PREDICTED_PX, VISIBLE, find_haze
from unclouded.models.adaptation.predicted_error import confidence_of, predicted_error
from unclouded.models.adaptation.prior_spectrum import PRIOR, Prior
from unclouded.models.adaptation.scene_regression import NodeGrid, SceneMoments, SceneRegression
from unclouded.models.remover import adapt_per_image, keep_clear_pixels
from unclouded.sensors import RGB
from unclouded.settings import Settings
from unclouded.tensors.observation import Observation, Season, finite_pixels

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
    level: None = None

    @property
    def margin_px(self) -> int:
        """Largest distance at which a pixel affects the result: that of the features plus that of haze or seam."""
        of_predicted = max(REACH_OF_PREDICTED_PX, reach_px(self.settings.seam_px))
        return max(radar_features.REACH_PX + of_predicted, REACH_OF_OBSERVED_PX)

    def adapt(self, sample: Sequence[Observation]) -> "AdaptedToScene":
        """Fit to a sample of a scene."""
        ends = [o + n for seen in sample for o, n in zip(seen.origin_px, seen.cloudy.shape[-2:], strict=True)]
        grid = NodeGrid(None if max(ends) <= self.settings.node_px else self.settings.node_px)
        land, water, without_radar = (SceneMoments(grid) for _ in range(3))
        prior = self.prior.at(_season(sample), sample[0].level)
        for seen, clear in zip(sample, _ground_to_fit(sample, self.settings.erosion_px), strict=True):
            _add_clear_pixels(seen.select(self.bands), clear, land, water, prior)
            _add_without_radar(seen.select(self.bands), clear, without_radar, prior)
        shares = self.settings.prior_weight * prior.shares(self.bands)
        chosen = self.settings
        dry, wet, level = (
            scene_regression.fit(each, len(self.bands), chosen.ridge_share, shares, chosen.tie_share)
            for each in (land, water, without_radar)
        )
        return AdaptedToScene(self.bands, chosen, prior, dry, wet, level)

    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image as reflectance; NaN where there is no data to make it from."""
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
        land: Fitted regression of land.
        water: Regression without features of water: its level in the scene and at its nodes.
        level: Regression without features for pixels without radar: the level of the scene and of its nodes.
        error_level: Factor of the predicted errors; see :mod:`unclouded.models.adaptation.predicted_error`.
    """

    bands: tuple[str, ...]
    settings: SceneAdaptedSettings
    prior: Prior
    land: SceneRegression
    water: SceneRegression
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

        The confidence stands for the predicted error of a pixel, see
        :mod:`unclouded.models.adaptation.predicted_error`; it is 1 where m = 0.
        """
        clear, confidence = zip(*(self._predict(one) for one in observation.select(self.bands).images()), strict=True)
        return (clear[0], confidence[0]) if len(clear) == 1 else (torch.cat(clear), torch.cat(confidence))

    def _predict(self, shown: Observation) -> tuple[Float[Tensor, "1 band h w"], Float[Tensor, "1 1 h w"]]:
        features = radar_features.radar_features(shown.sar)
        observed, cloudy = shown.cloudy[0].float().contiguous().numpy(), shown.is_cloudy[0, 0].numpy()
        ground, extrapolation = self._synthesised(features, shown.origin_px, observed)
        predicted, valid = ground.predicted, ground.valid
        haze = find_haze(ground.bright, ground.dark, valid) if self.settings.detail and ground.visible.any() else None
        seam_px, beside = self.settings.seam_px, valid & ~cloudy
        near = blur(torch.from_numpy(beside).float()[None, None], seam_px)[0, 0].numpy() if seam_px > 0 else None
        near_cloudy = None if near is None else cloudy & (near > 0)
        answer = np.empty_like(observed)

        def fill(band: int) -> None:
            added = np.zeros_like(predicted[band])
            if haze is not None:
                added = haze.detail(observed[band], predicted[band], cloudy)
            if near is not None and near_cloudy is not None:
                error = np.where(beside, observed[band] - predicted[band], np.float32(0))
                _add_seam(mean_where(error, near, seam_px, near_cloudy), near, near_cloudy, added)
            _compose(observed[band], predicted[band], added, cloudy, answer[band])

        in_parallel(fill, range(len(observed)))
        clear = torch.from_numpy(answer)[None]
        if shown.cloudy.dtype != torch.float32:
            clear = keep_clear_pixels(clear.to(shown.cloudy.dtype), shown)
        confidence = confidence_of(self._error_of(shown, features, extrapolation, ground))
        confidence = torch.where(shown.is_cloudy, confidence, 1.0)
        return clear, torch.where(clear.isnan().any(dim=1, keepdim=True), math.nan, confidence)

    def predicted_error(self, observation: Observation) -> Float32[Tensor, "1 1 h w"]:
        """Return the predicted error of the pixels of one window as under cloud, reflectance; NaN without data."""
        shown = observation.select(self.bands)
        features = radar_features.radar_features(shown.sar)
        observed = shown.cloudy[0].float().contiguous().numpy()
        ground, extrapolation = self._synthesised(features, shown.origin_px, observed)
        error = self._error_of(shown, features, extrapolation, ground)
        return error.masked_fill(~torch.from_numpy(ground.valid), math.nan)

    def _error_of(
        self,
        shown: Observation,
        features: Float32[Tensor, "1 feature h w"],
        extrapolation: Float32[Tensor, "1 1 h w"],
        ground: "_Ground",
    ) -> Float32[Tensor, "1 1 h w"]:
        departure, excess = (
            torch.from_numpy(one)[None, None] for one in (ground.departure, ground.bright - ground.dark)
        )
        water, clear = self.prior.water_probability(features), (~shown.is_cloudy).float()
        land, wet = self.prior.spectra(self.bands).mean(dim=1).tolist()
        seen = excess if ground.visible.any() else None
        error = predicted_error(features, extrapolation, departure, seen, clear, water, (land, wet))
        return self.error_level * error

    def _synthesised(
        self,
        features: Float32[Tensor, "1 feature h w"],
        origin_px: tuple[int, int],
        observed: Float32[np.ndarray, "band h w"],
    ) -> tuple["_Ground", Float32[Tensor, "1 1 h w"]]:
        """Return prior plus fitted departure everywhere, and the distance of the radar from that of clear ground.

        Pixels without radar get the prior of land and the level of the scene. The level of clear ground near a cloud
        was tried, too: beside small clouds it is that of haze and bright roofs, and the error on real triplets rose by
        a tenth.
        """
        departure, extrapolation = self.land.departure(features[0], origin_px)
        wet, _ = self.water.departure(features[0, :0], origin_px)
        water = self.prior.water_probability(features)[0, 0]
        if (gap := departure[0].isnan()).any():  # features without data are missing in all bands
            departure = torch.where(gap, self.level.departure(features[0, :0], origin_px)[0], departure)
            water = torch.where(gap, 0.0, water)
        extrapolation = (1 - water) * extrapolation
        size = observed.shape[1:]
        visible = np.array([band in VISIBLE for band in self.bands])
        predicted, lakes, mixed = departure.numpy(), wet.numpy(), water.numpy()
        spectra = self.prior.spectra(self.bands).float().numpy()
        ground = _Ground(predicted, np.empty(size, bool), visible, *np.empty((3, *size), np.float32))
        arrays = ground.valid, ground.departure, ground.bright, ground.dark
        in_rows(
            lambda top, bottom: _synthesise(predicted, lakes, observed, mixed, spectra, visible, top, bottom, *arrays),
            size,
            8 * len(observed),
        )
        return ground, extrapolation[None]


@dataclass(frozen=True, eq=False)
class _Ground:
    """Ground of a window as radar and the scene predict it.

    Attributes:
        predicted: TOA reflectance.
        valid: Pixels where it and the observed image have data.
        visible: Whether a band is visible light.
        departure: Mean absolute difference from the prior over the bands.
        bright: Mean of the visible bands of the observed image; NaN without data, 0 without such bands.
        dark: The same of the predicted image.
    """

    predicted: Float32[np.ndarray, "band h w"]
    valid: Bool[np.ndarray, "h w"]
    visible: Bool[np.ndarray, " band"]
    departure: Float32[np.ndarray, "h w"]
    bright: Float32[np.ndarray, "h w"]
    dark: Float32[np.ndarray, "h w"]


@compiled
@no_type_check
def _synthesise(predicted, lakes, observed, water, spectra, visible, top, bottom, valid, departure, bright, dark):
    """Replace departures of land by the predicted reflectance in rows, and compare it with the observed one."""
    bands, least, most, width = len(predicted), np.float32(DARKEST), np.float32(1), predicted.shape[2]
    share_seen, share_band = np.float32(1 / max(visible.sum(), 1)), np.float32(1 / bands)
    for y in range(top, bottom):
        known, moved, light, ground, wet = valid[y], departure[y], bright[y], dark[y], water[y]
        known[:] = True
        moved[:] = light[:] = ground[:] = 0
        for band in range(bands):
            dry, change = spectra[0, band], spectra[1, band] - spectra[0, band]
            image, lake, seen = predicted[band, y], lakes[band, y], observed[band, y]
            for x in range(width):
                prior = dry + wet[x] * change
                value = prior + image[x] + wet[x] * (lake[x] - image[x])
                value = least if value < least else most if value > most else value  # NaN remains
                image[x] = value
                moved[x] = moved[x] + share_band * abs(value - prior)
                known[x] = known[x] & np.isfinite(value) & np.isfinite(seen[x])
            if visible[band]:
                for x in range(width):
                    light[x] = light[x] + share_seen * seen[x]
                    ground[x] = ground[x] + share_seen * image[x]


@compiled
@no_type_check
def _add_seam(error, near, where, out):
    """Add the mean residual of clear ground, fully at the edge of a cloud and less with distance."""
    one, two = np.float32(1), np.float32(2)
    for y in range(where.shape[0]):
        for x in range(where.shape[1]):
            if where[y, x]:
                out[y, x] += min(two * near[y, x], one) * error[y, x]


@compiled
@no_type_check
def _compose(observed, predicted, added, cloudy, out):
    least, most = np.float32(DARKEST), np.float32(1)
    for y in range(cloudy.shape[0]):
        for x in range(cloudy.shape[1]):
            value = predicted[y, x] + added[y, x]
            value = least if value < least else most if value > most else value
            out[y, x] = value if cloudy[y, x] and not np.isnan(observed[y, x]) else observed[y, x]


def _season(sample: Sequence[Observation]) -> Season | None:
    """Return the first known season of a sample; all its windows are of one scene."""
    return next((season for seen in sample for season in seen.each_season() if season is not None), None)


SNOW_INDEX, SNOW_B08 = 0.4, 0.2
"""Normalised difference of B03 and B11, and reflectance in B08, above which clear ground is snow, ice or glint."""


def _ground_to_fit(sample: Sequence[Observation], erosion_px: int) -> list[Bool[Tensor, "h w"]]:
    """Return the clear pixels of each window, away from clouds, without snow unless most of the clear ground has it.

    Snow lies on a part of the land, by height rather than by radar: a little of it made all ground under clouds bright.
    """
    clear = [finite_pixels(seen.cloudy)[0, 0] & ~_grown(seen.is_cloudy, erosion_px)[0, 0] for seen in sample]
    snow = [_snow(seen) & where for seen, where in zip(sample, clear, strict=True)]
    if 2 * sum(int(one.sum()) for one in snow) > sum(int(one.sum()) for one in clear):
        return clear
    return [where & ~one for where, one in zip(clear, snow, strict=True)]


def _snow(seen: Observation) -> Bool[Tensor, "h w"]:
    if not {"B03", "B08", "B11"} <= set(seen.bands):
        return torch.zeros_like(seen.is_cloudy[0, 0])
    green, near, short = (seen.cloudy[0, seen.bands.index(band)].float() for band in ("B03", "B08", "B11"))
    return (green - short > SNOW_INDEX * (green + short)) & (near > SNOW_B08)


def _add_clear_pixels(
    seen: Observation, clear: Bool[Tensor, "h w"], land: SceneMoments, water: SceneMoments, prior: Prior
) -> None:
    """Add the departures of clear ground from the prior to the kinds of ground, each pixel by its probability.

    Over land they depend on the radar. Over water they do not: the relation of land, in which dark radar often is
    bright bare soil, made lakes brighter than any ground of the scene.
    """
    features = radar_features.radar_features(seen.sar)
    departures = seen.cloudy - prior.spectrum(features, seen.bands)
    has_data = (finite_pixels(features[:, :1]) & finite_pixels(seen.cloudy))[0, 0]
    share = prior.water_probability(features)[0, 0]
    land.add(seen.origin_px, features[0], departures[0], clear & has_data, has_data, 1 - share)
    water.add(seen.origin_px, departures[0, :0], departures[0], clear & has_data, has_data, share)


def _add_without_radar(seen: Observation, clear: Bool[Tensor, "h w"], moments: SceneMoments, prior: Prior) -> None:
    """Add the departures of clear ground from the prior of land, whether there is radar or not."""
    has_data = finite_pixels(seen.cloudy)[0, 0]
    departures = seen.cloudy[0] - prior.plain(seen.bands).float()
    moments.add(seen.origin_px, departures[:0], departures, clear, has_data)


def _grown(mask: Bool[Tensor, "batch 1 h w"], radius_px: int) -> Bool[Tensor, "batch 1 h w"]:
    return F.max_pool2d(mask.float(), 2 * radius_px + 1, stride=1, padding=radius_px) > 0
