import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.io.geotiff import ImageWindow, write_geotiff
from unclouded.patches.layouts import IncompleteTriplet, find_triplets
from unclouded.patches.manifest import write_manifest
from unclouded.patches.mosaic import clear_regions, stitch
from unclouded.patches.reading import read_triplet
from unclouded.patches.roi import PatchId, Roi, natural
from unclouded.patches.verification import verify_rows
from unclouded.sensors import SENTINEL1, SENTINEL2

Touch = Callable[..., Path]

Names = Callable[..., list[str]]


def flat(*names: str, clear: str = "s2_cloudfree") -> list[str]:
    return [f"{folder}/{name}.tif" for name in names for folder in ("s1", "s2_cloudy", clear)]


# The official layout


def test_the_three_files_of_a_patch_are_one_triplet(tmp_path: Path, touch: Touch, official_names: Names) -> None:
    found = find_triplets(touch(tmp_path, *official_names("ROIs1158_spring_106_p30")))
    (triplet,) = found.triplets
    assert found.layout == "official" and not found.incomplete and not found.unexpected_files
    assert triplet.name == "ROIs1158_spring_106_p30" and triplet.patch == PatchId.parse(triplet.name)
    assert triplet.roi == Roi("ROIs1158", "spring", 106)
    assert triplet.sar == tmp_path / "ROIs1158_spring_s1/s1_106/ROIs1158_spring_s1_106_p30.tif"
    assert triplet.clear == tmp_path / "ROIs1158_spring_s2/s2_106/ROIs1158_spring_s2_106_p30.tif"
    assert triplet.cloudy == tmp_path / "ROIs1158_spring_s2_cloudy/s2_cloudy_106/ROIs1158_spring_s2_cloudy_106_p30.tif"


def test_triplets_are_sorted_by_number(tmp_path: Path, touch: Touch, official_names: Names) -> None:
    patches = ["ROIs1158_spring_9_p9", "ROIs1158_spring_9_p10", "ROIs1158_spring_10_p2", "ROIs1970_fall_1_p1"]
    for patch in reversed(patches):
        touch(tmp_path, *official_names(patch))
    assert [triplet.name for triplet in find_triplets(tmp_path).triplets] == patches


def test_the_missing_images_of_a_patch_are_named(tmp_path: Path, touch: Touch, official_names: Names) -> None:
    touch(tmp_path, *official_names("ROIs1158_spring_1_p1", ("s1", "s2")))
    touch(tmp_path, *official_names("ROIs1158_spring_1_p2", ("s2",)))
    touch(tmp_path, *official_names("ROIs1158_spring_106_p1", ("s2_cloudy",)))
    assert find_triplets(tmp_path).incomplete == (
        IncompleteTriplet("ROIs1158_spring_1_p1", ("s2_cloudy",)),
        IncompleteTriplet("ROIs1158_spring_1_p2", ("s1", "s2_cloudy")),
        IncompleteTriplet("ROIs1158_spring_106_p1", ("s1", "s2")),
    )


def test_patches_without_clear_image_are_observations(tmp_path: Path, touch: Touch, official_names: Names) -> None:
    touch(tmp_path, *official_names("ROIs1158_spring_1_p10"))
    touch(tmp_path, *official_names("ROIs1158_spring_1_p9", ("s1", "s2_cloudy")))
    found = find_triplets(tmp_path)
    assert [files.name for files in found.triplets] == ["ROIs1158_spring_1_p10"]
    assert [files.name for files in found.observations] == ["ROIs1158_spring_1_p9", "ROIs1158_spring_1_p10"]
    assert found.require_observations()[0].clear is None
    assert [str(files) for files in found.incomplete] == ["ROIs1158_spring_1_p9 lacks s2"]


def test_files_outside_the_layout_are_unexpected(tmp_path: Path, touch: Touch, official_names: Names) -> None:
    unexpected_files = [
        "ROIs1158_spring_s1/notes.txt",
        "ROIs1158_spring_s1/s1_1/ROIs1158_spring_s1_1_p01.tif",  # p1, were it spelled as published
        "ROIs1158_spring_s1/s1_1/ROIs1158_spring_s1_10_p1.tif",  # region 10 in the folder of region 1
        "ROIs1158_spring_s1/s1_1/ROIs1158_spring_s1_1_p1.tif.part",
        "ROIs1158_spring_s1/s1_1/ROIs1158_spring_s1_1_p١.tif",
        "ROIs1158_spring_s1/s1_1/ROIs1158_spring_s2_1_p1.tif",
        "ROIs1158_spring_s1/s1_1/ROIs1868_spring_s1_1_p1.tif",
        "ROIs1158_spring_s1/s2_1",
        "README.md",
        "ROIs1158_spring_s3",
    ]
    touch(tmp_path, *official_names("ROIs1158_spring_1_p1"), *unexpected_files[:7], unexpected_files[8])
    touch(tmp_path, "ROIs1158_spring_s1/s2_1/ROIs1158_spring_s1_1_p1.tif", "ROIs1158_spring_s3/s3_1/a.tif")
    found = find_triplets(tmp_path)
    assert sorted(found.unexpected_files) == sorted(unexpected_files)
    assert len(found.triplets) == 1 and not found.incomplete


def test_hidden_and_unfinished_files_are_ignored(tmp_path: Path, touch: Touch, official_names: Names) -> None:
    touch(tmp_path, *official_names("ROIs1158_spring_1_p1"), ".cache/a", "ROIs1158_spring_s1/s1_1/.p1.7-ab.partial.tif")
    assert find_triplets(tmp_path).unexpected_files == ()


@pytest.mark.parametrize("above", ["s1/s2_cloudy", "ROIs1158_spring_s2/s2_7", "雲 und Ø", "x" * 255])
@pytest.mark.parametrize("layout", ["official", "flat"])
def test_fault_37_the_path_of_the_root_does_not_matter(
    tmp_path: Path, touch: Touch, official_names: Names, above: str, layout: str
) -> None:
    names = official_names("ROIs1158_spring_1_p1") if layout == "official" else flat("ROIs1158_spring_1_p1")
    found = find_triplets(touch(tmp_path / above, *names))
    assert found.layout == layout and [str(files.roi) for files in found.triplets] == ["ROIs1158_spring_1"]


def test_find_triplets_opens_no_file(
    tmp_path: Path, touch: Touch, official_names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "official", *official_names("ROIs1158_spring_1_p1"))
    touch(tmp_path / "flat", *flat("a"), "data.csv")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a file was opened")

    for owner, name in (("builtins", "open"), ("io", "open"), ("os", "open")):
        monkeypatch.setattr(f"{owner}.{name}", refuse)
    assert len(find_triplets(tmp_path / "official").triplets) == len(find_triplets(tmp_path / "flat").triplets) == 1


# The flat layout


@pytest.mark.parametrize("clear", ["s2_cloudfree", "s2_cloudFree"])
def test_the_flat_layout_is_found_in_both_spellings(tmp_path: Path, touch: Touch, clear: str) -> None:
    found = find_triplets(touch(tmp_path, *flat("b10", "b9", "ROIs1158_spring_106_p30", clear=clear)))
    assert found.layout == "flat" and found.split_list is None and not found.incomplete
    assert [(files.name, str(files.roi)) for files in found.triplets] == [
        ("ROIs1158_spring_106_p30", "ROIs1158_spring_106"),
        ("b9", "None"),
        ("b10", "None"),
    ]
    assert found.triplets[1].clear == tmp_path / clear / "b9.tif"


def test_the_missing_images_of_a_flat_triplet_are_named_by_folder(tmp_path: Path, touch: Touch) -> None:
    touch(tmp_path, "s1/a.tif", "s2_cloudFree/a.tif", "s2_cloudFree/b.tif")
    assert [str(found) for found in find_triplets(tmp_path).incomplete] == [
        "a lacks s2_cloudy",
        "b lacks s1, s2_cloudy",
    ]


def test_both_spellings_of_a_folder_are_refused(tmp_path: Path, touch: Touch) -> None:
    touch(tmp_path, *flat("a"), "s2_cloudFree/b.tif")
    with pytest.raises(
        InputError, match="holds both s2_cloudfree and s2_cloudFree, expected one of them; merge the two"
    ):
        find_triplets(tmp_path)


def test_output_files_of_curate_are_neither_unexpected_nor_split_lists(
    tmp_path: Path, touch: Touch, official_names: Names
) -> None:
    touch(tmp_path, *official_names("ROIs1158_spring_1_p1"), "review.csv", "choices.csv", "other.csv")
    write_manifest(tmp_path / "manifest.parquet", [])
    assert find_triplets(tmp_path).unexpected_files == ("other.csv",)
    touch(tmp_path / "flat", "s1/a.tif", "s2_cloudy/a.tif", "s2_cloudfree/a.tif", "choices.csv")
    assert find_triplets(tmp_path / "flat").split_list is None


def test_patches_that_the_manifest_withdraws_are_left_out(tmp_path: Path, touch: Touch, official_names: Names) -> None:
    names = [f"ROIs0001_spring_1_p{number}" for number in (1, 2, 3, 4)]
    touch(tmp_path, *(file for name in names for file in official_names(name)))
    findings = ([], ["review:reject"], ["leak:ROIs0001_spring_9"], ["haze:s2"])  # the last one rejects nothing on disk
    rows = [
        {"patch": name, "status": "rejected" if found else "kept", "findings": found}
        for name, found in zip(names, findings, strict=True)
    ]
    write_manifest(tmp_path / "manifest.parquet", rows)
    inventory = find_triplets(tmp_path)
    assert [one.name for one in inventory.triplets] == [names[0], names[3]]
    assert inventory.withdrawn == (names[1], names[2]) and "2 rejected in the manifest" in inventory.summary()
    assert len(find_triplets(tmp_path, withdrawn=True).triplets) == 4


def test_unexpected_files_of_a_flat_layout_are_named(tmp_path: Path, touch: Touch) -> None:
    touch(tmp_path, *flat("a"), "s1/a.txt", "s1/deeper/b.tif", "manifest.json", "s1/two\nlines.tif")
    assert set(find_triplets(tmp_path).unexpected_files) == {
        "s1/a.txt",
        "s1/deeper",
        "manifest.json",
        r"'s1/two\nlines.tif'",
    }


@pytest.mark.parametrize(
    ("lists", "chosen"),
    [((), None), (("a.csv",), "a.csv"), (("a.csv", "data.csv"), "data.csv"), (("a.csv", "b.csv"), None)],
)
def test_the_split_list_is_data_csv_or_the_only_one(
    tmp_path: Path, touch: Touch, lists: tuple[str, ...], chosen: str | None
) -> None:
    found = find_triplets(touch(tmp_path, *flat("a"), *lists))
    assert found.split_list == (chosen and tmp_path / chosen)
    assert set(found.unexpected_files) == set(lists) - {chosen}


# Nothing to find


@pytest.mark.parametrize("kind", ["absent", "file"])
def test_fault_19_a_path_that_is_not_a_folder_is_refused(tmp_path: Path, touch: Touch, kind: str) -> None:
    touch(tmp_path, "file")
    with pytest.raises(InputError, match=f"{kind} is not a folder.*; check the path"):
        find_triplets(tmp_path / kind)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([], "nothing"),
        (["a.tif", "b/c.tif"], "a.tif, b"),
        (["s1/s1_1/a.tif"], "s1"),
        (["ROIs1158_spring_s1/a"], "ROIs"),
    ],
)
def test_fault_19_a_folder_without_patches_is_refused(
    tmp_path: Path, touch: Touch, names: list[str], found: str
) -> None:
    expected = r"holds no patch; expected folders such as ROIs1158_spring_s1/s1_1 .* or s1, s2_cloudy, s2_cloudfree"
    with pytest.raises(InputError, match=rf"{expected} \(flat layout\), found {found}"):
        find_triplets(touch(tmp_path, *names))


def test_fault_19_incomplete_triplets_are_found_and_refused_where_complete_ones_are_required(
    tmp_path: Path, touch: Touch, official_names: Names
) -> None:
    for number in range(7):
        touch(tmp_path, *official_names(f"ROIs1158_spring_1_p{number}", ("s2", "s2_cloudy")))
    found = find_triplets(tmp_path)
    assert not found.triplets and len(found.incomplete) == 7
    message = r"holds no complete triplet: ROIs1158_spring_1_p0 lacks s1; .*_p4 lacks s1; and 2 more; fetch the missing"
    with pytest.raises(InputError, match=message):
        found.require_triplets()
    with pytest.raises(InputError, match="holds no radar image with its cloudy image: ROIs1158_spring_1_p0 lacks s1"):
        found.require_observations()


# Words


def test_a_report_counts_and_names_the_first_five(tmp_path: Path, touch: Touch, official_names: Names) -> None:
    touch(tmp_path, *official_names("ROIs1158_spring_1_p1"), *official_names("ROIs1970_fall_1_p1"), "README")
    for number in range(2, 9):
        touch(tmp_path, *official_names(f"ROIs1158_spring_1_p{number}", ("s1", "s2")))
    assert find_triplets(tmp_path).report().splitlines() == [
        f"{tmp_path}: official layout, 2 complete triplets of 2 regions",
        "7 incomplete",
        *(f"  ROIs1158_spring_1_p{number} lacks s2_cloudy" for number in range(2, 7)),
        "  and 2 more",
        "1 unexpected",
        "  README",
    ]


@given(st.lists(st.integers(0, 10**6), unique=True))
def test_natural_order_is_the_order_of_numbers(numbers: list[int]) -> None:
    assert sorted((f"p{n}" for n in numbers), key=natural) == [f"p{n}" for n in sorted(numbers)]


ROI = Roi("ROIs0001", "summer", 12)

GRID = GeoBox.from_bbox((0, 0, 3840, 2560), "EPSG:32632", resolution=10)

ROWS: list[dict[str, Any]] = [
    {"patch": f"{ROI}_p1", "status": "kept", "roi": str(ROI), "row_px": 0, "column_px": 0},
    {"patch": f"{ROI}_p2", "status": "kept", "roi": str(ROI), "row_px": 0, "column_px": 128},
    {"patch": f"{ROI}_p3", "status": "rejected", "roi": str(ROI), "row_px": 0, "column_px": 100},
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A region of 256 x 384 px; B02 holds the column."""
    optical = np.random.default_rng(0).integers(1, 9000, (13, *GRID.shape)).astype(np.uint16)
    optical[SENTINEL2.indices("B02")] = 1000 + np.arange(384)
    radar = np.random.default_rng(1).normal(-12, 2, (2, *GRID.shape)).astype(np.float32)
    write_geotiff(tmp_path / ROI.scene_path("s1"), radar, SENTINEL1.bands, GRID)
    for token in ("s2", "s2_cloudy"):
        write_geotiff(tmp_path / ROI.scene_path(token), optical, SENTINEL2.bands, GRID)
    write_manifest(tmp_path / "manifest.parquet", ROWS)
    return tmp_path


def test_patches_are_windows_of_scenes(root: Path) -> None:
    found = find_triplets(root)
    assert found.summary() == f"{root}: scenes layout, 2 complete triplets of 1 region"
    assert [str(files.patch) for files in found.triplets] == ["ROIs0001_summer_12_p1", "ROIs0001_summer_12_p2"]
    second = read_triplet(found.triplets[1])
    assert second.clear is not None and second.clear.values.shape == (13, 256, 256)
    column = second.clear.select(("B02",)).values[0, 0] * 10_000
    np.testing.assert_allclose(column, 1128 + np.arange(256), rtol=1e-6)
    assert second.clear.geobox.affine.c == 1280  # metres


def test_a_missing_scene_and_unexpected_files_are_reported(root: Path) -> None:
    (root / ROI.scene_path("s1")).rename(root / "scenes" / str(ROI) / "radar.tif")
    found = find_triplets(root)
    assert not found.triplets and [str(one) for one in found.incomplete] == [f"{ROI}_p{n} lacks s1" for n in (1, 2)]
    assert found.unexpected_files == (f"scenes/{ROI}/radar.tif",)


def test_scenes_without_manifest_or_windows_are_refused(root: Path) -> None:
    write_manifest(root / "manifest.parquet", [ROWS[0] | {"row_px": None}])
    with pytest.raises(InputError, match="lacks the window of ROIs0001_summer_12_p1 in its scene; create it again"):
        find_triplets(root)
    (root / "manifest.parquet").unlink()
    with pytest.raises(InputError, match=r"holds scenes without manifest\.parquet"):
        find_triplets(root)


def test_a_patch_outside_its_scene_is_refused(root: Path) -> None:
    write_manifest(root / "manifest.parquet", [ROWS[0] | {"column_px": 200}])
    (files,) = find_triplets(root).triplets
    with pytest.raises(InputError, match="has 256 x 384 px, expected rows 0 to 256, columns 200 to 456"):
        read_triplet(files)


def test_messages_name_the_scene_and_the_window(root: Path) -> None:
    (files, _) = find_triplets(root).triplets
    assert isinstance(files.clear, ImageWindow)
    assert str(files.clear) == f"{root / ROI.scene_path('s2')} at row 0, column 0"


def test_the_patches_of_a_region_are_stitched_to_its_scene(root: Path) -> None:
    (region,) = clear_regions(root)
    whole = stitch(region.clear, ("B02",))
    np.testing.assert_allclose(whole.values[0, 0] * 10_000, 1000 + np.arange(384), rtol=1e-6)


def test_a_scene_that_several_patches_share_is_one_fault(root: Path) -> None:
    name = ROI.scene_path("s2").as_posix()
    path = root / name
    listed = {"s1": None, "s2": name, "s2_cloudy": None, "s2_bytes": path.stat().st_size + 1, "s2_sha256": "0"}
    (fault,) = verify_rows(root, [row | listed for row in ROWS[:2]])
    assert (fault.patch, fault.file) == ("ROIs0001_summer_12_p2", name) and fault.reason.startswith("changed")
    shutil.rmtree(root / "scenes")
    assert len(verify_rows(root, [row | listed for row in ROWS[:2]])) == 1
