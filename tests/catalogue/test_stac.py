import copy
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unclouded.catalogue import stac as catalogue
from unclouded.catalogue.stac import ResponseCache, open_catalogue, record_of, records_of
from unclouded.errors import InputError

RECORDED = json.loads((Path(__file__).parents[1] / "data" / "stac_items.json").read_text())["features"]

OPTICAL, RADAR = RECORDED[0], RECORDED[8]


def test_scenes_are_distinguished_from_other_products_by_their_properties() -> None:
    records, skipped = records_of(RECORDED)
    assert [record.kind for record in records].count("radar") == 3 and len(records) == 13
    assert skipped == {
        "S2A_32TPQ_20180711_0_L2A": "of type S2MSI2A, expected S2MSI1C (Level-1C)",
        "S1A_IW_GRDH_1SSV_20180710T052715_20180710T052740_022756_0277A8": "with polarizations VV, expected VV and VH",
        "S1A_EW_GRDM_1SDH_20180710T052740_20180710T052805_022756_0277A8_3768": "of type EW GRD, expected IW GRD "
        "of high resolution",
        "S1A_IW_SLC__1SDV_20180711T051906_20180711T051931_022756_0277A8_3768": "of type IW SLC, expected IW GRD "
        "of high resolution",
    }


def test_the_product_is_named_whatever_the_item_is_called() -> None:
    of_parts = record_of(RECORDED[1])
    assert RECORDED[1]["id"] == "S2A_32TPQ_20180711_0_L1C"
    assert of_parts.name == "S2A_MSIL1C_20180711T102021_N0206_R065_T32TPQ_20180711T132021"
    assert (of_parts.zone, of_parts.cloud_percent) == ("32N", 62.3)
    assert of_parts.place == "s3://tiles/32TPQ/20180711/metadata.xml"
    by_id = record_of(OPTICAL)
    assert by_id.name == OPTICAL["id"] and by_id.acquired == datetime(2018, 7, 8, 10, 10, 31, 24_000, tzinfo=UTC)
    assert by_id.place == f"https://archive.example/odata/Products({by_id.name})/$value"  # without its token
    assert record_of(RECORDED[9]).acquired == datetime(2018, 6, 12, 17, 6, 50, tzinfo=UTC)  # datetime is null


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("geometry", None, "its geometry is null or missing, expected a polygon"),
        ("geometry", {"type": "Polygon", "coordinates": "x"}, "its coordinates are 'x', expected lists of numbers"),
        ("geometry", {"type": "Polygon", "coordinates": [[[0, 0], [1, 99], [1, 0], [0, 0]]]}, "a vertex lies at 1, 99"),
        ("geometry", {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [2, 2], [0, 0]]]}, "its polygon has no area"),
        ("geometry", {"type": "Point", "coordinates": [0, 0]}, "its geometry is 'Point', expected a polygon"),
        ("properties", None, "no item with properties"),
        ("id", "S2A\n[[regions]]", "no name of a Sentinel-1 or Sentinel-2 product"),
        ("datetime", None, "expected a time such as 2018-07-11T10:20:21Z, found 'NoneType'"),
        ("datetime", "0001-01-01T00:00:00+14:00", "found '0001-01-01T00:00:00+14:00'"),
        ("eo:cloud_cover", 1e9, "with a cloud cover of 1000000000.0, expected 0 to 100"),
        ("eo:cloud_cover", "0", "with a cloud cover of 0, expected 0 to 100"),
        ("product:type", "S2MSI2A", "of type S2MSI2A, expected S2MSI1C"),
    ],
)
def test_a_hostile_item_is_refused_with_its_reason(key: str, value: Any, reason: str) -> None:
    item = copy.deepcopy(OPTICAL)
    (item if key in item else item["properties"])[key] = value
    with pytest.raises(InputError) as error:
        record_of(item)
    assert reason in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "href", ["file:///etc/passwd", "https://a\nb", "javascript:alert(1)", "https://" + "a" * 2000, None, "https://[", 7]
)
def test_an_absurd_address_is_left_out(href: Any) -> None:
    item = copy.deepcopy(RADAR) | {"links": "none"}
    item["assets"]["safe-manifest"]["href"] = href
    assert record_of(item).place == ""


def test_names_and_passwords_are_no_part_of_an_address() -> None:
    item = copy.deepcopy(RADAR) | {"links": []}
    item["assets"]["safe-manifest"]["href"] = "https://me:secret@archive.example:8443/a.zip?key=secret#x"
    assert record_of(item).place == "https://archive.example:8443/a.zip"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)

_KEYS = ["geometry", "assets", "links", "properties", "id", *OPTICAL["properties"], *RADAR["properties"]]


@settings(max_examples=150)
@given(st.sampled_from([OPTICAL, RADAR]), st.dictionaries(st.sampled_from(_KEYS), _JSON, min_size=1, max_size=3))
def test_whatever_an_item_holds_it_is_a_scene_or_refused(item: dict[str, Any], changed: dict[str, Any]) -> None:
    hostile = copy.deepcopy(item)
    for key, value in changed.items():
        properties = hostile["properties"]
        (hostile if key in hostile or not isinstance(properties, dict) else properties)[key] = value
    records, skipped = records_of([hostile])
    assert len(records) + len(skipped) == 1


HERE, THERE = {"type": "Point", "coordinates": [11.0, 44.5]}, {"type": "Point", "coordinates": [150.5, -33.0]}

DAYS = (date(2018, 6, 1), date(2018, 8, 31))


class Catalogue:
    """Numbers its answers; has no items of one place."""

    def __init__(self, *no_progress: Mapping[str, Any]) -> None:
        self.no_progress, self.asked = no_progress, 0

    def items(self, outline: Mapping[str, Any], days: tuple[date, date], collection: str) -> list[Any]:
        if outline in self.no_progress:
            raise InputError("it does not answer")
        self.asked += 1
        return [{"id": f"item {self.asked}", "days": str(days), "of": collection, "\0": "no text"}]


def test_a_question_is_asked_once(tmp_path: Path) -> None:
    source = Catalogue()
    first = ResponseCache(source, "https://a.example", tmp_path / "answers").items(HERE, DAYS, "s1")
    again = ResponseCache(source, "https://a.example", tmp_path / "answers")
    assert again.items(dict(HERE), DAYS, "s1") == first and source.asked == 1
    for outline, days, collection in ((THERE, DAYS, "s1"), (HERE, (DAYS[0], DAYS[0]), "s1"), (HERE, DAYS, "s2")):
        again.items(outline, days, collection)
    ResponseCache(source, "https://b.example", tmp_path / "answers").items(HERE, DAYS, "s1")
    assert source.asked == 5
    again.clear()
    assert again.items(HERE, DAYS, "s1")[0]["id"] == "item 6"


def test_fault_41_what_was_not_answered_is_asked_again_and_nothing_else(tmp_path: Path) -> None:
    broken = ResponseCache(Catalogue(THERE), "https://a.example", tmp_path)
    assert broken.items(HERE, DAYS, "s1") and broken.is_complete
    with pytest.raises(InputError, match="it does not answer"):
        broken.items(THERE, DAYS, "s1")
    assert not broken.is_complete
    back = Catalogue()
    later = ResponseCache(back, "https://a.example", tmp_path)
    assert later.items(HERE, DAYS, "s1") and later.items(THERE, DAYS, "s1")
    assert later.is_complete and back.asked == 1


def test_fault_42_a_damaged_answer_is_asked_for_again(tmp_path: Path) -> None:
    source = Catalogue()
    kept = ResponseCache(source, "https://a.example", tmp_path)
    kept.items(HERE, DAYS, "s1")
    (path,) = tmp_path.iterdir()
    path.write_text(path.read_text()[:-5])
    assert kept.items(HERE, DAYS, "s1")[0]["id"] == "item 2" and source.asked == 2


ANY: Any = {}

CATALOGUE_DAYS = date(2018, 1, 1), date(2018, 12, 31)


def items(path: Path) -> list[Any]:
    return open_catalogue(str(path)).items(ANY, CATALOGUE_DAYS, "any")


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def test_a_collection_of_items_is_read_whole(recorded: Path) -> None:
    assert len(items(recorded)) == 17


def test_a_catalogue_on_disk_is_followed_to_its_items(tmp_path: Path) -> None:
    def linked(*links: tuple[str, str]) -> dict[str, Any]:
        return {"type": "Catalog", "links": [{"rel": rel, "href": href} for rel, href in links]}

    root = write(tmp_path / "catalog.json", linked(("child", "./s2/collection.json"), ("item", "b.json")))
    again = linked(("item", "a%20b.json"), ("root", "../../x"), ("child", "../catalog.json"))  # in a circle
    write(tmp_path / "s2" / "collection.json", again)
    write(tmp_path / "s2" / "a b.json", {"type": "Feature", "id": "a"})
    write(tmp_path / "b.json", {"type": "Feature", "id": "b"})
    assert [item["id"] for item in items(root)] == ["a", "b"]


@pytest.mark.parametrize("href", ["../secret.json", "/etc/passwd", "file:///etc/passwd", "https://a.example/x", "\0"])
def test_fault_27_a_link_out_of_the_folder_is_refused(tmp_path: Path, href: str) -> None:
    path = write(tmp_path / "a" / "catalog.json", {"type": "Catalog", "links": [{"rel": "item", "href": href}]})
    with pytest.raises(InputError, match="outside its folder; do not trust it"):
        items(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1]", "does not hold a JSON object; expected STAC items or a catalogue"),
        ('{"type": "Polygon"}', "is of type 'Polygon', expected STAC items"),
        ('{"type": "FeatureCollection", "features": 1}', "is of type 'FeatureCollection'"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_fault_25_another_file_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=reason):
        items(tmp_path / "a.json")


def test_a_catalogue_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "MAX_FILES", 2)
    links = [{"rel": "item", "href": f"{number}.json"} for number in range(3)]
    for number in range(3):
        write(tmp_path / f"{number}.json", {"type": "Feature"})
    with pytest.raises(InputError, match="more than 2 files of items"):
        items(write(tmp_path / "catalog.json", {"type": "Catalog", "links": links}))
    with pytest.raises(InputError, match="is not a file; check the path"):
        items(tmp_path / "absent.json")


def test_a_missing_client_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "unclouded.catalogue.stac_api", None)
    with pytest.raises(InputError, match=r"install 'unclouded\[stac\]'"):
        open_catalogue("https://catalogue.example")
