"""Raster products of a scene: provenance codes, encodings, and cloud-optimised GeoTIFFs written from finished strips.

The functions at the end turn pixel counts by provenance into shares and percentages for reports and messages.
"""

import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from unclouded.io.rows import Layer, open_cog
from unclouded.prediction.cloud_mapping import SceneMap
from unclouded.prediction.tiling import StripCheckpoint
from unclouded.progress import ProgressCallback
from unclouded.sentinel.radiometry import NO_DATA, QUANTIFICATION, Radiometry
from unclouded.sentinel.target_grid import TargetGrid
from unclouded.settings import Settings

PRODUCTS = ("clear", "cloud_map", "provenance", "uncertainty", "confidence")
"""Names of all possible products, besides the bands as separate files."""


class OutputSettings(Settings):
    """Options of the output files.

    Attributes:
        compression: Compression of the GeoTIFFs; ``zstd`` is faster to write and to read, but unknown to old software.
        split_bands: Write each band of ``clear.tif`` as a file of its own, too.
        pictures: Write pictures in natural colours, a thumbnail, and styles for QGIS.
    """

    compression: Literal["deflate", "zstd"] = "deflate"
    split_bands: bool = False
    pictures: bool = True


class Provenance(IntEnum):
    """Origin of a pixel; the codes of the provenance raster."""

    NO_DATA = 0
    """No band of the optical image has data, or the remover needs radar and a cloudy pixel has none."""
    OBSERVED = 1
    """m = 0: the stored integers equal the input bit for bit."""
    BLENDED = 2
    """0 < m < 0.5: predicted under thin cloud or at the edge of a cloud."""
    SYNTHESISED = 3
    """m >= 0.5: predicted under cloud."""
    NEAR_GAP = 4
    """Predicted, with pixels without data in the receptive field; these were replaced by the mean of the scene."""
    UNKNOWN_CLOUD = 5
    """Predicted as under opaque cloud: m is unknown, or a band is missing or saturated; other bands have values."""
    SHADOW = 6
    """m > 0 because of cloud shadow: predicted."""
    WITHOUT_RADAR = 7
    """m > 0: predicted from the optical image alone, because the radar has no data."""
    REFERENCE = 8
    """m > 0: predicted mainly from other dates of the place."""


CLASSES = {code.value: code.name.lower() for code in Provenance}
"""Code to name."""

UNKNOWN_STEPS = 65_535
"""Stored uncertainty of pixels that were not predicted."""

UNKNOWN_PERCENT = 255
"""Stored confidence of pixels that were not predicted."""


@dataclass(frozen=True)
class Product:
    """Product to write as a GeoTIFF.

    Attributes:
        name: Name of the file, NAME.tif.
        layer: Bands, data type, nodata value, scale and tags of the file.
        array: Name of the array in the strips.
        band: Position of the only band in that array; None for all bands.
    """

    name: str
    layer: Layer
    array: str
    band: int | None = None

    @property
    def pixel_bytes(self) -> int:
        """Bytes of one pixel in all bands."""
        return len(self.layer.bands) * np.dtype(self.layer.dtype).itemsize


def scene_products(
    bands: tuple[str, ...],
    radiometry: Radiometry,
    tags: Mapping[str, str],
    *,
    uncertainty: bool = False,
    confidence: bool = False,
    output: OutputSettings | None = None,
) -> list[Product]:
    """Return the products of a scene.

    Args:
        bands: Bands of the remover.
        radiometry: Scale, offset and nodata value of the stored integers.
        tags: Tags of every file.
        uncertainty: Include the uncertainty.
        confidence: Include the confidence of the remover.
        output: Compression, and whether to include each band as a file of its own; the defaults if omitted.
    """
    output = output or OutputSettings()
    scale = radiometry.scale
    codes = {f"VALUE_{code}": name.replace("_", " ") for code, name in CLASSES.items()}
    offsets = radiometry.offset if any(radiometry.offsets) else ()
    clear = Layer(bands, radiometry.dtype, NO_DATA, "average", scale, offsets, tags)
    layers = {
        "clear": clear,
        "cloud_map": Layer(("cloud map m",), "float32", math.nan, "average", tags=tags),
        "provenance": Layer(("provenance",), "uint8", Provenance.NO_DATA, "nearest", tags={**tags, **codes}),
    }
    if uncertainty:
        names = tuple(f"standard deviation of {band}" for band in bands)
        layers["uncertainty"] = Layer(names, "uint16", UNKNOWN_STEPS, "average", scale, (), tags)
    if confidence:
        layers["confidence"] = Layer(("confidence",), "uint8", UNKNOWN_PERCENT, "average", 0.01, (), tags)
    products = [Product(name, layer, name) for name, layer in layers.items()]
    if output.split_bands:
        for band, name in enumerate(bands):
            alone = replace(clear, bands=(name,), offsets=offsets and (offsets[band],))
            products.append(Product(f"clear_{name}", alone, "clear", band))
    return [replace(one, layer=replace(one.layer, compression=output.compression)) for one in products]


def encode_uncertainty(deviation: NDArray[np.float32], predicted: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Encode a standard deviation of reflectance as multiples of 1/10 000; 65 535 where ``predicted`` is False."""
    rounded = np.rint(np.nan_to_num(deviation) * QUANTIFICATION).clip(0, UNKNOWN_STEPS - 1)
    return np.where(predicted & np.isfinite(deviation), rounded, UNKNOWN_STEPS).astype(np.uint16)


def encode_confidence(confidence: NDArray[np.float32], predicted: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Encode a confidence from 0 to 1 in per cent; 255 where ``predicted`` is False."""
    rounded = np.rint(np.nan_to_num(confidence) * 100).clip(0, 100)
    return np.where(predicted & np.isfinite(confidence), rounded, UNKNOWN_PERCENT).astype(np.uint8)


def write_products(
    folder: Path,
    products: list[Product],
    cleared: StripCheckpoint,
    scene_map: SceneMap,
    tops: list[int],
    target: TargetGrid,
    on_progress: ProgressCallback,
) -> dict[str, Path]:
    """Write all products of a scene into a folder, reading every finished strip once; return their paths by name."""
    paths = {product.name: folder / f"{product.name}.tif" for product in products}
    with ExitStack() as stack:
        files = [(one, stack.enter_context(open_cog(paths[one.name], one.layer, target.geobox))) for one in products]
        for top, bottom in scene_map.strips:
            m = np.where(target.inside(top, bottom), scene_map.cloud_map(top, bottom), np.float32(np.nan))
            for product, write in files:
                if product.array == "cloud_map":
                    write(top, m[None])
        for done, top in enumerate(tops, start=1):
            for name in dict.fromkeys(product.array for product in products if product.array != "cloud_map"):
                strip = cleared.get(top, {name})  # one array at a time, because those of a wide scene are large
                if strip is None:
                    raise RuntimeError(f"{cleared.folder} lost the rows from {top} on during the run")
                for product, write in files:
                    if product.array == name:
                        write(top, strip[name] if product.band is None else strip[name][[product.band]])
                del strip
            on_progress("writing files", done, len(tops))
    return paths


# Provenance of each pixel.


SYNTHESISED_FROM = 0.5
"""Smallest m of synthesised pixels; those below are blended."""


def classify_provenance(
    cloud_map: Float32[np.ndarray, "y x"],
    optical: Bool[np.ndarray, "y x"],
    radar: Bool[np.ndarray, "y x"],
    reach_px: int,
    seen: Bool[np.ndarray, "y x"] | None = None,
    shadow: Bool[np.ndarray, "y x"] | None = None,
    *,
    needs_radar: bool = True,
) -> UInt8[np.ndarray, "y x"]:
    """Return the provenance of each pixel.

    Args:
        cloud_map: The map m; NaN where it is unknown.
        optical: True where all optical bands of the remover have data.
        radar: True where both radar bands have data.
        reach_px: Radius of the remover's receptive field.
        seen: True where any band of the optical image has a value; ``optical`` if omitted.
        shadow: True where m is due to cloud shadow; nowhere if omitted.
        needs_radar: Whether the remover predicts only pixels with radar.

    Returns:
        Codes of :class:`Provenance`.
    """
    seen = optical if seen is None else seen | optical
    unknown_cloud = seen & (np.isnan(cloud_map) | ~optical)
    codes = np.full(cloud_map.shape, Provenance.BLENDED, np.uint8)
    codes[cloud_map >= SYNTHESISED_FROM] = Provenance.SYNTHESISED
    if shadow is not None:
        codes[shadow] = Provenance.SHADOW
    missing = ~(seen & radar)
    if missing.any() and reach_px:
        codes[_near(missing, reach_px)] = Provenance.NEAR_GAP
    if not needs_radar:
        codes[~radar] = Provenance.WITHOUT_RADAR
    codes[unknown_cloud] = Provenance.UNKNOWN_CLOUD
    if needs_radar:
        codes[~radar] = Provenance.NO_DATA
    codes[(cloud_map == 0) & ~unknown_cloud] = Provenance.OBSERVED
    codes[~seen] = Provenance.NO_DATA
    return codes


def _near(where: Bool[np.ndarray, "y x"], reach_px: int) -> Bool[np.ndarray, "y x"]:
    """Dilate a mask by a square of side 2 ``reach_px`` + 1."""
    near = where.astype(np.uint8)
    for axis in (0, 1):
        near = maximum_filter1d(near, 2 * reach_px + 1, axis=axis, mode="constant", cval=0)
    return np.asarray(near > 0)


def percent_text(share: float) -> str:
    """Return a share as a percentage; only exact 0 and 1 are given as 0.0 % and 100.0 %."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    return "> 99.9 %" if 0.999 < share < 1 else f"{100 * share:.1f} %"


PREDICTED = ("blended", "synthesised", "near_gap", "shadow", "without_radar", "reference")
"""Provenance names of pixels under cloud or its shadow that were predicted."""

_CAUSES = {
    "no_data_optical": "no optical data",
    "no_data_radar": "cloudy and no radar data",
    "no_data_remover": "no result of the remover",
}


def shares(counts: Mapping[str, int]) -> dict[str, float]:
    """Return shares of the whole scene that add up to 1: observed, predicted, unknown_cloud and no_data.

    Args:
        counts: Pixel counts by the lower-case names of :class:`Provenance`.
    """
    total = max(1, sum(counts.get(code.name.lower(), 0) for code in Provenance))
    predicted = sum(counts.get(name, 0) for name in PREDICTED)
    others = {name: counts.get(name, 0) / total for name in ("observed", "unknown_cloud", "no_data")}
    return {"observed": others["observed"], "predicted": predicted / total, **others}


def in_percent(shares: Mapping[str, float]) -> dict[str, str]:
    """Return shares as percentages, rounded so that shares that add up to 1 add up to 100.0 %."""
    tenths = {name: int(1000 * share) for name, share in shares.items()}
    missing = round(1000 * sum(shares.values())) - sum(tenths.values())
    for name in sorted(shares, key=lambda name: tenths[name] - 1000 * shares[name])[:missing]:
        tenths[name] += 1
    return {
        name: f"{tenths[name] / 10:.1f} %" if tenths[name] not in (0, 1000) else percent_text(share)
        for name, share in shares.items()
    }


def causes(losses: Mapping[str, int], pixels: int) -> str:
    """Return the causes of missing data as text with shares of the scene, largest first; empty if no data are missing.

    Args:
        losses: Pixel counts by cause; see :data:`unclouded.prediction.clearing.LOSSES`.
        pixels: Pixels of the scene.
    """
    known = sorted(((losses.get(cause, 0), words) for cause, words in _CAUSES.items()), key=lambda one: -one[0])
    return ", ".join(f"{words} {percent_text(count / pixels)}" for count, words in known if count)
