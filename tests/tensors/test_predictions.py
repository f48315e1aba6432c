import math
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from unclouded.errors import InputError
from unclouded.sensors import SENTINEL2
from unclouded.tensors.observation import Observation
from unclouded.tensors.predictions import require_confidence, require_prediction, require_reflectance

SIDE = 300


def seen(side: int = 16) -> Observation:
    """An observation of all bands with a reflectance of 0.2, cloudy in its upper half."""
    cloud_map = torch.zeros(1, 1, side, side)
    cloud_map[..., : side // 2, :] = 1.0
    return Observation(
        torch.full((1, 2, side, side), -9.0), torch.full((1, 13, side, side), 0.2), cloud_map, SENTINEL2.bands
    )


def answered(answer: object, observation: Observation) -> Tensor:
    return require_prediction(answer, observation, "mine", "p1")


def test_a_valid_prediction_is_returned_unchanged() -> None:
    observation = seen()
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        answer = torch.rand(1, 13, 16, 16).to(dtype)
        assert answered(answer, observation) is answer


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a[:, :1], "mine returned for p1 the shape 1 x 1 x 16 x 16, expected 1 x 13 x 16 x 16"),
        (lambda a: a[:, :3], "the shape 1 x 3 x 16 x 16"),
        (lambda a: torch.cat([a, a]), "the shape 2 x 13 x 16 x 16"),
        (lambda a: a[..., ::2, ::2], "the shape 1 x 13 x 8 x 8"),
        (lambda a: a[0], "the shape 13 x 16 x 16"),
        (lambda a: a.movedim(1, -1), "the shape 1 x 16 x 16 x 13"),
        (lambda a: a.mean(), "the shape of a single number"),
        (lambda a: (a * 10_000).int(), "for p1 torch.int32, expected floating-point"),
        (lambda a: a > 0, "for p1 torch.bool, expected floating-point"),
        (lambda a: a.numpy(), "for p1 a ndarray, expected a torch.Tensor"),
        (lambda a: None, "for p1 a NoneType, expected a torch.Tensor"),
        (lambda a: a * 10_000, "values from 2000 to 2000, 100% of them outside"),
        (lambda a: a * 255, "values from 51 to 51"),
        (lambda a: a * 100, "values from 20 to 20"),
        (lambda a: a * 2 - 1, "values from -0.6 to -0.6"),
    ],
)
def test_an_invalid_prediction_is_refused(change: Callable[[Tensor], object], message: str) -> None:
    observation = seen()
    with pytest.raises(InputError, match=re.escape(message)):
        answered(change(observation.cloudy.clone().contiguous()), observation)


def test_a_few_stored_numbers_are_refused() -> None:
    observation = seen(100)
    answer = observation.cloudy.clone()
    answer[..., 0, 0] = 300.0
    with pytest.raises(InputError, match="expected TOA reflectance"):
        answered(answer, observation)


def test_a_bright_cloud_is_accepted_where_the_prediction_repeats_it() -> None:
    observation = seen()
    observation.cloudy[..., :8, :] = 3.0
    assert answered(observation.cloudy.clone(), observation) is not None
    with pytest.raises(InputError, match=r"values from 0 to 3\.1"):
        answered(observation.cloudy + 0.1 * (observation.cloudy > 1), observation)


@pytest.mark.parametrize("hole", [math.nan, math.inf])
def test_fault_13_a_prediction_may_have_no_data_only_near_a_gap_of_the_input(hole: float) -> None:
    observation = seen(SIDE)
    observation.sar[0, 0, 0, 0] = math.nan
    answer = observation.cloudy.clone()
    answer[0, 5, 128, 128] = hole
    if math.isinf(hole):
        with pytest.raises(InputError, match="NaN or infinity at 1 of 90,000"):
            answered(answer, observation)
    else:
        answered(answer, observation)
    answer[0, 5, 129, 0] = hole
    with pytest.raises(InputError, match="NaN or infinity at"):
        answered(answer, observation)


def test_pixels_without_prediction_are_accepted_for_a_scene() -> None:
    observation = seen()
    answer = observation.cloudy.clone()
    answer[..., 0, 0] = math.nan
    assert require_prediction(answer, observation, "mine", "p1", complete=False) is answer


@pytest.mark.parametrize("confidence", [torch.full((1, 1, 16, 16), 1.5), torch.full((1, 1, 8, 8), 0.5), None, 0.5])
def test_a_confidence_is_a_number_from_0_to_1_for_every_pixel(confidence: object) -> None:
    with pytest.raises(InputError, match="mine returned for p1 a confidence with"):
        require_confidence(confidence, seen(), "mine", "p1")
    sound = torch.full((1, 1, 16, 16), math.nan)
    assert require_confidence(sound, seen(), "mine", "p1") is sound


@pytest.mark.parametrize("values", [[], [math.nan, math.inf], [0.0, 1.7], [-0.2, 2.0], [2.5] + [0.1] * 99])
def test_reflectance_is_accepted(values: list[float]) -> None:
    require_reflectance(torch.from_numpy(np.array(values)), "x has")
