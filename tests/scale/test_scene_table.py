import json
from pathlib import Path
from typing import Any

import geopandas
import pystac
import pytest

from unclouded.files import sha256
from unclouded.scale.scene_table import write_collection, write_scene_table

SQUARE = {"type": "Polygon", "coordinates": [[[9, 48], [10, 48], [10, 49], [9, 49], [9, 48]]]}


def row(name: str, **more: object) -> dict[str, Any]:
    return {
        "scene": name,
        "status": "cleared",
        "remover": "scene-adapted",
        "expected_mae": 0.02,
        "mean_coverage": 0.5,
        "cloudy_share": 0.6,
        "observed": 40,
        "synthesised": 60,
        "cloudy_product": f"{name}.zip",
        "cloudy_acquired": "2021-09-08T12:27:01+02:00",
        "remarks": ["no heights"],
        "key": "k",
        "files": {"clear": {"file": "clear.tif", "bytes": 7, "sha256": "0" * 64}},
        "crs": "EPSG:32632",
        "geometry": SQUARE,
        "interval": ["2021-09-08T10:27:01Z", "2021-09-08T10:27:01Z"],
    } | more


def test_the_table_lists_every_scene_and_opens_in_geopandas(tmp_path: Path) -> None:
    path = tmp_path / "scenes.parquet"
    write_scene_table(path, [row("b"), row("a", geometry=None)], {"aa": "s2.zip is cut"})
    table = geopandas.read_parquet(path)
    assert table["scene"].tolist() == ["a", "aa", "b"]
    assert table["status"].tolist() == ["cleared", "set aside", "cleared"]
    assert table["reason"][1] == "s2.zip is cut" and table["clear"][2] == "b/clear.tif"
    assert table["item"].fillna("").tolist() == ["a/item.json", "", "b/item.json"]
    assert table["cloudy_acquired"][0].isoformat() == "2021-09-08T10:27:01+00:00"
    assert table.geometry[2].bounds == (9, 48, 10, 49) and table.geometry[0] is None
    before = sha256(path)
    write_scene_table(path, [row("a", geometry=None), row("b")], {"aa": "s2.zip is cut"})
    assert sha256(path) == before


def test_the_collection_names_every_item(tmp_path: Path) -> None:
    path = tmp_path / "collection.json"
    east = {"type": "Polygon", "coordinates": [[[20, 40], [21, 40], [21, 41], [20, 40]]]}
    later = row("a", geometry=east, interval=["2022-01-01T00:00:00Z", "2022-01-02T00:00:00Z"])
    write_collection(path, "my scenes", [row("b"), later])
    collection = pystac.Collection.from_file(str(path))
    assert collection.id == "my-scenes" and "2 scenes" in collection.description
    assert [link.href for link in collection.get_links("item")] == ["./a/item.json", "./b/item.json"]
    assert collection.extent.spatial.bboxes == [[9, 40, 21, 49]]
    assert json.loads(path.read_text())["extent"]["temporal"]["interval"] == [
        ["2021-09-08T10:27:01Z", "2022-01-02T00:00:00Z"]
    ]


@pytest.mark.parametrize("rows", [[], [row("a", geometry=None)]])
def test_where_no_place_is_known_the_extent_is_the_whole_earth(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    write_collection(tmp_path / "c.json", "c", rows)
    assert pystac.Collection.from_file(str(tmp_path / "c.json")).extent.spatial.bboxes == [[-180, -90, 180, 90]]
