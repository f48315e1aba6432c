"""Inference on whole scenes: a network whose instance norms use the statistics of the scene.

:func:`freeze` collects the statistics jointly over a sample of windows and folds them into the convolutions. The result
is faster, and its output at a pixel does not depend on how the scene is cut into windows.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn

from unclouded.models.cyclegan import (
    DARK_LAND,
    RECEPTIVE_FIELD_PX,
    SAR_CHANNELS,
    STRIDE_PX,
    Convolution,
    InstanceNorm,
    ResidualBlock,
    SarToOptical,
    Upsampling,
    add_in_atanh,
)
from unclouded.models.exchange.openvino import compiled
from unclouded.models.scaling import Scaling
from unclouded.tensors.observation import Observation

MARGIN_PX = (-(-(RECEPTIVE_FIELD_PX // 2) // STRIDE_PX) + 1) * STRIDE_PX
"""Margin of a window: half the receptive field, rounded up to the stride of the network, and one stride more: 88."""

Precision = Literal["auto", "float32", "bfloat16", "int8"]
"""Numerical precision of a frozen network; ``auto`` is bfloat16 on devices that multiply it in hardware.

``int8`` requires OpenVINO. It uses 8-bit integers in all convolutions but the first and the last, and ``auto`` in the
rest of the network.
"""

Engine = Literal["torch", "openvino"]
"""Inference engine of a frozen network; ``openvino`` is an optional extra."""


@dataclass(frozen=True, eq=False)
class FrozenNetwork:
    """A network whose instance norms use the statistics of a scene, as a remover for windows of that scene.

    Attributes:
        name: Name in tables.
        bands: Optical bands of input and output, in this order.
        scaling: Conversion of physical units to network values.
        trunk: Trunk of the generator with folded norms: network values on any device to residuals.
        fill: Values that replace missing data in the input: mean backscatter in dB, mean reflectance by band.
        start: Start of the long skip connection in cloudy pixels, in network values; None if it is the cloudy image.
    """

    name: str
    bands: tuple[str, ...]
    scaling: Scaling
    trunk: Callable[[Tensor], Tensor]
    fill: tuple[Float[Tensor, "1 2 1 1"], Float[Tensor, "1 band 1 1"]]
    start: Float[Tensor, "1 band 1 1"] | None

    @torch.inference_mode()
    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image as TOA reflectance, on the device of the observation; NaN where the input has gaps."""
        seen = observation.select(self.bands)
        shown = _shown(seen, self.fill, self.scaling)
        height, width = shown.shape[-2:]
        residual = self.trunk(pad_to_stride(shown))[..., :height, :width].to(shown.device)
        start, cloud_map = shown[:, SAR_CHANNELS:-1], shown[:, -1:]
        if self.start is not None:
            start = torch.where(cloud_map > 0, self.start.to(shown.device), start)
        restored = self.scaling.reflectance(add_in_atanh(start, residual))
        return torch.where(has_data(seen), restored, torch.nan)


@torch.inference_mode()
def freeze(
    generator: SarToOptical,
    scaling: Scaling,
    bands: tuple[str, ...],
    sample: Sequence[Observation],
    *,
    name: str = "network",
    precision: Precision = "auto",
    engine: Engine = "torch",
) -> FrozenNetwork:
    """Adapt a network to a scene; see :meth:`unclouded.models.remover.SceneRemover.adapt`.

    Args:
        generator: Trained network.
        scaling: Conversion of physical units to network values.
        bands: Optical bands of the network.
        sample: Windows spread over the scene.
        name: Name in tables.
        precision: Numerical precision of the frozen network, and of the layers while statistics are collected.
        engine: Inference engine.

    Raises:
        InputError: The engine is not installed.
    """
    device = next(generator.parameters()).device
    seen = [one.select(bands).to(device) for one in sample]
    valid = [has_data(one) for one in seen]
    fill = _mean([one.sar for one in seen], valid), _mean([one.cloudy for one in seen], valid)
    images = [pad_to_stride(_shown(one, fill, scaling)) for one in seen]
    known = [pad_to_stride(one.float()) > 0 for one in valid]
    start = None if generator.skip == "cloudy" else _clear_mean(images, known)
    dtype = dtype_of(precision, device)
    statistics = joint_statistics(generator.trunk, images, known, dtype)
    trunk = folded(generator.trunk, statistics)
    seen_by_bytes = images if precision == "int8" else None
    run = Trunk(trunk, dtype) if engine == "torch" else compiled(trunk, dtype, seen_by_bytes)
    return FrozenNetwork(name, bands, scaling, run, fill, start)


def has_data(observation: Observation) -> Bool[Tensor, "batch 1 h w"]:
    """Return the pixels where radar and all optical bands are finite."""
    optical, radar = (image.isfinite().all(dim=1, keepdim=True) for image in (observation.cloudy, observation.sar))
    return optical & radar


def pad_to_stride(
    image: Float[Tensor, "batch channel h w"], stride: int = STRIDE_PX
) -> Float[Tensor, "batch channel rows columns"]:
    """Pad an image, below and on the right, until height and width are multiples of the stride.

    By reflection, or by the last row and column where an image is too small for it.
    """
    below, right = (-image.shape[-2] % stride, -image.shape[-1] % stride)
    if not below and not right:
        return image
    mode = "reflect" if below < image.shape[-2] and right < image.shape[-1] else "replicate"
    return F.pad(image, (0, right, 0, below), mode=mode)


def supports_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies bfloat16 in hardware: AMX, AVX-512 BF16, or a GPU from Ampere (8.0) on."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def dtype_of(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the data type of a precision on a device; for int8, that of the layers that are not quantised."""
    if precision in ("auto", "int8"):
        return torch.bfloat16 if supports_bfloat16(device) else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def _shown(
    observation: Observation, fill: tuple[Tensor, Tensor], scaling: Scaling
) -> Float[Tensor, "batch channel h w"]:
    """Return radar, cloudy image and cloud map as input channels of the network, with gaps filled."""
    radar, optical = (
        torch.where(image.isfinite(), image, mean.to(image.device))
        for image, mean in zip((observation.sar, observation.cloudy), fill, strict=True)
    )
    return torch.cat([scaling.sar(radar), scaling.optical(optical), observation.cloud_map], dim=1)


def _mean(images: Sequence[Tensor], where: Sequence[Tensor]) -> Tensor:
    """Return the mean of each channel over the selected pixels of all images; NaN if none is selected."""
    kept = [torch.where(here, image, 0.0) for image, here in zip(images, where, strict=True)]
    total = torch.stack([image.sum(dim=(2, 3), keepdim=True, dtype=torch.float64) for image in kept]).sum(dim=0)
    count = torch.stack([here.sum(dim=(2, 3), keepdim=True) for here in where]).sum(dim=0)
    return (total / count).to(images[0].dtype)


def _clear_mean(images: Sequence[Tensor], valid: Sequence[Tensor]) -> Tensor:
    """Return :func:`unclouded.models.cyclegan.clear_mean_start` over all windows: the mean clear pixel."""
    clear = [(image[:, -1:] == 0) & known for image, known in zip(images, valid, strict=True)]
    return _mean([image[:, SAR_CHANNELS:-1] for image in images], clear).nan_to_num(nan=DARK_LAND)


# Joint statistics of all windows. The mean of the variances of single windows lacks the variance between their means,
# which is large in a scene with land and water: the norms would then divide by too little. Images are also normalised
# with the joint statistics at every layer before the next one, because the statistics of a layer depend on the norms
# before it.


@dataclass(frozen=True, eq=False)
class ChannelStatistics:
    """Statistics of the input of an instance norm: mean and standard deviation of each channel."""

    mean: Float[Tensor, " channel"]
    deviation: Float[Tensor, " channel"]


@torch.inference_mode()
def joint_statistics(
    trunk: nn.Sequential,
    inputs: Sequence[Float[Tensor, "1 channel _ _"]],
    valid: Sequence[Bool[Tensor, "1 1 _ _"]],
    dtype: torch.dtype = torch.float32,
) -> list[ChannelStatistics]:
    """Return the statistics of every instance norm over all inputs together, as if they were one image.

    All inputs pass one layer before any passes the next, with the statistics of the layer taken over all of them. For
    a single input the result is what the network itself computes.

    Args:
        trunk: Trunk of a generator.
        inputs: Windows of one scene; heights and widths are multiples of 4.
        valid: Pixels of each input that count, at least one in all. At lower resolution every second or fourth pixel
            of the mask is used.
        dtype: Data type of the layers; statistics are computed in float32 or better.

    Returns:
        One item for each instance norm, in the order of computation.
    """
    last = max(i for i, layer in enumerate(trunk) if isinstance(layer, InstanceNorm))
    found: list[ChannelStatistics] = []
    layers = copy.deepcopy(trunk[: last + 1]).to(dtype)
    images = [image.to(dtype, memory_format=torch.channels_last) for image in inputs]
    _collect_statistics(layers, images, valid, found)
    return found


def _collect_statistics(
    layers: Iterable[nn.Module], images: list[Tensor], valid: Sequence[Tensor], found: list[ChannelStatistics]
) -> list[Tensor]:
    """Pass images through layers; the list is reused, so that memory holds the images at one layer only."""
    for layer in layers:
        if isinstance(layer, InstanceNorm):
            found.append(statistics := _over_all(images, valid, layer.eps))
            scale = (1 / statistics.deviation).view(-1, 1, 1)
            shift = -statistics.mean.view(-1, 1, 1) * scale
            for i, image in enumerate(images):
                images[i] = torch.addcmul(shift, image, scale).to(image.dtype)
        elif isinstance(layer, ResidualBlock):
            for image, change in zip(
                images, _collect_statistics(layer.change, list(images), valid, found), strict=True
            ):
                image.add_(change)
        else:
            for i in range(len(images)):
                images[i] = layer(images[i])
    return images


def _over_all(images: Sequence[Tensor], valid: Sequence[Tensor], eps: float) -> ChannelStatistics:
    """Return mean and standard deviation of each channel over the valid pixels of all images.

    Variances of single images are taken around their own means, in float32, and combined in float64 with the variance
    between the means: E[x^2] - E[x]^2 over all pixels would cancel in float32 where the mean is large.
    """
    known = [pixels for pair in zip(images, valid, strict=True) if len(pixels := _valid_pixels(*pair))]
    weights = torch.tensor([len(pixels) for pixels in known], dtype=torch.float64, device=images[0].device)
    weights = (weights / weights.sum()).view(-1, 1)
    means = torch.stack([pixels.mean(dim=0) for pixels in known]).double()
    variances = torch.stack(
        [(pixels - mean.float()).square_().mean(dim=0) for pixels, mean in zip(known, means, strict=True)]
    ).double()
    mean = (weights * means).sum(dim=0)
    variance = (weights * (variances + (means - mean).square())).sum(dim=0)
    return ChannelStatistics(mean.float(), (variance + eps).sqrt().float())


def _valid_pixels(image: Tensor, valid: Tensor) -> Float32[Tensor, "pixel channel"]:
    """Return the valid pixels of an image as rows, in the order of memory (channels_last).

    Reductions in the other order are ten times slower.
    """
    step = valid.shape[-1] // image.shape[-1]
    here, pixels = valid[0, 0, ::step, ::step], image[0].permute(1, 2, 0)
    return (pixels.flatten(0, 1) if here.all() else pixels[here]).float()


def folded(trunk: nn.Sequential, statistics: Sequence[ChannelStatistics]) -> nn.Sequential:
    """Return a trunk without norms that is equivalent to one whose norms use the given statistics.

    (W x - mean) / deviation is a convolution again, with the weight W / deviation and the bias -mean / deviation.

    Args:
        trunk: Trunk of a generator; not changed.
        statistics: One item for each of its instance norms.
    """
    layers = nn.Sequential(*_folded_layers(trunk, iter(statistics)))
    return layers.eval().requires_grad_(requires_grad=False)


def _folded_layers(layers: Iterable[nn.Module], statistics: Iterator[ChannelStatistics]) -> Iterator[nn.Module]:
    for layer in layers:
        if isinstance(layer, ResidualBlock):
            yield FoldedBlock(*_folded_layers(layer.change, statistics))
        elif isinstance(layer, Convolution | Upsampling):
            yield _normalised(layer, next(statistics))
        elif not isinstance(layer, InstanceNorm):
            yield copy.deepcopy(layer)


class FoldedBlock(nn.Sequential):
    """A residual block without norms."""

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
        """Return x with its change added."""
        change = x
        for layer in self:
            change = layer(change)
        return change.add_(x)


def _normalised(layer: Convolution | Upsampling, statistics: ChannelStatistics) -> nn.Conv2d | nn.ConvTranspose2d:
    """Return a convolution with a bias whose output is that of the layer followed by its instance norm."""
    made: nn.Conv2d | nn.ConvTranspose2d
    channels = layer.in_channels, layer.out_channels
    if isinstance(layer, Upsampling):
        made, shape = nn.ConvTranspose2d(*channels, 3, stride=2, padding=1, output_padding=1), (1, -1, 1, 1)
    else:
        stride, padding = layer.stride[0], layer.padding[0]
        made, shape = nn.Conv2d(*channels, layer.kernel_size[0], stride, padding), (-1, 1, 1, 1)
    made.weight = nn.Parameter(layer.weight.detach() / statistics.deviation.view(shape))
    made.bias = nn.Parameter(-statistics.mean / statistics.deviation)
    return made


class Trunk(nn.Module):
    """A folded trunk in torch, with weights in channels_last, the fastest memory layout.

    Args:
        layers: Result of :func:`folded`; changed in place.
        dtype: Data type of the computation.
    """

    def __init__(self, layers: nn.Sequential, dtype: torch.dtype) -> None:
        super().__init__()
        self.layers = layers
        self.layers.to(dtype)
        for parameter in self.layers.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def forward(self, image: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch band h w"]:
        """Return the residual, on the device of the weights."""
        weight = next(reversed(list(self.layers.parameters())))
        residual: Tensor = self.layers(image.to(weight.device, weight.dtype, memory_format=torch.channels_last))
        return residual
