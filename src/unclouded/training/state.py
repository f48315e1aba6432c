"""Everything that the next step of a run depends on, as nested mappings of tensors."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from lightning_fabric import Fabric

from unclouded.errors import InputError
from unclouded.machine import memory_fault
from unclouded.training.average import MovingAverage
from unclouded.training.devices import to_first
from unclouded.training.learner import Learner
from unclouded.training.objectives import Objective


def collect_state(
    step: int, objective: Objective, learners: Iterable[Learner], average: MovingAverage | None, fabric: Fabric
) -> dict[str, Any] | None:
    """Return the state of a run after a step on rank 0, None on others; every rank has to ask.

    Weights and moments are the same on every rank; pools and random states are each rank's own.
    """
    own = {
        "random": objective.rng.get_state(),
        "pools": {
            name: {key: images.cpu() for key, images in pool.state_dict().items()}
            for name, pool in objective.pools.items()
        },
    }
    ranks = to_first(fabric, own)
    if ranks is None:
        return None
    return {
        "step": torch.tensor(step),
        "networks": {name: network.state_dict() for name, network in objective.networks.items()},
        "learners": {learner.name: learner.state_dict() for learner in learners},
        "average": average.network.state_dict() if average is not None else {},
        "ranks": {str(rank): state for rank, state in enumerate(ranks)},
    }


def restore_state(
    state: Mapping[str, Any],
    objective: Objective,
    learners: Iterable[Learner],
    average: MovingAverage | None,
    fabric: Fabric,
) -> int:
    """Go on from a state of :func:`collect_state`; return its step.

    Raises:
        InputError: The state is of other networks, or of another version.
    """
    try:
        own = state["ranks"][str(fabric.global_rank)]
        for name, network in objective.networks.items():
            network.load_state_dict(state["networks"][name])
        for learner in learners:
            learner.load_state_dict(state["learners"][learner.name])
        if average is not None:
            average.network.load_state_dict(state["average"])
        for name, pool in objective.pools.items():
            pool.load_state_dict(fabric.to_device(own["pools"][name]))
        objective.rng.set_state(own["random"])
        return int(state["step"])
    except (KeyError, RuntimeError) as error:
        if memory_fault(error) is not None:
            raise
        first = str(error).splitlines()[:2][-1].strip()  # torch gives a heading, and then a line for each tensor
        raise InputError(
            f"the saved state is of another version or other networks ({first}); start anew in another folder"
        ) from error
