"""Windows of remote GeoTIFFs equal those of the file at hand, and need few of its bytes."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from products.archive import Archive, running

from unclouded.acquisition.choice import Found
from unclouded.acquisition.credentials import Credentials
from unclouded.acquisition.places import Place
from unclouded.acquisition.products import fetch_product, remote_product
from unclouded.acquisition.windows import RangeFile, fetch_window
from unclouded.catalogue.stac import record_of
from unclouded.errors import InputError
from unclouded.io.download import RetryPolicy
from unclouded.io.geotiff import read_stored, write_geotiff
from unclouded.io.rows import Layer, write_cog
from unclouded.sentinel.footprints import footprint
from unclouded.web import WebLimits

pytestmark = pytest.mark.enable_socket  # the loopback alone
GRID = GeoBox((1200, 1500), Affine(10, 0, 699_960, 0, -10, 4_900_020), "EPSG:32632")
COARSE = GeoBox((600, 750), Affine(20, 0, 699_960, 0, -20, 4_900_020), "EPSG:32632")
PLACE = Place("field", footprint(GRID[300:360, 600:660]))
QUICK = RetryPolicy(3, 0.001, WebLimits(answer_s=5.0, silence_s=5.0), random.Random(0))


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """B04 of 10 m and B05 of 20 m of noise, which does not compress."""
    with running(Archive(ranges=True)) as made:
        for name, grid in (("B04", GRID), ("B05", COARSE)):
            values = np.random.default_rng(1).integers(1, 10_000, (1, *grid.shape)).astype(np.uint16)
            write_cog(tmp_path / f"{name}.tif", [(0, values)], Layer((name,), "uint16", 0), grid)
            made.files[f"{name}.tif"] = (tmp_path / f"{name}.tif").read_bytes()
        yield made


def test_a_window_has_the_pixels_of_the_file_and_needs_a_part_of_its_bytes(archive: Archive, tmp_path: Path) -> None:
    for name, part in (("B04", (slice(300, 360), slice(600, 660))), ("B05", (slice(150, 180), slice(300, 330)))):
        target = tmp_path / "out" / f"{name}.tif"
        target.parent.mkdir(exist_ok=True)
        fetched = fetch_window(f"{archive.address}/files/{name}.tif", target, PLACE.outline, retry=QUICK)
        whole, found = read_stored(tmp_path / f"{name}.tif"), read_stored(target)
        assert np.array_equal(found.values, whole.values[:, *part])
        assert found.geobox == whole.geobox[part]
        assert (found.descriptions, found.nodata) == ((name,), 0)
        assert fetched < 0.6 * len(archive.files[f"{name}.tif"])  # one of the blocks of 512 px, and the directory


@pytest.mark.parametrize("faults", [{"statuses": [503, 429]}, {"cut": 2}], ids=["busy", "cut"])
def test_fault_41_faults_of_the_line_give_the_same_bytes(
    archive: Archive, tmp_path: Path, faults: dict[str, Any]
) -> None:
    address = f"{archive.address}/files/B04.tif"
    fetch_window(address, tmp_path / "straight.tif", PLACE.outline, retry=QUICK)
    for name, value in faults.items():
        setattr(archive, name, value)
    fetch_window(address, tmp_path / "faulty.tif", PLACE.outline, retry=QUICK)
    assert (tmp_path / "straight.tif").read_bytes() == (tmp_path / "faulty.tif").read_bytes()


def test_a_server_without_ranges_a_missing_file_and_another_format_are_refused(
    archive: Archive, tmp_path: Path
) -> None:
    target = tmp_path / "out.tif"
    archive.files["vrt.tif"] = b'<VRTDataset rasterXSize="1" rasterYSize="1"/>'
    with pytest.raises(InputError, match="is not a whole GeoTIFF"):
        fetch_window(f"{archive.address}/files/vrt.tif", target, PLACE.outline, retry=QUICK)
    with pytest.raises(InputError, match="the server answers 404"):
        fetch_window(f"{archive.address}/files/none.tif?sig=secret", target, PLACE.outline, retry=QUICK)
    far = Place("far", footprint(GeoBox((9, 9), Affine(10, 0, 500_000, 0, -10, 4_000_000), "EPSG:32632")))
    with pytest.raises(InputError, match="does not show the place"):
        fetch_window(f"{archive.address}/files/B04.tif", target, far.outline, retry=QUICK)
    archive.ranges = False
    with pytest.raises(InputError, match="the server does not support byte ranges"):
        RangeFile(f"{archive.address}/files/B04.tif", retry=QUICK)
    assert not target.exists()


def test_a_truncated_file_is_refused(archive: Archive, tmp_path: Path) -> None:
    archive.files["B04.tif"] = archive.files["B04.tif"][: len(archive.files["B04.tif"]) // 2]
    south = Place("south", footprint(GRID[1100:1160, 600:660]))
    with pytest.raises(InputError):
        fetch_window(f"{archive.address}/files/B04.tif", tmp_path / "out.tif", south.outline, retry=QUICK)
    assert not (tmp_path / "out.tif").exists()


def test_an_item_of_bands_is_fetched_for_the_place_alone(archive: Archive, tmp_path: Path) -> None:
    names = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
    for name in names:
        grid = GRID if name in ("B02", "B03", "B04", "B08") else COARSE
        values = np.full((1, *grid.shape), 1000 + names.index(name), np.uint16)
        write_geotiff(tmp_path / f"{name}.tif", values, (name,), grid, nodata=0)
        archive.files[f"{name}.tif"] = (tmp_path / f"{name}.tif").read_bytes()
    assets = {name: {"href": f"{archive.address}/files/{name}.tif?sig=1", "roles": ["data"]} for name in names}
    item = {
        "id": "S2A_MSIL2A_20210714T102021_N0301_R065_T32TQM_20210714T132021",
        "geometry": footprint(GRID),
        "properties": {"datetime": "2021-07-14T10:20:21Z"},
        "assets": assets,
    }
    product = remote_product(Found(record_of(item, level="L2A"), item)).cut_to(PLACE)
    assert product.bytes < 20 << 20  # of 800 MB
    folder = fetch_product(product, tmp_path / "products", Credentials(archive.provider), retry=QUICK)
    assert sorted(path.stem for path in folder.glob("*.tif")) == sorted(names)
    assert read_stored(folder / "B8A.tif").values.shape == (1, 30, 30)
    assert "sig=1" not in (folder / "item.json").read_text()
    before = len(archive.asked)
    assert fetch_product(product, tmp_path / "products", Credentials(archive.provider), retry=QUICK) == folder
    assert len(archive.asked) == before
    tile = Place("32TQM", PLACE.outline, "T32TQM")
    assert remote_product(Found(record_of(item, level="L2A"), item)).cut_to(tile).window is None
