"""One verb for every network, baseline and foreign model."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from unclouded.tensors.triplet import Observation


@runtime_checkable
class CloudRemover(Protocol):
    """Anything that answers an observation with a clear image; prediction and evaluation know nothing else."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def bands(self) -> tuple[str, ...]:
        """Optical bands it needs, and returns in this order."""
        ...

    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image as TOA reflectance; NaN where there is nothing to make it from."""
        ...


def keep_clear_pixels(
    prediction: Float[Tensor, "batch band h w"], observation: Observation
) -> Float[Tensor, "batch band h w"]:
    """Put back the observed value where m = 0: what a user gets, beside what a network says."""
    return torch.where(observation.is_cloudy, prediction, observation.cloudy)
