"""Two simulated regions of three candidates each: one passes, one lies under cirrus, one has a hole in the radar."""

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine
from filelock import FileLock
from fsspec.implementations.memory import MemoryFileSystem
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from products.manifest import zip_product
from products.optical_product import PIXEL_M, OpticalProduct, write_optical_product
from products.radar_product import RadarProduct, write_radar_product
from shapely.geometry import shape

from unclouded.batch.executors import run_tasks, serially
from unclouded.batch.storage import fingerprint
from unclouded.batch.tasks import TaskLedger
from unclouded.clouds.map import CloudMapSettings
from unclouded.curation.leases import (
    WORK,
    acquire_lease,
    clean_up,
    leased_regions,
    leases_of_others,
    work_folder,
)
from unclouded.curation.region_task import CurateRegion, curating
from unclouded.curation.regions import CurationSettings
from unclouded.curation.results import failed_rows, irreplaceable, lost, outputs, screened_rows
from unclouded.errors import InputError
from unclouded.files import sha256
from unclouded.io.geotiff import open_geotiff, read_stored, write_geotiff
from unclouded.patches.layouts import find_triplets
from unclouded.patches.manifest import write_manifest
from unclouded.patches.reading import PatchRasters, read_triplet
from unclouded.patches.roi import PatchId
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.sentinel.radar import NO_NOISE, NO_TERRAIN
from unclouded.settings import settings_from
from unclouded.tensors.dataset import TripletDataset
from unclouded.training.preparation import digest

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


def test_kept_patches_can_be_uploaded(scenes: Path, tmp_path: Path) -> None:
    (task,) = tasks(scenes, tmp_path, (1,))
    kept, rejected, _ = task.run()
    assert {sha256(tmp_path / one.name) for one in outputs(kept)} == {one.sha256 for one in outputs(kept)}
    assert len(outputs(kept)) == 3 and outputs(rejected) == []


def test_fault_05_a_region_with_a_truncated_scene_fails_with_the_reason(scenes: Path, tmp_path: Path) -> None:
    for path in scenes.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[: -2000 if path.name == "clear_1.tif" else None])
    both = tasks(tmp_path, tmp_path / "root")
    failed = run_tasks(both, TaskLedger(tmp_path / "work"), serially)
    assert list(failed) == ["ROIs0001_summer_1"] and "clear_1.tif" in failed["ROIs0001_summer_1"]
    assert len(TaskLedger(tmp_path / "work").rows(both)) == 3


def test_fault_35_a_region_made_of_other_products_is_rejected(scenes: Path, tmp_path: Path) -> None:
    (task,) = tasks(scenes, tmp_path, (1,))
    task.run()
    task.run()  # twice the same is no harm
    (other,) = tasks(scenes, tmp_path, (1,), stride_px=128)
    with pytest.raises(InputError, match="holds ROIs0001_summer_1 made of other products or settings"):
        other.run()


def moved(scenes: Path, folder: Path, optical: GeoBox, radar: GeoBox, cloudy: GeoBox | None = None) -> None:
    """Write the first 256 x 256 px of a region's images on other grids."""
    for name, grid in (("clear", optical), ("cloudy", cloudy or optical), ("s1", radar)):
        image = read_stored(scenes / f"{name}_1.tif")
        columns = np.arange(grid.shape[1]) % 256  # no cirrus there
        write_geotiff(folder / f"{name}_1.tif", image.values[:, :, columns], image.descriptions, grid)


def at(epsg: int, x: float, y: float, width: int = 256) -> GeoBox:
    return GeoBox((256, width), Affine(10, 0, x, 0, -10, y), epsg)


def test_fault_12_optical_images_of_two_zones_are_rejected_and_radar_of_another_zone_is_warped(
    scenes: Path, tmp_path: Path
) -> None:
    """Zones 32 and 33 meet at 12 degrees east: at 45 north that is 736,437 m of the one and 263,563 m of the other."""
    optical = at(32632, 735_000, 4_988_000)
    for name, cloudy in (("a", at(32633, 262_000, 4_988_000)), ("b", optical)):
        (tmp_path / name).mkdir()
        moved(scenes, tmp_path / name, optical, at(32633, 261_000, 4_989_000, 512), cloudy)
    (refused,), (warped,) = (tasks(tmp_path / name, tmp_path / name / "root", (1,)) for name in "ab")
    with pytest.raises(InputError, match="use images of one UTM zone, because reflectance is not resampled"):
        refused.run()
    (row,) = warped.run()
    assert row["crs"] == "EPSG:32632" and row["remarks"]  # the radar covers a part


def test_fault_12_a_patch_on_the_antimeridian_has_its_outline_cut_in_two(scenes: Path, tmp_path: Path) -> None:
    """At 18 south, 180 degrees is 817,600 m of zone 60: the first patch lies west of it, the third across."""
    fiji = at(32760, 814_500, 8_000_000, 768)
    moved(scenes, tmp_path, fiji, fiji)
    (task,) = tasks(tmp_path, tmp_path / "root", (1,), stride_px=128)
    outlines = {row["column_px"]: row["geometry"]["type"] for row in task.run()}
    assert outlines == {0: "Polygon", 128: "MultiPolygon", 256: "MultiPolygon", 384: "Polygon", 512: "Polygon"}


def test_fault_12_a_region_beyond_utm_is_rejected(scenes: Path, tmp_path: Path) -> None:
    pole = at(32661, 2_000_000, 2_000_000)
    moved(scenes, tmp_path, pole, pole)
    (task,) = tasks(tmp_path, tmp_path / "root", (1,))
    with pytest.raises(InputError, match="expected a place between 80 S and 84 N, found latitudes"):
        task.run()


def test_a_duplicate_region_is_rejected(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="duplicate regions ROIs0001_summer_1; give each region its own number"):
        tasks(scenes, tmp_path, (1, 1))


def test_fault_19_an_empty_list_of_regions_is_rejected(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="regions"):
        tasks(scenes, tmp_path, ())


def test_fault_19_a_region_with_missing_products_fails_until_they_exist(scenes: Path, tmp_path: Path) -> None:
    for name in ("s1_1", "clear_1", "cloudy_1", "s1_2"):
        (tmp_path / f"{name}.tif").symlink_to(scenes / f"{name}.tif")
    (tmp_path / "cloudy_2.tif").write_bytes(b"PK\x03\x04 a zip that was cut")
    ledger = TaskLedger(tmp_path / "work")
    failed = run_tasks(tasks(tmp_path, tmp_path / "root"), ledger, serially)
    assert failed == {"ROIs0001_summer_2": "clear_2.tif not found; check the path, or fetch the product"}
    (tmp_path / "cloudy_2.tif").unlink()
    for name in ("clear_2", "cloudy_2"):
        (tmp_path / f"{name}.tif").symlink_to(scenes / f"{name}.tif")
    assert run_tasks(tasks(tmp_path, tmp_path / "root"), ledger, serially) == {}


def test_fault_07_a_zip_that_was_cut_costs_its_own_region(scenes: Path, tmp_path: Path) -> None:
    for path in scenes.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "s1_2.tif").unlink()
    (tmp_path / "s1_2.tif").write_bytes(b"PK\x03\x04 a zip that was cut")
    failed = run_tasks(tasks(tmp_path, tmp_path / "root"), TaskLedger(tmp_path / "work"), serially)
    assert list(failed) == ["ROIs0001_summer_2"] and failed["ROIs0001_summer_2"].startswith("s1_2.tif is not a whole")


@pytest.mark.parametrize("store", ["patches", "scenes"])
def test_a_region_that_lost_a_file_is_made_again(store: str, scenes: Path, tmp_path: Path) -> None:
    ledger, both = TaskLedger(tmp_path / ".curation"), tasks(scenes, tmp_path, store=store)
    run_tasks(both, ledger, serially)
    rows = ledger.rows(both)
    assert lost(both, ledger) == []
    path = tmp_path / next(row["s2"] for row in rows if row["status"] == "kept")
    whole = path.read_bytes()
    path.unlink()
    assert lost(both, ledger) == both[:1] and ledger.pending(both) == []
    ledger.invalidate(lost(both, ledger))
    assert ledger.pending(both) == both[:1]
    run_tasks(both, ledger, serially)
    assert ledger.rows(both) == rows and path.read_bytes() == whole


def test_a_region_whose_products_were_removed_is_done_and_cannot_be_made_again(scenes: Path, tmp_path: Path) -> None:
    for name in ("s1_1", "clear_1", "cloudy_1"):
        (tmp_path / f"{name}.tif").symlink_to(scenes / f"{name}.tif")
    ledger, root = TaskLedger(tmp_path / "root" / ".curation"), tmp_path / "root"
    (made,) = tasks(tmp_path, root, (1,))
    assert run_tasks([made], ledger, serially) == {}
    (tmp_path / "s1_1.tif").unlink()
    (again,) = tasks(tmp_path, root, (1,))
    assert (again.id, again.products_gone) == (made.id, True) and ledger.pending([again]) == []
    shutil.rmtree(root / "ROIs0001_summer_s2_cloudy")
    assert lost([again], ledger) == [] and irreplaceable([again], ledger) == {again.name: 1}
    (changed,) = tasks(tmp_path, root, (1,), stride_px=128)
    failed = run_tasks([changed], ledger, serially)
    clean_up(root, {changed.name: changed.id}, failed)
    assert failed == {made.name: "s1_1.tif not found; check the path, or fetch the product"}
    assert [lease["id"] for lease in leases_of_others(root, {changed.name: changed.id})] == [made.id]
    (root / "ROIs0001_summer_s1").stat()  # the other images are still there


def test_a_product_is_known_by_its_content(scenes: Path, tmp_path: Path) -> None:
    first, second = tasks(scenes, tmp_path), tasks(scenes, tmp_path / "elsewhere")
    assert [task.id for task in first] == [task.id for task in second]
    folder = tmp_path / "A.SAFE"
    folder.mkdir()
    (folder / "manifest.safe").write_text("a")
    before = fingerprint(folder)
    (folder / "manifest.safe").write_text("b")
    assert fingerprint(folder) != before


def write_optical(folder: Path, day: int, offset: int | None, corner: tuple[int, int]) -> Path:
    """Write a product of 300 x 300 px whose bands have 1500 to 3000, B10 15 to 30, before the offset."""
    rng, bands = np.random.default_rng(day), {}
    for band in SENTINEL2.bands:
        side, low = 3000 // PIXEL_M[band], 15 if band == "B10" else 1500
        bands[band] = (rng.integers(low, 2 * low, (side, side)) - (offset or 0)).astype(np.uint16)
    product = OpticalProduct(acquired=datetime(2021, 9, day, 10, tzinfo=UTC), offset=offset, corner=corner)
    return write_optical_product(folder, bands, product)


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Region of three SAFE folders as they are published, and an elevation model of flat ground 48 m below its zero."""
    folder, corner = tmp_path_factory.mktemp("products"), (863_700, 4_891_860)
    vv = 2 * np.random.default_rng(0).integers(50, 100, (420, 440)).astype(np.uint16)
    radar = RadarProduct(noise="zeros", sigma_slopes=(0, 0))  # sigma0 = (number / 660)^2
    write_radar_product(folder, {"VV": vv, "VH": vv // 2}, radar)
    write_optical(folder, 8, None, corner).rename(folder / "clear.SAFE")
    write_optical(folder, 18, -1000, corner).rename(folder / "cloudy.SAFE")  # a baseline that shifts the numbers
    place = Affine(50, 0, corner[0] - 500, 0, -50, corner[1] + 500)
    write_geotiff(
        folder / "dem.tif", np.full((1, 80, 80), -48, np.float32), ("height",), GeoBox((80, 80), place, 32632)
    )
    return folder


RADAR = RadarProduct().identity

SAFE = {"roi": "ROIs0001_fall_7", "radar": f"{RADAR}.SAFE", "clear": "clear.SAFE", "cloudy": "cloudy.SAFE"}


def safe_task(products: Path, root: Path, region: Mapping[str, object], **common: object) -> CurateRegion:
    content = {"regions": [SAFE | region], **SETTINGS, **common}
    (task,) = curating(settings_from(CurationSettings, content), products, root)
    return task


def test_three_products_become_triplets_with_names_dates_and_remarks(products: Path, tmp_path: Path) -> None:
    (row,) = safe_task(products, tmp_path, {"split": "val"}).run()
    assert row["s1_product"] == RADAR
    assert row["s2_product"].startswith("S2A_MSIL1C_20210908") and row["s2_cloudy_acquired"][:10] == "2021-09-18"
    assert row["clear_after_cloudy_days"] == pytest.approx(-10)
    assert row["radar_after_clear_days"] == pytest.approx(-0.704, abs=0.001)  # 17:06:50 of the day before, from 10:00
    assert (row["status"], row["split"], row["roi"], row["season"]) == ("kept", "val", "ROIs0001_fall_7", "fall")
    assert row["remarks"] == [f"s1: {NO_TERRAIN}", f"s1: {NO_NOISE}"]
    with open_geotiff(tmp_path / row["s2_cloudy"]) as file:
        tags = file.tags()
        assert (
            tags["UNCLOUDED_PRODUCT"].startswith("S2A_MSIL1C_20210918") and "2021-09-18" in tags["ACQUISITION_DATETIME"]
        )
        assert tags["TIFFTAG_COPYRIGHT"] == "Contains modified Copernicus Sentinel data 2021"
    cloudy = read_stored(tmp_path / row["s2_cloudy"]).values
    assert cloudy[1].min() >= 1500 and cloudy[1].max() < 3000  # the offset was applied once
    vv, vh = read_stored(tmp_path / row["s1"]).values
    assert vv.min() >= 20 * np.log10(100 / 660) and vv.max() <= 20 * np.log10(200 / 660)
    np.testing.assert_allclose(vv - vh, 20 * np.log10(2), atol=1e-4)
    assert not leftovers(tmp_path)


def test_an_elevation_model_corrects_the_radar_and_a_region_may_have_its_own(products: Path, tmp_path: Path) -> None:
    flat = safe_task(products, tmp_path / "a", {})
    common = safe_task(products, tmp_path / "b", {}, heights="dem.tif", heights_datum_m=1048.0)
    own = safe_task(products, tmp_path / "c", {"heights_datum_m": 48.0}, heights="dem.tif", heights_datum_m=1048.0)
    assert len({flat.id, common.id, own.id}) == 3
    (of_flat,), (of_own,) = flat.run(), own.run()
    assert of_own["remarks"] == [f"s1: {NO_NOISE}"]
    ground = [
        read_stored(root / row["s1"]).values for root, row in ((tmp_path / "a", of_flat), (tmp_path / "c", of_own))
    ]
    np.testing.assert_allclose(ground[0], ground[1], atol=0.6)  # both of the ellipsoid: the same to 0.1 px


def test_the_reason_of_a_failed_region_does_not_depend_on_the_folder_of_its_zip(products: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(products / "clear.SAFE", tmp_path / "clear.SAFE")
    (image,) = copied.rglob("*_B02.jp2")
    image.write_bytes(image.read_bytes()[:-1] + b"?")
    zip_product(copied, tmp_path / "clear.zip")
    region = {"clear": str(tmp_path / "clear.zip"), "split": "test"}
    task = safe_task(products, tmp_path / "root", region)
    failed = run_tasks([task], TaskLedger(tmp_path / "root" / ".curation"), serially)
    clean_up(tmp_path / "root", {task.name: task.id}, failed)
    (row,) = failed_rows([task], failed)
    assert "geometry" not in row  # its position is unknown
    assert row == {
        "status": "failed",
        "reason": f"{image.relative_to(tmp_path)} has another checksum than in its manifest; fetch it again",
        "roi": "ROIs0001_fall_7",
        "season": "fall",
        "split": "test",
        "s1_product": RADAR,
        "s2_product": "clear",
        "s2_cloudy_product": "cloudy",
    }
    assert not leftovers(tmp_path / "root")
    (again,) = safe_task(products, tmp_path / "root", {"split": "test"}).run()  # with a whole product
    assert again["status"] == "kept"


def test_a_failed_region_has_an_outline_if_its_center_is_known(products: Path, tmp_path: Path) -> None:
    known = safe_task(products, tmp_path, {"center": [9.0, 45.0]}, rows=400, columns=520)
    polar = safe_task(products, tmp_path, {"center": [11.0, 84.5]})
    (row,), (beyond,) = (failed_rows([task], {task.name: "damaged"}) for task in (known, polar))
    west, south, east, north = shape(row["geometry"]).bounds
    across_km, up_km = (east - west) * 111.32 * np.cos(np.radians(45)), (north - south) * 111.13
    assert (across_km, up_km) == pytest.approx((5.2, 4.0), rel=0.01)
    assert ((west + east) / 2, (south + north) / 2) == pytest.approx((9.0, 45.0), abs=1e-4)
    assert "geometry" not in beyond


@pytest.fixture
def bucket(scenes: Path) -> Iterator[MemoryFileSystem]:
    fs = MemoryFileSystem()
    for name in ("s1_1", "clear_1", "cloudy_1"):
        fs.pipe_file(f"/archive/{name}.tif", (scenes / f"{name}.tif").read_bytes())
    yield fs
    fs.rm("/archive", recursive=True)


def stored(root: Path, **changed: object) -> CurateRegion:
    names = {"radar": "s1_1", "clear": "clear_1", "cloudy": "cloudy_1"}
    region = {role: f"memory://archive/{name}.tif" for role, name in names.items()} | changed
    content = {"regions": [{"roi": "ROIs0001_summer_1", **region}], **SETTINGS}
    (task,) = curating(settings_from(CurationSettings, content), root, root / "root")
    return task


def test_products_of_a_storage_make_the_same_region_and_are_not_kept(
    bucket: MemoryFileSystem, scenes: Path, tmp_path: Path
) -> None:
    (local,) = tasks(scenes, tmp_path / "local", (1,))
    task = stored(tmp_path)
    assert task.run() == local.run()
    assert not leftovers(task.root) and stored(tmp_path).id == task.id != local.id
    bucket.pipe_file("/archive/clear_1.tif", bucket.cat_file("/archive/clear_1.tif") + b"!")
    assert stored(tmp_path).id != task.id


def test_a_product_missing_in_the_storage_fails_its_region_only(bucket: MemoryFileSystem, tmp_path: Path) -> None:
    task = stored(tmp_path, clear="memory://archive/absent.SAFE")
    failed = run_tasks([task], TaskLedger(task.root / ".curation"), serially)
    assert failed == {task.name: "memory://archive/absent.SAFE does not exist; check the URL"}
    (row,) = failed_rows([task], failed)
    assert (row["s1_product"], row["s2_product"]) == ("s1_1.tif", "absent")
    assert not leftovers(task.root)
    with pytest.raises(
        InputError, match="nonsense://archive/a has the protocol 'nonsense', expected one of file, http"
    ):
        stored(tmp_path / "other", clear="nonsense://archive/a").run()


def test_scenes_and_patches_teach_the_same_and_are_the_same_candidates(scenes: Path, tmp_path: Path) -> None:
    seen: dict[str, list[str]] = {}
    lines: dict[str, list[object]] = {}
    for store in ("patches", "scenes"):
        (task,) = tasks(scenes, tmp_path / store, (1,), stride_px=128, store=store)
        rows = task.run()
        write_manifest(tmp_path / store / "manifest.parquet", screened_rows(rows, task.settings.screening))
        files = find_triplets(tmp_path / store).triplets
        data = TripletDataset(files, SENTINEL2.bands, CloudMapSettings(mode="ones"))
        seen[store] = [digest(triplet) for triplet in data]
        assert torch.equal(data.clear(0), data[0].clear)
        lines[store] = [{key: row.get(key) for key in ("patch", "status", "row_px", "column_px")} for row in rows]
    assert len(seen["scenes"]) == 1 and seen["scenes"] == seen["patches"] and lines["scenes"] == lines["patches"]
    held = sorted(path.name for path in (tmp_path / "scenes" / "scenes" / "ROIs0001_summer_1").iterdir())
    assert held == [f"ROIs0001_summer_{token}_1.tif" for token in ("s1", "s2", "s2_cloudy")]


def test_fault_05_rows_that_cannot_be_decoded_cost_the_patches_over_them_in_either_store(
    scenes: Path, tmp_path: Path
) -> None:
    """Of patches at rows 0, 128, ... 512 the first one alone shows the first rows, a block that is damaged."""
    for name in ("s1_1.tif", "clear_1.tif", "cloudy_1.tif"):
        image = read_stored(scenes / name)
        tall = GeoBox((768, 256), image.geobox.affine, image.geobox.crs)
        write_geotiff(tmp_path / name, np.tile(image.values[:, :, :256], (1, 3, 1)), image.descriptions, tall)
    with open_geotiff(tmp_path / "clear_1.tif") as file:
        offset, size = (int(file.get_tag_item(f"BLOCK_{what}_0_0", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE"))
    content = bytearray((tmp_path / "clear_1.tif").read_bytes())
    content[offset + size // 2 : offset + size] = b"?" * (size - size // 2)
    (tmp_path / "clear_1.tif").write_bytes(content)
    hashes, passing_seams = [], {"shift_px": 20.0, "remarks": ["stripes"]}
    for store in ("patches", "scenes"):
        (task,) = tasks(tmp_path, tmp_path / store, (1,), stride_px=128, store=store, screening=passing_seams)
        rows = task.run()
        write_manifest(tmp_path / store / "manifest.parquet", screened_rows(rows, task.settings.screening))
        unreadable = {row["row_px"] for row in rows if row["status"] == "unreadable"}
        kept = [row for row in rows if row["status"] == "kept"]
        assert unreadable == {0} and {row["row_px"] for row in kept} == {128, 256, 384, 512}
        triplets = [read_triplet(files) for files in find_triplets(tmp_path / store).triplets]
        hashes.append([sha256_of(one) for one in triplets])
    assert hashes[0] and hashes[0] == hashes[1]


def sha256_of(one: PatchRasters) -> str:
    assert one.clear is not None
    return hashlib.sha256(b"".join(image.values.tobytes() for image in (one.sar, one.cloudy, one.clear))).hexdigest()


def leftovers(root: Path) -> list[Path]:
    """Return the files that no task needs any more."""
    return [*root.rglob("*.partial*"), *root.glob(".curation/work/*")]


ROI = "ROIs0001_fall_7"


def made(root: Path, roi: str) -> Path:
    path = root / PatchId.parse(f"{roi}_p1").path("s1")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("patch")
    return path


def test_fault_35_one_of_several_simultaneous_tasks_gets_the_lease_of_a_region(tmp_path: Path) -> None:
    def attempt(identity: str) -> str:
        try:
            acquire_lease(tmp_path, ROI, identity)
        except InputError as error:
            return str(error)
        return identity

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(attempt, "abcdefgh"))
    (winner,) = [answer for answer in results if len(answer) == 1]
    assert sum(f"holds {ROI} made of other products or settings" in answer for answer in results) == 7
    assert attempt(winner) == winner  # again, after it was killed


def test_the_patches_of_a_failed_region_are_removed_with_its_lease(tmp_path: Path) -> None:
    files = {roi: made(tmp_path, roi) for roi in (ROI, "ROIs0001_fall_70")}
    for roi in files:
        acquire_lease(tmp_path, roi, "a")
    clean_up(tmp_path, dict.fromkeys(files, "a"), {ROI: "damaged"})
    assert [path.exists() for path in files.values()] == [False, True]
    acquire_lease(tmp_path, ROI, "b")  # made of a whole product
    with pytest.raises(InputError, match="made of other products"):
        acquire_lease(tmp_path, "ROIs0001_fall_70", "b")


def test_fault_35_a_region_leased_to_another_task_stays(tmp_path: Path) -> None:
    acquire_lease(tmp_path, ROI, "theirs")
    path = made(tmp_path, ROI)
    clean_up(tmp_path, {ROI: "ours"}, {ROI: "holds it made of other products"})
    assert path.exists()


def test_folders_and_files_of_dead_tasks_are_removed(tmp_path: Path) -> None:
    dead, alive = (work_folder(tmp_path, identity) / "unpacked" for identity in ("dead", "alive"))
    for folder in (dead, alive):
        folder.mkdir(parents=True)
    ledger = tmp_path / WORK / "regions"
    ledger.mkdir()
    for name in (".manifest.1-a.partial.parquet", f".curation/regions/.{ROI}.1-a.partial.json"):
        (tmp_path / name).touch()
    (ledger / ".ROIs0001_fall_70.1-a.partial.json").touch()  # of another list
    (tmp_path / WORK / "locks").mkdir()
    with FileLock(tmp_path / WORK / "locks" / "alive"):
        clean_up(tmp_path, {ROI: "dead"}, {})
    assert not dead.parent.exists() and alive.exists()
    assert [path.name for path in tmp_path.rglob("*.partial*")] == [".ROIs0001_fall_70.1-a.partial.json"]


def test_leases_of_another_list_are_those_of_other_tasks(tmp_path: Path) -> None:
    for number, identity in ((7, "a"), (8, "b"), (9, "c")):
        acquire_lease(tmp_path, f"ROIs0001_fall_{number}", identity)

    def others(identities: Mapping[str, str]) -> list[str]:
        return [lease["id"] for lease in leases_of_others(tmp_path, identities)]

    assert others({ROI: "a"}) == ["b", "c"]
    assert others({ROI: "made with other settings", "ROIs0001_fall_8": "b"}) == ["a", "c"]  # what is there stays
    assert leased_regions(tmp_path) == {ROI, "ROIs0001_fall_8", "ROIs0001_fall_9"}
    assert leases_of_others(tmp_path / "new", {}) == []
