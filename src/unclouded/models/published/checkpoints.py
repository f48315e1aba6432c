"""Files of published networks: PyTorch checkpoints of UnCRtainTS, Keras files of DSen2-CR.

Nothing of a file is executed: PyTorch's own reader is limited to tensors and plain containers, HDF5 is read by layer
names, and every name, shape and type is compared with the network before a number is used. Lambda layers and optimiser
states are not touched.
"""

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from unclouded.errors import InputError
from unclouded.files import named, require_file
from unclouded.formats import found_clause
from unclouded.models.published.dsen2cr import Dsen2cr, Dsen2crSettings
from unclouded.models.published.keras import MAX_TENSORS, read_convolutions
from unclouded.models.published.uncrtaints import Uncrtaints, UncrtaintsSettings
from unclouded.settings import settings_from
from unclouded.strict_json import read_json_object

MAX_BYTES = 2 << 30
"""Largest file that is read; a published DSen2-CR with its optimiser state has about 230 MB."""
CONFIGURATION = "conf.json"
"""File with the training configuration, beside a checkpoint of UnCRtainTS."""

Network = Uncrtaints | Dsen2cr
Architecture = Literal["uncrtaints", "dsen2cr"]


@dataclass(frozen=True)
class Checkpoint:
    """A published network.

    Attributes:
        architecture: Name of the architecture.
        network: The network with its weights, in evaluation mode.
        licence: Licence of the network, as far as its authors state one.
        source: Publication.
    """

    architecture: Architecture
    network: Network
    licence: str
    source: str


def read_checkpoint(path: Path, configuration: Path | None = None) -> Checkpoint:
    """Read a published checkpoint.

    Args:
        path: ``model.pth.tar`` of UnCRtainTS; Keras HDF5 file of DSen2-CR, or safetensors or PyTorch file with the
            names of its PyTorch version.
        configuration: Training configuration of UnCRtainTS; ``conf.json`` beside the file if omitted.

    Raises:
        InputError: The file is damaged, too large, or of another network.
    """
    require_file(path)
    if (size := path.stat().st_size) > MAX_BYTES:
        raise InputError(f"{named(path)} has {size:,} bytes, expected at most {MAX_BYTES:,}; is it the right file?")
    with path.open("rb") as file:
        start = file.read(9)
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return _dsen2cr(path, _keras_tensors(path))
    tensors = _torch_tensors(path) if start.startswith(b"PK\x03\x04") else _safetensors(path, start)
    if any(name.startswith("model.") for name in tensors):
        return _dsen2cr(path, tensors)
    return _uncrtaints(path, tensors, configuration or path.parent / CONFIGURATION)


def _dsen2cr(path: Path, tensors: Mapping[str, Tensor]) -> Checkpoint:
    first = tensors.get("model.0.weight")
    if first is None or first.ndim != 4:
        raise InputError(f"{named(path)} has no first convolution of DSen2-CR; give a published checkpoint")
    width, channels = first.shape[:2]
    blocks = len({name.split(".")[1] for name in tensors if ".conv_block.0.weight" in name})
    if channels not in (13, 15) or not 1 <= width <= 2048 or not 1 <= blocks <= 256:
        raise InputError(
            f"{named(path)} takes {channels} channels, expected 13 optical bands, with or without VV and VH;"
            " give a published checkpoint of DSen2-CR"
        )
    settings = Dsen2crSettings(width=width, blocks=blocks, radar=channels == 15)
    source = "Meraner et al. (2020), ISPRS Journal 166"
    return Checkpoint(
        "dsen2cr", fill_network(settings, tensors, path), "code GPL-3.0; no terms stated for weights", source
    )


def _uncrtaints(path: Path, tensors: Mapping[str, Tensor], configuration: Path) -> Checkpoint:
    if not any(name.startswith("in_conv.") for name in tensors):
        raise InputError(f"{named(path)} is of no known network; expected a checkpoint of UnCRtainTS or DSen2-CR")
    if not configuration.is_file():
        raise InputError(
            f"{named(path)} lies without its training configuration; put its {CONFIGURATION} beside it, or name it"
        )
    settings = settings_of(read_json_object(configuration), named(configuration))
    source = "Ebel et al. (2023), CVPR Workshops"
    licence = "network code MIT by its headers; no terms stated for weights"
    return Checkpoint("uncrtaints", fill_network(settings, _present_names(tensors), path), licence, source)


_FIXED: dict[str, tuple[Any, Any]] = {
    "model": ("uncrtaints", "uncrtaints"),
    "agg_mode": ("att_group", "att_group"),
    "encoder_norm": ("group", "group"),
    "decoder_norm": ("batch", "batch"),
    "padding_mode": ("reflect", "reflect"),
    "mean_nonLinearity": (True, True),
    "var_nonLinearity": ("softplus", "softplus"),
    "pad_value": (0, 0),
    "ref_date": ("2014-04-03", "2014-04-03"),
}
"""Entries that are supported with one value only: that value, and the default of the training program."""


def settings_of(configuration: Mapping[str, Any], name: str) -> UncrtaintsSettings:
    """Return the architecture that a training configuration of UnCRtainTS describes.

    Args:
        configuration: Content of ``conf.json``.
        name: Name of the file, for messages.

    Raises:
        InputError: An entry has a value of the wrong type or one that is not supported.
    """
    for key, (expected, default) in _FIXED.items():
        if (found := configuration.get(key, default)) != expected:
            raise InputError(f"{name}: {key} is {str(found)[:40]!r}, supported is {expected!r}; use other weights")
    loss, covariance = configuration.get("loss", "MGNLL"), configuration.get("covmode", "diag")
    if covariance not in ("diag", "uni", "iso"):
        raise InputError(f"{name}: covmode is {str(covariance)[:40]!r}, expected diag, uni or iso; use other weights")
    mono = configuration.get("pretrain", False) is True or configuration.get("input_t", 3) == 1
    content = {
        "encoder_widths": configuration.get("encoder_widths", [128]),
        "decoder_widths": configuration.get("decoder_widths", [128] * 5),
        "block": configuration.get("block_type", "mbconv"),
        "dates": 1 if mono else configuration.get("input_t", 3),
        "radar": configuration.get("use_sar", True),
        "heads": configuration.get("n_head", 16),
        "attention_channels": configuration.get("d_model", 256),
        "key_channels": configuration.get("d_k", 4),
        "use_values": configuration.get("use_v", False),
        "position": configuration.get("positional_encoding", True),
        "variance": "none" if loss in ("l1", "l2") else "shared" if covariance == "iso" else "per-band",
        "separate_heads": configuration.get("separate_out", False),
        "scale_by": configuration.get("scale_by", 1.0),
    }
    return settings_from(UncrtaintsSettings, content, origin=name)


def _present_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors with the names of today's network; older checkpoints number their blocks without a point."""
    renamed = {}
    for name, tensor in tensors.items():
        if name.startswith("in_block1."):
            name = f"in_block.0.{name.removeprefix('in_block1.')}"
        elif name.startswith("out_block") and name[9:10].isdigit():
            number, _, rest = name.removeprefix("out_block").partition(".")
            name = f"out_block.{int(number) - 1}.{rest}"
        renamed[name] = tensor
    return renamed


def fill_network(settings: UncrtaintsSettings | Dsen2crSettings, tensors: Mapping[str, Tensor], path: Path) -> Any:
    """Return the network of some settings with the given weights, in evaluation mode.

    Args:
        settings: Architecture.
        tensors: Weights; all names, shapes and types must agree with the network.
        path: File of the weights, for messages.

    Raises:
        InputError: The weights do not fit the network, or are not finite.
    """
    with torch.device("meta"):
        network = settings.build()
    expected = network.state_dict()
    for name in [*expected, *tensors]:
        ours, theirs = (_described(group.get(name)) for group in (expected, tensors))
        if ours != theirs:
            raise InputError(
                f"{named(path)}: {name[:80]!r} is {theirs}, expected {ours}; its configuration is of other weights,"
                " or the file is damaged"
            )
    weights = {name: tensors[name].contiguous() for name in expected}
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise InputError(f"{named(path)}: {name} has NaN or infinite weights; fetch the file again")
    network.load_state_dict(weights, assign=True)
    return network.requires_grad_(False).eval()


def _described(tensor: Tensor | None) -> str:
    if tensor is None:
        return "absent"
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


# Containers.


@contextmanager
def _damaged(path: Path, kind: str) -> Iterator[None]:
    """Turn any failure of a reader into one line: damaged files fail in many ways."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        raise InputError(f"{named(path)} is not a whole {kind} ({reason}); fetch it again") from error


def _torch_tensors(path: Path) -> dict[str, Tensor]:
    with _damaged(path, "PyTorch checkpoint"):
        _require_plain_zip(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        return _state(content, path)


def _require_plain_zip(path: Path) -> None:
    """Refuse compressed members, which may unpack to any size; torch writes none."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > 4 * MAX_TENSORS or any(one.compress_type != zipfile.ZIP_STORED for one in members):
            raise InputError(f"{named(path)} is a compressed zip, expected a checkpoint as torch.save writes it")


def _state(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the named tensors of a checkpoint: a bare state dict, or one beside optimiser and epoch."""
    if isinstance(content, dict):
        content = content.get("state_dict_G", content.get("state_dict", content))
    if not isinstance(content, dict) or not 0 < len(content) <= MAX_TENSORS:
        raise InputError(f"{named(path)} holds no state dict; expected a checkpoint of UnCRtainTS or DSen2-CR")
    if not all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()):
        raise InputError(
            f"{named(path)} holds no state dict of tensors; expected a checkpoint of UnCRtainTS or DSen2-CR"
        )
    return {name.removeprefix("netG."): tensor for name, tensor in content.items()}


def _safetensors(path: Path, start: bytes) -> dict[str, Tensor]:
    if not start.endswith(b"{"):
        raise InputError(
            f"{named(path)} is no checkpoint{found_clause(path)}; expected .pth.tar of UnCRtainTS, or .hdf5 of DSen2-CR"
        )
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{named(path)} is not a whole safetensors file ({error}); fetch it again") from error


def _keras_tensors(path: Path) -> dict[str, Tensor]:
    """Return the convolutions of a Keras file in the order of its layers, under the names of the PyTorch version."""
    layers = read_convolutions(path)
    names = ["model.0", *(f"model.{2 + block // 2}.conv_block.{block % 2 * 2}" for block in range(len(layers) - 2))]
    names.append(f"model.{2 + (len(layers) - 2) // 2}")
    tensors = {}
    for name, (kernel, bias) in zip(names, layers, strict=True):
        tensors[f"{name}.weight"] = torch.from_numpy(kernel).permute(3, 2, 0, 1)
        tensors[f"{name}.bias"] = torch.from_numpy(bias)
    return tensors
