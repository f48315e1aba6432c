"""The discriminator of both domains: real or generated, patch by patch."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class PatchDiscriminator(nn.Module):
    """The 70 x 70 PatchGAN of CycleGAN [18], with spectral normalisation [24] on every convolution (section II-B).

    There is no instance normalisation beside the spectral one (our decision), and no sigmoid: the loss is least
    squares.

    Args:
        channels: 3 for radar; for optical images their bands and the cloud map.
        width: Channels after the first convolution; the paper has 64.
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
        """Judge an image of network values: near 1 for real, near 0 for generated; 256 px give 30 x 30 judgements."""
        judgement: Tensor = self.layers(image)
        return judgement


class _Convolution(nn.Conv2d):
    """Finds its spectral norm in float32: on CUDA autocast would round the power iteration to bfloat16."""

    def forward(self, x: Float[Tensor, "batch before h w"]) -> Float[Tensor, "batch after rows columns"]:
        with torch.autocast(x.device.type, enabled=False):
            weight = self.weight
        answer: Tensor = self._conv_forward(x, weight, self.bias)
        return answer


def _convolution(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    return spectral_norm(_Convolution(channels_in, channels_out, kernel_size=4, stride=stride, padding=1))
