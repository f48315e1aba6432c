import pytest
import torch

from unclouded.models.baselines import baseline
from unclouded.models.remover import CloudRemover, FunctionRemover, SceneRemover, keep_clear_pixels
from unclouded.tensors.observation import Observation


def test_pixels_with_m_0_keep_what_was_observed() -> None:
    seen = Observation(
        torch.zeros(1, 2, 1, 3), torch.full((1, 1, 1, 3), 0.7), torch.tensor([[[[0.0, 1e-6, 1.0]]]]), ("B04",)
    )
    kept = keep_clear_pixels(torch.full((1, 1, 1, 3), 0.2), seen)
    assert torch.equal(kept, torch.tensor([[[[0.7, 0.2, 0.2]]]]))


def test_a_baseline_is_a_remover() -> None:
    assert isinstance(baseline("clear-mean"), CloudRemover)


def test_a_function_is_a_remover_by_the_name_and_bands_it_is_given() -> None:
    twice = FunctionRemover("twice", ("B04",), lambda seen: seen.cloudy * 2)
    seen = Observation(torch.zeros(1, 2, 1, 1), torch.full((1, 1, 1, 1), 0.3), torch.zeros(1, 1, 1, 1), ("B04",))
    assert isinstance(twice, CloudRemover) and not isinstance(twice, SceneRemover)
    assert (twice.name, twice.bands, twice(seen).item()) == ("twice", ("B04",), pytest.approx(0.6))
