import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from shapely.geometry import Point, box, mapping, shape

from unclouded.errors import InputError
from unclouded.files import write_json
from unclouded.patches.geographic_split import circle_around
from unclouded.patches.sampling import (
    as_geojson,
    months_of,
    noon_sun_deg,
    packaged_land,
    read_land,
    read_sampled,
    sample_regions,
)
from unclouded.patches.splits import Split, official_counts

LAND = {"Africa": box(-10, -30, 40, 30), "Oceania": box(115, -38, 150, -12), "Asia": box(60, 20, 120, 70)}


def test_regions_are_balanced_over_continents_and_seasons_on_land() -> None:
    found = sample_regions(LAND, 30, seed=1158)
    counts = Counter((region.continent, region.roi.season) for region in found)
    assert len(counts) == 12 and set(counts.values()) == {2, 3}
    assert all(LAND[region.continent].contains(Point(region.longitude, region.latitude)) for region in found)
    assert [region.roi.number for region in sample_regions(LAND, 3, seed=5)] == [1, 2, 3]


def test_names_of_published_regions_are_not_used_again() -> None:
    found = sample_regions(LAND, 3, seed=11_158)  # 1158 is a seed of SEN12MS-CR
    assert [str(region.roi).rpartition("_")[2] for region in found] == ["1001", "1002", "1003"]
    assert found[0].roi.seed == "ROIs1158" and not {region.roi for region in found} & official_counts().keys()


def test_sea_and_polar_night_are_avoided() -> None:
    coast = {"Coast": box(0, 0, 10, 10)}
    for region in sample_regions(coast, 20, seed=2, least_land=0.9):
        outline = shape(region.footprint)
        assert outline.intersection(coast["Coast"]).area >= 0.9 * outline.area
    assert noon_sun_deg("winter", 65.0) == pytest.approx(90 - 65 - 21.2, abs=0.2)  # declination of 15 January
    assert noon_sun_deg("winter", -65.0) == pytest.approx(noon_sun_deg("winter", 65.0), abs=0.6)  # June and July there
    north = sample_regions({"North": box(10, 60, 60, 75)}, 8, seed=1)
    assert all(region.latitude < 64 for region in north if region.roi.season == "winter")


def test_a_region_without_products_is_drawn_again() -> None:
    africa = {"Africa": LAND["Africa"]}
    found = sample_regions(africa, 12, seed=4, has_products=lambda region: region.latitude > 0)
    assert len(found) == 12 and all(region.latitude > 0 for region in found)
    with pytest.raises(InputError, match="Oceania has no room"):
        sample_regions({"Oceania": LAND["Oceania"]}, 3, seed=4, has_products=lambda region: region.latitude > 0)


def test_the_packaged_land_has_six_continents_and_no_sea() -> None:
    land = packaged_land("world")
    assert [*land] == ["Africa", "Asia", "Europe", "North America", "Oceania", "South America"]
    places = {
        "Africa": (20, 0),
        "Asia": (90, 60),
        "Europe": (10, 50),
        "North America": (-100, 45),
        "Oceania": (135, -25),
    }
    assert all(land[name].contains(Point(place)) for name, place in places.items())
    assert not any(outline.contains(Point(-30, 30)) for outline in land.values())


def test_the_packaged_climate_zones_are_those_of_well_known_places_on_land() -> None:
    zones = packaged_land("climate")
    places = {
        "tropical": (-60, -5),  # Manaus
        "arid": (20, 25),  # Sahara
        "temperate": (2.3, 48.8),  # Paris
        "cold": (100, 62),  # Siberia
        "polar": (-40, 72),  # Greenland
    }
    assert {zone: [*(one for one in zones if zones[one].contains(Point(place)))] for zone, place in places.items()} == {
        zone: [zone] for zone in places
    }
    assert not any(outline.contains(Point(-30, 30)) for outline in zones.values())
    both = packaged_land("world-climate")
    assert both["Africa, arid"].contains(Point(20, 25)) and "Africa, polar" not in both
    assert len(sample_regions(both, 30, seed=1)) == 30


def test_regions_do_not_overlap() -> None:
    found = sample_regions({"Island": box(0, 0, 6, 6)}, 30, seed=3, apart_km=10)
    outlines = [shape(region.footprint) for region in found]
    assert not any(a.intersects(b) for i, a in enumerate(outlines) for b in outlines[:i])
    circles = [circle_around(region.footprint) for region in found]
    assert min(a.gap_km(b) for i, a in enumerate(circles) for b in circles[:i]) >= 10


def test_a_seed_repeats_the_regions_and_more_regions_keep_the_first() -> None:
    few, many = sample_regions(LAND, 10, seed=5), sample_regions(LAND, 20, seed=5)
    assert many[:10] == few and sample_regions(LAND, 10, seed=6) != few


def test_southern_seasons_have_the_months_of_the_opposite_ones() -> None:
    assert months_of("summer", 48) == (6, 7, 8) and months_of("summer", -33) == (12, 1, 2)
    assert months_of("winter", -33) == (6, 7, 8) and months_of("spring", -1) == (9, 10, 11)


def test_places_are_uniform_by_area_not_by_degrees() -> None:
    found = sample_regions({"North": box(-170, 0, 170, 60)}, 100, seed=1, size_km=(1, 1))
    south_of_25_7 = sum(region.latitude < 25.66 for region in found)  # half of the area: sin 25.66 = sin 60 / 2
    assert 36 <= south_of_25_7 <= 64


def test_a_full_continent_is_refused() -> None:
    with pytest.raises(InputError, match=r"Islet has no room for region .* of 20 .*; reduce the number of regions"):
        sample_regions({"Islet": box(0, 0, 1, 1)}, 20, seed=1)


def test_land_beyond_the_last_tiles_is_not_sampled() -> None:
    with pytest.raises(InputError, match="Antarctica has no room for region 1"):
        sample_regions({"Antarctica": box(-170, -89, 170, -85)}, 1, seed=1)


def test_a_land_mask_is_read_and_its_pieces_are_united(tmp_path: Path) -> None:
    features = [
        {"type": "Feature", "properties": {"continent": name}, "geometry": mapping(piece)}
        for name, piece in (("A", box(0, 0, 1, 1)), ("A", box(1, 0, 2, 1)), ("B", box(5, 5, 6, 6)))
    ]
    (tmp_path / "land.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    land = read_land(tmp_path / "land.geojson")
    assert land["A"].area == 2 and land["B"].bounds == (5, 5, 6, 6)
    (tmp_path / "land.geojson").write_text('{"features": [{"properties": {}}]}')
    with pytest.raises(InputError, match=r"feature 0 has no property 'continent'"):
        read_land(tmp_path / "land.geojson")


def test_written_regions_are_read(tmp_path: Path) -> None:
    found = sample_regions({"here": box(0, 40, 20, 50)}, 6, 1)
    split = Split(frozenset(one.roi for one in found[2:]), frozenset([found[0].roi]), frozenset([found[1].roi]))
    write_json(tmp_path / "regions.geojson", as_geojson(found, split))
    again = read_sampled(tmp_path / "regions.geojson")
    assert [(one.roi, one.longitude, one.months) for one, _ in again] == [
        (one.roi, one.longitude, one.months) for one in found
    ]
    assert [part for _, part in again] == ["val", "test", "train", "train", "train", "train"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"center": [11.0]}, "feature 0 .*: expected longitude and latitude for 'center'"),
        ({"center": [500.0, 40.0]}, "expected a center between 180 W and 180 E, found longitude 500"),
        ({"center": [31.0, 44.0]}, "its polygon does not contain its center"),
        ({"roi": 7}, "expected text for 'roi'"),
        ({"center": [11.0, 89.0]}, "between 80 S and 84 N"),
        ({"roi": "region"}, "is not a region"),
        ({"split": "dev"}, "has no part"),
    ],
)
def test_invalid_regions_are_refused(tmp_path: Path, changed: dict[str, Any], reason: str) -> None:
    properties = {"roi": "ROIs0001_fall_1", "center": [11.0, 44.0], "continent": "E", "split": "val"} | changed
    feature = {"geometry": mapping(box(10, 43, 12, 45)), "properties": properties}
    write_json(tmp_path / "a.geojson", {"features": [feature]})
    with pytest.raises(InputError, match=reason):
        read_sampled(tmp_path / "a.geojson")
