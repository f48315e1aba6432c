"""STAC item of a predicted scene, with its inputs, settings, statistics and the checksum of every file.

SpatioTemporal Asset Catalog 1.1 with the extensions projection 2.0, electro-optical 2.0, raster 2.0, classification
2.0, file 2.1 and processing 1.2. Fields outside these extensions have the prefix ``unclouded:``.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pystac
from odc.geo.geobox import GeoBox

from unclouded import __version__
from unclouded.files import sha256, write_json
from unclouded.io.rows import Layer
from unclouded.prediction.report.data import Input, OutputFile, ReportData
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

_PLATFORM = re.compile(r"S2([A-D])_")
"""Beginning of the name of a product, which names its platform."""

FIRST_LIGHT = datetime(2015, 6, 27, tzinfo=UTC)
"""Date of the first Sentinel-2 image, the earliest possible date of an undated one."""


def scene_item(data: ReportData, files: Mapping[str, OutputFile]) -> pystac.Item:
    """Return the item of a predicted scene.

    An undated image was acquired between :data:`FIRST_LIGHT` and the modification time of its file.

    Args:
        data: Grid, inputs, settings, statistics and remarks.
        files: Files by asset name, all in the folder of the item.
    """
    taken = next((one.acquired for one in data.inputs if one.role == "Sentinel-2" and one.acquired), None)
    geometry, bbox = outline(data.geobox)
    item = pystac.Item(
        id=item_id(data.title),
        geometry=geometry,
        bbox=bbox,
        datetime=taken,
        start_datetime=None if taken else FIRST_LIGHT,
        end_datetime=None if taken else max(data.modified, FIRST_LIGHT),
        properties=_properties(data) | _projection(data.geobox),
        stac_extensions=sorted(EXTENSIONS.values()),
    )
    for name, file in files.items():
        item.add_asset(name, _asset(file))
    for one in data.inputs:
        if one.role in _SOURCES:
            item.add_link(_derived_from(one, data))
    return item


_SOURCES = {
    "Sentinel-2": "cloudy image",
    "Sentinel-1": "radar",
    "reference": "image of another date",
    "reference radar": "radar of another date",
    "weights": "weights of the network",
}
"""Roles of the images that a scene is derived from, in words."""


def _derived_from(source: Input, data: ReportData) -> pystac.Link:
    """Return a link to an image or to weights by name, with the SHA-256 as multihash; not where it is stored.

    The link to weights has the name of the model, as the machine learning model extension (MLM) recommends.
    """
    more = {"file:checksum": f"1220{source.sha256}"}
    if source.role == "weights":
        more["mlm:name"] = data.remover
    return pystac.Link("derived_from", quote(source.name), title=_SOURCES[source.role], extra_fields=more)


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


def _properties(data: ReportData) -> dict[str, Any]:
    cloudy = data.coverage["cloudy_share"]
    properties: dict[str, Any] = {
        "title": f"{data.title} without clouds",
        "description": f"Sentinel-2 image whose cloudy pixels were predicted by {data.remover} "
        f"{'with' if data.radar_used else 'without'} Sentinel-1 radar; eo:cloud_cover is the cloud cover before cloud "
        "removal, where it is known. Contains modified Copernicus Sentinel data.",
        **({"platform": f"sentinel-2{found[1].lower()}"} if (found := _PLATFORM.match(data.title)) else {}),
        "constellation": "sentinel-2",
        "instruments": ["msi", "c-sar"] if data.radar_used else ["msi"],
        **({"gsd": data.pixel_m} if data.pixel_m else {}),
        **({"processing:level": data.measured["level"]} if "level" in data.measured else {}),
        **({} if cloudy is None else {"eo:cloud_cover": round(100 * cloudy, 4)}),
        "processing:software": {"unclouded": __version__},
        "processing:lineage": f"Clouds mapped; pixels with m > 0 or unknown m predicted by {data.remover}; all others "
        "as observed.",
        "unclouded:remover": data.remover,
        "unclouded:radar_used": data.radar_used,
        "unclouded:inputs": [
            {"role": one.role, "name": one.name, "sha256": one.sha256, "datetime": _utc_text(one.acquired)}
            for one in data.inputs
        ],
        "unclouded:settings": dict(data.settings),
        "unclouded:statistics": {"pixels": data.counts, **data.coverage},
    }
    if data.alignment is not None:
        properties["unclouded:fit"] = data.alignment.as_json()
    if data.remarks:
        properties["unclouded:remarks"] = list(data.remarks)
    if data.measured:
        properties["unclouded:measured"] = dict(data.measured)
    if data.expected is not None:
        content = data.expected.as_json()
        properties["unclouded:expected_error"] = {"pixels": content["pixels"], "removers": content["rows"]}
    if data.references:
        properties["unclouded:references"] = [one.as_json() for one in data.references]
    if data.choice:
        properties["unclouded:choice"] = data.choice
    return properties


def _utc_text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _asset(file: OutputFile) -> pystac.Asset:
    more: dict[str, Any] = {
        "file:size": file.path.stat().st_size,
        "file:checksum": f"1220{sha256(file.path)}",  # multihash: SHA-256, 32 bytes
    }
    if file.layer is not None:
        more |= _pixels(file.layer, file.bands)
    if file.classes:
        more["classification:classes"] = [{"value": code, "name": name} for code, name in file.classes.items()]
    kind = _KINDS[file.path.suffix]
    return pystac.Asset(f"./{file.path.name}", file.title, media_type=kind, roles=list(file.roles), extra_fields=more)


_KINDS = {
    ".tif": pystac.MediaType.COG,
    ".html": pystac.MediaType.HTML,
    ".json": pystac.MediaType.JSON,
    ".png": pystac.MediaType.PNG,
    ".qml": pystac.MediaType.XML,
}


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
