"""Synthetic clouds on a clear image: simulated by Perlin noise, or copied from a cloudy image of the same place.

:func:`paint` follows the two approaches of section III-B.4 of the paper. Beyond the paper, coverages may follow a
histogram, and clouds may have the measured colours of thick cloud and ice and cast shadows.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator
from scipy.optimize import brentq
from scipy.special import betainc

from unclouded.clouds.detector import PIXEL_M
from unclouded.clouds.perlin import draw_noise
from unclouded.errors import InputError
from unclouded.sensors import SENTINEL2
from unclouded.settings import Settings


class ShadowSettings(Settings):
    """Position of the sun and height of the clouds that cast shadows.

    Attributes:
        sun_azimuth_deg: Azimuth of the sun, degrees clockwise from north (up in the image).
        sun_elevation_deg: Elevation of the sun above the horizon, degrees.
        cloud_height_m: Height of the clouds above the ground, metres.
    """

    sun_azimuth_deg: float = Field(default=150.0, ge=0.0, le=360.0)
    sun_elevation_deg: float = Field(default=45.0, ge=5.0, le=90.0)
    cloud_height_m: float = Field(default=1500.0, ge=0.0, le=20_000.0)

    @property
    def towards_sun_px(self) -> tuple[float, float]:
        """Offset in rows and columns from a shadow to the ground below the cloud that casts it."""
        distance_px = self.cloud_height_m / np.tan(np.radians(self.sun_elevation_deg)) / PIXEL_M
        azimuth = np.radians(self.sun_azimuth_deg)
        return float(-np.cos(azimuth) * distance_px), float(np.sin(azimuth) * distance_px)


class SyntheticSettings(Settings):
    """Settings of synthetic clouds; the defaults are the first approach of section III-B.4 of the paper.

    The paper gives no parameters of its noise. Ours make the map m as smooth as that of real clouds, as
    ``tests/real/test_synthetic.py`` checks.

    Attributes:
        mode: ``perlin`` simulates clouds and needs a clear image only; ``copy`` takes those of a cloudy image of the
            same place, and has no parameters.
        seed: Random seed; together with the patch name it determines the clouds.
        wavelength_px: Wavelength of the largest scale, pixels.
        octaves: Number of scales, each half as large as the one before, down to at least 2 px.
        persistence: Ratio of the amplitudes of successive scales; larger values give more ragged edges.
        softness: Range of the noise between clear and opaque, in standard deviations.
        brightness: Reflectance of opaque cloud: in all bands, or in B04 if the spectrum is physical.
        coverage: Mean of m. ``natural`` is that of the noise, on average one half. With ``sen12mscr``, ``uniform``, or
            weights of equal bins from 0 to 1, the coverages of many patches follow that histogram.
        spectrum: ``white`` is the same in all bands, as in the paper; ``physical`` has the measured colours of thick
            cloud and of ice.
        shadow: Sun and cloud height for shadows; no shadows if omitted.
    """

    mode: Literal["perlin", "copy"] = "perlin"
    seed: int = Field(default=0, ge=0)
    wavelength_px: float = Field(default=180.0, ge=4.0, le=1e5)
    octaves: int = Field(default=6, ge=1, le=16)
    persistence: float = Field(default=0.65, gt=0.0, le=1.0)
    softness: float = Field(default=2.0, ge=0.01, le=100.0)
    brightness: float = Field(default=1.0, gt=0.0, le=2.0)
    coverage: Literal["natural", "sen12mscr", "uniform"] | tuple[float, ...] = "natural"
    spectrum: Literal["white", "physical"] = "white"
    shadow: ShadowSettings | None = None

    @field_validator("coverage")
    @classmethod
    def _has_weight(cls, coverage: str | tuple[float, ...]) -> str | tuple[float, ...]:
        if not isinstance(coverage, str) and (min(coverage, default=0) < 0 or sum(coverage) <= 0):
            raise ValueError(f"expected weights of bins, none negative and not all 0, found {coverage}")
        return coverage

    @model_validator(mode="after")
    def _paints_no_scale_below_pixels(self) -> "SyntheticSettings":
        smallest_px = self.wavelength_px / 2 ** (self.octaves - 1)
        if smallest_px < 2:
            raise ValueError(f"expected scales of at least 2 px, found {smallest_px:.2g} px; use fewer octaves")
        return self

    @model_validator(mode="after")
    def _copies_nothing_simulated(self) -> "SyntheticSettings":
        simulated = (self.coverage != "natural", self.spectrum != "white", self.shadow is not None)
        if self.mode == "copy" and any(simulated):
            raise ValueError(
                "mode 'copy' has real coverage, colours and shadows; omit these settings or use mode 'perlin'"
            )
        return self


PERLIN = SyntheticSettings()
"""The first approach of section III-B.4 of the paper."""

COPY = SyntheticSettings(mode="copy")
"""The second approach of section III-B.4 of the paper."""


@dataclass(frozen=True, eq=False)
class SyntheticClouds:
    """A clear image with clouds painted on it.

    Attributes:
        cloudy: TOA reflectance; NaN where an input image has no data.
        cloud_map: The map m, 0 clear to 1 cloudy.
        shadow: Share of the direct sunlight that clouds block, 0 to 1; None without shadows.
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
    cloudy: Float32[np.ndarray, "_ _ _"] | None = None,
    cloud_map: Float32[np.ndarray, "_ _"] | None = None,
) -> SyntheticClouds:
    """Paint clouds on a clear image (section III-B.4 of the paper).

    Args:
        name: Unique name of the patch.
        clear: TOA reflectance; NaN where there is no data.
        bands: Band names.
        settings: Kind and parameters of the clouds.
        cloudy: Only for mode ``copy``: TOA reflectance of the same place, bands and size with real clouds.
        cloud_map: Only for mode ``copy``: the map m of ``cloudy``; where it is unknown (NaN), no cloud is copied.

    Raises:
        InputError: The number of names differs from that of bands, or an image for mode ``copy`` is missing or has
            another size.
    """
    if len(bands) != len(clear):
        raise InputError(f"{name}: expected one name per band, found {len(bands)} names for {len(clear)} bands")
    if settings.mode == "perlin":
        return simulate(name, clear, bands, settings)
    if cloudy is None or cloud_map is None:
        raise InputError(f"{name}: mode 'copy' needs a cloudy image and its cloud map; give both")
    if not clear.shape == cloudy.shape == (len(clear), *cloud_map.shape):
        shapes = f"clear {clear.shape}, cloudy {cloudy.shape}, cloud map {cloud_map.shape}"
        raise InputError(f"{name}: expected images of the same place and size, found {shapes}; pair them first")
    m = np.nan_to_num(cloud_map, nan=0.0)
    mixed = np.empty_like(clear)
    for band in range(len(clear)):
        mixed[band] = blend(clear[band], cloudy[band], m)
    return SyntheticClouds(mixed, m)


def blend(
    clear: Float32[np.ndarray, "y x"], cloud: Float32[np.ndarray, "#y #x"], alpha: Float32[np.ndarray, "y x"]
) -> Float32[np.ndarray, "y x"]:
    """Return ``(1 - alpha) clear + alpha cloud``: exactly ``clear`` where alpha is 0, exactly ``cloud`` where it is 1.

    Args:
        clear: TOA reflectance of a band.
        cloud: TOA reflectance of opaque cloud in that band.
        alpha: Opacity of the clouds, 0 to 1.
    """
    return np.asarray((1 - alpha) * clear + alpha * cloud)


def simulate(
    name: str, clear: Float32[np.ndarray, "band y x"], bands: tuple[str, ...], settings: SyntheticSettings
) -> SyntheticClouds:
    """Paint clouds of Perlin noise; the map m is their opacity.

    Spectrum and shadow change the image, but neither position nor shape of a cloud.

    Args:
        name: Unique name of the patch.
        clear: TOA reflectance; NaN where there is no data.
        bands: Band names.
        settings: Parameters of the clouds.
    """
    rng = generator(name, settings.seed)
    y, x = (np.arange(size, dtype=np.float64) for size in clear.shape[1:])
    noise = draw_noise(rng, settings.wavelength_px, settings.octaves, settings.persistence)
    field = noise.at(y, x)
    threshold = _threshold(field, settings, rng)
    cloud_map = opacity(field, threshold, settings.softness)
    ice = shadow = None
    if settings.spectrum == "physical":
        ice = opacity(draw_noise(rng, 2 * settings.wavelength_px).at(y, x), 0.0, softness=2.0)
    if settings.shadow is not None:
        down, across = settings.shadow.towards_sun_px
        shadow = opacity(noise.at(y + down, x + across), threshold, settings.softness)
    cloudy, white = np.empty_like(clear), np.full((1, 1), settings.brightness, np.float32)
    for index, band in enumerate(bands):
        ground = clear[index] if shadow is None else shaded(clear[index], band, shadow)
        cloudy[index] = blend(ground, white if ice is None else white * cloud_colour(band, ice), cloud_map)
    return SyntheticClouds(cloudy, cloud_map, shadow)


def generator(name: str, seed: int) -> np.random.Generator:
    """Return the random generator of a patch, which depends on its name and the seed alone."""
    return np.random.default_rng([seed, *hashlib.sha256(name.encode()).digest()])


def _threshold(field: NDArray[np.float32], settings: SyntheticSettings, rng: np.random.Generator) -> float:
    """Return the noise value at which clouds begin; 0, the mean of the noise, for natural coverage."""
    if settings.coverage == "natural":
        return 0.0
    histogram = HISTOGRAMS[settings.coverage] if isinstance(settings.coverage, str) else settings.coverage
    return threshold_for(field, settings.softness, draw_coverage(rng, histogram))


# From noise to opacity: softness of the edges, and coverage.


def opacity(noise: Float32[np.ndarray, "y x"], threshold: float, softness: float) -> Float32[np.ndarray, "y x"]:
    """Return the opacity, which rises smoothly from 0 to 1 around a threshold of the noise: 3 t^2 - 2 t^3.

    Args:
        noise: Any field.
        threshold: Noise value at which the opacity is one half.
        softness: Range of the noise between opacity 0 and 1.
    """
    t = np.clip((noise - np.float32(threshold)) / np.float32(softness) + np.float32(0.5), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def threshold_for(noise: Float32[np.ndarray, "y x"], softness: float, coverage: float) -> float:
    """Return the threshold at which the mean opacity is ``coverage``, to 1e-3 or better.

    Args:
        noise: Any field.
        softness: Range of the noise between opacity 0 and 1.
        coverage: Target mean of :func:`opacity`, between 0 and 1.
    """
    lowest, highest = float(noise.min()) - softness, float(noise.max()) + softness

    def excess(threshold: float) -> float:
        return float(opacity(noise, threshold, softness).mean()) - coverage

    return float(brentq(excess, lowest, highest, xtol=1e-4))


def draw_coverage(rng: np.random.Generator, histogram: tuple[float, ...]) -> float:
    """Draw a coverage that follows a histogram.

    Args:
        rng: Source of randomness.
        histogram: Weights of equal bins from 0 to 1, of any sum; coverages are uniform within a bin.
    """
    cumulative = np.cumsum((0.0, *histogram))
    edges = np.linspace(0, 1, len(cumulative))
    return float(np.interp(rng.random() * cumulative[-1], cumulative, edges))


def _beta_histogram(mean: float, deviation: float, bins: int = 100) -> tuple[float, ...]:
    """Return the histogram of the Beta distribution with a mean and a standard deviation."""
    total = mean * (1 - mean) / deviation**2 - 1
    return tuple(np.diff(betainc(mean * total, (1 - mean) * total, np.linspace(0, 1, bins + 1))).tolist())


HISTOGRAMS = {"uniform": (1.0,), "sen12mscr": _beta_histogram(0.4793, 0.3608)}
"""Histograms of coverage by name. Section III-A of the paper gives 47.93 % +- 36.08 % for SEN12MS-CR, and the bins only
as a figure (Fig. 5): ``sen12mscr`` is the Beta distribution with this mean and standard deviation."""


# Beyond the paper's white clouds: colours of thick cloud and ice, and shadows on the ground.


# In percent of B04 (_DIRECT: of the clear reflectance), as tests/real/test_synthetic.py measures them on real samples.
# fmt: off
#          B01  B02  B03  B04  B05  B06  B07  B08  B8A  B09  B10  B11  B12
_THICK  = ( 86,  91,  91, 100, 100, 107, 113, 108, 118,  36,   1,  96,  76)

_ICE    = ( 96, 100,  94, 100, 100,  94,  92,  96,  90,  86,  38,  39,  41)

_DIRECT = ( 18,  18,  37,  44,  50,  55,  61,  67,  68,  68,   0,  73,  72)
# fmt: on


def cloud_colour(band: str, ice: Float32[np.ndarray, "y x"]) -> Float32[np.ndarray, "y x"]:
    """Return the reflectance of opaque cloud in a band, divided by that in B04.

    Thick cloud is nearly flat except in the water vapour bands B09 and B10. Ice lies above the vapour and absorbs in
    B11 and B12: a thin veil that adds 0.1 to a visible band raises B10 to many times its clear value.

    Args:
        band: Name of the band.
        ice: Share of ice in the cloud, 0 to 1.

    Raises:
        InputError: The name is not a band of Sentinel-2.
    """
    thick, frozen = _of(_THICK, band), _of(_ICE, band)
    return np.asarray(thick + (frozen - thick) * ice)


def shaded(
    clear: Float32[np.ndarray, "y x"], band: str, shadow: Float32[np.ndarray, "y x"]
) -> Float32[np.ndarray, "y x"]:
    """Return a band of a clear image in the shadow of clouds.

    In full shadow, skylight and path radiance remain: a share of the clear reflectance that is measured for each band.
    B10 does not see the ground and is unchanged.

    Args:
        clear: TOA reflectance.
        band: Name of the band.
        shadow: Share of the direct sunlight that is blocked, 0 to 1.

    Raises:
        InputError: The name is not a band of Sentinel-2.
    """
    return np.asarray(clear * (1 - _of(_DIRECT, band) * shadow))


def _of(hundredths: tuple[int, ...], band: str) -> np.float32:
    return np.float32(hundredths[SENTINEL2.indices(band)[0]] / 100)
