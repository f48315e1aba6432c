"""Unpaired images of different places: what the paper's ours-0 can learn from where no place has all three images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import CloudMapSettings, cloud_map
from unclouded.errors import InputError
from unclouded.io.raster import read
from unclouded.patches.layouts import ClearImage, Inventory, TripletFiles, find_triplets
from unclouded.patches.reading import read_triplet
from unclouded.patches.splits import SplitName, incomplete_of, triplets_of
from unclouded.sensors import SENTINEL2
from unclouded.tensors.dataset import cut_centre, observe, patch_season
from unclouded.tensors.observation import Triplet
from unclouded.training.settings import TrainSettings


@dataclass(frozen=True)
class UnpairedImages(Dataset[Triplet]):
    """Radar with cloudy images, each beside a clear image of another place; a ``TripletSource``.

    Attributes:
        observations: Radar and cloudy image of each place.
        clears: A clear image for each of them; one may serve several.
        bands: Optical bands that observation and clear image show.
        clouds: How the map m is made.
        crop_px: Side of the centre crop.
        cache: Where cloud probabilities are kept.
    """

    observations: tuple[TripletFiles, ...]
    clears: tuple[ClearImage, ...]
    bands: tuple[str, ...]
    clouds: CloudMapSettings
    crop_px: int
    cache: ProbabilityCache | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the places of the observations."""
        return tuple(files.name for files in self.observations)

    @property
    def clear_names(self) -> tuple[str, ...]:
        """Names of the places of the clear images, one for each observation."""
        return tuple(one.name for one in self.clears)

    def __len__(self) -> int:
        return len(self.observations)

    def __getitem__(self, index: int) -> Triplet:
        patch = read_triplet(replace(self.observations[index], clear=None))
        optical = patch.cloudy
        clouds = cloud_map(optical.values, optical.bands, self.clouds, cache=self.cache)
        season = patch_season(self.observations[index].roi, optical.geobox)
        seen = observe(patch.sar.values, optical.values, clouds, self.bands, season)
        return Triplet(patch.name, seen.transformed(lambda image: self._cut(image, patch.name)), self.clear(index))

    def clear(self, index: int) -> Float[Tensor, "1 band h w"]:
        """Return the clear image that stands beside an observation, TOA reflectance.

        Raises:
            InputError: It is damaged, or has pixels without data.
        """
        one = self.clears[index]
        image = torch.from_numpy(read(one.path, SENTINEL2).select(self.bands).values)[None]
        if not image.isfinite().all():
            raise InputError(f"{one.path} has pixels without data, expected none; leave this patch out or cut it again")
        return self._cut(image, one.name)

    def _cut(self, image: Tensor, name: str) -> Tensor:
        height, width = image.shape[-2:]
        if self.crop_px > min(height, width):
            raise InputError(f"{name} has {width}x{height} px, expected at least the crop of {self.crop_px}")
        return cut_centre(image, self.crop_px)

    def check(self, index: int) -> Triplet:
        """Read an observation with its clear image, which are whole then.

        Raises:
            InputError: One of the files is damaged.
        """
        return self[index]

    def subset(self, indices: Sequence[int]) -> "UnpairedImages":
        """Return some of the observations with their clear images, in the order given."""
        return replace(
            self,
            observations=tuple(self.observations[i] for i in indices),
            clears=tuple(self.clears[i] for i in indices),
        )

    def __str__(self) -> str:
        return (
            f"without pairs: learning from {len(self):,} cloudy images with radar and"
            f" {len(set(self.clear_names)):,} clear images of other places"
        )


def unpaired_images(
    inventory: Inventory, settings: TrainSettings, cache: ProbabilityCache | None
) -> UnpairedImages | None:
    """Return the unpaired images of a part of one data set, or of two; None for triplets, or where pairs are asked for.

    The clear images are spread equally over the observations.

    Args:
        inventory: Data set with radar and cloudy images; of its clear images only those without observation are used,
            and none if ``settings.clear`` names another data set.
        settings: Training settings.
        cache: Where cloud probabilities are kept.

    Raises:
        InputError: There are only observations, or only clear images.
    """
    if settings.clear is not None:
        return _of_two_roots(inventory, find_triplets(settings.clear), settings, cache)
    unpaired = settings.objective == "cycle" and not settings.paired_percent and settings.synthetic is None
    if inventory.triplets or not unpaired:
        return None
    part = {one.name for one in incomplete_of(inventory, settings.split)}
    observations = tuple(files for files in inventory.without_clear if files.name in part)
    clears = tuple(one for one in inventory.clear_alone if one.name in part)
    if not observations or not clears:
        raise InputError(
            f"{inventory.root} holds no complete triplet in '{settings.split}'; to learn without pairs expected radar"
            f" with cloudy images, and clear images of other places, found {len(observations):,} and {len(clears):,};"
            " fetch the missing files, take another split, or name a data set of clear images by clear = FOLDER"
        )
    return _spread(observations, clears, settings, cache)


def _of_two_roots(
    inventory: Inventory, others: Inventory, settings: TrainSettings, cache: ProbabilityCache | None
) -> UnpairedImages:
    observed, shown = (_names_of(one, settings.split) for one in (inventory, others))
    observations = tuple(files for files in inventory.observations if files.name in observed)
    clears = tuple(one for one in others.clear_images if one.name in shown)
    if not observations:
        raise InputError(
            f"{inventory.root} has no radar with a cloudy image in '{settings.split}'; take another split or fetch some"
        )
    if not clears:
        raise InputError(f"{others.root} has no clear image in '{settings.split}'; take another split, or fetch some")
    return _spread(observations, clears, settings, cache)


def _names_of(inventory: Inventory, part: SplitName) -> set[str]:
    """Return the names of the patches of a part, complete or not."""
    names = {one.name for one in incomplete_of(inventory, part)}
    return names | {one.name for one in triplets_of(inventory, part)} if inventory.triplets else names


def _spread(
    observations: tuple[TripletFiles, ...],
    clears: tuple[ClearImage, ...],
    settings: TrainSettings,
    cache: ProbabilityCache | None,
) -> UnpairedImages:
    """Put a clear image beside each observation: each serves as often as any other, or once less."""
    spread = tuple(clears[i * len(clears) // len(observations)] for i in range(len(observations)))
    bands = settings.network.bands
    return UnpairedImages(observations, spread, bands, settings.clouds, settings.crop_px, cache)
