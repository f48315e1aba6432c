"""Instance norms of one scene: their statistics taken over many windows at once, frozen, folded into convolutions."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn

from unclouded.models.generator import Convolution, ResidualBlock, Upsampling
from unclouded.models.normalisation import InstanceNorm


@dataclass(frozen=True, eq=False)
class ChannelStatistics:
    """What an instance norm takes from its input: one mean and one standard deviation a channel."""

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

    Layer by layer: all inputs pass a layer, then its statistics are taken over all of them, and only then do they go
    on. (Means of the statistics that each input has by itself are another thing, and worse than none.) Of one input
    the result is what the network itself computes.

    Args:
        trunk: Of a generator.
        inputs: Windows of one scene, heights and widths multiples of 4.
        valid: Pixels that count, of each input; at least one in all. At a lower resolution every second or fourth is
            asked.
        dtype: What the layers compute in; statistics are sums in float32 or better in any case.

    Returns:
        As many as there are instance norms, in the order of the data.
    """
    last = max(i for i, layer in enumerate(trunk) if isinstance(layer, InstanceNorm))
    found: list[ChannelStatistics] = []
    layers = copy.deepcopy(trunk[: last + 1]).to(dtype)
    images = [image.to(dtype, memory_format=torch.channels_last) for image in inputs]
    _walk(layers, images, valid, found)
    return found


def _walk(
    layers: Iterable[nn.Module], images: list[Tensor], valid: Sequence[Tensor], found: list[ChannelStatistics]
) -> list[Tensor]:
    """Pass images through layers; the list is reused, so that all images are held at one layer only."""
    for layer in layers:
        if isinstance(layer, InstanceNorm):
            found.append(statistics := _over_all(images, valid, layer.eps))
            scale = (1 / statistics.deviation).view(-1, 1, 1)
            shift = -statistics.mean.view(-1, 1, 1) * scale
            for i, image in enumerate(images):
                images[i] = torch.addcmul(shift, image, scale).to(image.dtype)
        elif isinstance(layer, ResidualBlock):
            for image, change in zip(images, _walk(layer.change, list(images), valid, found), strict=True):
                image.add_(change)
        else:
            for i in range(len(images)):
                images[i] = layer(images[i])
    return images


def _over_all(images: Sequence[Tensor], valid: Sequence[Tensor], eps: float) -> ChannelStatistics:
    """Mean and deviation of each channel over the valid pixels of all images, put together in float64."""
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
    """In the order of memory, which is channels_last: reductions over the other order are ten times slower."""
    step = valid.shape[-1] // image.shape[-1]
    here, pixels = valid[0, 0, ::step, ::step], image[0].permute(1, 2, 0)
    return (pixels.flatten(0, 1) if here.all() else pixels[here]).float()


def folded(trunk: nn.Sequential, statistics: Sequence[ChannelStatistics]) -> nn.Sequential:
    """Return a trunk without norms that answers as one whose norms use the given statistics.

    (W x - mean) / deviation is a convolution again, with W / deviation and the bias -mean / deviation.

    Args:
        trunk: Of a generator; stays as it is.
        statistics: One for each of its instance norms.
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
    """A residual block of layers without norms."""

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
        """Return x with its change added."""
        change = x
        for layer in self:
            change = layer(change)
        return change.add_(x)


def _normalised(layer: Convolution | Upsampling, statistics: ChannelStatistics) -> nn.Conv2d | nn.ConvTranspose2d:
    """Return a convolution, with a bias, whose output is the layer's after its instance norm."""
    made: nn.Conv2d | nn.ConvTranspose2d
    channels = layer.in_channels, layer.out_channels
    if isinstance(layer, Upsampling):
        made, shape = nn.ConvTranspose2d(*channels, 3, stride=2, padding=1, output_padding=1), (1, -1, 1, 1)
    else:
        stride, padding = layer.stride[0], layer.padding[0]
        made, shape = nn.Conv2d(*channels, layer.kernel_size[0], stride, padding), (-1, 1, 1, 1)
    made.weight.data = layer.weight.detach() / statistics.deviation.view(shape)
    assert made.bias is not None
    made.bias.data = -statistics.mean / statistics.deviation
    return made


class Trunk(nn.Module):
    """A folded trunk in torch, in the memory layout that processors are fastest at.

    Args:
        layers: What :func:`folded` returns; is used up.
        dtype: What to compute in.
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
