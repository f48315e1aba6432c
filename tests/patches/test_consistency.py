"""Regions of 2.56 km: two on one place, one 0.5 degrees, that is 40 km, to the east, and one far away."""

from typing import Any

from shapely.geometry import box

from unclouded.patches.consistency import leaks, manifest_faults, without_leaks
from unclouded.sentinel.footprints import footprint_around

NONE = dict.fromkeys(
    ("s2_product", "s2_cloudy_product", "s1_acquired", "s2_acquired", "s2_cloudy_acquired", "season"), None
)


def row(number: int, split: str, longitude: float, **more: Any) -> dict[str, Any]:
    roi, place = f"ROIs0001_summer_{number}", footprint_around(longitude, 44.5, (2.56, 2.56))
    known = {"patch": f"{roi}_p1", "roi": roi, "split": split, "status": "kept", "reason": None, "findings": []}
    return known | NONE | {"geometry": place} | more


def test_of_two_parts_on_one_place_train_is_rejected() -> None:
    rows = without_leaks([row(1, "train", 11), row(2, "test", 11), row(3, "train", 11.5), row(4, "val", 30)], 50.0)
    assert [one["status"] for one in rows] == ["rejected", "kept", "rejected", "kept"]
    assert rows[0]["reason"].startswith("region overlaps ROIs0001_summer_2 of another part, expected 50 km")
    assert "lies 36 km from ROIs0001_summer_2" in rows[2]["reason"]  # 39.7 km, less twice the half diagonal of 1.8 km
    assert rows[0]["findings"] == ["leak:ROIs0001_summer_2"]
    assert without_leaks([row(1, "train", 11), row(2, "train", 11)], 50.0)[0]["status"] == "kept"


def test_a_rejected_region_rejects_no_other() -> None:
    rows = [row(1, "train", 11), row(2, "test", 11, status="rejected", reason="haze")]
    assert without_leaks(rows, 50.0)[0]["status"] == "kept"


def test_overpasses_and_seasons_of_a_manifest_are_checked() -> None:
    july, later, april = "2021-07-11T10:17:06+00:00", "2021-07-11T20:00:00+00:00", "2021-04-02T10:00:00+00:00"
    twin = row(1, "train", 11, season="summer", s2_acquired=july, s2_cloudy_acquired=later)
    early = row(2, "train", 30, season="summer", s1_acquired=april)
    same = row(3, "train", 50, s2_product="S2A_X", s2_cloudy_product="S2A_X")
    assert manifest_faults([twin, early, same]) == [
        "ROIs0001_summer_1: clear image of 2021-07-11 10:17 and cloudy image of 20:00 are one overpass",
        "ROIs0001_summer_2: s1 of 2021-04-02 is of another season, expected summer",
        "ROIs0001_summer_3: S2A_X is both clear and cloudy image",
    ]


def test_common_ground_of_two_parts_is_named_with_its_share() -> None:
    places = {"a": box(0, 0, 1, 1), "b": box(0.5, 0, 1.5, 1), "c": box(1, 0, 2, 1), "d": box(0, 0, 1, 1)}
    parts = {"a": "train", "b": "test", "c": "train", "d": None}
    assert leaks(places, parts) == [
        "a (train) and b (test) share 50% of the ground",
        "c (train) and b (test) share 50% of the ground",
    ]  # a and c touch only
