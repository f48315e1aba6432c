import math
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unclouded.errors import InputError
from unclouded.models.adaptation.scene_adapted import AdaptedToScene, SceneAdapted
from unclouded.models.baselines import baseline
from unclouded.models.network import NetworkRemover, NetworkSettings
from unclouded.models.remover import ConfidentRemover, SceneRemover
from unclouded.models.weights import save_weights
from unclouded.prediction.auto_remover import (
    AutoRemover,
    ExpectedError,
    RemoverError,
    RemoverSpec,
    auto_remover,
    expected_error,
    select_remover,
)
from unclouded.sensors import RGB
from unclouded.tensors.observation import Observation


class Exact:
    """A remover that returns 0.2 everywhere."""

    name, bands = "exact", RGB

    def __call__(self, observation: Observation) -> Tensor:
        return torch.full_like(observation.cloudy, 0.2)


def plain(cloudy_rows: int = 40) -> Observation:
    rng = torch.Generator().manual_seed(0)
    sar = -12 + torch.randn(1, 2, 128, 128, generator=rng)
    cloud_map = torch.zeros(1, 1, 128, 128)
    cloud_map[:, :, :cloudy_rows] = 1.0
    ground = 0.2 + 0.002 * torch.randn(1, 3, 128, 128, generator=rng)
    return Observation(sar, torch.where(cloud_map > 0, torch.tensor(0.8), ground), cloud_map, RGB)


def test_the_default_remover_prefers_scene_adapted_and_is_a_scene_remover() -> None:
    remover = auto_remover(("B08", "B04"))
    assert isinstance(remover, SceneRemover)
    assert (remover.name, remover.bands, remover.align_px) == ("auto", ("B08", "B04"), 1)
    assert remover.margin_px == SceneAdapted().margin_px
    assert [one.name for one in remover.others] == ["clear-mean", "sar-regression"]


def test_the_candidate_with_the_smallest_error_is_selected_with_a_reason() -> None:
    chosen = AutoRemover(SceneAdapted(), (Exact(),)).adapt([plain()])
    assert chosen.name == chosen.remover.name == "exact"
    assert chosen.expected is not None
    assert chosen.expected.rows["exact"].mae < chosen.expected.rows["scene-adapted"].mae


def test_without_clear_ground_the_first_candidate_is_used() -> None:
    chosen = AutoRemover(SceneAdapted(), (Exact(),)).adapt([plain(cloudy_rows=128)])
    assert (chosen.name, chosen.expected) == ("scene-adapted", None)


def test_a_slightly_smaller_error_does_not_change_the_selection() -> None:
    class Near(Exact):
        name = "near"

        def __call__(self, observation: Observation) -> Tensor:
            return SceneAdapted()(observation) + torch.where(observation.is_cloudy, 1e-5, 0.0)

    chosen = AutoRemover(SceneAdapted(), (Near(),)).adapt([plain()])
    assert chosen.expected is not None
    assert chosen.name == "scene-adapted"


def test_the_confidence_does_not_depend_on_the_selected_remover() -> None:
    seen = plain()
    seen.cloudy[0, 0, 0, 0] = math.nan
    chosen = AutoRemover(SceneAdapted(), (Exact(),)).adapt([seen])
    assert isinstance(chosen, ConfidentRemover) and chosen.expected is not None
    _, sure = chosen.with_confidence(seen)
    adapted = SceneAdapted().adapt([seen])
    assert isinstance(adapted, AdaptedToScene)
    _, expected = replace(adapted, error_level=chosen.expected.level).with_confidence(seen)
    assert torch.equal(sure.nan_to_num(-1.0)[..., 1:, :], expected.nan_to_num(-1.0)[..., 1:, :])


def test_a_candidate_that_predicts_only_some_pixels_is_never_selected() -> None:
    class Half(Exact):
        name = "half"

        def __call__(self, observation: Observation) -> Tensor:
            prediction = super().__call__(observation).clone()
            prediction[..., ::2] = math.nan
            return prediction

    chosen = AutoRemover(SceneAdapted(), (Half(),)).adapt([plain()])
    assert chosen.expected is not None and chosen.expected.rows["half"].pixels > 0
    assert abs(chosen.expected.answered_share("half") - 0.5) < 0.02
    assert chosen.name == "scene-adapted"
    assert "half was left out: it predicted" in chosen.reason


def test_a_candidate_without_predictions_has_no_error_and_is_left_out() -> None:
    class Silent(Exact):
        name = "silent"

        def __call__(self, observation: Observation) -> Tensor:
            return torch.full_like(observation.cloudy, math.nan)

    chosen = AutoRemover(SceneAdapted(), (Silent(),)).adapt([plain()])
    assert chosen.expected is not None and chosen.name == "scene-adapted"
    assert chosen.expected.as_json()["rows"]["silent"] == {"mae": None, "rmse": None, "sam": None, "pixels": 0}


@pytest.mark.parametrize(
    ("mae", "pixels", "name", "reason"),
    [
        ((0.02, 0.03), (500, 500), "a", "a was used: it has the smallest error on 500 covered px of clear ground"),
        (
            (0.02, 0.016),
            (500, 500),
            "b",
            "b was used: its error is 20.0 % smaller than that of a on 500 covered px of clear ground",
        ),
        (
            (0.02, 0.0194),
            (500, 500),
            "a",
            "a was used: the error of b is 3.0 % smaller on 500 covered px of clear ground, but",
        ),
        (
            (0.01, 0.03),
            (474, 475),
            "b",
            "b was used, with a mean error of 0.0300 on 500 covered px of clear ground; a was",
        ),
        (
            (0.01, 0.03),
            (474, 0),
            "a",
            "a was used: no remover could be evaluated on 500 covered px of clear ground; a",
        ),
    ],
)
def test_the_selection_has_a_reason(mae: tuple[float, float], pixels: tuple[int, int], name: str, reason: str) -> None:
    rows = {one: RemoverError(error, error, 1.0, count) for one, error, count in zip("ab", mae, pixels, strict=True)}
    better = ("b",) if mae[1] < 0.9 * mae[0] else ()
    chosen, why = select_remover(ExpectedError(rows, 500, ("B04",), simulated=False, better=better), "a")
    assert chosen == name and why.startswith(reason)
    assert select_remover(None, "a")[1].startswith("a was used: less than 400 px")


def country(seed: int = 0, side: int = 128) -> Observation:
    """Water and land in broad stripes under one bank of cloud."""
    rng = torch.Generator().manual_seed(seed)
    land = (torch.arange(side) // 24 % 2 == 0).expand(1, 1, side, side)
    sar = torch.where(land, -10.0, -24.0).expand(1, 2, side, side) + 0.5 * torch.randn(1, 2, side, side, generator=rng)
    ground = torch.where(land, torch.tensor([0.3, 0.2, 0.1]).view(1, 3, 1, 1), 0.03)
    cloud_map = torch.zeros(1, 1, side, side)
    cloud_map[:, :, : side // 4] = 1.0
    return Observation(sar, torch.where(cloud_map > 0, torch.tensor(0.8), ground), cloud_map, RGB)


class Constant:
    """A remover that returns one reflectance everywhere."""

    bands = RGB

    def __init__(self, value: float) -> None:
        self.value, self.name = value, f"constant {value}"

    def __call__(self, observation: Observation) -> Tensor:
        return torch.full_like(observation.cloudy, self.value)


def flat(reflectance: float = 0.2) -> Observation:
    seen = country()
    return replace(seen, cloudy=torch.where(seen.is_cloudy, seen.cloudy, reflectance))


class Noisy(Constant):
    """A constant with noise, whose standard deviation is given."""

    def __init__(self, value: float, sigma: float) -> None:
        super().__init__(value)
        self.sigma, self.name = sigma, f"noise {sigma} around {value}"

    def __call__(self, observation: Observation) -> Tensor:
        rng = torch.Generator().manual_seed(0)
        return super().__call__(observation) + self.sigma * torch.randn(observation.cloudy.shape, generator=rng)


@pytest.mark.parametrize(
    ("first", "second", "better"),
    [
        (Noisy(0.2, 0.03), Noisy(0.2, 0.02), True),
        (Noisy(0.2, 0.02), Noisy(0.2, 0.03), False),
        (Noisy(0.2, 0.02), Noisy(0.2001, 0.02), False),  # as good
        (Noisy(0.3, 0.02), Noisy(0.2, 0.02), False),  # another level only
    ],
)
def test_a_better_remover_is_better_beyond_its_level(first: Noisy, second: Noisy, better: bool) -> None:
    found = expected_error([first, second], [flat(0.2)], np.random.default_rng(0))
    assert found is not None
    assert found.better == ((second.name,) if better else ())


def test_the_error_of_a_constant_on_flat_ground_is_their_difference() -> None:
    found = expected_error([Constant(0.3), Constant(0.2)], [flat()], np.random.default_rng(0))
    assert found is not None
    assert math.isclose(found.rows["constant 0.3"].mae, 0.1, rel_tol=1e-5)
    assert math.isclose(found.rows["constant 0.3"].psnr, 20.0, rel_tol=1e-5)
    row = found.rows["constant 0.2"]
    assert (row.mae, row.rmse, row.pixels) == (0.0, 0.0, found.pixels) and row.sam < 1e-5
    assert math.isinf(found.rows["constant 0.2"].psnr)
    assert (found.best, found.bands, found.simulated) == ("constant 0.2", RGB, False)


def test_about_a_third_of_the_clear_ground_is_covered_and_evaluated() -> None:
    seen = country()
    found = expected_error([Constant(0.1)], [seen], np.random.default_rng(0))
    assert found is not None
    clear = 2 * int((~seen.is_cloudy).sum())  # twice, with other clouds
    assert 0.2 * clear < found.pixels < 0.45 * clear


def test_the_remover_is_not_fitted_to_the_ground_it_is_evaluated_on() -> None:
    class Cheat:
        name, bands = "cheat", RGB

        def __call__(self, observation: Observation) -> Tensor:
            return observation.cloudy

    found = expected_error([Cheat()], [flat(0.2)], np.random.default_rng(0))
    assert found is not None
    assert math.isclose(found.rows["cheat"].mae, 0.6, rel_tol=1e-5)  # opaque cloud of 0.8


def test_a_remover_is_adapted_to_all_windows_jointly() -> None:
    class Counting:
        name, bands, margin_px, align_px, times = "counting", RGB, 0, 1, 0

        def adapt(self, sample: Sequence[Observation]) -> Constant:
            self.times += 1
            return Constant(0.2)

        def __call__(self, observation: Observation) -> Tensor:
            return observation.cloudy

    counting = Counting()
    assert expected_error([counting], [country(1), country(2), country(3)], np.random.default_rng(0)) is not None
    assert counting.times == 3  # two coverings, and none


def test_radar_is_expected_to_help_where_it_separates_land_and_water() -> None:
    sample = [country(1), replace(country(2), origin_px=(0, 128))]
    found = expected_error([baseline("clear-mean"), SceneAdapted()], sample, np.random.default_rng(0))
    assert found is not None
    assert found.best == "scene-adapted"
    assert found.rows["scene-adapted"].mae < 0.3 * found.rows["clear-mean"].mae


def test_a_scene_without_clouds_is_evaluated_under_simulated_ones() -> None:
    seen = replace(flat(), cloud_map=torch.zeros(1, 1, 128, 128), cloudy=torch.full((1, 3, 128, 128), 0.2))
    found = expected_error([Constant(0.25)], [seen], np.random.default_rng(0))
    assert found is not None
    assert found.simulated
    assert math.isclose(found.rows["constant 0.25"].mae, 0.05, rel_tol=1e-4)


def test_fault_14_a_scene_without_clear_ground_has_no_expected_error() -> None:
    seen = country()
    seen.cloud_map[:] = 1.0
    assert expected_error([Constant(0.2)], [seen], np.random.default_rng(0)) is None


def test_fault_13_pixels_without_data_are_not_evaluated() -> None:
    seen = flat()
    seen.cloudy[..., 64:, :40] = math.nan
    seen.sar[..., 64:, 100:] = math.nan
    found = expected_error([Constant(0.3)], [seen], np.random.default_rng(0))
    assert found is not None
    assert math.isclose(found.rows["constant 0.3"].mae, 0.1, rel_tol=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_gives_the_same_errors(seed: int) -> None:
    one, two = (expected_error([Constant(0.1)], [country()], np.random.default_rng(seed)) for _ in range(2))
    assert one == two


def test_without_a_name_the_best_remover_of_the_scene_is_used() -> None:
    assert isinstance(RemoverSpec().find(), AutoRemover)
    assert RemoverSpec(bands=("B04", "B08")).find().bands == ("B04", "B08")
    assert RemoverSpec("clear-mean").find().name == "clear-mean"


def test_a_spec_can_be_pickled_and_loads_the_network(tmp_path: Path) -> None:
    settings = NetworkSettings(width=2)
    save_weights(tmp_path / "w.safetensors", settings.build(), settings, {})
    spec = RemoverSpec(str(tmp_path / "w.safetensors"), precision="bfloat16", engine="openvino")
    remover = pickle.loads(pickle.dumps(spec)).find()
    assert isinstance(remover, NetworkRemover) and (remover.precision, remover.engine) == ("bfloat16", "openvino")


def test_a_remover_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.safetensors"):
        RemoverSpec(str(tmp_path / "absent.safetensors")).find()
