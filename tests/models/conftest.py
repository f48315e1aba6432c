"""A scene whose truth is known, for removers that learn from it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from unclouded.sensors import SENTINEL2
from unclouded.tensors.observation import Observation


def simulate_coast(
    seed: int = 0, side: int = 96, bands: tuple[str, ...] = SENTINEL2.bands
) -> tuple[Observation, Tensor]:
    """Dark water beside bright land, both under a band of cloud; the observation and its clear image."""
    rng = torch.Generator().manual_seed(seed)
    land = (torch.arange(side) > side // 2).expand(1, 1, side, side)
    level = torch.tensor([-20.0, -24.0]).view(1, 2, 1, 1)
    sar = torch.where(land, level + 12.0, level) + 0.5 * torch.randn(1, 2, side, side, generator=rng)
    colour = torch.linspace(0.1, 0.3, len(bands)).view(1, -1, 1, 1)
    clear = torch.where(land, colour, 0.02) + 0.002 * torch.randn(1, len(bands), side, side, generator=rng)
    cloud_map = torch.zeros(1, 1, side, side)
    cloud_map[:, :, side // 3 : side // 2] = 0.7
    return Observation(sar, torch.where(cloud_map > 0, torch.tensor(0.9), clear), cloud_map, bands), clear


@pytest.fixture
def coast() -> Callable[..., tuple[Observation, Tensor]]:
    """Simulates a coast; see :func:`simulate_coast`."""
    return simulate_coast
