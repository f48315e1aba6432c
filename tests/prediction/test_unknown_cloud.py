"""Pixels of unknown cloud state, from the input to every product."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.clouds.map import CloudMapSettings
from unclouded.io.geotiff import read_stored, write_geotiff
from unclouded.models.baselines import baseline
from unclouded.models.remover import CloudRemover
from unclouded.prediction.auto_remover import auto_remover
from unclouded.prediction.products import Provenance
from unclouded.prediction.scene import PredictedScene, SceneSettings, predict_scene
from unclouded.sensors import RGB, SENTINEL1, SENTINEL2

SIDE = 64
GRID = GeoBox((SIDE, SIDE), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32632")
STRIP = np.s_[:, 20:36]
CLOUD_COLOURS = np.s_[40:, :]
Predict = Callable[..., PredictedScene]


def scene_of_land() -> NDArray[np.uint16]:
    """Dark land with a bright cloud over its lower part; B10 is dark over land and bright over the cloud."""
    stored = np.random.default_rng(0).integers(300, 600, (13, SIDE, SIDE)).astype(np.uint16)
    stored[10] = 15
    stored[(slice(None), *CLOUD_COLOURS)] += 6_000
    return stored


@pytest.fixture
def predict(tmp_path: Path) -> Predict:
    def clear_it(
        optical: NDArray[np.uint16],
        sar: NDArray[np.float32] | None = None,
        remover: CloudRemover | None = None,
        settings: SceneSettings | None = None,
    ) -> PredictedScene:
        radar = np.random.default_rng(1).uniform(-20, -5, (2, SIDE, SIDE)).astype(np.float32) if sar is None else sar
        write_geotiff(tmp_path / "s2.tif", optical, SENTINEL2.bands, GRID)
        write_geotiff(tmp_path / "s1.tif", radar, SENTINEL1.bands, GRID)
        used = remover or baseline("clear-mean", RGB)
        return predict_scene(used, tmp_path / "s2.tif", tmp_path / "s1.tif", tmp_path / "out", settings)

    return clear_it


def layer(scene: PredictedScene, name: str) -> NDArray[np.generic]:
    return read_stored(scene.files[name]).values


@pytest.mark.parametrize("stored", [0, 65_535])
@pytest.mark.parametrize("band", ["B10", "B12", "B01", "B03"])  # the detector does not read B03, the remover does
def test_expectation_34_a_pixel_with_a_missing_band_is_predicted_and_never_observed(
    predict: Predict, band: str, stored: int
) -> None:
    optical = scene_of_land()
    optical[(SENTINEL2.bands.index(band), *STRIP)] = stored
    scene = predict(optical)
    origin, image = layer(scene, "provenance")[0], layer(scene, "clear")
    assert np.unique(origin[STRIP]).tolist() == [Provenance.UNKNOWN_CLOUD]
    assert np.unique(origin[:30, :20]).tolist() == [Provenance.OBSERVED]
    assert (image > 0).all() and image.max() < 1_000  # no cloud is left, and no 65535
    assert np.isnan(layer(scene, "cloud_map")[0][STRIP]).all() == (band != "B03")
    cause = f"{band} {'is saturated' if stored else 'has no data'}"
    state = "lacks bands of the remover" if band == "B03" else "has no known cloud state"
    assert f"25.0 % of the scene {state}, because {cause} there" in scene.summary["remarks"][-1]


def test_fault_13_the_cloudy_image_itself_has_no_data_where_a_band_of_it_is_missing(predict: Predict) -> None:
    optical = scene_of_land()
    optical[(SENTINEL2.bands.index("B03"), *STRIP)] = 0
    scene = predict(optical, remover=baseline("cloudy", RGB))
    assert not layer(scene, "clear")[(slice(None), *STRIP)].any()
    assert scene.summary["pixels"]["no_data_remover"] == scene.summary["pixels"]["no_data"] == 16 * 64


def test_fault_13_pixels_of_unknown_cloud_state_without_radar_have_no_data_in_any_band(predict: Predict) -> None:
    optical, sar = scene_of_land(), np.full((2, SIDE, SIDE), -9, np.float32)
    optical[(10, *STRIP)] = 0
    optical[:, :4] = 0
    sar[:, :, 30:] = np.nan
    scene = predict(optical, sar, baseline("sar-vv", RGB))
    image = layer(scene, "clear")
    assert not image[:, 4:, 30:36].any() and image[:, 4:, 20:30].all()
    assert np.array_equal((image == 0).all(axis=0), (image == 0).any(axis=0))
    pixels = scene.summary["pixels"]
    assert (pixels["no_data_optical"], pixels["no_data_remover"], pixels["radar_gaps"]) == (4 * 64, 0, 34 * 64)
    assert pixels["no_data"] == pixels["no_data_optical"] + pixels["no_data_radar"]
    assert pixels["unknown_cloud"] == 60 * 10
    assert "the radar has no data in 53.1 % of the scene" in scene.summary["remarks"][-1]


def test_expectation_14_summary_item_page_and_map_have_the_same_numbers(predict: Predict) -> None:
    optical = scene_of_land()
    optical[:, :16] = 0  # a quarter
    optical[(10, *STRIP)] = 0
    scene = predict(optical)
    m, pixels = layer(scene, "cloud_map")[0], scene.summary["pixels"]
    with rasterio.open(scene.files["cloud_map"]) as file:
        assert np.isnan(file.nodata)
    known = ~np.isnan(m)
    assert np.count_nonzero(known) == 48 * 48  # what was seen, without the strip
    assert pixels["cloudy_share"] == np.count_nonzero(m[known] > 0) / (48 * 48)
    item = json.loads(scene.files["item"].read_text())["properties"]
    assert item["eo:cloud_cover"] == round(100 * pixels["cloudy_share"], 4)
    assert item["unclouded:statistics"]["cloudy_share"] == pixels["cloudy_share"]
    assert item["unclouded:statistics"]["pixels"]["unknown_cloud"] == pixels["unknown_cloud"] == 48 * 16
    page = scene.files["report"].read_text()
    assert "<b>25.0 %</b><span>of the scene has no data: no optical data 25.0 %" in page
    assert "%</b><span>of the scene has no known cloud state and is predicted by clear-mean" in page
    shares = re.findall(r"<b>([0-9.]+) %</b><span>of the scene", page)
    assert len(shares) == 4 and sum(round(10 * float(share)) for share in shares) == 1_000
    assert f"<code>{100 * pixels['cloudy_share']:.1f} %</code>" in page


def test_a_scene_without_one_band_of_the_detector_is_predicted_completely(predict: Predict) -> None:
    optical = scene_of_land()
    optical[10] = 0
    scene = predict(optical, remover=auto_remover())
    assert (layer(scene, "provenance") == Provenance.UNKNOWN_CLOUD).all() and (layer(scene, "clear") > 0).all()
    assert scene.summary["pixels"]["cloudy_share"] is None
    assert "eo:cloud_cover" not in json.loads(scene.files["item"].read_text())["properties"]


@pytest.mark.parametrize("mode", ["continuous", "binary"])
def test_coarser_and_binary_maps_are_unknown_where_the_detector_has_no_data(predict: Predict, mode: str) -> None:
    optical = scene_of_land()
    optical[(10, *STRIP)] = 0
    clouds = CloudMapSettings.model_validate({"mode": mode, "resolution_m": 20})
    scene = predict(optical, settings=SceneSettings(clouds=clouds))
    assert np.array_equal(np.isnan(layer(scene, "cloud_map")[0]), layer(scene, "provenance")[0] == 5)


def test_nothing_is_fitted_to_pixels_of_unknown_cloud_state(predict: Predict) -> None:
    optical = scene_of_land()
    optical[1:4, :40] = 500
    optical[(slice(1, 4), *STRIP)] = 3_000  # bright, and perhaps cloud
    optical[(10, *STRIP)] = 0
    image = layer(predict(optical), "clear")
    assert np.unique(image[(slice(None), *STRIP)]).tolist() == [500]


def test_fault_13_masked_pixels_have_no_data_and_another_mask_is_another_scene(
    predict: Predict, tmp_path: Path
) -> None:
    optical = scene_of_land()
    first = predict(optical)
    assert (layer(first, "provenance") != Provenance.NO_DATA).all()
    mask = np.full((1, SIDE, SIDE), 255, np.uint8)
    mask[0][STRIP] = 0
    write_geotiff(tmp_path / "s2.tif.msk", mask, ("mask",), GRID)
    masked = predict(optical)
    assert masked.summary["key"] != first.summary["key"]
    gap = layer(masked, "provenance")[0] == Provenance.NO_DATA
    assert gap[STRIP].all() and gap.sum() == 64 * 16 and not layer(masked, "clear")[:, gap].any()


def test_the_tag_and_the_item_name_the_remover_that_was_used(predict: Predict) -> None:
    scene = predict(scene_of_land(), remover=auto_remover())
    used = scene.summary["used"]
    assert used in ("scene-adapted", "clear-mean", "sar-regression") and scene.summary["choice"].startswith(
        f"{used} was"
    )
    for name in ("clear", "cloud_map", "provenance"):
        with rasterio.open(scene.files[name]) as file:
            assert file.tags()["UNCLOUDED_REMOVER"] == used
    properties = json.loads(scene.files["item"].read_text())["properties"]
    assert (properties["unclouded:remover"], properties["unclouded:choice"]) == (used, scene.summary["choice"])
