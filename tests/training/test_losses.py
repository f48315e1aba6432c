import pytest
import torch
from torch import Tensor

from unclouded.errors import InputError
from unclouded.sensors import RGB, SENTINEL2
from unclouded.settings import settings_from
from unclouded.training import losses
from unclouded.training.losses import LossWeights, PerceptualLoss, feature_loss, gram, style_loss
from unclouded.vgg import Vgg16


def row(*values: float) -> Tensor:
    """A one-channel image of one row."""
    return torch.tensor(values).view(1, 1, 1, -1)


def flat(*values: float) -> Tensor:
    """A three-channel image of one row, alike in every channel."""
    return row(*values).expand(1, 3, 1, -1)


def test_the_papers_weights_are_the_defaults() -> None:
    weights = LossWeights()
    assert (weights.adversarial, weights.cycle, weights.identity, weights.auxiliary) == (5.0, 10.0, 1.0, 10.0)


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(InputError, match=r"cycle: input should be greater than or equal to 0, found -1"):
        settings_from(LossWeights, {"cycle": -1.0})


def test_generators_are_trained_towards_a_discriminator_output_of_1() -> None:
    assert losses.adversarial(row(1.0, 1.0)).item() == 0.0
    assert losses.adversarial(row(0.0, 3.0)).item() == 2.5  # (1 + 4) / 2


def test_discriminators_want_1_for_real_and_0_for_generated() -> None:
    assert losses.discriminator(row(1.0), row(0.0)).item() == 0.0
    assert losses.discriminator(row(0.0, 3.0), row(2.0, 0.0)).item() == 2.25  # ((1 + 4) / 2 + (4 + 0) / 2) / 2


def test_radar_comes_back_under_clouds_and_optics_elsewhere() -> None:
    sar, sar_again = flat(0.0, 0.0), flat(0.5, 0.25)
    optical, optical_again = row(0.0, 0.0), row(1.0, 0.25)
    cloudy_then_clear = row(1.0, 0.0)
    loss = losses.cycle(sar, sar_again, optical, optical_again, cloudy_then_clear)
    assert loss.item() == 0.375  # 0.5 / 2 px of radar, 0.25 / 2 px of optics


def test_a_half_cloudy_pixel_counts_half_in_both_parts_of_the_cycle() -> None:
    loss = losses.cycle(flat(1.0), flat(0.0), row(1.0), row(0.0), row(0.5))
    assert loss.item() == 1.0  # 0.5 + 0.5


def test_means_are_over_all_pixels_and_channels_not_over_the_weights() -> None:
    one_cloudy_px_of_four = row(1.0, 0.0, 0.0, 0.0)
    loss = losses.identity(flat(*[0.0] * 4), flat(*[1.0] * 4), row(*[0.0] * 4), row(*[0.0] * 4), one_cloudy_px_of_four)
    assert loss.item() == 0.25


def test_identity_counts_both_sensors_by_the_same_map() -> None:
    loss = losses.identity(flat(0.0, 0.0), flat(0.5, 9.0), row(0.0, 0.0), row(-0.25, 9.0), row(1.0, 0.0))
    assert loss.item() == 0.375  # 0.5 / 2 + 0.25 / 2


def test_sensors_may_have_different_numbers_of_bands() -> None:
    thirteen = torch.zeros(1, 13, 1, 1)
    assert losses.identity(flat(0.0), flat(0.0), thirteen, thirteen + 1, row(1.0)).item() == 1.0


def test_the_map_must_be_guessed_right_where_it_is_clear() -> None:
    estimate, cloud_map = row(0.5, 0.5, 0.0), row(0.0, 1.0, 0.5)
    assert losses.auxiliary(estimate, cloud_map).item() == 0.25  # (1 x 0.5 + 0 x 0.5 + 0.5 x 0.5) / 3


def test_without_clear_pixels_the_map_costs_nothing() -> None:
    assert losses.auxiliary(row(0.3, 0.7), row(1.0, 1.0)).item() == 0.0


def test_pixels_of_a_pair_count_by_their_difference() -> None:
    assert losses.pixel(row(0.5, -0.5), row(0.0, 0.5)).item() == 0.75


ACTIVATIONS = torch.tensor([[1.0, 2.0], [3.0, 0.0]]).view(1, 2, 1, 2)  # two channels, two pixels


class RedGreenBlue(Vgg16):
    """Stands for VGG16: the image itself is its only map."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def forward(self, rgb: torch.Tensor, layers: tuple[int, ...]) -> list[torch.Tensor]:
        assert layers == (11, 20, 29)
        return [rgb]


def test_the_gram_matrix_holds_products_of_channels_over_the_number_of_values() -> None:
    assert gram(ACTIVATIONS)[0].tolist() == [[1.25, 0.75], [0.75, 2.25]]  # (1 + 4) / 4, 3 / 4; 3 / 4, 9 / 4


def test_the_gram_matrix_is_computed_in_float32_under_autocast() -> None:
    activations = torch.rand(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        found = gram(activations)
    assert found.equal(gram(activations))
    assert found.dtype == torch.float32


def test_style_is_the_squared_difference_of_gram_matrices() -> None:
    loss = style_loss([ACTIVATIONS], [torch.zeros_like(ACTIVATIONS)])
    assert loss.item() == 7.75  # 1.25^2 + 2 x 0.75^2 + 2.25^2


def test_style_does_not_care_where_things_are() -> None:
    assert style_loss([ACTIVATIONS], [ACTIVATIONS.flip(-1)]).item() == 0.0


def test_features_are_the_mean_squared_difference() -> None:
    assert feature_loss([ACTIVATIONS], [torch.zeros_like(ACTIVATIONS)]).item() == 3.5  # (1 + 4 + 9 + 0) / 4


def test_layers_are_summed_and_images_averaged() -> None:
    zero = torch.zeros_like(ACTIVATIONS)
    assert feature_loss([ACTIVATIONS, ACTIVATIONS], [zero, zero]).item() == 7.0
    one_of_two = torch.cat([ACTIVATIONS, zero])
    assert style_loss([one_of_two], [torch.zeros_like(one_of_two)]).item() == 3.875
    assert feature_loss([one_of_two], [torch.zeros_like(one_of_two)]).item() == 1.75


def test_red_green_and_blue_are_found_by_name_and_shown_in_0_to_1() -> None:
    shown = PerceptualLoss(RedGreenBlue(), SENTINEL2.bands)
    dark = -torch.ones(1, 13, 1, 1)
    red = dark.clone()
    red[:, SENTINEL2.indices("B04")] = 1.0
    nir = dark.clone()
    nir[:, SENTINEL2.indices("B08")] = 1.0
    feature, style = shown(red, dark)
    assert feature.item() == pytest.approx(1 / 3)  # one of three bands goes from 0 to 1
    assert style.item() == pytest.approx(1 / 9)  # Gram matrix: 1 / 3 at red, red
    assert [loss.item() for loss in shown(nir, dark)] == [0.0, 0.0]


def test_gradients_reach_the_prediction_only() -> None:
    prediction = torch.zeros(1, 3, 4, 4, requires_grad=True)
    target = torch.ones(1, 3, 4, 4, requires_grad=True)
    feature, style = PerceptualLoss(RedGreenBlue(), RGB)(prediction, target)
    (feature + style).backward()
    assert prediction.grad is not None
    assert prediction.grad.any()
    assert target.grad is None


def test_bands_without_red_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"need the bands B04 B03 B02, found B03 B02 B08; add B04, or set loss.feature"
    ):
        PerceptualLoss(RedGreenBlue(), ("B03", "B02", "B08"))
