"""Paint clouds on a clear image: from Perlin noise, or copied from a cloudy image of the same place."""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32
from pydantic import Field, field_validator, model_validator
from scipy.optimize import brentq
from scipy.special import betainc

from unclouded.clouds.perlin import PerlinNoise, draw_noise
from unclouded.clouds.physical import ShadowSettings, cloud_spectrum, draw_ice, shaded, towards_sun_px
from unclouded.errors import InputError
from unclouded.settings import Settings


def _beta_histogram(mean: float, deviation: float, bins: int = 20) -> tuple[float, ...]:
    """Bin the Beta distribution of this mean and standard deviation."""
    concentration = mean * (1 - mean) / deviation**2 - 1
    edges = np.linspace(0, 1, bins + 1)
    return tuple(np.diff(betainc(mean * concentration, (1 - mean) * concentration, edges)).tolist())


HISTOGRAMS = {"uniform": (1.0,), "sen12mscr": _beta_histogram(0.4793, 0.3608)}
"""Weights of equal bins of cloud coverage from 0 to 1. The text of the paper gives mean and standard deviation over
SEN12MS-CR (section III-A) but not the bins of Fig. 5, so ``sen12mscr`` is the Beta distribution of both."""


class SyntheticSettings(Settings):
    """How clouds are painted; the defaults are the first approach of section III-B.4 of the paper.

    Attributes:
        mode: ``perlin`` invents clouds, ``copy`` takes those of a cloudy image of the same place.
        seed: Together with a patch's name it decides everything random.
        wavelength_px: Distance between the largest clouds, pixels.
        octaves: Number of scales, each half as large as the one before.
        persistence: Amplitude of each octave by that of the one before; towards 1 the edges fray.
        softness: Width of the edges: how far the noise rises between clear and opaque, in its standard deviations.
        brightness: Reflectance of an opaque cloud in all bands, or in B04 if the spectrum is physical.
        coverage: ``natural`` takes what the noise gives, on average one half; ``sen12mscr``, ``uniform``, or weights
            of equal bins from 0 to 1 make the coverages (means of m) of many patches follow that histogram.
        spectrum: ``white`` is the same in all bands, as in the paper; ``physical`` has the measured colours of thick
            cloud and ice cloud.
        shadow: Sun and height of the clouds that cast shadows; none are cast if omitted.
    """

    mode: Literal["perlin", "copy"] = "perlin"
    seed: int = Field(default=0, ge=0)
    wavelength_px: float = Field(default=128.0, ge=4.0, le=1e5)
    octaves: int = Field(default=6, ge=1, le=16)
    persistence: float = Field(default=0.5, gt=0.0, le=1.0)
    softness: float = Field(default=1.0, gt=0.0, le=100.0)
    brightness: float = Field(default=1.0, gt=0.0, le=2.0)
    coverage: Literal["natural", "sen12mscr", "uniform"] | tuple[float, ...] = "natural"
    spectrum: Literal["white", "physical"] = "white"
    shadow: ShadowSettings | None = None

    @field_validator("coverage")
    @classmethod
    def _weights(cls, coverage: str | tuple[float, ...]) -> str | tuple[float, ...]:
        if not isinstance(coverage, str) and (min(coverage, default=0.0) < 0 or sum(coverage) <= 0):
            raise ValueError("expected weights of bins, none negative and not all 0")
        return coverage

    @model_validator(mode="after")
    def _copied_clouds_bring_their_own(self) -> "SyntheticSettings":
        own = [key for key in ("coverage", "spectrum", "shadow") if getattr(self, key) != _default(key)]
        if self.mode == "copy" and own:
            raise ValueError(f"{', '.join(own)} belongs to mode 'perlin': copied clouds bring their own; leave it out")
        return self


def _default(key: str) -> object:
    return SyntheticSettings.model_fields[key].default


PERLIN = SyntheticSettings()
"""The first approach of section III-B.4 of the paper."""
COPY = SyntheticSettings(mode="copy")
"""The second."""


@dataclass(frozen=True, eq=False)
class SyntheticClouds:
    """A clear image with clouds painted on it.

    Attributes:
        cloudy: TOA reflectance; NaN where the clear image has no data.
        cloud_map: The map m, 0 clear to 1 cloudy.
        shadow: Share of the direct sunlight that clouds keep from the ground, 0 to 1; None if they cast no shadow.
    """

    cloudy: Float32[np.ndarray, "band y x"]
    cloud_map: Float32[np.ndarray, "y x"]
    shadow: Float32[np.ndarray, "y x"] | None = None


def paint(
    name: str,
    clear: Float32[np.ndarray, "band y x"],
    bands: tuple[str, ...],
    settings: SyntheticSettings = PERLIN,
    *,
    cloudy: Float32[np.ndarray, "band y x"] | None = None,
    cloud_map: Float32[np.ndarray, "y x"] | None = None,
) -> SyntheticClouds:
    """Paint clouds on a clear image, section III-B.4 of the paper.

    Args:
        name: Unique name of the patch; the same name and seed give the same clouds.
        clear: TOA reflectance; NaN where there is no data.
        bands: Its band names.
        settings: What to paint.
        cloudy: In mode ``copy``: a cloudy image of the same bands and place.
        cloud_map: In mode ``copy``: the map m of ``cloudy``.

    Raises:
        InputError: An image or a name is missing, or the images differ in size.
    """
    if len(bands) != len(clear):
        raise InputError(f"{name}: expected one name a band, found {len(bands)} names for {len(clear)} bands")
    if settings.mode == "perlin":
        return paint_perlin(name, clear, bands, settings)
    if cloudy is None or cloud_map is None:
        raise InputError(f"{name}: mode 'copy' takes clouds from a cloudy image and its cloud map; pass both")
    return paint_copy(clear, cloudy, cloud_map)
