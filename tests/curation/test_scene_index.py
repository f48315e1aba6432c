from datetime import UTC, datetime
from pathlib import Path

from shapely.geometry import box, mapping

from unclouded.catalogue.stac import StoredCatalogue
from unclouded.catalogue.triplets import SceneRecord
from unclouded.curation.scene_index import IndexedCatalogue, SceneIndex, indexed
from unclouded.files import write_json


def record(name: str, west: float) -> SceneRecord:
    return SceneRecord(name, "radar", datetime(2018, 7, 1, tzinfo=UTC), dict(mapping(box(west, 44, west + 1, 45))))


def test_scenes_near_a_place_are_found_in_the_order_of_their_names_also_over_the_antimeridian() -> None:
    index = SceneIndex([record("c", 11.5), record("a", 11), record("far", 30), record("edge", 179.5)])
    assert [one.name for one in index.near(mapping(box(11.6, 44.4, 11.8, 44.6)))] == ["a", "c"]
    assert [one.name for one in index.near(mapping(box(-179.9, 44.4, -179.7, 44.6)))] == ["edge"]
    assert SceneIndex([]).near(mapping(box(0, 0, 1, 1))) == []


def test_items_on_disk_are_parsed_once(tmp_path: Path) -> None:
    name = "S1A_IW_GRDH_1SDV_20180712T170650_20180712T170715_022756_0277A8_3768"
    good = {
        "type": "Feature",
        "id": name,
        "geometry": mapping(box(11, 44, 12, 45)),
        "properties": {"datetime": "2018-07-12T17:06:50Z"},
    }
    write_json(
        tmp_path / "items.json", {"type": "FeatureCollection", "features": [good, {"type": "Feature", "id": "x"}]}
    )
    catalogue = indexed(StoredCatalogue(tmp_path / "items.json"))
    assert isinstance(catalogue, IndexedCatalogue)
    assert [one.name for one in catalogue.near(good["geometry"])] == [name]  # type: ignore[arg-type]
    assert catalogue.skipped == {"x": "no item with properties"}
