"""The losses of section II-C of the paper, one function a term; each mean is over all pixels and channels."""

import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat
from torch import Tensor, nn

from unclouded.errors import InputError
from unclouded.sensors import RGB
from unclouded.settings import Settings
from unclouded.vgg import Vgg16, load_vgg16

Sar = Float[Tensor, "batch 3 h w"]

Optical = Float[Tensor, "batch band h w"]

CloudMap = Float[Tensor, "batch 1 h w"]

Judgement = Float[Tensor, "batch 1 rows columns"]

Loss = Float[Tensor, ""]


class LossWeights(Settings):
    """What each term counts in L_all.

    The first four are the paper's (section II-C). The last three weigh the terms on paired images of section III-B.2,
    which the paper does not publish: they are our decision. ``pixel`` is that of pix2pix [37]; ``feature`` and
    ``style`` give each perceptual term about half the gradient of the pixel term, measured by the sum of its absolute
    values over the image (1, 487 and 149 at weights of 1, medians of ten cloudy patches against their clear targets).

    Attributes:
        adversarial: Weight of L_adv.
        cycle: Weight of L_cyc.
        identity: Weight of L_idt.
        auxiliary: Weight of L_aux.
        pixel: Weight of the difference between prediction and paired target.
        feature: Weight of the difference of their VGG16 features.
        style: Weight of the difference of their Gram matrices.
        kept: Weight of the change of clear pixels, for the objectives without a cycle; that of L_cyc, whose half it is.
    """

    adversarial: NonNegativeFloat = 5.0
    cycle: NonNegativeFloat = 10.0
    identity: NonNegativeFloat = 1.0
    auxiliary: NonNegativeFloat = 10.0
    pixel: NonNegativeFloat = 100.0
    feature: NonNegativeFloat = 0.1
    style: NonNegativeFloat = 0.3
    kept: NonNegativeFloat = 10.0


def adversarial(generated: Judgement) -> Loss:
    """(D(generated) - 1)^2, the generators' side of LSGAN [25]; L_adv is the sum over D_S1 and D_S2."""
    return (generated - 1).square().mean()


def discriminator(real: Judgement, generated: Judgement) -> Loss:
    """0.5 [(D(real) - 1)^2 + D(generated)^2], the discriminators' side of LSGAN [25], halved as in CycleGAN [18]."""
    return 0.5 * ((real - 1).square().mean() + generated.square().mean())


def cycle(sar: Sar, sar_again: Sar, optical: Optical, optical_again: Optical, cloud_map: CloudMap) -> Loss:
    """L_cyc = m |S1 - S1~| + (1 - m) |S2 - S2~|: radar must come back where it is cloudy, optics where it is clear.

    Args:
        sar: Radar image S1.
        sar_again: S1~, radar from the generated optical image.
        optical: Cloudy image S2.
        optical_again: S2~, optics from the generated radar image.
        cloud_map: The map m.
    """
    return _weighted_l1(cloud_map, sar, sar_again) + _weighted_l1(1 - cloud_map, optical, optical_again)


def identity(sar: Sar, sar_same: Sar, optical: Optical, optical_same: Optical, cloud_map: CloudMap) -> Loss:
    """L_idt = m |S1 - S1'| + m |S2 - S2'|: an image of the target domain stays what it is.

    Args:
        sar: Radar image S1.
        sar_same: S1' = G_S2->S1(S1).
        optical: Clear image S2.
        optical_same: S2', G_S1->S2 with the clear image in the radar's place and at the start of the skip.
        cloud_map: The map m.
    """
    return _weighted_l1(cloud_map, sar, sar_same) + _weighted_l1(cloud_map, optical, optical_same)


def auxiliary(estimate: CloudMap, cloud_map: CloudMap) -> Loss:
    """L_aux = (1 - m) |m - m^|: the residual has to separate clouds from clear land, so it is sparse where m = 0.

    Args:
        estimate: m^, regressed from the residual.
        cloud_map: The map m.
    """
    return _weighted_l1(1 - cloud_map, cloud_map, estimate)


def kept(cloudy: Optical, prediction: Optical, cloud_map: CloudMap) -> Loss:
    """(1 - m) |S2 - S2^|, the optical half of L_cyc with the prediction in the place of S2~: clear pixels must stay."""
    return _weighted_l1(1 - cloud_map, cloudy, prediction)


def pixel(prediction: Optical, target: Optical) -> Loss:
    """Mean absolute difference of prediction and paired target (section III-B.2, [37])."""
    return (prediction - target).abs().mean()


def _weighted_l1(weight: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Divide by the number of values, not by the sum of the weights (our decision): a clear patch weighs little."""
    return (weight * (first - second).abs()).mean()


# Perceptual losses of paired images: features and style on VGG16 (section III-B.2 of the paper, [38]).


LAYERS = (11, 20, 29)
"""ReLUs 3_1, 4_2 and 5_3: the paper's layers, read as indices into torchvision's ``features`` (our decision)."""

Maps = list[Float[Tensor, "_ _ _ _"]]


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
            expected = self._maps(target)
        found = self._maps(prediction)
        return feature_loss(found, expected), style_loss(found, expected)

    def _maps(self, image: Tensor) -> Maps:
        maps: Maps = self.vgg((image[:, self.rgb] + 1) / 2, LAYERS)
        return [one.float() for one in maps]


def perceptual_loss(weights: str, bands: tuple[str, ...]) -> PerceptualLoss:
    """Make the perceptual losses with the VGG16 of :func:`unclouded.vgg.load_vgg16`."""
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
