"""Invented products of 240 x 180 m and more, complete and small."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from unclouded.sensors import SENTINEL2
from unclouded.simulation.optical_product import PIXEL_M, OpticalProduct, write_optical_product

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
