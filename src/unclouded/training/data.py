"""From settings to the patches of a run: chosen, paired or permuted, in random order, in batches."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, no_type_check

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from unclouded.clouds.cache import ProbabilityCache
from unclouded.errors import InputError, MachineError, StoppedError
from unclouded.patches.layouts import SHOWN, IncompleteTriplet, find_triplets
from unclouded.patches.reading import DamagedTriplet
from unclouded.patches.splits import incomplete_of, read_patch_list, triplets_of
from unclouded.tensors.dataset import TripletDataset, TripletSource
from unclouded.tensors.observation import Triplet, stack
from unclouded.tensors.packed import PackedDataset, is_store, open_store
from unclouded.training.distributed import die_with_parent
from unclouded.training.settings import TrainSettings
from unclouded.training.unpaired import unpaired_images


class PatchSelection(NamedTuple):
    """The patches of a run.

    Attributes:
        triplets: Patches to read.
        left_out: Patches that lack files and are skipped, with ``damaged = "skip"``.
    """

    triplets: TripletSource
    left_out: tuple[DamagedTriplet, ...] = ()


def select_triplets(settings: TrainSettings, cache: ProbabilityCache) -> TripletSource:
    """Return the triplets of :func:`choose`."""
    return select_patches(settings, cache).triplets


def select_patches(settings: TrainSettings, cache: ProbabilityCache) -> PatchSelection:
    """Return the patches of a run: split, then list, then an equally spaced subset of what is sorted by region.

    Raises:
        InputError: No patches, a list with names that are not in the split, or a store that holds something else.
    """
    chosen, left_out = PatchSelection(_packed(settings)) if is_store(settings.patches) else _files(settings, cache)
    if settings.patch_list is not None:
        listed = read_patch_list(settings.patch_list)
        left_out = tuple(one for one in left_out if one.name in set(listed))
        selected = [name for name in listed if name not in {one.name for one in left_out}]
        places = {name: index for index, name in enumerate(chosen.names)}
        if absent := [name for name in selected if name not in places]:
            raise InputError(
                f"{settings.patch_list} names {len(absent)} patches that are not in {settings.patches}, "
                f"first {absent[0]}; correct the list or the split"
            )
        chosen = chosen.subset([places[name] for name in selected])
    if settings.subset is None or settings.subset >= len(chosen):
        return PatchSelection(chosen, left_out)
    return PatchSelection(chosen.subset(equally_spaced(settings.subset, len(chosen))), left_out)


def _files(settings: TrainSettings, cache: ProbabilityCache) -> PatchSelection:
    inventory = find_triplets(settings.patches)
    if (unpaired := unpaired_images(inventory, settings, cache)) is not None:
        return PatchSelection(unpaired)
    if not inventory.triplets and inventory.without_clear and inventory.clear_alone:
        raise InputError(
            f"{settings.patches} holds no complete triplet, only images of different places; objective = 'cycle' with"
            " paired_percent = 0 and without synthetic clouds learns from these"
        )
    incomplete = incomplete_of(inventory, settings.split)
    if settings.damaged == "refuse" and settings.patch_list is None:
        _require_complete(incomplete, settings)
    files = triplets_of(inventory, settings.split)
    bands = settings.network.bands
    triplets = TripletDataset(files, bands, settings.clouds, cache, settings.crop_px, settings.synthetic)
    skipped = incomplete if settings.damaged == "skip" else ()
    return PatchSelection(triplets, tuple(DamagedTriplet(one.name, f"lacks {', '.join(one.lacks)}") for one in skipped))


def _require_complete(incomplete: Sequence[IncompleteTriplet], settings: TrainSettings) -> None:
    if incomplete:
        more = f"; and {len(incomplete) - SHOWN:,} more" if len(incomplete) > SHOWN else ""
        raise InputError(
            f"{settings.patches} has patches in '{settings.split}' whose files are not all there "
            f"({'; '.join(map(str, incomplete[:SHOWN]))}{more}); fetch the missing files or set damaged = 'skip'"
        )


def _packed(settings: TrainSettings) -> PackedDataset:
    """Open the store that stands for the data set; the ablation needs no map and takes that of any store."""
    if settings.clear is not None:
        raise InputError(
            f"{settings.patches} is a store of packed triplets and needs no clear images of others; leave clear out,"
            " or name a folder of images"
        )
    ablation = settings.clouds.mode == "ones"
    store = open_store(settings.patches, settings.network.bands, settings.crop_px, ones=ablation)
    clouds = store.settings.clouds if ablation else settings.clouds
    if (store.settings.clouds, store.settings.synthetic) != (clouds, settings.synthetic):
        raise InputError(
            f"{settings.patches} was packed with other clouds: {store.settings.clouds} and synthetic "
            f"{store.settings.synthetic}, expected {clouds} and synthetic {settings.synthetic}; pack again"
        )
    return store.of_part(settings.split)


@dataclass(frozen=True)
class Pairing:
    """For each observation, the clear image that is shown with it; fixed for a whole run.

    Attributes:
        clear_of: Position of the clear image for each observation; every clear image is used once.
        paired: Whether it is the observation's own; the rest of the clear images are permuted among themselves.
        real_of: Position of the clear image that D_S2 sees as real, for each observation; ``clear_of`` if omitted.
    """

    clear_of: tuple[int, ...]
    paired: tuple[bool, ...]
    real_of: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if sorted(self.clear_of) != list(range(len(self.clear_of))):
            raise ValueError("every clear image has to be used exactly once")
        if any(kept and clear != i for i, (clear, kept) in enumerate(zip(self.clear_of, self.paired, strict=True))):
            raise ValueError("a paired observation has to keep its own clear image")


class Sample(NamedTuple):
    """A patch as it is trained on.

    Attributes:
        triplet: Observation with the clear image that its pairing gives it.
        paired: Whether that one is its own.
        real: Clear image that D_S2 sees as real, where it is another one; TOA reflectance.
    """

    triplet: Triplet
    paired: bool
    real: Float[Tensor, "1 band h w"] | None = None


@dataclass(frozen=True)
class TrainingDataset(Dataset[Sample]):
    """The samples of a run."""

    triplets: TripletSource
    pairing: Pairing

    def __len__(self) -> int:
        return len(self.triplets)

    def __getitem__(self, index: int) -> Sample:
        triplet = self.triplets[index]
        other = self.pairing.clear_of[index]
        if other != index:
            triplet = replace(triplet, clear=self.triplets.clear(other))
        real = self.pairing.real_of[index] if self.pairing.real_of else other
        return Sample(triplet, self.pairing.paired[index], self.triplets.clear(real) if real != other else None)


@dataclass(frozen=True)
class EpochOrder(Sampler[list[int]]):
    """This rank's patches of every step, in the random order of each epoch, from any step on.

    The order is a function of seed and epoch alone. The ranks deal the patches of a step out among themselves, so that
    together they show every patch once an epoch; in an epoch's last step some may have fewer than others, or none.

    Attributes:
        total: Number of patches.
        step_patches: Patches a step, of all ranks.
        epochs: Number of epochs.
        seed: Of the order.
        first_step: Steps already taken.
        rank: Whose share this is.
        ranks: Number of ranks.
    """

    total: int
    step_patches: int
    epochs: int
    seed: int
    first_step: int = 0
    rank: int = 0
    ranks: int = 1

    @property
    def steps_per_epoch(self) -> int:
        """Steps in an epoch; the last one may have fewer patches."""
        return -(-self.total // self.step_patches)

    def patches_of(self, step: int) -> int:
        """Return the number of patches of a step, counted from 0, of all ranks."""
        taken = step % self.steps_per_epoch * self.step_patches
        return min(self.step_patches, self.total - taken)

    def __len__(self) -> int:
        return self.epochs * self.steps_per_epoch - self.first_step

    def __iter__(self) -> Iterator[list[int]]:
        first_epoch, skipped = divmod(self.first_step, self.steps_per_epoch)
        for epoch in range(first_epoch, self.epochs):
            order = np.random.default_rng([self.seed, epoch]).permutation(self.total).tolist()
            for step in range(skipped, self.steps_per_epoch):
                yield order[step * self.step_patches : (step + 1) * self.step_patches][self.rank :: self.ranks]
            skipped = 0


def training_data(triplets: TripletSource, settings: TrainSettings) -> TrainingDataset:
    """Pair or permute the triplets of a run; a function of the settings' seed."""
    rng = np.random.default_rng([settings.seed, 1])
    pairing = pair(len(triplets), settings.paired_percent, rng)
    if settings.objective == "cycle" and settings.real_images == "unpaired":
        pairing = with_unpaired_reals(pairing, rng)
    return TrainingDataset(triplets, pairing)


class Stacked(NamedTuple):
    """Samples of one batch.

    Attributes:
        triplet: Their triplets, stacked.
        paired: Which of them are pairs.
        real: Clear images that D_S2 sees as real; None if these are the clear images of the triplets.
    """

    triplet: Triplet
    paired: tuple[bool, ...]
    real: Float[Tensor, "batch band h w"] | None = None


Batches = list[Stacked]
"""Batches of a rank in a step."""


@contextmanager
def loaded(
    data: TrainingDataset, order: EpochOrder, batch: int, workers: int, *, pin: bool = False
) -> Iterator[Iterator[Batches]]:
    """Load the patches of every step, in batches; worker processes are spawned, draw no random numbers, and end here.

    Args:
        data: Samples of the run.
        order: Order of the patches.
        batch: Largest number of patches of a batch.
        workers: Number of worker processes.
        pin: Copy batches to page-locked memory, from which a CUDA device copies while it computes.

    Raises:
        StoppedError: A worker died, or a patch was damaged since the run began.
    """
    loader = DataLoader(
        data,
        batch_sampler=order,
        num_workers=workers,
        collate_fn=partial(collated, batch=batch),
        generator=torch.Generator(),
        multiprocessing_context="spawn" if workers else None,
        pin_memory=pin,
        persistent_workers=bool(workers),
        worker_init_fn=partial(die_with_parent, os.getpid()),
    )
    steps = iter(loader)
    try:
        yield _whole(steps, workers)
    except (RuntimeError, MemoryError) as error:
        if "DataLoader worker" not in str(error):
            raise
        raise _died(error, workers) from error
    finally:
        if workers:  # workers ignore signals and have to be ended here
            steps._shutdown_workers()  # type: ignore[attr-defined]


@no_type_check  # torch raises the death of a worker in a signal handler, possibly while types are checked
def _died(error: BaseException, workers: int) -> StoppedError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return StoppedError(
        f"a process that reads patches died ({reason}), as happens when memory runs out;"
        f" lower device.workers, now {workers}, and continue with --resume; the last saved state is intact"
    )


def _whole(steps: Iterator[Batches], workers: int) -> Iterator[Batches]:
    """Yield batches; report a worker that died, and a patch that was damaged since the start."""
    try:
        yield from steps
    except (EOFError, ConnectionError, FileNotFoundError) as error:
        if not workers:
            raise
        raise _died(error, workers) from error
    except MachineError as error:
        raise MachineError(str(error).rsplit("MachineError: ", 1)[-1].strip()) from error
    except InputError as error:
        reason = str(error).rsplit("InputError: ", 1)[-1]  # that of a worker comes with its traceback
        raise StoppedError(
            f"{reason}; the last saved state is intact; repair the patch and continue with --resume"
        ) from error


def collated(items: list[Sample], batch: int) -> Batches:
    """Join samples into batches of at most so many."""
    return [_stacked(items[i : i + batch]) for i in range(0, len(items), batch)]


def _stacked(part: list[Sample]) -> Stacked:
    real = None
    if any(one.real is not None for one in part):
        real = torch.cat([one.triplet.clear if one.real is None else one.real for one in part])
    return Stacked(stack([one.triplet for one in part]), tuple(one.paired for one in part), real)


# Which clear image stands beside which observation: the paper's unpaired-to-paired protocol (section III-B.2).


def equally_spaced(count: int, total: int) -> tuple[int, ...]:
    """Return ``count`` of ``total`` positions, equally spaced: floor(i * total / count).

    Raises:
        InputError: ``count`` exceeds ``total``.
    """
    if not 0 <= count <= total:
        raise InputError(f"expected at most the {total} patches there are, found {count}; choose fewer")
    return tuple(i * total // count for i in range(count))


def pair(total: int, paired_percent: float, rng: np.random.Generator) -> Pairing:
    """Keep ``paired_percent`` of the pairs, equally spaced, and shuffle the clear images of all others.

    Args:
        total: Number of observations.
        paired_percent: p of ours-p, 0 to 100.
        rng: Draws the permutation of the unpaired clear images. None of them stays with its own observation,
            unless there is only one.
    """
    kept = set(equally_spaced(round(total * paired_percent / 100), total))
    loose = [i for i in range(total) if i not in kept]
    clear_of = list(range(total))
    for i, clear in zip(loose, _derangement(len(loose), rng), strict=True):
        clear_of[i] = loose[clear]
    return Pairing(tuple(clear_of), tuple(i in kept for i in range(total)))


def with_unpaired_reals(pairing: Pairing, rng: np.random.Generator) -> Pairing:
    """Let D_S2 see, beside each paired sample, the clear image of another one: "unpaired" in section II-B.

    Args:
        pairing: Pairing of the run.
        rng: Draws the permutation; none of the images stays beside its own observation, unless there is only one.
    """
    kept = [i for i, own in enumerate(pairing.paired) if own]
    real_of = list(pairing.clear_of)
    for i, real in zip(kept, _derangement(len(kept), rng), strict=True):
        real_of[i] = kept[real]
    return replace(pairing, real_of=tuple(real_of))


def _derangement(count: int, rng: np.random.Generator) -> list[int]:
    """Draw permutations until none of the elements stays in its place; 2.7 draws on average."""
    if count < 2:
        return list(range(count))
    while (drawn := rng.permutation(count))[drawn == np.arange(count)].size:
        pass
    return [int(i) for i in drawn]
