"""Triplets of SEN12MS-CR-TS whose observations have other dates of the place as references."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from torch.utils.data import Dataset

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import PAPER, CloudMapSettings, cloud_map
from unclouded.errors import InputError
from unclouded.io.raster import read
from unclouded.patches.time_series import DatedImage, PatchSeries
from unclouded.sensors import RGB, SENTINEL1, SENTINEL2
from unclouded.tensors.observation import Observation, Reference, Triplet

CLOUDY = (0.1, 0.9)
"""Cloud coverage, mean of m, of the date that is preferred as the cloudy one."""


@dataclass(frozen=True)
class TimeSeriesDataset(Dataset[Triplet]):
    """One triplet a patch: its clearest date as the target, a cloudy date near it, and others as references.

    As in the authors' loader the target is the date of least coverage, the earlier of equal ones. The cloudy date is
    the one nearest to it among those with a coverage in :data:`CLOUDY`, or, if there are none, the one whose coverage
    is nearest to this range. The references are the dates nearest to the cloudy one, without the target.

    Attributes:
        series: Patches.
        bands: Optical bands.
        clouds: Settings of the cloud map.
        references: Number of references, at most.
        cache: Cache of cloud probabilities.

    Raises:
        InputError: A patch has a single date.
    """

    series: tuple[PatchSeries, ...]
    bands: tuple[str, ...] = RGB
    clouds: CloudMapSettings = PAPER
    references: int = 3
    cache: ProbabilityCache = field(default_factory=ProbabilityCache)

    def __post_init__(self) -> None:
        for one in self.series:
            if len(one.dates) < 2:
                raise InputError(f"{one.name} has a single date, expected at least two; complete the data set")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the patches."""
        return tuple(one.name for one in self.series)

    def __len__(self) -> int:
        return len(self.series)

    def __getitem__(self, index: int) -> Triplet:
        """Read a patch.

        Raises:
            InputError: An image is damaged.
        """
        dates = self.series[index].dates
        maps = [self._map(one) for one in dates]
        target, cloudy, references = choose_dates(dates, [float(m.mean()) for m in maps], self.references)
        seen = self._reference(dates[cloudy], maps[cloudy])
        observation = Observation(
            torch.full((1, 2, *maps[cloudy].shape), torch.nan) if seen.sar is None else seen.sar,
            seen.cloudy,
            seen.cloud_map,
            self.bands,
            date=seen.date,
            references=tuple(self._reference(dates[k], maps[k]) for k in references),
        )
        return Triplet(self.series[index].name, observation, self._reference(dates[target], maps[target]).cloudy)

    def _map(self, image: DatedImage) -> Float32[np.ndarray, "y x"]:
        reflectance = read(image.optical, SENTINEL2).values
        m = cloud_map(reflectance, SENTINEL2.bands, self.clouds, cache=self.cache)
        return np.asarray(np.nan_to_num(m, nan=1.0), np.float32)

    def _reference(self, image: DatedImage, m: Float32[np.ndarray, "y x"]) -> Reference:
        optical = read(image.optical, SENTINEL2).values[SENTINEL2.indices(*self.bands)]
        sar = None if image.sar is None else _radar(image.sar)
        return Reference(
            image.optical.stem, image.date, torch.from_numpy(optical)[None], torch.from_numpy(m)[None, None], sar
        )


def _radar(path: Path) -> torch.Tensor:
    return torch.from_numpy(read(path, SENTINEL1).values)[None]


def choose_dates(
    dates: Sequence[DatedImage], coverage: Sequence[float], references: int
) -> tuple[int, int, tuple[int, ...]]:
    """Return the positions of the target, of the cloudy date and of its references; see :class:`TimeSeriesDataset`.

    Args:
        dates: At least two dates in the order of time.
        coverage: Mean of m of each date.
        references: Number of references, at most.
    """
    target = min(range(len(dates)), key=lambda k: coverage[k])
    low, high = CLOUDY

    def unfit(k: int) -> tuple[float, int]:
        outside = max(low - coverage[k], coverage[k] - high, 0.0)
        return outside, abs((dates[k].date - dates[target].date).days)

    others = [k for k in range(len(dates)) if k != target]
    cloudy = min(others, key=unfit)
    by_gap = sorted((k for k in others if k != cloudy), key=lambda k: abs((dates[k].date - dates[cloudy].date).days))
    return target, cloudy, tuple(sorted(by_gap[:references]))
