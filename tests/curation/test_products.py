"""A region of 2.6 km, two radar and four optical products in folders; half of one image lies under a cloud."""

import csv
import pickle
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from products.manifest import zip_product
from products.optical_product import PIXEL_M, OpticalProduct, write_joined_product, write_optical_product
from products.radar_product import RadarProduct, write_radar_product
from shapely.geometry import box, shape
from shapely.geometry.base import BaseGeometry

from unclouded.cli.data_checks import inspect
from unclouded.curation.cloud_check import measure_clouds
from unclouded.curation.leases import choices_of
from unclouded.curation.products import Folders
from unclouded.curation.region_task import CurateRegion, curating
from unclouded.curation.regions import CurationSettings
from unclouded.curation.results import screened_rows
from unclouded.errors import InputError
from unclouded.patches.layouts import find_triplets
from unclouded.patches.manifest import write_manifest
from unclouded.patches.roi import MANIFEST
from unclouded.patches.splits import parts_by_name
from unclouded.patches.time_series import find_time_series
from unclouded.sensors import SENTINEL2
from unclouded.settings import settings_from
from unclouded.tensors.time_series import TimeSeriesDataset

CENTER = (13.563883, 44.076196)
SETTINGS = {"rows": 256, "columns": 256, "coverage": False, "screening": {"remarks": ["stripes", "shift"]}}
ROI = "ROIs0001_fall_7"
LAND = dict(zip(SENTINEL2.bands, (1100, 900, 850, 700, 1000, 2000, 2400, 2500, 2600, 900, 15, 1800, 1000), strict=True))
CLOUD = dict(zip(SENTINEL2.bands, (6500,) * 10 + (300, 4500, 3500), strict=True))


def bands(cloudy_columns: float, rng: np.random.Generator) -> dict[str, NDArray[np.uint16]]:
    """Land with some texture; so large a share of it from the left lies under cloud."""
    found = {}
    for band in SENTINEL2.bands:
        side = 3000 // PIXEL_M[band]
        values = np.full((side, side), LAND[band], float)
        values[:, : round(side * cloudy_columns)] = CLOUD[band]
        found[band] = (values * rng.uniform(0.95, 1.05, values.shape)).astype(np.uint16)
    return found


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("archive"), np.random.default_rng(3)
    number = rng.integers(150, 250, (420, 480)).astype(np.uint16)
    for month, day in ((9, 7), (10, 20)):
        radar = RadarProduct(acquired=datetime(2021, month, day, 17, tzinfo=UTC))
        write_radar_product(folder / "s1", {"VV": number, "VH": number // 2}, radar)
    for month, day, share in ((9, 8, 0.5), (9, 10, 0.0), (10, 30, 1.0), (7, 1, 0.0)):
        seen = datetime(2021, month, day, 10, tzinfo=UTC)
        product = OpticalProduct(acquired=seen, corner=(863_940, 4_891_980))
        write_optical_product(folder / "s2", bands(share, rng), product)
    packed = next((folder / "s2").glob("*20210910*"))
    zip_product(packed, folder / "s2" / "a clear one.zip")
    (folder / "s2" / "readme.txt").write_text("not a product")
    (folder / "s2" / "empty.SAFE").mkdir()
    return folder


def task(archive: Path, root: Path, folders: Folders | None = None, **region: object) -> CurateRegion:
    given = {"roi": ROI, "radar_from": "s1", "optical_from": "s2", "center": CENTER} | region
    settings = settings_from(CurationSettings, {"regions": [given]} | SETTINGS)
    (made,) = curating(settings, archive, root, folders)
    return made


def table(root: Path) -> dict[str, dict[str, str]]:
    with choices_of(root, ROI).open(newline="") as file:
        return {line["place"].rpartition("/")[2]: line for line in csv.DictReader(file)}


def test_products_are_chosen_by_the_clouds_over_the_region(archive: Path, tmp_path: Path) -> None:
    folders = Folders()
    (row,) = task(archive, tmp_path, folders).run()
    assert (row["status"], row["reason"]) == ("kept", None)
    assert row["s1_product"].startswith("S1A_IW_GRDH_1SDV_20210907")
    assert row["s2_acquired"][:10] == "2021-09-10" and row["s2_cloudy_acquired"][:10] == "2021-09-08"
    assert [path.name for path in folders.refused] == ["empty.SAFE"]
    lines = table(tmp_path)
    clear, half, all_of_it, copy = (
        lines[name] for name in _names(lines, "20210910", "20210908", "20211030", "a clear")
    )
    assert float(clear["region_cloud_percent"]) < 0.5
    share = float(half["region_cloud_percent"]) / float(all_of_it["region_cloud_percent"])
    assert share == pytest.approx(0.5, abs=0.02)  # the cloud ends 9 m beside the middle of the region
    assert {clear["decision"][:15], copy["decision"][:17]} == {"chosen as clear", "refused, the same"}
    late, summer, radar = (lines[name]["decision"] for name in _names(lines, "20211030", "20210701", "20211020"))
    assert late.startswith("not chosen, at best a span of ") and late.endswith(", too cloudy to be clear")
    assert summer == "refused, of summer 2021 instead of a fall" and radar.startswith("not chosen")


def _names(lines: dict[str, dict[str, str]], *parts: str) -> list[str]:
    return [next(name for name in lines if part in name) for part in parts]


def test_clouds_are_measured_once(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = next((archive / "s2").glob("*20210908*"))
    before = measure_clouds(path, CENTER, (256, 256))
    monkeypatch.setattr("unclouded.curation.cloud_check.read_overview", pytest.fail)
    assert measure_clouds(path, CENTER, (256, 256)) == before and before[1] == 1.0


def test_the_choice_is_the_same_in_another_process_and_without_cache(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = task(archive, tmp_path / "here"), task(archive, tmp_path / "there")
    rows = here.run()
    monkeypatch.setenv("UNCLOUDED_CACHE", str(tmp_path / "cache"))
    assert pickle.loads(pickle.dumps(there)).run() == rows
    assert choices_of(there.root, ROI).read_text() == choices_of(here.root, ROI).read_text()
    assert not list(here.root.glob(".curation/work/*"))


def test_the_id_of_a_task_depends_on_eligible_products_only(archive: Path, tmp_path: Path) -> None:
    first = task(archive, tmp_path).id
    assert task(archive, tmp_path / "elsewhere").id == first
    assert task(archive, tmp_path, dates=["2021-09-01", "2021-11-30"]).id != first
    copied = tmp_path / "archive"
    for path in archive.glob("s?/S*"):
        if path.is_dir():
            (copied / path.parent.name).mkdir(parents=True, exist_ok=True)
            (copied / path.parent.name / path.name).symlink_to(path)
    with_copy = task(copied, tmp_path).id
    (copied / "s2" / next((copied / "s2").glob("*20210701*")).name).unlink()  # of another season
    assert task(copied, tmp_path).id == with_copy
    next((copied / "s2").glob("*20211030*")).unlink()
    assert task(copied, tmp_path).id != with_copy


@pytest.fixture(scope="module")
def old(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive with a clear product of the old format: a tile to the west, and one that shows the region."""
    folder, rng = tmp_path_factory.mktemp("old"), np.random.default_rng(5)
    for path in archive.glob("s?/*202109*"):
        (folder / path.parent.name).mkdir(exist_ok=True)
        if "20210910" not in path.name:
            (folder / path.parent.name / path.name).symlink_to(path)
    here = OpticalProduct(
        layout="old", acquired=datetime(2021, 9, 11, 10, tzinfo=UTC), tile="T32TQP", corner=(863_940, 4_891_980)
    )
    west = replace(here, tile="T32TPP", corner=(833_940, 4_891_980))
    write_joined_product(folder / "s2", [(bands(0.0, rng), west), (bands(0.0, rng), here)])
    return folder


def test_of_a_product_of_the_old_format_the_tile_that_shows_the_region_is_chosen(old: Path, tmp_path: Path) -> None:
    (row,) = task(old, tmp_path).run()
    assert row["status"] == "kept" and row["s2_acquired"][:10] == "2021-09-11"
    lines = {line["product"][-6:]: line["decision"][:15] for line in table(tmp_path).values()}
    assert lines["T32TQP"] == "chosen as clear" and "T32TPP" not in lines  # 30 km away
    assert outline(row).within(box(13.54, 44.06, 13.60, 44.10))


def test_of_a_named_product_of_the_old_format_the_center_decides(old: Path, tmp_path: Path) -> None:
    products = {"radar": "s1/S1A*0907*", "clear": "s2/S2A_OPER*", "cloudy": "s2/*20210908*"}
    paths = {role: next(old.glob(pattern)) for role, pattern in products.items()}
    named = {"radar_from": None, "optical_from": None} | paths
    (row,) = task(old, tmp_path / "a", **named).run()
    assert row["s2_product"].startswith("S2A_OPER_PRD") and outline(row).within(box(13.54, 44.06, 13.60, 44.10))
    (also,) = task(old, tmp_path / "b", **named | {"cloudy": None, "optical_from": "s2"}).run()
    assert also["s2_product"] == row["s2_product"] and also["s2_sha256"] == row["s2_sha256"]
    with pytest.raises(InputError, match="holds the tiles T32TPP T32TQP, expected one; give ROIs0001_fall_7 a center"):
        task(old, tmp_path / "c", **named | {"center": None}).run()


def outline(row: dict[str, Any]) -> BaseGeometry:
    return shape(row["geometry"])


def test_a_named_folder_with_one_product_is_that_product(archive: Path, tmp_path: Path) -> None:
    patterns = {"radar": "s1/S1A*0907*", "clear": "s2/*20210910*.SAFE", "cloudy": "s2/*20210908*"}
    paths = {role: next(archive.glob(pattern)) for role, pattern in patterns.items()}
    named = {"radar_from": None, "optical_from": None} | paths
    (expected,) = task(archive, tmp_path / "a", **named).run()
    for role, path in paths.items():
        folder = tmp_path / role
        folder.mkdir()
        (folder / path.name).symlink_to(path)
        (row,) = task(archive, tmp_path / f"in {role}", **named | {role: folder}).run()
        columns = ("s1_product", "s2_product", "s2_cloudy_product", "s1_sha256", "s2_sha256", "s2_cloudy_sha256")
        assert all(row[name] == expected[name] for name in columns)


def test_named_products_go_with_folders(archive: Path, tmp_path: Path) -> None:
    radar = next((archive / "s1").glob("*20211020*"))
    late = next((archive / "s2").glob("*20211030*"))
    (row,) = task(archive, tmp_path, radar_from=None, radar=radar, cloudy=late).run()
    assert row["s1_product"].startswith("S1A_IW_GRDH_1SDV_20211020") and row["s2_acquired"][:10] == "2021-09-10"


def test_without_three_suitable_products_reason_and_table_are_written(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found 1 radar and 0 optical scenes in a fall, 0 of them clear"):
        task(archive, tmp_path, dates=["2021-09-07", "2021-09-07"]).run()
    assert all(line["decision"] for line in table(tmp_path).values())


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"radar": "a.SAFE"}, "needs either radar or radar_from"),
        ({"clear": "a", "cloudy": "b"}, "needs either clear and cloudy, or optical_from for the missing ones"),
        ({"optical_from": None, "clear": "a"}, "needs either clear and cloudy, or optical_from"),
        ({"center": None}, "needs a center, to find the products that show it"),
        ({"dates": ["2021-09-09", "2021-09-08"]}, "has dates, expected a first and a last day"),
        ({"radar_from": "s3"}, "s3 is not a folder"),
    ],
)
def test_a_region_with_too_many_or_too_few_products_is_rejected(
    archive: Path, tmp_path: Path, changed: dict[str, object], reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        task(archive, tmp_path, **changed)


def test_parts_that_are_too_close_are_rejected_before_any_work(archive: Path, tmp_path: Path) -> None:
    places = [("train", [13.0, 44.0]), ("test", [14.0, 44.0])]  # 80 km, less the circles around them of 33 km
    regions = [
        {"roi": f"ROIs0001_fall_{number}", "radar": "absent", "clear": "absent", "cloudy": "missing"}
        | {"split": part, "center": center}
        for number, (part, center) in enumerate(places)
    ]
    with pytest.raises(InputError, match=r"fall_0 \(train\) and ROIs0001_fall_1 \(test\) lie 14 km apart, expected 50"):
        curating(settings_from(CurationSettings, {"regions": regions}), archive, tmp_path)
    nearer = settings_from(CurationSettings, {"regions": regions, "apart_km": 10})
    assert len(curating(nearer, archive, tmp_path)) == 2
    assert not list(tmp_path.iterdir())


def series_task(archive: Path, root: Path, **settings: object) -> CurateRegion:
    given = {"roi": ROI, "radar_from": "s1", "optical_from": "s2", "center": CENTER, "split": "train"}
    content = {"regions": [given], **SETTINGS, "dates": 2, "patch_px": 128, **settings}
    (made,) = curating(settings_from(CurationSettings, content), archive, root)
    return made


def test_two_cloudy_dates_make_a_time_series_that_all_readers_open(archive: Path, tmp_path: Path) -> None:
    """Of 256 px, 128 px at a stride of 128 are 4 patches; two dates of them share the clear image of 10 September."""
    made = series_task(archive, tmp_path)
    rows = screened_rows(made.run(), made.settings.screening)
    assert [row["patch"] for row in rows[::4]] == [f"{ROI}_p1_d0", f"{ROI}_p1_d2"]
    assert {row["status"] for row in rows} == {"kept"}
    first, last = rows[0], rows[4]
    assert first["s2_cloudy"] == "ROIs0001/7/S2/0/s2_ROIs0001_7_ImgNo_0_2021-09-08_patch_1.tif"
    assert first["s2"] == last["s2"] == "ROIs0001/7/S2/1/s2_ROIs0001_7_ImgNo_1_2021-09-10_patch_1.tif"
    assert first["s1"] == "ROIs0001/7/S1/0/s1_ROIs0001_7_ImgNo_0_2021-09-07_patch_1.tif"
    assert last["s1"] == "ROIs0001/7/S1/2/s1_ROIs0001_7_ImgNo_2_2021-10-20_patch_1.tif"  # the nearest radar
    write_manifest(tmp_path / MANIFEST, rows)
    inventory = find_triplets(tmp_path)
    assert (inventory.layout, len(inventory.triplets), inventory.unexpected_files) == ("series", 8, ())
    assert parts_by_name(inventory)[f"{ROI}_p4_d2"] == "train"
    assert inspect(inventory, published=False, report=None, work=None, processes=1) == 0
    (tmp_path / "ROIs0001/7/S2/2/s2_ROIs0001_7_ImgNo_2_2021-10-30_patch_9.tif").touch()
    assert find_triplets(tmp_path).unexpected_files[0].endswith("patch_9.tif")
    whole = find_time_series(tmp_path, "train")
    assert [[image.number for image in one.dates] for one in whole] == [[0, 1, 2]] * 4  # nothing that is not listed
    with pytest.raises(InputError, match=r"holds no patch of the test split of manifest\.parquet"):
        find_time_series(tmp_path, "test")
    triplet = TimeSeriesDataset(whole, references=3)[0]
    assert len(triplet.observation.references) == 1 and triplet.observation.date == date(2021, 9, 8)


def test_a_region_with_too_few_cloudy_dates_or_named_ones_is_refused(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found 2 of 3 cloudy dates; expected a radar, a clear"):
        series_task(archive, tmp_path, dates=3).run()
    for changed, found in (
        ({"store": "scenes"}, "holds one date in patches of 256 px"),
        ({"stride_px": 200}, "expected stride_px <= patch_px <= rows and columns, found 200, 128, 256 and 256"),
    ):
        with pytest.raises(InputError, match=found):
            series_task(archive, tmp_path, **changed)
    named = {"roi": ROI, "radar": "a", "clear": "b", "cloudy": "c"}
    with pytest.raises(InputError, match="names radar or cloudy product, but 2 dates are chosen from folders"):
        settings_from(CurationSettings, {"regions": [named], "dates": 2})
