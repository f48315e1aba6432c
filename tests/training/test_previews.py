from pathlib import Path

import pytest
import torch

from unclouded.clouds.cache import ProbabilityCache
from unclouded.models.network import NetworkRemover
from unclouded.training import previews
from unclouded.training.data import choose_triplets
from unclouded.training.previews import is_previewed, write_preview
from unclouded.training.settings import TrainSettings


def test_pictures_come_early_and_then_at_equal_distances() -> None:
    assert [step for step in range(1, 1001) if is_previewed(step, 400)] == [1, 10, 100, 400, 800]


def test_nobody_wants_pictures_with_0() -> None:
    assert not any(is_previewed(step, 0) for step in range(1, 101))


def test_four_patches_from_the_whole_run_are_shown_beside_their_clear_images(
    tiny_settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []
    monkeypatch.setattr(previews, "write_comparison", lambda path, rows, title: shown.append((path, rows, title)))
    remover = NetworkRemover(tiny_settings.network.build(), tiny_settings.network)
    triplets = choose_triplets(tiny_settings, ProbabilityCache())
    write_preview(tmp_path / "one.png", remover, triplets, 7, torch.device("cpu"))
    ((path, rows, title),) = shown
    assert (path.name, title) == ("one.png", "step 7")
    assert [triplet.name for triplet, _ in rows] == ["tiny_0", "tiny_1", "tiny_2", "tiny_3"]  # floor(i * 5 / 4)
    for triplet, images in rows:
        assert images["prediction"].equal(remover(triplet.observation))
