import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from unclouded.clouds.files import READ_TAG, TAG, UNKNOWN, ImageReader, MappedFolder, map_file, map_folder
from unclouded.clouds.map import CloudMapSettings, cloud_map
from unclouded.errors import BusyError, InputError, MachineError
from unclouded.files import sha256
from unclouded.io.geotiff import open_geotiff, read_stored, write_geotiff
from unclouded.io.raster import read
from unclouded.locks import held
from unclouded.sensors import SENTINEL2, SENTINEL2_L2A
from unclouded.sentinel.identify import images_in
from unclouded.sentinel.optical import open_optical

GRID = GeoBox.from_bbox((0, 0, 400, 400), "EPSG:32632", resolution=10)
ONES = CloudMapSettings(mode="ones")
READER = ImageReader(partial(open_optical, allow_l2a=True))


def write_image(path: Path, bands: tuple[str, ...] = SENTINEL2.bands) -> Path:
    """Dark on the left, and as bright as a cloud on the right."""
    values = np.full((len(bands), 40, 40), 800, np.uint16)
    values[:, :, 20:] = 6000
    write_geotiff(path, values, bands, GRID)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, one of them in a subfolder, and what is none."""
    for name in ("one.tif", "two.TIFF", "deeper/three.tif"):
        write_image(tmp_path / "images" / name)
    (tmp_path / "images" / "readme.txt").touch()
    (tmp_path / "images" / ".hidden.tif").touch()
    return tmp_path / "images"


def mapped(folder: Path, out: Path, settings: CloudMapSettings = ONES, reader: ImageReader = READER) -> MappedFolder:
    return map_folder(folder, images_in(folder), out, settings, reader, lambda *_: None)


def maps(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in out.rglob("*.[tT]*"))


def test_the_map_of_a_file_is_that_of_the_library_on_its_grid(tmp_path: Path) -> None:
    raster = read(write_image(tmp_path / "image.tif"), SENTINEL2)
    reported: list[tuple[str, int, int]] = []
    map_file(
        tmp_path / "image.tif", tmp_path / "m.tif", CloudMapSettings(), READER, lambda *step: reported.append(step)
    )
    written = read_stored(tmp_path / "m.tif")
    assert np.array_equal(written.values[0], cloud_map(raster.values, raster.bands))
    assert written.values[0, 20, 5] < 0.1 < 0.9 < written.values[0, 20, 35]
    assert written.geobox == raster.geobox and reported == [("mapping rows", 40, 40)]


def test_a_map_stores_its_settings(tmp_path: Path) -> None:
    map_file(write_image(tmp_path / "image.tif"), tmp_path / "m.tif", ONES, READER)
    with open_geotiff(tmp_path / "m.tif") as file:
        assert CloudMapSettings.model_validate_json(file.tags()[TAG]) == ONES


def test_an_l2a_image_is_mapped_by_a_detector_for_l2a(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    image = write_image(tmp_path / "l2a.tif", SENTINEL2_L2A.bands)
    settings = CloudMapSettings(detector="csmask-l2a", threshold=0.0)
    map_file(image, tmp_path / "m.tif", settings, READER)
    raster = read(image, SENTINEL2_L2A)
    expected = cloud_map(raster.values, raster.bands, settings)
    assert np.array_equal(read_stored(tmp_path / "m.tif").values[0], expected) and expected.max() > 0


def test_fault_18_an_l2a_image_is_refused_by_the_papers_detector(tmp_path: Path) -> None:
    image = write_image(tmp_path / "l2a.tif", SENTINEL2_L2A.bands)
    with pytest.raises(InputError, match=r"B10 is missing; L2A has no B10, use the L1C product, .* csmask-l2a or"):
        map_file(image, tmp_path / "m.tif", CloudMapSettings(), READER)


def test_fault_18_an_l1c_image_is_refused_by_a_detector_of_l2a(tmp_path: Path) -> None:
    image = write_image(tmp_path / "l1c.tif")
    with pytest.raises(InputError, match="csmask-l2a supports L2A products, but the image has B10, as only L1C"):
        map_file(image, tmp_path / "m.tif", CloudMapSettings(detector="csmask-l2a"), READER)


def test_an_image_is_never_overwritten(tmp_path: Path) -> None:
    image = write_image(tmp_path / "image.tif")
    (tmp_path / "link.tif").symlink_to(image)
    before = sha256(image)
    for out in (image, tmp_path / "link.tif"):
        with pytest.raises(InputError, match="is the input itself; choose another place for the output"):
            map_file(image, out, ONES, READER)
    assert sha256(image) == before


def test_a_folder_is_mapped_under_the_same_names(folder: Path, tmp_path: Path) -> None:
    assert mapped(folder, tmp_path / "maps") == MappedFolder(3, 0, ())
    assert maps(tmp_path / "maps") == ["deeper/three.tif", "one.tif", "two.TIFF"]


def test_existing_maps_are_not_computed_again(folder: Path, tmp_path: Path) -> None:
    mapped(folder, tmp_path / "maps")
    before = (tmp_path / "maps" / "one.tif").stat().st_mtime_ns
    write_image(folder / "four.tif")
    assert mapped(folder, tmp_path / "maps") == MappedFolder(1, 3, ())
    assert (tmp_path / "maps" / "one.tif").stat().st_mtime_ns == before


def test_maps_with_other_settings_are_replaced(folder: Path, tmp_path: Path) -> None:
    mapped(folder, tmp_path / "maps")
    assert mapped(folder, tmp_path / "maps", CloudMapSettings()) == MappedFolder(3, 0, ())


def test_maps_within_the_folder_are_not_mapped_as_images(folder: Path) -> None:
    mapped(folder, folder / "maps")
    assert mapped(folder, folder / "maps") == MappedFolder(0, 3, ())


def test_a_folder_is_never_mapped_onto_its_images(folder: Path) -> None:
    before = {path: sha256(path) for path in folder.rglob("*.tif")}
    for out in (folder, folder / "deeper" / ".."):
        with pytest.raises(InputError, match="is an image itself; choose another folder for the maps"):
            mapped(folder, out)
    assert {path: sha256(path) for path in folder.rglob("*.tif")} == before


def test_files_other_than_maps_are_not_replaced(folder: Path, tmp_path: Path) -> None:
    radar = write_image(tmp_path / "radar" / "one.tif")
    before = sha256(radar)
    with pytest.raises(InputError, match=r"one.tif exists and is not a cloud map; choose another folder"):
        mapped(folder, tmp_path / "radar")
    assert sha256(radar) == before


def test_fault_19_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no \.tif file and no product"):
        mapped(tmp_path, tmp_path / "maps")
    assert not (tmp_path / "maps").exists()


def test_fault_05_a_damaged_image_is_named_and_the_others_are_mapped(folder: Path, tmp_path: Path) -> None:
    torn = folder / "two.TIFF"
    torn.write_bytes(torn.read_bytes()[:300])
    found = mapped(folder, tmp_path / "maps")
    assert (found.made, found.there) == (2, 0)
    (reason,) = found.refused
    assert "two.TIFF is not a whole GeoTIFF (it ends within its tags" in reason
    assert maps(tmp_path / "maps") == ["deeper/three.tif", "one.tif"]


def test_maps_of_an_image_read_with_another_offset_are_replaced(folder: Path, tmp_path: Path) -> None:
    shifted = ImageReader(partial(open_optical, offset=-700), "offset -700")
    assert mapped(folder, tmp_path / "maps") == MappedFolder(3, 0, ())
    assert mapped(folder, tmp_path / "maps", reader=shifted) == MappedFolder(3, 0, ())
    assert mapped(folder, tmp_path / "maps", reader=shifted) == MappedFolder(0, 3, ())
    with open_geotiff(tmp_path / "maps" / "one.tif") as file:
        assert file.tags()[READ_TAG] == "offset -700"


def test_a_warning_about_several_images_is_reported_once_with_their_names(folder: Path, tmp_path: Path) -> None:
    for name in ("one.tif", "two.TIFF"):
        write_geotiff(folder / name, np.full((13, 40, 40), 1100, np.uint16), SENTINEL2.bands, GRID)
    ((remark, names),) = mapped(folder, tmp_path / "maps").remarks.items()
    assert "set --offset -1000" in remark and names == ("one.tif", "two.TIFF")


def test_images_with_the_same_name_do_not_share_a_map(folder: Path, tmp_path: Path) -> None:
    for band in SENTINEL2.bands:
        write_geotiff(folder / "one" / f"{band}.tif", np.full((1, 40, 40), 800, np.uint16), (band,), GRID)
    with pytest.raises(InputError, match=r"holds one and one\.tif, whose maps would have the same name; rename one"):
        mapped(folder, tmp_path / "maps")


KILLED = """
import os, sys
from pathlib import Path
from unclouded.clouds import files
from unclouded.clouds.map import CloudMapSettings
from unclouded.sentinel.identify import images_in
from unclouded.sentinel.optical import open_optical

def killed_at_the_third(read, height, *_, **__):
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), 9)
    return map_rows(read, height, *_)

calls, map_rows, files.map_rows, files.THREADS = [], files.map_rows, killed_at_the_third, 1
folder, reader = Path(sys.argv[1]), files.ImageReader(open_optical)
files.map_folder(folder, images_in(folder), Path(sys.argv[2]), CloudMapSettings(mode="ones"), reader, lambda *_: None)
"""


def test_fault_03_an_interrupted_run_over_a_folder_resumes(folder: Path, tmp_path: Path) -> None:
    out, undisturbed = tmp_path / "maps", tmp_path / "undisturbed"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(out)], check=False, capture_output=True)
    assert killed.returncode == -9
    (leftover := out / ".map.1-00.partial.tif").touch()  # as if it had been killed at the end of a file
    assert mapped(folder, out) == MappedFolder(1, 2, ())
    assert not leftover.exists()
    mapped(folder, undisturbed)
    assert {name: sha256(out / name) for name in maps(out)} == {n: sha256(undisturbed / n) for n in maps(undisturbed)}


def test_fault_34_the_error_for_a_second_process_names_the_first(folder: Path, tmp_path: Path) -> None:
    with held(tmp_path / "maps"), pytest.raises(BusyError, match=f"is being written by process {os.getpid()}"):
        mapped(folder, tmp_path / "maps")


def test_fault_33_a_folder_that_cannot_be_written_is_refused_before_the_work(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "maps").touch()
    with pytest.raises(InputError, match="maps cannot be written"):
        mapped(folder, tmp_path / "maps")


def test_fault_32_a_folder_is_completed_once_the_disk_has_space_again(
    folder: Path, mount_disk: Callable[[int], Path]
) -> None:
    disk = mount_disk(64)
    disk.joinpath("full").write_bytes(bytes(52 << 10))
    with pytest.raises(MachineError, match="cannot be written"):
        mapped(folder, disk / "maps")
    there = len(maps(disk / "maps"))
    assert there < 3
    assert sorted(maps(disk / "maps")) == sorted(path for path in maps(disk / "maps") if ".partial" not in path)
    disk.joinpath("full").unlink()
    assert mapped(folder, disk / "maps") == MappedFolder(3 - there, there, ())


def test_fault_33_a_read_only_disk_is_refused_before_the_work(folder: Path, mount_disk: Callable[[int], Path]) -> None:
    disk = mount_disk(64)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(MachineError, match=r"cannot be written \(Read-only file system\); choose a folder"):
        mapped(folder, disk)


@pytest.mark.parametrize(("settings", "rows"), [(CloudMapSettings(), [3, 4]), (ONES, [])])
def test_fault_13_a_map_has_no_data_where_a_band_of_the_detector_has_none(
    tmp_path: Path, settings: CloudMapSettings, rows: list[int]
) -> None:
    stored = read_stored(write_image(tmp_path / "image.tif")).values
    stored[10, 3:5] = 0  # B10
    write_geotiff(tmp_path / "gap.tif", stored, SENTINEL2.bands, GRID)
    warnings = map_file(tmp_path / "gap.tif", tmp_path / "m.tif", settings, READER)
    made = read_stored(tmp_path / "m.tif")
    assert made.nodata is not None and np.isnan(made.nodata)
    assert np.flatnonzero(np.isnan(made.values[0]).all(axis=1)).tolist() == rows
    assert not np.isnan(made.values[0, 5:]).any() and (UNKNOWN in warnings) == bool(rows)


def test_fault_32_a_place_that_cannot_be_written_is_found_before_the_image_is_read(
    tmp_path: Path, mount_disk: Callable[[int], Path]
) -> None:
    disk = mount_disk(16)
    with pytest.raises(OSError, match="No space left"):
        (disk / "fill").write_bytes(bytes(1 << 20))
    unread = ImageReader(lambda path: pytest.fail("read"))
    with pytest.raises(MachineError, match=r"cannot be written \(No space left on device\); free some space"):
        map_file(tmp_path / "image.tif", disk / "map.tif", CloudMapSettings(), unread)
