"""Before the first step: choose the patches, read each once, check ranges, map clouds, and sign what was read."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import NamedTuple

from lightning_fabric import Fabric

from unclouded.clouds.cache import ProbabilityCache
from unclouded.errors import InputError
from unclouded.files import write_text
from unclouded.models.weights import require_network
from unclouded.patches.layouts import SHOWN
from unclouded.patches.reading import DamagedTriplet
from unclouded.tensors.dataset import TripletSource
from unclouded.tensors.triplet import Triplet
from unclouded.training.data import Choice, choose, choose_triplets
from unclouded.training.devices import from_first, gathered
from unclouded.training.listener import Listener, Told, silent
from unclouded.training.provenance import write_provenance
from unclouded.training.ranges import require_ranges
from unclouded.training.run import RunFolder
from unclouded.training.settings import TrainSettings
from unclouded.training.unpaired import UnpairedImages
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


def prepare(
    settings: TrainSettings, run: RunFolder, fabric: Fabric, resume: bool, told: Told, listener: Listener
) -> Prepared:
    """Begin a run or take one up.

    The list of patches is written last: a run that was killed before it is prepared anew.

    Raises:
        InputError: Settings, patches or folder are not fit.
    """
    cache = ProbabilityCache()
    checking = _Checking(settings, run, fabric, told, listener, cache)
    if resume:
        before = from_first(fabric, run.read_settings)
        settings = from_first(fabric, lambda: run.resumed_settings(settings))
        if from_first(fabric, run.patches.is_file):
            again = settings.model_copy(update={"patch_list": run.patches, "subset": None, "damaged": "refuse"})
            triplets = choose_triplets(again, cache)
            _require_same_clear_images(triplets, run)
            return Prepared(settings, triplets, checking.validation(triplets), before)
        from_first(fabric, lambda: run.write_settings(settings))
    else:
        from_first(fabric, lambda: run.start(settings))
    chosen = choose(settings, cache)
    judged = checking.chosen_validation(chosen.triplets)
    if settings.start_from is not None:
        require_network(settings.network, settings.start_from)
    triplets, digests, _ = checking.sound("training", chosen)
    checked = checking.sound("validation", judged).triplets if judged else None
    if fabric.is_global_zero:
        names = "".join(f"{name}\n" for name in triplets.names)
        if isinstance(triplets, UnpairedImages):
            listener.said(str(triplets))
            write_text(run.clear_images, "".join(f"{name}\n" for name in triplets.clear_names))
        write_provenance(run, settings, names, digests)
        write_text(run.patches, names)
    return Prepared(settings, triplets, checked)


def _require_same_clear_images(triplets: TripletSource, run: RunFolder) -> None:
    """Refuse to resume with other clear images beside the observations than before."""
    if not isinstance(triplets, UnpairedImages):
        return
    names = run.clear_images.read_text(encoding="utf-8").splitlines() if run.clear_images.is_file() else []
    if list(triplets.clear_names) != names:
        raise InputError(
            f"the clear images of the data set are not those of {run.clear_images}; restore them or start anew"
        )


@dataclass(frozen=True)
class _Checking:
    """Reads the patches of a run once, and reports those that are skipped."""

    settings: TrainSettings
    run: RunFolder
    fabric: Fabric
    told: Told
    listener: Listener
    cache: ProbabilityCache

    def chosen_validation(self, learnt: TripletSource) -> Choice | None:
        """Choose the patches of the validation, if there is to be any: before hours of cloud maps."""
        return validation_triplets(self.settings, learnt, self.cache) if self.settings.validation.every else None

    def validation(self, learnt: TripletSource) -> TripletSource | None:
        """Choose and read the patches of the validation, if there is to be any."""
        chosen = self.chosen_validation(learnt)
        return self.sound("validation", chosen).triplets if chosen else None

    def sound(self, part: str, chosen: Choice) -> "Sound":
        """Return the sound patches of a part; name the others on the terminal and in the folder of the run."""
        found = check_patches(chosen.triplets, self.settings, self.fabric, self.told)
        skipped = (*chosen.left_out, *found.damaged)
        if self.fabric.is_global_zero and (skipped or self.run.skipped.is_file()):
            self.run.write_skipped(part, skipped)
        if self.fabric.is_global_zero and skipped:
            shown = "; ".join(map(str, skipped[:SHOWN]))
            more = f"; and {len(skipped) - SHOWN:,} more" if len(skipped) > SHOWN else ""
            self.listener.said(
                f"{len(skipped):,} of {len(chosen.triplets) + len(chosen.left_out):,} patches for {part} are skipped"
                f" ({shown}{more}); {self.run.skipped} lists all"
            )
        return found


class Sound(NamedTuple):
    """Patches that were read and can be used.

    Attributes:
        triplets: The patches.
        digests: SHA-256 of what training sees of each.
        damaged: Those that cannot be used.
    """

    triplets: TripletSource
    digests: tuple[str, ...]
    damaged: tuple[DamagedTriplet, ...]


class Checked(NamedTuple):
    """A patch that was read: the SHA-256 of what training sees of it, or why it cannot be used."""

    sha256: str
    damage: str


def check_patches(chosen: TripletSource, settings: TrainSettings, fabric: Fabric, told: Told) -> Sound:
    """Read every patch once, which maps its clouds into the cache, each rank its share.

    Raises:
        InputError: The first patches are in another unit; or patches are damaged and the settings say to refuse; they
            are named.
    """
    from_first(fabric, lambda: _look_at_ranges(chosen, settings))
    share = range(fabric.global_rank, len(chosen), fabric.world_size)
    dealt_out = gathered(fabric, _read(chosen, share, told if fabric.is_global_zero else silent))
    checked = [one for one in chain.from_iterable(zip_longest(*dealt_out)) if one is not None]
    damaged = [DamagedTriplet(name, one.damage) for name, one in zip(chosen.names, checked, strict=True) if one.damage]
    if damaged and (settings.damaged == "refuse" or len(damaged) == len(checked)):
        raise InputError(
            f"{len(damaged)} of {len(chosen)} patches are damaged ({'; '.join(map(str, damaged[:SHOWN]))}"
            f"{'; ...' if len(damaged) > SHOWN else ''}); mend them or set damaged = 'skip'"
        )
    sound = [index for index, one in enumerate(checked) if not one.damage]
    return Sound(chosen.subset(sound), tuple(checked[index].sha256 for index in sound), tuple(damaged))


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
