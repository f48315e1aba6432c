from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from products.manifest import zip_product
from products.optical_product import PIXEL_M, OpticalProduct, write_optical_product
from pyproj import Transformer

from unclouded.curation.cloud_check import MAP, measure_clouds, read_overview
from unclouded.errors import InputError
from unclouded.sensors import SENTINEL2

SIDE = 240

LEFT, TOP = OpticalProduct().corner


def at(row: float, column: float) -> tuple[float, float]:
    """Longitude and latitude of a pixel of 10 m."""
    to_degrees = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    longitude, latitude = to_degrees.transform(LEFT + 10 * column, TOP - 10 * row)
    return float(longitude), float(latitude)


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slope: a pixel's number is 2000 and its row plus twice its column, in pixels of 10 m, at its middle."""
    bands = {}
    for band in SENTINEL2.bands:
        step = PIXEL_M[band] // 10
        row, column = (np.mgrid[: SIDE // step, : SIDE // step] + 0.5) * step
        bands[band] = (2000 + row + 2 * column).astype(np.uint16)
    return write_optical_product(tmp_path_factory.mktemp("slope"), bands, OpticalProduct(offset=-1000))


def test_every_band_lies_where_it_was_and_its_offset_is_applied(product: Path) -> None:
    found = read_overview(product, ("B01", "B02", "B11"), at(120, 120), (120, 60))
    row, column = np.mgrid[10:30, 15:25] * 6 + 3.0  # 20 x 10 pixels of 60 m, around the middle
    expected = (1000 + row + 2 * column) / 10_000
    assert found.shape == (3, 20, 10)
    assert np.abs(found[0] - expected).max() < 1e-6  # of 60 m, as it is
    assert np.abs(found[1:] - expected).max() < 6e-4  # averaged: within six steps of a slope of 18


def test_pixels_beyond_the_tile_have_no_data(product: Path) -> None:
    found = read_overview(product, ("B01",), at(0, 120), (120, 120))[0]
    assert np.isnan(found[:10]).all() and np.isfinite(found[10:]).all()
    assert np.isnan(read_overview(product, ("B01",), at(-500, 120), (60, 60))).all()


def test_fault_06_a_changed_image_is_rejected_by_its_checksum(product: Path, tmp_path: Path) -> None:
    packed = zip_product(product, tmp_path / "a.zip")
    assert np.isfinite(read_overview(packed, ("B8A",), at(120, 120), (60, 60))).all()
    image = next(product.rglob("*_B12.jp2"))
    whole = image.read_bytes()
    image.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        with pytest.raises(InputError, match="has another checksum than in its manifest"):
            read_overview(product, ("B12",), at(120, 120), (60, 60))
    finally:
        image.write_bytes(whole)


CENTER = (11.0, 44.5)

LAND = dict(zip(SENTINEL2.bands, (11, 9, 8.5, 7, 10, 20, 24, 25, 26, 9, 0.15, 18, 10), strict=True))

CLOUD = dict(zip(SENTINEL2.bands, (*[65] * 10, 3, 45, 35), strict=True))


def overview(bands: Mapping[str, float], side: int = 40) -> NDArray[np.float32]:
    """Percent of reflectance, of ten bands, everywhere the same."""
    from unclouded.clouds.detectors import S2CLOUDLESS

    return np.stack([np.full((side, side), bands[band] / 100, np.float32) for band in S2CLOUDLESS.bands])


def seen(image: NDArray[np.float32], path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[float | None, float]:
    path.write_bytes(image.tobytes()[:4096])  # another content, another product
    monkeypatch.setattr("unclouded.curation.cloud_check.read_overview", lambda *_: image)
    return measure_clouds(path, CENTER, (240, 240))


def test_the_gaussian_has_the_metres_of_the_paper() -> None:
    assert MAP.sigma_px * 60 == pytest.approx(2 * 10)


def test_land_is_clear_and_a_cloud_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clear, shown = seen(overview(LAND), tmp_path / "land", monkeypatch)
    assert clear == 0.0 and shown == 1.0
    cloudy, _ = seen(overview(CLOUD), tmp_path / "cloud", monkeypatch)
    assert cloudy is not None and cloudy > 0.5


def test_only_the_covered_part_of_the_region_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = overview(CLOUD)
    whole, _ = seen(half.copy(), tmp_path / "whole", monkeypatch)
    half[:, :, :30] = np.nan
    part, shown = seen(half, tmp_path / "half", monkeypatch)
    assert shown == 0.25 and part is not None and whole is not None
    assert part == pytest.approx(whole, abs=0.03)  # a quarter of the cloud is as cloudy


def test_without_known_pixels_there_is_no_coverage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen(np.full_like(overview(LAND), np.nan), tmp_path / "empty", monkeypatch) == (None, 0.0)
