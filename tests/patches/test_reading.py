from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.io.geotiff import read_stored, write_geotiff
from unclouded.patches.layouts import TripletFiles, find_triplets
from unclouded.patches.reading import check_triplets, images_of, read_triplet
from unclouded.sensors import SENTINEL1, SENTINEL2, Sensor


@pytest.fixture
def triplet(official_root: Path) -> TripletFiles:
    return find_triplets(official_root).triplets[0]


def overwrite(path: Path | None, change: Callable[[NDArray[np.generic]], object]) -> None:
    assert path
    with rasterio.open(path, "r+") as file:
        values = file.read()
        change(values)
        file.write(values)


def refusal(files: TripletFiles) -> str:
    with pytest.raises(InputError) as refused:
        read_triplet(files)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_triplet_is_read_in_its_units(triplet: TripletFiles) -> None:
    patch = read_triplet(triplet)
    assert patch.clear
    assert patch.name == "ROIs1158_spring_106_p9"
    assert patch.sar.bands == SENTINEL1.bands and patch.cloudy.bands == patch.clear.bands == SENTINEL2.bands
    assert np.unique(patch.sar.values) == [-10]
    assert np.unique(patch.cloudy.values) == np.float32(0.6) and np.unique(patch.clear.values) == np.float32(0.1)


def test_an_observation_is_read_without_clear_image(triplet: TripletFiles) -> None:
    assert read_triplet(TripletFiles("a", None, triplet.sar, triplet.cloudy, None)).clear is None


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_fault_13_missing_values_in_the_radar_are_refused(triplet: TripletFiles, hole: float) -> None:
    overwrite(triplet.sar, lambda values: values[1, 2, 3:6].fill(hole))
    message = (
        "s1_106_p9.tif has 3 of 512 values without data (NaN, infinite or nodata), expected none; exclude this patch"
    )
    assert message in refusal(triplet)


@pytest.mark.parametrize("number", [0, 65_535])
@pytest.mark.parametrize("role", ["cloudy", "clear"])
def test_fault_13_missing_values_in_an_optical_image_are_refused(triplet: TripletFiles, role: str, number: int) -> None:
    path = getattr(triplet, role)
    overwrite(path, lambda values: values[10, :2, 0].fill(number))
    assert f"{path.name} has 2 of 3,328 values without data" in refusal(triplet)


def rewrite(path: Path | None, sensor: Sensor, geobox: GeoBox) -> None:
    assert path
    values = np.full((len(sensor.bands), *geobox.shape), -10 if sensor is SENTINEL1 else 1_000, sensor.dtypes[0])
    write_geotiff(path, values, sensor.bands, geobox)


GRID = GeoBox((16, 16), Affine(10, 0, 637702.775062324 + 160 * 9, 0, -10, 3632392.7747218483), 32652)

OTHERS = {
    "fault_10 crs": GeoBox(GRID.shape, GRID.affine, 32651),
    "fault_11 half a pixel": GeoBox(GRID.shape, GRID.affine @ Affine.translation(0.5, 0), GRID.crs),
    "fault_11 size": GeoBox((16, 17), GRID.affine, GRID.crs),
    "fault_11 north down": GeoBox(GRID.shape, GRID.affine @ Affine.scale(1, -1), GRID.crs),
    "fault_11 no georeference": GeoBox(GRID.shape, Affine.identity(), None),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
@pytest.mark.parametrize("role", ["sar", "clear"])
def test_fault_11_another_grid_than_the_cloudy_image_is_refused(
    triplet: TripletFiles, role: str, other: GeoBox
) -> None:
    rewrite(getattr(triplet, role), SENTINEL1 if role == "sar" else SENTINEL2, other)
    expected = "expected 16x16 px in EPSG:32652, corner 639142.775062 3632392.77472, steps 10 -10; cut both on one grid"
    message = refusal(triplet)
    assert "lies on another grid than ROIs1158_spring_s2_cloudy_106_p9.tif: " in message and message.endswith(expected)


def test_fault_11_patches_without_georeference_are_read(tmp_path: Path) -> None:
    nowhere = GeoBox((16, 16), Affine.identity(), None)
    for folder, sensor in (("s1", SENTINEL1), ("s2_cloudy", SENTINEL2), ("s2_cloudfree", SENTINEL2)):
        rewrite(tmp_path / folder / "a.tif", sensor, nowhere)
    assert read_triplet(find_triplets(tmp_path).triplets[0]).cloudy.geobox.crs is None


def test_a_missing_file_is_refused(triplet: TripletFiles) -> None:
    triplet.sar.unlink()
    assert refusal(triplet).endswith("ROIs1158_spring_s1_106_p9.tif is not a file; check the path")


# All at once


def test_a_complete_data_set_is_clean(official_root: Path) -> None:
    inspection = check_triplets(find_triplets(official_root))
    assert inspection.is_clean
    assert inspection.report() == f"{official_root}: official layout, 2 complete triplets of 1 region"


def test_fault_09_patches_whose_bands_are_in_another_order_are_listed(official_root: Path, samples: Path) -> None:
    files = find_triplets(official_root).triplets[0]
    real = read_stored(samples / "triplets" / "s2_cloudfree" / "oriolac_test_0581.tif").values
    with rasterio.open(files.cloudy, "r+") as file:
        file.descriptions = ("",) * 13
        file.write(np.ascontiguousarray(real[::-1, : file.height, : file.width]))
    (damaged,) = check_triplets(find_triplets(official_root)).damaged
    assert damaged.name == files.name and "(reversed), expected B01 B02" in damaged.reason
    with rasterio.open(files.cloudy, "r+") as file:
        file.descriptions = SENTINEL2.bands
    assert check_triplets(find_triplets(official_root)).is_clean


def test_progress_counts_every_observation(official_root: Path) -> None:
    reported: list[tuple[int, int]] = []
    check_triplets(find_triplets(official_root), lambda stage, completed, total: reported.append((completed, total)))
    assert reported == [(1, 2), (2, 2)]


def test_fault_05_every_incomplete_and_every_damaged_triplet_is_in_one_report(
    official_root: Path, official_names: Callable[..., list[str]], touch: Callable[..., Path]
) -> None:
    first, second = find_triplets(official_root).triplets
    first.sar.write_bytes(first.sar.read_bytes()[:-100])
    overwrite(second.clear, lambda values: values[0].fill(0))
    touch(official_root, *official_names("ROIs1158_spring_106_p11", ("s1", "s2_cloudy")), "README.md")
    for number in range(100, 120):
        touch(official_root, *official_names(f"ROIs1158_spring_106_p{number}", ("s1",)))
    inspection = check_triplets(find_triplets(official_root))
    assert not inspection.is_clean
    assert [damaged.name[-3:] for damaged in inspection.damaged] == ["_p9", "p10", "p11"]
    lines = inspection.report().splitlines()
    assert lines[1:3] == ["21 incomplete", "  ROIs1158_spring_106_p11 lacks s2"]
    assert lines[22:24] == ["  ROIs1158_spring_106_p119 lacks s2_cloudy, s2", "3 damaged"]
    assert [line.split(": ")[0] for line in lines[24:27]] == [f"  ROIs1158_spring_106_p{n}" for n in (9, 10, 11)]
    assert "ends within its tags" in lines[24] and "has 256 of 3,328 values without data" in lines[25]
    assert "is empty (0 bytes); fetch it again" in lines[26]
    assert lines[27:] == ["1 unexpected", "  README.md"]


def test_missing_files_alone_are_not_clean(official_root: Path) -> None:
    find_triplets(official_root).triplets[0].sar.unlink()
    assert not check_triplets(find_triplets(official_root)).is_clean


def test_incomplete_patches_are_listed_with_their_images_in_natural_order(
    tmp_path: Path, touch: Callable[..., Path], official_names: Callable[..., list[str]]
) -> None:
    clear_only, whole = "ROIs1158_spring_1_p9", "ROIs1158_spring_1_p10"
    root = touch(tmp_path, *official_names(whole), *official_names(clear_only, ("s2",)))
    first, second = images_of(find_triplets(root))
    assert (first.name, first.lacks, list(first.paths)) == (clear_only, ("s1", "s2_cloudy"), ["s2"])
    assert first.paths["s2"].is_file() and first.patch and first.patch.number == 9
    assert second.name == whole and second.lacks == () and set(second.paths) == {"s1", "s2", "s2_cloudy"}


def test_the_clear_image_of_the_flat_layout_has_either_spelling(tmp_path: Path, touch: Callable[..., Path]) -> None:
    root = touch(tmp_path, "s1/a.tif", "s2_cloudFree/a.tif", "s2_cloudFree/b.tif", "s2_cloudy/c.tif")
    found = {images.name: images for images in images_of(find_triplets(root))}
    assert found["a"].lacks == ("s2_cloudy",) and found["a"].paths["s2"] == root / "s2_cloudFree/a.tif"
    assert list(found["b"].paths) == ["s2"] and list(found["c"].paths) == ["s2_cloudy"]
    assert all(path.is_file() for images in found.values() for path in images.paths.values())
