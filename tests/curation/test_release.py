"""A data set of three patches: two kept ones of train and test, and one that a review rejected."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from unclouded.curation.release import ReleaseSettings, write_release
from unclouded.errors import InputError
from unclouded.io.geotiff import write_geotiff
from unclouded.patches.layouts import find_triplets
from unclouded.patches.manifest import as_written, read_manifest, write_manifest
from unclouded.patches.manifest_rows import describe_patch
from unclouded.patches.reading import images_of
from unclouded.patches.review import Decision, reviewed
from unclouded.patches.roi import PatchId
from unclouded.patches.screening import ScreeningSettings
from unclouded.patches.verification import verify_rows
from unclouded.sensors import SENTINEL1, SENTINEL2

SETTINGS = ReleaseSettings("1.2", "Two places", ("A. Curator",))
DATES = {
    "s1_acquired": "2021-07-12T17:00:00+00:00",
    "s2_acquired": "2021-07-11T10:00:00+00:00",
    "s2_cloudy_acquired": "2021-07-16T10:00:00+00:00",
}
REJECTED = "ROIs0003_summer_2_p2"


def write_rows(root: Path, **parts: str) -> None:
    images = images_of(find_triplets(root, withdrawn=True))
    rows: list[dict[str, Any]] = []
    for one in images:
        row = describe_patch(root, one, ScreeningSettings(remarks=("shift",)), coverage=False)
        rows.append(row | DATES | {"split": parts[str(row["roi"])]})
    write_manifest(root / "manifest.parquet", reviewed(rows, {REJECTED: Decision(REJECTED, "reject", "haze", "JS")}))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    for number, name in enumerate(("ROIs0003_summer_1_p1", "ROIs0003_summer_2_p1", REJECTED)):
        west = 400_000 + 100_000 * (number > 0) + 480 * number
        grid, patch = GeoBox.from_bbox((west, 5_000_000, west + 480, 5_000_480), "EPSG:32632", resolution=10), name
        path = PatchId.parse(patch)
        radar = rng.normal(-12, 2, (2, 48, 48)).astype("f4")
        write_geotiff(tmp_path / "data" / path.path("s1"), radar, SENTINEL1.bands, grid)
        for token in ("s2", "s2_cloudy"):
            values = rng.integers(15, 90, (13, 48, 48)).astype(np.uint16)
            write_geotiff(tmp_path / "data" / path.path(token), values, SENTINEL2.bands, grid)
    write_rows(tmp_path / "data", ROIs0003_summer_1="train", ROIs0003_summer_2="test")
    return tmp_path / "data"


def test_a_release_holds_the_kept_patches_and_verifies_itself(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "release"
    assert "2 triplets" in write_release(root, out, SETTINGS, webdataset=True)
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=out, check=True)
    for archive in out.glob("*.tar.gz"):
        with tarfile.open(archive) as tar:
            tar.extractall(tmp_path / "again", filter="data")
    rows = read_manifest(out / "manifest.parquet")
    assert [row["status"] for row in rows] == ["kept", "kept", "rejected"] and rows[2]["s1"] is None
    assert verify_rows(tmp_path / "again", rows) == []
    assert len(find_triplets(tmp_path / "again").triplets) == 2
    with tarfile.open(out / "test-00000.tar") as tar:
        assert tar.getnames()[:2] == ["ROIs0003_summer_2_p1.s1.tif", "ROIs0003_summer_2_p1.s2.tif"]
    assert "Contains modified Copernicus Sentinel data 2021." in (out / "LICENSE.txt").read_text()
    assert "| summer | 1 | 1 |" in (out / "README.md").read_text()


def test_zip_archives_hold_the_same_images(root: Path, tmp_path: Path) -> None:
    write_release(root, tmp_path / "release", SETTINGS, archive="zip")
    names = sorted(path.name for path in (tmp_path / "release").glob("*.zip"))
    assert names == [f"ROIs0003_summer_{token}.zip" for token in ("s1", "s2", "s2_cloudy")]
    for name in names:
        with zipfile.ZipFile(tmp_path / "release" / name) as archive:
            archive.extractall(tmp_path / "again")
    rows = read_manifest(tmp_path / "release" / "manifest.parquet")
    assert verify_rows(tmp_path / "again", rows) == []


def test_a_taco_file_holds_every_triplet(root: Path, tmp_path: Path) -> None:
    taco = pytest.importorskip("taco")
    write_release(root, tmp_path / "release", SETTINGS, taco=True)
    path = next((tmp_path / "release").glob("*.taco.zip"))
    assert taco.validate(path).ok
    row = read_manifest(root / "manifest.parquet")[0]
    with zipfile.ZipFile(path) as archive:
        assert sum(name.endswith("s2_cloudy.tif") for name in archive.namelist()) == 2
        assert archive.read("DATA/0/s1.tif") == (root / row["s1"]).read_bytes()


def test_without_its_package_no_taco_file_is_begun(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "taco.writer.archive", None)
    with pytest.raises(InputError, match=r"install 'unclouded\[taco\]'"):
        write_release(root, tmp_path / "release", SETTINGS, taco=True)
    assert not [path for path in tmp_path.iterdir() if "release" in path.name]


def test_items_are_read_as_geoparquet(root: Path, tmp_path: Path) -> None:
    write_release(root, tmp_path / "release", SETTINGS)
    items = geopandas.read_parquet(tmp_path / "release" / "items.parquet")
    assert items.id.tolist() == ["ROIs0003_summer_1_p1", "ROIs0003_summer_2_p1"]
    assert items.crs == "OGC:CRS84" and (items.geometry.bounds.minx < items.geometry.bounds.maxx).all()
    assert items.assets[0]["s1"]["href"] == "ROIs0003_summer_s1/s1_1/ROIs0003_summer_s1_1_p1.tif"
    assert str(items.start_datetime[0]) == "2021-07-11 10:00:00+00:00"


def test_the_same_data_give_the_same_bytes_and_changes_are_listed(root: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_release(root, tmp_path / name, SETTINGS)
    assert (tmp_path / "a" / "SHA256SUMS").read_bytes() == (tmp_path / "b" / "SHA256SUMS").read_bytes()
    assert "First release" in (tmp_path / "a" / "CHANGES.md").read_text()
    write_rows(root, ROIs0003_summer_1="val", ROIs0003_summer_2="test")
    write_release(root, tmp_path / "c", ReleaseSettings("1.3", "Two places", ("A. Curator",)), tmp_path / "a")
    changes = (tmp_path / "c" / "CHANGES.md").read_text()
    assert (
        "- 0 patches added\n- 0 patches removed\n- 0 patches with other images\n- 1 patches in another part:" in changes
    )


def test_a_changed_image_or_a_faulty_manifest_is_not_released(root: Path, tmp_path: Path) -> None:
    rows = [as_written(row) for row in read_manifest(root / "manifest.parquet")]
    write_manifest(root / "manifest.parquet", [row | {"s2_cloudy_acquired": row["s2_acquired"]} for row in rows])
    with pytest.raises(InputError, match="are one overpass"):
        write_release(root, tmp_path / "release", SETTINGS)
    write_manifest(root / "manifest.parquet", rows)
    image = root / PatchId.parse("ROIs0003_summer_1_p1").path("s2")
    content = bytearray(image.read_bytes())
    content[-1] ^= 1
    image.write_bytes(content)
    with pytest.raises(InputError, match="differs from the manifest; run 'unclouded data check"):
        write_release(root, tmp_path / "release", SETTINGS)
    assert not (tmp_path / "release").exists()
    with pytest.raises(InputError, match=r"expected a version such as 1\.2, found 'v1'"):
        ReleaseSettings("v1", "a", ("b",))
