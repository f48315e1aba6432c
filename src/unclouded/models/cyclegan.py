"""Networks of the paper: both generators, the discriminator, and their initial weights."""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

SAR_CHANNELS = 3
"""VV, VH and their mean; see :class:`unclouded.models.scaling.Scaling`."""

RECEPTIVE_FIELD_PX = 169
"""Width of the receptive field of an output pixel, apart from instance statistics."""

DARK_LAND = -0.75
"""Network value of a reflectance of 0.125 under the paper's scaling."""

STRIDE_PX = 4
"""Heights and widths of the input must be multiples of this."""

Skip = Literal["cloudy", "clear-mean"]
"""Start of the long skip connection; see :class:`SarToOptical`."""

_BLOCKS = 9

# The clamp keeps atanh finite. At 1 - 1e-6 a zero residual returns every stored number (reflectance x 10,000) exactly,
# in float32; at 1 - 1e-3 the brightest numbers would be off by 5.
_ATANH_LIMIT = 1 - 1e-6


class Restoration(NamedTuple):
    """Output of the cloud-removal generator, in network values.

    Attributes:
        optical: Restored image, in [-1, 1].
        residual: Residual that is added before the output nonlinearity, S2res in the paper.
        cloud_map_estimate: Cloud map regressed from the residual; used in training only.
    """

    optical: Float[Tensor, "batch band h w"]
    residual: Float[Tensor, "batch band h w"]
    cloud_map_estimate: Float[Tensor, "batch 1 h w"]


class OpticalToSar(nn.Module):
    """G_S2->S1: the 9-block ResNet generator of CycleGAN, unchanged (section II-B and Fig. 2 of the paper, [18]).

    Args:
        bands: Number of optical bands.
        width: Number of channels after the first convolution; 64 in the paper.
    """

    def __init__(self, bands: int = 3, width: int = 64) -> None:
        super().__init__()
        self.trunk = _resnet(bands, SAR_CHANNELS, width)

    def forward(self, optical: Float[Tensor, "batch band h w"]) -> Float[Tensor, "batch 3 h w"]:
        """Translate an optical image into a radar image; network values, height and width multiples of 4."""
        sar: Tensor = self.trunk(optical)
        return sar.tanh()


class CloudRemovalGenerator(nn.Module):
    """A cloud-removal generator: the paper's, or that of another package.

    Attributes:
        stride_px: Heights and widths of the input are multiples of it.
    """

    stride_px = STRIDE_PX

    def forward(
        self,
        sar: Float[Tensor, "batch 3 h w"],
        cloudy: Float[Tensor, "batch band h w"],
        cloud_map: Float[Tensor, "batch 1 h w"],
    ) -> Restoration:
        """Restore a cloudy image; see :meth:`SarToOptical.forward`."""
        raise NotImplementedError


class SarToOptical(CloudRemovalGenerator):
    """G_S1->S2: the same trunk, conditioned on cloudy image and map, with a long skip (section II-B, Fig. 3, Table I).

    In the paper the long skip connection starts from the cloudy image, so that the residual has to remove every cloud
    with all its texture. As an extension, ``skip="clear-mean"`` starts from :func:`clear_mean_start` instead.

    Args:
        bands: Number of optical bands.
        width: Number of channels after the first convolution; 64 in the paper.
        skip: Start of the long skip connection; ``cloudy`` in the paper.
    """

    def __init__(self, bands: int = 3, width: int = 64, skip: Skip = "cloudy") -> None:
        super().__init__()
        self.skip = skip
        self.trunk = _resnet(SAR_CHANNELS + bands + 1, bands, width)
        self.cloud_map = nn.Conv2d(bands, 1, kernel_size=3, padding=1)

    def forward(
        self,
        sar: Float[Tensor, "batch 3 h w"],
        cloudy: Float[Tensor, "batch band h w"],
        cloud_map: Float[Tensor, "batch 1 h w"],
    ) -> Restoration:
        """Restore a cloudy image; network values, height and width multiples of 4.

        Args:
            sar: Radar in [-1, 1].
            cloudy: Optical image in [-1, 1]; also the start of the long skip connection.
            cloud_map: The map m, 0 clear to 1 cloudy.
        """
        residual = self.trunk(torch.cat([sar, cloudy, cloud_map], dim=1))
        start = cloudy if self.skip == "cloudy" else clear_mean_start(cloudy, cloud_map)
        return Restoration(add_in_atanh(start, residual), residual, self.cloud_map(residual))


def clear_mean_start(
    cloudy: Float[Tensor, "batch band h w"], cloud_map: Float[Tensor, "batch 1 h w"]
) -> Float[Tensor, "batch band h w"]:
    """Fill pixels with m > 0 with the mean of the pixels of the image with m = 0; an extension of the paper.

    In an image without clear pixels the value is that of dark land, :data:`DARK_LAND`.

    Args:
        cloudy: Optical image in [-1, 1].
        cloud_map: The map m, 0 clear to 1 cloudy.
    """
    clear = (cloud_map == 0).to(cloudy.dtype)
    count = clear.sum(dim=(2, 3), keepdim=True)
    mean = (cloudy * clear).sum(dim=(2, 3), keepdim=True) / count.clamp(min=1)
    return torch.where(cloud_map > 0, torch.where(count > 0, mean, DARK_LAND), cloudy)


def add_in_atanh(cloudy: Tensor, residual: Tensor) -> Tensor:
    """Return tanh(atanh(S2) + S2res), computed in float32 or better whatever the precision of the residual.

    Section II-B of the paper. With a residual of 0 every stored number is returned exactly.

    Args:
        cloudy: S2 in [-1, 1].
        residual: S2res, of the same shape, unbounded.
    """
    start = cloudy.to(torch.promote_types(cloudy.dtype, torch.float32)).clamp(-_ATANH_LIMIT, _ATANH_LIMIT)
    return (start.atanh() + residual.to(start.dtype)).tanh()


def _resnet(channels_in: int, channels_out: int, width: int) -> nn.Sequential:
    """Return the ResNet generator of CycleGAN [18] without its last nonlinearity."""
    return nn.Sequential(
        _Reflection(3),
        *_normalised(Convolution(channels_in, width, 7)),
        *_normalised(Convolution(width, 2 * width, 3, stride=2, padding=1)),
        *_normalised(Convolution(2 * width, 4 * width, 3, stride=2, padding=1)),
        *(ResidualBlock(4 * width) for _ in range(_BLOCKS)),
        *_normalised(Upsampling(4 * width, 2 * width)),
        *_normalised(Upsampling(2 * width, width)),
        _Reflection(3),
        nn.Conv2d(width, channels_out, 7),
    )


def _normalised(convolution: nn.Module) -> tuple[nn.Module, nn.Module, nn.Module]:
    return convolution, InstanceNorm(), nn.ReLU(inplace=True)


class _Reflection(nn.ReflectionPad2d):
    """Reflection padding in the precision of the input; autocast would convert the input to float32."""

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel rows columns"]:
        if x.is_cuda and torch.are_deterministic_algorithms_enabled():
            return mirrored(x, self.padding[0])
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x)


def mirrored(x: Float[Tensor, "batch channel h w"], width: int) -> Float[Tensor, "batch channel rows columns"]:
    """Return an image padded by reflection; unlike that of torch, the gradient on CUDA repeats its bytes."""
    for axis in (2, 3):
        length = x.shape[axis]
        before = x.narrow(axis, 1, width).flip(axis)
        after = x.narrow(axis, length - 1 - width, width).flip(axis)
        x = torch.cat([before, x, after], dim=axis)
    return x


class Convolution(nn.Conv2d):
    """A convolution in front of an instance norm, which cancels any bias: the bias is stored but not added."""

    def forward(self, x: Float[Tensor, "batch before h w"]) -> Float[Tensor, "batch after rows columns"]:
        """Convolve without bias."""
        return F.conv2d(x, self.weight, None, self.stride, self.padding)


class Upsampling(nn.ConvTranspose2d):
    """A transposed convolution to twice the height and width, in front of an instance norm: its bias is not added."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, kernel_size=3, stride=2, padding=1, output_padding=1)

    def forward(  # type: ignore[override]
        self, x: Float[Tensor, "batch before h w"]
    ) -> Float[Tensor, "batch after rows columns"]:
        """Convolve without bias."""
        return F.conv_transpose2d(x, self.weight, None, stride=2, padding=1, output_padding=1)


class ResidualBlock(nn.Module):
    """A residual block of CycleGAN [18]: x + change(x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            _Reflection(1),
            *_normalised(Convolution(channels, channels, 3)),
            _Reflection(1),
            Convolution(channels, channels, 3),
            InstanceNorm(),
        )

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
        """Return x with its change added."""
        change: Tensor = self.change(x)
        return x + change


def fit_channels(image: Float[Tensor, "batch channel h w"], count: int) -> Float[Tensor, "batch fitted h w"]:
    """Repeat the channels of an image in their order until there are ``count``; an image that fits is returned as is.

    For the identity terms, the input of a generator is an image of its output domain. With three optical bands the
    numbers of channels agree, as in the paper; for other numbers this is our decision.
    """
    channels = image.shape[1]
    return image if channels == count else image[:, [i % channels for i in range(count)]]


# Instance normalisation in both memory layouts, contiguous and channels_last.


class InstanceNorm(nn.Module):
    """Instance normalisation [33] without affine parameters and without running statistics (section III-B.2).

    It is computed by ``batch_norm`` on each sample as a batch of one, which is the same function, keeps the memory
    layout of the input, and has the correct gradient in both layouts. ``instance_norm`` on the CPU returns a wrong
    gradient, without a warning, if the incoming gradient is channels_last (torch 2.13, 2.14).
    """

    eps = 1e-5

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
        """Return the input with mean 0 and variance 1 in every channel of every sample."""
        samples = [F.batch_norm(x[i : i + 1], None, None, training=True, eps=self.eps) for i in range(len(x))]
        return samples[0] if len(samples) == 1 else torch.cat(samples)


# The discriminator of both domains.


class PatchDiscriminator(nn.Module):
    """The 70 x 70 PatchGAN of CycleGAN [18], with spectral normalisation [24] on every convolution (section II-B).

    There is no instance normalisation in addition (our decision), and no sigmoid, because the loss is least squares.

    Args:
        channels: Number of input channels: 3 for radar; bands and cloud map for optical images.
        width: Number of channels after the first convolution; 64 in the paper.
    """

    def __init__(self, channels: int, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _convolution(channels, width, stride=2),
            nn.LeakyReLU(0.2, inplace=True),
            _convolution(width, 2 * width, stride=2),
            nn.LeakyReLU(0.2, inplace=True),
            _convolution(2 * width, 4 * width, stride=2),
            nn.LeakyReLU(0.2, inplace=True),
            _convolution(4 * width, 8 * width, stride=1),
            nn.LeakyReLU(0.2, inplace=True),
            _convolution(8 * width, 1, stride=1),
        )

    def forward(self, image: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch 1 rows columns"]:
        """Return one score per 70 x 70 px: near 1 for real, near 0 for generated images; 30 x 30 scores for 256 px.

        Args:
            image: Image in network values.
        """
        scores: Tensor = self.layers(image)
        return scores


class _Convolution(nn.Conv2d):
    """A convolution whose spectral norm is computed in float32; on CUDA, autocast would round it to bfloat16."""

    def forward(self, x: Float[Tensor, "batch before h w"]) -> Float[Tensor, "batch after rows columns"]:
        with torch.autocast(x.device.type, enabled=False):
            weight = self.weight
        convolved: Tensor = self._conv_forward(x, weight, self.bias)
        return convolved


def _convolution(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    return spectral_norm(_Convolution(channels_in, channels_out, kernel_size=4, stride=stride, padding=1))


# Initial weights of every network.


_POWER_ITERATIONS = 15  # as many as torch uses when it constructs a spectral normalisation


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw all convolution weights from N(0, 0.02^2), set all biases to 0, and restart the spectral normalisations.

    The standard deviation is that of CycleGAN [18]; section III-B.2 of the paper has sigma^2 = 0.02.

    Args:
        module: A generator or a discriminator, changed in place.
        generator: Source of randomness, on the module's device.
    """
    for parameter in module.parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=0.02, generator=generator)
        else:
            parameter.zero_()
    _restart_power_iterations(module, generator)


def _restart_power_iterations(module: nn.Module, generator: torch.Generator) -> None:
    """Estimate the first singular vectors of every spectral convolution, starting from random vectors.

    The vectors are buffers and part of the state_dict, so that a resumed training continues bit for bit.
    """
    buffers = dict(module.named_buffers())
    for name in [name for name in buffers if name.endswith(".parametrizations.weight.0._u")]:
        stem = name.removesuffix(".0._u")
        u, v = buffers[name], buffers[f"{stem}.0._v"]
        weight = module.get_parameter(f"{stem}.original").flatten(1)
        u.copy_(F.normalize(u.normal_(generator=generator), dim=0))
        for _ in range(_POWER_ITERATIONS):
            v.copy_(F.normalize(weight.T @ u, dim=0))
            u.copy_(F.normalize(weight @ v, dim=0))
