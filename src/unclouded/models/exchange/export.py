"""Export of trained networks: ONNX, OpenVINO or torch, each with its description and model card beside it."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from unclouded.errors import InputError
from unclouded.files import require_writable, whole_file, write_json, write_text
from unclouded.models.cyclegan import (
    STRIDE_PX,
    InstanceNorm,
    ResidualBlock,
    SarToOptical,
    Skip,
    add_in_atanh,
    clear_mean_start,
)
from unclouded.models.exchange.export_card import (
    OUTPUT,
    SUFFIXES,
    ExportSettings,
    Format,
    Parity,
    card,
    describe,
    stac_item,
)
from unclouded.models.exchange.mlm import CLOUD_MAP, Description
from unclouded.models.exchange.onnx_remover import OnnxRemover, load_onnx
from unclouded.models.inference import FoldedBlock, FrozenNetwork, freeze
from unclouded.models.network import NetworkRemover
from unclouded.models.remover import CloudRemover, FunctionRemover, keep_clear_pixels
from unclouded.models.scaling import Scaling
from unclouded.sensors import SENTINEL2
from unclouded.tensors.observation import Observation

EXAMPLE_PX = 64


class ExportedNetwork(nn.Module):
    """A network with or without statistics of a scene, in layers that other engines have.

    Args:
        trunk: Trunk of a generator, or one with folded norms.
        scaling: Conversion of physical units to network values.
        skip: Start of the long skip connection.
        start: Start in cloudy pixels, network values, if it is that of a scene.
        settings: What the network contains.
    """

    def __init__(
        self, trunk: nn.Sequential, scaling: Scaling, skip: Skip, start: Tensor | None, settings: ExportSettings
    ) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*_plain(trunk)).eval().requires_grad_(requires_grad=False)
        self.scaling, self.skip, self.settings = scaling, skip, settings
        self.register_buffer("start", start)

    def forward(
        self,
        sar: Float[Tensor, "1 2 h w"],
        cloudy: Float[Tensor, "1 band h w"],
        cloud_map: Float[Tensor, "1 1 h w"] | None = None,
    ) -> Float[Tensor, "1 band h w"]:
        """Return the clear image in the units of the input."""
        m = torch.ones_like(cloudy[:, :1]) if cloud_map is None else cloud_map
        inside = self.settings.scaling == "inside"
        if inside:
            radar, optical = self.scaling.sar(sar), self.scaling.optical(cloudy)
        else:
            radar, optical = torch.cat([sar, sar.mean(dim=1, keepdim=True)], dim=1), cloudy
        residual = self.trunk(torch.cat([radar, optical, m], dim=1))
        restored = add_in_atanh(self._start(optical, m), residual)
        if inside:
            restored = self.scaling.reflectance(restored)
        return torch.where(m > 0, restored, cloudy) if self.settings.composition == "inside" else restored

    def _start(self, optical: Tensor, m: Tensor) -> Tensor:
        if self.skip == "cloudy":
            return optical
        start = self.start
        return torch.where(m > 0, start, optical) if isinstance(start, Tensor) else clear_mean_start(optical, m)


class _InstanceNorm(nn.Module):
    """Instance norm as one operator."""

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
        return F.instance_norm(x, eps=InstanceNorm.eps)


class _Block(nn.Sequential):
    """Residual block that leaves its input unchanged."""

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
        change = x
        for layer in self:
            change = layer(change)
        return x + change


def _plain(layers: nn.Module) -> Iterator[nn.Module]:
    """Yield equivalent layers that other engines have; convolutions are shared."""
    for layer in layers.children():
        if isinstance(layer, ResidualBlock):
            yield _Block(*_plain(layer.change))
        elif isinstance(layer, FoldedBlock):
            yield _Block(*_plain(layer))
        elif isinstance(layer, InstanceNorm):
            yield _InstanceNorm()
        elif isinstance(layer, nn.ReflectionPad2d):
            yield nn.ReflectionPad2d(layer.padding)
        elif isinstance(layer, nn.ReLU):
            yield nn.ReLU()
        else:
            yield layer


@dataclass(frozen=True)
class Export:
    """An exported network.

    Attributes:
        network: File of the network.
        parity: Difference from the original on the patch of the comparison.
    """

    network: Path
    parity: Parity


def export_network(
    remover: NetworkRemover,
    out: Path,
    to: Format,
    compared_on: Observation,
    settings: ExportSettings | None = None,
    sample: Sequence[Observation] = (),
    licence: str = "not stated",
) -> Export:
    """Export a trained network with description and model card, and compare it with the original.

    Args:
        remover: Trained network.
        out: Folder for NAME.onnx (or .xml and .bin, or .pt2), NAME.json and README.md.
        to: Format.
        compared_on: Image without gaps, on which both are compared.
        settings: What the exported network contains.
        sample: Windows of a scene, whose statistics are folded into the network; none to keep its instance norms.
        licence: Licence of the weights, for the model card.

    Returns:
        The network file and the difference.

    Raises:
        InputError: The settings do not fit together, or a package is missing.
    """
    settings = settings or ExportSettings()
    settings.require_possible()
    require_writable(out)
    original, network = export_networks(remover, settings, sample)
    described = describe(remover, settings, folded=bool(sample))
    path = out / f"{remover.name}{SUFFIXES[to]}"
    write = {"onnx": _write_onnx, "openvino": _write_openvino, "torch": _write_torch}[to]
    arguments = _example(settings, remover.bands)
    with _quiet():
        write(network, arguments, path)
    write_json(path.with_suffix(".json"), stac_item(described, path, to))
    exported = open_exported(path, to, described, remover.name)
    parity = compare(original, exported, compared_on.select(remover.bands), settings)
    write_text(out / "README.md", card(remover, described, path, to, parity, licence))
    return Export(path, parity)


def export_networks(
    remover: NetworkRemover, settings: ExportSettings, sample: Sequence[Observation]
) -> tuple[CloudRemover, ExportedNetwork]:
    """Return the original for the comparison, and the network to export, both on the CPU in float32."""
    generator, scaling = remover.generator.cpu().float(), remover.settings.scaling
    if not isinstance(generator, SarToOptical):
        raise InputError(f"{remover.name} is a network of another package; export it with torch.onnx.export")
    skip = remover.settings.skip
    if not sample:
        return remover, ExportedNetwork(generator.trunk, scaling, skip, None, settings)
    frozen: FrozenNetwork = freeze(generator, scaling, remover.bands, sample, name=remover.name, precision="float32")
    return frozen, ExportedNetwork(frozen.trunk.layers, scaling, skip, frozen.start, settings)  # type: ignore[attr-defined]


def _example(settings: ExportSettings, bands: Sequence[str]) -> tuple[Tensor, ...]:
    sar, cloudy = torch.zeros(1, 2, EXAMPLE_PX, EXAMPLE_PX), torch.zeros(1, len(bands), EXAMPLE_PX, EXAMPLE_PX)
    return (sar, cloudy, torch.ones_like(cloudy[:, :1])) if settings.cloud_map == "input" else (sar, cloudy)


def _input_names(arguments: Sequence[Tensor]) -> list[str]:
    return ["sar", "cloudy", CLOUD_MAP][: len(arguments)]


def _dynamic(arguments: Sequence[Tensor]) -> tuple[Any, ...]:
    """Heights and widths are any multiples of 4 px."""
    rows, columns = (torch.export.Dim(name, min=4, max=1 << 14) for name in ("rows", "columns"))
    return tuple({2: STRIDE_PX * rows, 3: STRIDE_PX * columns} for _ in arguments)


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # exporters warn about functions of their own
        yield


def _write_onnx(network: nn.Module, arguments: tuple[Tensor, ...], path: Path) -> None:
    try:
        import onnxscript  # noqa: F401  # of torch.onnx
    except ImportError as error:
        raise InputError("export to ONNX needs onnx and onnxscript; run 'pip install unclouded[export]'") from error
    with whole_file(path) as partial:
        torch.onnx.export(
            network,
            arguments,
            str(partial),
            input_names=_input_names(arguments),
            output_names=[OUTPUT],
            dynamic_shapes=_dynamic(arguments),
            external_data=False,
            verbose=False,
        )


def _write_openvino(network: nn.Module, arguments: tuple[Tensor, ...], path: Path) -> None:
    try:
        import openvino
    except ImportError as error:
        raise InputError("OpenVINO is not installed; run 'pip install unclouded[openvino]'") from error
    sizes = [[1, one.shape[1], -1, -1] for one in arguments]
    model = openvino.convert_model(network, example_input=arguments, input=sizes)
    for port, name in zip(model.inputs, _input_names(arguments), strict=True):
        port.get_tensor().set_names({name})
    model.output(0).get_tensor().set_names({OUTPUT})
    weights = path.with_suffix(".bin")
    with whole_file(path) as partial:
        openvino.save_model(model, partial.with_suffix(".xml"), compress_to_fp16=False)
        partial.with_suffix(".bin").replace(weights)
        if partial.suffix != ".xml":
            partial.with_suffix(".xml").replace(partial)


def _write_torch(network: nn.Module, arguments: tuple[Tensor, ...], path: Path) -> None:
    program = torch.export.export(network, arguments, dynamic_shapes=_dynamic(arguments))
    with whole_file(path) as partial, partial.open("wb") as file:
        torch.export.save(program, file)


# Reading back.


@dataclass(frozen=True, eq=False)
class _Session:
    """A network of another engine, called like a session of onnxruntime."""

    answer: Callable[[dict[str, np.ndarray]], np.ndarray]

    def run(self, outputs: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [self.answer(feeds)]


def open_exported(path: Path, to: Format, described: Description, name: str) -> OnnxRemover:
    """Return an exported network as a remover, with the preprocessing of its description."""
    if to == "onnx":
        return load_onnx(path)
    if to == "openvino":
        import openvino

        compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return OnnxRemover(_Session(lambda feeds: next(iter(compiled(feeds).values())).copy()), described, name, {})
    program = torch.export.load(path).module()

    def answer(feeds: dict[str, np.ndarray]) -> np.ndarray:
        result: np.ndarray = program(*map(torch.from_numpy, feeds.values())).numpy()
        return result

    return OnnxRemover(_Session(answer), described, name, {})


def compare(original: CloudRemover, exported: CloudRemover, seen: Observation, settings: ExportSettings) -> Parity:
    """Return the difference of two removers on an image, over all its bands and pixels."""
    height, width = (length // STRIDE_PX * STRIDE_PX for length in seen.cloudy.shape[-2:])
    seen = seen.transformed(lambda image: image[..., :height, :width])
    if settings.cloud_map == "ones":
        original = _with_full_map(original)
    expected = original(seen)
    if settings.composition == "inside":
        expected = keep_clear_pixels(expected, seen)
    difference = (exported(seen) - expected).abs() * SENTINEL2.stored_per_unit
    return Parity(float(difference.max()), float(difference.mean()))


def _with_full_map(remover: CloudRemover) -> CloudRemover:
    return FunctionRemover(
        remover.name,
        remover.bands,
        lambda seen: remover(replace(seen, cloud_map=torch.ones_like(seen.cloud_map))),
    )
