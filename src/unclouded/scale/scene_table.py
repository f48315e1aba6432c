"""What became of many scenes: a table of all of them as GeoParquet, and a STAC collection that names every item."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import shapely
from shapely.geometry import shape

from unclouded.files import write_json
from unclouded.geoparquet import TIME, geo_table, with_metadata, write_table
from unclouded.prediction.provenance import Provenance
from unclouded.prediction.publishing import ITEM
from unclouded.prediction.stac import item_id
from unclouded.scale.clearing import FIT
from unclouded.scale.scene_list import TABLE
from unclouded.scale.tasks import Row

VERSION = "1"
SCHEMA = pa.schema(
    [
        pa.field("scene", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        ("reason", pa.string()),
        ("remover", pa.string()),
        ("expected_mae", pa.float64()),
        ("mean_coverage", pa.float64()),
        ("cloudy_share", pa.float64()),
        *((code.name.lower(), pa.int64()) for code in Provenance),
        *(
            (f"{sensor}_{name}", TIME if name == "acquired" else pa.string())
            for sensor in ("cloudy", "radar")
            for name in ("product", "sha256", "acquired")
        ),
        *((name, pa.float64()) for name in FIT),
        ("remarks", pa.list_(pa.string())),
        ("item", pa.string()),
        ("clear", pa.string()),
        ("clear_bytes", pa.int64()),
        ("clear_sha256", pa.string()),
        ("crs", pa.string()),
        ("geometry", pa.binary()),
    ]
)
"""Columns; docs/scale.md says what they mean."""


def write_scene_table(path: Path, rows: Sequence[Row], failures: Mapping[str, str]) -> None:
    """Write the table, sorted by name, whole or not at all; the same scenes give the same bytes.

    Args:
        path: The file.
        rows: Of the cleared scenes, from their tasks.
        failures: Reasons of those set aside, by name.
    """
    aside = [{"scene": name, "status": "set aside", "reason": reason} for name, reason in failures.items()]
    table = geo_table(SCHEMA, sorted([*map(_listed, rows), *aside], key=lambda row: str(row["scene"])))
    write_table(path, with_metadata(table, {"unclouded.scenes": VERSION}))


def _listed(row: Row) -> Row:
    clear = row["files"]["clear"]
    return row | {
        "item": f"{row['scene']}/{ITEM}",
        "clear": f"{row['scene']}/{clear['file']}",
        "clear_bytes": clear["bytes"],
        "clear_sha256": clear["sha256"],
    }


def write_collection(path: Path, title: str, rows: Sequence[Row]) -> None:
    """Write a STAC 1.1 collection beside the folders of the scenes, with a link to the item of each.

    Args:
        path: The file.
        title: Gives the id.
        rows: Of the cleared scenes.
    """
    ordered = sorted(rows, key=lambda row: str(row["scene"]))
    links = [{"rel": "root", "href": f"./{path.name}", "type": "application/json"}]
    for row in ordered:
        link = {"rel": "item", "href": f"./{row['scene']}/{ITEM}", "type": "application/geo+json"}
        links.append(link | {"title": row["scene"]})
    content = {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": item_id(title),
        "title": "Sentinel-2 scenes without clouds",
        "description": f"{len(ordered)} scenes whose cloudy pixels were made by unclouded with the help of Sentinel-1 "
        f"radar. {TABLE} lists them, and those that were set aside. Contains modified Copernicus Sentinel data.",
        "license": "other",
        "extent": _extent(ordered),
        "links": links,
    }
    write_json(path, content)


def _extent(rows: Sequence[Row]) -> dict[str, Any]:
    """Boxes of all footprints, the whole earth where none is known, and the time from the first image to the last."""
    shapes = [shape(row["geometry"]) for row in rows if row["geometry"]]
    box = [round(float(one), 7) for one in shapely.total_bounds(shapes)] if shapes else [-180.0, -90.0, 180.0, 90.0]
    moments = [moment for row in rows for moment in row["interval"]]
    return {
        "spatial": {"bbox": [box]},
        "temporal": {"interval": [[min(moments, default=None), max(moments, default=None)]]},
    }
