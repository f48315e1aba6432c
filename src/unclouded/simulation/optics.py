"""Simulated Sentinel-2 images: TOA reflectance under a clear sky, clouds, and the image of the land through clouds."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from unclouded.sensors import SENTINEL2
from unclouded.simulation.fields import Season
from unclouded.simulation.land import Land, LandCover, Surface
from unclouded.simulation.noise import fractal_noise, smooth_step
from unclouded.simulation.terrain import PIXEL_M, Terrain

# Thousandths of reflectance. Deep and turbid water, broad-leaved forest and concrete are medians over open water,
# floods, dense green and bright radar targets in real Sentinel-2 L1C patches; the others are plausible beside them.
# fmt: off
#             B01  B02  B03  B04  B05  B06  B07  B08  B8A  B09  B10  B11  B12
SPECTRA = {
    "air":       (108,  73,  42,  21,  17,  12,  10,   8,   7,   4, 0.6,   1, 0.5),
    "soil":      (152, 133, 150, 180, 200, 230, 250, 240, 265,  75, 1.4, 335, 265),
    "leaves":    (136, 100, 102,  60, 112, 330, 425, 430, 450,  78, 1.1, 195,  97),
    "straw":     (150, 130, 158, 188, 212, 250, 275, 272, 298,  80, 1.3, 345, 245),
    "blossom":   (134, 100, 190, 180, 225, 365, 415, 415, 435,  80, 1.2, 225, 115),
    "broadleaf": (111,  80,  67,  39,  69, 187, 235, 224, 272,  36, 0.8, 149,  55),
    "needles":   (109,  77,  59,  36,  53, 118, 142, 138, 158,  30, 0.8,  80,  36),
    "branches":  (116,  88,  80,  82, 108, 142, 160, 156, 182,  42, 0.9, 178, 108),
    "deep":      (114,  82,  52,  30,  26,  24,  22,  18,  17,   8, 0.8,   4,   2),
    "turbid":    (126,  93,  77,  66,  68,  47,  50,  40,  39,  10, 0.9,  16,   9),
    "tiles":     (155, 134, 140, 182, 218, 238, 256, 246, 272,  70, 1.3, 290, 240),
    "concrete":  (197, 188, 176, 187, 193, 217, 243, 236, 264,  77, 1.5, 288, 248),
    "metal":     (225, 232, 218, 210, 212, 232, 250, 250, 268,  82, 1.6, 300, 270),
    "asphalt":   (146, 126, 114, 114, 119, 133, 144, 139, 150,  50, 1.1, 152, 127),
}
# fmt: on
"""TOA reflectance of materials, x 1000; ``air`` is the reflectance over black ground."""

_NATIVE = {2: ("B05", "B06", "B07", "B8A", "B11", "B12"), 6: ("B01", "B09", "B10")}
"""Bands with native pixels 2 or 6 times as wide as the 10 m grid."""


def spectrum(material: str) -> Float32[np.ndarray, "band 1 1"]:
    """Return a row of :data:`SPECTRA` as reflectance."""
    return (np.array(SPECTRA[material], np.float32) / 1000)[:, None, None]


def clear_reflectance(land: Land, season: Season, rng: np.random.Generator) -> Float32[np.ndarray, "band y x"]:
    """Return the TOA reflectance of all 13 bands: a linear mixture of materials, lit by the sun of the season.

    Bands of 20 and 60 m are averaged over their native pixels and repeated on the 10 m grid.

    Args:
        land: State of the ground.
        season: Season, which determines leaves and sun.
        rng: Source of randomness.
    """
    shares, air = _shares(land, season), spectrum("air")
    spectra = np.hstack([(spectrum(material) - air)[:, 0] for material in shares])
    reflectance = np.tensordot(spectra, np.stack(list(shares.values())), axes=1)
    reflectance *= _brightness(land, season, rng)
    reflectance += air
    return _at_native_resolution(reflectance)


def _shares(land: Land, season: Season) -> dict[str, NDArray[np.float32]]:
    """Return the share of each material in each pixel; the shares add up to 1."""
    cover, growth = land.cover, land.growth
    opened = ((cover == LandCover.CROP) | (cover == LandCover.GRASS)).astype(np.float32)
    forest, water = (cover == LandCover.FOREST).astype(np.float32), (cover == LandCover.WATER).astype(np.float32)
    turbid = (0.12 + 0.6 * land.terrain.river).astype(np.float32)
    town = land.town.surfaces * (cover == LandCover.TOWN)
    green = season.foliage * (1 - land.needles)
    return {
        "soil": opened * growth.soil + 0.3 * town[Surface.GARDEN],
        "leaves": opened * growth.leaves + 0.7 * town[Surface.GARDEN],
        "straw": opened * growth.straw,
        "blossom": opened * growth.blossom,
        "broadleaf": forest * green,
        "needles": forest * land.needles,
        "branches": forest * (1 - land.needles - green),
        "deep": water * (1 - turbid),
        "turbid": water * turbid,
        "tiles": town[Surface.TILES],
        "concrete": town[Surface.CONCRETE],
        "metal": town[Surface.METAL],
        "asphalt": town[Surface.ASPHALT] + (cover == LandCover.ROAD),
    }


def _brightness(land: Land, season: Season, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a factor on the ground reflectance: wet soil is dark, vigorous forest bright and rough, slopes shaded."""
    grain = fractal_noise(rng, len(land.cover), 0.3, 12)
    forest, water, town = (land.cover == cover for cover in (LandCover.FOREST, LandCover.WATER, LandCover.TOWN))
    bright = (1 + 0.015 * grain) * land.tone * (1 - 0.45 * land.moisture * land.growth.soil)
    bright = np.where(forest, 1 + 0.06 * land.vigour + 0.09 * grain, bright)
    bright = np.where(town, 1 + 0.05 * grain, bright) * _light(land.terrain, season)
    return np.where(water, 1, bright).clip(0.1)


def _light(terrain: Terrain, season: Season) -> NDArray[np.float32]:
    """Return the irradiance of slopes relative to level ground; a fifth of it is diffuse."""
    south, east = terrain.rise
    azimuth, zenith = np.radians(season.sun_azimuth_deg), np.radians(90 - season.sun_elevation_deg)
    towards = np.sin(azimuth) * east - np.cos(azimuth) * south
    direct = (1 - np.tan(zenith) * towards) / np.sqrt(1 + south**2 + east**2)
    return np.asarray(0.2 + 0.8 * direct.clip(0, 2.2), dtype=np.float32)


def _at_native_resolution(reflectance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Blur the bands of 10 m slightly, and average the others over their native pixels."""
    for band, image in zip(SENTINEL2.bands, reflectance, strict=True):
        width = next((width for width, bands in _NATIVE.items() if band in bands), 1)
        image[:] = _blurred(_blurred(image).T).T if width == 1 else _in_squares(image, width)
    return reflectance


def _blurred(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an image in which every row contributes a tenth to each neighbouring row."""
    blurred = image.copy()
    blurred[1:-1] += np.float32(0.1) * (image[2:] + image[:-2] - 2 * image[1:-1])
    return blurred


def _in_squares(image: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Return an image with squares of ``width`` pixels replaced by their mean."""
    height, breadth = image.shape
    padded = np.pad(image, [(0, -height % width), (0, -breadth % width)], mode="edge")
    strips = padded.reshape(-1, width, padded.shape[1]).mean(axis=1)
    squares = strips.reshape(len(strips), -1, width).mean(axis=2)
    return np.asarray(squares.repeat(width, axis=0).repeat(width, axis=1)[:height, :breadth])


# Clouds: cumulus in clusters, a veil of cirrus, and the shadows of the cumulus.

# Thousandths of reflectance of opaque cloud; cumulus is near the median over the brightest clouds of a SEN12MS-CR test
# patch.
# fmt: off
#            B01  B02  B03  B04  B05  B06  B07  B08  B8A  B09  B10  B11  B12
_CUMULUS = (740, 758, 748, 806, 792, 830, 878, 818, 906, 200,   6, 676, 494)

_CIRRUS =  (620, 600, 580, 600, 600, 600, 600, 600, 610, 400, 200, 360, 300)

_DIMMING = (300, 350, 400, 460, 500, 550, 600, 600, 610, 620, 620, 690, 710)

# fmt: on


@dataclass(frozen=True, eq=False)
class Sky:
    """Clouds and their shadows.

    Attributes:
        cumulus: Opacity of low clouds, 0 to 1.
        cirrus: Opacity of high thin clouds, 0 to 1.
        sunlit: Factor around 1 on the brightness of cumulus.
        shadow: Share of the direct sunlight blocked by cumulus, 0 to 1.
    """

    cumulus: Float32[np.ndarray, "y x"]
    cirrus: Float32[np.ndarray, "y x"]
    sunlit: Float32[np.ndarray, "y x"]
    shadow: Float32[np.ndarray, "y x"]

    @property
    def opacity(self) -> Float32[np.ndarray, "y x"]:
        """Share of the ground's light blocked by clouds, 0 to 1."""
        return np.asarray(1 - (1 - self.cumulus) * (1 - self.cirrus))


def simulate_sky(rng: np.random.Generator, size_px: int, season: Season, coverage: float) -> Sky:
    """Simulate the clouds of one acquisition.

    Args:
        rng: Source of randomness.
        size_px: Number of rows and of columns.
        season: Season, which determines the position of the sun.
        coverage: Share of the region under cumulus, thin edges included; cirrus is added.
    """
    heap = _heaps(rng, size_px)
    floor = np.quantile(heap, 1 - coverage) if coverage > 0 else np.inf
    depth = np.maximum(heap - np.float32(floor), 0)
    density = 1.8 * np.exp(0.7 * fractal_noise(rng, size_px, 1.5, 300, 40))
    cumulus = 1 - np.exp(-density * depth * smooth_step(depth, -0.1, 0.6))
    towards_sun = _towards_sun(season)
    slope = sum(-part * np.gradient(np.sqrt(depth + 0.02), axis=axis) for axis, part in enumerate(towards_sun))
    sunlit = (0.82 + 0.33 * (1 - np.exp(-1.2 * depth)) - 1.2 * slope).clip(0.6, 1.22)
    away_px = rng.uniform(700, 1600) / np.tan(np.radians(season.sun_elevation_deg)) / PIXEL_M
    shadow = np.roll(cumulus, [-round(away_px * part) for part in towards_sun], axis=(0, 1))
    return Sky(cumulus, _veil(rng, size_px), sunlit.astype(np.float32), shadow)


def _towards_sun(season: Season) -> tuple[float, float]:
    """Return the unit vector (rows, columns) on the ground towards the sun."""
    azimuth = np.radians(season.sun_azimuth_deg)
    return -float(np.cos(azimuth)), float(np.sin(azimuth))


def _heaps(rng: np.random.Generator, size_px: int) -> NDArray[np.float32]:
    """Return the height field of cumulus: cells of several sizes, clustered."""
    weather = fractal_noise(rng, size_px, 2, size_px, max(size_px / 5, 60))
    heaps = fractal_noise(rng, size_px, 1.5, 150, 8)
    puffs = np.abs(fractal_noise(rng, size_px, 1.1, 45, 3))
    return np.asarray(0.9 * weather + 0.8 * heaps + 0.5 * puffs)


def _veil(rng: np.random.Generator, size_px: int) -> NDArray[np.float32]:
    """Return the opacity of cirrus: streaks in a part of the region."""
    sheet = fractal_noise(rng, size_px, 2, 0.7 * size_px, 80)
    fibres = fractal_noise(rng, size_px, 1.3, 60, 3, stretch=8)
    return np.asarray(
        rng.uniform(0.12, 0.4) * smooth_step(0.8 * sheet + 0.7 * fibres, rng.uniform(0.3, 1.2), 3.0), dtype=np.float32
    )


def through(sky: Sky, clear: Float32[np.ndarray, "band y x"]) -> Float32[np.ndarray, "band y x"]:
    """Return a clear-sky image as seen through clouds: shadows darken it, then clouds cover it.

    Args:
        sky: Clouds and their shadows.
        clear: TOA reflectance of all 13 bands under a clear sky.
    """
    air = spectrum("air")
    seen = np.empty_like(clear)
    for band, (cumulus, cirrus, dimming) in enumerate(zip(_CUMULUS, _CIRRUS, _DIMMING, strict=True)):
        ground = air[band] + (clear[band] - air[band]) * (1 - np.float32(dimming / 1000) * sky.shadow)
        ground += sky.cumulus * (np.float32(cumulus / 1000) * sky.sunlit - ground)
        ground += sky.cirrus * (np.float32(cirrus / 1000) - ground)
        seen[band] = ground
    return seen
