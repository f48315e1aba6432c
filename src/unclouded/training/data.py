"""From settings to the patches of a run: chosen, checked, mapped for clouds, paired or permuted, in random order."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from unclouded.clouds.cache import ProbabilityCache
from unclouded.errors import InputError
from unclouded.files import read_small
from unclouded.patches.layouts import TripletFiles, find_triplets
from unclouded.patches.splits import triplets_of
from unclouded.raster import read
from unclouded.sensors import SENTINEL2
from unclouded.tensors.dataset import TripletDataset, cut_centre, stack
from unclouded.tensors.triplet import Triplet
from unclouded.training.pairing import Pairing, equally_spaced, pair
from unclouded.training.settings import TrainSettings

Told = Callable[[str, int, int], None]
"""What progress is told: stage, done, total."""


def choose_patches(settings: TrainSettings) -> tuple[TripletFiles, ...]:
    """Return the patches of a run: split, then list, then an equally spaced subset of what is sorted by region.

    Raises:
        InputError: No patches, or a list with names that are not in the split.
    """
    chosen = triplets_of(find_triplets(settings.patches), settings.split)
    if settings.patch_list is not None:
        wanted = read_small(settings.patch_list).decode("utf-8").split()
        known = {files.name: files for files in chosen}
        if absent := [name for name in wanted if name not in known]:
            raise InputError(
                f"{settings.patch_list} names {len(absent)} patches that are not in {settings.patches}, "
                f"first {absent[0]}; correct the list or the split"
            )
        chosen = tuple(known[name] for name in wanted)
    if settings.subset is None or settings.subset >= len(chosen):
        return tuple(chosen)
    return tuple(chosen[i] for i in equally_spaced(settings.subset, len(chosen)))


def check_patches(
    files: tuple[TripletFiles, ...], settings: TrainSettings, cache: ProbabilityCache, told: Told
) -> tuple[TripletFiles, ...]:
    """Read every patch once and map its clouds; return those that are sound.

    Raises:
        InputError: Patches are damaged and the settings say to refuse; all of them are named.
    """
    data = _triplets(files, settings, cache)
    sound, damaged = [], []
    for index, one in enumerate(files):
        try:
            data[index]
            sound.append(one)
        except InputError as error:
            damaged.append(f"{one.name}: {error}")
        told("cloud maps", index + 1, len(files))
    if damaged and (settings.damaged == "refuse" or not sound):
        raise InputError(
            f"{len(damaged)} of {len(files)} patches are damaged ({'; '.join(damaged[:5])}"
            f"{'; ...' if len(damaged) > 5 else ''}); mend them or set damaged = 'skip'"
        )
    return tuple(sound)


def _triplets(files: tuple[TripletFiles, ...], settings: TrainSettings, cache: ProbabilityCache) -> TripletDataset:
    bands = settings.network.bands
    return TripletDataset(files, bands, settings.clouds, cache, settings.crop_px, settings.synthetic)


@dataclass(frozen=True)
class TrainingDataset(Dataset[tuple[Triplet, bool]]):
    """Observations, each with the clear image its pairing gives it, and whether that one is its own."""

    triplets: TripletDataset
    pairing: Pairing

    def __len__(self) -> int:
        return len(self.triplets)

    def __getitem__(self, index: int) -> tuple[Triplet, bool]:
        triplet = self.triplets[index]
        other = self.pairing.clear_of[index]
        if other != index:
            triplet = self._with_clear(triplet, self.triplets.files[other])
        return triplet, self.pairing.paired[index]

    def _with_clear(self, triplet: Triplet, files: TripletFiles) -> Triplet:
        if files.clear is None:
            raise InputError(f"{files.name} has no clear image; expected a complete triplet")
        clear = torch.from_numpy(read(files.clear, SENTINEL2).select(self.triplets.bands).values)[None]
        side = self.triplets.crop_px
        return replace(triplet, clear=clear if side is None else cut_centre(clear, side))


@dataclass(frozen=True)
class EpochOrder(Sampler[list[int]]):
    """Batches in the random order of each epoch, from any step on; the order is a function of seed and epoch alone.

    Attributes:
        total: Number of patches.
        batch: Patches a step.
        epochs: Number of epochs.
        seed: Of the order.
        first_step: Steps already taken.
    """

    total: int
    batch: int
    epochs: int
    seed: int
    first_step: int = 0

    @property
    def steps_per_epoch(self) -> int:
        """Steps in an epoch; the last batch may be smaller."""
        return -(-self.total // self.batch)

    def __len__(self) -> int:
        return self.epochs * self.steps_per_epoch - self.first_step

    def __iter__(self) -> Iterator[list[int]]:
        first_epoch, skipped = divmod(self.first_step, self.steps_per_epoch)
        for epoch in range(first_epoch, self.epochs):
            order = np.random.default_rng([self.seed, epoch]).permutation(self.total).tolist()
            for step in range(skipped, self.steps_per_epoch):
                yield order[step * self.batch : (step + 1) * self.batch]
            skipped = 0


def training_data(files: tuple[TripletFiles, ...], settings: TrainSettings, cache: ProbabilityCache) -> TrainingDataset:
    """Pair or permute the patches of a run; a function of the settings' seed."""
    pairing = pair(len(files), settings.paired_percent, np.random.default_rng([settings.seed, 1]))
    data = _triplets(files, settings, cache)
    return TrainingDataset(data, pairing)


def batches(data: TrainingDataset, order: EpochOrder, workers: int) -> Iterable[tuple[Triplet, tuple[bool, ...]]]:
    """Load batches in ``order``; worker processes are spawned, and draw no random numbers."""
    return DataLoader(
        data,
        batch_sampler=order,
        num_workers=workers,
        collate_fn=_join,
        generator=torch.Generator(),
        multiprocessing_context="spawn" if workers else None,
        persistent_workers=bool(workers),
    )


def _join(items: list[tuple[Triplet, bool]]) -> tuple[Triplet, tuple[bool, ...]]:
    return stack([triplet for triplet, _ in items]), tuple(paired for _, paired in items)
