"""The manifest: one row a patch, kept or not, as GeoParquet; geopandas, QGIS and duckdb open it.

A region of which nothing could be made has a row, too, without patch.

The same rows give the same bytes, in whatever order they come.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.io.geoparquet import TIME, geo_table, read_table, with_metadata, write_table
from unclouded.patches.roi import SENSORS, natural

VERSION, DIGEST = "2", "unclouded.sha256"
"""Of the columns; and the key of the file's metadata under which it has the hash of its own values."""

ManifestRow = dict[str, Any]
"""JSON values by column; what is absent is null. Dates are ISO 8601 in UTC, the footprint is GeoJSON in degrees."""

_OF_AN_IMAGE = (
    ("", pa.string()),
    ("_bytes", pa.int64()),
    ("_sha256", pa.string()),
    ("_product", pa.string()),
    ("_acquired", TIME),
)
SCHEMA = pa.schema(
    [
        ("patch", pa.string()),
        pa.field("status", pa.string(), nullable=False),
        ("reason", pa.string()),
        ("findings", pa.list_(pa.string())),
        ("remarks", pa.list_(pa.string())),
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
        ("row_px", pa.int64()),
        ("column_px", pa.int64()),
        *((token + name, kind) for token in SENSORS for name, kind in _OF_AN_IMAGE),
        ("crs", pa.string()),
        ("geometry", pa.binary()),
    ]
)
"""Columns; docs/curation.md says what they mean."""
FAILED = "failed"
STATUSES = ("kept", "rejected", "incomplete", "unreadable", FAILED)
"""The last is that of a region, the others are those of patches."""


def write_manifest(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a manifest as GeoParquet 1.1, sorted by patch, whole or not at all.

    Raises:
        ValueError: A row has another column or status, or two rows have the same patch or region.
        MachineError: The disk is full, or the place cannot be written.
    """
    ordered = sorted(rows, key=lambda row: natural(_named(row)))
    _require_rows(ordered)
    table = with_metadata(geo_table(SCHEMA, ordered), {"unclouded.manifest": VERSION})
    write_table(path, with_metadata(table, {DIGEST: _digest(table.to_pylist())}))


def read_manifest(path: Path) -> list[ManifestRow]:
    """Read a manifest as it was given to :func:`write_manifest`, but for the footprint, which stays WKB.

    Raises:
        InputError: No such file, no Parquet, or the columns of another version.
    """
    table = read_table(path, SCHEMA, "make it with 'unclouded data manifest'")
    rows: list[ManifestRow] = table.to_pylist()
    if (table.schema.metadata or {}).get(DIGEST.encode()) != _digest(rows).encode():
        raise InputError(f"{named(path)} was changed after it was written; make it again, or take a copy of it")
    return rows


def _digest(rows: list[ManifestRow]) -> str:
    """Return a hash of all values, so that the manifest that vouches for files vouches for itself, too."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _named(row: Mapping[str, Any]) -> str:
    """Return what a row is about: a patch, or a region of which nothing could be made."""
    return str(row["roi"] if row["status"] == FAILED else row.get("patch"))


def _require_rows(rows: list[Mapping[str, Any]]) -> None:
    for row, following in zip(rows, [*rows, None][1:], strict=True):
        if unknown := row.keys() - set(SCHEMA.names):
            raise ValueError(f"{_named(row)} has the columns {sorted(unknown)}, which the manifest has not")
        if row["status"] not in STATUSES:
            raise ValueError(f"{_named(row)} has the status {row['status']!r}, expected one of {STATUSES}")
        if row["status"] != FAILED and not row.get("patch"):
            raise ValueError(f"a row of {row.get('roi')} has no patch, expected one, or the status {FAILED!r}")
        if following and _named(following) == _named(row):
            raise ValueError(f"two rows for {_named(row)}")
