"""Scenes around a region of 52 x 40 km at 9 degrees east, 48 degrees north."""

import csv
import io
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from shapely.geometry import box, mapping

from unclouded.catalogue.triplets import (
    Choice,
    SceneRecord,
    TripletRequirements,
    choices_table,
    choose,
    joined_tables,
    zone_of,
)
from unclouded.errors import InputError
from unclouded.sentinel.footprints import footprint_around

CENTER = (9.0, 48.0)

AROUND = dict(mapping(box(8, 47, 10, 49)))

COVERAGE = {"O1": 0.004, "O2": 0.7, "O3": 0.002}


def need(**changed: Any) -> TripletRequirements:
    return TripletRequirements(
        **{"season": "summer", "center": CENTER, "outline": footprint_around(*CENTER, (52.0, 40.0))} | changed
    )


def record(name: str, month: int, day: int, footprint: dict[str, Any] = AROUND, place: str = "") -> SceneRecord:
    kind = "radar" if name.startswith("R") else "optical"
    percent = None if kind == "radar" else 50.0
    return SceneRecord(name, kind, datetime(2018, month, day, 10, tzinfo=UTC), footprint, percent, place or f"/{name}")


def look(one: SceneRecord) -> tuple[float | None, float]:
    if one.name == "damaged":
        raise InputError("damaged has another checksum")
    return COVERAGE[one.name], 1.0


def decisions(choice: Choice) -> dict[str, str]:
    return {decision.record.place[1:]: decision.decision for decision in choice.decisions}


def test_three_are_chosen_and_every_scene_of_the_place_is_explained() -> None:
    west = dict(mapping(box(8, 47, 9, 49)))  # half of the region
    records = [
        record("R1", 7, 11),
        record("O1", 7, 10),
        record("O2", 7, 12),
        record("O1", 7, 10, place="/copy"),
        record("half", 7, 11, west),
        record("elsewhere", 7, 11, dict(mapping(box(20, 47, 22, 49)))),
        record("spring", 5, 20),
        record("early", 6, 1),
        record("damaged", 7, 9),
    ]
    choice = choose(records, need(dates=(date(2018, 6, 2), date(2018, 8, 31))), look)
    assert {role: one.name for role, one in choice.records().items()} == {"radar": "R1", "clear": "O1", "cloudy": "O2"}
    assert decisions(choice) == {
        "R1": "chosen as radar, 2018-07-11; the three span 2.0 days",
        "O1": "chosen as clear, 2018-07-10, 0.4% cloud; the three span 2.0 days",
        "O2": "chosen as cloudy, 2018-07-12, 70.0% cloud; the three span 2.0 days",
        "copy": "refused, the same as /O1",
        "half": "refused, shows 50.0% of the region, expected 99.0%",
        "spring": "refused, of 2018-05-20, expected 2018-06-02 to 2018-08-31",
        "early": "refused, of 2018-06-01, expected 2018-06-02 to 2018-08-31",
        "damaged": "refused, damaged has another checksum",
    }


def test_clouds_of_another_season_are_not_looked_at() -> None:
    records = [record("R1", 7, 11), record("winter", 1, 10)]
    choice = choose(records, need(), lambda one: pytest.fail(f"{one.name} was looked at"))
    assert decisions(choice)["winter"] == "refused, of winter 2018 instead of a summer"
    with pytest.raises(InputError, match="found 1 radar and 0 optical scenes in a summer"):
        choice.records()


def test_what_the_pixels_show_counts_not_only_the_footprint() -> None:
    choice = choose([record("O1", 7, 10)], need(), lambda _: (0.0, 0.4))
    assert decisions(choice) == {"O1": "refused, shows 40.0% of the region, expected 99.0%"}
    assert choose([record("O1", 7, 10)], need(covers=0.3), lambda _: (0.0, 0.4)).decisions[0].shown == 0.4


def test_without_a_triplet_the_nearest_miss_is_named() -> None:
    most, half = (dict(mapping(box(8, 47, east, 49))) for east in (9.3, 9.0))  # 0.35 degrees are 26 km
    choice = choose([record("R1", 7, 11), record("O1", 7, 10, half), record("O2", 7, 12, most)], need(), look)
    assert choice.reason.endswith(
        "0 of them clear; search longer, or ask for less: 2 more were refused, such as O2, shows 93.0% of the region, "
        "expected 99.0%"
    )
    (one,) = (choose([record("O1", 7, 10, half)], need(), look).reason.partition("ask for less: ")[2],)
    assert one == "1 more was refused: O1, shows 50.0% of the region, expected 99.0%"
    twice = choose([record("O1", 7, 10), record("O1", 7, 10, place="/copy")], need(), look)
    assert twice.reason.endswith("search longer") and decisions(twice)["copy"] == "refused, the same as /O1"


def test_named_scenes_keep_their_role_whatever_speaks_against_them() -> None:
    records = [record("R1", 7, 1), record("O1", 7, 10), record("O2", 7, 12), record("O3", 8, 30)]
    clear = record("mine", 7, 30, dict(mapping(box(20, 47, 22, 49))))
    choice = choose(records, need(), look, {"clear": clear})
    assert {role: one.name for role, one in choice.records().items()} == {
        "radar": "R1",
        "clear": "mine",
        "cloudy": "O1",
    }
    choice = choose(records, need(), look, {"radar": record("R9", 8, 29), "cloudy": record("O2", 7, 12)})
    assert {role: one.name for role, one in choice.records().items()} == {
        "radar": "R9",
        "clear": "O3",
        "cloudy": "O2",
    }


def test_a_tile_lies_in_a_zone() -> None:
    assert [zone_of(tile) for tile in ("T32TQM", "T01LAC", "T22NBD", "granule")] == ["32N", "01S", "22N", None]


def test_the_table_has_a_line_a_scene() -> None:
    choice = choose([record("R1", 7, 11), record("O1", 7, 10), record("O2", 7, 12)], need(), look)
    lines = list(csv.DictReader(io.StringIO(choices_table({"ROIs0001_summer_1": choice}))))
    assert [line["product"] for line in lines] == ["R1", "O1", "O2"]
    assert lines[1] == {
        "roi": "ROIs0001_summer_1",
        "kind": "optical",
        "product": "O1",
        "acquired": "2018-07-10T10:00:00Z",
        "product_cloud_percent": "50.00",
        "region_cloud_percent": "0.40",
        "region_shown_percent": "100.00",
        "decision": "chosen as clear, 2018-07-10, 0.4% cloud; the three span 2.0 days",
        "place": "/O1",
    }
    assert lines[0]["region_cloud_percent"] == ""
    tables = [choices_table({name: choice}) for name in ("a", "b")]
    assert joined_tables(tables) == choices_table({"a": choice, "b": choice})


def test_of_several_processings_of_one_acquisition_the_newest_is_taken() -> None:
    old = replace(record("O1", 7, 10), mgrs="T32TPQ", baseline="02.06")
    new = replace(old, name="O1 again", baseline="05.00", acquired=old.acquired + timedelta(seconds=7), place="/new")
    beside = replace(old, name="O1 beside", mgrs="T32TQQ", place="/beside")  # a neighbouring tile of the overpass
    cover = {"O1": 0.0, "O1 again": 0.0, "O1 beside": 0.0, "O2": 0.7}
    choice = choose(
        [record("R1", 7, 11), old, new, beside, record("O2", 7, 12)], need(), lambda one: (cover[one.name], 1.0)
    )
    assert {role: one.name for role, one in choice.records().items()} == {
        "radar": "R1",
        "clear": "O1 again",
        "cloudy": "O2",
    }
    assert decisions(choice)["O1"] == "refused, of the same acquisition as O1 again"
    assert decisions(choice)["beside"].startswith("not chosen")
