"""Products in the Zarr format of the EOPF."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray
from products.optical_product import PIXEL_M, OpticalProduct

from unclouded.errors import InputError
from unclouded.sensors import SENTINEL1, SENTINEL2, SENTINEL2_L2A
from unclouded.sentinel.identify import identify
from unclouded.sentinel.optical import NO_CHECKSUM, open_optical, read_level
from unclouded.sentinel.radar import open_radar

NAME = "S2A_MSIL2A_20210908T102701_N0509_R065_T32TQM_20210908T102701.zarr"
SIDE = 120


def write_zarr(
    root: Path, stored: dict[str, NDArray[np.uint16]], *, version: int = 2, level: str = "L2A", **attributes: Any
) -> Path:
    """Write bands at their own pixel sizes as the EOPF does, with the classes for L2A."""
    folder, corner = root / NAME, OpticalProduct().corner
    known = {
        "stac_discovery": {"properties": {"datetime": "2021-09-08T10:27:01.024Z", "proj:epsg": 32632}},
        "other_metadata": {"horizontal_CRS_code": "EPSG:32632"},
    }
    group = zarr.open_group(str(folder), mode="w", zarr_format=version, attributes=known)
    tags = {"scale_factor": 0.0001, "add_offset": -0.1, "_FillValue": 0} | attributes
    for band, values in stored.items():
        place = f"measurements/reflectance/r{PIXEL_M[band]}m/{band.lower()}"
        array = group.create_array(place, shape=values.shape, chunks=(50, 50), dtype="uint16", attributes=tags)
        array[:] = values
    if level == "L2A":
        classes = group.create_array(
            "conditions/mask/l2a_classification/r20m/scl", shape=(60, 60), chunks=(60, 60), dtype="uint8"
        )
        classes[:] = np.arange(3600).reshape(60, 60) % 12
    for axis, first, step in (("x", corner[0] + 5, 10), ("y", corner[1] - 5, -10)):
        place = f"measurements/reflectance/r10m/{axis}"
        line = group.create_array(place, shape=(SIDE,), chunks=(SIDE,), dtype="int64")
        line[:] = first + step * np.arange(SIDE)
    return folder


@pytest.fixture
def bands(simulated: dict[str, NDArray[np.uint16]]) -> dict[str, NDArray[np.uint16]]:
    return {band: np.where(simulated[band] < 60_000, simulated[band], 65_535) for band in SENTINEL2_L2A.bands}


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as error, open_optical(path, allow_l2a=True, **options):
        pass
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("version", [2, 3])
def test_a_zarr_product_equals_the_safe_product(
    tmp_path: Path, optical_product: Callable[..., Path], version: int
) -> None:
    from products.fixtures import simulated_bands

    stored = simulated_bands(1000)
    del stored["B10"]
    folder = write_zarr(tmp_path, stored, version=version)
    assert read_level(identify(folder, SENTINEL2)).has_classes
    safe = optical_product(level="L2A", offset=-1000)
    with open_optical(folder, allow_l2a=True) as scene, open_optical(safe, allow_l2a=True) as expected:
        assert (scene.level, scene.geobox, scene.acquired) == ("L2A", expected.geobox, expected.acquired)
        assert scene.radiometry.offsets == (-1000,) * 12
        assert NO_CHECKSUM in scene.remarks
        np.testing.assert_array_equal(scene.stored(0, SIDE), expected.stored(0, SIDE))
        classes = (np.arange(3600).reshape(60, 60) % 12).repeat(2, 0).repeat(2, 1)
        np.testing.assert_array_equal(scene.classes(0, SIDE), classes)
    with pytest.raises(InputError, match="is a Level-2A product, expected Level-1C"):
        _open(folder)
    with pytest.raises(InputError, match="is a Zarr store, expected a Sentinel-1 product"):
        _open_radar(folder)


def _open(folder: Path) -> None:
    with open_optical(folder):
        pass


def _open_radar(folder: Path) -> None:
    assert identify(folder, SENTINEL1)
    with open_radar(folder, scene_grid()):
        pass


def scene_grid() -> Any:
    from products.fixtures import RADAR_GRID

    return RADAR_GRID


def test_level_1c_has_13_bands(tmp_path: Path, simulated: dict[str, NDArray[np.uint16]]) -> None:
    folder = write_zarr(tmp_path, simulated, level="L1C", add_offset=0.0)
    with open_optical(folder) as scene:
        assert (scene.level, scene.bands, set(scene.radiometry.offsets)) == ("L1C", SENTINEL2.bands, {0})


def test_damaged_and_impossible_stores_are_refused_in_one_line(
    tmp_path: Path, bands: dict[str, NDArray[np.uint16]]
) -> None:
    folder = write_zarr(tmp_path, bands)
    blue = folder / "measurements/reflectance/r10m/b02"
    whole = tmp_path / "whole"
    shutil.copytree(folder, whole)

    def damage(change: Callable[[], Any]) -> str:
        change()
        message = refused(folder)
        shutil.rmtree(folder)
        shutil.copytree(whole, folder)
        return message

    def edit(path: Path, **changed: Any) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))

    chunk = blue / "1.1"
    assert "1.1 is damaged: it has 20 bytes and declares" in damage(lambda: chunk.write_bytes(chunk.read_bytes()[:20]))
    assert "has no data in" in damage(chunk.unlink)
    assert "has the scale 0.001 for B02" in damage(lambda: edit(blue / ".zattrs", scale_factor=0.001))
    assert "has the offset 0.1 for B02" in damage(lambda: edit(blue / ".zattrs", add_offset=0.1))
    assert "is packed by 'pickle'" in damage(lambda: edit(blue / ".zarray", filters=[{"id": "pickle"}]))
    assert "declares (200000, 120) values" in damage(lambda: edit(blue / ".zarray", shape=[200_000, 120]))
    assert "holds (60, 120) uint16, expected" in damage(lambda: edit(blue.parent / "b03/.zarray", shape=[60, 120]))
    assert "has no array of B02" in damage(lambda: shutil.rmtree(blue))
    assert "lies in EPSG:4326" in damage(
        lambda: edit(folder / ".zattrs", other_metadata={"horizontal_CRS_code": "EPSG:4326"})
    )
    assert "has the time 'None'" in damage(lambda: edit(folder / ".zattrs", stac_discovery={}))
    assert "leads out of the store" in damage(lambda: (chunk.unlink(), chunk.symlink_to("/etc/hostname")))
    assert "holds no measurements/reflectance" in damage(lambda: shutil.rmtree(folder / "measurements"))
    assert "not JSON" in damage(lambda: (blue / ".zarray").write_text("{"))
