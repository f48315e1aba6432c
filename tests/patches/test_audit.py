from collections.abc import Callable
from pathlib import Path

import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from unclouded.errors import InputError
from unclouded.patches.audit import audit, overlapping, read_listing, shared_ground
from unclouded.patches.splits import official_counts, official_split


def write(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def train(tmp_path: Path) -> str:
    return write(tmp_path / "train.txt", *map(str, official_split().train))


@pytest.fixture
def test_patches(tmp_path: Path) -> str:
    """As many names as the ten test regions have patches, numbered from 0."""
    names = [f"{roi}_p{i}" for roi in sorted(official_split().test) for i in range(official_counts()[roi])]
    return write(tmp_path / "test.txt", *names)


def test_the_fields_substring_takes_six_of_ten_test_regions_into_training(train: str, test_patches: str) -> None:
    found = audit(read_listing(train), read_listing(test_patches))
    assert found.is_clean  # as values, nothing is shared
    assert found.second.patches_in(found.second.regions) == 7_899
    assert found.second.patches_in(found.by_substring) == 4_764
    assert len(found.by_substring) == 6
    assert "4,764 of 7,899 patches (60.3%), in 6 of 10 regions" in found.report()


def test_the_same_leak_on_a_tree_of_empty_files(
    tmp_path: Path, touch: Callable[..., Path], official_names: Callable[..., list[str]]
) -> None:
    names = [name for patch in ("ROIs1158_spring_1_p30", "ROIs1158_spring_106_p30") for name in official_names(patch)]
    one = [name for name in names if "/s1_1/" in name or "_1/" in name]
    other = [name for name in names if name not in one]
    first = write(tmp_path / "one.txt", *one)
    second = write(tmp_path / "other.txt", *other)
    found = audit(read_listing(first), read_listing(second))
    assert found.is_clean
    assert list(map(str, found.by_substring)) == ["ROIs1158_spring_106"]


def test_whole_regions_count_their_published_patches(tmp_path: Path, train: str) -> None:
    test = write(tmp_path / "regions.txt", *map(str, official_split().test))
    found = audit(read_listing(train), read_listing(test))
    assert found.second.patches_in(found.by_substring) == 4_764


def test_a_sensor_token_or_a_folder_does_not_hide_what_is_shared(tmp_path: Path) -> None:
    first = write(tmp_path / "a", "ROIs1158_spring_s1_106_p30", "# a remark", "")
    second = write(tmp_path / "b", "x/ROIs1158_spring_s2_cloudy/s2_cloudy_106/ROIs1158_spring_s2_cloudy_106_p30.tif")
    found = audit(read_listing(first), read_listing(second))
    assert found.names == ("ROIs1158_spring_106_p30",)
    assert not found.is_clean


@pytest.mark.parametrize("spelling", ["ROIs1158_spring_106", "ROIs1158_spring_s2_106", "ROIs1158_spring_s1/s1_106/"])
def test_another_patch_of_the_same_region_is_a_leak(tmp_path: Path, spelling: str) -> None:
    first = write(tmp_path / "a", "ROIs1158_spring_106_p1")
    found = audit(read_listing(first), read_listing(write(tmp_path / "b", spelling)))
    assert not found.names
    assert list(map(str, found.regions)) == ["ROIs1158_spring_106"]


def test_the_parts_of_a_csv_list_are_compared(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", "1,s1,s2_cloudfree,s2_cloudy,a.tif", "3,s1,s2_cloudfree,s2_cloudy,b.tif")
    assert audit(read_listing(f"{path}:train"), read_listing(f"{path}:test")).is_clean
    assert audit(read_listing(f"{path}:train"), read_listing(path)).names == ("a",)


def test_a_root_with_georeference_is_compared_on_the_ground(official_root: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "flat"
    for sensor, folder in (("s1", "s1"), ("s2_cloudy", "s2_cloudy"), ("s2", "s2_cloudfree")):
        source = official_root / f"ROIs1158_spring_{sensor}" / f"{sensor}_106" / f"ROIs1158_spring_{sensor}_106_p9.tif"
        (renamed / folder).mkdir(parents=True)
        (renamed / folder / "renamed.tif").write_bytes(source.read_bytes())
    found = audit(read_listing(str(official_root)), read_listing(str(renamed)))
    assert not found.names and not found.regions
    assert found.on_the_ground == ("ROIs1158_spring_106_p9 and renamed (100% of the smaller one)",)
    assert "1 pairs with common ground" in found.report()


def test_a_report_lists_what_could_not_be_compared(tmp_path: Path) -> None:
    lists = [read_listing(write(tmp_path / name, f"ROIs1158_spring_{i}")) for i, name in enumerate("ab", start=1)]
    assert "footprints not compared" in audit(*lists).report()


@pytest.mark.parametrize("line", ["ROIs1158_sprung_1", "some/where", "ROIs1158_spring_1_px"])
def test_a_line_that_is_no_name_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(InputError, match="expected names such as ROIs1158_spring_106_p30"):
        read_listing(write(tmp_path / "a", line))


def test_an_empty_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is empty; expected one name per line"):
        read_listing(write(tmp_path / "a", "# nothing"))


def test_a_text_list_has_no_parts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no parts"):
        read_listing(write(tmp_path / "a", "x") + ":test")


def patch(east: float, north: float, crs: str = "EPSG:32632", side: int = 256) -> GeoBox:
    return GeoBox((side, side), Affine(10, 0, east, 0, -10, north), crs)


def in_zone(grid: GeoBox, crs: str) -> GeoBox:
    """The same ground by the coordinates of another zone, in which it stands askew."""
    height, width = grid.shape
    moved = Transformer.from_crs(str(grid.crs), crs, always_xy=True)
    corner, right, down = (moved.transform(*(grid.affine @ place)) for place in ((0, 0), (width, 0), (0, height)))
    x, y = (((right[axis] - corner[axis]) / width, (down[axis] - corner[axis]) / height) for axis in (0, 1))
    return GeoBox(grid.shape, Affine(*x, corner[0], *y, corner[1]), crs)


def test_half_a_patch_is_shared_by_neighbours_of_the_data_set() -> None:
    ((one, other, share),) = overlapping({"a": patch(5e5, 5e6)}, {"b": patch(5e5 + 1280, 5e6)})
    assert (one, other) == ("a", "b")
    assert share == pytest.approx(0.5)


def test_patches_that_touch_share_no_ground() -> None:
    assert not list(overlapping({"a": patch(5e5, 5e6)}, {"b": patch(5e5 + 2560, 5e6)}))


def test_the_same_place_in_the_next_zone_is_the_same_place() -> None:
    here = patch(7.3e5, 5e6)
    ((_, _, share),) = overlapping({"there": in_zone(here, "EPSG:32633")}, {"here": here})
    assert share == pytest.approx(1.0, abs=1e-3)


def test_the_antimeridian_parts_nothing() -> None:
    west = patch(8.2e5, 8e6, "EPSG:32760")  # east of zone 60, beyond 180 degrees
    ((_, _, share),) = overlapping({"west": west}, {"east": in_zone(west, "EPSG:32701")})
    assert share == pytest.approx(1.0, abs=1e-3)


def test_a_small_patch_within_a_large_one_is_shared_whole() -> None:
    large, small = patch(5e5, 5e6), patch(5e5 + 100, 5e6 - 100, side=16)
    assert shared_ground(large, small) == pytest.approx(1.0)
    assert len(list(overlapping({"a": large}, {"b": small}))) == 1
    assert len(list(overlapping({"a": small}, {"b": large}))) == 1


def test_nothing_overlaps_nothing() -> None:
    assert not list(overlapping({}, {"a": patch(5e5, 5e6)}))
