"""Networks that learn together: one optimiser, which no other network hears of."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Adam

from unclouded.training.devices import sum_gradients
from unclouded.training.settings import Schedule


class Learner:
    """Some of the networks and the Adam that changes them (section III-B.2: one for both G, one for both D).

    Args:
        name: Of the group.
        parameters: What it changes.
        schedule: Knows the rate and the longest gradient.
    """

    def __init__(self, name: str, parameters: Iterable[nn.Parameter], schedule: Schedule) -> None:
        self.name, self.parameters, self.clip_norm = name, list(parameters), schedule.clip_norm
        self.optimiser = Adam(self.parameters, lr=schedule.learning_rate, betas=(0.5, 0.999), eps=1e-8)

    @contextmanager
    def alone(self, everybody: Iterable["Learner"]) -> Iterator[None]:
        """Start from no gradient, and keep gradients away from all other learners inside the block."""
        self.optimiser.zero_grad(set_to_none=True)
        others = [parameter for one in everybody if one is not self for parameter in one.parameters]
        for parameter in others:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in others:
                parameter.requires_grad_(True)

    def learn(self, rate: float, fabric: Fabric) -> bool:
        """Change the weights by the gradients of all ranks; change nothing and say so where they are not finite."""
        self.optimiser.param_groups[0]["lr"] = rate
        sum_gradients(fabric, self.parameters)
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        if not torch.isfinite(norm):
            return False
        if self.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.clip_norm, norm)
        self.optimiser.step()
        return True

    def state_dict(self) -> dict[int, dict[str, Tensor]]:
        """Return the moments of every parameter, by its position."""
        moments: dict[int, dict[str, Tensor]] = self.optimiser.state_dict()["state"]
        return moments

    def load_state_dict(self, moments: Mapping[str, Any]) -> None:
        """Go on with the moments of a :meth:`state_dict`."""
        state = {int(parameter): saved for parameter, saved in moments.items()}
        self.optimiser.load_state_dict({"state": state, "param_groups": self.optimiser.state_dict()["param_groups"]})
