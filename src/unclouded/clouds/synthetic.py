"""Paint clouds on a clear image: invented by Perlin noise, or copied from a cloudy image of the same place."""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from unclouded.clouds.opacity import HISTOGRAMS, draw_coverage, opacity, threshold_for
from unclouded.clouds.perlin import draw_noise
from unclouded.clouds.physical import ShadowSettings, cloud_colour, shaded
from unclouded.errors import InputError
from unclouded.settings import Settings


class SyntheticSettings(Settings):
    """How clouds are painted; the defaults are the first approach of section III-B.4 of the paper.

    The paper gives no parameters of its noise. Ours make the map m as smooth as real ones: tests/real/test_synthetic.py
    compares them.

    Attributes:
        mode: ``perlin`` invents clouds and needs a clear image only; ``copy`` takes those of a cloudy image of the same
            place, and has no parameters.
        seed: Together with the name of a patch it decides everything random.
        wavelength_px: Distance between the largest clouds, pixels.
        octaves: Number of scales, each half as large as the one before, down to 2 px at most.
        persistence: Amplitude of each scale by that of the one before; the larger, the more the edges fray.
        softness: How far the noise rises between clear and opaque, in its standard deviations.
        brightness: Reflectance of opaque cloud: in all bands, or in B04 if the spectrum is physical.
        coverage: The mean of m. ``natural`` is what the noise gives, on average one half. ``sen12mscr``, ``uniform``,
            or weights of equal bins from 0 to 1 make the coverages of many patches follow that histogram.
        spectrum: ``white`` is the same in all bands, as in the paper; ``physical`` has the measured colours of thick
            cloud and of ice.
        shadow: Sun and height of clouds that cast shadows; none do if omitted.
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
            raise ValueError(f"expected scales of at least 2 px, found {smallest_px:.2g} px; take fewer octaves")
        return self

    @model_validator(mode="after")
    def _copies_nothing_invented(self) -> "SyntheticSettings":
        invented = (self.coverage != "natural", self.spectrum != "white", self.shadow is not None)
        if self.mode == "copy" and any(invented):
            raise ValueError("mode 'copy' has real coverage, colours and shadows; leave those out or take 'perlin'")
        return self


PERLIN = SyntheticSettings()
"""The first approach of section III-B.4 of the paper."""
COPY = SyntheticSettings(mode="copy")
"""The second approach of section III-B.4 of the paper."""


@dataclass(frozen=True, eq=False)
class SyntheticClouds:
    """A clear image with clouds painted on it.

    Attributes:
        cloudy: TOA reflectance; NaN where an image it was made of has no data.
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
    cloudy: Float32[np.ndarray, "_ _ _"] | None = None,
    cloud_map: Float32[np.ndarray, "_ _"] | None = None,
) -> SyntheticClouds:
    """Paint clouds on a clear image, as the settings say.

    Args:
        name: Unique name of the patch.
        clear: TOA reflectance; NaN where there is no data.
        bands: Its band names.
        settings: What to paint.
        cloudy: For mode ``copy``: TOA reflectance of the same place and bands under clouds, as large as ``clear``.
        cloud_map: For mode ``copy``: the map m of ``cloudy``; where it is unknown (NaN), no cloud is copied.

    Raises:
        InputError: There is not one name a band, or an image for mode ``copy`` is missing or of another size.
    """
    if len(bands) != len(clear):
        raise InputError(f"{name}: expected one name a band, found {len(bands)} names for {len(clear)} bands")
    if settings.mode == "perlin":
        return invent(name, clear, bands, settings)
    if cloudy is None or cloud_map is None:
        raise InputError(f"{name}: mode 'copy' takes clouds from a cloudy image and its cloud map; give both")
    if not clear.shape == cloudy.shape == (len(clear), *cloud_map.shape):
        shapes = f"clear {clear.shape}, cloudy {cloudy.shape}, cloud map {cloud_map.shape}"
        raise InputError(f"{name}: expected images of one place and size, found {shapes}; pair them first")
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


def invent(
    name: str, clear: Float32[np.ndarray, "band y x"], bands: tuple[str, ...], settings: SyntheticSettings
) -> SyntheticClouds:
    """Paint clouds of Perlin noise; the map m is their opacity.

    Spectrum and shadow change the image, but neither the place nor the shape of a cloud.

    Args:
        name: Unique name of the patch.
        clear: TOA reflectance; NaN where there is no data.
        bands: Its band names.
        settings: What to paint.
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
    """Return the random numbers of a patch: the same in every process, whatever was painted before."""
    return np.random.default_rng([seed, *hashlib.sha256(name.encode()).digest()])


def _threshold(field: NDArray[np.float32], settings: SyntheticSettings, rng: np.random.Generator) -> float:
    """Return where the noise turns to cloud; 0, its mean, for natural coverage."""
    if settings.coverage == "natural":
        return 0.0
    histogram = HISTOGRAMS[settings.coverage] if isinstance(settings.coverage, str) else settings.coverage
    return threshold_for(field, settings.softness, draw_coverage(rng, histogram))
