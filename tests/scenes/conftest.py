"""Invented products of 240 x 180 m and more, complete and small."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.sensors import SENTINEL2
from unclouded.simulation.optical_product import PIXEL_M, OpticalProduct, write_optical_product
from unclouded.simulation.radar_product import RadarProduct, write_radar_product

SIDE = 120


def invented_bands(offset: int = 0, side: int = SIDE) -> dict[str, NDArray[np.uint16]]:
    """Integers of every band at its own pixel size, with no data in the first rows and one saturated pixel."""
    rng = np.random.default_rng(7)
    bands = {}
    for band in SENTINEL2.bands:
        size = side * 10 // PIXEL_M[band]
        values = rng.integers(1, 12_000, (size, size)).astype(np.uint16) + np.uint16(offset)
        values[: 60 // PIXEL_M[band]] = 0
        values[-1, -1] = 65_535
        bands[band] = values
    return bands


@pytest.fixture
def optical_product(tmp_path: Path) -> Callable[..., Path]:
    """Write a product whose reflectance is the same whatever its metadata says."""

    def write(name: str = "a", **described: Any) -> Path:
        product = OpticalProduct(**described)
        bands = invented_bands(-(product.offset or 0))
        if product.level == "L2A":
            del bands["B10"]
        return write_optical_product(tmp_path / name, bands, product)

    return write


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Leave no byte free on any disk."""

    def fill() -> None:
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))

    return fill


@pytest.fixture
def invented() -> dict[str, NDArray[np.uint16]]:
    """Integers of every band at its own pixel size."""
    return invented_bands()


@pytest.fixture(scope="session")
def session_product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One product that tests copy before they damage it."""
    return write_optical_product(tmp_path_factory.mktemp("product"), invented_bands(), OpticalProduct())


RADAR_SHAPE = (200, 240)
RADAR_GRID = GeoBox((120, 120), Affine(10, 0, 863_620, 0, -10, 4_889_970), 32632)
"""A map in the middle of the invented radar image."""


@pytest.fixture
def radar_product(tmp_path: Path) -> Callable[..., Path]:
    """Write a radar product: VV with numbers from 150 upwards along lines and pixels, VH half of them."""

    def write(name: str = "radar", numbers: NDArray[np.uint16] | None = None, **described: Any) -> Path:
        line, pixel = np.mgrid[: RADAR_SHAPE[0], : RADAR_SHAPE[1]]
        vv = (150 + line + pixel).astype(np.uint16) if numbers is None else numbers
        return write_radar_product(tmp_path / name, {"VV": vv, "VH": vv // 2}, RadarProduct(**described))

    return write


@pytest.fixture
def radar_grid() -> GeoBox:
    """A map in the middle of the invented radar image."""
    return RADAR_GRID
