import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unclouded.errors import InputError
from unclouded.scenes.stac_items import record_of, records_of

RECORDED = json.loads((Path(__file__).parents[1] / "data" / "stac_items.json").read_text())["features"]
OPTICAL, RADAR = RECORDED[0], RECORDED[8]


def test_scenes_are_told_from_other_products_by_their_properties() -> None:
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
        ("geometry", {"type": "Polygon", "coordinates": [[[0, 0], [1, 99], [1, 0], [0, 0]]]}, "a corner lies at 1, 99"),
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
