"""Scenes of Level-2A without weights: surface reflectance, 12 bands, map from the scene classification."""

import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from products.optical_product import PIXEL_M, OpticalProduct, write_optical_product

from unclouded.clouds.csmask import NOT_INSTALLED
from unclouded.clouds.detectors import find_detector
from unclouded.clouds.map import PRODUCT, PRODUCT_L2A, SCENE_CLASSES, CloudMapSettings
from unclouded.errors import InputError
from unclouded.io.geotiff import read_stored, write_geotiff
from unclouded.models.adaptation.scene_adapted import SceneAdapted
from unclouded.models.adaptation.standard_atmosphere import surface_spectrum
from unclouded.models.baselines import FIXED_SPECTRUM, baseline
from unclouded.models.network import NetworkRemover, NetworkSettings
from unclouded.prediction.auto_remover import auto_remover
from unclouded.prediction.levels import map_of_level, with_bands_of
from unclouded.prediction.products import Provenance
from unclouded.prediction.scene import PredictedScene, SceneSettings, predict_scene
from unclouded.sensors import SENTINEL1, SENTINEL2, SENTINEL2_L2A
from unclouded.sentinel.identify import identify
from unclouded.sentinel.optical import open_optical, read_level
from unclouded.sentinel.sentinel2 import ProcessingLevel

SIDE = 120
GRID = GeoBox((SIDE, SIDE), Affine(10, 0, 699_960, 0, -10, 4_900_020), "EPSG:32632")
ONES = SceneSettings(clouds=CloudMapSettings(mode="ones"))
CLOUD = (slice(40, 60), slice(40, 60))
"""Rows and columns of the cloud, in pixels of 10 m."""


def ground() -> NDArray[np.float64]:
    """Surface reflectance of 12 bands that follows a pattern of the radar."""
    level = np.array([surface_spectrum(FIXED_SPECTRUM)[band] for band in SENTINEL2_L2A.bands])
    return level[:, None, None] * (1 + 0.3 * pattern())


def pattern() -> NDArray[np.float64]:
    rows, columns = np.mgrid[:SIDE, :SIDE] // 12
    return ((rows * 3 + columns * 5) % 7) / 3 - 1


def classes(unclassified: bool = False) -> NDArray[np.uint8]:
    found = np.full((SIDE // 2, SIDE // 2), 4, np.uint8)
    found[20:30, 20:30] = 9
    if unclassified:
        found[50:, 50:] = 7
    return found


def stored(offset: int = 0) -> dict[str, NDArray[np.uint16]]:
    """Stored integers of a cloudy image at the pixel size of each band."""
    bands = {}
    for band, values in zip(SENTINEL2_L2A.bands, ground(), strict=True):
        step = PIXEL_M[band] // 10
        image = np.rint(values * 10_000)
        image[CLOUD] = 8000
        bands[band] = (image.reshape(SIDE // step, step, SIDE // step, step).mean((1, 3)) - offset).astype(np.uint16)
    return bands


@pytest.fixture
def l2a(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str = "l2a", *, scl: NDArray[np.uint8] | None = None, **described: Any) -> Path:
        product = OpticalProduct(level="L2A", **described)
        images: dict[str, Any] = stored(product.offset or 0)
        return write_optical_product(tmp_path / name, images | {"SCL": classes() if scl is None else scl}, product)

    return write


@pytest.fixture
def sar(tmp_path: Path) -> Path:
    noise = np.random.default_rng(1).normal(0, 0.3, (2, SIDE, SIDE))
    values = np.array([-9.0, -15.0])[:, None, None] + 2.5 * pattern() + noise
    write_geotiff(tmp_path / "s1.tif", values.astype(np.float32), SENTINEL1.bands, GRID)
    return tmp_path / "s1.tif"


def predict(cloudy: Path, sar: Path | None, remover: Any = "auto", **settings: Any) -> PredictedScene:
    out = cloudy.parent / f"out-{getattr(remover, 'name', remover)}"
    return predict_scene(remover, cloudy, sar, out, SceneSettings(**settings))


def test_an_l2a_product_is_predicted_with_the_map_of_its_classes(l2a: Callable[..., Path], sar: Path) -> None:
    scene = predict(l2a(), sar)
    assert scene.summary["scene"]["level"] == "L2A"
    assert scene.summary["settings"]["clouds"]["mode"] == "scl"
    provenance = read_stored(scene.files["provenance"]).values[0]
    assert set(np.unique(provenance[CLOUD])) == {Provenance.SYNTHESISED}
    assert (provenance[80:, 80:] == Provenance.OBSERVED).all()
    made = read_stored(scene.files["clear"])
    truth = ground()[SENTINEL2_L2A.indices("B04", "B03", "B02")]
    error = np.abs(made.values[:, *CLOUD] / 10_000 - truth[:, *CLOUD]).mean()
    assert error < 0.02  # the cloud is 0.7 brighter
    assert scene.summary["expected_error"]["rows"]
    assert "confidence" in scene.files


def test_the_same_scene_with_the_offset_of_baseline_0400_and_as_a_zip(
    l2a: Callable[..., Path], sar: Path, tmp_path: Path
) -> None:
    plain = read_stored(predict(l2a("a"), sar, baseline("clear-mean")).files["clear"]).values
    folder = l2a("b", offset=-1000, baseline="05.09")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder.parent))
    for cloudy in (folder, tmp_path / "b.zip"):
        scene = predict(cloudy, sar, baseline("clear-mean"))
        made = read_stored(scene.files["clear"])
        assert np.array_equal(made.values.astype(int) - 1000, plain)
        assert made.offsets == (-0.1,) * 3
        assert scene.summary["settings"]["clouds"]["mode"] == "scl"


def test_unclassified_pixels_are_unknown_and_predicted(l2a: Callable[..., Path], sar: Path) -> None:
    scene = predict(l2a(scl=classes(unclassified=True)), sar, baseline("clear-mean"))
    provenance = read_stored(scene.files["provenance"]).values[0]
    assert (provenance[100:, 100:] == Provenance.UNKNOWN_CLOUD).all()
    assert np.isnan(read_stored(scene.files["cloud_map"]).values[0, 100:, 100:]).all()
    assert any("because the cloud map has no data there" in remark for remark in scene.summary["remarks"])


def test_all_bands_of_l2a_are_twelve(l2a: Callable[..., Path], sar: Path) -> None:
    for remover in (auto_remover(SENTINEL2.bands), SceneAdapted(SENTINEL2.bands)):
        scene = predict(l2a(remover.name), sar, remover)
        assert read_stored(scene.files["clear"]).descriptions == SENTINEL2_L2A.bands
    assert with_bands_of("L1C", remover) is remover
    with pytest.raises(InputError, match="B10 is missing"):
        predict(l2a("b10"), sar, baseline("clear-mean", ("B04", "B10")))


def test_a_network_for_l1c_and_the_papers_detector_are_refused_in_one_line(l2a: Callable[..., Path], sar: Path) -> None:
    settings = NetworkSettings(width=2)
    refused = (
        (NetworkRemover(settings.build(), settings), ONES, "is a Level-2A product, expected Level-1C; fetch the L1C"),
        ("auto", SceneSettings(clouds=CloudMapSettings(detector="s2cloudless")), "s2cloudless needs B10, which"),
        ("auto", SceneSettings(clouds=CloudMapSettings(mode="continuous")), "use --clouds scl or --detector csmask"),
    )
    for remover, chosen, message in refused:
        with pytest.raises(InputError, match=message) as error:
            predict_scene(remover, l2a(message[:12]), sar, sar.parent / "out", chosen)
        assert "\n" not in str(error.value)
        assert not (sar.parent / "out").exists()


def test_a_scene_without_any_clear_pixel_gets_surface_reflectance_from_the_prior(
    l2a: Callable[..., Path],
) -> None:
    overcast = l2a(scl=np.full((SIDE // 2, SIDE // 2), 9, np.uint8))
    scene = predict(overcast, None, SceneAdapted(("B02",)))
    middle = np.median(read_stored(scene.files["clear"]).values) / 10_000
    assert 0.06 < middle < 0.10  # 0.13 at the top of the atmosphere


def test_a_geotiff_of_12_bands_is_l2a_and_takes_any_map_but_that_of_classes(tmp_path: Path, sar: Path) -> None:
    image = np.rint(ground() * 10_000).astype(np.uint16)
    write_geotiff(tmp_path / "s2.tif", image, SENTINEL2_L2A.bands, GRID, nodata=0)
    scene = predict_scene("auto", tmp_path / "s2.tif", sar, tmp_path / "out", ONES)
    assert (scene.summary["scene"]["level"], scene.summary["pixels"]["no_data"]) == ("L2A", 0)
    with pytest.raises(InputError, match=r"s2.tif has no scene classification \(SCL\), as L2A products have; use"):
        predict_scene("auto", tmp_path / "s2.tif", sar, tmp_path / "b", SceneSettings(clouds=SCENE_CLASSES))
    assert map_of_level(read_level(identify(tmp_path / "s2.tif", SENTINEL2))) == PRODUCT_L2A


def test_the_map_without_weights_depends_on_level_and_classes() -> None:
    assert map_of_level(ProcessingLevel("L1C")) == PRODUCT
    assert map_of_level(ProcessingLevel("L2A")) == PRODUCT_L2A
    assert map_of_level(ProcessingLevel("L2A", has_classes=True)) == SCENE_CLASSES


def test_a_reference_of_l2a_fills_the_cloud_from_its_classes(l2a: Callable[..., Path], sar: Path) -> None:
    elsewhere = np.roll(classes(), 25, (0, 1))
    other = l2a("other", scl=elsewhere, acquired=datetime(2021, 8, 29, 10, 27, tzinfo=UTC))
    scene = predict_scene("reference-copy", l2a(), sar, sar.parent / "out", references=[other])
    (used,) = scene.summary["reference_use"]
    assert used["days"] == -10
    assert 0.6 < used["clear_share"] < 0.95


def test_truncated_or_wrong_classes_are_refused(l2a: Callable[..., Path], sar: Path) -> None:
    folder = l2a("cut")
    (image,) = folder.glob("GRANULE/*/IMG_DATA/R20m/*_SCL_20m.jp2")
    image.write_bytes(image.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"SCL_20m.jp2 has [\d,]+ bytes, not the"):
        predict(folder, sar)
    wrong = l2a("wrong", scl=classes().astype(np.uint16))
    with pytest.raises(InputError, match=r"holds 1 x 60 x 60 uint16, expected 1 x 60 x 60 uint8"):
        predict(wrong, sar)


def test_classes_are_read_by_rows(l2a: Callable[..., Path]) -> None:
    with open_optical(l2a(), allow_l2a=True) as scene:
        assert scene.has_classes
        np.testing.assert_array_equal(scene.classes(0, SIDE), classes().repeat(2, 0).repeat(2, 1))


def test_pixels_of_20_m_are_mapped_by_the_classes_themselves(l2a: Callable[..., Path], sar: Path) -> None:
    scene = predict(l2a(), sar, baseline("clear-mean"), resolution_m=20)
    provenance = read_stored(scene.files["provenance"]).values[0]
    assert provenance.shape == (60, 60)
    assert (provenance[20:30, 20:30] == Provenance.SYNTHESISED).all()
    assert (provenance[40:, 40:] == Provenance.OBSERVED).all()


def test_a_detector_that_is_not_installed_is_named_before_anything_is_read(
    tmp_path: Path, sar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = replace(find_detector("csmask-l2a"), version=NOT_INSTALLED)
    monkeypatch.setattr("unclouded.prediction.levels.find_detector", lambda _: missing)
    image = np.rint(ground() * 10_000).astype(np.uint16)
    write_geotiff(tmp_path / "s2.tif", image, SENTINEL2_L2A.bands, GRID, nodata=0)
    with pytest.raises(InputError, match=r"mapped by csmask-l2a, which is not installed: pip install .*--cloud-map"):
        predict_scene("auto", tmp_path / "s2.tif", sar, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_half_products_of_one_tile_are_joined_with_their_classes(tmp_path: Path, sar: Path) -> None:
    folder = tmp_path / "parts"
    for number, half in enumerate((slice(0, 60), slice(60, SIDE))):
        images: dict[str, Any] = stored() | {"SCL": classes()}
        for values in images.values():
            step = SIDE // len(values)
            seen = np.zeros(len(values), bool)
            seen[half.start // step : half.stop // step] = True
            values[~seen] = 0
        taken = datetime(2021, 9, 8, 10, 27, 1 + 8 * number, tzinfo=UTC)
        write_optical_product(folder, images, OpticalProduct(level="L2A", acquired=taken))
    with open_optical(folder, allow_l2a=True) as scene:
        np.testing.assert_array_equal(scene.classes(0, SIDE), classes().repeat(2, 0).repeat(2, 1))
        assert (scene.stored(0, SIDE) > 0).all()
    joined = predict(folder, sar, baseline("clear-mean"))
    assert joined.summary["settings"]["clouds"]["mode"] == "scl"
    assert joined.summary["pixels"]["no_data"] == 0
