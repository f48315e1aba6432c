"""First weights of every network, drawn by an explicit generator."""

import torch
import torch.nn.functional as F
from torch import nn

_POWER_ITERATIONS = 15  # what torch takes when it constructs a spectral normalisation


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw every convolution weight from N(0, 0.02^2), set every bias to 0, and start spectral normalisations anew.

    The standard deviation is CycleGAN's [18]; section III-B.2 of the paper prints sigma^2 = 0.02.

    Args:
        module: A generator or a discriminator, changed in place.
        generator: Source of randomness, on the module's device.
    """
    for parameter in module.parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=0.02, generator=generator)
        else:
            parameter.zero_()
    _restart_power_iterations(module, generator)


def _restart_power_iterations(module: nn.Module, generator: torch.Generator) -> None:
    """Estimate the first singular vectors of every spectral convolution from random ones.

    The vectors are buffers: they travel in the state_dict, and training goes on from them bit for bit.
    """
    buffers = dict(module.named_buffers())
    for name in [name for name in buffers if name.endswith(".parametrizations.weight.0._u")]:
        stem = name.removesuffix(".0._u")
        u, v = buffers[name], buffers[f"{stem}.0._v"]
        weight = module.get_parameter(f"{stem}.original").flatten(1)
        u.copy_(F.normalize(u.normal_(generator=generator), dim=0))
        for _ in range(_POWER_ITERATIONS):
            v.copy_(F.normalize(weight.T @ u, dim=0))
            u.copy_(F.normalize(weight @ v, dim=0))
