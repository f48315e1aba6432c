import json
from pathlib import Path
from typing import Any

import duckdb
import geopandas
import pyarrow.parquet as pq
import pytest
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.files import sha256
from unclouded.patches.manifest import SCHEMA, read_manifest, write_manifest
from unclouded.sentinel.footprints import footprint

SQUARE = {"type": "Polygon", "coordinates": [[[9, 48], [10, 48], [10, 49], [9, 49], [9, 48]]]}
ROWS: list[dict[str, Any]] = [
    {
        "patch": "ROIs1158_spring_1_p10",
        "status": "kept",
        "roi": "ROIs1158_spring_1",
        "season": "spring",
        "findings": ["snow:s2"],
        "mean_coverage": 0.5,
        "s1": "ROIs1158_spring_s1/s1_1/ROIs1158_spring_s1_1_p10.tif",
        "s1_bytes": 524_888,
        "s1_sha256": "0" * 64,
        "s1_acquired": "2018-05-01T17:06:50.054569+00:00",
        "radar_after_clear_days": -1.5,
        "geometry": SQUARE,
    },
    {"patch": "ROIs1158_spring_1_p9", "status": "rejected", "reason": "haze in s2: 80.0% cirrus", "geometry": None},
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_manifest(tmp_path / "manifest.parquet", ROWS)
    return tmp_path / "manifest.parquet"


def test_geopandas_reads_the_footprints_in_degrees(path: Path) -> None:
    table = geopandas.read_parquet(path)
    assert list(table["patch"]) == ["ROIs1158_spring_1_p9", "ROIs1158_spring_1_p10"]  # 9 before 10
    assert table.crs == "OGC:CRS84" and table.geometry.iloc[0] is None
    assert table.geometry.iloc[1].bounds == (9, 48, 10, 49) and table.geometry.iloc[1].exterior.is_ccw
    assert str(table["s1_acquired"].iloc[1]) == "2018-05-01 17:06:50.054569+00:00"


def test_duckdb_queries_the_manifest(path: Path) -> None:
    with duckdb.connect() as connection:
        query = f"select patch, mean_coverage, findings[1] from '{path}' where status = 'kept' and s1_bytes > 1000"
        assert connection.execute(query).fetchall() == [("ROIs1158_spring_1_p10", 0.5, "snow:s2")]


def test_the_metadata_follow_geoparquet_1_1(path: Path) -> None:
    metadata = pq.read_schema(path).metadata
    geo = json.loads(metadata[b"geo"])
    assert geo["version"] == "1.1.0" and geo["primary_column"] == "geometry"
    assert geo["columns"]["geometry"] == {
        "encoding": "WKB",
        "geometry_types": ["Polygon"],
        "orientation": "counterclockwise",
        "bbox": [9, 48, 10, 49],
    }
    geopandas.io.arrow._validate_geo_metadata(geo)  # the oracle's own check


def test_the_same_rows_in_another_order_give_the_same_bytes(path: Path, tmp_path: Path) -> None:
    write_manifest(tmp_path / "other.parquet", reversed(ROWS))
    assert sha256(tmp_path / "other.parquet") == sha256(path)


def test_a_region_that_was_set_aside_stands_before_the_patches_of_the_next(tmp_path: Path) -> None:
    lost = {"roi": "ROIs1158_spring_1", "status": "failed", "reason": "s1.tif is damaged"}
    patches = [{"patch": f"ROIs1158_spring_{number}_p1", "status": "kept"} for number in (0, 2)]
    write_manifest(tmp_path / "m.parquet", [lost, *patches])
    rows = read_manifest(tmp_path / "m.parquet")
    assert [row["patch"] for row in rows] == ["ROIs1158_spring_0_p1", None, "ROIs1158_spring_2_p1"]
    assert rows[1]["reason"] == "s1.tif is damaged"
    assert len(geopandas.read_parquet(tmp_path / "m.parquet")) == 3


def test_written_values_are_read_and_missing_ones_are_null(path: Path) -> None:
    first, second = read_manifest(path)
    assert list(second) == SCHEMA.names
    assert second["s1_bytes"] == 524_888 and second["radar_after_clear_days"] == -1.5
    assert first["reason"] == "haze in s2: 80.0% cirrus" and first["s2_cloudy_product"] is None


def test_fault_12_a_footprint_over_the_antimeridian_is_two_polygons(tmp_path: Path) -> None:
    fiji = GeoBox.from_bbox((815_000, 8_000_000, 825_000, 8_010_000), "EPSG:32760", resolution=10)
    write_manifest(tmp_path / "m.parquet", [{"patch": "a", "status": "kept", "geometry": footprint(fiji)}])
    (shape,) = geopandas.read_parquet(tmp_path / "m.parquet").geometry
    assert shape.geom_type == "MultiPolygon" and sorted(part.bounds[0] < 0 for part in shape.geoms) == [False, True]


def test_fault_42_a_manifest_with_a_flipped_byte_is_refused_or_has_the_same_values(path: Path) -> None:
    content, before = path.read_bytes(), read_manifest(path)
    refused = 0
    for place in range(0, len(content), 97):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            assert read_manifest(path) == before  # a byte that is not read, such as of statistics
        except InputError:
            refused += 1
    assert refused > 10


def test_a_manifest_whose_values_were_changed_is_refused(path: Path) -> None:
    table = pq.read_table(path)
    column = table.column_names.index("s1_bytes")
    pq.write_table(table.set_column(column, "s1_bytes", table["s1_sha256"].is_null().cast("int64")), path)
    with pytest.raises(InputError, match=r"manifest\.parquet was changed after it was written"):
        read_manifest(path)


def test_files_other_than_manifests_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("patch,status")
    with pytest.raises(InputError, match="is not a Parquet table"):
        read_manifest(tmp_path / "a.parquet")
    pq.write_table(pq.read_table(_with_rows(tmp_path)).drop_columns(["status", "crs"]), tmp_path / "b.parquet")
    with pytest.raises(InputError, match="lacks the columns status crs; create it with 'unclouded data manifest'"):
        read_manifest(tmp_path / "b.parquet")


def _with_rows(folder: Path) -> Path:
    write_manifest(folder / "c.parquet", ROWS)
    return folder / "c.parquet"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([{"patch": "a", "status": "good"}], "status 'good'"),
        ([{"patch": "a", "status": "kept", "clouds": 1}], "columns .*clouds"),
        ([{"patch": "a", "status": "kept"}] * 2, "two rows for a"),
        ([{"roi": "a", "status": "failed"}] * 2, "two rows for a"),
        ([{"roi": "a", "status": "kept"}], "a row of a has no patch, expected one, or the status 'failed'"),
    ],
)
def test_invalid_rows_are_bugs(tmp_path: Path, wrong: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_manifest(tmp_path / "m.parquet", wrong)
