"""Published networks as removers, with the preprocessing of their training."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from unclouded.errors import InputError
from unclouded.models.card import Card
from unclouded.models.published.dsen2cr import Dsen2cr
from unclouded.models.published.tiles import MARGIN_PX, STEP_PX, TILE_PX, blend_tiles
from unclouded.models.published.uncrtaints import Uncrtaints
from unclouded.sensors import SENTINEL2
from unclouded.tensors.observation import Observation, Reference

_DARKEST_DB = -25.0
_VH_DARKEST_DB = -32.5
_DSEN2CR_DN = 2000.0
_DSEN2CR_RADAR = 2.0
_DN = 10_000.0
FIRST_DAY = datetime.date(2014, 4, 3)
"""Day 0 of UnCRtainTS."""


def prepare_uncrtaints(
    sar: Float[Tensor, "*batch 2 h w"] | None, optical: Float[Tensor, "*batch 13 h w"]
) -> Float[Tensor, "*batch channel h w"]:
    """Return the network input of one date: radar from 0 to 1 before reflectance from 0 to 1, 0 for no data.

    Args:
        sar: VV and VH, dB; None for a network without radar.
        optical: TOA reflectance.
    """
    channels = [optical.clamp(0.0, 1.0)]
    if sar is not None:
        channels.insert(0, (sar.clamp(_DARKEST_DB, 0.0) - _DARKEST_DB) / -_DARKEST_DB)
    return torch.cat(channels, dim=-3).nan_to_num(nan=0.0)


def prepare_dsen2cr(
    sar: Float[Tensor, "*batch 2 h w"] | None, optical: Float[Tensor, "*batch 13 h w"]
) -> Float[Tensor, "*batch channel h w"]:
    """Return the network input: optical bands from 0 to 5 before radar from 0 to 2.

    Pixels without data get the mean of their image over all bands, as in the training.

    Args:
        sar: VV and VH, dB; None for a network without radar.
        optical: TOA reflectance.
    """
    channels = [(_filled(optical) * _DN).clamp(0.0, _DN) / _DSEN2CR_DN]
    if sar is not None:
        low = sar.new_tensor([_DARKEST_DB, _VH_DARKEST_DB]).view(2, 1, 1)
        clipped = torch.minimum(torch.maximum(_filled(sar), low), sar.new_zeros(()))
        channels.append((clipped - low) / -low * _DSEN2CR_RADAR)
    return torch.cat(channels, dim=-3)


def _filled(image: Float[Tensor, "*batch band h w"]) -> Float[Tensor, "*batch band h w"]:
    mean = image.nanmean(dim=(-3, -2, -1), keepdim=True).nan_to_num(nan=0.0)
    return torch.where(image.isnan(), mean, image)


class _PublishedRemover:
    """Properties that the removers share."""

    network: Dsen2cr | Uncrtaints

    @property
    def bands(self) -> tuple[str, ...]:
        """All 13 bands of L1C, in the order of their numbers."""
        return SENTINEL2.bands

    @property
    def needs_radar(self) -> bool:
        """Whether the network has radar among its inputs."""
        return self.network.settings.radar

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device


@dataclass(frozen=True, eq=False)
class Dsen2crRemover(_PublishedRemover):
    """DSen2-CR as a :class:`~unclouded.models.remover.SceneRemover`; independent of how a scene is cut.

    Attributes:
        network: Network with its weights.
        name: Name in tables.
        card: Source, licence and origin of the weights.
    """

    network: Dsen2cr
    name: str = "dsen2cr"
    card: Card = field(default_factory=Card)

    @property
    def margin_px(self) -> int:
        """Receptive field of the convolutions."""
        return self.network.settings.reach_px

    @property
    def align_px(self) -> int:
        """1: windows may start anywhere."""
        return 1

    def adapt(self, sample: Sequence[Observation]) -> "Dsen2crRemover":
        """Return the remover itself: the network has no statistics of a scene."""
        return self

    @torch.inference_mode()
    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image as TOA reflectance; NaN where the cloudy image has no data."""
        seen = observation.select(self.bands)
        images = prepare_dsen2cr(seen.sar if self.needs_radar else None, seen.cloudy)
        clear = self.network(images.to(self._device)) * (_DSEN2CR_DN / _DN)
        return torch.where(seen.cloudy.isnan(), torch.nan, clear.to(seen.cloudy.device))


@dataclass(frozen=True, eq=False)
class UncrtaintsRemover(_PublishedRemover):
    """UnCRtainTS as a :class:`~unclouded.models.remover.SceneRemover`, on blended tiles of the size of its training.

    Attributes:
        network: Network with its weights.
        name: Name in tables.
        card: Source, licence and origin of the weights.

    A network of several dates gets the image and the references nearest to it in time.
    """

    TILE_REMARK: ClassVar[str] = (
        f"the result at a pixel depends on the whole tile around it; tiles of {TILE_PX} px, the size of the training,"
        " are blended"
    )

    network: Uncrtaints
    name: str = "uncrtaints"
    card: Card = field(default_factory=Card)

    @property
    def remark(self) -> str:
        """What users have to know about the images."""
        return f"{self.name}: {self.TILE_REMARK}"

    @property
    def uses_references(self) -> bool:
        """Whether the network combines several dates."""
        return self.network.settings.dates > 1

    @property
    def margin_px(self) -> int:
        """Reach of the tiles that contain a pixel."""
        return MARGIN_PX

    @property
    def align_px(self) -> int:
        """Windows start where tiles do."""
        return STEP_PX

    def adapt(self, sample: Sequence[Observation]) -> "UncrtaintsRemover":
        """Return the remover itself: the statistics of the network are those of a tile.

        Raises:
            InputError: The network combines several dates, and there is only one.
        """
        for one in sample[:1]:
            self._dates(one)
        return self

    def _dates(self, observation: Observation) -> "list[Observation | Reference]":
        """Return the image and, for a network of several dates, the references nearest to it in time."""
        dates = self.network.settings.dates
        if dates == 1:
            return [observation]
        today = observation.date
        dated = [(one, one.date) for one in observation.references if one.date is not None]
        if today is None or not dated:
            found = f"{len(dated)} dated references" if today else "an image without date"
            raise InputError(
                f"{self.name} combines {dates} dates, found {found}; add references, or use weights for a single date"
            )
        nearest = sorted(dated, key=lambda pair: abs((pair[1] - today).days))[: dates - 1]
        return [observation, *(one for one, _ in nearest)]

    def _days(self, dates: "Sequence[Observation | Reference]") -> Float[Tensor, " date"] | None:
        """Return the days of the optical images; that of the radar, averaged with it in training, is not known here."""
        if self.network.settings.dates == 1:
            return None
        return torch.tensor([float((one.date - FIRST_DAY).days) for one in dates if one.date is not None])

    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image as TOA reflectance; NaN where the cloudy image has no data, and away from clouds."""
        return self.with_uncertainty(observation)[0]

    @torch.inference_mode()
    def with_uncertainty(
        self, observation: Observation
    ) -> tuple[Float[Tensor, "batch band h w"], Float[Tensor, "batch band h w"] | None]:
        """Return the clear image and its standard deviation, TOA reflectance; None for a network without variance."""
        seen = observation.select(self.bands)
        dates = self._dates(seen)
        radar = self.needs_radar
        images = torch.stack(
            [
                prepare_uncrtaints((one.sar if one.sar is not None else seen.sar) if radar else None, one.cloudy)
                for one in dates
            ],
            dim=1,
        )
        device = self._device
        days = self._days(dates)
        days = None if days is None else days.expand(len(images), -1).to(device)

        def predict(rows: slice, columns: slice) -> Tensor:
            estimate = self.network(images[..., rows, columns].to(device), days)
            parts = [estimate.mean] if estimate.variance is None else [estimate.mean, estimate.variance]
            return torch.cat(parts, dim=1).to(images.device)

        blended = blend_tiles(predict, seen.is_cloudy)
        gaps = seen.cloudy.isnan()
        clear = torch.where(gaps, torch.nan, blended[:, : len(self.bands)])
        if self.network.settings.variance == "none":
            return clear, None
        return clear, torch.where(gaps, torch.nan, blended[:, len(self.bands) :].sqrt())
