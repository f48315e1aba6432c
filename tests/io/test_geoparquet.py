import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import geopandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unclouded.errors import InputError
from unclouded.io import geoparquet
from unclouded.io.geoparquet import TIME, geo_table, read_table, with_metadata, write_table

SCHEMA = pa.schema([("name", pa.string()), ("seen", TIME), ("geometry", pa.binary())])
SQUARE = {"type": "Polygon", "coordinates": [[[10, 44], [12, 44], [12, 45], [10, 45], [10, 44]]]}
EAST = {"type": "MultiPolygon", "coordinates": [[[[179, -1], [180, -1], [180, 0], [179, -1]]]]}
ROWS = [
    {"name": "a", "seen": "2018-07-11T12:20:21+02:00", "geometry": SQUARE},
    {"name": "b", "seen": None, "geometry": EAST},
    {"name": "c"},
]


def geo_of(table: pa.Table) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(table.schema.metadata[b"geo"])
    return content


def test_the_metadata_are_those_of_geoparquet_1_1() -> None:
    assert geo_of(geo_table(SCHEMA, ROWS)) == {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {
            "geometry": {
                "encoding": "WKB",
                "geometry_types": ["MultiPolygon", "Polygon"],
                "orientation": "counterclockwise",
                "bbox": [10.0, -1.0, 180.0, 45.0],
            }
        },
    }


def test_without_a_footprint_there_is_no_box() -> None:
    column = geo_of(geo_table(SCHEMA, ROWS[2:]))["columns"]["geometry"]
    assert column["geometry_types"] == [] and "bbox" not in column
    assert geo_table(SCHEMA, []).num_rows == 0


def test_moments_are_utc_and_what_is_absent_is_null() -> None:
    first, second, third = geo_table(SCHEMA, ROWS).to_pylist()
    assert first["seen"].isoformat() == "2018-07-11T10:20:21+00:00"
    assert second["seen"] is None and third == {"name": "c", "seen": None, "geometry": None}


def test_another_library_reads_the_footprints(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", geo_table(SCHEMA, ROWS))
    frame = geopandas.read_parquet(tmp_path / "a.parquet")
    assert frame.crs.equals("OGC:CRS84") and [one.area for one in frame.geometry if one] == [2.0, 0.5]
    assert frame.geometry.isna().tolist() == [False, False, True]


def test_more_metadata_stand_behind_what_there_is(tmp_path: Path) -> None:
    table = with_metadata(geo_table(SCHEMA, ROWS), {"mine": "1"})
    write_table(tmp_path / "a.parquet", table)
    metadata = pq.read_schema(tmp_path / "a.parquet").metadata
    assert metadata[b"mine"] == b"1" and b"geo" in metadata


def test_the_same_rows_give_the_same_bytes_and_a_file_is_whole_or_absent(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_table(tmp_path / f"{name}.parquet", geo_table(SCHEMA, ROWS))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match="cannot be"):
        write_table(tmp_path / "taken" / "a.parquet", geo_table(SCHEMA, ROWS))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet", "taken"]


def test_fault_21_rows_of_a_table_are_counted_before_one_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = pa.schema([("a", pa.string())])
    path = tmp_path / "t.parquet"
    write_table(path, pa.table({"a": ["x" * 1000] * 5000}, schema=schema))
    assert path.stat().st_size < 10_000
    assert read_table(path, schema, "write it again").num_rows == 5000
    monkeypatch.setattr(geoparquet, "MAX_BYTES", 1 << 20)
    with pytest.raises(InputError, match="decompresses to more than 1,048,576 bytes; write it again"):
        read_table(path, schema, "write it again")
    monkeypatch.setattr(geoparquet, "MAX_ROWS", 4999)
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", None)
    with pytest.raises(InputError, match="has 5,000 rows, expected at most 4,999"):
        read_table(path, schema, "write it again")


@given(data=st.data())
@settings(max_examples=60)
def test_fault_21_a_table_with_other_bytes_is_the_same_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    schema = pa.schema([("a", pa.string()), ("b", pa.list_(pa.string())), ("c", pa.int64())])
    table = pa.table({"a": ["x", None, "y"], "b": [["p"], [], None], "c": [1, 2, None]}, schema=schema)
    write_table(tmp_path / "t.parquet", table)
    content = bytearray((tmp_path / "t.parquet").read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place : place + 1] = data.draw(st.binary(min_size=1, max_size=4))
    (tmp_path / "t.parquet").write_bytes(content)
    with suppress(InputError):
        assert read_table(tmp_path / "t.parquet", schema, "write it again").num_rows <= 3
