"""From settings to the patches of a run: chosen, checked, mapped for clouds, paired or permuted, in random order."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from unclouded.clouds.cache import ProbabilityCache
from unclouded.errors import InputError
from unclouded.files import read_small
from unclouded.patches.layouts import find_triplets
from unclouded.patches.splits import triplets_of
from unclouded.tensors.dataset import TripletDataset, TripletSource, stack
from unclouded.tensors.store import PackedTriplets, is_store, open_store
from unclouded.tensors.triplet import Triplet
from unclouded.training.pairing import Pairing, equally_spaced, pair
from unclouded.training.settings import TrainSettings

Told = Callable[[str, int, int], None]
"""What progress is told: stage, done, total."""


def choose_triplets(settings: TrainSettings, cache: ProbabilityCache) -> TripletSource:
    """Return the triplets of a run: split, then list, then an equally spaced subset of what is sorted by region.

    Raises:
        InputError: No patches, a list with names that are not in the split, or a store that holds something else.
    """
    chosen = _packed(settings) if is_store(settings.patches) else _files(settings, cache)
    if settings.patch_list is not None:
        wanted = read_small(settings.patch_list).decode("utf-8").split()
        places = {name: index for index, name in enumerate(chosen.names)}
        if absent := [name for name in wanted if name not in places]:
            raise InputError(
                f"{settings.patch_list} names {len(absent)} patches that are not in {settings.patches}, "
                f"first {absent[0]}; correct the list or the split"
            )
        chosen = chosen.subset([places[name] for name in wanted])
    if settings.subset is None or settings.subset >= len(chosen):
        return chosen
    return chosen.subset(equally_spaced(settings.subset, len(chosen)))


def _files(settings: TrainSettings, cache: ProbabilityCache) -> TripletDataset:
    files = triplets_of(find_triplets(settings.patches), settings.split)
    bands = settings.network.bands
    return TripletDataset(files, bands, settings.clouds, cache, settings.crop_px, settings.synthetic)


def _packed(settings: TrainSettings) -> PackedTriplets:
    """Open the store that stands for the data set; the ablation needs no map and takes that of any store."""
    ablation = settings.clouds.mode == "ones"
    store = open_store(settings.patches, settings.network.bands, settings.crop_px, ones=ablation)
    clouds = store.settings.clouds if ablation else settings.clouds
    if (store.settings.clouds, store.settings.synthetic) != (clouds, settings.synthetic):
        raise InputError(
            f"{settings.patches} was packed with other clouds: {store.settings.clouds} and synthetic "
            f"{store.settings.synthetic}, expected {clouds} and synthetic {settings.synthetic}; pack again"
        )
    return store.of_part(settings.split)


def check_triplets(chosen: TripletSource, settings: TrainSettings, told: Told) -> TripletSource:
    """Read every triplet once, which maps its clouds into the cache; return those that are sound.

    Raises:
        InputError: Patches are damaged and the settings say to refuse; all of them are named.
    """
    sound: list[int] = []
    damaged: list[str] = []
    for index, name in enumerate(chosen.names):
        try:
            chosen.check(index)
            sound.append(index)
        except InputError as error:
            damaged.append(f"{name}: {error}")
        told("cloud maps", index + 1, len(chosen))
    if damaged and (settings.damaged == "refuse" or not sound):
        raise InputError(
            f"{len(damaged)} of {len(chosen)} patches are damaged ({'; '.join(damaged[:5])}"
            f"{'; ...' if len(damaged) > 5 else ''}); mend them or set damaged = 'skip'"
        )
    return chosen.subset(sound)


@dataclass(frozen=True)
class TrainingDataset(Dataset[tuple[Triplet, bool]]):
    """Observations, each with the clear image its pairing gives it, and whether that one is its own."""

    triplets: TripletSource
    pairing: Pairing

    def __len__(self) -> int:
        return len(self.triplets)

    def __getitem__(self, index: int) -> tuple[Triplet, bool]:
        triplet = self.triplets[index]
        other = self.pairing.clear_of[index]
        if other != index:
            triplet = replace(triplet, clear=self.triplets.clear(other))
        return triplet, self.pairing.paired[index]


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


def training_data(triplets: TripletSource, settings: TrainSettings) -> TrainingDataset:
    """Pair or permute the triplets of a run; a function of the settings' seed."""
    rng = np.random.default_rng([settings.seed, 1])
    return TrainingDataset(triplets, pair(len(triplets), settings.paired_percent, rng))


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
