"""Observation, the input of a model, Reference, another date of the same place, and Triplet, with its clear target."""

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.data._utils.collate import default_collate_fn_map

from unclouded.errors import InputError
from unclouded.sensors import Level


@dataclass(frozen=True)
class Season:
    """Time of the year and latitude of an optical image.

    Attributes:
        day_of_year: 1 for 1 January; the middle of the season if only that is known.
        latitude_deg: Latitude of the centre, positive north of the equator; None if unknown.
    """

    day_of_year: int
    latitude_deg: float | None = None


@dataclass(frozen=True, eq=False)
class Reference:
    """Another date of the place of an observation, on the same grid.

    Attributes:
        name: Name in reports, such as the product's.
        date: Date of acquisition; None if unknown.
        cloudy: Reflectance of the bands of the observation, at the same level; NaN where there is no data.
        cloud_map: Cloud map of this date, 0 clear to 1 cloudy or shadow; never NaN.
        sar: VV and VH backscatter of about this date, dB; None if there is none.
    """

    name: str
    date: datetime.date | None
    cloudy: Float[Tensor, "batch band h w"]
    cloud_map: Float[Tensor, "batch 1 h w"]
    sar: Float[Tensor, "batch 2 h w"] | None = None

    @property
    def is_clear(self) -> Bool[Tensor, "batch 1 h w"]:
        """Pixels with m = 0 and data in every band."""
        return (self.cloud_map == 0) & finite_pixels(self.cloudy)

    def transformed(self, transform: Callable[[Tensor], Tensor]) -> "Reference":
        """Return the reference with every image transformed, such as cropped, mirrored or moved to a device."""
        sar = None if self.sar is None else transform(self.sar)
        return replace(self, cloudy=transform(self.cloudy), cloud_map=transform(self.cloud_map), sar=sar)


@dataclass(frozen=True, eq=False)
class Observation:
    """Input of a model: radar, a cloudy optical image, and its cloud map; and other dates, for removers that use them.

    Attributes:
        sar: VV and VH backscatter, dB; NaN where there is no data.
        cloudy: Reflectance of ``bands``, at the top of the atmosphere (L1C) or at the surface (L2A); NaN where there is
            no data.
        cloud_map: The map m of section II-A of the paper, 0 clear to 1 cloudy; never NaN.
        bands: Names of the optical bands, one per channel of ``cloudy``.
        origin_px: Row and column of the upper left pixel in its scene; (0, 0) for a patch.
        date: Date of acquisition; None if unknown.
        references: Other dates of the same place, bands and level.
        seasons: Season of each image of the batch, None where it is unknown; empty if all are.
        level: Processing level of the optical image and of its references.
    """

    sar: Float[Tensor, "batch 2 h w"]
    cloudy: Float[Tensor, "batch band h w"]
    cloud_map: Float[Tensor, "batch 1 h w"]
    bands: tuple[str, ...]
    origin_px: tuple[int, int] = (0, 0)
    date: datetime.date | None = None
    references: tuple[Reference, ...] = ()
    seasons: tuple[Season | None, ...] = ()
    level: Level = "L1C"

    @property
    def is_cloudy(self) -> Bool[Tensor, "batch 1 h w"]:
        """Pixels with m > 0; the others keep their observed values in every product."""
        return self.cloud_map > 0

    def select(self, bands: tuple[str, ...]) -> "Observation":
        """Return the observation with some of its optical bands, in the order given.

        Raises:
            InputError: A band is not there.
        """
        if bands == self.bands:
            return self
        picked = positions(bands, self.bands)
        references = tuple(replace(one, cloudy=one.cloudy[:, picked]) for one in self.references)
        return replace(self, cloudy=self.cloudy[:, picked], bands=bands, references=references)

    def images(self) -> "list[Observation]":
        """Return each image of the batch by itself."""
        return [
            replace(self.transformed(partial(torch.narrow, dim=0, start=i, length=1)), seasons=(season,))
            for i, season in enumerate(self.each_season())
        ]

    def each_season(self) -> tuple[Season | None, ...]:
        """Return the season of each image, None where it is unknown."""
        return self.seasons or (None,) * len(self.cloudy)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Observation":
        """Return the observation on another device; with ``non_blocking``, from pinned memory, without waiting."""
        return self.transformed(lambda image: image.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Observation":
        """Return the observation in page-locked memory; called by a DataLoader with ``pin_memory``."""
        return self.transformed(torch.Tensor.pin_memory)

    def transformed(self, transform: Callable[[Tensor], Tensor]) -> "Observation":
        """Return the observation with every image transformed, those of references too; ``origin_px`` stays."""
        sar, cloudy, cloud_map = (transform(image) for image in (self.sar, self.cloudy, self.cloud_map))
        references = tuple(one.transformed(transform) for one in self.references)
        return replace(self, sar=sar, cloudy=cloudy, cloud_map=cloud_map, references=references)


@dataclass(frozen=True, eq=False)
class Triplet:
    """An observation with its clear target.

    Attributes:
        name: Unique name of the patch in its data set; of a batch, all names joined by commas.
        observation: Input of the model.
        clear: TOA reflectance of the same bands on a cloud-free date.
    """

    name: str
    observation: Observation
    clear: Float[Tensor, "batch band h w"]

    def select(self, bands: tuple[str, ...]) -> "Triplet":
        """Return the triplet with some of its optical bands, in the order given.

        Raises:
            InputError: A band is not there.
        """
        picked = self.clear[:, positions(bands, self.observation.bands)]
        return Triplet(self.name, self.observation.select(bands), picked)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Triplet":
        """Return the triplet on another device; with ``non_blocking``, from pinned memory, without waiting."""
        observation = self.observation.to(device, non_blocking=non_blocking)
        return Triplet(self.name, observation, self.clear.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Triplet":
        """Return the triplet in page-locked memory; called by a DataLoader with ``pin_memory``."""
        return Triplet(self.name, self.observation.pin_memory(), self.clear.pin_memory())


def finite_pixels(image: Float[Tensor, "batch channel h w"]) -> Bool[Tensor, "batch 1 h w"]:
    """Return the pixels that are finite in every channel, in one pass: a sum is finite if all its terms are."""
    return image.sum(dim=1, keepdim=True).isfinite()


def positions(selected: tuple[str, ...], bands: tuple[str, ...]) -> list[int]:
    """Return the positions of some bands in a sequence of bands.

    Raises:
        InputError: A band is missing.
    """
    if absent := [band for band in selected if band not in bands]:
        raise InputError(
            f"expected the bands {' '.join(selected)}, found {' '.join(bands)}; {' '.join(absent)} is missing"
        )
    return [bands.index(band) for band in selected]


def stack(triplets: Sequence[Triplet]) -> Triplet:
    """Join triplets of one size and the same bands into a batch; the names are joined with commas.

    Raises:
        InputError: Sizes or bands differ.
    """
    return Triplet(
        ", ".join(triplet.name for triplet in triplets),
        stack_observations([triplet.observation for triplet in triplets]),
        torch.cat([triplet.clear for triplet in triplets]),
    )


def stack_observations(seen: Sequence[Observation]) -> Observation:
    """Join observations of one size and the same bands into a batch.

    Raises:
        InputError: Sizes, bands or levels differ.
    """
    first = seen[0]
    for other in seen[1:]:
        if other.bands != first.bands or other.cloudy.shape[1:] != first.cloudy.shape[1:]:
            rows, columns = first.cloudy.shape[-2:]
            found = f"{other.cloudy.shape[-2]} x {other.cloudy.shape[-1]} px of {' '.join(other.bands)}"
            raise InputError(
                f"expected a batch of images of the same size, {rows} x {columns} px of {' '.join(first.bands)}, found "
                f"{found}; crop them, as crop_px does"
            )
    if len(levels := {one.level for one in seen}) > 1:
        raise InputError(f"expected a batch of images of one level, found {' and '.join(sorted(levels))}; split it")
    sar, cloudy, cloud_map = (
        torch.cat([getattr(one, name) for one in seen]) for name in ("sar", "cloudy", "cloud_map")
    )
    seasons = tuple(season for one in seen for season in one.each_season())
    return Observation(sar, cloudy, cloud_map, first.bands, seasons=seasons, level=first.level)


def _collate_triplets(batch: Sequence[Triplet], **_: Any) -> Triplet:
    return stack(batch)


def _collate_observations(batch: Sequence[Observation], **_: Any) -> Observation:
    return stack_observations(batch)


# Lets a torch DataLoader without its own collate_fn build batches of these types.
default_collate_fn_map[Triplet] = _collate_triplets
default_collate_fn_map[Observation] = _collate_observations
