"""Small data sets in both layouts."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from matplotlib.figure import Figure
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.io.geotiff import write_geotiff
from unclouded.patches.roi import PatchId, Roi
from unclouded.sensors import SENTINEL1, SENTINEL2


@pytest.fixture
def figures_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[Figure]]:
    """From a module's name to a list that takes every figure which the module makes from now on."""

    def kept(module: str) -> list[Figure]:
        figures: list[Figure] = []

        class Kept(Figure):
            def __init__(self, *args: object, **kwargs: object) -> None:
                super().__init__(*args, **kwargs)  # type: ignore[arg-type]
                figures.append(self)

        monkeypatch.setattr(f"{module}.Figure", Kept)
        return figures

    return kept


@pytest.fixture
def touch() -> Callable[..., Path]:
    """Make empty files with their folders; names are relative to the root."""

    def make(root: Path, *names: str) -> Path:
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return root

    return make


@pytest.fixture
def official_names() -> Callable[..., list[str]]:
    """The three names of a patch in the official layout, relative to the root."""

    def names(patch: str, sensors: tuple[str, ...] = ("s1", "s2", "s2_cloudy")) -> list[str]:
        identity = PatchId.parse(patch)
        roi = identity.roi
        return [f"{roi.collection}_{s}/{s}_{roi.number}/{identity.file_name(s)}" for s in sensors]

    return names


@pytest.fixture
def official_root(tmp_path: Path, official_names: Callable[..., list[str]]) -> Path:
    """Patches 9 and 10 of one region: 16 x 16 px, radar at -10 dB, cloudy 0.6, clear 0.1."""
    contents: dict[str, tuple[NDArray[np.generic], tuple[str, ...]]] = {
        "s1": (np.full((2, 16, 16), -10, np.float32), SENTINEL1.bands),
        "s2": (np.full((13, 16, 16), 1_000, np.uint16), SENTINEL2.bands),
        "s2_cloudy": (np.full((13, 16, 16), 6_000, np.uint16), SENTINEL2.bands),
    }
    root = tmp_path / "SEN12MS-CR"
    for number in (9, 10):
        patch = PatchId(Roi("ROIs1158", "spring", 106), number)
        geobox = GeoBox((16, 16), Affine(10, 0, 637702.775062324 + 160 * number, 0, -10, 3632392.7747218483), 32652)
        for sensor, (values, bands) in contents.items():
            write_geotiff(root / official_names(str(patch), (sensor,))[0], values, bands, geobox)
    return root
