from copy import deepcopy

import pytest
import torch
from torch import nn

from unclouded.training.devices import launch
from unclouded.training.learner import Learner
from unclouded.training.settings import Device, Schedule

ALONE = launch(Device(accelerator="cpu"))


def learner(name: str = "one", **schedule: float) -> Learner:
    return Learner(name, [nn.Parameter(torch.tensor([1.0, 1.0]))], Schedule(**schedule))


def test_the_first_step_of_adam_goes_the_rate_downhill() -> None:
    one = learner()
    with one.alone([one]):
        (one.parameters[0] * torch.tensor([3.0, -4.0])).sum().backward()
        assert one.learn(0.5, ALONE)
    assert one.parameters[0].tolist() == pytest.approx([0.5, 1.5])


def test_adam_has_the_papers_moments() -> None:
    found = learner().optimiser.defaults
    assert (found["lr"], found["betas"], found["eps"], found["weight_decay"]) == (2e-4, (0.5, 0.999), 1e-8, 0)


def test_while_one_learns_the_others_get_no_gradient() -> None:
    one, other = learner("one"), learner("other")
    with one.alone([one, other]):
        (one.parameters[0] * other.parameters[0]).sum().backward()
    assert other.parameters[0].grad is None
    assert other.parameters[0].requires_grad


def test_a_gradient_that_is_no_number_changes_nothing() -> None:
    one = learner()
    with one.alone([one]):
        (one.parameters[0] * torch.tensor([1.0, torch.nan])).sum().backward()
        assert not one.learn(0.5, ALONE)
    assert one.parameters[0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("longest", "expected"), [(1.0, [0.6, 0.8]), (10.0, [3.0, 4.0])])
def test_a_gradient_is_shortened_to_the_longest_allowed(longest: float, expected: list[float]) -> None:
    one = learner(clip_norm=longest)
    with one.alone([one]):
        (one.parameters[0] * torch.tensor([3.0, 4.0])).sum().backward()  # norm 5
        one.learn(0.5, ALONE)
        assert one.parameters[0].grad is not None
        assert one.parameters[0].grad.tolist() == pytest.approx(expected, rel=1e-5)


def test_it_goes_on_from_its_moments_bit_for_bit() -> None:
    straight, resumed = learner(), learner()

    def step(one: Learner, factor: float) -> None:
        with one.alone([one]):
            (one.parameters[0] * factor).sum().backward()
            one.learn(0.1, ALONE)

    step(straight, 3.0)
    resumed.parameters[0].data.copy_(straight.parameters[0].data)
    resumed.load_state_dict({str(place): deepcopy(moments) for place, moments in straight.state_dict().items()})
    for one in (straight, resumed):
        step(one, -7.0)
    assert resumed.parameters[0].equal(straight.parameters[0])
