"""The files of a cleared scene: cloud-optimised GeoTIFFs, written from finished rows."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scipy.ndimage import maximum_filter1d

from unclouded.io.rows import Layer, write_cog
from unclouded.prediction.cloud_mapping import SceneMap
from unclouded.prediction.tiling import StripCheckpoint
from unclouded.progress import ProgressCallback
from unclouded.sentinel.radiometry import NO_DATA, QUANTIFICATION, Radiometry

PRODUCTS = ("clear", "cloud_map", "provenance", "uncertainty", "confidence")
"""All that there may be."""


class Provenance(IntEnum):
    """Where a pixel comes from; the numbers of the provenance raster."""

    NO_DATA = 0
    """The optical image has no data here in any band, or the pixel has to be made and the radar has none."""
    OBSERVED = 1
    """m = 0: the stored integers are the input's, bit for bit."""
    BLENDED = 2
    """0 < m < 0.5: through thin cloud, or at the rim of a cloud."""
    SYNTHESISED = 3
    """m >= 0.5: made by the remover."""
    NEAR_GAP = 4
    """Made, with pixels without data in what the remover looked at: those were shown to it as the scene's mean."""
    UNJUDGED = 5
    """Made as under opaque cloud: m is unknown, or a band has no data or is saturated; other bands saw something."""


CLASSES = {code.value: code.name.lower() for code in Provenance}
"""What the numbers of the provenance raster name."""

UNKNOWN_STEPS = 65_535
"""Uncertainty of pixels that were not made."""

UNKNOWN_PERCENT = 255
"""Confidence in pixels that were not made."""


@dataclass(frozen=True)
class Product:
    """A file to write.

    Attributes:
        name: Of the array in the strips; the file is NAME.tif.
        layer: What the file says of itself.
    """

    name: str
    layer: Layer

    @property
    def pixel_bytes(self) -> int:
        """Bytes of one pixel with all its bands."""
        return len(self.layer.bands) * np.dtype(self.layer.dtype).itemsize


def products_of(
    bands: tuple[str, ...],
    radiometry: Radiometry,
    tags: Mapping[str, str],
    *,
    uncertainty: bool = False,
    confidence: bool = False,
) -> list[Product]:
    """Return the files of a scene.

    Args:
        bands: Of the remover.
        radiometry: What the integers of these bands mean.
        tags: Of every file.
        uncertainty: Whether there is one.
        confidence: Whether the remover tells one.
    """
    scale = radiometry.scale
    codes = {f"VALUE_{code}": name.replace("_", " ") for code, name in CLASSES.items()}
    offsets = radiometry.offset if any(radiometry.offsets) else ()
    found = [
        Product("clear", Layer(bands, radiometry.dtype, NO_DATA, "average", scale, offsets, tags)),
        Product("cloud_map", Layer(("cloud map m",), "float32", math.nan, "average", tags=tags)),
        Product("provenance", Layer(("provenance",), "uint8", Provenance.NO_DATA, "nearest", tags={**tags, **codes})),
    ]
    if uncertainty:
        names = tuple(f"standard deviation of {band}" for band in bands)
        found.append(Product("uncertainty", Layer(names, "uint16", UNKNOWN_STEPS, "average", scale, (), tags)))
    if confidence:
        found.append(Product("confidence", Layer(("confidence",), "uint8", UNKNOWN_PERCENT, "average", 0.01, (), tags)))
    return found


def steps(deviation: NDArray[np.float32], made: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Store a standard deviation of reflectance in steps of the image."""
    rounded = np.rint(np.nan_to_num(deviation) * QUANTIFICATION).clip(0, UNKNOWN_STEPS - 1)
    return np.where(made & np.isfinite(deviation), rounded, UNKNOWN_STEPS).astype(np.uint16)


def percent(confidence: NDArray[np.float32], made: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Store a confidence from 0 to 1 in hundredths."""
    rounded = np.rint(np.nan_to_num(confidence) * 100).clip(0, 100)
    return np.where(made & np.isfinite(confidence), rounded, UNKNOWN_PERCENT).astype(np.uint8)


def write_products(
    folder: Path,
    products: list[Product],
    cleared: StripCheckpoint,
    scene_map: SceneMap,
    tops: list[int],
    geobox: GeoBox,
    on_progress: ProgressCallback,
) -> dict[str, Path]:
    """Write all files of a scene into a folder; return their paths by name."""
    paths = {product.name: folder / f"{product.name}.tif" for product in products}
    for done, product in enumerate(products, start=1):
        strips = _map_strips(scene_map) if product.name == "cloud_map" else _strips(cleared, tops, product.name)
        write_cog(paths[product.name], strips, product.layer, geobox)
        on_progress("writing files", done, len(products))
    return paths


def _map_strips(scene_map: SceneMap) -> Iterator[tuple[int, NDArray[np.float32]]]:
    for top, bottom in scene_map.strips:
        yield top, scene_map.cloud_map(top, bottom)[None]


def _strips(store: StripCheckpoint, tops: list[int], name: str) -> Iterator[tuple[int, NDArray[np.generic]]]:
    for top in tops:
        strip = store.get(top)
        if strip is None:
            raise RuntimeError(f"{store.folder} lost the rows from {top} on while they were used")
        yield top, strip[name]


# Where each pixel of a cleared scene comes from.


SYNTHESISED_FROM = 0.5
"""From this m on a pixel counts as synthesised, below as blended: more of it is made than was seen."""


def trace(
    cloud_map: Float32[np.ndarray, "y x"],
    optical: Bool[np.ndarray, "y x"],
    radar: Bool[np.ndarray, "y x"],
    reach_px: int,
    seen: Bool[np.ndarray, "y x"] | None = None,
) -> UInt8[np.ndarray, "y x"]:
    """Return where each pixel comes from.

    Args:
        cloud_map: The map m; NaN where it is unknown.
        optical: Where all optical bands of the remover have data.
        radar: Where both radar bands have data.
        reach_px: How far the remover looks.
        seen: Where any band of the optical image saw something; where ``optical`` is true if omitted.

    Returns:
        Numbers of :class:`Provenance`.
    """
    seen = optical if seen is None else seen | optical
    unjudged = seen & (np.isnan(cloud_map) | ~optical)
    traced = np.full(cloud_map.shape, Provenance.BLENDED, np.uint8)
    traced[cloud_map >= SYNTHESISED_FROM] = Provenance.SYNTHESISED
    missing = ~(seen & radar)
    if missing.any() and reach_px:
        traced[_near(missing, reach_px)] = Provenance.NEAR_GAP
    traced[unjudged] = Provenance.UNJUDGED
    traced[~radar] = Provenance.NO_DATA
    traced[(cloud_map == 0) & ~unjudged] = Provenance.OBSERVED
    traced[~seen] = Provenance.NO_DATA
    return traced


def _near(where: Bool[np.ndarray, "y x"], reach_px: int) -> Bool[np.ndarray, "y x"]:
    """Say which pixels have a true one within a square around them."""
    near = where.astype(np.uint8)
    for axis in (0, 1):
        near = maximum_filter1d(near, 2 * reach_px + 1, axis=axis, mode="constant", cval=0)
    return np.asarray(near > 0)


def percent_text(share: float) -> str:
    """Return a share in per cent; what is not all and not nothing is never rounded to it."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    return "> 99.9 %" if 0.999 < share < 1 else f"{100 * share:.1f} %"


MADE = ("blended", "synthesised", "near_gap")
"""Counts of pixels that were cloudy and are made."""

_CAUSES = {
    "no_data_optical": "the optical image has none",
    "no_data_radar": "the radar has none where a pixel has to be made",
    "no_data_remover": "the remover gave none",
}


def shares(counts: Mapping[str, int]) -> dict[str, float]:
    """Return shares of the whole scene, which add up to 1: observed, made, unjudged and no_data.

    Args:
        counts: Pixels by the lower-case names of :class:`Provenance`.
    """
    total = max(1, sum(counts.get(code.name.lower(), 0) for code in Provenance))
    made = sum(counts.get(name, 0) for name in MADE)
    others = {name: counts.get(name, 0) / total for name in ("observed", "unjudged", "no_data")}
    return {"observed": others["observed"], "made": made / total, **others}


def in_percent(shares: Mapping[str, float]) -> dict[str, str]:
    """Return shares that add up to 1 in per cent, so rounded that the tenths add up to 100, too."""
    tenths = {name: int(1000 * share) for name, share in shares.items()}
    missing = round(1000 * sum(shares.values())) - sum(tenths.values())
    for name in sorted(shares, key=lambda name: tenths[name] - 1000 * shares[name])[:missing]:
        tenths[name] += 1
    return {
        name: f"{tenths[name] / 10:.1f} %" if tenths[name] not in (0, 1000) else percent_text(share)
        for name, share in shares.items()
    }


def causes(losses: Mapping[str, int], pixels: int) -> str:
    """Return why pixels have no data, in words with shares of the scene, the largest first; empty where none lacks.

    Args:
        losses: Pixels by cause; see :data:`unclouded.prediction.clearing.LOSSES`.
        pixels: Of the scene.
    """
    known = sorted(((losses.get(cause, 0), words) for cause, words in _CAUSES.items()), key=lambda one: -one[0])
    return ", ".join(f"{words} {percent_text(count / pixels)}" for count, words in known if count)
