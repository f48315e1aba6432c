"""Tables with footprints as GeoParquet 1.1; geopandas, QGIS and duckdb open them. The same rows give the same bytes."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from unclouded.dates import parse_utc
from unclouded.files import whole_file

TIME = pa.timestamp("us", tz="UTC")
"""Type of moments; in rows they are ISO 8601."""


def geo_table(schema: pa.Schema, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return rows as a table with the metadata of GeoParquet.

    Args:
        schema: Columns; the last one is ``geometry``, binary.
        rows: JSON values by column; what is absent is null. Footprints are GeoJSON in degrees.
    """
    shapes = [shape(row["geometry"]) if row.get("geometry") else None for row in rows]
    columns = {name: [row.get(name) for row in rows] for name in schema.names}
    for name in schema.names:
        if schema.field(name).type == TIME:
            columns[name] = [_time(text) for text in columns[name]]
    columns["geometry"] = [shapely.to_wkb(one, byte_order=1) if one else None for one in shapes]
    return with_metadata(pa.table(columns, schema=schema), {"geo": _metadata(shapes)})


def with_metadata(table: pa.Table, more: Mapping[str, str]) -> pa.Table:
    """Return a table with more metadata behind what it has."""
    return table.replace_schema_metadata({**(table.schema.metadata or {}), **more})


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table, whole or not at all.

    Raises:
        MachineError: The disk is full, or the place cannot be written.
    """
    with whole_file(path) as partial:
        pq.write_table(table, partial, compression="zstd", row_group_size=1 << 16, write_page_checksum=True)


def _time(text: str | None) -> datetime | None:
    return parse_utc(text) if text else None


def _metadata(shapes: Iterable[BaseGeometry | None]) -> str:
    """Return what GeoParquet 1.1.0 wants in the file: encoding, types and bounds; without crs it is OGC:CRS84."""
    known = [one for one in shapes if one is not None]
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": sorted({one.geom_type for one in known}),
        "orientation": "counterclockwise",
    }
    if known:
        column["bbox"] = shapely.total_bounds(known).tolist()
    return json.dumps(
        {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}, sort_keys=True
    )
