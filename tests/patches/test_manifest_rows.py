from datetime import UTC, datetime
from pathlib import Path

import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from unclouded.files import sha256
from unclouded.patches.layouts import find_triplets
from unclouded.patches.manifest_rows import (
    date_columns,
    describe_patch,
    file_columns,
    identity_columns,
    place_columns,
    status_columns,
    summary_lines,
)
from unclouded.patches.reading import images_of
from unclouded.patches.roi import PatchId
from unclouded.patches.screening import Finding, ScreeningSettings

HAZE = Finding("haze", "s2", 0.5, 0.05, "50.0% cirrus")

CUT = Finding("unreadable", "s1", 1.0, 0.0, "a.tif is cut")

FLAT = ScreeningSettings(remarks=("constant", "haze"))
"""The patches here have one value a band."""


@pytest.mark.parametrize(
    ("findings", "lacks", "status", "reason"),
    [
        ([], (), "kept", None),
        ([HAZE], (), "rejected", "haze in s2: 50.0% cirrus"),
        ([HAZE], ("s1", "s2_cloudy"), "incomplete", "lacks s1, s2_cloudy; haze in s2: 50.0% cirrus"),
        ([HAZE, CUT], ("s2_cloudy",), "unreadable", None),
    ],
)
def test_the_worst_finding_decides_and_every_reason_is_listed(
    findings: list[Finding], lacks: tuple[str, ...], status: str, reason: str | None
) -> None:
    row = status_columns(iter(findings), lacks)
    assert row["status"] == status
    if status == "unreadable":
        assert row["reason"] == "lacks s2_cloudy; haze in s2: 50.0% cirrus; unreadable in s1: a.tif is cut"
    else:
        assert row["reason"] == reason


def test_gaps_are_signed_and_unknown_without_a_date() -> None:
    first, later = datetime(2018, 7, 10, 12, tzinfo=UTC), datetime(2018, 7, 12, tzinfo=UTC)
    row = date_columns({"s1": later, "s2": first, "s2_cloudy": None})
    assert row["radar_after_clear_days"] == 1.5 and row["s1_acquired"] == "2018-07-12T00:00:00+00:00"
    assert row["radar_after_cloudy_days"] is row["clear_after_cloudy_days"] is row["s2_cloudy_acquired"] is None


def test_place_columns_contain_what_is_known() -> None:
    here = Affine(10, 0, 500_000, 0, -10, 5_000_000)
    known = place_columns(GeoBox((256, 256), here, 32632))
    assert known["crs"] == "EPSG:32632" and known["geometry"]["type"] == "Polygon"
    assert place_columns(GeoBox((256, 256), here, None)) == {}
    assert place_columns(GeoBox((256, 256), Affine(10, 0, 2_000_000, 0, -10, 2_000_000), 32661)) == {
        "crs": "EPSG:32661"
    }


def test_a_file_has_its_size_and_its_hash_under_its_token(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert file_columns("s1", tmp_path / "a.tif", "x/a.tif") == {"s1": "x/a.tif", "s1_bytes": 3, "s1_sha256": digest}


def test_a_name_that_is_not_official_has_no_region() -> None:
    assert identity_columns("mine", None) == {"patch": "mine", "roi": None, "season": None}
    patch = PatchId.parse("ROIs1158_spring_106_p9")
    assert identity_columns(str(patch), patch)["season"] == "spring"


def test_complete_and_incomplete_patches_have_rows(official_root: Path) -> None:
    lost, whole = (official_root / f"ROIs1158_spring_s1/s1_106/ROIs1158_spring_s1_106_p{n}.tif" for n in (9, 10))
    lost.unlink()
    rows = [
        describe_patch(official_root, images, FLAT, split="train", coverage=False)
        for images in images_of(find_triplets(official_root))
    ]
    assert [(row["status"], row["reason"]) for row in rows] == [("incomplete", "lacks s1"), ("kept", None)]
    assert "s1" not in rows[0] and rows[1]["s1_sha256"] == sha256(whole)
    assert rows[0]["crs"] == rows[1]["crs"] == "EPSG:32652" and rows[0]["split"] == "train"
    assert "haze:s2" in rows[1]["findings"]  # B10 of 0.1; reported, though it rejects nothing here


def test_fault_05_an_unreadable_image_is_reported_and_the_place_comes_from_another_one(official_root: Path) -> None:
    path = official_root / PatchId.parse("ROIs1158_spring_106_p9").path("s2_cloudy")
    path.write_bytes(path.read_bytes()[:300])
    images, _ = images_of(find_triplets(official_root))
    row = describe_patch(official_root, images, FLAT)
    assert row["status"] == "unreadable" and row["s2_cloudy_bytes"] == 300
    assert row["crs"] == "EPSG:32652" and "mean_coverage" not in row


def row(status: str, *findings: str, season: str = "fall", split: str | None = None) -> dict[str, object]:
    roi = f"ROIs0001_{season}_1"
    return {"status": status, "findings": list(findings), "season": season, "split": split, "roi": roi}


def test_the_counts_of_a_line_of_the_summary_add_up() -> None:
    rows = [
        row("kept", "snow:s2", split="train"),
        row("kept", split="test", season="winter"),
        row("kept", split="train", season="winter"),
        row("rejected", "haze:s2", "shift:s1"),
        row("rejected", "no_data:s1", "no_data:s2", "snow:s2"),
        row("rejected", "no_data:s1"),
        row("unreadable", "unreadable:s2"),
        row("rejected", "open_water:s2", season="spring"),
        row("kept", "haze:s2", "review:accept"),
        {"status": "failed", "findings": None, "season": "fall", "split": "val", "roi": "ROIs0001_fall_2"},
    ]
    assert summary_lines(rows, ScreeningSettings(remarks=("snow",))) == [
        "  regions         with kept patches 2, without kept patches 1, failed 1",
        "  candidates      kept 4, rejected 4, unreadable 1",
        "  rejected by     no_data 2, haze and shift 1, open_water 1, unreadable 1",
        "  kept by season  fall 2, winter 2",
        "  kept by part    train 2, test 1, no part 1",
    ]
    assert "no_data and snow 1" in summary_lines(rows, ScreeningSettings(remarks=()))[2]


def test_the_summary_omits_empty_lines() -> None:
    assert summary_lines([row("kept")], ScreeningSettings()) == [
        "  regions         with kept patches 1",
        "  candidates      kept 1",
        "  kept by season  fall 1",
    ]
    assert summary_lines([], ScreeningSettings()) == []
