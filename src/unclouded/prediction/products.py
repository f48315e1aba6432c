"""The files of a cleared scene: cloud-optimised GeoTIFFs, written from finished rows."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.cog import Layer, write_cog
from unclouded.prediction.mapping import SceneMap
from unclouded.prediction.provenance import Provenance
from unclouded.prediction.sources import Told
from unclouded.prediction.streaming import StripStore
from unclouded.scenes.radiometry import NO_DATA, QUANTIFICATION, Radiometry

PRODUCTS = ("clear", "cloud_map", "provenance", "uncertainty", "confidence")
"""All that there may be."""
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
    cleared: StripStore,
    scene_map: SceneMap,
    tops: list[int],
    geobox: GeoBox,
    told: Told,
) -> dict[str, Path]:
    """Write all files of a scene into a folder; return their paths by name."""
    paths = {product.name: folder / f"{product.name}.tif" for product in products}
    for done, product in enumerate(products, start=1):
        strips = _map_strips(scene_map) if product.name == "cloud_map" else _strips(cleared, tops, product.name)
        write_cog(paths[product.name], strips, product.layer, geobox)
        told("writing files", done, len(products))
    return paths


def _map_strips(scene_map: SceneMap) -> Iterator[tuple[int, NDArray[np.float32]]]:
    for top, bottom in scene_map.strips:
        yield top, scene_map.cloud_map(top, bottom)[None]


def _strips(store: StripStore, tops: list[int], name: str) -> Iterator[tuple[int, NDArray[np.generic]]]:
    for top in tops:
        strip = store.get(top)
        if strip is None:
            raise RuntimeError(f"{store.folder} lost the rows from {top} on while they were used")
        yield top, strip[name]
