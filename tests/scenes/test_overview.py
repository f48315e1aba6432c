from pathlib import Path

import numpy as np
import pytest
from pyproj import Transformer

from unclouded.errors import InputError
from unclouded.scenes.overview import read_overview
from unclouded.sensors import SENTINEL2
from unclouded.simulation.manifest import zip_product
from unclouded.simulation.optical_product import PIXEL_M, OpticalProduct, write_optical_product

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


def test_what_lies_beyond_the_tile_has_no_data(product: Path) -> None:
    found = read_overview(product, ("B01",), at(0, 120), (120, 120))[0]
    assert np.isnan(found[:10]).all() and np.isfinite(found[10:]).all()
    assert np.isnan(read_overview(product, ("B01",), at(-500, 120), (60, 60))).all()


def test_fault_06_a_changed_image_is_refused_by_its_checksum(product: Path, tmp_path: Path) -> None:
    packed = zip_product(product, tmp_path / "a.zip")
    assert np.isfinite(read_overview(packed, ("B8A",), at(120, 120), (60, 60))).all()
    image = next(product.rglob("*_B12.jp2"))
    whole = image.read_bytes()
    image.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        with pytest.raises(InputError, match="has another checksum than its manifest says"):
            read_overview(product, ("B12",), at(120, 120), (60, 60))
    finally:
        image.write_bytes(whole)
