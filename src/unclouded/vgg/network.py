"""VGG16 trained on ImageNet: the yardstick of the perceptual losses and of the image statistics."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unclouded.errors import InputError
from unclouded.vgg.weights import AUTO, VggSource, read_vgg_weights, torchvision_file

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision normalises
_FC2_RELU = 4  # of torchvision's classifier: Linear, ReLU, Dropout, Linear, ReLU


class Vgg16(nn.Module):
    """VGG16 (Simonyan & Zisserman 2015, [39] in the paper) in torchvision's structure, frozen.

    Args:
        state: Weights under torchvision's names; the classifier's may be absent.
        source: Where they came from.

    Raises:
        InputError: A weight is absent or has another shape.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, state: Mapping[str, Tensor], source: VggSource) -> None:
        from torchvision.models import vgg16  # seconds, also for commands that end up without it

        super().__init__()
        self.source = source
        with torch.device("meta"):
            network = vgg16()
        self.features = _filled(network.features, "features.", state, source)
        first_layers = network.classifier[: _FC2_RELU + 1]
        has_classifier = any(name.startswith("classifier.") for name in state)
        self.classifier = _filled(first_layers, "classifier.", state, source) if has_classifier else None
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)
        self.eval().requires_grad_(False)

    def forward(
        self, rgb: Float[Tensor, "batch 3 h w"], layers: tuple[int, ...]
    ) -> list[Float[Tensor, "batch channel rows columns"]]:
        """Return the activations after some layers.

        Args:
            rgb: Red, green, blue in [0, 1]; normalised as ImageNet here.
            layers: Ascending indices into torchvision's ``features``; of ReLUs, for they work in place.
        """
        activations, x = [], (rgb - self.mean) / self.std
        for index, layer in enumerate(self.features[: max(layers) + 1]):
            x = layer(x)
            if index in layers:
                activations.append(x)
        return activations

    def fc2(self, rgb: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch 4096"]:
        """Return the second fully connected layer after its ReLU, the feature of the paper's precision and recall [28].

        Args:
            rgb: Red, green, blue in [0, 1]; 224 x 224 px is what the layer was trained for.

        Raises:
            InputError: The weights have no classifier.
        """
        classifier = self.require_classifier()
        (convolved,) = self.forward(rgb, (len(self.features) - 1,))
        pooled = nn.functional.adaptive_avg_pool2d(convolved, (7, 7)).flatten(1)
        feature: Tensor = classifier(pooled)
        return feature

    def pool5(self, rgb: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch 512"]:
        """Return what the fifth and last max-pooling gives, averaged over rows and columns.

        Args:
            rgb: Red, green, blue in [0, 1].
        """
        (pooled,) = self.forward(rgb, (len(self.features) - 1,))
        return pooled.mean(dim=(2, 3))

    def require_classifier(self) -> nn.Sequential:
        """Return the fully connected layers.

        Raises:
            InputError: The weights have none.
        """
        if self.classifier is None:
            raise InputError(
                f"the 4096-d feature fc2 needs VGG16 with its classifier, found only convolutions in"
                f" {self.source.name}; name a copy of torchvision's {torchvision_file().name},"
                f" or take pool5, which needs convolutions only"
            )
        return self.classifier


def _filled(layers: Any, prefix: str, state: Mapping[str, Tensor], source: VggSource) -> nn.Sequential:
    expected = layers.state_dict()
    for name, tensor in expected.items():
        found = state.get(prefix + name)
        if found is None or found.shape != tensor.shape:
            raise InputError(
                f"{source.name} is no VGG16: {prefix}{name} is {'absent' if found is None else list(found.shape)},"
                f" expected {list(tensor.shape)}; name a copy of torchvision's {torchvision_file().name}"
            )
    layers.load_state_dict({name: state[prefix + name].float() for name in expected}, assign=True)
    filled: nn.Sequential = layers
    return filled


def load_vgg16(weights: str | Path = AUTO, *, classifier: bool = False) -> Vgg16:
    """Load VGG16 with ImageNet weights.

    Args:
        weights: Torchvision's state dict (.pth or .safetensors), the offline package's vgg16.ckpt, or ``auto``:
            torchvision's file if it was downloaded before, else the offline package, else a download.
        classifier: Also load the fully connected layers, 0.5 GB; the offline package has none.

    Raises:
        InputError: No such file, no such weights, or no way to get them.
    """
    state, source = read_vgg_weights(weights, classifier=classifier)
    return Vgg16(state if classifier else {k: v for k, v in state.items() if k.startswith("features.")}, source)
