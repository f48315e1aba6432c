from pathlib import Path

import numpy as np
import pytest
import torch

from unclouded.errors import InputError
from unclouded.evaluation.results_io import write_scores
from unclouded.evaluation.scores import AREAS, METRICS, PatchScores, Provenance, Scores
from unclouded.experiments.removers import NAMED_REMOVERS, find_models, models_text, rules_text
from unclouded.files import sha256
from unclouded.models.baselines import BASELINES
from unclouded.models.cyclegan import initialise
from unclouded.models.loading import load_remover
from unclouded.models.network import NetworkSettings
from unclouded.models.references.baselines import REFERENCE_BASELINES
from unclouded.models.weights import save_weights
from unclouded.sensors import RGB

ROI = "ROIs1158_spring_106"
TRAINING = {
    "steps": "450",
    "patches": "150",
    "settings": '{"objective": "cycle", "paired_percent": 100.0, "schedule": {"earlier": [{"until_step": 40}]}}',
    "regions": f"ROIs1158_spring_1 {ROI}",
    "data_sha256": "0123456789abcdef",
}


def weights(path: Path, training: dict[str, str], seed: int = 0) -> Path:
    settings = NetworkSettings(width=1)
    generator = settings.build()
    initialise(generator, torch.Generator().manual_seed(seed))
    save_weights(path, generator, settings, training)
    return path


def write_result(path: Path, weights_sha256: str, training_overlap: tuple[str, ...] | None = None) -> None:
    values = dict.fromkeys(AREAS, dict.fromkeys(METRICS, 0.25))
    patch = PatchScores(f"{ROI}_p1", 0.5, dict.fromkeys(AREAS, 9), values, 0.1, "ab", ROI)
    source = Provenance("mine", "test", weights_sha256, training_overlap=training_overlap)
    write_scores(path, Scores(RGB, "kept", (patch,), provenance=source), np.random.default_rng(0))


def test_every_remover_without_weights_is_listed_and_no_other() -> None:
    assert set(NAMED_REMOVERS) == {"scene-adapted", "reference-adapted", *BASELINES, *REFERENCE_BASELINES}
    for name in NAMED_REMOVERS:
        assert load_remover(name, None).name in rules_text()
    assert "unclouded ships no pretrained weights" in rules_text()


def test_expectation_6_weights_list_their_purpose_and_training(tmp_path: Path) -> None:
    path = weights(tmp_path / "spring.safetensors", TRAINING)
    text = models_text(find_models([path]))
    assert "restores  B04 B03 B02 of L1C products" in text
    assert "scaling   VV -25 to 0 dB, VH -25 to 0 dB, reflectance 0 to 1" in text
    assert "trained   on 150 patches of 2 regions, 450 steps, 100 % pairs, objective cycle, " in text
    assert "schedule changed after step 40, data 0123456789ab" in text
    assert f"sha256    {sha256(path)}" in text
    assert f"scores    none found; run 'unclouded evaluate {path} ROOT --split test --out FILE'" in text


def test_expectation_6_scores_are_shown_with_the_very_weights_they_are_of(tmp_path: Path) -> None:
    path = weights(tmp_path / "run" / "weights.safetensors", TRAINING)
    write_result(tmp_path / "run" / "own.json", sha256(path), (ROI,))
    write_result(tmp_path / "others.json", "cd" * 32)
    (tmp_path / "broken.json").write_text((tmp_path / "others.json").read_text()[:-20])
    (model,) = find_models([tmp_path])
    assert list(model.scores) == [tmp_path / "run" / "own.json"]
    text = models_text([model])
    assert "test, 1 patches: MAE 0.2500, under clouds 0.2500, PSNR 0.25, SSIM 0.250, SAM 0.25" in text
    assert "TRAINED ON 1 of these regions" in text


def test_a_folder_is_searched_for_weights_and_other_files_are_passed_over(tmp_path: Path) -> None:
    paths = [weights(tmp_path / name / "weights.safetensors", {}, seed) for seed, name in enumerate(("a", "b"))]
    (tmp_path / "a" / "state.safetensors").write_bytes(b"no weights")
    assert [one.path for one in find_models([tmp_path, paths[0]])] == paths


@pytest.mark.parametrize("settings", ["", "[]", "{", '{"paired_percent": "all"}'])
def test_weights_with_little_metadata_are_listed(settings: str, tmp_path: Path) -> None:
    path = weights(tmp_path / "x.safetensors", {"settings": settings} if settings else {})
    assert "  trained   " in models_text(find_models([path]))


@pytest.mark.parametrize("name", ["empty", "gone", "gone.safetensors"])
def test_fault_19_a_folder_without_weights_is_rejected(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no weights|is not a"):
        find_models([tmp_path / name])
