from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine
from odc.geo.geobox import GeoBox

from unclouded.clouds.map import CloudMapSettings
from unclouded.errors import InputError
from unclouded.io.geotiff import open_geotiff, read_stored, write_geotiff
from unclouded.io.raster import describe_grid
from unclouded.models.network import NetworkRemover, NetworkSettings
from unclouded.patches.layouts import TripletFiles
from unclouded.prediction.auto_remover import auto_remover
from unclouded.prediction.patches import compose, predict_patch, write_prediction
from unclouded.sensors import RGB, SENTINEL1, SENTINEL2
from unclouded.tensors.observation import Observation

GRID = GeoBox((48, 48), Affine(10, 0, 500_000.5, 0, -10, 5_000_480.25), "EPSG:32632")  # not on the 10 m raster


@dataclass(frozen=True)
class Grey:
    """A remover that returns 0.1234 everywhere."""

    name: str = "grey"
    bands: tuple[str, ...] = RGB

    def __call__(self, observation: Observation) -> torch.Tensor:
        return torch.full_like(observation.select(self.bands).cloudy, 0.1234)


@pytest.fixture
def pair(tmp_path: Path) -> TripletFiles:
    """A coordinate scene of 48 px: band b holds 1000 b + 20 row + column + 1, so no two pixels of a band agree."""
    rows, columns = np.mgrid[0:48, 0:48]
    optical = np.stack([1000 * b + 20 * rows + columns + 1 for b in range(13)]).astype(np.uint16)
    write_geotiff(tmp_path / "s2.tif", optical, tuple(band.replace("B0", "B") for band in SENTINEL2.bands), GRID)
    write_geotiff(tmp_path / "s1.tif", np.full((2, 48, 48), -9, np.float32), SENTINEL1.bands, GRID)
    return TripletFiles("scene", None, tmp_path / "s1.tif", tmp_path / "s2.tif", None)


def test_clear_pixels_keep_their_integers_and_cloudy_ones_are_replaced() -> None:
    observed = np.array([[[17_014, 0], [5, 9_999]]], np.uint16)
    reflectance = np.array([[[0.5, 0.5], [0.0, 1.0]]], np.float32)
    cloud_map = np.array([[0, 0], [1e-9, 1]], np.float32)
    assert compose(reflectance, observed, cloud_map).tolist() == [[[17_014, 0], [1, 10_000]]]


def test_a_prediction_has_grid_type_and_band_names_of_its_input(pair: TripletFiles, tmp_path: Path) -> None:
    predicted = predict_patch(Grey(), pair, CloudMapSettings(mode="ones"))
    written = read_stored(write_prediction(predicted, tmp_path / "out", {}))
    assert written.values.dtype == np.uint16
    assert written.descriptions == ("B4", "B3", "B2")  # the input's own names of its bands 4, 3, 2
    assert describe_grid(written.geobox) == describe_grid(GRID)
    assert np.unique(written.values).tolist() == [1234]


def test_the_tag_names_the_selected_remover(pair: TripletFiles, tmp_path: Path) -> None:
    predicted = predict_patch(auto_remover(), pair, CloudMapSettings(mode="ones"))
    with open_geotiff(write_prediction(predicted, tmp_path / "out", {})) as file:
        assert (predicted.used, file.tags()["UNCLOUDED_REMOVER"]) == ("scene-adapted", "scene-adapted")


def test_fault_14_a_patch_without_clouds_is_unchanged_bit_for_bit(
    pair: TripletFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "unclouded.prediction.patches.cloud_map", lambda values, *_, **__: np.zeros(values.shape[1:], np.float32)
    )
    predicted = predict_patch(Grey(), pair, CloudMapSettings())
    observed = read_stored(pair.cloudy).values[SENTINEL2.indices(*RGB)]
    written = read_stored(write_prediction(predicted, tmp_path / "out", {}))
    assert np.array_equal(written.values, observed)


def test_only_pixels_with_positive_m_are_replaced(pair: TripletFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    left = np.zeros((48, 48), np.float32)
    left[:, :24] = 0.3
    monkeypatch.setattr("unclouded.prediction.patches.cloud_map", lambda *_, **__: left)
    predicted = predict_patch(Grey(), pair, CloudMapSettings())
    observed = read_stored(pair.cloudy).values[SENTINEL2.indices(*RGB)]
    assert np.unique(predicted.stored[:, :, :24]).tolist() == [1234]
    assert np.array_equal(predicted.stored[:, :, 24:], observed[:, :, 24:])


def test_the_written_cloud_map_is_m(pair: TripletFiles, tmp_path: Path) -> None:
    predicted = predict_patch(Grey(), pair, CloudMapSettings(mode="ones"))
    write_prediction(predicted, tmp_path / "out", {})
    assert np.unique(read_stored(tmp_path / "out" / "scene_cloud_map.tif").values).tolist() == [1.0]


def test_fault_18_l2a_weights_are_refused_for_l1c_patches(pair: TripletFiles) -> None:
    settings = NetworkSettings(width=2, level="L2A")
    with pytest.raises(InputError, match="network was trained on L2A, expected L1C for these images; choose others"):
        predict_patch(NetworkRemover(settings.build(), settings), pair, CloudMapSettings(mode="ones"))
