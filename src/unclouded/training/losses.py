"""The losses of section II-C of the paper, one function a term; each mean is over all pixels and channels."""

from jaxtyping import Float
from pydantic import NonNegativeFloat
from torch import Tensor

from unclouded.settings import Settings

Sar = Float[Tensor, "batch 3 h w"]
Optical = Float[Tensor, "batch band h w"]
CloudMap = Float[Tensor, "batch 1 h w"]
Judgement = Float[Tensor, "batch 1 rows columns"]
Loss = Float[Tensor, ""]


class LossWeights(Settings):
    """What each term counts in L_all.

    The first four are the paper's (section II-C). The last three weigh the terms on paired images of section III-B.2,
    which the paper does not publish: they are our decision. ``pixel`` is that of pix2pix [37]; ``feature`` and
    ``style`` give each perceptual term about half the gradient of the pixel term, judged by the sum of its absolute
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
    """L_aux = (1 - m) |m - m^|: the residual must tell clouds from clear land, so it is sparse where m = 0.

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
