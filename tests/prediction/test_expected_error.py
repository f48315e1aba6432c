import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from unclouded.models.baselines import baseline
from unclouded.models.scene_adapted import SceneAdapted
from unclouded.prediction.expected_error import ErrorOf, expected_error
from unclouded.sensors import RGB
from unclouded.tensors.triplet import Observation


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
    """Says one reflectance everywhere."""

    bands = RGB

    def __init__(self, value: float) -> None:
        self.value, self.name = value, f"constant {value}"

    def __call__(self, observation: Observation) -> Tensor:
        return torch.full_like(observation.cloudy, self.value)


def flat(reflectance: float = 0.2) -> Observation:
    seen = country()
    return replace(seen, cloudy=torch.where(seen.is_cloudy, seen.cloudy, reflectance))


def test_the_error_of_a_constant_on_flat_ground_is_their_distance() -> None:
    found = expected_error([Constant(0.3), Constant(0.2)], [flat()], np.random.default_rng(0))
    assert found is not None
    assert math.isclose(found.rows["constant 0.3"].mae, 0.1, rel_tol=1e-5)
    assert math.isclose(found.rows["constant 0.3"].psnr, 20.0, rel_tol=1e-5)
    assert found.rows["constant 0.2"] == ErrorOf(0.0, 0.0, 0.0, found.pixels)
    assert math.isinf(found.rows["constant 0.2"].psnr)
    assert (found.best, found.bands, found.invented) == ("constant 0.2", RGB, False)


def test_only_clear_ground_is_judged_and_about_a_third_of_it() -> None:
    seen = country()
    found = expected_error([Constant(0.1)], [seen], np.random.default_rng(0))
    assert found is not None
    clear = int((~seen.is_cloudy).sum())
    assert 0.2 * clear < found.pixels < 0.45 * clear


def test_the_remover_never_sees_the_ground_it_is_judged_on() -> None:
    class Cheat:
        name, bands = "cheat", RGB

        def __call__(self, observation: Observation) -> Tensor:
            return observation.cloudy

    found = expected_error([Cheat()], [flat(0.2)], np.random.default_rng(0))
    assert found is not None
    assert math.isclose(found.rows["cheat"].mae, 0.6, rel_tol=1e-5)  # opaque cloud of 0.8


def test_a_remover_is_adapted_once_however_many_windows_are_judged() -> None:
    class Counting:
        name, bands, margin_px, align_px, times = "counting", RGB, 0, 1, 0

        def adapted_to(self, sample: Sequence[Observation]) -> Constant:
            self.times += 1
            return Constant(0.2)

        def __call__(self, observation: Observation) -> Tensor:
            return observation.cloudy

    counting = Counting()
    assert expected_error([counting], [country(1), country(2), country(3)], np.random.default_rng(0)) is not None
    assert counting.times == 1


def test_radar_is_expected_to_help_where_it_tells_land_from_water() -> None:
    sample = [country(1), replace(country(2), origin_px=(0, 128))]
    found = expected_error([baseline("clear-mean"), SceneAdapted()], sample, np.random.default_rng(0))
    assert found is not None
    assert found.best == "scene-adapted"
    assert found.rows["scene-adapted"].mae < 0.3 * found.rows["clear-mean"].mae


def test_a_scene_without_a_cloud_is_judged_under_invented_ones() -> None:
    seen = replace(flat(), cloud_map=torch.zeros(1, 1, 128, 128), cloudy=torch.full((1, 3, 128, 128), 0.2))
    found = expected_error([Constant(0.25)], [seen], np.random.default_rng(0))
    assert found is not None
    assert found.invented
    assert math.isclose(found.rows["constant 0.25"].mae, 0.05, rel_tol=1e-4)


def test_fault_14_a_scene_without_clear_ground_tells_nothing() -> None:
    seen = country()
    seen.cloud_map[:] = 1.0
    assert expected_error([Constant(0.2)], [seen], np.random.default_rng(0)) is None


def test_fault_13_pixels_without_data_are_judged_by_nobody() -> None:
    seen = flat()
    seen.cloudy[..., 64:, :40] = math.nan
    seen.sar[..., 64:, 100:] = math.nan
    found = expected_error([Constant(0.3)], [seen], np.random.default_rng(0))
    assert found is not None
    assert math.isclose(found.rows["constant 0.3"].mae, 0.1, rel_tol=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_numbers_come_from_the_same_seed(seed: int) -> None:
    one, two = (expected_error([Constant(0.1)], [country()], np.random.default_rng(seed)) for _ in range(2))
    assert one == two
