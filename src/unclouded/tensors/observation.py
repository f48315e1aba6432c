"""Observation, the input of a model, and Triplet, an observation with its clear target."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.data._utils.collate import default_collate_fn_map

from unclouded.errors import InputError


@dataclass(frozen=True, eq=False)
class Observation:
    """Input of a model: radar, a cloudy optical image, and its cloud map.

    Attributes:
        sar: VV and VH backscatter, dB; NaN where there is no data.
        cloudy: TOA reflectance of ``bands``; NaN where there is no data.
        cloud_map: The map m of section II-A of the paper, 0 clear to 1 cloudy; never NaN.
        bands: Names of the optical bands, one per channel of ``cloudy``.
        origin_px: Row and column of the upper left pixel in its scene; (0, 0) for a patch.
    """

    sar: Float[Tensor, "batch 2 h w"]
    cloudy: Float[Tensor, "batch band h w"]
    cloud_map: Float[Tensor, "batch 1 h w"]
    bands: tuple[str, ...]
    origin_px: tuple[int, int] = (0, 0)

    @property
    def is_cloudy(self) -> Bool[Tensor, "batch 1 h w"]:
        """Pixels with m > 0; the others keep their observed values in every product."""
        return self.cloud_map > 0

    def select(self, bands: tuple[str, ...]) -> "Observation":
        """Return the observation with some of its optical bands, in the order given.

        Raises:
            InputError: A band is not there.
        """
        return replace(self, cloudy=self.cloudy[:, positions(bands, self.bands)], bands=bands)

    def images(self) -> "list[Observation]":
        """Return each image of the batch by itself."""
        each = zip(self.sar, self.cloudy, self.cloud_map, strict=True)
        return [replace(self, sar=s[None], cloudy=c[None], cloud_map=m[None]) for s, c, m in each]

    def to(self, device: torch.device | str) -> "Observation":
        """Return the observation on another device."""
        return replace(
            self, sar=self.sar.to(device), cloudy=self.cloudy.to(device), cloud_map=self.cloud_map.to(device)
        )


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

    def to(self, device: torch.device | str) -> "Triplet":
        """Return the triplet on another device."""
        return Triplet(self.name, self.observation.to(device), self.clear.to(device))


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
        InputError: Sizes or bands differ.
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
    sar, cloudy, cloud_map = (
        torch.cat([getattr(one, name) for one in seen]) for name in ("sar", "cloudy", "cloud_map")
    )
    return Observation(sar, cloudy, cloud_map, first.bands)


def _collate_triplets(batch: Sequence[Triplet], **_: Any) -> Triplet:
    return stack(batch)


def _collate_observations(batch: Sequence[Observation], **_: Any) -> Observation:
    return stack_observations(batch)


# Lets a torch DataLoader without its own collate_fn build batches of these types.
default_collate_fn_map[Triplet] = _collate_triplets
default_collate_fn_map[Observation] = _collate_observations
