"""One training step: the paper's losses (section II-C) on one batch, generators first, then discriminators."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unclouded.models.cyclegan import (
    SAR_CHANNELS,
    CloudRemovalGenerator,
    OpticalToSar,
    PatchDiscriminator,
    SarToOptical,
    fit_channels,
    initialise,
)
from unclouded.models.network import NetworkSettings
from unclouded.models.scaling import Scaling
from unclouded.models.winograd import weights_transformed_once
from unclouded.tensors.observation import Triplet
from unclouded.training import losses
from unclouded.training.losses import LossWeights, PerceptualLoss

Terms = dict[str, Tensor]
"""Loss terms by name, before their weights."""

CLEAR_RESIDUAL = "clear_residual"
"""Name of the mean |residual| on clear pixels: watched, not minimised; NaN where a batch has no clear pixel."""


@dataclass(frozen=True, eq=False)
class Networks:
    """The four networks of Fig. 2.

    Attributes:
        optical_to_sar: G_S2->S1.
        sar_to_optical: G_S1->S2, the cloud remover.
        sar_discriminator: D_S1.
        optical_discriminator: D_S2, which also sees m.
    """

    optical_to_sar: nn.Module
    sar_to_optical: nn.Module
    sar_discriminator: nn.Module
    optical_discriminator: nn.Module

    def named(self) -> dict[str, nn.Module]:
        """Return the four networks by name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch in network values, every image in [-1, 1].

    Attributes:
        sar: S1: VV, VH and their mean.
        cloudy: S2 of the observation.
        clear: A clear S2, of the same place only where ``paired`` is True.
        cloud_map: m, in [0, 1].
        paired: Whether each clear image belongs to its observation.
        names: Patch names, for messages.
        real: Clear image that D_S2 sees as real; ``clear`` if None.
    """

    sar: Float[Tensor, "batch 3 h w"]
    cloudy: Float[Tensor, "batch band h w"]
    clear: Float[Tensor, "batch band h w"]
    cloud_map: Float[Tensor, "batch 1 h w"]
    paired: tuple[bool, ...]
    names: str
    real: Float[Tensor, "batch band h w"] | None = None

    @classmethod
    def of(cls, triplet: Triplet, paired: tuple[bool, ...], scaling: Scaling, real: Tensor | None = None) -> "Batch":
        """Scale a triplet in physical units for the networks."""
        seen = triplet.observation
        return cls(
            scaling.sar(seen.sar),
            scaling.optical(seen.cloudy),
            scaling.optical(triplet.clear),
            seen.cloud_map,
            paired,
            triplet.name,
            None if real is None else scaling.optical(real),
        )


@dataclass(frozen=True, eq=False)
class Generated:
    """Images that the generators produced from a batch, without gradients, for the discriminators.

    Attributes:
        optical: Output of the cloud remover.
        sar: Output of G_S2->S1; None if the objective has no such network.
    """

    optical: Float[Tensor, "batch band h w"]
    sar: Float[Tensor, "batch 3 h w"] | None = None


def generator_terms(
    networks: Networks, batch: Batch, weights: LossWeights, perceptual: PerceptualLoss | None
) -> tuple[Terms, Generated]:
    """Run both generators both ways and return every loss term of section II-C (equations for L_adv to L_aux).

    S2 of the cycle is the cloudy image; S2 of the identity term is the clear one (our decision: the paper names
    both S2). The paired terms are included if the batch has pairs.

    Args:
        networks: The four networks.
        batch: Scaled images.
        weights: Loss weights; a term of weight 0 is omitted.
        perceptual: Feature and style losses; needed for paired batches where their weights are not 0.
    """
    with _casting_weights_once(batch):
        return _generator_terms(networks, batch, weights, perceptual)


@contextmanager
def _casting_weights_once(batch: Batch) -> Iterator[None]:
    """Cast and transform each weight once per batch.

    Autocast caches cast weights until its outermost block ends, even if that block is disabled.
    """
    with torch.autocast(batch.sar.device.type, enabled=False), weights_transformed_once():
        yield


def _generator_terms(
    networks: Networks, batch: Batch, weights: LossWeights, perceptual: PerceptualLoss | None
) -> tuple[Terms, Generated]:
    m = batch.cloud_map
    fake_sar = networks.optical_to_sar(batch.cloudy)
    restored = networks.sar_to_optical(batch.sar, batch.cloudy, m)
    fake_optical = restored.optical
    terms: Terms = {
        "adversarial": losses.adversarial(networks.sar_discriminator(fake_sar))
        + losses.adversarial(networks.optical_discriminator(torch.cat([fake_optical, m], dim=1))),
        "auxiliary": losses.auxiliary(restored.cloud_map_estimate, m),
    }
    if weights.cycle:
        cycled_sar = networks.optical_to_sar(fake_optical)
        cycled_optical = networks.sar_to_optical(fake_sar, batch.cloudy, m).optical
        terms["cycle"] = losses.cycle(batch.sar, cycled_sar, batch.cloudy, cycled_optical, m)
    if weights.identity:
        same_sar = networks.optical_to_sar(fit_channels(batch.sar, batch.cloudy.shape[1]))
        same_optical = networks.sar_to_optical(fit_channels(batch.clear, SAR_CHANNELS), batch.clear, m).optical
        terms["identity"] = losses.identity(batch.sar, same_sar, batch.clear, same_optical, m)
    if any(batch.paired):
        chosen = [i for i, own in enumerate(batch.paired) if own]  # a mask would synchronise the device
        prediction, clear = fake_optical[chosen], batch.clear[chosen]
        terms["pixel"] = losses.pixel(prediction, clear)
        if perceptual is not None:
            terms["feature"], terms["style"] = perceptual(prediction, clear)
    terms[CLEAR_RESIDUAL] = mean_on_clear(restored.residual.detach(), m)
    return terms, Generated(fake_optical.detach(), fake_sar.detach())


def mean_on_clear(residual: Float[Tensor, "batch band h w"], m: Float[Tensor, "batch 1 h w"]) -> Float[Tensor, ""]:
    """Mean |residual| where m = 0, in units of atanh([-1, 1]); NaN where no pixel is clear."""
    clear = (m == 0).expand_as(residual)
    return torch.where(clear, residual.abs(), 0.0).sum() / clear.sum()


def discriminator_terms(networks: Networks, batch: Batch, generated: Generated, pools: "Pools") -> Terms:
    """Return the least-squares losses of both discriminators, with fakes drawn from the pools.

    A generated optical image is pooled together with its cloud map m, and the real image of the step is shown
    with that same m (our decision). That real image is unpaired, as in section II-B, unless ``batch.real`` is None.
    """
    assert generated.sar is not None
    fake_sar = pools.sar.draw(generated.sar, pools.rng)
    joined = torch.cat([generated.optical, batch.cloud_map], dim=1)
    fake_optical = pools.optical.draw(joined, pools.rng)
    real = batch.clear if batch.real is None else batch.real
    real_optical = torch.cat([real, fake_optical[:, -1:]], dim=1)
    return discriminator_scores(
        "sar", networks.sar_discriminator(batch.sar), networks.sar_discriminator(fake_sar)
    ) | discriminator_scores(
        "optical", networks.optical_discriminator(real_optical), networks.optical_discriminator(fake_optical)
    )


def discriminator_scores(
    domain: str, real: Float[Tensor, "batch 1 rows columns"], generated: Float[Tensor, "batch 1 rows columns"]
) -> Terms:
    """Return the loss of a discriminator, and the outputs that are monitored but not minimised.

    Monitored are the mean outputs for real and for generated images, and the share of outputs on the right side of
    1/2, both kinds counting the same.
    """
    real_seen, generated_seen = real.detach(), generated.detach()
    right = (real_seen > 0.5).float().mean() + (generated_seen < 0.5).float().mean()
    return {
        f"{domain}_discriminator": losses.discriminator(real, generated),
        f"{domain}_real": real_seen.mean(),
        f"{domain}_generated": generated_seen.mean(),
        f"{domain}_accuracy": right / 2,
    }


# Pool of generated images of earlier steps, which stabilises the discriminators.


class ImagePool:
    """A pool of the last generated images (Shrivastava et al. 2017 [36], as in CycleGAN [18]; section III-B.2).

    Until it is full, each image is stored and returned. Then, with probability 1/2, the image is returned; otherwise
    it takes the place of a stored one, which is returned instead.

    Args:
        size: Capacity; 50 in the paper. With 0 every image is returned.
    """

    def __init__(self, size: int = 50) -> None:
        self.size = size
        self._images: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._images)

    def draw(
        self, images: Float[Tensor, "batch channel h w"], generator: torch.Generator
    ) -> Float[Tensor, "batch channel h w"]:
        """Return a new or an older image for each of ``images``, without gradients.

        Args:
            images: Newly generated images.
            generator: Source of randomness, on the CPU.
        """
        return torch.stack([self._draw_one(image, generator) for image in images.detach()])

    def _draw_one(self, image: Tensor, generator: torch.Generator) -> Tensor:
        if len(self._images) < self.size:
            self._images.append(image.clone())
            return image
        if self.size == 0 or torch.rand((), generator=generator).item() < 0.5:
            return image
        place = int(torch.randint(self.size, (), generator=generator))
        older, self._images[place] = self._images[place], image.clone()
        return older

    def state_dict(self) -> dict[str, Tensor]:
        """Return the images as one tensor under ``images``, with no rows while the pool is empty."""
        return {"images": torch.stack(self._images) if self._images else torch.empty(0)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Replace the images by those of a :meth:`state_dict`; the pool then continues bit for bit."""
        self._images = list(state["images"].clone())


@dataclass(eq=False)
class Pools:
    """The two image pools and the random generator of both."""

    sar: ImagePool
    optical: ImagePool
    rng: torch.Generator


def build_networks(settings: NetworkSettings, discriminator_width: int, rng: torch.Generator) -> Networks:
    """Return the four networks with initial weights drawn by ``rng``."""
    bands = len(settings.bands)
    networks = Networks(
        OpticalToSar(bands, settings.width),
        build_generator(settings, rng),
        PatchDiscriminator(SAR_CHANNELS, discriminator_width),
        PatchDiscriminator(bands + 1, discriminator_width),
    )
    for network in networks.named().values():
        if isinstance(network, SarToOptical | OpticalToSar | PatchDiscriminator):
            initialise(network, rng)
    return networks


def build_generator(settings: NetworkSettings, rng: torch.Generator) -> CloudRemovalGenerator:
    """Return the cloud-removal generator of a run; a network of another package draws its weights with the run's seed.

    The weights of the paper's network are drawn afterwards, by ``rng``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.initial_seed())
        return settings.build()
