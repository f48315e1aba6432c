"""Tests of the evaluation of a remover on a data set by one call."""

from pathlib import Path

import pytest
import torch

from unclouded.models.baselines import baseline
from unclouded.models.network import NetworkSettings
from unclouded.models.weights import save_weights
from unclouded.prediction.scoring import evaluate
from unclouded.sensors import RGB
from unclouded.simulation.layout import simulate_data_set


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    simulate_data_set(folder, seed=0, regions=2, size_px=256)
    return folder


def test_a_name_and_the_remover_itself_have_the_same_scores(root: Path) -> None:
    by_name, itself = evaluate("clear-mean", str(root), "all"), evaluate(baseline("clear-mean", RGB), root, "all")
    assert by_name.mean("cloudy") == itself.mean("cloudy")
    assert by_name.mean("all")["n"] == 2
    assert by_name.provenance is not None and by_name.provenance.remover == "clear-mean"


def test_observed_pixels_are_scored_where_m_is_0_unless_the_network_is(root: Path) -> None:
    cloudy = evaluate("cloudy", root, "all")
    assert evaluate("cloudy", root, "all", clear_pixels="network").mean("all") == cloudy.mean("all")
    kept, own = (evaluate("sar-vv", root, "all", clear_pixels=which).mean("clear") for which in ("kept", "network"))
    assert kept["mae"] < own["mae"]


def test_scores_name_the_weights_file_by_its_hash(root: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    settings = NetworkSettings(width=1)
    save_weights(tmp_path / "w.safetensors", settings.build(), settings, {})
    steps: list[tuple[str, int, int]] = []
    scores = evaluate(str(tmp_path / "w.safetensors"), root, "all", on_progress=lambda *step: steps.append(step))
    assert scores.provenance is not None and len(scores.provenance.weights_sha256) == 64
    assert steps == [("evaluating", 1, 2), ("evaluating", 2, 2)]
