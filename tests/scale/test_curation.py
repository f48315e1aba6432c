"""Two invented regions of three candidates each: one passes, one lies under cirrus, one has a hole in the radar."""

import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.files import sha256
from unclouded.geotiff import read_stored, write_geotiff
from unclouded.patches.layouts import find_triplets
from unclouded.patches.manifest import write_manifest
from unclouded.scale.curation import CurateRegion, curating
from unclouded.scale.regions import CurationSettings, fingerprint
from unclouded.scale.running import run_tasks, serially
from unclouded.scale.tasks import TaskFolder
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.settings import settings_from
from unclouded.simulation.optical_product import PIXEL_M, OpticalProduct, write_optical_product

GRID = GeoBox((256, 768), Affine(10, 0, 500_003.7, 0, -10, 4_900_008.2), "EPSG:32632")
SETTINGS = {"coverage": False, "stride_px": 256, "screening": {"shift_px": 20.0}}


def optical(rng: np.random.Generator) -> NDArray[np.uint16]:
    """The coordinate scene: B02 holds the row, B03 the column; no cirrus but in the columns from 300 to 400."""
    values = rng.integers(1500, 3000, (13, 256, 768)).astype(np.uint16)
    row, column = np.mgrid[:256, :768]
    values[SENTINEL2.indices("B02")], values[SENTINEL2.indices("B03")] = 1000 + row, 1000 + column
    values[SENTINEL2.indices("B10")] = 15 + rng.integers(0, 5, (256, 768))
    values[SENTINEL2.indices("B10"), :, 300:400] += np.uint16(300)
    return values


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("scenes"), np.random.default_rng(4)
    for number in (1, 2):
        radar = rng.normal(-12, 2, (2, 256, 768)).astype(np.float32)
        radar[:, 10, 600] = np.nan
        write_geotiff(folder / f"s1_{number}.tif", radar, SENTINEL1.bands, GRID)
        write_geotiff(folder / f"clear_{number}.tif", optical(rng), SENTINEL2.bands, GRID)
        write_geotiff(folder / f"cloudy_{number}.tif", optical(rng) + np.uint16(2000), SENTINEL2.bands, GRID)
    return folder


def tasks(scenes: Path, root: Path, numbers: tuple[int, ...] = (1, 2), **changed: object) -> list[CurateRegion]:
    regions = [
        {
            "roi": f"ROIs0001_summer_{number}",
            "radar": f"s1_{number}.tif",
            "clear": f"clear_{number}.tif",
            "cloudy": f"cloudy_{number}.tif",
        }
        for number in numbers
    ]
    return curating(settings_from(CurationSettings, {"regions": regions} | SETTINGS | changed), scenes, root)


def test_every_candidate_has_a_status_and_a_reason_and_only_kept_ones_have_files(scenes: Path, tmp_path: Path) -> None:
    (task,) = tasks(scenes, tmp_path, (1,))
    first, second, third = task.run()
    assert [row["patch"] for row in (first, second, third)] == [f"ROIs0001_summer_1_p{n}" for n in (1, 2, 3)]
    assert (first["status"], first["reason"]) == ("kept", None)
    assert second["status"] == "rejected" and second["reason"].startswith("haze in s2: 39.1% cirrus")  # 100 of 256
    assert third["status"] == "rejected" and third["reason"] == "no_data in s1: 0.0% without data"
    assert [files.name for files in find_triplets(tmp_path).triplets] == ["ROIs0001_summer_1_p1"]
    assert first["s1_product"] == "s1_1.tif" and first["crs"] == "EPSG:32632"
    assert first["s2_sha256"] == sha256(tmp_path / first["s2"]) and "s2" not in second


def test_the_coordinate_scene_comes_out_where_it_was(scenes: Path, tmp_path: Path) -> None:
    (task,) = tasks(scenes, tmp_path, (1,), stride_px=128)
    rows = [row for row in task.run() if row["status"] == "kept"]
    assert rows
    for row in rows:
        stored = read_stored(tmp_path / row["s2_cloudy"])
        left = int(stored.values[SENTINEL2.indices("B03")[0], 0, 0]) - 3000
        assert left % 128 == 0 and (stored.values[SENTINEL2.indices("B02")[0], :, 0] == 3000 + np.arange(256)).all()
        assert stored.geobox.affine.c == pytest.approx(500_003.7 + 10 * left)


def test_fault_05_a_cut_scene_is_told_and_the_region_is_set_aside(scenes: Path, tmp_path: Path) -> None:
    for path in scenes.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[: -2000 if path.name == "clear_1.tif" else None])
    both = tasks(tmp_path, tmp_path / "root")
    failed = run_tasks(both, TaskFolder(tmp_path / "work"), serially)
    assert list(failed) == ["ROIs0001_summer_1"] and "clear_1.tif" in failed["ROIs0001_summer_1"]
    assert len(TaskFolder(tmp_path / "work").rows(both)) == 3


def test_fault_35_a_region_made_of_other_products_is_refused(scenes: Path, tmp_path: Path) -> None:
    (task,) = tasks(scenes, tmp_path, (1,))
    task.run()
    task.run()  # twice the same is no harm
    (other,) = tasks(scenes, tmp_path, (1,), stride_px=128)
    with pytest.raises(InputError, match="holds ROIs0001_summer_1 made of other products or settings"):
        other.run()


def test_a_region_that_is_named_twice_is_refused(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ROIs0001_summer_1 is there twice; give each region its own number"):
        tasks(scenes, tmp_path, (1, 1))


def test_fault_19_nothing_to_do_and_products_that_are_absent_are_refused(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="regions"):
        tasks(scenes, tmp_path, ())
    with pytest.raises(InputError, match=r"s1_3\.tif is not a file"):
        tasks(scenes, tmp_path, (3,))


def test_a_product_is_known_by_its_content(scenes: Path, tmp_path: Path) -> None:
    first, second = tasks(scenes, tmp_path), tasks(scenes, tmp_path / "elsewhere")
    assert [task.id for task in first] == [task.id for task in second]
    folder = tmp_path / "A.SAFE"
    folder.mkdir()
    (folder / "manifest.safe").write_text("a")
    before = fingerprint(folder)
    (folder / "manifest.safe").write_text("b")
    assert fingerprint(folder) != before


def test_products_bring_their_names_and_dates_into_the_manifest(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    for day, offset in ((8, None), (18, -1000)):  # the second of a baseline that shifts the numbers
        bands = {}
        for band in SENTINEL2.bands:
            side, low = 3000 // PIXEL_M[band], 15 if band == "B10" else 1500
            bands[band] = (rng.integers(low, 2 * low, (side, side)) - (offset or 0)).astype(np.uint16)
        product = OpticalProduct(acquired=datetime(2021, 9, day, 10, tzinfo=UTC), offset=offset)
        write_optical_product(tmp_path, bands, product)
    clear, cloudy = sorted(path.name for path in tmp_path.glob("*.SAFE"))
    grid = GeoBox((300, 300), Affine(10, 0, 699_960, 0, -10, 4_900_020), "EPSG:32632")
    write_geotiff(tmp_path / "s1.tif", rng.normal(-12, 2, (2, 300, 300)).astype(np.float32), SENTINEL1.bands, grid)
    region = {"roi": "ROIs0001_fall_7", "radar": "s1.tif", "clear": clear, "cloudy": cloudy, "split": "val"}
    (task,) = curating(settings_from(CurationSettings, {"regions": [region]} | SETTINGS), tmp_path, tmp_path / "root")
    (row,) = task.run()
    assert row["s2_product"] == clear.removesuffix(".SAFE") and row["s2_cloudy_acquired"][:10] == "2021-09-18"
    assert row["clear_after_cloudy_days"] == pytest.approx(-10) and row["radar_after_clear_days"] is None
    assert (row["status"], row["split"], row["roi"], row["season"]) == ("kept", "val", "ROIs0001_fall_7", "fall")
    stored = read_stored(tmp_path / "root" / row["s2_cloudy"]).values
    assert stored[1].min() >= 1500 and stored[1].max() < 3000  # the offset was applied once


_CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_curation as module
tasks = module.tasks(Path({scenes!r}), Path({root!r}))
module.run_tasks(tasks, module.TaskFolder(Path({root!r}) / ".curation", attempts=50), module.serially)
"""


def test_fault_02_killed_again_and_again_the_manifest_is_the_same(scenes: Path, tmp_path: Path) -> None:
    whole, root = tmp_path / "whole", tmp_path / "killed"
    expected = tasks(scenes, whole)
    run_tasks(expected, TaskFolder(whole / ".curation"), serially)
    write_manifest(whole / "manifest.parquet", TaskFolder(whole / ".curation").rows(expected))
    code = _CHILD.format(tests=str(Path(__file__).parent), scenes=str(scenes), root=str(root))
    notes = TaskFolder(root / ".curation", attempts=50)
    mine = tasks(scenes, root)
    for wanted in ("ROIs0001_summer_s2", "done"):  # killed as soon as it has come so far
        with subprocess.Popen([sys.executable, "-c", code]) as child:
            while child.poll() is None and not _come(root, wanted):
                time.sleep(0.005)
            child.kill()
        for path in root.glob("*/*/R*.tif"):
            assert read_stored(path).values.all()  # whole, or not there
    run_tasks(mine, notes, serially)
    write_manifest(root / "manifest.parquet", notes.rows(mine))
    assert sha256(root / "manifest.parquet") == sha256(whole / "manifest.parquet")
    assert not list(root.glob("ROI*/*/.*"))  # what the killed ones left is gone


def _come(root: Path, wanted: str) -> bool:
    return (
        any((root / ".curation" / "done").glob("[0-9a-f]*.json"))
        if wanted == "done"
        else any(root.glob(f"{wanted}/*/R*"))
    )
