from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from unclouded.errors import InputError
from unclouded.models.cyclegan import PatchDiscriminator, Restoration, SarToOptical
from unclouded.settings import settings_from
from unclouded.training import objectives
from unclouded.training.distributed import launch
from unclouded.training.losses import LossWeights, PerceptualLoss
from unclouded.training.objectives import (
    Cycle,
    ExponentialMovingAverage,
    LossScale,
    Objective,
    OptimiserGroup,
    Supervised,
    build_groups,
    build_objective,
    collect_state,
    restore_state,
    weighted,
)
from unclouded.training.settings import Device, Precision, Schedule, TrainSettings
from unclouded.training.step import Batch, ImagePool

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
    seen = Batch(s1, s2, clear, m, (True, False), "random")
    (total, _), generated = objective.generator_loss(seen)
    discriminator_total, _ = objective.discriminator_loss(seen, generated)

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

    def critic_loss(discriminator: PatchDiscriminator, real: Tensor, generated: Tensor) -> Tensor:
        return 0.5 * (((discriminator(real) - 1) ** 2).mean() + (discriminator(generated.detach()) ** 2).mean())

    expected = critic_loss(d_sar, s1, s1_hat) + critic_loss(
        d_optical, torch.cat([clear, m], 1), torch.cat([s2_hat, m], 1)
    )
    assert discriminator_total.item() == pytest.approx(expected.item(), rel=1e-5)


def supervised(discriminator: PatchDiscriminator | None) -> Supervised:
    rng = torch.Generator().manual_seed(0)
    generator = AddTenth(1, 1)
    ensemble: dict[str, nn.Module] = {"sar_to_optical": generator}
    if discriminator is not None:
        ensemble["optical_discriminator"] = discriminator
    return Supervised(generator, discriminator, ensemble, LossWeights(), None, ImagePool(0), rng)


def test_a_residual_network_learns_pixels_kept_pixels_and_the_map() -> None:
    (loss, terms), generated = supervised(None).generator_loss(batch(0.25, True))
    assert generated.sar is None
    assert generated.optical.flatten().tolist() == pytest.approx([0.9] * 4)
    expected = {"pixel": 0.7, "kept": 0.75 * 0.1, "auxiliary": 0.75 * 0.25}
    assert {name: terms[name].item() for name in expected} == pytest.approx(expected)
    assert loss.item() == pytest.approx(100 * 0.7 + 10 * 0.075 + 10 * 0.1875)
    assert set(terms) == {*expected, "clear_residual", "total"}


def test_the_discriminator_of_a_conditional_gan_also_gets_the_input_of_the_generator() -> None:
    objective = supervised(LastChannel(6, 1))
    (loss, terms), generated = objective.generator_loss(batch(0.25, True))
    discriminator_loss, judged = objective.discriminator_loss(batch(0.25, True), generated)
    assert terms["adversarial"].item() == pytest.approx((0.9 - 1) ** 2)
    assert loss.item() == pytest.approx(100 * 0.7 + 10 * 0.075 + 10 * 0.1875 + 5 * 0.01)
    assert discriminator_loss.item() == pytest.approx(0.5 * ((0.2 - 1) ** 2 + 0.9**2))
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
        ("cycle", ["optical_to_sar", "sar_to_optical", "sar_discriminator", "optical_discriminator"]),
        ("conditional", ["sar_to_optical", "optical_discriminator"]),
        ("residual", ["sar_to_optical"]),
    ],
)
def test_the_same_seed_starts_every_objective_and_the_learners_share_its_networks_out(
    objective: str, networks: list[str]
) -> None:
    settings = tiny(objective)
    one, other = build_objective(settings, ALONE), build_objective(settings, ALONE)
    assert list(one.networks) == networks
    assert [name for members in one.optimiser_groups.values() for name in members] == networks
    for name in networks:
        for key, tensor in one.networks[name].state_dict().items():
            assert tensor.equal(other.networks[name].state_dict()[key])


def test_ranks_start_from_the_same_weights_and_draw_from_their_pools_each_for_itself() -> None:
    class SecondRank(Fabric):
        global_rank = 1  # type: ignore[assignment]

    first, second = (build_objective(tiny("cycle"), fabric) for fabric in (ALONE, SecondRank(accelerator="cpu")))
    for ours, theirs in zip(first.generator.parameters(), second.generator.parameters(), strict=True):
        assert ours.equal(theirs)
    assert not torch.rand(8, generator=first.rng).equal(torch.rand(8, generator=second.rng))


def test_supervised_objectives_need_pairs_for_all_patches() -> None:
    with pytest.raises(
        InputError, match="'residual' is trained on pairs alone; expected paired_percent = 100, found 0"
    ):
        settings_from(TrainSettings, {"patches": str(Path("x")), "objective": "residual"})


def filled(value: float) -> SarToOptical:
    network = SarToOptical(width=1)
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, value)
    return network


def first(ema: ExponentialMovingAverage) -> float:
    return next(ema.network.parameters()).flatten()[0].item()


def test_late_in_a_run_the_average_moves_by_one_minus_the_decay() -> None:
    ema = ExponentialMovingAverage(filled(1.0), decay=0.9)
    ema.update(filled(0.0), step=1000)
    assert first(ema) == pytest.approx(0.9)


def test_the_moving_average_discards_initial_weights_early() -> None:
    ema = ExponentialMovingAverage(filled(1.0), decay=0.999)
    ema.update(filled(0.0), step=1)
    assert first(ema) == pytest.approx(2 / 11)  # (1 + 1) / (10 + 1)


def test_the_average_neither_learns_nor_follows_the_network_by_itself() -> None:
    network = filled(1.0)
    ema = ExponentialMovingAverage(network, decay=0.9)
    next(network.parameters()).data.fill_(5.0)
    assert first(ema) == 1.0
    assert not any(parameter.requires_grad for parameter in ema.network.parameters())


def learner(name: str = "one", precision: Precision = "32-true", **schedule: float) -> OptimiserGroup:
    return OptimiserGroup(name, [nn.Parameter(torch.tensor([1.0, 1.0]))], Schedule(**schedule), precision)


def test_the_first_step_of_adam_goes_the_rate_downhill() -> None:
    one = learner()
    with one.freeze_others([one]):
        (one.parameters[0] * torch.tensor([3.0, -4.0])).sum().backward()
        assert one.update(0.5, ALONE)
    assert one.parameters[0].tolist() == pytest.approx([0.5, 1.5])


def test_adam_has_the_papers_moments() -> None:
    found = learner().optimiser.defaults
    assert (found["lr"], found["betas"], found["eps"], found["weight_decay"]) == (2e-4, (0.5, 0.999), 1e-8, 0)


def test_the_scale_of_a_loss_follows_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objectives, "GROWTH_STEPS", 3)
    expected = torch.amp.GradScaler("cpu", init_scale=2.0**16, growth_interval=3)
    parameter = nn.Parameter(torch.zeros(1))
    optimiser, scale = torch.optim.SGD([parameter]), LossScale()
    for finite in (True, True, False, True, True, True, True, False, False, True):
        parameter.grad = torch.tensor([1.0 if finite else torch.inf])
        expected.scale(torch.zeros(()))
        expected.step(optimiser)
        expected.update()
        scale.update(finite)
        assert scale.value == expected.get_scale()
    assert scale.value == 2.0**14  # halved, doubled, halved twice


def test_a_scaled_loss_gives_the_same_update() -> None:
    one, other = learner(), learner(precision="16-mixed")
    for each in (one, other):
        with each.freeze_others([each]):
            each.backward((each.parameters[0] * torch.tensor([3.0, -4.0])).sum())
            assert each.update(0.5, ALONE)
    assert other.scale is not None
    assert (other.scale.value, other.scale.finite) == (2.0**16, 1)
    assert other.parameters[0].equal(one.parameters[0])


def test_while_one_network_is_trained_the_others_get_no_gradient() -> None:
    one, other = learner("one"), learner("other")
    with one.freeze_others([one, other]):
        (one.parameters[0] * other.parameters[0]).sum().backward()
    assert other.parameters[0].grad is None
    assert other.parameters[0].requires_grad


def test_a_gradient_that_is_no_number_changes_nothing() -> None:
    one = learner()
    with one.freeze_others([one]):
        (one.parameters[0] * torch.tensor([1.0, torch.nan])).sum().backward()
        assert not one.update(0.5, ALONE)
    assert one.parameters[0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("longest", "expected"), [(1.0, [0.6, 0.8]), (10.0, [3.0, 4.0])])
def test_a_gradient_is_shortened_to_the_longest_allowed(longest: float, expected: list[float]) -> None:
    one = learner(clip_norm=longest)
    with one.freeze_others([one]):
        (one.parameters[0] * torch.tensor([3.0, 4.0])).sum().backward()  # norm 5
        one.update(0.5, ALONE)
        assert one.parameters[0].grad is not None
        assert one.parameters[0].grad.tolist() == pytest.approx(expected, rel=1e-5)


def test_it_goes_on_from_its_moments_bit_for_bit() -> None:
    straight, resumed = learner(), learner()

    def step(one: OptimiserGroup, factor: float) -> None:
        with one.freeze_others([one]):
            (one.parameters[0] * factor).sum().backward()
            one.update(0.1, ALONE)

    step(straight, 3.0)
    resumed.parameters[0].data.copy_(straight.parameters[0].data)
    resumed.load_state_dict({str(place): deepcopy(moments) for place, moments in straight.state_dict().items()})
    for one in (straight, resumed):
        step(one, -7.0)
    assert resumed.parameters[0].equal(straight.parameters[0])


def made(settings: TrainSettings, **changes: object) -> tuple[Objective, list[OptimiserGroup]]:
    objective = build_objective(settings.model_copy(update=changes), ALONE)
    return objective, list(build_groups(objective, settings).values())


def nested(state: dict[str, Any]) -> dict[str, Any]:
    """As a state comes back from its file: every key is a text."""
    return {str(key): nested(value) if isinstance(value, dict) else value for key, value in state.items()}


def test_networks_pools_random_state_and_average_become_those_of_the_state(tiny_settings: TrainSettings) -> None:
    (one, optimiser_groups), (other, others) = made(tiny_settings), made(tiny_settings, seed=7)
    averages = [ExponentialMovingAverage(objective.generator, 0.9) for objective in (one, other)]
    one.pools["sar"].draw(torch.rand(2, 3, 4, 4), one.rng)
    torch.rand(3, generator=one.rng)
    state = collect_state(5, one, optimiser_groups, averages[0], ALONE)
    assert state is not None
    assert restore_state(nested(state), other, others, averages[1], ALONE) == 5
    for name, network in one.networks.items():
        for key, tensor in network.state_dict().items():
            assert other.networks[name].state_dict()[key].equal(tensor)
    assert other.pools["sar"].state_dict()["images"].equal(one.pools["sar"].state_dict()["images"])
    assert len(other.pools["optical"]) == 0
    assert torch.rand(3, generator=other.rng).equal(torch.rand(3, generator=one.rng))
    for ours, theirs in zip(*(ema.network.parameters() for ema in averages), strict=True):
        assert ours.equal(theirs)


@pytest.mark.parametrize("changes", [{"discriminator_width": 3}, {"objective": "conditional", "paired_percent": 100.0}])
def test_a_state_of_other_networks_is_refused(tiny_settings: TrainSettings, changes: dict[str, object]) -> None:
    one, optimiser_groups = made(tiny_settings)
    state = collect_state(5, one, optimiser_groups, None, ALONE)
    assert state is not None
    other, others = made(tiny_settings, **changes)
    expected = r"of another version or other networks \(size mismatch for layers.0.*?\); start anew in another folder"
    with pytest.raises(InputError, match=expected) as told:
        restore_state(nested(state), other, others, None, ALONE)
    assert str(told.value).count("size mismatch") == 1


def test_a_state_without_this_ranks_share_is_refused(tiny_settings: TrainSettings) -> None:
    one, optimiser_groups = made(tiny_settings)
    state = collect_state(5, one, optimiser_groups, None, ALONE)
    assert state is not None
    with pytest.raises(InputError, match="another version"):
        restore_state({**nested(state), "ranks": {}}, one, optimiser_groups, None, ALONE)
