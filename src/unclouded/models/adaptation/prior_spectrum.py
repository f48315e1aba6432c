"""Prior of a scene: reflectance spectra of land, by season, and of water, mixed by their probability from radar."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from unclouded.models.adaptation.radar_features import MEAN_SCALES_PX
from unclouded.models.adaptation.standard_atmosphere import surface_spectrum
from unclouded.sensors import SENTINEL2, Level
from unclouded.tensors.observation import Season

LAND_SPECTRUM = dict(
    zip(
        SENTINEL2.bands,
        (0.1609, 0.1343, 0.1173, 0.1113, 0.1377, 0.2050, 0.2383, 0.2249, 0.2582, 0.0651, 0.0013, 0.1767, 0.1016),
        strict=True,
    )
)
"""TOA reflectance of land by band.

The samples of tests/real/ hold clear images of twelve regions: the 59 of SEN12MS-CR that
:data:`~unclouded.models.baselines.FIXED_SPECTRUM` was made from, and one of Sen1Floods11 in Spain; none is a test
region. In each region that has at least 5 % of such pixels, the mean of the pixels that are brighter in B08 than in
B03; of these means (seven regions) the median, band by band, so that snow and the thin cirrus of fall 85 and 136 do
not weigh.
"""

WATER_SPECTRUM = dict(
    zip(
        SENTINEL2.bands,
        (0.1412, 0.1134, 0.0953, 0.0774, 0.0727, 0.0599, 0.0594, 0.0527, 0.0522, 0.0134, 0.0009, 0.0297, 0.0211),
        strict=True,
    )
)
"""TOA reflectance of water by band: as :data:`LAND_SPECTRUM`, from the pixels that are not brighter in B08 (eight
regions, one of which has snow there; the median passes over it)."""

SEASONAL_SPECTRUM = {
    "B05": (0.1259, -0.0169, 0.0054),
    "B06": (0.1655, -0.0359, 0.0072),
    "B07": (0.1851, -0.0441, 0.0060),
    "B08": (0.1849, -0.0411, 0.0063),
    "B8A": (0.2022, -0.0505, 0.0040),
    "B09": (0.0819, -0.0085, 0.0136),
    "B11": (0.2023, -0.0461, 0.0025),
    "B12": (0.1414, -0.0290, 0.0064),
}
"""TOA reflectance of land over the year, by band: annual mean, and coefficients of cosine and sine of the time of year.

Least squares over 6,953 land pixels of 135 one-degree cells of the United States (28 to 48 degrees north, 2020 and
2021, Sentinel-2 L1C) in the test resources of Presto (github.com/nasaharvest/presto, MIT licence; contains modified
Copernicus Sentinel data); a cell counts by the square root of its number of pixels. ``proofs/fit_seasons.py`` prints
the table. Visible bands are left out: with them the error in red, green and blue rises. So are B01 and B10, which the
source lacks.
"""

SEASONAL_WEIGHT = dict.fromkeys(SEASONAL_SPECTRUM, 0.5) | dict.fromkeys(("B11", "B12"), 0.75)
"""Weight of :data:`SEASONAL_SPECTRUM` against :data:`LAND_SPECTRUM` by band, see ``proofs/scene_adapted_settings.py``.

It is higher in B11 and B12, in which the medians are darker than the ground of most places.
"""

TROPICAL_DEG, TEMPERATE_DEG = 15.0, 30.0
"""Latitudes up to which the course of the year is ignored, and from which it counts in full; linear between them."""

PRIOR_SHARE = dict.fromkeys(SENTINEL2.bands, 0.10) | dict.fromkeys(("B01", "B02", "B03", "B04"), 0.02) | {"B05": 0.045}
"""Weight of the prior by band, as the share of clear pixels in the scene that has the same weight.

With 2 % of the scene clear, prior and scene have equal weight in a visible band; in the infrared, where the pixels
between clouds are dark with shadow, with 10 %. Chosen by ``proofs/scene_adapted_settings.py`` on regions
that are no test regions.
"""

WATER_VH_DB = -22.5
"""Mean of VH over 4 px below which water is more probable than land."""
WATER_STEP_DB = 0.75
"""Scale of the logistic curve between water and land."""

_VH_OVER_4_PX = 2 * (1 + MEAN_SCALES_PX.index(4.0)) + 1
"""Index of that mean among the radar features."""


@dataclass(frozen=True)
class Prior:
    """Spectra of land and water before any pixel of a scene is used, at the top of the atmosphere until :meth:`at`.

    Attributes:
        land: Reflectance by band.
        water: Reflectance by band.
        share: Weight by band, as a share of the scene.
        seasonal: Course of the reflectance of land over the year, see :data:`SEASONAL_SPECTRUM`.
        seasonal_weight: Weight of ``seasonal`` against ``land`` by band.
    """

    land: Mapping[str, float]
    water: Mapping[str, float]
    share: Mapping[str, float]
    seasonal: Mapping[str, tuple[float, float, float]]
    seasonal_weight: Mapping[str, float]

    def at(self, season: Season | None, level: Level = "L1C") -> "Prior":
        """Return the prior of one day, for images of a level.

        Args:
            season: Day and latitude; None for the annual mean.
            level: ``L2A`` for surface reflectance, by :mod:`unclouded.models.adaptation.standard_atmosphere`.
        """
        cosine, sine = _course_of_year(season)
        in_season = {
            band: (1 - self.seasonal_weight[band]) * self.land[band]
            + self.seasonal_weight[band] * (mean + cosine * along_cosine + sine * along_sine)
            for band, (mean, along_cosine, along_sine) in self.seasonal.items()
        }
        land: Mapping[str, float] = {**self.land, **in_season}
        water = self.water
        if level == "L2A":
            land, water = surface_spectrum(land), surface_spectrum(water)
        return replace(self, land=land, water=water, seasonal={})

    def spectrum(
        self, features: Float32[Tensor, "batch feature h w"], bands: tuple[str, ...]
    ) -> Float32[Tensor, "batch band h w"]:
        """Return the spectra of land and water, mixed by their probability; NaN where radar has no data.

        Args:
            features: Result of :func:`~unclouded.models.adaptation.radar_features.radar_features`.
            bands: Optical bands of the result.
        """
        spectra = self.spectra(bands).float()[:, :, None, None]
        return torch.lerp(spectra[0], spectra[1], self.water_probability(features))

    def water_probability(self, features: Float32[Tensor, "batch feature h w"]) -> Float32[Tensor, "batch 1 h w"]:
        """Return the probability of water from radar features; NaN where radar has no data."""
        vh = features[:, _VH_OVER_4_PX : _VH_OVER_4_PX + 1]
        return torch.sigmoid((WATER_VH_DB - vh) / WATER_STEP_DB)

    def spectra(self, bands: tuple[str, ...]) -> Float64[Tensor, "2 band"]:
        """Return the spectra of land and of water."""
        kinds = [[kind[band] for band in bands] for kind in (self.land, self.water)]
        return torch.tensor(kinds, dtype=torch.float64)

    def plain(self, bands: tuple[str, ...]) -> Float64[Tensor, "band 1 1"]:
        """Return the spectrum where there is no radar to separate land from water: that of land."""
        return self.spectra(bands)[0, :, None, None]

    def shares(self, bands: tuple[str, ...]) -> Float64[Tensor, " band"]:
        """Return the weights of bands."""
        return torch.tensor([self.share[band] for band in bands], dtype=torch.float64)


def _course_of_year(season: Season | None) -> tuple[float, float]:
    """Return cosine and sine of the time of year, reversed south of the equator and 0 in the tropics.

    A place of unknown latitude counts as northern, as most land beyond the tropics is.
    """
    if season is None:
        return 0.0, 0.0
    latitude = TEMPERATE_DEG if season.latitude_deg is None else season.latitude_deg
    strength = min(max((abs(latitude) - TROPICAL_DEG) / (TEMPERATE_DEG - TROPICAL_DEG), 0.0), 1.0)
    phase = math.tau * (season.day_of_year - 0.5) / 365.25 + (math.pi if latitude < 0 else 0.0)
    return strength * math.cos(phase), strength * math.sin(phase)


PRIOR = Prior(LAND_SPECTRUM, WATER_SPECTRUM, PRIOR_SHARE, SEASONAL_SPECTRUM, SEASONAL_WEIGHT)
"""Default prior."""
