"""The manifest: one row a patch, kept or not, as GeoParquet; geopandas, QGIS and duckdb open it.

The same rows give the same bytes, in whatever order they come.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from unclouded.errors import InputError
from unclouded.files import named, require_file, whole_file
from unclouded.patches.images import TOKENS
from unclouded.patches.layouts import natural

VERSION, DIGEST = "1", "unclouded.sha256"
"""Of the columns; and the key of the file's metadata under which it has the hash of its own values."""

ManifestRow = dict[str, Any]
"""JSON values by column; what is absent is null. Dates are ISO 8601 in UTC, the footprint is GeoJSON in degrees."""

_TIME = pa.timestamp("us", tz="UTC")
_OF_AN_IMAGE = (
    ("", pa.string()),
    ("_bytes", pa.int64()),
    ("_sha256", pa.string()),
    ("_product", pa.string()),
    ("_acquired", _TIME),
)
SCHEMA = pa.schema(
    [
        pa.field("patch", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        ("reason", pa.string()),
        ("findings", pa.list_(pa.string())),
        ("roi", pa.string()),
        ("season", pa.string()),
        ("split", pa.string()),
        ("mean_coverage", pa.float64()),
        ("cloudy_share", pa.float64()),
        ("radar_after_clear_days", pa.float64()),
        ("radar_after_cloudy_days", pa.float64()),
        ("clear_after_cloudy_days", pa.float64()),
        ("shift_right_px", pa.float64()),
        ("shift_down_px", pa.float64()),
        ("shift_gap", pa.float64()),
        *((token + name, kind) for token in TOKENS for name, kind in _OF_AN_IMAGE),
        ("crs", pa.string()),
        ("geometry", pa.binary()),
    ]
)
"""Columns; docs/curation.md says what they mean."""
STATUSES = ("kept", "rejected", "incomplete", "unreadable")


def write_manifest(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a manifest as GeoParquet 1.1, sorted by patch, whole or not at all.

    Raises:
        ValueError: A row has another column or status, or two rows have the same patch.
        InputError: The file cannot be written.
    """
    ordered = sorted(rows, key=lambda row: natural(row["patch"]))
    _require_rows(ordered)
    shapes = [shape(row["geometry"]) if row.get("geometry") else None for row in ordered]
    columns = {name: [row.get(name) for row in ordered] for name in SCHEMA.names}
    for name in SCHEMA.names:
        if SCHEMA.field(name).type == _TIME:
            columns[name] = [_time(text) for text in columns[name]]
    columns["geometry"] = [shapely.to_wkb(one, byte_order=1) if one else None for one in shapes]
    table = pa.table(columns, schema=SCHEMA)
    table = table.replace_schema_metadata(_metadata(shapes) | {DIGEST: _digest(table.to_pylist())})
    with whole_file(path) as partial:
        pq.write_table(table, partial, compression="zstd", row_group_size=1 << 16, write_page_checksum=True)


def read_manifest(path: Path) -> list[ManifestRow]:
    """Read a manifest as it was given to :func:`write_manifest`, but for the footprint, which stays WKB.

    Raises:
        InputError: No such file, no Parquet, or the columns of another version.
    """
    require_file(path)
    try:
        table = pq.read_table(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"{named(path)} is not a manifest: {' '.join(str(error).split())[:200]}; make it again"
        ) from error
    if absent := [name for name in SCHEMA.names if name not in table.column_names]:
        raise InputError(
            f"{named(path)} lacks the columns {' '.join(absent[:5])}; make it with 'unclouded data manifest'"
        )
    rows: list[ManifestRow] = table.select(SCHEMA.names).to_pylist()
    if (table.schema.metadata or {}).get(DIGEST.encode()) != _digest(rows).encode():
        raise InputError(f"{named(path)} was changed after it was written; make it again, or take a copy of it")
    return rows


def _digest(rows: list[ManifestRow]) -> str:
    """Return a hash of all values, so that the manifest that vouches for files vouches for itself, too."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _require_rows(rows: list[Mapping[str, Any]]) -> None:
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        if unknown := row.keys() - set(SCHEMA.names):
            raise ValueError(f"{row['patch']} has the columns {sorted(unknown)}, which the manifest has not")
        if row["status"] not in STATUSES:
            raise ValueError(f"{row['patch']} has the status {row['status']!r}, expected one of {STATUSES}")
        if following and following["patch"] == row["patch"]:
            raise ValueError(f"two rows for {row['patch']}")


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None


def _metadata(shapes: list[BaseGeometry | None]) -> dict[str, str]:
    """Return what GeoParquet 1.1.0 wants in the file: encoding, types and bounds; without crs it is OGC:CRS84."""
    known = [one for one in shapes if one is not None]
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": sorted({one.geom_type for one in known}),
        "orientation": "counterclockwise",
    }
    if known:
        column["bbox"] = shapely.total_bounds(known).tolist()
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    return {"geo": json.dumps(geo, sort_keys=True), "unclouded.manifest": VERSION}
