"""STAC item of a predicted scene, with its inputs, settings, statistics and the checksum of every file.

SpatioTemporal Asset Catalog 1.1 with the extensions projection 2.0, electro-optical 2.0, raster 2.0, classification
2.0, file 2.1 and processing 1.2. Fields outside these extensions have the prefix ``unclouded:``.
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
"""Extension name to the URL of its schema."""

FIRST_LIGHT = datetime(2015, 6, 27, tzinfo=UTC)
"""Date of the first Sentinel-2 image, the earliest possible date of an undated one."""


@dataclass(frozen=True)
class Product:
    """File of a predicted scene.

    Attributes:
        path: In the folder of the item.
        title: Title.
        roles: Roles of the STAC best practices, such as ``data`` or ``metadata``.
        bands: Optical bands, if any.
        layer: Bands, data type, nodata value and scale of an image.
        classes: Class names by code, for a classification.
    """

    path: Path
    title: str
    roles: tuple[str, ...]
    bands: tuple[str, ...] = ()
    layer: Layer | None = None
    classes: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Statistics:
    """Statistics of the whole scene.

    Attributes:
        counts: Pixel counts by provenance.
        mean_coverage: Mean of m over the pixels where it is known; NaN if it is known nowhere.
        cloudy_share: Share of pixels with m > 0 among those where m is known; NaN if it is known nowhere.
    """

    counts: Mapping[str, int]
    mean_coverage: float
    cloudy_share: float

    def coverage(self) -> dict[str, float | None]:
        """Return cloud coverage in both definitions by name; None if m is known nowhere."""
        known = {"mean_coverage": self.mean_coverage, "cloudy_share": self.cloudy_share}
        return {name: None if math.isnan(value) else value for name, value in known.items()}


def scene_item(
    geobox: GeoBox, products: Mapping[str, Product], facts: Facts, statistics: Statistics, not_after: datetime
) -> pystac.Item:
    """Return the item of a predicted scene.

    Args:
        geobox: Grid of the scene.
        products: Files by asset name, all in the folder of the item.
        facts: Inputs, settings and remarks.
        statistics: Statistics of the scene.
        not_after: Modification time of the input; an undated image was taken between :data:`FIRST_LIGHT` and this.
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
    """Write an item atomically; the same item gives the same bytes."""
    content = item.to_dict(include_self_link=False, transform_hrefs=False)
    write_json(path, content)


def item_id(title: str) -> str:
    """Return a title as an id of letters, digits, ``-``, ``_`` and ``.``, as in the STAC best practices."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", title).strip("-.")[:200] or "scene"


def outline(geobox: GeoBox) -> tuple[dict[str, Any] | None, list[float] | None]:
    """Return the footprint as GeoJSON in longitude and latitude and its bounding box; None without a georeference.

    A footprint is cut at the antimeridian; its box then has a west greater than its east (RFC 7946, 3.1.9 and 5.2).
    """
    if geobox.crs is None:
        return None, None
    geometry = footprint(geobox)
    parts = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    rings = [np.array(part[0]) for part in parts]  # the first lies west of the antimeridian
    west, east = rings[0][:, 0].min(), rings[-1][:, 0].max()
    latitudes = np.concatenate(rings)[:, 1]
    outline = {"type": geometry["type"], "coordinates": _rounded(geometry["coordinates"])}
    return outline, _rounded([west, latitudes.min(), east, latitudes.max()])


def _rounded(part: Any) -> Any:
    return [_rounded(one) for one in part] if isinstance(part, list | tuple) else round(float(part), 7)


def _projection(geobox: GeoBox) -> dict[str, Any]:
    epsg = geobox.crs.epsg if geobox.crs else None
    properties: dict[str, Any] = {
        "proj:code": f"EPSG:{epsg}" if epsg else None,
        "proj:shape": list(geobox.shape),
        "proj:transform": list(geobox.affine)[:6],
    }
    if geobox.crs is not None and epsg is None:
        properties["proj:wkt2"] = geobox.crs.to_wkt()
    if geobox.crs is not None:
        properties["proj:bbox"] = list(geobox.boundingbox.bbox)
    return properties


def _properties(facts: Facts, statistics: Statistics) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "title": f"{facts.title} without clouds",
        "description": f"Sentinel-2 image whose cloudy pixels were predicted by {facts.remover} with "
        "Sentinel-1 radar; eo:cloud_cover is the cloud cover before cloud removal, where it is known. Contains "
        "modified Copernicus Sentinel data.",
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        **({} if math.isnan(statistics.cloudy_share) else {"eo:cloud_cover": round(100 * statistics.cloudy_share, 4)}),
        "processing:software": {"unclouded": facts.version},
        "processing:lineage": f"Clouds mapped; pixels with m > 0 or unknown m predicted by {facts.remover}; all others "
        "as observed.",
        "unclouded:remover": facts.remover,
        "unclouded:inputs": [
            {"role": one.role, "name": one.name, "sha256": one.sha256, "datetime": _utc_text(one.acquired)}
            for one in facts.inputs
        ],
        "unclouded:settings": dict(facts.settings),
        "unclouded:statistics": {"pixels": {**statistics.counts, **facts.losses}, **statistics.coverage()},
    }
    if facts.alignment is not None:
        properties["unclouded:fit"] = facts.alignment.as_json()
    if facts.remarks:
        properties["unclouded:remarks"] = list(facts.remarks)
    if facts.measured:
        properties["unclouded:measured"] = dict(facts.measured)
    if facts.expected is not None:
        content = facts.expected.as_json()
        properties["unclouded:expected_error"] = {"pixels": content["pixels"], "removers": content["rows"]}
    if facts.choice:
        properties["unclouded:choice"] = facts.choice
    return properties


def _utc_text(moment: datetime | None) -> str | None:
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
    """Return data type, nodata value, scale and offset (value = DN x scale + offset), for optical images by band."""
    fields: dict[str, Any] = {"data_type": layer.dtype}
    if layer.nodata is not None:
        fields["nodata"] = "nan" if math.isnan(layer.nodata) else layer.nodata
    if not bands:
        return fields if layer.scale == 1.0 else fields | {"raster:scale": layer.scale}
    offsets = layer.offsets or (0.0,) * len(bands)
    return fields | {"bands": [_band(band, layer.scale, offset) for band, offset in zip(bands, offsets, strict=True)]}


def _band(band: str, scale: float, offset: float) -> dict[str, Any]:
    return {
        "name": band,
        "eo:common_name": COMMON_NAME[band],
        "eo:center_wavelength": WAVELENGTH_NM[band] / 1000,
        "raster:scale": scale,
        "raster:offset": offset,
    }
