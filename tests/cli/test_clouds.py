from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from odc.geo.geobox import GeoBox
from products.manifest import zip_product
from products.optical_product import PIXEL_M, OpticalProduct, write_optical_product

from unclouded.io.geotiff import read_stored, write_geotiff
from unclouded.locks import held
from unclouded.sensors import SENTINEL2

GRID = GeoBox.from_bbox((0, 0, 400, 400), "EPSG:32632", resolution=10)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Dark on the left, and as bright as a cloud on the right."""
    values = np.full((13, 40, 40), 800, np.uint16)
    values[:, :, 20:] = 6000
    write_geotiff(tmp_path / "images" / "one.tif", values, SENTINEL2.bands, GRID)
    return tmp_path / "images" / "one.tif"


def test_the_map_of_an_image_is_written(image: Path, tmp_path: Path, unclouded: Callable[..., int]) -> None:
    assert unclouded("clouds", image, "--out", tmp_path / "m.tif") == 0
    m = read_stored(tmp_path / "m.tif").values[0]
    assert m[20, 5] < 0.1 < 0.9 < m[20, 35]


def test_an_image_is_not_written_over(
    image: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    assert unclouded("clouds", image, "--out", image) == 2
    assert "one.tif is the input itself" in capsys.readouterr().err


def test_a_folder_is_mapped_once_and_only_what_is_missing_the_second_time(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    arguments = (image.parent, "--out", tmp_path / "maps", "--clouds", "ones")
    assert unclouded("clouds", *arguments) == 0
    assert "1 maps written, 0 kept" in capsys.readouterr().out
    write_geotiff(image.with_name("two.tif"), read_stored(image).values, SENTINEL2.bands, GRID)
    assert unclouded("clouds", *arguments) == 0
    assert "1 maps written, 1 kept" in capsys.readouterr().out


def test_fault_05_a_damaged_image_of_a_folder_is_named_and_the_others_are_mapped(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    image.with_name("torn.tif").write_bytes(image.read_bytes()[:300])
    assert unclouded("clouds", image.parent, "--out", tmp_path / "maps", "--clouds", "ones") == 1
    printed = capsys.readouterr()
    assert "1 maps written, 0 kept, 1 images refused" in printed.out
    assert "torn.tif is not a whole GeoTIFF (it ends within its tags" in printed.err
    assert [path.name for path in (tmp_path / "maps").glob("*.tif")] == ["one.tif"]


def test_fault_34_a_second_process_that_maps_a_folder_exits_with_3(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    with held(tmp_path / "maps"):
        assert unclouded("clouds", image.parent, "--out", tmp_path / "maps") == 3
    assert "is being written by process" in capsys.readouterr().err


def test_an_unknown_resolution_is_refused(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    assert unclouded("clouds", image, "--out", tmp_path / "m.tif", "--resolution", 30) == 2
    assert "--resolution: input should be 10, 20 or 60, found 30" in capsys.readouterr().err


def test_the_cache_is_shown_and_cleared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, unclouded: Callable[..., int]
) -> None:
    monkeypatch.setenv("UNCLOUDED_CACHE", str(tmp_path))
    entry = tmp_path / "cloud-probability" / "00" / "00.npy"
    entry.parent.mkdir(parents=True)
    entry.write_bytes(bytes(2**20))
    assert unclouded("clouds", "cache") == 0
    assert capsys.readouterr().out.startswith("1.0 MiB of at most 40 GiB in ")
    assert unclouded("clouds", "cache", "--clear") == 0
    assert "1 entries deleted" in capsys.readouterr().out
    assert not entry.exists()


BOX = (699_960, 4_898_820, 701_160, 4_900_020)
BANDS = {band: np.full((1200 // m, 1200 // m), 800, np.uint16) for band, m in PIXEL_M.items()}


@pytest.fixture
def products(tmp_path: Path) -> dict[str, Path]:
    """One image in every form that ``predict`` reads; B02 is 6000 on the right, everything else 800."""
    bands = {**BANDS, "B02": np.repeat([[800] * 60 + [6000] * 60], 120, axis=0).astype(np.uint16)}
    safe = write_optical_product(tmp_path / "forms", bands, OpticalProduct())
    for band, values in bands.items():
        grid = GeoBox.from_bbox(BOX, "EPSG:32632", resolution=PIXEL_M[band])
        write_geotiff(tmp_path / "forms" / "bands" / f"T32TQM_{band}.tif", values[None], (band,), grid)
    image = tmp_path / "forms" / "image.tif"
    fine = np.stack([np.kron(bands[b], np.ones((PIXEL_M[b] // 10,) * 2, np.uint16)) for b in SENTINEL2.bands])
    write_geotiff(image, fine, SENTINEL2.bands, GeoBox.from_bbox(BOX, "EPSG:32632", resolution=10))
    zipped = zip_product(safe, tmp_path / "zipped.zip")
    return {
        "safe": safe,
        "manifest": safe / "manifest.safe",
        "zip": zipped,
        "bands": tmp_path / "forms" / "bands",
        "image": image,
    }


@pytest.mark.parametrize("form", ["safe", "manifest", "zip", "bands"])
def test_every_form_of_an_image_has_the_map_of_its_geotiff(
    products: dict[str, Path], tmp_path: Path, unclouded: Callable[..., int], form: str
) -> None:
    for name in ("image", form):
        assert unclouded("clouds", products[name], "--out", tmp_path / f"{name}.tif") == 0
    expected, found = (read_stored(tmp_path / f"{name}.tif") for name in ("image", form))
    assert np.array_equal(found.values, expected.values) and found.geobox == expected.geobox


def test_products_and_folders_of_bands_in_a_folder_are_one_image_each(
    products: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    assert unclouded("clouds", products["safe"].parent, "--out", tmp_path / "maps", "--clouds", "ones") == 0
    assert "3 maps written" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "maps").glob("*.tif")}
    assert names == {"image.tif", "bands.tif", products["safe"].name.replace(".SAFE", ".tif")}


def test_an_offset_is_suggested_and_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    values = np.full((13, 40, 40), 1100, np.uint16)
    write_geotiff(tmp_path / "image.tif", values, SENTINEL2.bands, GRID)
    assert unclouded("clouds", tmp_path / "image.tif", "--out", tmp_path / "m.tif", "--clouds", "ones") == 0
    assert "note: the optical image has no offset tag" in capsys.readouterr().err
    arguments = ("--offset", "-1000", "--clouds", "ones")
    assert unclouded("clouds", tmp_path / "image.tif", "--out", tmp_path / "m.tif", *arguments) == 0
    assert "note" not in capsys.readouterr().err
