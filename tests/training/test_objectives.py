from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor

from unclouded.errors import InputError
from unclouded.models.discriminator import PatchDiscriminator
from unclouded.models.generator import Restoration, SarToOptical
from unclouded.settings import settings_from
from unclouded.training.devices import launch
from unclouded.training.history import HistoryPool
from unclouded.training.losses import LossWeights
from unclouded.training.objectives import Cycle, Supervised, build_objective, weighted
from unclouded.training.perceptual import PerceptualLoss
from unclouded.training.settings import Device, TrainSettings
from unclouded.training.step import Batch

ALONE = launch(Device(accelerator="cpu"))


class AddTenth(SarToOptical):
    """A cloud remover whose residual is 0.1 and who believes that half of everything is cloudy."""

    def forward(self, sar: Tensor, cloudy: Tensor, cloud_map: Tensor) -> Restoration:
        residual = torch.full_like(cloudy, 0.1)
        return Restoration(cloudy + residual, residual, torch.full_like(cloud_map, 0.5))


class LastChannel(PatchDiscriminator):
    """A discriminator whose judgement is the last channel."""

    def forward(self, image: Tensor) -> Tensor:
        assert image.shape[1] == 3 + 1 + 1 + 1  # radar, cloudy image, map, and what is judged
        return image[:, -1:]


class Means(PerceptualLoss):
    """Stands for VGG16: feature and style are the means of prediction and target."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def forward(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return prediction.mean(), target.mean()


def batch(m: float, *paired: bool) -> Batch:
    """Radar -0.4, cloudy 0.8, clear 0.2, everywhere; one band."""

    def constant(value: float, channels: int) -> Tensor:
        return torch.full((len(paired), channels, 2, 2), value)

    return Batch(constant(-0.4, 3), constant(0.8, 1), constant(0.2, 1), constant(m, 1), paired, "hand-made")


def tiny(objective: str) -> TrainSettings:
    """One filter, no pools, pairs only."""
    content = {
        "patches": "x",
        "objective": objective,
        "paired_percent": 100,
        "network": {"width": 1},
        "discriminator_width": 1,
        "pool": 0,
        "loss": {"feature": 0, "style": 0},
    }
    return settings_from(TrainSettings, content)


def test_the_cycle_minimises_l_all_as_section_ii_c_writes_it() -> None:
    built = build_objective(tiny("cycle"), ALONE)
    assert isinstance(built, Cycle)
    objective = replace(built, weights=LossWeights(), perceptual=Means())
    to_sar, to_optical, d_sar, d_optical = (deepcopy(one) for one in objective.bare.named().values())
    rng = torch.Generator().manual_seed(1)
    s1, s2, clear = (torch.rand(2, 3, 32, 32, generator=rng) * 2 - 1 for _ in range(3))
    m = torch.rand(2, 1, 32, 32, generator=rng)
    (total, _), (judgement, _) = objective.losses(Batch(s1, s2, clear, m, (True, False), "random"))

    s1_hat, (s2_hat, _, m_hat) = to_sar(s2), to_optical(s1, s2, m)
    s1_again, s2_again = to_sar(s2_hat), to_optical(s1_hat, s2, m).optical
    s1_same, s2_same = to_sar(s1), to_optical(clear, clear, m).optical
    adv = ((d_sar(s1_hat) - 1) ** 2).mean() + ((d_optical(torch.cat([s2_hat, m], 1)) - 1) ** 2).mean()
    cyc = (m * (s1 - s1_again).abs()).mean() + ((1 - m) * (s2 - s2_again).abs()).mean()
    idt = (m * (s1 - s1_same).abs()).mean() + (m * (clear - s2_same).abs()).mean()
    aux = ((1 - m) * (m - m_hat).abs()).mean()
    pixel, feature, style = (s2_hat[0] - clear[0]).abs().mean(), s2_hat[0].mean(), clear[0].mean()  # half the batch
    pairs = 100 * pixel + 0.1 * feature + 0.3 * style
    assert total.item() == pytest.approx((5 * adv + 10 * cyc + idt + 10 * aux + pairs / 2).item(), rel=1e-5)

    def critic_loss(critic: PatchDiscriminator, real: Tensor, generated: Tensor) -> Tensor:
        return 0.5 * (((critic(real) - 1) ** 2).mean() + (critic(generated.detach()) ** 2).mean())

    expected = critic_loss(d_sar, s1, s1_hat) + critic_loss(
        d_optical, torch.cat([clear, m], 1), torch.cat([s2_hat, m], 1)
    )
    assert judgement.item() == pytest.approx(expected.item(), rel=1e-5)


def supervised(critic: PatchDiscriminator | None) -> Supervised:
    rng = torch.Generator().manual_seed(0)
    return Supervised(AddTenth(1, 1), critic, ALONE, LossWeights(), None, HistoryPool(0), rng)


def test_a_residual_network_learns_pixels_kept_pixels_and_the_map() -> None:
    ((loss, terms),) = supervised(None).losses(batch(0.25, True))
    expected = {"pixel": 0.7, "kept": 0.75 * 0.1, "auxiliary": 0.75 * 0.25}
    assert {name: terms[name].item() for name in expected} == pytest.approx(expected)
    assert loss.item() == pytest.approx(100 * 0.7 + 10 * 0.075 + 10 * 0.1875)
    assert set(terms) == {*expected, "clear_residual", "total"}


def test_a_conditional_gan_adds_a_critic_who_sees_what_the_generator_saw() -> None:
    (loss, terms), (judgement, judged) = supervised(LastChannel(6, 1)).losses(batch(0.25, True))
    assert terms["adversarial"].item() == pytest.approx((0.9 - 1) ** 2)
    assert loss.item() == pytest.approx(100 * 0.7 + 10 * 0.075 + 10 * 0.1875 + 5 * 0.01)
    assert judgement.item() == pytest.approx(0.5 * ((0.2 - 1) ** 2 + 0.9**2))
    assert (judged["optical_real"].item(), judged["optical_generated"].item()) == pytest.approx((0.2, 0.9))
    assert judged["optical_accuracy"].item() == 0.0  # the clear image below 1/2, the generated one above


def test_a_batch_is_the_mean_of_its_parts_pairs_or_not() -> None:
    terms = {"cycle": torch.tensor(1.0), "pixel": torch.tensor(0.5)}
    weights = LossWeights(cycle=10, pixel=100)
    assert weighted(terms, weights, batch(0.0, True))[0].item() == 60.0
    assert weighted(terms, weights, batch(0.0, True, False))[0].item() == 35.0  # the mean of 60 and 10
    assert weighted(terms, weights, batch(0.0, False))[0].item() == 10.0


@pytest.mark.parametrize(
    ("objective", "networks"),
    [
        ("cycle", ["optical_to_sar", "sar_to_optical", "sar_critic", "optical_critic"]),
        ("conditional", ["sar_to_optical", "optical_critic"]),
        ("residual", ["sar_to_optical"]),
    ],
)
def test_the_same_seed_starts_every_objective_and_the_learners_share_its_networks_out(
    objective: str, networks: list[str]
) -> None:
    settings = tiny(objective)
    one, other = build_objective(settings, ALONE), build_objective(settings, ALONE)
    assert list(one.networks) == networks
    assert [name for members in one.learners.values() for name in members] == networks
    for name in networks:
        for key, tensor in one.networks[name].state_dict().items():
            assert tensor.equal(other.networks[name].state_dict()[key])


def test_ranks_start_from_the_same_weights_and_draw_from_their_pools_each_for_itself() -> None:
    class SecondRank(Fabric):
        global_rank = 1  # type: ignore[assignment]

    first, second = (build_objective(tiny("cycle"), fabric) for fabric in (ALONE, SecondRank(accelerator="cpu")))
    for ours, theirs in zip(first.restorer.parameters(), second.restorer.parameters(), strict=True):
        assert ours.equal(theirs)
    assert not torch.rand(8, generator=first.rng).equal(torch.rand(8, generator=second.rng))


def test_who_learns_from_pairs_needs_all_of_them() -> None:
    with pytest.raises(InputError, match="'residual' learns from pairs alone; expected paired_percent = 100, found 0"):
        settings_from(TrainSettings, {"patches": str(Path("x")), "objective": "residual"})
