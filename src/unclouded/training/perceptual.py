"""Perceptual losses of paired images: features and style on VGG16 (section III-B.2 of the paper, [38])."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unclouded.errors import InputError
from unclouded.sensors import RGB
from unclouded.vgg.network import Vgg16, load_vgg16

LAYERS = (11, 20, 29)
"""ReLUs 3_1, 4_2 and 5_3: the paper's layers, read as indices into torchvision's ``features`` (our decision)."""

Maps = list[Float[Tensor, "batch channel h w"]]


class PerceptualLoss(nn.Module):
    """How different two optical images look to VGG16.

    Args:
        vgg: The network; frozen.
        bands: Names of the images' bands.

    Raises:
        InputError: Red, green or blue (B04, B03, B02) is not among the bands.
    """

    def __init__(self, vgg: Vgg16, bands: tuple[str, ...]) -> None:
        super().__init__()
        if absent := [band for band in RGB if band not in bands]:
            raise InputError(
                f"the perceptual losses need the bands {' '.join(RGB)}, found {' '.join(bands)};"
                f" add {' '.join(absent)}, or set loss.feature and loss.style to 0"
            )
        self.vgg = vgg
        self.rgb = [bands.index(band) for band in RGB]

    def forward(
        self, prediction: Float[Tensor, "batch band h w"], target: Float[Tensor, "batch band h w"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return the feature loss and the style loss of network values in [-1, 1]."""
        with torch.no_grad():
            wanted = self._maps(target)
        found = self._maps(prediction)
        return feature_loss(found, wanted), style_loss(found, wanted)

    def _maps(self, image: Tensor) -> Maps:
        maps: Maps = self.vgg((image[:, self.rgb] + 1) / 2, LAYERS)
        return [one.float() for one in maps]


def perceptual_loss(weights: str, bands: tuple[str, ...]) -> PerceptualLoss:
    """Make the perceptual losses with the VGG16 of :func:`unclouded.vgg.network.load_vgg16`."""
    return PerceptualLoss(load_vgg16(weights), bands)


def feature_loss(prediction: Maps, target: Maps) -> Float[Tensor, ""]:
    """Mean squared difference of the activations, summed over the layers (Johnson et al. 2016, section 3.2)."""
    return torch.stack([(p - t).square().mean() for p, t in zip(prediction, target, strict=True)]).sum()


def style_loss(prediction: Maps, target: Maps) -> Float[Tensor, ""]:
    """Squared Frobenius norm of the difference of Gram matrices, mean over the batch, summed over the layers.

    Johnson et al. (2016), section 3.2.
    """
    differences = [gram(p) - gram(t) for p, t in zip(prediction, target, strict=True)]
    return torch.stack([difference.square().sum(dim=(1, 2)).mean() for difference in differences]).sum()


def gram(activations: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel channel"]:
    """Return which channels are active together, divided by the number of values (Johnson et al. 2016, 3.2).

    Computed in float32 whatever the precision around it.
    """
    _, channels, height, width = activations.shape
    with torch.autocast(activations.device.type, enabled=False):
        rows = activations.flatten(2)
        return rows @ rows.mT / (channels * height * width)
