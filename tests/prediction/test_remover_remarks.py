from dataclasses import dataclass

import torch
from torch import Tensor

from unclouded.models.baselines import baseline
from unclouded.models.remover import CloudRemover, FunctionRemover
from unclouded.prediction.clearing import adapt_removers
from unclouded.prediction.remover_remarks import remarks_on
from unclouded.sensors import RGB
from unclouded.tensors.observation import Observation


def window(covered: int = 8) -> Observation:
    """Ground of 0.1 with a cloud of 0.35 over the first rows."""
    cloud_map = torch.zeros(1, 1, 32, 32)
    cloud_map[:, :, :covered] = 1.0
    cloudy = torch.where(cloud_map > 0, 0.35, 0.1).expand(1, 3, 32, 32).clone()
    return Observation(torch.full((1, 2, 32, 32), -10.0), cloudy, cloud_map, RGB)


def times(factor: float) -> CloudRemover:
    return FunctionRemover("scaled", RGB, lambda seen: seen.cloudy * factor)


def remarks(remover: CloudRemover, seen: Observation) -> list[str]:
    return list(remarks_on([remover], [remover], [seen]))


def test_a_wrong_scaling_is_found_on_clear_pixels() -> None:
    (remark,) = remarks(times(5.0), window())
    assert "scaled changes clear pixels of the window at row 0, column 0 by 0.40" in remark and "is 0.10" in remark
    assert len(remarks(times(0.2), window())) == 1


def test_a_small_change_and_a_window_without_clear_pixels_give_no_remark() -> None:
    assert remarks(times(1.2), window()) == []
    assert remarks(times(5.0), window(covered=32)) == []
    assert remarks(times(5.0), window(covered=0)) == []


def test_baselines_are_not_compared() -> None:
    assert remarks(baseline("sar-vv"), window()) == []


@dataclass(frozen=True)
class Estimating:
    """Predicts one value with one standard deviation."""

    value: float
    deviation: float | None
    name: str = "estimating"
    bands: tuple[str, ...] = RGB

    def __call__(self, observation: Observation) -> Tensor:
        return torch.full_like(observation.cloudy, self.value)

    def with_uncertainty(self, observation: Observation) -> tuple[Tensor, Tensor | None]:
        prediction = self(observation)
        return prediction, None if self.deviation is None else torch.full_like(prediction, self.deviation)


def uncertainty(*removers: CloudRemover) -> float:
    ensemble = adapt_removers(removers, [window()], "scene", uncertainty=True)
    found = ensemble.predict_with_deviation(window())
    assert found.confidence is None and torch.equal(found.image, removers[0](window()))
    return round(found.deviation.mean().item(), 5)


def test_uncertainty_is_that_of_the_network_or_of_the_mixture_of_several() -> None:
    assert uncertainty(Estimating(0.2, 0.03)) == 0.03
    # variance of the mixture: mean of 0.03^2 and 0.05^2, plus the variance of 0.2 and 0.4, which is 0.1^2
    assert uncertainty(Estimating(0.2, 0.03), Estimating(0.4, 0.05)) == round((0.0017 + 0.01) ** 0.5, 5)


def test_uncertainty_is_the_spread_where_a_remover_estimates_none() -> None:
    assert uncertainty(Estimating(0.2, None), Estimating(0.4, 0.05)) == 0.1
