"""All scores that look through VGG16, chosen by name and measured while judged pairs pass by."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from unclouded.errors import InputError
from unclouded.evaluation.distribution import frechet_distance, kernel_distance
from unclouded.evaluation.features import FeatureSettings, Layer, Manifolds, feature_extractor
from unclouded.evaluation.manifold import K
from unclouded.evaluation.perceptual import PerceptualDistances, lpips_heads
from unclouded.tensors.triplet import Triplet
from unclouded.vgg.network import load_vgg16
from unclouded.vgg.weights import AUTO

EXTRAS = ("fid", "kid", "lpips")
"""Scores beyond the paper's."""


class Appearance:
    """Measures what was asked for; where nothing was, it does nothing.

    Args:
        layer: Layer of VGG16 for precision and recall, FID and KID; none of these if None.
        extras: Names of :data:`EXTRAS`.
        expected: How many patches will pass by; too few for ``k`` are refused at once.
        k: The neighbour that precision and recall reach to.
        brightest: Reflectance that VGG16 sees as 1.
        weights: ImageNet weights; see :func:`unclouded.vgg.network.load_vgg16`.
        device: Where VGG16 runs.

    Raises:
        InputError: No weights for what was asked, too few patches, or FID or KID without a layer.
    """

    def __init__(
        self,
        layer: Layer | None,
        extras: Iterable[str],
        expected: int,
        *,
        k: int = K,
        brightest: float = 1.0,
        weights: str | Path = AUTO,
        device: str = "cpu",
    ) -> None:
        self._asked = set(extras)
        if layer is None and (on_features := self._asked & {"fid", "kid"}):
            raise InputError(
                f"{' and '.join(sorted(on_features))} need a layer of VGG16, found none; add --manifold pool5 or fc2"
            )
        self._manifolds, self._distances = None, None
        if layer is not None:
            extractor = feature_extractor(FeatureSettings(layer=layer, brightest=brightest), weights, device)
            self._manifolds = Manifolds(extractor, k, expected)
        if "lpips" in self._asked:
            self._distances = PerceptualDistances(load_vgg16(weights).to(device), lpips_heads(), brightest)

    def watch(self, judged: Iterable[tuple[Triplet, Tensor]]) -> Iterator[tuple[Triplet, Tensor]]:
        """Yield judged pairs as they are."""
        if self._manifolds is not None:
            judged = self._manifolds.watch(judged)
        if self._distances is not None:
            judged = self._distances.watch(judged)
        yield from judged

    def manifold(self) -> dict[str, Any] | None:
        """Return precision and recall with their card, as JSON values; None where no layer was given."""
        return self._manifolds.measure().to_json() if self._manifolds is not None else None

    def extras(self) -> dict[str, Any] | None:
        """Return the extras by name, each with its card, as JSON values; None where none was asked for."""
        found: dict[str, Any] = {}
        if self._manifolds is not None:
            for name, distance in (("fid", frechet_distance), ("kid", kernel_distance)):
                if name in self._asked:
                    real, generated = self._manifolds.features()
                    card = {**self._manifolds.extractor.card, "definition": f"unclouded-{name}-1"}
                    found[name] = {"card": card, "value": distance(real, generated), "n": len(real)}
        if self._distances is not None:
            found["lpips"] = self._distances.to_json()
        return found or None
