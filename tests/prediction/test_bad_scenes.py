"""Inputs that cannot be used are refused in one line, and no file or folder is left behind.

The readers have tests of their own; these show that nothing gets round them.
"""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from products.optical_product import PIXEL_M, OpticalProduct, write_optical_product
from pyproj import Transformer

from unclouded.clouds.map import CloudMapSettings
from unclouded.errors import InputError, MachineError
from unclouded.io.geotiff import read_stored, write_geotiff
from unclouded.models.baselines import baseline
from unclouded.models.network import NetworkRemover, NetworkSettings
from unclouded.models.remover import CloudRemover
from unclouded.prediction.scene import PredictedScene, SceneSettings, predict_scene
from unclouded.prediction.sources import RadarSettings
from unclouded.sensors import SENTINEL1, SENTINEL2, SENTINEL2_L2A
from unclouded.sentinel.optical import MAYBE_OFFSET, OpticalSettings

GRID = GeoBox((120, 120), Affine(10, 0, 699_960, 0, -10, 4_900_020), "EPSG:32632")
ONES = SceneSettings(clouds=CloudMapSettings(mode="ones"))


def land(bands: int = 13) -> NDArray[np.uint16]:
    return np.random.default_rng(0).integers(200, 3000, (bands, *GRID.shape)).astype(np.uint16)


def product(root: Path, offset: int | None = None, **described: Any) -> Path:
    rng = np.random.default_rng(7)
    sides = {band: 1200 // PIXEL_M[band] for band in SENTINEL2.bands}
    stored = {
        band: (rng.integers(200, 3000, (side, side)) - (offset or 0)).astype(np.uint16) for band, side in sides.items()
    }
    stored["B02"][:6] = 0
    if described.get("level") == "L2A":
        del stored["B10"]
    return write_optical_product(root, stored, OpticalProduct(offset=offset, **described))


@pytest.fixture
def sar(tmp_path: Path) -> Path:
    values = np.random.default_rng(1).uniform(-20, -5, (2, *GRID.shape)).astype(np.float32)
    write_geotiff(tmp_path / "s1.tif", values, SENTINEL1.bands, GRID)
    return tmp_path / "s1.tif"


@pytest.fixture
def cloudy(tmp_path: Path) -> Path:
    write_geotiff(tmp_path / "s2.tif", land(), SENTINEL2.bands, GRID, nodata=0)
    return tmp_path / "s2.tif"


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """Return the message of a scene that is refused, and check that no folder is left."""

    def refuse(cloudy: Path, sar: Path, settings: SceneSettings = ONES, remover: CloudRemover | None = None) -> str:
        with pytest.raises(InputError) as error:
            predict_scene(remover or baseline("clear-mean"), cloudy, sar, tmp_path / "out", settings)
        assert not (tmp_path / "out").exists()
        assert "\n" not in str(error.value)
        return str(error.value)

    return refuse


def l2a_network() -> NetworkRemover:
    torch.manual_seed(0)
    settings = NetworkSettings(width=2, level="L2A")
    return NetworkRemover(settings.build(), settings, precision="float32")


def test_fault_16_equal_products_of_different_baselines_give_equal_results(tmp_path: Path, sar: Path) -> None:
    def predict(name: str, offset: int | None) -> PredictedScene:
        path = product(tmp_path / name, offset, baseline="05.09" if offset else "03.01")
        return predict_scene(baseline("clear-mean"), path, sar, tmp_path / f"out-{name}", ONES)

    old, new = (read_stored(predict(name, offset).files["clear"]) for name, offset in (("old", None), ("new", -1000)))
    predicted = old.values > 0
    assert np.array_equal(new.values[predicted].astype(int) - 1000, old.values[predicted])
    assert np.array_equal(new.values > 0, predicted)
    assert predicted.all()  # six rows without B02, too
    assert new.offsets == (-0.1,) * 3


def test_fault_16_the_offset_option_applies_to_an_untagged_file_and_is_written_to_the_output(
    tmp_path: Path, sar: Path
) -> None:
    stored = np.full((13, *GRID.shape), 1500, np.uint16)
    stored[:, :60] = 3000  # reflectance 0.2 above 0.05
    write_geotiff(tmp_path / "s2.tif", stored, SENTINEL2.bands, GRID)
    settings = SceneSettings(optical=OpticalSettings(offset=-1000), clouds=CloudMapSettings(mode="ones"))
    scene = predict_scene(baseline("sar-vv", ("B04",)), tmp_path / "s2.tif", sar, tmp_path / "out", settings)
    made = read_stored(scene.files["clear"])
    untagged = predict_scene(baseline("sar-vv", ("B04",)), tmp_path / "s2.tif", sar, tmp_path / "untagged", ONES)
    assert np.unique(made.values - read_stored(untagged.files["clear"]).values).tolist() == [1000]
    assert made.offsets == (-0.1,)
    assert [MAYBE_OFFSET in one.summary["remarks"] for one in (scene, untagged)] == [False, True]


def test_bands_of_60_m_are_repeated_or_interpolated_by_setting(tmp_path: Path, sar: Path) -> None:
    path = product(tmp_path / "a")
    steps = {}
    for resampling in ("nearest", "bilinear"):
        settings = SceneSettings(optical=OpticalSettings(resampling=resampling), clouds=CloudMapSettings(mode="ones"))
        scene = predict_scene(baseline("cloudy", ("B01",)), path, sar, tmp_path / resampling, settings)
        stored = read_stored(scene.files["clear"]).values[0].astype(int)
        steps[resampling] = np.abs(np.diff(stored[60], axis=0))
    assert np.count_nonzero(steps["nearest"]) == 19  # 20 pixels of 60 m
    assert np.count_nonzero(steps["bilinear"]) > 80


def test_fault_18_l2a_is_refused_unless_the_weights_were_trained_on_it(
    tmp_path: Path, sar: Path, refused: Callable[..., str]
) -> None:
    l2a, l1c = product(tmp_path / "l2a", level="L2A"), product(tmp_path / "l1c")
    settings = NetworkSettings(width=2)
    l1c_network = NetworkRemover(settings.build(), settings, precision="float32")
    assert "is a Level-2A product, expected Level-1C" in refused(l2a, sar, remover=l1c_network)
    assert refused(l1c, sar, remover=l2a_network()).endswith(
        "is L1C, but the weights were trained on L2A; use that level"
    )
    scene = predict_scene(l2a_network(), l2a, sar, tmp_path / "out", ONES)
    assert (scene.summary["scene"]["level"], scene.summary["removers"][0]["settings"]["level"]) == ("L2A", "L2A")
    assert read_stored(scene.files["clear"]).values[:, 6:].all()


def test_fault_18_the_detector_of_the_paper_refuses_l2a(tmp_path: Path, sar: Path, refused: Callable[..., str]) -> None:
    write_geotiff(tmp_path / "l2a.tif", land(12), SENTINEL2_L2A.bands, GRID, nodata=0)
    error = refused(tmp_path / "l2a.tif", sar, SceneSettings(), l2a_network())
    assert "s2cloudless needs B10, which" in error
    assert "csmask-l2a" in error


def test_fault_18_l2a_weights_have_no_cirrus_band_and_cannot_be_mixed_with_l1c_weights(cloudy: Path, sar: Path) -> None:
    with pytest.raises(ValueError, match="B10"):
        NetworkSettings(bands=("B04", "B10"), level="L2A")
    settings = NetworkSettings(width=2)
    others = [NetworkRemover(settings.build(), settings)]
    with pytest.raises(
        InputError, match="weights of one product level, found L1C and L2A; choose weights of one level"
    ):
        predict_scene(l2a_network(), cloudy, sar, cloudy.parent / "out", ONES, others=others)


def test_fault_18_landsat_is_refused_by_name(tmp_path: Path, sar: Path, refused: Callable[..., str]) -> None:
    landsat = tmp_path / "LC08_L1TP_193023_20210907_20210916_02_T1"
    landsat.mkdir()
    (landsat / f"{landsat.name}_MTL.txt").write_text("GROUP = LANDSAT_METADATA_FILE\n")
    assert "is a Landsat product, expected a Sentinel-2 Level-1C product" in refused(landsat, sar)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
@pytest.mark.parametrize("which", ["cloudy", "sar"])
def test_fault_05_a_truncated_file_is_refused(
    cloudy: Path, sar: Path, refused: Callable[..., str], which: str, share: float
) -> None:
    path = {"cloudy": cloudy, "sar": sar}[which]
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert path.name in refused(cloudy, sar)


def test_fault_06_a_truncated_or_changed_image_of_a_product_is_refused(
    tmp_path: Path, sar: Path, refused: Callable[..., str]
) -> None:
    whole = product(tmp_path / "a")
    for name, spoilt in (("cut", lambda old: old[:-50]), ("flipped", lambda old: old[:-9] + bytes(9))):
        copy = tmp_path / name / whole.name
        shutil.copytree(whole, copy)
        (image,) = copy.rglob("*_B03.jp2")
        image.write_bytes(spoilt(image.read_bytes()))
        assert image.name in refused(copy, sar)


def test_fault_07_a_truncated_zip_is_refused(tmp_path: Path, sar: Path, refused: Callable[..., str]) -> None:
    folder = product(tmp_path / "a")
    packed = Path(shutil.make_archive(str(tmp_path / "whole"), "zip", folder.parent, folder.name))
    packed.write_bytes(packed.read_bytes()[:-200])
    assert "whole.zip" in refused(packed, sar)


@pytest.mark.parametrize("name", ["scene.vrt", "scene.tif"])
def test_fault_28_a_vrt_under_any_name_is_refused(
    tmp_path: Path, cloudy: Path, sar: Path, refused: Callable[..., str], name: str
) -> None:
    band = f"<SourceFilename>{cloudy}</SourceFilename><SourceBand>1</SourceBand>"
    bands = f'<VRTRasterBand dataType="UInt16" band="1"><SimpleSource>{band}</SimpleSource></VRTRasterBand>'
    (tmp_path / name).write_text(f'<VRTDataset rasterXSize="120" rasterYSize="120">{bands}</VRTDataset>')
    assert name in refused(tmp_path / name, sar)


@pytest.mark.parametrize(
    "name",
    ["/vsicurl/http://127.0.0.1:9/s2.tif", "/vsizip//tmp/a.zip/s2.tif", "SENTINEL2_L1C:/etc/passwd:10m:EPSG_32632"],
)
def test_fault_28_gdal_connection_strings_are_not_accepted_as_files(
    sar: Path, refused: Callable[..., str], name: str
) -> None:
    assert refused(Path(name), sar).endswith("is not a file; check the path")


def test_fault_09_other_bands_are_refused(tmp_path: Path, sar: Path, refused: Callable[..., str]) -> None:
    write_geotiff(tmp_path / "rgb.tif", land(3), ("B04", "B03", "B02"), GRID)
    assert "has 3 bands, expected the 13 of Sentinel-2" in refused(tmp_path / "rgb.tif", sar)
    write_geotiff(tmp_path / "twice.tif", land(), ("B02", "B02", *SENTINEL2.bands[2:]), GRID)
    assert "twice.tif" in refused(tmp_path / "twice.tif", sar)


def test_fault_20_a_huge_image_is_refused_before_reading(
    tmp_path: Path, sar: Path, refused: Callable[..., str]
) -> None:
    giant = tmp_path / "giant.tif"
    shape = {"width": 400_000, "height": 400_000, "count": 13, "dtype": "uint16"}
    with rasterio.open(
        giant, "w", driver="GTiff", sparse_ok=True, tiled=True, BIGTIFF="YES", transform=GRID.affine, **shape
    ):
        pass
    assert "giant.tif" in refused(giant, sar)


def test_fault_12_radar_in_the_next_utm_zone_is_warped_with_align(tmp_path: Path, cloudy: Path) -> None:
    """The tile lies 40 km west of 12 degrees east, where the zones 32 and 33 meet."""
    x, y = Transformer.from_crs(32632, 32633, always_xy=True).transform(700_560, 4_899_420)  # its middle
    wide = GeoBox((200, 200), Affine(10, 0, round(x) - 1000, 0, -10, round(y) + 1000), "EPSG:32633")
    write_geotiff(tmp_path / "s1.tif", np.full((2, *wide.shape), -9, np.float32), SENTINEL1.bands, wide)
    settings = ONES.model_copy(update={"radar": RadarSettings(align=True)})
    scene = predict_scene(baseline("sar-vv", ("B04",)), cloudy, tmp_path / "s1.tif", tmp_path / "out", settings)
    assert np.unique(read_stored(scene.files["clear"]).values).tolist() == [6400]  # -9 dB between -25 and 0


def test_fault_33_an_unwritable_folder_is_reported_before_any_work(
    cloudy: Path, sar: Path, mount_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = mount_disk(64)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    monkeypatch.setattr("unclouded.prediction.scene.open_sources", lambda *_: pytest.fail("the work began"))
    with pytest.raises(MachineError, match=r"Read-only file system"):
        predict_scene(baseline("clear-mean"), cloudy, sar, disk / "out", ONES)
