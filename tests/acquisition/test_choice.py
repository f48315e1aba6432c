"""Choice of images from recorded items, and from a made-up calendar whose answers are known by hand."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from unclouded.acquisition.choice import GetSettings, choose_scene, decisions_text
from unclouded.acquisition.places import Place, find_place
from unclouded.errors import InputError

SQUARE = {"type": "Polygon", "coordinates": [[[10, 44], [11, 44], [11, 45], [10, 45], [10, 44]]]}
HALF = {"type": "Polygon", "coordinates": [[[10, 44], [10.5, 44], [10.5, 45], [10, 45], [10, 44]]]}
PLACE = Place("here", SQUARE)


def optical(day: str, clouds: float, baseline: str = "0301", tile: str = "T32TPQ", outline: Any = SQUARE) -> Any:
    stamp = day.replace("-", "")
    return {
        "id": f"S2A_MSIL1C_{stamp}T102021_N{baseline}_R065_{tile}_{stamp}T132021",
        "geometry": outline,
        "properties": {"datetime": f"{day}T10:20:21Z", "eo:cloud_cover": clouds},
        "assets": {},
    }


def radar(moment: str, state: str, outline: Any = SQUARE, satellite: str = "S1A") -> Any:
    stamp = moment.replace("-", "").replace(":", "")
    return {
        "id": f"{satellite}_IW_GRDH_1SDV_{stamp}_{stamp}_022756_0277A8_3768",
        "geometry": outline,
        "properties": {"datetime": f"{moment}Z", "sat:orbit_state": state},
        "assets": {},
    }


def chosen(items: list[Any], day: str = "2021-07-14", **settings: Any) -> Any:
    return choose_scene(items, PLACE, date.fromisoformat(day), GetSettings(**settings))


def days(found: Any) -> list[str]:
    return [f"{one.day:%m-%d}" for one in found]


YEAR = [
    optical("2021-06-01", 1.0),
    optical("2021-07-04", 5.0),
    optical("2021-07-09", 90.0),
    optical("2021-07-14", 60.0),
    optical("2021-07-19", 15.0),
    optical("2021-07-24", 0.0),
    radar("2021-07-12T05:20:00", "descending"),
    radar("2021-07-15T17:10:00", "ascending"),
    radar("2021-07-19T17:10:00", "ascending"),
    radar("2021-07-24T05:20:00", "descending"),
]


def test_the_image_of_the_date_its_closest_radar_and_the_nearest_clear_dates_are_chosen() -> None:
    found = chosen(YEAR)
    assert days([found.cloudy]) == ["07-14"]
    assert [days(slices) for slices in found.radars] == [["07-15"]]
    assert days(found.references) == ["07-19", "07-04"]  # the closer one first
    assert days(chosen(YEAR, references=2).references) == ["07-19", "07-04", "07-24", "06-01"]
    assert [days(slices) for slices in chosen(YEAR, both_passes=True).radars] == [["07-15"], ["07-12"]]
    assert not chosen(YEAR, references=0).references


def test_every_candidate_has_a_reason() -> None:
    decisions = [line.split(": ", 1) for line in decisions_text(chosen(YEAR).decisions)]
    optical_lines = {name[11:19]: reason for name, reason in decisions if name.startswith("S2")}
    assert len(decisions) == 10
    assert optical_lines["20210714"] == "chosen as the cloudy image: of the date, 60.0 % cloud"
    assert optical_lines["20210709"] == "not chosen as reference, 90.0 % cloud, more than 20"
    assert optical_lines["20210724"] == "not chosen as reference, others are nearer"
    assert optical_lines["20210719"] == "chosen as reference: 5 days after, 15.0 % cloud"
    radars = [reason for name, reason in decisions if name.startswith("S1A")]
    assert radars[0] == "chosen as radar: the closest ascending pass, 1.3 days after the optical image"
    assert radars[1].startswith("not chosen, the closest descending pass, but further away: 2.2 days before")
    assert "not chosen as radar, more than 6 days apart (9.8 days)" in radars


def test_the_least_cloudy_image_within_days_is_chosen_if_asked_for() -> None:
    found = chosen(YEAR, days=10)
    assert days([found.cloudy]) == ["07-24"]
    assert "10 days after, 0.0 % cloud, the least cloudy within 10 days" in next(decisions_text(found.decisions))


def test_of_several_processings_the_newest_is_taken() -> None:
    found = chosen([optical("2021-07-14", 60.0), optical("2021-07-14", 61.0, "0500")])
    assert "_N0500_" in found.cloudy.record.name
    assert "of the same acquisition as S2A" in found.decisions[1].decision


def test_slices_of_one_pass_that_show_the_place_together_are_all_taken() -> None:
    east = {"type": "Polygon", "coordinates": [[[10.4, 44], [11, 44], [11, 45], [10.4, 45], [10.4, 44]]]}
    slices = [radar("2021-07-15T17:10:00", "ascending", HALF), radar("2021-07-15T17:10:25", "ascending", east)]
    whole = radar("2021-07-17T05:20:00", "descending")
    found = chosen([optical("2021-07-14", 60.0), *slices, whole])
    assert [len(group) for group in found.radars] == [2]
    assert "one of 2 slices" in found.decisions[1].decision
    found = chosen([optical("2021-07-14", 60.0), slices[0], whole])  # half a place is worse than a day
    assert days(found.radars[0]) == ["07-17"]


def test_without_radar_there_is_a_remark_and_without_an_image_the_nearest_dates_are_named() -> None:
    found = chosen([optical("2021-07-14", 60.0, outline=HALF)])
    assert found.radars == () and "no radar within 6 days of 2021-07-14" in found.remarks[1]
    assert "shows 50% of here; get each tile" in found.remarks[0]
    with pytest.raises(InputError, match=r"no L1C image shows here on 2021-07-15; the nearest are of .*--days 1"):
        chosen(YEAR, "2021-07-15")
    with pytest.raises(InputError, match="nor on any day searched"):
        chosen([])


def test_a_named_tile_excludes_its_neighbours() -> None:
    items = [optical("2021-07-14", 1.0, tile="T32TQQ"), optical("2021-07-14", 60.0)]
    place = Place("32TPQ", SQUARE, "T32TPQ")
    found = choose_scene(items, place, date(2021, 7, 14), GetSettings())
    assert found.cloudy.record.mgrs == "T32TPQ" and len(found.decisions) == 1


def test_recorded_items_of_public_catalogues_are_understood(recorded: Path) -> None:
    items = json.loads(recorded.read_text())["features"]
    place = find_place("11,44.5", 4)
    found = choose_scene(items, place, date(2018, 7, 11), GetSettings())
    assert found.cloudy.record.name == "S2A_MSIL1C_20180711T102021_N0206_R065_T32TPQ_20180711T132021"
    assert found.radars[0][0].record.name.startswith("S1A_IW_GRDH_1SDV_20180712T170650")
    assert [one.day for one in found.references] == [date(2018, 7, 8), date(2018, 7, 16)]
    level = choose_scene(items, place, date(2018, 7, 11), GetSettings(level="L2A"))
    assert "MSIL2A" in level.cloudy.record.name
