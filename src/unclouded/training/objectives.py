"""What a run learns, apart from how often: the paper's cycle, a conditional GAN, or a residual network alone.

The paper remarks that its generator, cloud maps and losses "may as well be used within alternative models, such as
conditional GAN [26] or ResNet architectures [20]" (section II-C). The three share the generator, terms and the loop.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from unclouded.models.discriminator import PatchDiscriminator
from unclouded.models.generator import SAR_CHANNELS, SarToOptical
from unclouded.models.initialisation import initialise
from unclouded.training import losses
from unclouded.training.devices import InPrecision
from unclouded.training.history import HistoryPool
from unclouded.training.losses import LossWeights
from unclouded.training.perceptual import PerceptualLoss, perceptual_loss
from unclouded.training.settings import TrainSettings
from unclouded.training.step import (
    CLEAR_RESIDUAL,
    Batch,
    Networks,
    Pools,
    Terms,
    build_networks,
    critic_terms,
    generator_terms,
    judged,
    mean_on_clear,
)

GENERATORS, CRITICS = "generators", "critics"
TOTAL = "total"
"""Name of the weighted sum of the generators' terms."""
PAIRED_TERMS = ("pixel", "feature", "style")
"""Terms of pairs; in a batch they count by the share of its pairs, so that a batch is the mean of its parts."""


@runtime_checkable
class Objective(Protocol):
    """Networks, who of them learns when, and the losses of one batch."""

    @property
    def restorer(self) -> SarToOptical:
        """The cloud-removal generator."""
        ...

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """All networks, by name."""
        ...

    @property
    def learners(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the networks that learn together, in the order of a step."""
        ...

    @property
    def pools(self) -> Mapping[str, HistoryPool]:
        """Generated images of earlier steps, by name."""
        ...

    @property
    def rng(self) -> torch.Generator:
        """What is drawn from: initial weights, then pools."""
        ...

    def losses(self, batch: Batch) -> Iterator[tuple[Tensor, Terms]]:
        """Yield the loss of each learner in turn, with its terms; ask for the next when the one before has learnt."""
        ...


@dataclass(frozen=True, eq=False)
class Cycle:
    """The paper's ensemble (Fig. 2): two generators, two discriminators, the losses of section II-C.

    Attributes:
        bare: The four networks.
        ensemble: The same in the run's precision.
        weights: Of the loss terms.
        perceptual: Feature and style losses of pairs, where they are wanted.
        history: The two pools.
    """

    bare: Networks
    ensemble: Networks
    weights: LossWeights
    perceptual: PerceptualLoss | None
    history: Pools
    learners: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {
            GENERATORS: ("optical_to_sar", "sar_to_optical"),
            CRITICS: ("sar_critic", "optical_critic"),
        }
    )

    @property
    def restorer(self) -> SarToOptical:
        """The cloud-removal generator."""
        assert isinstance(self.bare.sar_to_optical, SarToOptical)
        return self.bare.sar_to_optical

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The four networks, by name."""
        return self.bare.named()

    @property
    def pools(self) -> Mapping[str, HistoryPool]:
        """The two pools."""
        return {"sar": self.history.sar, "optical": self.history.optical}

    @property
    def rng(self) -> torch.Generator:
        """What the pools are drawn from by."""
        return self.history.rng

    def losses(self, batch: Batch) -> Iterator[tuple[Tensor, Terms]]:
        """Yield L_all, then the loss of both discriminators."""
        terms, generated = generator_terms(self.ensemble, batch, self.weights, self.perceptual)
        yield weighted(terms, self.weights, batch)
        terms = critic_terms(self.ensemble, batch, generated, self.history)
        yield terms["sar_critic"] + terms["optical_critic"], terms


@dataclass(frozen=True, eq=False)
class Supervised:
    """The cloud remover learns from pairs alone; with a critic, it is a conditional GAN.

    The cloud-aware terms are L_aux and the optical half of L_cyc with the prediction itself in the place of S2~:
    (1 - m) |S2 - S2^|, which forbids to change what is clear. The critic sees what the generator saw beside what it
    made (pix2pix [37]).

    Attributes:
        restorer: The cloud-removal generator.
        critic: Judges a prediction or a clear image beside radar, cloudy image and map; None for a residual network.
        fabric: Knows the precision.
        weights: Of the loss terms.
        perceptual: Feature and style losses, where they are wanted.
        pool: Of predictions beside what they were made from.
        rng: Draws from the pool.
    """

    restorer: SarToOptical
    critic: PatchDiscriminator | None
    fabric: Fabric
    weights: LossWeights
    perceptual: PerceptualLoss | None
    pool: HistoryPool
    rng: torch.Generator

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """One network, or two."""
        critics = {"optical_critic": self.critic} if self.critic is not None else {}
        return {"sar_to_optical": self.restorer, **critics}

    @property
    def learners(self) -> Mapping[str, tuple[str, ...]]:
        """The generator, then the critic where there is one."""
        critics = {CRITICS: ("optical_critic",)} if self.critic is not None else {}
        return {GENERATORS: ("sar_to_optical",), **critics}

    @property
    def pools(self) -> Mapping[str, HistoryPool]:
        """One pool."""
        return {"optical": self.pool}

    def losses(self, batch: Batch) -> Iterator[tuple[Tensor, Terms]]:
        """Yield the generator's loss, then the critic's."""
        m, seen = batch.cloud_map, torch.cat([batch.sar, batch.cloudy, batch.cloud_map], dim=1)
        critic = InPrecision(self.critic, self.fabric) if self.critic is not None else None
        restored = InPrecision(self.restorer, self.fabric)(batch.sar, batch.cloudy, m)
        prediction = restored.optical
        terms: Terms = {
            "pixel": losses.pixel(prediction, batch.clear),
            "kept": losses.kept(batch.cloudy, prediction, m),
            "auxiliary": losses.auxiliary(restored.cloud_map_estimate, m),
        }
        if self.perceptual is not None:
            terms["feature"], terms["style"] = self.perceptual(prediction, batch.clear)
        if critic is not None:
            terms["adversarial"] = losses.adversarial(critic(torch.cat([seen, prediction], dim=1)))
        terms[CLEAR_RESIDUAL] = mean_on_clear(restored.residual.detach(), m)
        yield weighted(terms, self.weights, batch)
        if critic is not None:
            drawn = self.pool.draw(torch.cat([seen, prediction.detach()], dim=1), self.rng)
            terms = judged("optical", critic(torch.cat([seen, batch.clear], dim=1)), critic(drawn))
            yield terms["optical_critic"], terms


def weighted(terms: Terms, weights: LossWeights, batch: Batch) -> tuple[Tensor, Terms]:
    """Return L_all of section II-C, with the paired terms where there are any, and the terms with it."""
    share = sum(batch.paired) / len(batch.paired)
    factors = {name: weight * (share if name in PAIRED_TERMS else 1.0) for name, weight in weights.model_dump().items()}
    total = torch.stack([factors[name] * term for name, term in terms.items() if name in factors]).sum()
    return total, terms | {TOTAL: total.detach()}


def build_objective(settings: TrainSettings, fabric: Fabric) -> Objective:
    """Make the networks with fresh weights, the same on every rank, and what they learn from."""
    rng = torch.Generator().manual_seed(settings.seed)
    objective = _cycle(settings, fabric, rng) if settings.objective == "cycle" else _supervised(settings, fabric, rng)
    for network in objective.networks.values():
        fabric.to_device(network).to(memory_format=_layout(settings))
    if fabric.global_rank:  # weights are the same everywhere, pools are drawn from by each rank for itself
        rng.manual_seed(settings.seed + (fabric.global_rank << 32))
    return objective


def _layout(settings: TrainSettings) -> torch.memory_format:
    """Channels side by side where convolutions are bfloat16; in float32 this gains nothing on the CPU."""
    return torch.contiguous_format if settings.device.precision == "32-true" else torch.channels_last


def _cycle(settings: TrainSettings, fabric: Fabric, rng: torch.Generator) -> Cycle:
    bare = build_networks(settings.network, settings.discriminator_width, rng)
    ensemble = Networks(**{name: InPrecision(network, fabric) for name, network in bare.named().items()})
    pools = Pools(HistoryPool(settings.pool), HistoryPool(settings.pool), rng)
    return Cycle(bare, ensemble, settings.loss, _perceptual(settings, fabric), pools)


def _supervised(settings: TrainSettings, fabric: Fabric, rng: torch.Generator) -> Supervised:
    restorer, critic = settings.network.build(), None
    initialise(restorer, rng)
    if settings.objective == "conditional":
        bands = len(settings.network.bands)
        critic = PatchDiscriminator(SAR_CHANNELS + bands + 1 + bands, settings.discriminator_width)
        initialise(critic, rng)
    pool = HistoryPool(settings.pool)
    return Supervised(restorer, critic, fabric, settings.loss, _perceptual(settings, fabric), pool, rng)


def _perceptual(settings: TrainSettings, fabric: Fabric) -> PerceptualLoss | None:
    if not (settings.paired_percent and (settings.loss.feature or settings.loss.style)):
        return None
    return perceptual_loss(settings.vgg, settings.network.bands).to(fabric.device)
