from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unclouded.errors import InputError
from unclouded.patches.layouts import TripletFiles, find_triplets
from unclouded.patches.manifest import write_manifest
from unclouded.patches.roi import PatchId, Roi
from unclouded.patches.splits import (
    Split,
    assign,
    check_split,
    incomplete_of,
    official_counts,
    official_split,
    parts_by_name,
    read_split_list,
    triplets_of,
)

Touch = Callable[..., Path]
Names = Callable[..., list[str]]

PUBLISHED = {  # section 1 of the authors' toolbox's lists, by hand
    "test": {"spring": (31, 44, 106, 123, 140), "summer": (73, 119), "fall": (139,), "winter": (63, 108)},
    "val": {"spring": (17,), "summer": (17, 19, 80, 127), "fall": (65,), "winter": (22, 84, 107, 130)},
}
SEEDS = {"spring": "ROIs1158", "summer": "ROIs1868", "fall": "ROIs1970", "winter": "ROIs2017"}


def files(name: str) -> TripletFiles:
    return TripletFiles(name, PatchId.parse(name), Path("a"), Path("b"), Path("c"))


# The published facts


@pytest.mark.parametrize("part", ["test", "val"])
def test_the_official_parts_are_the_published_ones(part: str) -> None:
    published = {Roi(SEEDS[season], season, n) for season, numbers in PUBLISHED[part].items() for n in numbers}
    assert len(published) == 10 and set(getattr(official_split(), part)) == published


def test_the_official_split_has_155_10_and_10_regions() -> None:
    split = official_split()
    assert [len(split.train), len(split.val), len(split.test)] == [155, 10, 10]
    assert {*split.train, *split.val, *split.test} == set(official_counts())


def test_122218_triplets_were_published() -> None:
    counts, split = official_counts(), official_split()
    assert sum(counts.values()) == 122_218
    totals = [sum(counts[roi] for roi in rois) for rois in (split.train, split.val, split.test)]
    assert totals == [107_143, 7_176, 7_899]
    assert totals[0] + totals[1] == 114_325 - 6  # train in the paper, which has no val and a test of 7,893


@pytest.mark.parametrize(
    ("season", "regions", "triplets"),
    [("spring", 41, 29_117), ("summer", 49, 33_827), ("fall", 58, 40_941), ("winter", 27, 18_333)],
)
def test_each_season_has_its_published_size(season: str, regions: int, triplets: int) -> None:
    counts = [count for roi, count in official_counts().items() if roi.season == season]
    assert (len(counts), sum(counts)) == (regions, triplets)


def folder(roi: Roi) -> str:
    return f"{roi.collection}_s1/s1_{roi.number}"


def test_no_test_patch_is_in_train_where_substrings_would_take_4764() -> None:
    split, counts = official_split(), official_counts()
    by_value = [roi for roi in split.test if roi in split.train]
    by_substring = [roi for roi in split.test if any(folder(known) in folder(roi) for known in split.train)]
    assert by_value == []
    assert len(by_substring) == 6 and sum(counts[roi] for roi in by_substring) == 4_764


def test_the_published_facts_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        official_counts()[Roi("ROIs1158", "spring", 1)] = 0  # type: ignore[index]


# A split


rois = st.sets(st.builds(Roi, st.just("ROIs1158"), st.sampled_from(["spring", "fall"]), st.integers(1, 12)))


@given(rois, rois, rois)
def test_a_split_with_shared_regions_is_refused(train: set[Roi], val: set[Roi], test: set[Roi]) -> None:
    if len(train | val | test) == len(train) + len(val) + len(test):
        assert len(Split(train, val, test).parts()) == len(train | val | test)
    else:
        with pytest.raises(InputError, match=r"(1 region is|[0-9] regions are) in both"):
            Split(train, val, test)


def test_an_overlap_is_refused_with_its_first_region() -> None:
    shared = [Roi("ROIs1158", "spring", number) for number in (106, 9)]
    with pytest.raises(InputError, match=r"^2 regions are in both train and test, first ROIs1158_spring_9; keep each"):
        Split(shared, [], shared)


def test_triplets_are_assigned_by_the_value_of_their_region() -> None:
    split = Split(
        [Roi.parse("ROIs1158_spring_1")], [Roi.parse("ROIs1158_spring_10")], [Roi.parse("ROIs1158_spring_106")]
    )
    names = [f"ROIs1158_spring_{roi}_p1" for roi in (1, 10, 106, 1065)]
    assigned = assign(map(files, names), split)
    assert [[f.name for f in assigned[part]] for part in ("train", "val", "test", "outside")] == [[n] for n in names]


@given(st.lists(st.builds(lambda r, p: files(f"ROIs1158_spring_{r}_p{p}"), st.integers(1, 150), st.integers(0, 9))))
def test_every_triplet_is_assigned_once(triplets: list[TripletFiles]) -> None:
    assigned = assign(triplets, official_split())
    assert sum(map(len, assigned.values())) == len(triplets)
    regions = [{f.roi for f in assigned[part]} for part in ("train", "val", "test", "outside")]
    assert len(set().union(*regions)) == sum(map(len, regions))


def test_a_name_without_region_cannot_be_assigned() -> None:
    with pytest.raises(
        InputError, match=r"^oriolac_1 contains no region, expected a name such as ROIs.*; list the parts in"
    ):
        assign([TripletFiles("oriolac_1", None, Path("a"), Path("b"), Path("c"))], official_split())


# The parts of a folder


def test_the_parts_of_the_official_layout_follow_its_regions(
    tmp_path: Path, touch: Touch, official_names: Names
) -> None:
    for patch in ("ROIs1158_spring_1_p1", "ROIs1158_spring_17_p1", "ROIs1158_spring_106_p1", "ROIs0000_fall_1_p1"):
        touch(tmp_path, *official_names(patch))
    found = find_triplets(tmp_path)
    assert [f.name for f in triplets_of(found, "train")] == ["ROIs1158_spring_1_p1"]
    assert [f.name for f in triplets_of(found, "val")] == ["ROIs1158_spring_17_p1"]
    assert [f.name for f in triplets_of(found, "test")] == ["ROIs1158_spring_106_p1"]
    assert len(triplets_of(found, "all")) == 4
    assert [f.name for f in triplets_of(found, "train+val")] == ["ROIs1158_spring_1_p1", "ROIs1158_spring_17_p1"]


def test_incomplete_triplets_belong_to_the_part_of_their_region(
    tmp_path: Path, touch: Touch, official_names: Names
) -> None:
    touch(tmp_path, *official_names("ROIs1158_spring_106_p30", ("s1",)))  # a region of test
    touch(tmp_path, *official_names("ROIs1158_spring_1_p30", ("s1",)))  # its name's beginning, and a region of train
    inventory = find_triplets(tmp_path)
    for part, expected in (("train", ["_1_p30"]), ("val", []), ("test", ["_106_p30"]), ("all", ["_1_p30", "_106_p30"])):
        found = [one.name.removeprefix("ROIs1158_spring") for one in incomplete_of(inventory, part)]
        assert found == expected


def test_incomplete_triplets_of_a_list_belong_to_its_parts(tmp_path: Path, touch: Touch) -> None:
    touch(tmp_path, "s1/a.tif", "s1/b.tif", "s1/c.tif", "data.csv")
    rows = (f"{part},s1,s2_cloudfree,s2_cloudy,{name}.tif\n" for part, name in ((1, "a"), (3, "b")))
    (tmp_path / "data.csv").write_text("".join(rows))
    inventory = find_triplets(tmp_path)
    assert [[one.name for one in incomplete_of(inventory, part)] for part in ("train", "test")] == [["a"], ["b"]]


def test_an_empty_part_is_refused(tmp_path: Path, touch: Touch, official_names: Names) -> None:
    found = find_triplets(touch(tmp_path, *official_names("ROIs1158_spring_1_p1")))
    message = r"has no triplet in test \(found train 1, val 0, test 0, outside 0\); use another split or 'all'"
    with pytest.raises(InputError, match=message):
        triplets_of(found, "test")


def write_parts(root: Path, **parts: str) -> None:
    rows = [
        {"patch": f"{roi}_p{number}", "status": "kept", "roi": roi, "split": part}
        for roi, part in parts.items()
        for number in (1, 2)
    ]
    write_manifest(root / "manifest.parquet", rows)


def test_the_manifest_decides_the_part_of_a_region_whatever_its_name(
    tmp_path: Path, touch: Touch, official_names: Names
) -> None:
    names = ["ROIs0001_summer_1_p1", "ROIs0001_summer_2_p1", "ROIs0001_summer_3_p1", "ROIs1158_spring_106_p1"]
    touch(tmp_path, *(name for patch in names for name in official_names(patch)))
    touch(tmp_path, official_names("ROIs0001_summer_2_p2")[0])
    write_parts(tmp_path, ROIs0001_summer_1="train", ROIs0001_summer_2="test", ROIs1158_spring_106="val")
    inventory = find_triplets(tmp_path)
    parts = parts_by_name(inventory)
    assert parts == dict(zip(names, ("train", "test", "outside", "val"), strict=True))  # 106 was published as test
    assert [files.name for files in triplets_of(inventory, "train")] == ["ROIs0001_summer_1_p1"]
    assert [one.name for one in incomplete_of(inventory, "test")] == ["ROIs0001_summer_2_p2"]


def test_a_manifest_that_puts_a_region_into_two_parts_is_refused(
    tmp_path: Path, touch: Touch, official_names: Names
) -> None:
    touch(tmp_path, *official_names("ROIs0001_summer_1_p1"))
    rows = [
        {"patch": f"ROIs0001_summer_1_p{n}", "status": "kept", "roi": "ROIs0001_summer_1", "split": part}
        for n, part in ((1, "train"), (2, "val"))
    ]
    write_manifest(tmp_path / "manifest.parquet", rows)
    with pytest.raises(InputError, match="has ROIs0001_summer_1 in two parts, expected one; create it again"):
        triplets_of(find_triplets(tmp_path), "train")


def test_fault_19_a_data_set_without_triplets_is_refused(tmp_path: Path, touch: Touch) -> None:
    with pytest.raises(InputError, match="holds no complete triplet: a lacks s2_cloudy, s2_cloudfree"):
        triplets_of(find_triplets(touch(tmp_path, "s1/a.tif")), "all")


def flat_root(tmp_path: Path, touch: Touch, rows: str, *names: str) -> Path:
    for name in names:
        touch(tmp_path, *(f"{folder}/{name}.tif" for folder in ("s1", "s2_cloudy", "s2_cloudfree")))
    (tmp_path / "data.csv").write_text(rows)
    return tmp_path


def rows(*parts_and_names: tuple[int, str]) -> str:
    return "".join(f"{part},s1,s2_cloudfree,s2_cloudy,{name}.tif\n" for part, name in parts_and_names)


def test_the_list_of_a_flat_layout_has_precedence(tmp_path: Path, touch: Touch) -> None:
    listed = rows((1, "a"), (2, "b"), (3, "ROIs1158_spring_1_p1"), (3, "not_fetched_yet"))
    found = find_triplets(flat_root(tmp_path, touch, listed, "a", "b", "c", "ROIs1158_spring_1_p1"))
    assert [f.name for f in triplets_of(found, "train")] == ["a"]
    assert [f.name for f in triplets_of(found, "val")] == ["b"]
    assert [f.name for f in triplets_of(found, "test")] == ["ROIs1158_spring_1_p1"]
    assert [f.name for f in triplets_of(found, "all")] == ["ROIs1158_spring_1_p1", "a", "b", "c"]


def test_a_flat_layout_without_list_follows_official_names(tmp_path: Path, touch: Touch) -> None:
    root = flat_root(tmp_path, touch, "", "ROIs1158_spring_106_p1", "ROIs1158_spring_1_p1")
    (root / "data.csv").unlink()
    assert [f.name for f in triplets_of(find_triplets(root), "test")] == ["ROIs1158_spring_106_p1"]


def test_other_names_without_list_have_no_parts(tmp_path: Path, touch: Touch) -> None:
    root = flat_root(tmp_path, touch, "", "a")
    (root / "data.csv").unlink()
    with pytest.raises(InputError, match=r"^a contains no region, .*; list the parts in a data.csv, or use 'all'$"):
        triplets_of(find_triplets(root), "train")
    assert len(triplets_of(find_triplets(root), "all")) == 1


def test_a_list_that_puts_a_region_into_two_parts_is_refused(tmp_path: Path, touch: Touch) -> None:
    listed = rows((1, "ROIs1158_spring_1_p1"), (3, "ROIs1158_spring_1_p2"))
    found = find_triplets(flat_root(tmp_path, touch, listed, "ROIs1158_spring_1_p1", "ROIs1158_spring_1_p2"))
    with pytest.raises(
        InputError, match=r"data.csv: 1 region is in both train and test, first ROIs1158_spring_1; keep"
    ):
        triplets_of(found, "train")


# The csv list


def listed(tmp_path: Path, text: str | bytes) -> dict[str, str]:
    path = tmp_path / "data.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_split_list(path)


def test_a_list_is_read_with_either_spelling_and_any_line_end(tmp_path: Path) -> None:
    text = "\ufeff1,s1,s2_cloudFree,s2_cloudy,a.tif\r\n\r\n2, s1, s2_cloudfree, s2_cloudy, b c.tif\r\n"
    assert listed(tmp_path, text) == {"a.tif": "train", "b c.tif": "val"}


@pytest.mark.parametrize(
    "row",
    [
        "split,s1,s2_cloudfree,s2_cloudy,name",
        "4,s1,s2_cloudfree,s2_cloudy,a.tif",
        "1,s2,s2_cloudfree,s2_cloudy,a.tif",
        "1,s1,s2_cloudy,s2_cloudfree,a.tif",
        "1,s1,../../etc,s2_cloudy,a.tif",
        "1,s1,s2_cloudfree,s2_cloudy",
        "1,s1,s2_cloudfree,s2_cloudy,a.tif,b.tif",
        "<html>",
    ],
)
def test_an_invalid_row_is_refused_with_its_number(tmp_path: Path, row: str) -> None:
    with pytest.raises(InputError, match=r"data.csv, row 2: found '.*'; expected rows such as 3,s1,s2_cloudfree,s2_cl"):
        listed(tmp_path, rows((1, "a")) + row + "\n")


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "..", "", "s1/a.tif", "..\\a.tif", "a\0.tif"])
def test_fault_22_paths_in_a_list_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"row 1: '.*' is not a plain file name; expected rows such as"):
        listed(tmp_path, f"1,s1,s2_cloudfree,s2_cloudy,{name}\n")


def test_a_file_in_two_parts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data.csv, row 3: a.tif is in train already; keep one of the two rows"):
        listed(tmp_path, rows((1, "a"), (1, "a"), (3, "a")))


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b'1,"s1'])
def test_a_file_other_than_csv_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match=r"data.csv is not a csv list: .*; expected rows such as"):
        listed(tmp_path, content)


def test_a_check_of_the_split_lists_all_invalid_rows_and_rows_without_files(tmp_path: Path, touch: Touch) -> None:
    text = "split,s1,s2_cloudfree,s2_cloudy,name\n" + rows((1, "a"), (7, "b"), (3, "c"), (2, "a"), (3, "gone"))
    root = flat_root(tmp_path, touch, text, "a", "b", "c")
    found = check_split(find_triplets(root))
    assert [fault.partition("data.csv, ")[2][:5] for fault in found.faults] == ["row 1", "row 3", "row 5"]
    assert (found.absent, found.unlisted) == (("gone.tif",), ("b",))
    assert not found.is_clean
    lines = "\n".join(found.lines())
    assert "3 faults of the split" in lines and "a.tif is in train already" in lines
    assert "1 rows of the split list without files\n  gone.tif" in lines
    with pytest.raises(InputError, match=r"row 1: found .* \(and 2 more rows, listed by 'unclouded data check'\)"):
        triplets_of(find_triplets(root), "test")


def test_a_check_of_the_split_finds_a_region_in_two_parts_and_an_invalid_list(tmp_path: Path, touch: Touch) -> None:
    one, two = "ROIs1158_spring_106_p1", "ROIs1158_spring_106_p2"
    root = flat_root(tmp_path, touch, rows((1, one), (3, two)), one, two)
    (fault,) = check_split(find_triplets(root)).faults
    assert "1 region is in both train and test, first ROIs1158_spring_106" in fault
    (root / "data.csv").write_bytes(b"\xff\xfe")
    (fault,) = check_split(find_triplets(root)).faults
    assert "is not a csv list" in fault
    (root / "data.csv").write_text(rows((1, one), (1, two)))
    assert check_split(find_triplets(root)).is_clean
