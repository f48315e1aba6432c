import pytest
import torch

from unclouded.models.discriminator import PatchDiscriminator
from unclouded.models.initialisation import initialise


def discriminator(width: int = 2) -> PatchDiscriminator:
    network = PatchDiscriminator(3, width)
    initialise(network, torch.Generator().manual_seed(0))
    return network


@pytest.mark.parametrize("channels, expected", [(3, 2_764_737), (4, 2_765_761)])
def test_the_discriminators_have_as_many_parameters_as_the_paper_implies(channels: int, expected: int) -> None:
    assert sum(parameter.numel() for parameter in PatchDiscriminator(channels).parameters()) == expected


@pytest.mark.parametrize("side, judgements", [(256, 30), (200, 23)])
def test_a_side_gives_so_many_judgements(side: int, judgements: int) -> None:
    assert discriminator(1)(torch.zeros(1, 3, side, side)).shape == (1, 1, judgements, judgements)


def test_a_judgement_sees_70_by_70_px() -> None:
    image = torch.rand(1, 3, 128, 128, requires_grad=True)
    judgements = discriminator().eval()(image)
    judgements[0, 0, 7, 7].backward()
    felt = image.grad[0].abs().sum(dim=0) > 0
    assert int(felt.any(dim=0).sum()) == int(felt.any(dim=1).sum()) == 70


def test_weights_of_any_size_judge_with_singular_values_of_at_most_1() -> None:
    network = discriminator(4)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1000.0)
    for _ in range(50):
        network(torch.rand(1, 3, 32, 32))
    for layer in network.eval().layers[::2]:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1.0, abs=0.01)


def test_judgements_are_not_squashed() -> None:
    network = discriminator()
    torch.nn.init.constant_(network.layers[-1].bias, 7.0)
    assert network(torch.zeros(1, 3, 32, 32)).min() > 6.0


def test_training_goes_on_from_a_state_dict_bit_for_bit() -> None:
    straight, image = discriminator(), torch.rand(1, 3, 40, 40)
    for _ in range(3):
        straight(image)
    resumed = PatchDiscriminator(3, 2)
    resumed.load_state_dict({name: tensor.clone() for name, tensor in straight.state_dict().items()})
    for _ in range(2):
        assert resumed(image).equal(straight(image))


def test_judging_without_training_changes_nothing() -> None:
    network, image = discriminator().eval(), torch.rand(1, 3, 40, 40)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network(image)
    assert all(tensor.equal(before[name]) for name, tensor in network.state_dict().items())


def test_the_spectral_norm_is_found_in_full_precision_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    network, multiply, reduced = discriminator(), torch.mv, []
    monkeypatch.setattr(torch, "mv", lambda a, b: (reduced.append(torch.is_autocast_enabled("cpu")), multiply(a, b))[1])
    with torch.autocast("cpu", torch.bfloat16):
        judgement = network(torch.rand(1, 3, 32, 32))
    assert judgement.dtype == torch.bfloat16
    assert reduced == [False] * 3 * 5  # twice a power iteration and once for the norm, in five layers
