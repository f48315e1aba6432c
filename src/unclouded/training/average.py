"""The moving average of a generator's weights: smoother than the weights of any one step."""

from copy import deepcopy

import torch

from unclouded.models.generator import SarToOptical


class MovingAverage:
    """An exponential moving average of a network's parameters (Yazici et al. 2019, arXiv:1806.04498).

    The decay grows with the steps taken, to (1 + n) / (10 + n) at most, so that the fresh weights are soon forgotten.

    Args:
        network: Whose weights are averaged; must have no buffers.
        decay: Share of the old average that each step keeps, below 1.
    """

    def __init__(self, network: SarToOptical, decay: float) -> None:
        self.decay = decay
        self.network = deepcopy(network).requires_grad_(False)

    @torch.no_grad()
    def update(self, network: SarToOptical, step: int) -> None:
        """Move the average towards the weights of a step, counted from 1."""
        kept = min(self.decay, (1 + step) / (10 + step))
        for average, new in zip(self.network.parameters(), network.parameters(), strict=True):
            average.lerp_(new, 1 - kept)
