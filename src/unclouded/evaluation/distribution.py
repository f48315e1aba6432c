"""Distances between the distributions of two sets of features: FID and KID, through torchmetrics."""

import warnings
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unclouded.errors import InputError


class _AsTheyAre(nn.Module):
    """Takes features where torchmetrics expects a network that makes them."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.num_features = length

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_distance(real: Float[Tensor, "real feature"], generated: Float[Tensor, "generated feature"]) -> float:
    """Squared Fréchet distance of two Gaussians fitted to the features (Heusel et al. 2017); 0 is best.

    With features of VGG16 it is not the FID of Inception that other fields report. It is biased upwards, the more the
    fewer images there are.

    Raises:
        InputError: torchmetrics is not installed, or a set has fewer than two images.
    """
    _require_two(real, generated)
    metric = _torchmetrics("fid").FrechetInceptionDistance(feature=_AsTheyAre(real.shape[1])).set_dtype(torch.float64)
    return _compared(metric, real, generated)


def kernel_distance(real: Float[Tensor, "image feature"], generated: Float[Tensor, "image feature"]) -> float:
    """Unbiased squared maximum mean discrepancy with a cubic kernel (Binkowski et al. 2018); 0 is best.

    One estimate from all images, not a mean over random subsets, so that nothing is drawn.

    Raises:
        InputError: torchmetrics is not installed, or a set has fewer than two images.
    """
    _require_two(real, generated)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it keeps all features
        metric = _torchmetrics("kid").KernelInceptionDistance(
            feature=_AsTheyAre(real.shape[1]), subsets=1, subset_size=len(real)
        )
    return _compared(metric.set_dtype(torch.float64), real, generated)


def _compared(metric: Any, real: Tensor, generated: Tensor) -> float:
    metric.update(real.double(), real=True)
    metric.update(generated.double(), real=False)
    found = metric.compute()
    return float(found[0] if isinstance(found, tuple) else found)


def _torchmetrics(module: str) -> Any:
    from importlib import import_module

    try:
        return import_module(f"torchmetrics.image.{module}")
    except ModuleNotFoundError as error:
        raise InputError("FID and KID need torchmetrics; run 'pip install unclouded[metrics]'") from error


def _require_two(real: Tensor, generated: Tensor) -> None:
    if min(len(real), len(generated)) < 2:
        raise InputError(f"FID and KID need two images of each kind, found {len(real)} and {len(generated)}")
