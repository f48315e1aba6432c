import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.geotiff import ImageWindow, write_geotiff
from unclouded.patches.identity import Roi
from unclouded.patches.layouts import find_triplets
from unclouded.patches.manifest import write_manifest
from unclouded.patches.mosaic import clear_regions, stitch
from unclouded.patches.reading import read_triplet
from unclouded.patches.verification import verify_rows
from unclouded.sensors import SENTINEL1, SENTINEL2

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


def test_patches_are_rectangles_of_scenes(root: Path) -> None:
    found = find_triplets(root)
    assert found.summary() == f"{root}: scenes layout, 2 complete triplets of 1 region"
    assert [str(files.patch) for files in found.triplets] == ["ROIs0001_summer_12_p1", "ROIs0001_summer_12_p2"]
    second = read_triplet(found.triplets[1])
    assert second.clear is not None and second.clear.values.shape == (13, 256, 256)
    column = second.clear.select(("B02",)).values[0, 0] * 10_000
    np.testing.assert_allclose(column, 1128 + np.arange(256), rtol=1e-6)
    assert second.clear.geobox.affine.c == 1280  # metres


def test_an_absent_scene_and_strange_files_are_told(root: Path) -> None:
    (root / ROI.scene_path("s1")).rename(root / "scenes" / str(ROI) / "radar.tif")
    found = find_triplets(root)
    assert not found.triplets and [str(one) for one in found.incomplete] == [f"{ROI}_p{n} lacks s1" for n in (1, 2)]
    assert found.strangers == (f"scenes/{ROI}/radar.tif",)


def test_scenes_without_manifest_or_places_are_refused(root: Path) -> None:
    write_manifest(root / "manifest.parquet", [ROWS[0] | {"row_px": None}])
    with pytest.raises(InputError, match="does not say where ROIs0001_summer_12_p1 lies in its scene; make it again"):
        find_triplets(root)
    (root / "manifest.parquet").unlink()
    with pytest.raises(InputError, match=r"holds scenes without manifest\.parquet"):
        find_triplets(root)


def test_a_patch_that_leaves_its_scene_is_refused(root: Path) -> None:
    write_manifest(root / "manifest.parquet", [ROWS[0] | {"column_px": 200}])
    (files,) = find_triplets(root).triplets
    with pytest.raises(InputError, match="has 256 x 384 px, expected rows 0 to 256, columns 200 to 456"):
        read_triplet(files)


def test_messages_name_the_scene_and_the_place(root: Path) -> None:
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
