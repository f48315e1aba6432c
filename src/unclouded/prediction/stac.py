"""A cleared scene as a STAC item: what it is, where, made of what and how, and every file with its checksum.

SpatioTemporal Asset Catalog 1.1 with the extensions projection 2.0, electro-optical 2.0, raster 2.0, classification
2.0, file 2.1 and processing 1.2. What no extension knows stands under ``unclouded:``.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
from odc.geo.geobox import GeoBox

from unclouded.files import sha256, write_json
from unclouded.io.rows import Layer
from unclouded.prediction.report.facts import Facts
from unclouded.sensors import COMMON_NAME, WAVELENGTH_NM
from unclouded.sentinel.footprints import footprint

EXTENSIONS = {
    name: f"https://stac-extensions.github.io/{name}/v{version}/schema.json"
    for name, version in (
        *(("projection", "2.0.0"), ("eo", "2.0.0"), ("raster", "2.0.0"), ("classification", "2.0.0")),
        *(("file", "2.1.0"), ("processing", "1.2.0")),
    )
}
"""Name to the address of its schema."""

FIRST_LIGHT = datetime(2015, 6, 27, tzinfo=UTC)
"""Day of the first image of Sentinel-2; an image without a date is not older."""


@dataclass(frozen=True)
class Product:
    """A file of a cleared scene.

    Attributes:
        path: In the folder of the item.
        title: What it is, in words.
        roles: Of the STAC best practices, such as ``data`` or ``metadata``.
        bands: Optical bands, where it has some.
        layer: What an image holds.
        classes: What the numbers of an image name, where they name something.
    """

    path: Path
    title: str
    roles: tuple[str, ...]
    bands: tuple[str, ...] = ()
    layer: Layer | None = None
    classes: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Statistics:
    """Numbers of the whole scene.

    Attributes:
        counts: How many pixels come from where.
        mean_coverage: Mean of m where it is known.
        cloudy_share: Share of the pixels with m > 0 where it is known.
    """

    counts: Mapping[str, int]
    mean_coverage: float
    cloudy_share: float

    def coverage(self) -> dict[str, float | None]:
        """Return both definitions by name; None where m is known nowhere."""
        known = {"mean_coverage": self.mean_coverage, "cloudy_share": self.cloudy_share}
        return {name: None if math.isnan(value) else value for name, value in known.items()}


def scene_item(
    geobox: GeoBox, products: Mapping[str, Product], facts: Facts, statistics: Statistics, not_after: datetime
) -> pystac.Item:
    """Return the item of a cleared scene.

    Args:
        geobox: Its grid.
        products: Asset name to file; all lie beside the item.
        facts: What it was made from, and how.
        statistics: Its numbers.
        not_after: When the input was written: an image without a date was taken between the first light of Sentinel-2
            and this.
    """
    taken = next((one.acquired for one in facts.inputs if one.role == "Sentinel-2" and one.acquired), None)
    geometry, bbox = outline(geobox)
    item = pystac.Item(
        id=item_id(facts.title),
        geometry=geometry,
        bbox=bbox,
        datetime=taken,
        start_datetime=None if taken else FIRST_LIGHT,
        end_datetime=None if taken else max(not_after, FIRST_LIGHT),
        properties=_properties(facts, statistics) | _projection(geobox),
        stac_extensions=sorted(EXTENSIONS.values()),
    )
    for name, product in products.items():
        item.add_asset(name, _asset(product))
    return item


def write_item(path: Path, item: pystac.Item) -> None:
    """Write an item, whole or not at all; the same item gives the same bytes."""
    content = item.to_dict(include_self_link=False, transform_hrefs=False)
    write_json(path, content)


def item_id(title: str) -> str:
    """Return a title as an id: letters, digits, ``-``, ``_`` and ``.``, as the best practices have it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", title).strip("-.")[:200] or "scene"


def outline(geobox: GeoBox) -> tuple[dict[str, Any] | None, list[float] | None]:
    """Return the footprint as GeoJSON in longitude and latitude, and its box; None where the scene has no georeference.

    A scene on the antimeridian is cut there, and the west of its box is east of its east (RFC 7946, 3.1.9 and 5.2).
    """
    if geobox.crs is None:
        return None, None
    geometry = footprint(geobox)
    parts = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    rings = [np.array(part[0]) for part in parts]  # the first lies west of the antimeridian
    west, east = rings[0][:, 0].min(), rings[-1][:, 0].max()
    latitudes = np.concatenate(rings)[:, 1]
    told = {"type": geometry["type"], "coordinates": _rounded(geometry["coordinates"])}
    return told, _rounded([west, latitudes.min(), east, latitudes.max()])


def _rounded(part: Any) -> Any:
    return [_rounded(one) for one in part] if isinstance(part, list | tuple) else round(float(part), 7)


def _projection(geobox: GeoBox) -> dict[str, Any]:
    epsg = geobox.crs.epsg if geobox.crs else None
    told: dict[str, Any] = {
        "proj:code": f"EPSG:{epsg}" if epsg else None,
        "proj:shape": list(geobox.shape),
        "proj:transform": list(geobox.affine)[:6],
    }
    if geobox.crs is not None and epsg is None:
        told["proj:wkt2"] = geobox.crs.to_wkt()
    if geobox.crs is not None:
        told["proj:bbox"] = list(geobox.boundingbox.bbox)
    return told


def _properties(facts: Facts, statistics: Statistics) -> dict[str, Any]:
    told: dict[str, Any] = {
        "title": f"{facts.title} without clouds",
        "description": f"Sentinel-2 image whose cloudy pixels were made by {facts.remover} with the help of Sentinel-1 "
        "radar; eo:cloud_cover is what was cloudy before, where that is known. Contains modified Copernicus Sentinel "
        "data.",
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        **({} if math.isnan(statistics.cloudy_share) else {"eo:cloud_cover": round(100 * statistics.cloudy_share, 4)}),
        "processing:software": {"unclouded": facts.version},
        "processing:lineage": f"Clouds mapped; pixels with m > 0, or unknown m, made by {facts.remover}; all others as "
        "observed.",
        "unclouded:remover": facts.remover,
        "unclouded:inputs": [
            {"role": one.role, "name": one.name, "sha256": one.sha256, "datetime": _stamp(one.acquired)}
            for one in facts.inputs
        ],
        "unclouded:settings": dict(facts.settings),
        "unclouded:statistics": {"pixels": {**statistics.counts, **facts.losses}, **statistics.coverage()},
    }
    if facts.fit is not None:
        told["unclouded:fit"] = facts.fit.as_json()
    if facts.remarks:
        told["unclouded:remarks"] = list(facts.remarks)
    if facts.measured:
        told["unclouded:measured"] = dict(facts.measured)
    if facts.expected is not None:
        content = facts.expected.as_json()
        told["unclouded:expected_error"] = {"pixels": content["pixels"], "removers": content["rows"]}
    if facts.choice:
        told["unclouded:choice"] = facts.choice
    return told


def _stamp(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _asset(product: Product) -> pystac.Asset:
    more: dict[str, Any] = {
        "file:size": product.path.stat().st_size,
        "file:checksum": f"1220{sha256(product.path)}",  # multihash: SHA-256, 32 bytes
    }
    if product.layer is not None:
        more |= _pixels(product.layer, product.bands)
    if product.classes:
        more["classification:classes"] = [{"value": code, "name": name} for code, name in product.classes.items()]
    kind = _KINDS[product.path.suffix]
    return pystac.Asset(
        f"./{product.path.name}", product.title, media_type=kind, roles=list(product.roles), extra_fields=more
    )


_KINDS = {".tif": pystac.MediaType.COG, ".html": pystac.MediaType.HTML, ".json": pystac.MediaType.JSON}


def _pixels(layer: Layer, bands: tuple[str, ...]) -> dict[str, Any]:
    """Say what the stored numbers of an image mean: value = number x scale + offset, band by band for optical ones."""
    told: dict[str, Any] = {"data_type": layer.dtype}
    if layer.nodata is not None:
        told["nodata"] = "nan" if math.isnan(layer.nodata) else layer.nodata
    if not bands:
        return told if layer.scale == 1.0 else told | {"raster:scale": layer.scale}
    offsets = layer.offsets or (0.0,) * len(bands)
    return told | {"bands": [_band(band, layer.scale, offset) for band, offset in zip(bands, offsets, strict=True)]}


def _band(band: str, scale: float, offset: float) -> dict[str, Any]:
    return {
        "name": band,
        "eo:common_name": COMMON_NAME[band],
        "eo:center_wavelength": WAVELENGTH_NM[band] / 1000,
        "raster:scale": scale,
        "raster:offset": offset,
    }
