"""That a run goes on bit for bit is tested in ``test_loop.py``; here, that a state is not taken for another's."""

from typing import Any

import pytest
import torch

from unclouded.errors import InputError
from unclouded.training.average import MovingAverage
from unclouded.training.devices import launch
from unclouded.training.learner import Learner
from unclouded.training.objectives import Objective, build_objective
from unclouded.training.settings import Device, TrainSettings
from unclouded.training.state import collect_state, restore_state

ALONE = launch(Device(accelerator="cpu"))


def made(settings: TrainSettings, **changes: object) -> tuple[Objective, list[Learner]]:
    objective = build_objective(settings.model_copy(update=changes), ALONE)
    members = objective.learners.items()
    return objective, [
        Learner(name, [p for one in names for p in objective.networks[one].parameters()], settings.schedule)
        for name, names in members
    ]


def nested(state: dict[str, Any]) -> dict[str, Any]:
    """As a state comes back from its file: every key is a text."""
    return {str(key): nested(value) if isinstance(value, dict) else value for key, value in state.items()}


def test_networks_pools_random_state_and_average_become_those_of_the_state(tiny_settings: TrainSettings) -> None:
    (one, learners), (other, others) = made(tiny_settings), made(tiny_settings, seed=7)
    averages = [MovingAverage(objective.restorer, 0.9) for objective in (one, other)]
    one.pools["sar"].draw(torch.rand(2, 3, 4, 4), one.rng)
    torch.rand(3, generator=one.rng)
    state = collect_state(5, one, learners, averages[0], ALONE)
    assert state is not None
    assert restore_state(nested(state), other, others, averages[1], ALONE) == 5
    for name, network in one.networks.items():
        for key, tensor in network.state_dict().items():
            assert other.networks[name].state_dict()[key].equal(tensor)
    assert other.pools["sar"].state_dict()["images"].equal(one.pools["sar"].state_dict()["images"])
    assert len(other.pools["optical"]) == 0
    assert torch.rand(3, generator=other.rng).equal(torch.rand(3, generator=one.rng))
    for ours, theirs in zip(*(average.network.parameters() for average in averages), strict=True):
        assert ours.equal(theirs)


@pytest.mark.parametrize("changes", [{"discriminator_width": 3}, {"objective": "conditional", "paired_percent": 100.0}])
def test_a_state_of_other_networks_is_refused(tiny_settings: TrainSettings, changes: dict[str, object]) -> None:
    one, learners = made(tiny_settings)
    state = collect_state(5, one, learners, None, ALONE)
    assert state is not None
    other, others = made(tiny_settings, **changes)
    expected = r"of another version or other networks \(size mismatch for layers.0.*?\); start anew in another folder"
    with pytest.raises(InputError, match=expected) as told:
        restore_state(nested(state), other, others, None, ALONE)
    assert str(told.value).count("size mismatch") == 1


def test_a_state_without_this_ranks_share_is_refused(tiny_settings: TrainSettings) -> None:
    one, learners = made(tiny_settings)
    state = collect_state(5, one, learners, None, ALONE)
    assert state is not None
    with pytest.raises(InputError, match="another version"):
        restore_state({**nested(state), "ranks": {}}, one, learners, None, ALONE)
