import pytest
import torch

from unclouded.models.generator import SarToOptical
from unclouded.training.average import MovingAverage


def filled(value: float) -> SarToOptical:
    network = SarToOptical(width=1)
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, value)
    return network


def first(average: MovingAverage) -> float:
    return next(average.network.parameters()).flatten()[0].item()


def test_late_in_a_run_the_average_moves_by_one_minus_the_decay() -> None:
    average = MovingAverage(filled(1.0), decay=0.9)
    average.update(filled(0.0), step=1000)
    assert first(average) == pytest.approx(0.9)


def test_early_in_a_run_the_fresh_weights_are_soon_forgotten() -> None:
    average = MovingAverage(filled(1.0), decay=0.999)
    average.update(filled(0.0), step=1)
    assert first(average) == pytest.approx(2 / 11)  # (1 + 1) / (10 + 1)


def test_the_average_neither_learns_nor_follows_the_network_by_itself() -> None:
    network = filled(1.0)
    average = MovingAverage(network, decay=0.9)
    next(network.parameters()).data.fill_(5.0)
    assert first(average) == 1.0
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
