import math

import pytest
import torch

from unclouded.models.baselines import baseline
from unclouded.models.remover import RIM, CloudRemover, FunctionRemover, SceneRemover, keep_clear_pixels
from unclouded.tensors.observation import Observation


def test_pixels_with_m_0_keep_what_was_observed() -> None:
    seen = Observation(
        torch.zeros(1, 2, 1, 3), torch.full((1, 1, 1, 3), 0.7), torch.tensor([[[[0.0, 1e-6, 1.0]]]]), ("B04",)
    )
    kept = keep_clear_pixels(torch.full((1, 1, 1, 3), 0.2), seen)
    assert torch.equal(kept, torch.tensor([[[[0.7, 0.2, 0.2]]]]))


def test_the_rim_of_the_map_is_blended_and_m_0_is_kept_bit_for_bit() -> None:
    m = torch.tensor([0.0, 0.25, 0.5, 1.0, 50.0]).view(1, 1, 1, 5) * RIM
    seen = Observation(torch.zeros(1, 2, 1, 5), torch.full((1, 1, 1, 5), 0.7), m, ("B04",))
    product = keep_clear_pixels(torch.full((1, 1, 1, 5), 0.2), seen, RIM)[0, 0, 0]
    t = 0.25  # weight of the prediction: 3 / 16 - 2 / 64 = 10 / 64
    assert product.tolist() == pytest.approx([0.7, 0.7 - 0.5 * (3 * t**2 - 2 * t**3), 0.45, 0.2, 0.2])
    assert product[0] == seen.cloudy[0, 0, 0, 0] and product[3] == torch.tensor(0.2)


def test_pixels_without_data_stay_without_data_at_the_rim() -> None:
    m = torch.full((1, 1, 1, 2), RIM / 2)
    seen = Observation(torch.zeros(1, 2, 1, 2), torch.tensor([[[[math.nan, 0.7]]]]), m, ("B04",))
    assert keep_clear_pixels(torch.tensor([[[[0.2, math.nan]]]]), seen, RIM).isnan().all()


def test_a_baseline_is_a_remover() -> None:
    assert isinstance(baseline("clear-mean"), CloudRemover)


def test_a_function_is_a_remover_by_the_name_and_bands_it_is_given() -> None:
    twice = FunctionRemover("twice", ("B04",), lambda seen: seen.cloudy * 2)
    seen = Observation(torch.zeros(1, 2, 1, 1), torch.full((1, 1, 1, 1), 0.3), torch.zeros(1, 1, 1, 1), ("B04",))
    assert isinstance(twice, CloudRemover) and not isinstance(twice, SceneRemover)
    assert (twice.name, twice.bands, twice(seen).item()) == ("twice", ("B04",), pytest.approx(0.6))
