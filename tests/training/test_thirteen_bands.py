"""All 13 bands from a data set to scores: the paper's future work."""

from pathlib import Path

import numpy as np

from unclouded.clouds.map import CloudMapSettings
from unclouded.evaluation.scores import score_patches
from unclouded.io.geotiff import read_stored
from unclouded.models.weights import load_network
from unclouded.patches.layouts import find_triplets
from unclouded.patches.roi import Roi
from unclouded.prediction.evaluation_source import evaluate_remover
from unclouded.prediction.patches import predict_patch, write_prediction
from unclouded.sensors import SENTINEL2
from unclouded.simulation.layout import write_region
from unclouded.simulation.region import simulate_region
from unclouded.tensors.dataset import TripletDataset
from unclouded.training.checkpoint import RunFolder
from unclouded.training.loop import train
from unclouded.training.settings import train_settings

TINY = (
    "split=all",
    "crop_px=32",
    "network.width=1",
    "discriminator_width=1",
    "loss.feature=0",
    "loss.style=0",
    "clouds.mode=binary",
    "schedule.max_steps=2",
    "logging.preview_every=1",
    "device.accelerator=cpu",
)


def test_thirteen_bands_can_be_trained_predicted_and_evaluated(tmp_path: Path) -> None:
    root, run = tmp_path / "root", RunFolder(tmp_path / "run")
    write_region(simulate_region(Roi("ROIs0000", "summer", 1), np.random.default_rng(0), 256, 0.4), root)
    train(train_settings("paper-13-bands", [f"patches={root}", *TINY]), run)
    remover = load_network(run.weights)
    assert remover.bands == SENTINEL2.bands
    assert (run.previews / "step_0000001.png").is_file()
    clouds = CloudMapSettings(mode="binary")
    (files,) = find_triplets(root).triplets
    predicted = predict_patch(remover, files, clouds)
    written = read_stored(write_prediction(predicted, tmp_path / "out", {}))
    assert written.values.shape == (13, 256, 256)
    assert written.descriptions == SENTINEL2.bands
    clear = predicted.observation.cloud_map.numpy()[0, 0] == 0
    assert 0.1 < clear.mean() < 0.9
    assert np.array_equal(written.values[:, clear], predicted.source.values[:, clear])
    scores = score_patches(evaluate_remover(remover, TripletDataset((files,), SENTINEL2.bands, clouds)), "kept")
    assert 0 < scores.mean("cloudy")["mae"] < 1
    assert 0 < scores.mean("cloudy")["sam"] < 90
