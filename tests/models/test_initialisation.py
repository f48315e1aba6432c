import pytest
import torch

from unclouded.models.discriminator import PatchDiscriminator
from unclouded.models.generator import SarToOptical
from unclouded.models.initialisation import initialise


def seeded(seed: int, network: torch.nn.Module) -> dict[str, torch.Tensor]:
    initialise(network, torch.Generator().manual_seed(seed))
    return network.state_dict()


def test_weights_have_a_standard_deviation_of_one_fiftieth_and_biases_are_zero() -> None:
    state = seeded(0, SarToOptical(width=8))
    weights = torch.cat([tensor.flatten() for name, tensor in state.items() if name.endswith("weight")])
    assert weights.std().item() == pytest.approx(0.02, rel=0.01)  # 184 thousand draws
    assert weights.mean().item() == pytest.approx(0.0, abs=2e-4)
    assert all(not tensor.any() for name, tensor in state.items() if name.endswith("bias"))


@pytest.mark.parametrize("make", [lambda: SarToOptical(width=1), lambda: PatchDiscriminator(4, width=2)])
def test_the_generator_alone_decides_every_number(make) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(1)
    first = seeded(5, make())
    torch.manual_seed(2)
    again, other = seeded(5, make()), seeded(6, make())
    assert all(again[name].equal(first[name]) for name in first)
    assert any(not other[name].equal(first[name]) for name in first)


def test_spectral_normalisation_starts_at_the_largest_singular_value_of_the_new_weights() -> None:
    network = PatchDiscriminator(3, width=8)
    initialise(network, torch.Generator().manual_seed(0))
    for layer in network.eval().layers[::2]:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1.0, abs=0.05)
