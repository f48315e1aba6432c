"""Datasets of triplets: tensors in physical units, read from disk item by item, optionally cropped."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32
from odc.geo.geobox import GeoBox
from torch import Tensor
from torch.utils.data import Dataset

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import CloudMapSettings, cloud_map
from unclouded.clouds.synthetic import SyntheticSettings, paint
from unclouded.errors import InputError
from unclouded.io.raster import Raster, read
from unclouded.patches.layouts import TripletFiles
from unclouded.patches.reading import read_triplet
from unclouded.patches.roi import Roi
from unclouded.sensors import SENTINEL2
from unclouded.sentinel.footprints import latitude_deg
from unclouded.tensors.observation import Observation, Season, Triplet


def observe(
    sar: Float32[np.ndarray, "2 y x"],
    cloudy: Float32[np.ndarray, "13 y x"],
    cloud_map: Float32[np.ndarray, "y x"],
    bands: tuple[str, ...],
    season: Season | None = None,
) -> Observation:
    """Return an observation with a batch of one.

    Args:
        sar: VV and VH backscatter, dB.
        cloudy: TOA reflectance of all 13 bands.
        cloud_map: The map m, from all 13 bands.
        bands: Optical bands of the observation.
        season: Season and latitude of the optical image; None if unknown.
    """
    images = sar[None], cloudy[SENTINEL2.indices(*bands)][None], cloud_map[None, None]
    radar, optical, m = (torch.from_numpy(image) for image in images)
    return Observation(radar, optical, m, bands, seasons=(season,))


def patch_season(roi: Roi | None, geobox: GeoBox | None = None) -> Season | None:
    """Return season and latitude of a patch, as its name and its georeference give them.

    Args:
        roi: Region in the name of the patch; without it the season is unknown.
        geobox: Grid of the patch, if known.
    """
    if roi is None:
        return None
    return Season(roi.day_of_year, None if geobox is None else latitude_deg(geobox))


@runtime_checkable
class TripletSource(Protocol):
    """A sequence of triplets, from GeoTIFFs or a packed store; both return the same values."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the patches."""
        ...

    @property
    def bands(self) -> tuple[str, ...]:
        """Optical bands of observation and target."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Triplet: ...

    def clear(self, index: int) -> Float[Tensor, "1 band h w"]:
        """Return only the clear image of a patch."""
        ...

    def check(self, index: int) -> Triplet:
        """Read a triplet and check it.

        Raises:
            InputError: The triplet is damaged.
        """
        ...

    def subset(self, indices: Sequence[int]) -> "TripletSource":
        """Return some of the triplets, in the order given."""
        ...


@dataclass(frozen=True)
class TripletDataset(Dataset[Triplet]):
    """Triplets of a data set on disk, in the order of ``files``; files are opened when an item is read.

    Attributes:
        files: Files of each triplet.
        bands: Optical bands of observation and target.
        clouds: Settings of the cloud map m, which always uses the whole patch and all 13 bands.
        cache: Cache of cloud probabilities.
        crop_px: Side of the centre crop, taken after the cloud map; the whole patch if None.
        synthetic: Settings to paint clouds on the clear image instead of reading the cloudy one (section III-B.4).
    """

    files: tuple[TripletFiles, ...]
    bands: tuple[str, ...]
    clouds: CloudMapSettings
    cache: ProbabilityCache | None = None
    crop_px: int | None = None
    synthetic: SyntheticSettings | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the patches."""
        return tuple(files.name for files in self.files)

    def __len__(self) -> int:
        return len(self.files)

    def check(self, index: int) -> Triplet:
        """Read a triplet and check it; its cloud probability is cached.

        Raises:
            InputError: A file is damaged or missing.
        """
        return self[index]

    def subset(self, indices: Sequence[int]) -> "TripletDataset":
        """Return some of the triplets, in the order given."""
        return replace(self, files=tuple(self.files[i] for i in indices))

    def clear(self, index: int) -> Float[Tensor, "1 band h w"]:
        """Return the clear image of a patch, TOA reflectance; its observation is not read.

        Raises:
            InputError: The clear image is missing or damaged.
        """
        files = self.files[index]
        if files.clear is None:
            raise InputError(f"{files.name} has no clear image; expected a complete triplet")
        clear = torch.from_numpy(read(files.clear, SENTINEL2).select(self.bands).values)[None]
        return clear if self.crop_px is None else cut_centre(clear, self.crop_px)

    def __getitem__(self, index: int) -> Triplet:
        patch = read_triplet(self.files[index])
        if patch.clear is None:
            raise InputError(f"{patch.name} has no clear image; expected a complete triplet")
        cloudy, cloud_map = self._clouds(patch.name, patch.cloudy, patch.clear)
        clear = torch.from_numpy(patch.clear.values[SENTINEL2.indices(*self.bands)])[None]
        season = patch_season(self.files[index].roi, patch.cloudy.geobox)
        triplet = Triplet(patch.name, observe(patch.sar.values, cloudy, cloud_map, self.bands, season), clear)
        return triplet if self.crop_px is None else centre_crop(triplet, self.crop_px)

    def _clouds(
        self, name: str, cloudy: Raster, clear: Raster
    ) -> tuple[Float32[np.ndarray, "13 y x"], Float32[np.ndarray, "y x"]]:
        """Return cloudy reflectance and map m, observed or synthetic; in mode ``ones`` m is 1 in either case."""
        if self.synthetic is None:
            return cloudy.values, cloud_map(cloudy.values, cloudy.bands, self.clouds, cache=self.cache)
        if self.synthetic.mode == "copy":
            real = cloud_map(cloudy.values, cloudy.bands, cache=self.cache)
            painted = paint(name, clear.values, clear.bands, self.synthetic, cloudy=cloudy.values, cloud_map=real)
        else:
            painted = paint(name, clear.values, clear.bands, self.synthetic)
        m = painted.cloud_map
        return painted.cloudy, np.ones_like(m) if self.clouds.mode == "ones" else m

    def __iter__(self) -> Iterator[Triplet]:
        return (self[index] for index in range(len(self)))


def centre_crop(triplet: Triplet, side_px: int) -> Triplet:
    """Return the centre crop of a triplet (section III-B.2: train on 200 of 256 px).

    Raises:
        InputError: The patch is smaller than the crop.
    """
    height, width = triplet.clear.shape[-2:]
    if side_px > min(height, width):
        raise InputError(f"{triplet.name} has {width}x{height} px, expected at least the crop of {side_px}")
    seen = triplet.observation
    cut = seen.transformed(lambda image: cut_centre(image, side_px))
    return Triplet(triplet.name, cut, cut_centre(triplet.clear, side_px))


def cut_centre(image: Float[Tensor, "batch band h w"], side_px: int) -> Float[Tensor, "batch band side side"]:
    """Return the centre crop of an image."""
    top, left = (image.shape[-2] - side_px) // 2, (image.shape[-1] - side_px) // 2
    return image[..., top : top + side_px, left : left + side_px]
