import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from unclouded.clouds.cache import ProbabilityCache
from unclouded.errors import InputError
from unclouded.io.geotiff import read_stored
from unclouded.models.network import NetworkRemover
from unclouded.models.weights import load_network
from unclouded.tensors.dataset import TripletDataset, TripletSource
from unclouded.tensors.observation import Observation, Triplet
from unclouded.training.checkpoint import RunFolder
from unclouded.training.data import select_triplets
from unclouded.training.loop import train
from unclouded.training.settings import Schedule, TrainSettings, Validation
from unclouded.training.validation import (
    OverfitResult,
    is_best,
    overfit_result,
    overfit_settings,
    require_disjoint,
    validate,
    validation_triplets,
)


@pytest.fixture
def judging(tiny_settings: TrainSettings, tmp_path: Path) -> TrainSettings:
    """Learns from the first three patches, is judged on the last two."""
    (tmp_path / "learn.txt").write_text("tiny_0\ntiny_1\ntiny_2\n")
    (tmp_path / "judge.txt").write_text("tiny_3\ntiny_4\n")
    validation = Validation(every=2, split="all", patch_list=tmp_path / "judge.txt")
    return tiny_settings.model_copy(update={"patch_list": tmp_path / "learn.txt", "validation": validation})


def limited(settings: TrainSettings, steps: int) -> TrainSettings:
    schedule = Schedule(epochs_constant=9, epochs_decay=0, max_steps=steps)
    return settings.model_copy(update={"schedule": schedule})


def chosen(settings: TrainSettings) -> TripletSource:
    return validation_triplets(settings, select_triplets(settings, ProbabilityCache()), ProbabilityCache()).triplets


def test_a_network_without_residual_has_the_error_of_the_cloudy_image(judging: TrainSettings, tiny_root: Path) -> None:
    generator = judging.network.build()
    for parameter in generator.trunk[-1].parameters():
        torch.nn.init.zeros_(parameter)
    scores = validate(NetworkRemover(generator, judging.network), chosen(judging), torch.device("cpu"))

    def image(layer: str, number: int) -> NDArray[np.float64]:
        stored = read_stored(tiny_root / layer / f"tiny_{number}.tif").values[[3, 2, 1]]  # B04, B03, B02
        return (stored / 10_000).clip(0, 1)

    errors = [np.abs(image("s2_cloudy", number) - image("s2_cloudfree", number)).mean() for number in (3, 4)]
    assert scores["cloudy_mae"] == pytest.approx(np.mean(errors), abs=1e-6)  # m = 1: all 40 x 40 px, not the crop of 32
    assert scores["cloudy_mae"] == scores["all_mae"]
    assert set(scores) == {f"{area}_{name}" for area in ("all", "cloudy") for name in ("mae", "psnr", "ssim", "sam")}


def test_clear_pixels_are_validated_as_observed(judging: TrainSettings) -> None:
    generator = judging.network.build()
    torch.nn.init.constant_(generator.trunk[-1].bias, 3.0)  # changes every pixel

    class HalfClear(TripletDataset):
        def __getitem__(self, index: int) -> Triplet:
            m = (torch.arange(16) < 8).float().expand(1, 1, 16, 16)
            seen = Observation(torch.full((1, 2, 16, 16), -9.0), torch.full((1, 3, 16, 16), 0.2), m, self.bands)
            return Triplet("one", seen, seen.cloudy)

        def __len__(self) -> int:
            return 1

    scores = validate(
        NetworkRemover(generator, judging.network),
        HalfClear((), judging.network.bands, judging.clouds),
        torch.device("cpu"),
    )
    assert scores["cloudy_mae"] > 0.1
    assert scores["all_mae"] == pytest.approx(scores["cloudy_mae"] / 2)


@pytest.mark.parametrize(
    "judged",
    ["ROIs1158_spring_1_p30", "ROIs1158_spring_s2_1_p31", "holiday"],
    ids=["the same patch", "its neighbour", "the same name"],
)
def test_validation_on_a_training_region_is_refused(judged: str) -> None:
    with pytest.raises(InputError, match=f"1 of 2 patches of the validation, first {judged}, or their regions are"):
        require_disjoint(["ROIs1158_spring_1_p30", "holiday"], ["ROIs1158_spring_106_p30", judged])


def test_a_region_whose_number_only_starts_alike_is_another_one() -> None:
    require_disjoint(["ROIs1158_spring_1_p30", "holiday"], ["ROIs1158_spring_106_p30", "holiday_2"])


def test_the_smallest_error_over_cloudy_pixels_is_best(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert is_best({"cloudy_mae": 0.4}, run)
    assert not is_best({"cloudy_mae": math.nan}, run)  # no cloudy pixel
    for step, error in enumerate([0.4, None, 0.2], start=1):
        run.write_validation({"step": step, "cloudy_mae": error})
    assert is_best({"cloudy_mae": 0.19}, run)
    assert not is_best({"cloudy_mae": 0.2}, run)


def test_a_run_keeps_its_best_weights_and_a_broken_one_the_same(judging: TrainSettings, tmp_path: Path) -> None:
    straight, broken = RunFolder(tmp_path / "straight"), RunFolder(tmp_path / "broken")
    train(limited(judging, 6), straight)
    lines = straight.read_validation()
    assert [line["step"] for line in lines] == [2, 4, 6]
    best = min(lines, key=lambda line: line["cloudy_mae"])
    assert load_network(straight.best).training["steps"] == str(best["step"])
    train(limited(judging, 3), broken)
    broken.write_validation({"step": 4, "cloudy_mae": 0.0})  # of a killed process, after the saved state
    train(limited(judging, 6), broken, resume=True)
    assert broken.validation.read_bytes() == straight.validation.read_bytes()
    assert broken.best.read_bytes() == straight.best.read_bytes()
    assert broken.state.read_bytes() == straight.state.read_bytes()


def test_validation_does_not_change_the_training(judging: TrainSettings, tmp_path: Path) -> None:
    watched, alone = RunFolder(tmp_path / "watched"), RunFolder(tmp_path / "alone")
    train(limited(judging, 3), watched)
    train(limited(judging.model_copy(update={"validation": Validation()}), 3), alone)
    assert watched.state.read_bytes() == alone.state.read_bytes()
    assert not alone.validation.exists()


def test_validation_on_training_patches_is_refused(judging: TrainSettings, tmp_path: Path) -> None:
    everything = judging.model_copy(update={"patch_list": None})
    with pytest.raises(
        InputError, match="2 of 2 patches of the validation, first tiny_3, or their regions are used for training"
    ):
        train(everything, RunFolder(tmp_path / "run"))


def test_overfitting_uses_pairs_at_the_full_rate(tiny_settings: TrainSettings) -> None:
    batches = tiny_settings.schedule.model_copy(update={"batch": 2, "accumulate": 2})
    settings = overfit_settings(tiny_settings.model_copy(update={"schedule": batches}))
    assert (settings.subset, settings.paired_percent, settings.schedule.max_steps) == (4, 100, 200)
    assert settings.schedule.lr_factor(199) == 1.0
    assert settings.logging.log_every == 1


def test_steps_may_be_chosen(tiny_settings: TrainSettings) -> None:
    short = tiny_settings.schedule.model_copy(update={"max_steps": 7})
    assert overfit_settings(tiny_settings.model_copy(update={"schedule": short})).schedule.epochs == 7


def test_a_halved_difference_counts_as_training_success() -> None:
    assert OverfitResult(0.4, 0.2, 100).has_learnt
    assert "from 0.4000 to 0.2000 in 100 steps: this setup can overfit a batch" in str(OverfitResult(0.4, 0.2, 100))
    assert not OverfitResult(0.4, 0.21, 100).has_learnt
    assert "expected at most half" in str(OverfitResult(0.4, 0.21, 100))


def test_the_last_ten_steps_count_by_their_median(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for step, pixel in enumerate([0.5, 0.4, *[0.1] * 9, 0.9], start=1):
        run.write_log({"step": step, "pixel": pixel})
    assert overfit_result(run) == OverfitResult(0.5, 0.1, 12)


def test_a_log_without_pairs_has_no_result(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.write_log({"step": 1, "cycle": 0.5})
    with pytest.raises(InputError, match="has no pixel term"):
        overfit_result(run)
