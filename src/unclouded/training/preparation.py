"""Before the first step: choose the patches, read each once, check ranges, map clouds, and sign what was read."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain, zip_longest
from typing import NamedTuple

from lightning_fabric import Fabric

from unclouded.clouds.cache import ProbabilityCache
from unclouded.errors import InputError
from unclouded.files import write_text
from unclouded.models.weights import require_network
from unclouded.tensors.dataset import TripletSource
from unclouded.tensors.triplet import Triplet
from unclouded.training.data import choose_triplets
from unclouded.training.devices import from_first, gathered
from unclouded.training.listener import Told, silent
from unclouded.training.provenance import write_provenance
from unclouded.training.ranges import require_ranges
from unclouded.training.run import RunFolder
from unclouded.training.settings import TrainSettings
from unclouded.training.validation import validation_triplets

LOOKED_AT = 16
"""Patches whose ranges are checked together."""


class Prepared(NamedTuple):
    """A run that may begin or go on.

    Attributes:
        settings: Its settings.
        triplets: Its patches.
        judged: Those of its validation, if there is any.
        before: Settings of the run so far; None for a new run.
    """

    settings: TrainSettings
    triplets: TripletSource
    judged: TripletSource | None
    before: TrainSettings | None = None


def prepare(settings: TrainSettings, run: RunFolder, fabric: Fabric, resume: bool, told: Told) -> Prepared:
    """Begin a run or take one up.

    The list of patches is written last: a run that was killed before it is prepared anew.

    Raises:
        InputError: Settings, patches or folder are not fit.
    """
    cache = ProbabilityCache()
    if resume:
        before = from_first(fabric, run.read_settings)
        settings = from_first(fabric, lambda: run.resumed_settings(settings))
        if from_first(fabric, run.patches.is_file):
            again = settings.model_copy(update={"patch_list": run.patches, "subset": None})
            triplets = choose_triplets(again, cache)
            judged = _sound(_judged(settings, triplets, cache), settings, fabric, told)
            return Prepared(settings, triplets, judged, before)
        from_first(fabric, lambda: run.write_settings(settings))
    else:
        from_first(fabric, lambda: run.start(settings))
    chosen = choose_triplets(settings, cache)
    judged = _judged(settings, chosen, cache)
    if settings.start_from is not None:
        require_network(settings.network, settings.start_from)
    triplets, digests = check_patches(chosen, settings, fabric, told)
    judged = _sound(judged, settings, fabric, told)
    if fabric.is_global_zero:
        names = "".join(f"{name}\n" for name in triplets.names)
        write_provenance(run, settings, names, digests)
        write_text(run.patches, names)
    return Prepared(settings, triplets, judged)


def _judged(settings: TrainSettings, learnt: TripletSource, cache: ProbabilityCache) -> TripletSource | None:
    """Choose the patches of the validation, if there is to be any: before hours of cloud maps."""
    return validation_triplets(settings, learnt, cache) if settings.validation.every else None


def _sound(judged: TripletSource | None, settings: TrainSettings, fabric: Fabric, told: Told) -> TripletSource | None:
    """Read each patch of the validation once."""
    return None if judged is None else check_patches(judged, settings, fabric, told)[0]


class Checked(NamedTuple):
    """A patch that was read: the SHA-256 of what training sees of it, or why it cannot be used."""

    sha256: str
    damage: str


def check_patches(
    chosen: TripletSource, settings: TrainSettings, fabric: Fabric, told: Told
) -> tuple[TripletSource, tuple[str, ...]]:
    """Read every patch once, which maps its clouds into the cache, each rank its share.

    Returns:
        The sound ones, and the SHA-256 of what training sees of each.

    Raises:
        InputError: The first patches are in another unit; or patches are damaged and the settings say to refuse; they
            are named.
    """
    from_first(fabric, lambda: _look_at_ranges(chosen, settings))
    share = range(fabric.global_rank, len(chosen), fabric.world_size)
    dealt_out = gathered(fabric, _read(chosen, share, told if fabric.is_global_zero else silent))
    checked = [one for one in chain.from_iterable(zip_longest(*dealt_out)) if one is not None]
    damaged = [f"{name}: {one.damage}" for name, one in zip(chosen.names, checked, strict=True) if one.damage]
    if damaged and (settings.damaged == "refuse" or len(damaged) == len(checked)):
        raise InputError(
            f"{len(damaged)} of {len(chosen)} patches are damaged ({'; '.join(damaged[:5])}"
            f"{'; ...' if len(damaged) > 5 else ''}); mend them or set damaged = 'skip'"
        )
    sound = [index for index, one in enumerate(checked) if not one.damage]
    return chosen.subset(sound), tuple(checked[index].sha256 for index in sound)


def _look_at_ranges(chosen: TripletSource, settings: TrainSettings) -> None:
    """Judge the sound ones of the first patches, so that a wrong unit shows before hours of cloud maps."""
    sound = []
    for index in range(min(LOOKED_AT, len(chosen))):
        with suppress(InputError):
            sound.append(chosen.check(index))
    if sound:
        require_ranges(sound, settings.network.scaling)


def _read(chosen: TripletSource, share: Sequence[int], told: Told) -> list[Checked]:
    checked = []
    for done, index in enumerate(share, start=1):
        try:
            checked.append(Checked(digest(chosen.check(index)), ""))
        except InputError as error:
            checked.append(Checked("", str(error)))
        told("cloud maps", done, len(share))
    return checked


def digest(triplet: Triplet) -> str:
    """Return the SHA-256 of what training sees of a patch: radar, cloudy image, map, clear image, in this order."""
    seen = triplet.observation
    content = hashlib.sha256()
    for image in (seen.sar, seen.cloudy, seen.cloud_map, triplet.clear):
        content.update(image.contiguous().numpy().tobytes())
    return content.hexdigest()
