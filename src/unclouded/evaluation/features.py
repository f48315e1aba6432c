"""VGG16 features of images, cached on disk, and precision and recall of predictions computed from them.

:class:`FeatureExtractor` turns an RGB image into a feature and records the protocol: network, layer, weights, resizing,
stretch and normalisation. :class:`PrecisionRecallMeter` collects the features of clear images and predictions during an
evaluation.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn.functional import interpolate

from unclouded.errors import InputError
from unclouded.evaluation.precision_recall import DEFINITION, K, PrecisionRecall, precision_recall
from unclouded.evaluation.scores import EvaluationProtocol
from unclouded.io.array_cache import ArrayStore, content_key, default_folder
from unclouded.sensors import RGB
from unclouded.settings import Settings
from unclouded.tensors.observation import Triplet, positions
from unclouded.vgg import AUTO, Vgg16, load_vgg16

Layer = Literal["fc2", "pool5"]
LIMIT_BYTES = 8 << 30
"""Size of the feature cache: 4096-d features of half a million images."""


class FeatureSettings(Settings):
    """Definition of a feature.

    Attributes:
        layer: ``fc2`` is the second fully connected layer after its ReLU, 4096-d, as in the paper; ``pool5`` is the
            spatial mean after the fifth and last max-pooling, 512-d, and needs only the convolutions.
        brightest: Reflectance mapped to 1; 0 is mapped to 0, other values are clipped. 1 is the range of the paper's
            networks and of our perceptual losses.
        side_px: Side of the square that images are resized to (bilinear, antialiased); VGG16 was trained on 224.
    """

    layer: Layer = "pool5"
    brightest: float = 1.0
    side_px: int = 224


class FeatureExtractor:
    """VGG16 up to one of its layers, with a cache on disk.

    Args:
        vgg: The network.
        settings: Definition of the feature.
        store: Cache of features; no cache if None.

    Raises:
        InputError: The layer is ``fc2`` and the network has only convolutions.
    """

    def __init__(self, vgg: Vgg16, settings: FeatureSettings, store: ArrayStore | None = None) -> None:
        if settings.layer == "fc2":
            vgg.require_classifier()
        self.vgg, self.settings, self.store = vgg, settings, store
        self.protocol: EvaluationProtocol = {
            "network": "VGG16, ImageNet",
            "layer": settings.layer,
            "weights_sha256": _weights_hash(vgg, settings.layer),
            "resize": f"{settings.side_px} x {settings.side_px} px, bilinear, antialiased",
            "stretch": [0.0, settings.brightest],
            "bands": list(RGB),
            "normalisation": {"mean": _spelled(vgg.mean), "std": _spelled(vgg.std)},
        }

    @torch.no_grad()
    def __call__(self, rgb: Float[Tensor, "1 3 h w"]) -> Float32[Tensor, " feature"]:
        """Return the feature of one image, on the CPU.

        Args:
            rgb: TOA reflectance of red, green and blue, without missing data.
        """
        pixels = rgb.detach().cpu().float().contiguous().numpy()
        key = content_key(f"{sorted(self.protocol.items())}\n{pixels.shape}", pixels)
        if self.store is not None and (found := self.store.get(key)) is not None:
            return torch.from_numpy(found)
        feature = self._computed(rgb)
        if self.store is not None:
            self.store.put(key, feature.numpy())
        return feature

    def pair(
        self, triplet: Triplet, prediction: Float[Tensor, "1 band h w"]
    ) -> tuple[Float32[Tensor, " feature"], Float32[Tensor, " feature"]] | None:
        """Return the features of a clear image and of its prediction; None if one of them has pixels without data."""
        rgb = positions(RGB, triplet.observation.bands)
        real, generated = triplet.clear[:, rgb], prediction[:, rgb]
        if not bool(real.isfinite().all() & generated.isfinite().all()):
            return None
        return self(real), self(generated)

    def _computed(self, rgb: Float[Tensor, "1 3 h w"]) -> Float32[Tensor, " feature"]:
        side = self.settings.side_px
        seen = (rgb.to(self.vgg.mean.device).float() / self.settings.brightest).clamp(0.0, 1.0)
        seen = interpolate(seen, (side, side), mode="bilinear", antialias=True)
        found = self.vgg.fc2(seen) if self.settings.layer == "fc2" else self.vgg.pool5(seen)
        return found[0].float().cpu()


def feature_extractor(settings: FeatureSettings, weights: str | Path = AUTO, device: str = "cpu") -> FeatureExtractor:
    """Return an extractor with the weights of :func:`unclouded.vgg.load_vgg16` and a cache on disk.

    Raises:
        InputError: No weights, or no fully connected layers, which ``fc2`` needs.
    """
    vgg = load_vgg16(weights, classifier=settings.layer == "fc2").to(device)
    return FeatureExtractor(vgg, settings, ArrayStore(default_folder() / "vgg-features", LIMIT_BYTES))


def _spelled(values: Tensor) -> list[float]:
    """Return float32 numbers in their shortest form: 0.485, not 0.48500001430511475."""
    return [float(str(value)) for value in values.flatten().cpu().numpy()]


def _weights_hash(vgg: Vgg16, layer: Layer) -> str:
    """Hash the tensors that a layer depends on, by name, so that equal weights of different files agree."""
    state: dict[str, Any] = vgg.state_dict()
    used = sorted(name for name in state if layer == "fc2" or name.startswith("features."))
    content = hashlib.sha256()
    for name in used:
        content.update(f"{name} {tuple(state[name].shape)}\n".encode())
        content.update(state[name].float().cpu().contiguous().numpy().data)
    return content.hexdigest()


@dataclass(frozen=True, eq=False)
class PrecisionRecallResult:
    """Improved precision and recall with their protocol.

    Attributes:
        protocol: Features, k, include_self and the version of the definition.
        scores: Precision, recall and realism.
        weights: Name and SHA-256 of the weights file of VGG16.
        left_out: Patches without a feature, because the prediction or the clear image has pixels without data.
        names: Patches in the order of ``scores.realism``.
    """

    protocol: EvaluationProtocol
    scores: PrecisionRecall
    weights: str
    left_out: tuple[str, ...]
    names: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return protocol and scores as JSON values."""
        one = self.scores
        return {
            "protocol": dict(self.protocol),
            "precision": one.precision,
            "recall": one.recall,
            "f1": one.f1,
            "n_real": one.n_real,
            "n_generated": one.n_generated,
            "k": one.k,
            "weights": self.weights,
            "left_out": list(self.left_out),
            "realism": dict(zip(self.names, one.realism.tolist(), strict=True)),
        }


@dataclass
class PrecisionRecallMeter:
    """Collects the features of clear images and predictions during an evaluation.

    Attributes:
        extractor: Feature extractor.
        k: Number of neighbours that defines the radius of a ball.
        expected: Number of patches of the evaluation, checked against k in advance; None if unknown.
        include_self: Count a feature as its own first neighbour.
    """

    extractor: FeatureExtractor
    k: int = K
    expected: int | None = None
    include_self: bool = False
    _names: list[str] = field(default_factory=list)
    _real: list[Tensor] = field(default_factory=list)
    _generated: list[Tensor] = field(default_factory=list)
    _left_out: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.expected is not None:
            self._require_neighbours(self.expected)

    def _require_neighbours(self, found: int) -> None:
        if found <= self.k:
            raise InputError(f"k = {self.k} neighbours need more than {self.k} patches, found {found}; lower k")

    def watch(self, pairs: Iterable[tuple[Triplet, Tensor]]) -> Iterator[tuple[Triplet, Tensor]]:
        """Yield the pairs unchanged and collect their features."""
        for triplet, prediction in pairs:
            self.add(triplet.name, self.extractor.pair(triplet, prediction))
            yield triplet, prediction

    def add(self, name: str, features: tuple[Tensor, Tensor] | None) -> None:
        """Add the features of :meth:`FeatureExtractor.pair`, for example of an earlier process."""
        if features is None:
            self._left_out.append(name)
            return
        self._names.append(name)
        self._real.append(features[0])
        self._generated.append(features[1])

    def features(self) -> tuple[Float32[Tensor, "n feature"], Float32[Tensor, "n feature"]]:
        """Return the collected features of clear images and of predictions."""
        return torch.stack(self._real), torch.stack(self._generated)

    def measure(self) -> PrecisionRecallResult:
        """Return precision, recall and realism of the collected features: clear images are real, predictions generated.

        Raises:
            InputError: There are not more than k images.
        """
        self._require_neighbours(len(self._real))
        scores = precision_recall(*self.features(), self.k, include_self=self.include_self)
        protocol = {**self.extractor.protocol, "k": self.k, "include_self": self.include_self, "definition": DEFINITION}
        source = self.extractor.vgg.source
        return PrecisionRecallResult(
            protocol, scores, f"{source.name}, SHA-256 {source.sha256}", tuple(self._left_out), tuple(self._names)
        )
