import zipfile
from pathlib import Path
from typing import Any

import pytest

from unclouded.batch.storage import fingerprint, known_by
from unclouded.curation.regions import CurationSettings, Region, require_parts_apart
from unclouded.errors import InputError
from unclouded.sentinel.footprints import footprint_around
from unclouded.settings import settings_from

NAMED = {"radar": "s1", "clear": "a", "cloudy": "b"}


def region(number: int, **given: Any) -> dict[str, Any]:
    return {"roi": f"ROIs0001_fall_{number}", **NAMED, **given}


def test_paths_are_relative_to_the_file_unless_absolute(tmp_path: Path) -> None:
    placed = settings_from(Region, region(1, clear="/elsewhere/a", heights="../dem.tif")).within(tmp_path / "lists")
    assert placed.named == {
        "radar": tmp_path / "lists" / "s1",
        "clear": Path("/elsewhere/a"),
        "cloudy": tmp_path / "lists" / "b",
    }
    assert placed.heights == tmp_path / "dem.tif" and placed.is_named


def test_an_address_stays_an_address(tmp_path: Path) -> None:
    placed = settings_from(Region, region(1, clear="s3://bucket/a.SAFE", radar="file:///data/s1")).within(tmp_path)
    assert placed.named == {"radar": "file:///data/s1", "clear": "s3://bucket/a.SAFE", "cloudy": tmp_path / "b"}


def test_the_paper_is_the_default_and_a_region_has_its_size_in_km() -> None:
    settings = settings_from(CurationSettings, {"regions": [region(1)]})
    assert settings.size_km == (52.0, 40.0) and settings.stride_px == 128 and settings.apart_km == 50.0
    assert (settings.choosing.covers, settings.choosing.clear_below) == (0.99, 0.01)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rows": 255}, "patch_px <= rows and columns, found 128, 256, 255 and 5200"),
        ({"stride_px": 257}, "stride_px <= patch_px <= rows and columns, found 257, 256"),
        ({"store": "zarr"}, "store"),
        ({"regions": [region(1, split="dev")]}, "split"),
        ({"regions": [region(1) | {"roi": "fall_1"}]}, "'fall_1' is not a region; expected a name such as"),
        ({"regions": [region(2), region(1), region(2)]}, "duplicate regions ROIs0001_fall_2"),
    ],
)
def test_contradictory_settings_are_rejected(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        settings_from(CurationSettings, {"regions": [region(1)]} | changed)


def test_only_parts_that_differ_have_to_lie_apart() -> None:
    def settings(first: str | None, second: str | None) -> CurationSettings:
        near = [region(1, center=[11.0, 44.5], split=first), region(2, center=[11.1, 44.5], split=second)]
        return settings_from(CurationSettings, {"regions": near})

    outlines = {f"ROIs0001_fall_{n}": footprint_around(10.9 + n / 10, 44.5, (52.0, 40.0)) for n in (1, 2)}
    for parts in (("train", "train"), ("train", None), (None, None)):
        require_parts_apart(settings(*parts), outlines)
    require_parts_apart(settings("train", "test"), {})  # nothing is known about their places
    with pytest.raises(InputError, match="ROIs0001_fall_1"):
        require_parts_apart(settings("train", "test"), outlines)


def test_names_of_published_regions_are_refused() -> None:
    with pytest.raises(InputError, match="ROIs1158_spring_106 is a published region of SEN12MS-CR"):
        settings_from(CurationSettings, {"regions": [region(1) | {"roi": "ROIs1158_spring_106"}]})


def test_the_fingerprint_of_a_zip_depends_on_its_content_only(tmp_path: Path) -> None:
    def packed(name: str, content: bytes, compression: int) -> Path:
        with zipfile.ZipFile(tmp_path / name, "w", compression) as archive:
            archive.writestr("a/MTD.xml", content)
        return tmp_path / name

    stored, deflated = packed("a.zip", b"x" * 99, zipfile.ZIP_STORED), packed("b.zip", b"x" * 99, zipfile.ZIP_DEFLATED)
    other = packed("c.zip", b"x" * 98 + b"y", zipfile.ZIP_STORED)
    assert stored.stat().st_size != deflated.stat().st_size
    assert fingerprint(stored) == fingerprint(deflated) != fingerprint(other)


def test_fault_07_an_unreadable_product_has_a_reason_as_its_hash_until_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    assert known_by(path) == "not usable: a.zip is not a file; check the path"
    path.write_bytes(b"PK\x03\x04 cut")
    assert known_by(path).startswith("not usable: a.zip is not a whole zip (")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")
    assert known_by(path) == fingerprint(path)
