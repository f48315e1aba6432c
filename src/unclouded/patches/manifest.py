"""The manifest of a data set: a GeoParquet file with one row per patch, kept or not, for geopandas, QGIS or duckdb.

A region that failed has a row as well, without patch. The same rows give the same bytes in any order.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import shapely
from shapely.geometry import mapping

from unclouded.errors import InputError
from unclouded.files import is_file, named
from unclouded.io.geoparquet import TIME, geo_table, read_table, with_metadata, write_table
from unclouded.patches.roi import LEAK, REVIEWED, SENSORS, THRESHOLD, natural

VERSION, DIGEST = "2", "unclouded.sha256"
"""Version of the columns, and metadata key of the hash of all values."""

ManifestRow = dict[str, Any]
"""JSON values by column; missing values are null. Dates are ISO 8601 in UTC, the footprint is GeoJSON in degrees."""

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
"""Columns, described in docs/curation.md."""
FAILED = "failed"
STATUSES = ("kept", "rejected", "incomplete", "unreadable", FAILED)
"""Statuses of patches; ``failed`` is that of a region."""


def write_manifest(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a manifest atomically as GeoParquet 1.1, sorted by patch.

    Raises:
        ValueError: A row has an unknown column or status, or two rows have the same patch or region.
        MachineError: The disk is full, or the folder cannot be written.
    """
    ordered = sorted(rows, key=lambda row: natural(_named(row)))
    _require_rows(ordered)
    table = with_metadata(geo_table(SCHEMA, ordered), {"unclouded.manifest": VERSION})
    write_table(path, with_metadata(table, {DIGEST: _digest(table.to_pylist())}))


def read_manifest(path: Path) -> list[ManifestRow]:
    """Read a manifest; rows are as passed to :func:`write_manifest`, except for the footprint, which is WKB.

    Raises:
        InputError: The file is missing, not Parquet, changed, or has the columns of another version.
    """
    remedy = "create it with 'unclouded data manifest'"
    if not is_file(path):
        raise InputError(f"{named(path)} is not a file; {remedy}")
    table = read_table(path, SCHEMA, remedy)
    rows: list[ManifestRow] = table.to_pylist()
    if (table.schema.metadata or {}).get(DIGEST.encode()) != _digest(rows).encode():
        raise InputError(f"{named(path)} was changed after it was written; create it again, or restore a copy")
    return rows


def as_written(row: Mapping[str, Any]) -> ManifestRow:
    """Return a row of :func:`read_manifest` as :func:`write_manifest` takes it: GeoJSON, and times as text."""
    place = row["geometry"] and dict(mapping(shapely.from_wkb(row["geometry"])))
    times = {key: row[key].isoformat() for key in row if key.endswith("_acquired") and row[key] is not None}
    return {**row, **times, "geometry": place}


def withdrawn_patches(path: Path) -> set[str]:
    """Return the patches with files that a manifest rejects: after a review, for common ground, or by a new threshold.

    Only three columns are read, so that this takes a fraction of a second for SEN12MS-CR.

    Raises:
        InputError: The file is not Parquet, or has the columns of another version.
    """
    columns = pa.schema([SCHEMA.field(name) for name in ("patch", "status", "findings")])
    table = read_table(path, columns, "create it with 'unclouded data manifest'")
    rejected = table.filter(pc.equal(table["status"], "rejected")).to_pylist()
    withdrawing = (LEAK, REVIEWED, THRESHOLD)
    return {row["patch"] for row in rejected if any(one.startswith(withdrawing) for one in row["findings"] or ())}


def _digest(rows: list[ManifestRow]) -> str:
    """Return a hash of all values, which protects the manifest like its checksums protect the files."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _named(row: Mapping[str, Any]) -> str:
    """Return the patch of a row, or its region if that failed."""
    return str(row["roi"] if row["status"] == FAILED else row.get("patch"))


def _require_rows(rows: list[Mapping[str, Any]]) -> None:
    for row, following in zip(rows, [*rows, None][1:], strict=True):
        if unknown := row.keys() - set(SCHEMA.names):
            raise ValueError(f"{_named(row)} has the columns {sorted(unknown)}, expected those of the manifest")
        if row["status"] not in STATUSES:
            raise ValueError(f"{_named(row)} has the status {row['status']!r}, expected one of {STATUSES}")
        if row["status"] != FAILED and not row.get("patch"):
            raise ValueError(f"a row of {row.get('roi')} has no patch, expected one, or the status {FAILED!r}")
        if following and _named(following) == _named(row):
            raise ValueError(f"two rows for {_named(row)}")
