"""Tables with footprints as GeoParquet 1.1, for geopandas, QGIS and DuckDB; equal rows give equal bytes."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from unclouded.dates import parse_utc
from unclouded.errors import InputError
from unclouded.files import decoding, named, open_file, whole_file

TIME = pa.timestamp("us", tz="UTC")
"""Column type of timestamps; rows hold them as ISO 8601 text."""

MAX_ROWS = 1_000_000
"""Largest number of rows of a table that is read; SEN12MS-CR has 122,218 patches."""
MAX_BYTES = 2 << 30
"""Largest size of a table in memory, and of its columns by the metadata of the file."""
_BATCH_BYTES = 256 << 20


def read_table(path: Path, schema: pa.Schema, remedy: str) -> pa.Table:
    """Read the columns of a schema from a Parquet file, with its metadata.

    Rows, types and sizes in the footer are checked before any value is read. A column of few bytes can expand to any
    size, because dictionary encoding stores a value once for all rows that have it, so rows are read in batches.

    Args:
        path: Parquet file; further columns are ignored.
        schema: Columns and their types.
        remedy: Next step, the end of error messages.

    Raises:
        InputError: The file is missing, not Parquet, lacks columns, or is too large.
    """
    with (
        open_file(path) as content,
        decoding(path, "is not a Parquet table", remedy),
        pq.ParquetFile(content, page_checksum_verification=True) as file,
    ):
        _require_limits(path, file.metadata)
        found = file.schema_arrow
        if absent := [name for name in schema.names if name not in found.names]:
            raise InputError(f"{named(path)} lacks the columns {' '.join(absent[:5])}; {remedy}")
        if other := [name for name in schema.names if found.field(name).type != schema.field(name).type]:
            types = f"{found.field(other[0]).type}, expected {schema.field(other[0]).type}"
            raise InputError(f"{named(path)} has the column {other[0]} of type {types}; {remedy}")
        batches, size = [], 0
        for batch in file.iter_batches(_rows_at_once(file.metadata), columns=schema.names):
            size += batch.nbytes
            if size > MAX_BYTES:
                raise InputError(f"{named(path)} decompresses to more than {MAX_BYTES:,} bytes; {remedy}")
            batches.append(batch)
        kept = pa.schema([found.field(name) for name in schema.names], metadata=found.metadata)
        return pa.Table.from_batches(batches, schema=kept)


def _require_limits(path: Path, metadata: Any) -> None:
    if (rows := metadata.num_rows) > MAX_ROWS:
        raise InputError(f"{named(path)} has {rows:,} rows, expected at most {MAX_ROWS:,}; is it the right file?")
    if (declared := sum(chunk.total_uncompressed_size for chunk in _chunks(metadata))) > MAX_BYTES:
        raise InputError(f"{named(path)} declares {declared:,} bytes, expected at most {MAX_BYTES:,}")


def _rows_at_once(metadata: Any) -> int:
    """Return the batch size in rows: a single value may have all the bytes of its column."""
    most = max((chunk.total_uncompressed_size for chunk in _chunks(metadata)), default=0)
    return int(min(max(_BATCH_BYTES // max(most, 1), 1), 4096))


def _chunks(metadata: Any) -> Iterator[Any]:
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    return (group.column(number) for group in groups for number in range(group.num_columns))


def geo_table(schema: pa.Schema, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return rows as a table with GeoParquet metadata.

    Args:
        schema: Columns; the last one is ``geometry``, binary.
        rows: JSON values by column name; missing values are null. Footprints are GeoJSON in degrees.
    """
    shapes = [shape(row["geometry"]) if row.get("geometry") else None for row in rows]
    columns = {name: [row.get(name) for row in rows] for name in schema.names}
    for name in schema.names:
        if schema.field(name).type == TIME:
            columns[name] = [_time(text) for text in columns[name]]
    columns["geometry"] = [shapely.to_wkb(one, byte_order=1) if one else None for one in shapes]
    return with_metadata(pa.table(columns, schema=schema), {"geo": _metadata(shapes)})


def with_metadata(table: pa.Table, more: Mapping[str, str]) -> pa.Table:
    """Return a table with additional metadata."""
    return table.replace_schema_metadata({**(table.schema.metadata or {}), **more})


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table atomically.

    Raises:
        MachineError: The disk is full, or the folder cannot be written.
    """
    with whole_file(path) as partial, partial.open("wb") as output:  # pyarrow accepts UTF-8 paths only
        pq.write_table(table, output, compression="zstd", row_group_size=1 << 16, write_page_checksum=True)


def _time(text: str | None) -> datetime | None:
    return parse_utc(text) if text else None


def _metadata(shapes: Iterable[BaseGeometry | None]) -> str:
    """Return the ``geo`` metadata of GeoParquet 1.1.0: encoding, types and bounds; the default CRS is OGC:CRS84."""
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
