"""Training objectives: the paper's cycle GAN, a conditional GAN, and a residual network trained on pairs alone.

The paper remarks that its generator, cloud maps and losses "may as well be used within alternative models, such as
conditional GAN [26] or ResNet architectures [20]" (section II-C). They share the
generator, the loss terms and the training loop. An objective names its networks, the optimiser groups that update
them, and computes the loss of each group. The module also has the optimiser groups, the moving average of the weights
(EMA), and the state that a run is resumed from.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Adam

from unclouded.errors import InputError
from unclouded.machine import memory_fault
from unclouded.models import winograd
from unclouded.models.cyclegan import SAR_CHANNELS, CloudRemovalGenerator, PatchDiscriminator, SarToOptical, initialise
from unclouded.models.weights import initialise_from_weights
from unclouded.training import losses
from unclouded.training.checkpoint import RunFolder
from unclouded.training.distributed import InPrecision, gather_on_rank_zero, sum_gradients
from unclouded.training.losses import LossWeights, PerceptualLoss, perceptual_loss
from unclouded.training.settings import Precision, Schedule, TrainSettings
from unclouded.training.step import (
    CLEAR_RESIDUAL,
    Batch,
    Generated,
    ImagePool,
    Networks,
    Pools,
    Terms,
    build_generator,
    build_networks,
    discriminator_scores,
    discriminator_terms,
    generator_terms,
    mean_on_clear,
)

GENERATORS, DISCRIMINATORS = "generators", "discriminators"

TOTAL = "total"
"""Name of the weighted sum of the generators' terms."""

PAIRED_TERMS = ("pixel", "feature", "style")
"""Terms of paired images, weighted by the share of pairs in a batch so that a batch is the mean of its parts."""


class Loss(NamedTuple):
    """Loss of an optimiser group on one batch.

    Attributes:
        total: Scalar to minimise.
        terms: Its terms and the monitored values, by name.
    """

    total: Tensor
    terms: Terms


@runtime_checkable
class Objective(Protocol):
    """Networks, their optimiser groups, and the loss of each group on one batch.

    A training step updates the generators with :meth:`generator_loss`, then the discriminators, if there are any, with
    :meth:`discriminator_loss` of the images that the generators produced before their update.
    """

    @property
    def generator(self) -> CloudRemovalGenerator:
        """The cloud-removal generator."""
        ...

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """All networks, by name."""
        ...

    @property
    def optimiser_groups(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the networks of ``generators`` and, if there are any, of ``discriminators``."""
        ...

    @property
    def pools(self) -> Mapping[str, ImagePool]:
        """Generated images of earlier steps, by name."""
        ...

    @property
    def rng(self) -> torch.Generator:
        """Random generator of initial weights and pools."""
        ...

    def generator_loss(self, batch: Batch) -> tuple[Loss, Generated]:
        """Return the loss of the generators, and the images that they produced, without gradients."""
        ...

    def discriminator_loss(self, batch: Batch, generated: Generated) -> Loss:
        """Return the loss of the discriminators on images of :meth:`generator_loss`; may draw from the pools."""
        ...


@dataclass(frozen=True, eq=False)
class Cycle:
    """The paper's ensemble (Fig. 2): two generators, two discriminators, the losses of section II-C.

    Attributes:
        bare: The four networks.
        ensemble: The four networks in the precision of the run.
        weights: Weights of the loss terms.
        perceptual: Feature and style losses of pairs; None if their weights are 0.
        history: The two image pools.
    """

    bare: Networks
    ensemble: Networks
    weights: LossWeights
    perceptual: PerceptualLoss | None
    history: Pools
    optimiser_groups: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {
            GENERATORS: ("optical_to_sar", "sar_to_optical"),
            DISCRIMINATORS: ("sar_discriminator", "optical_discriminator"),
        }
    )

    @property
    def generator(self) -> CloudRemovalGenerator:
        """The cloud-removal generator."""
        assert isinstance(self.bare.sar_to_optical, CloudRemovalGenerator)
        return self.bare.sar_to_optical

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The four networks, by name."""
        return self.bare.named()

    @property
    def pools(self) -> Mapping[str, ImagePool]:
        """The two pools."""
        return {"sar": self.history.sar, "optical": self.history.optical}

    @property
    def rng(self) -> torch.Generator:
        """Random generator of the pools."""
        return self.history.rng

    def generator_loss(self, batch: Batch) -> tuple[Loss, Generated]:
        """Return L_all of section II-C, and the images of both generators."""
        terms, generated = generator_terms(self.ensemble, batch, self.weights, self.perceptual)
        return weighted(terms, self.weights, batch), generated

    def discriminator_loss(self, batch: Batch, generated: Generated) -> Loss:
        """Return the sum of the least-squares losses of both discriminators."""
        terms = discriminator_terms(self.ensemble, batch, generated, self.history)
        return Loss(terms["sar_discriminator"] + terms["optical_discriminator"], terms)


@dataclass(frozen=True, eq=False)
class Supervised:
    """The generator trained on pairs alone; with a discriminator, a conditional GAN.

    The cloud-aware terms are L_aux and the optical half of L_cyc with the prediction itself in the place of S2~:
    (1 - m) |S2 - S2^|, which penalises changes of clear pixels. The discriminator sees the input of the generator
    beside its output (pix2pix [37]).

    Attributes:
        generator: The cloud-removal generator.
        discriminator: Scores a prediction or a clear image beside radar, cloudy image and map; None for a residual
            network.
        ensemble: The networks in the precision of the run, by name.
        weights: Weights of the loss terms.
        perceptual: Feature and style losses; None if their weights are 0.
        pool: Pool of predictions beside their inputs.
        rng: Random generator of the pool.
    """

    generator: CloudRemovalGenerator
    discriminator: PatchDiscriminator | None
    ensemble: Mapping[str, nn.Module]
    weights: LossWeights
    perceptual: PerceptualLoss | None
    pool: ImagePool
    rng: torch.Generator

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The generator, and the discriminator if there is one."""
        discriminators = {"optical_discriminator": self.discriminator} if self.discriminator is not None else {}
        return {"sar_to_optical": self.generator, **discriminators}

    @property
    def optimiser_groups(self) -> Mapping[str, tuple[str, ...]]:
        """The generator, then the discriminator if there is one."""
        discriminators = {DISCRIMINATORS: ("optical_discriminator",)} if self.discriminator is not None else {}
        return {GENERATORS: ("sar_to_optical",), **discriminators}

    @property
    def pools(self) -> Mapping[str, ImagePool]:
        """One pool."""
        return {"optical": self.pool}

    def generator_loss(self, batch: Batch) -> tuple[Loss, Generated]:
        """Return the weighted sum of the terms, and the prediction."""
        m = batch.cloud_map
        restored = self.ensemble["sar_to_optical"](batch.sar, batch.cloudy, m)
        prediction = restored.optical
        terms: Terms = {
            "pixel": losses.pixel(prediction, batch.clear),
            "kept": losses.kept(batch.cloudy, prediction, m),
            "auxiliary": losses.auxiliary(restored.cloud_map_estimate, m),
        }
        if self.perceptual is not None:
            terms["feature"], terms["style"] = self.perceptual(prediction, batch.clear)
        if self.discriminator is not None:
            scores = self.ensemble["optical_discriminator"](_beside_input(batch, prediction))
            terms["adversarial"] = losses.adversarial(scores)
        terms[CLEAR_RESIDUAL] = mean_on_clear(restored.residual.detach(), m)
        return weighted(terms, self.weights, batch), Generated(optical=prediction.detach())

    def discriminator_loss(self, batch: Batch, generated: Generated) -> Loss:
        """Return the least-squares loss of the discriminator."""
        discriminator = self.ensemble["optical_discriminator"]
        drawn = self.pool.draw(_beside_input(batch, generated.optical), self.rng)
        terms = discriminator_scores("optical", discriminator(_beside_input(batch, batch.clear)), discriminator(drawn))
        return Loss(terms["optical_discriminator"], terms)


def _beside_input(batch: Batch, optical: Tensor) -> Tensor:
    """Stack radar, cloudy image, cloud map and an optical image: the channels that the discriminator scores."""
    return torch.cat([batch.sar, batch.cloudy, batch.cloud_map, optical], dim=1)


def weighted(terms: Terms, weights: LossWeights, batch: Batch) -> Loss:
    """Return L_all of section II-C, including the paired terms if there are any, and the terms with this total."""
    share = sum(batch.paired) / len(batch.paired)
    factors = {name: weight * (share if name in PAIRED_TERMS else 1.0) for name, weight in weights.model_dump().items()}
    total = torch.stack([factors[name] * term for name, term in terms.items() if name in factors]).sum()
    return Loss(total, terms | {TOTAL: total.detach()})


def build_objective(settings: TrainSettings, fabric: Fabric) -> Objective:
    """Return the objective of a run, its networks with initial weights that are the same on every rank."""
    rng = torch.Generator().manual_seed(settings.seed)
    objective = _cycle(settings, fabric, rng) if settings.objective == "cycle" else _supervised(settings, fabric, rng)
    for network in objective.networks.values():
        fabric.to_device(network).to(memory_format=_layout(settings))
        if fabric.device.type == "cpu" and settings.device.compile == "off" and winograd.is_faster():
            winograd.use_winograd(network)
    if fabric.global_rank:  # same weights on every rank, but each rank draws from its own pools
        rng.manual_seed(settings.seed + (fabric.global_rank << 32))
    return objective


def start_networks(objective: Objective, settings: TrainSettings, source: Path) -> None:
    """Load earlier weights as the start of a training.

    Args:
        objective: Objective with its networks.
        settings: Training settings.
        source: Weights file, for the cloud remover alone, or run folder, for all networks.

    Raises:
        InputError: The weights belong to networks with other settings, or the source is damaged.
    """
    if not source.is_dir():
        initialise_from_weights(objective.generator, settings.network, source)
        return
    saved = RunFolder(source).networks(settings)
    for name, network in objective.networks.items():
        network.load_state_dict(saved[name])


def _layout(settings: TrainSettings) -> torch.memory_format:
    """channels_last for convolutions in bfloat16 or float16; in float32 it gains nothing on the CPU."""
    return torch.contiguous_format if settings.device.precision == "32-true" else torch.channels_last


def _cycle(settings: TrainSettings, fabric: Fabric, rng: torch.Generator) -> Cycle:
    bare = build_networks(settings.network, settings.discriminator_width, rng)
    ensemble = Networks(**{name: InPrecision(network, settings.device) for name, network in bare.named().items()})
    pools = Pools(ImagePool(settings.pool), ImagePool(settings.pool), rng)
    return Cycle(bare, ensemble, settings.loss, _perceptual(settings, fabric), pools)


def _supervised(settings: TrainSettings, fabric: Fabric, rng: torch.Generator) -> Supervised:
    generator, discriminator = build_generator(settings.network, rng), None
    if isinstance(generator, SarToOptical):
        initialise(generator, rng)
    if settings.objective == "conditional":
        bands = len(settings.network.bands)
        discriminator = PatchDiscriminator(SAR_CHANNELS + bands + 1 + bands, settings.discriminator_width)
        initialise(discriminator, rng)
    networks = {"sar_to_optical": generator, "optical_discriminator": discriminator}
    ensemble = {name: InPrecision(one, settings.device) for name, one in networks.items() if one is not None}
    pool = ImagePool(settings.pool)
    return Supervised(generator, discriminator, ensemble, settings.loss, _perceptual(settings, fabric), pool, rng)


def _perceptual(settings: TrainSettings, fabric: Fabric) -> PerceptualLoss | None:
    if not (settings.paired_percent and (settings.loss.feature or settings.loss.style)):
        return None
    return perceptual_loss(settings.vgg, settings.network.bands).to(fabric.device)


# Optimiser groups: networks that are updated together.


class OptimiserGroup:
    """Networks with one Adam optimiser (section III-B.2: one for both G, one for both D).

    Args:
        name: Name of the group.
        parameters: Parameters of its networks.
        schedule: Learning rate and limit of the gradient norm.
        precision: Precision of the networks; in ``16-mixed`` the gradients are those of scaled losses.
    """

    def __init__(
        self, name: str, parameters: Iterable[nn.Parameter], schedule: Schedule, precision: Precision = "32-true"
    ) -> None:
        self.name, self.parameters, self.clip_norm = name, list(parameters), schedule.clip_norm
        self.scale = LossScale() if precision == "16-mixed" else None
        self.optimiser = Adam(self.parameters, lr=schedule.learning_rate, betas=(0.5, 0.999), eps=1e-8)

    @contextmanager
    def freeze_others(self, groups: Iterable["OptimiserGroup"]) -> Iterator[None]:
        """Clear the gradients of this group, and compute none for other groups within the block."""
        self.optimiser.zero_grad(set_to_none=True)
        others = [parameter for one in groups if one is not self for parameter in one.parameters]
        for parameter in others:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in others:
                parameter.requires_grad_(True)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss, which is scaled in ``16-mixed``."""
        torch.autograd.backward(loss if self.scale is None else loss * self.scale.value)

    def update(self, rate: float, fabric: Fabric) -> bool:
        """Update the weights with the gradients of all ranks.

        Returns:
            False, and no update, if a gradient is not finite; the scale of the loss is then halved.
        """
        self.optimiser.param_groups[0]["lr"] = rate
        sum_gradients(fabric, self.parameters)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if self.scale is not None and gradients:
            torch._foreach_mul_(gradients, 1 / self.scale.value)
        norm = torch.nn.utils.get_total_norm(gradients)
        finite = bool(torch.isfinite(norm))
        if self.scale is not None:
            self.scale.update(finite)
        if not finite:
            return False
        if self.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.clip_norm, norm)
        self.optimiser.step()
        return True

    def state_dict(self) -> dict[int, dict[str, Tensor]]:
        """Return the Adam moments of every parameter, by its index."""
        moments: dict[int, dict[str, Tensor]] = self.optimiser.state_dict()["state"]
        return moments

    def load_state_dict(self, moments: Mapping[str, Any]) -> None:
        """Restore the moments of a :meth:`state_dict`."""
        state = {int(parameter): saved for parameter, saved in moments.items()}
        self.optimiser.load_state_dict({"state": state, "param_groups": self.optimiser.state_dict()["param_groups"]})


def build_groups(objective: Objective, settings: TrainSettings) -> dict[str, OptimiserGroup]:
    """Return the optimiser groups of an objective, by name: the generators, then the discriminators, if any."""
    networks, precision = objective.networks, settings.device.precision
    return {
        name: OptimiserGroup(
            name, [p for one in members for p in networks[one].parameters()], settings.schedule, precision
        )
        for name, members in objective.optimiser_groups.items()
    }


GROWTH_STEPS = 2000
"""Updates with finite gradients after which a loss scale is doubled."""


@dataclass
class LossScale:
    """Factor of a loss that keeps its float16 gradients above underflow (Micikevicius et al. 2018, arXiv:1710.03740).

    It follows ``torch.amp.GradScaler``: halved where a gradient is not finite, doubled after :data:`GROWTH_STEPS`
    updates without that. Powers of 2 change no digit of a gradient.

    Attributes:
        value: The factor.
        finite: Updates with finite gradients since it last changed.
    """

    value: float = 2.0**16
    finite: int = 0

    @property
    def is_exhausted(self) -> bool:
        """Whether the factor is below 1, so that overflow is not its fault."""
        return self.value < 1

    def update(self, finite: bool) -> None:
        """Adapt the factor after a step."""
        self.finite = self.finite + 1 if finite else 0
        if not finite:
            self.value /= 2
        elif self.finite == GROWTH_STEPS:
            self.value, self.finite = self.value * 2, 0

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state as tensors."""
        return {"value": torch.tensor(self.value, dtype=torch.float64), "finite": torch.tensor(self.finite)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore a :meth:`state_dict`."""
        self.value, self.finite = float(state["value"]), int(state["finite"])


# Moving average (EMA) of the weights of the generator.


class ExponentialMovingAverage:
    """An exponential moving average of a network's parameters (Yazici et al. 2019, arXiv:1806.04498).

    The decay grows with the steps taken, at most (1 + n) / (10 + n), so that the initial weights are soon forgotten.

    Args:
        network: Network whose weights are averaged; must have no buffers.
        decay: Weight of the previous average in each step, below 1.
    """

    def __init__(self, network: CloudRemovalGenerator, decay: float) -> None:
        self.decay = decay
        self.network = deepcopy(network).requires_grad_(False)

    @torch.no_grad()
    def update(self, network: CloudRemovalGenerator, step: int) -> None:
        """Move the average towards the weights of a step, counted from 1."""
        kept = min(self.decay, (1 + step) / (10 + step))
        for ema, new in zip(self.network.parameters(), network.parameters(), strict=True):
            ema.lerp_(new, 1 - kept)


# State of a run: everything the next step depends on, as nested mappings of tensors.


def collect_state(
    step: int,
    objective: Objective,
    optimiser_groups: Iterable[OptimiserGroup],
    ema: ExponentialMovingAverage | None,
    fabric: Fabric,
) -> dict[str, Any] | None:
    """Return the state of a run after a step on rank 0, None on other ranks; must be called on every rank.

    Weights and moments are the same on every rank; pools and random states differ between ranks.
    """
    own = {
        "random": objective.rng.get_state(),
        "pools": {
            name: {key: images.cpu() for key, images in pool.state_dict().items()}
            for name, pool in objective.pools.items()
        },
    }
    ranks, groups = gather_on_rank_zero(fabric, own), list(optimiser_groups)
    if ranks is None:
        return None
    return {
        "step": torch.tensor(step),
        "networks": {name: network.state_dict() for name, network in objective.networks.items()},
        "optimisers": {group.name: group.state_dict() for group in groups},
        "scales": {group.name: group.scale.state_dict() for group in groups if group.scale is not None},
        "ema": ema.network.state_dict() if ema is not None else {},
        "ranks": {str(rank): state for rank, state in enumerate(ranks)},
    }


def restore_state(
    state: Mapping[str, Any],
    objective: Objective,
    optimiser_groups: Iterable[OptimiserGroup],
    ema: ExponentialMovingAverage | None,
    fabric: Fabric,
) -> int:
    """Restore a state of :func:`collect_state`; return its step.

    Raises:
        InputError: The state is of other networks, or of another version.
    """
    try:
        own = state["ranks"][str(fabric.global_rank)]
        for name, network in objective.networks.items():
            network.load_state_dict(state["networks"][name])
        for group in optimiser_groups:
            if group.scale is None:
                group.load_state_dict(state["optimisers"][group.name])
            else:
                group.load_state_dict(state.get("optimisers", {}).get(group.name, {}))  # none after overflows alone
                group.scale.load_state_dict(state["scales"][group.name])
        if ema is not None:
            ema.network.load_state_dict(state["ema"])
        for name, pool in objective.pools.items():
            pool.load_state_dict(fabric.to_device(own["pools"][name]))
        objective.rng.set_state(own["random"])
        return int(state["step"])
    except (KeyError, RuntimeError) as error:
        if memory_fault(error) is not None:
            raise
        first = str(error).splitlines()[:2][-1].strip()  # torch gives a heading, then one line per tensor
        raise InputError(
            f"the saved state is of another version or other networks ({first}); start anew in another folder"
        ) from error
