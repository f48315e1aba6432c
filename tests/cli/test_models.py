from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from unclouded.io.geotiff import write_geotiff
from unclouded.models.card import Card
from unclouded.models.network import NetworkSettings
from unclouded.models.published.dsen2cr import Dsen2crSettings
from unclouded.models.weights import save_weights
from unclouded.patches.roi import Roi
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.simulation.layout import to_stored
from unclouded.simulation.region import simulate_region


def test_a_checkpoint_is_imported_shown_and_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    torch.manual_seed(0)
    checkpoint, weights = tmp_path / "checkpoint.safetensors", tmp_path / "mine.safetensors"
    save_file(Dsen2crSettings(width=4, blocks=1).build().state_dict(), checkpoint)
    assert unclouded("models", "import", checkpoint, "--out", weights) == 0
    assert unclouded("models", "show", weights) == 0
    shown = capsys.readouterr().out
    assert "dsen2cr, 1,321 parameters" in shown  # (15 * 9 + 1) * 4 + 2 * (4 * 9 + 1) * 4 + (4 * 9 + 1) * 13
    assert "code GPL-3.0; no terms stated for weights" in shown
    assert unclouded("models", tmp_path) == 0
    assert "mine.safetensors" in (listed := capsys.readouterr().out) and "checkpoint.safetensors, SHA" in listed


def test_models_without_arguments_lists_removers_without_weights(
    capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    assert unclouded("models") == 0
    assert "clear-mean" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("import", "absent.hdf5", "--out", "mine.safetensors"), "absent.hdf5 is not a file"),
        (("import", "text.txt", "--out", "mine.pt"), "let it end with .safetensors"),
        (("import", "text.txt", "--out", "mine.safetensors"), "text.txt is no checkpoint"),
        (("show", "text.txt"), "text.txt is not a safetensors file"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    unclouded: Callable[..., int],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("no weights at all")
    assert unclouded("models", *arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and message in lines[0]
    assert not (tmp_path / "mine.safetensors").exists()


def test_licence_of_trained_weights_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    settings, weights = NetworkSettings(width=1), tmp_path / "mine.safetensors"
    save_weights(weights, settings.build(), settings, {}, card=Card(licence="CC-BY-4.0"))
    assert unclouded("models", "show", weights) == 0
    assert "licence   CC-BY-4.0" in capsys.readouterr().out


def test_export_prints_the_difference_and_the_file_is_a_remover(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    torch.manual_seed(0)
    settings, weights, out = NetworkSettings(width=1), tmp_path / "mine.safetensors", tmp_path / "out"
    save_weights(weights, settings.build(), settings, {})
    assert unclouded("export", weights, "--to", "torch", "--out", out) == 0
    printed = capsys.readouterr().out
    assert "mine.pt2: differs from mine.safetensors by at most 0.0" in printed
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "mine.json", "mine.pt2"]


def test_export_refuses_half_a_scene(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    settings, weights = NetworkSettings(width=1), tmp_path / "mine.safetensors"
    save_weights(weights, settings.build(), settings, {})
    assert unclouded("export", weights, "--to", "onnx", "--out", tmp_path / "out", "--cloudy", weights) == 2
    assert "give both --cloudy and --sar" in capsys.readouterr().err


def test_the_statistics_of_a_scene_are_folded_into_an_exported_network_which_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    weights, out = tmp_path / "mine.safetensors", tmp_path / "exported"
    settings = NetworkSettings(width=2)
    save_weights(weights, settings.build(), settings, {}, None, Card())
    region = simulate_region(Roi("ROIs0000", "summer", 1), np.random.default_rng(0), 256, 0.3)
    cloudy, sar = tmp_path / "cloudy.tif", tmp_path / "sar.tif"
    write_geotiff(cloudy, to_stored(region.cloudy.values, SENTINEL2), SENTINEL2.bands, region.cloudy.geobox)
    write_geotiff(sar, region.sar.values, SENTINEL1.bands, region.sar.geobox)
    assert unclouded("export", weights, "--to", "onnx", "--out", out, "--cloudy", cloudy, "--sar", sar) == 0
    printed = capsys.readouterr()
    assert float(printed.out.split("at most ")[1].split(" DN")[0]) < 1
    assert "normalises by the statistics" not in printed.err
    (network,) = out.glob("*.onnx")
    assert unclouded("models", "show", network) == 0
    shown = capsys.readouterr().out
    assert "restores  B04 B03 B02 of L1C products" in shown and "margin 88 px, stride 4 px" in shown
