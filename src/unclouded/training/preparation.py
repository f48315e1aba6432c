"""Before the first step: choose the patches, read each once, check ranges, map clouds, and sign what was read."""

import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor

from unclouded.clouds.cache import ProbabilityCache
from unclouded.errors import InputError
from unclouded.files import sha256, write_json, write_text
from unclouded.models.scaling import Scaling
from unclouded.models.weights import require_network
from unclouded.patches.layouts import SHOWN
from unclouded.patches.reading import DamagedTriplet
from unclouded.patches.roi import region_of
from unclouded.progress import ProgressCallback, TrainingCallback, no_progress
from unclouded.strict_json import read_json_object
from unclouded.tensors.dataset import TripletSource
from unclouded.tensors.observation import Triplet
from unclouded.training.checkpoint import RunFolder
from unclouded.training.data import PatchSelection, select_patches, select_triplets
from unclouded.training.distributed import all_gathered, on_rank_zero
from unclouded.training.settings import TrainSettings
from unclouded.training.unpaired import UnpairedImages
from unclouded.training.validation import validation_triplets

RANGE_CHECK_PATCHES = 16
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
    settings: TrainSettings,
    run: RunFolder,
    fabric: Fabric,
    resume: bool,
    on_progress: ProgressCallback,
    callback: TrainingCallback,
) -> Prepared:
    """Begin a run or take one up.

    The list of patches is written last: a run that was killed before it is prepared anew.

    Raises:
        InputError: Settings, patches or folder are not fit.
    """
    cache = ProbabilityCache()
    checking = _PatchChecker(settings, run, fabric, on_progress, callback, cache)
    if resume:
        before = on_rank_zero(fabric, run.read_settings)
        settings = on_rank_zero(fabric, lambda: run.resumed_settings(settings))
        if on_rank_zero(fabric, run.patches.is_file):
            again = settings.model_copy(update={"patch_list": run.patches, "subset": None, "damaged": "refuse"})
            triplets = select_triplets(again, cache)
            _require_same_clear_images(triplets, run)
            return Prepared(settings, triplets, checking.validation(triplets), before)
        on_rank_zero(fabric, lambda: run.write_settings(settings))
    else:
        on_rank_zero(fabric, lambda: run.start(settings))
    chosen = select_patches(settings, cache)
    judged = checking.chosen_validation(chosen.triplets)
    if settings.start_from is not None:
        require_network(settings.network, settings.start_from)
    triplets, digests, _ = checking.sound("training", chosen)
    checked = checking.sound("validation", judged).triplets if judged else None
    if fabric.is_global_zero:
        names = "".join(f"{name}\n" for name in triplets.names)
        if isinstance(triplets, UnpairedImages):
            callback.on_message(str(triplets))
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
class _PatchChecker:
    """Reads the patches of a run once, and reports those that are skipped."""

    settings: TrainSettings
    run: RunFolder
    fabric: Fabric
    told: ProgressCallback
    callback: TrainingCallback
    cache: ProbabilityCache

    def chosen_validation(self, learnt: TripletSource) -> PatchSelection | None:
        """Choose the patches of the validation, if there is to be any: before hours of cloud maps."""
        return validation_triplets(self.settings, learnt, self.cache) if self.settings.validation.every else None

    def validation(self, learnt: TripletSource) -> TripletSource | None:
        """Choose and read the patches of the validation, if there is to be any."""
        chosen = self.chosen_validation(learnt)
        return self.sound("validation", chosen).triplets if chosen else None

    def sound(self, part: str, chosen: PatchSelection) -> "CheckedPatches":
        """Return the sound patches of a part; name the others on the terminal and in the folder of the run."""
        found = check_patches(chosen.triplets, self.settings, self.fabric, self.told)
        skipped = (*chosen.left_out, *found.damaged)
        if self.fabric.is_global_zero and (skipped or self.run.skipped.is_file()):
            self.run.write_skipped(part, skipped)
        if self.fabric.is_global_zero and skipped:
            shown = "; ".join(map(str, skipped[:SHOWN]))
            more = f"; and {len(skipped) - SHOWN:,} more" if len(skipped) > SHOWN else ""
            self.callback.on_message(
                f"{len(skipped):,} of {len(chosen.triplets) + len(chosen.left_out):,} patches for {part} are skipped"
                f" ({shown}{more}); {self.run.skipped} lists all"
            )
        return found


class CheckedPatches(NamedTuple):
    """Patches that were read and can be used.

    Attributes:
        triplets: The patches.
        digests: SHA-256 of what training sees of each.
        damaged: Those that cannot be used.
    """

    triplets: TripletSource
    digests: tuple[str, ...]
    damaged: tuple[DamagedTriplet, ...]


class PatchCheck(NamedTuple):
    """A patch that was read: the SHA-256 of what training sees of it, or why it cannot be used."""

    sha256: str
    damage: str


def check_patches(
    chosen: TripletSource, settings: TrainSettings, fabric: Fabric, on_progress: ProgressCallback
) -> CheckedPatches:
    """Read every patch once, which maps its clouds into the cache, each rank its share.

    Raises:
        InputError: The first patches are in another unit; or patches are damaged and the settings say to refuse; they
            are named.
    """
    on_rank_zero(fabric, lambda: _check_ranges(chosen, settings))
    share = range(fabric.global_rank, len(chosen), fabric.world_size)
    dealt_out = all_gathered(fabric, _read(chosen, share, on_progress if fabric.is_global_zero else no_progress))
    checked = [one for one in chain.from_iterable(zip_longest(*dealt_out)) if one is not None]
    damaged = [DamagedTriplet(name, one.damage) for name, one in zip(chosen.names, checked, strict=True) if one.damage]
    if damaged and (settings.damaged == "refuse" or len(damaged) == len(checked)):
        raise InputError(
            f"{len(damaged)} of {len(chosen)} patches are damaged ({'; '.join(map(str, damaged[:SHOWN]))}"
            f"{'; ...' if len(damaged) > SHOWN else ''}); mend them or set damaged = 'skip'"
        )
    sound = [index for index, one in enumerate(checked) if not one.damage]
    return CheckedPatches(chosen.subset(sound), tuple(checked[index].sha256 for index in sound), tuple(damaged))


def _check_ranges(chosen: TripletSource, settings: TrainSettings) -> None:
    """Judge the sound ones of the first patches, so that a wrong unit shows before hours of cloud maps."""
    sound = []
    for index in range(min(RANGE_CHECK_PATCHES, len(chosen))):
        with suppress(InputError):
            sound.append(chosen.check(index))
    if sound:
        require_ranges(sound, settings.network.scaling)


def _read(chosen: TripletSource, share: Sequence[int], on_progress: ProgressCallback) -> list[PatchCheck]:
    checked = []
    for done, index in enumerate(share, start=1):
        try:
            checked.append(PatchCheck(digest(chosen.check(index)), ""))
        except InputError as error:
            checked.append(PatchCheck("", str(error)))
        on_progress("cloud maps", done, len(share))
    return checked


def digest(triplet: Triplet) -> str:
    """Return the SHA-256 of what training sees of a patch: radar, cloudy image, map, clear image, in this order."""
    seen = triplet.observation
    content = hashlib.sha256()
    for image in (seen.sar, seen.cloudy, seen.cloud_map, triplet.clear):
        content.update(image.contiguous().numpy().tobytes())
    return content.hexdigest()


# Whether patches lie where the networks expect them: radar in dB, optics in reflectance.


MOST = 0.9
"""Share of pixels beyond a clip from which on the values are taken to be in another unit."""

BLACK = 0.001
"""Reflectance below which hardly a pixel lies; one that was stored without the factor 10 000 does."""


def require_ranges(triplets: Sequence[Triplet], scaling: Scaling) -> None:
    """Refuse patches nearly all of whose pixels the scaling would clip away.

    Args:
        triplets: Some patches, judged together: one of them may well be all water or all cloud.
        scaling: To network values.

    Raises:
        InputError: Says what was found, and which unit that looks like.
    """
    radar = torch.cat([one.observation.sar.flatten(2).flatten(0, 1).T for one in triplets])
    clear = torch.cat([one.clear.flatten() for one in triplets])
    for band, values, (low, high) in (("VV", radar[:, 0], scaling.vv_db), ("VH", radar[:, 1], scaling.vh_db)):
        if _share(values >= high) > MOST:
            _refuse(f"radar {band}", values, f"dB between {low:g} and {high:g}; linear power? take 10 log10 first")
        if _share(values <= low) > MOST:
            _refuse(
                f"radar {band}", values, f"dB between {low:g} and {high:g}; dB x 10 or noise? or set network.scaling"
            )
    low, high = scaling.toa_reflectance
    if _share(clear >= high) > MOST:
        _refuse("the clear images", clear, f"reflectance between {low:g} and {high:g}; another factor than 10 000?")
    if _share(clear <= BLACK) > MOST:
        _refuse("the clear images", clear, "reflectance; stored without the factor 10 000, or in 8 bits?")


def _share(where: Tensor) -> float:
    return float(where.float().mean())


def _refuse(what: str, values: Tensor, expected: str) -> None:
    low, middle, high = (float(value) for value in torch.quantile(_thinned(values), torch.tensor([0.05, 0.5, 0.95])))
    raise InputError(
        f"{what} of the first patches: 90 % of the values lie between {low:.4g} and {high:.4g}, median {middle:.4g};"
        f" expected {expected}"
    )


def _thinned(values: Tensor, most: int = 100_000) -> Tensor:
    """Take at most so many values: torch.quantile takes no more than 16 million."""
    return values[:: max(1, len(values) // most)]


# What a run was made from: hashes of settings, split and data; versions and machine of every session.


LIBRARIES = ("lightning-fabric", "numpy", "rasterio", "s2cloudless", "lightgbm", "safetensors")
"""Libraries whose version may change what is learnt, beside torch."""

MAX_REGIONS = 20_000
"""Most regions that a weights file names."""


def write_provenance(run: RunFolder, settings: TrainSettings, names: str, digests: Sequence[str]) -> None:
    """Write down what a new run is made from.

    The split's hash is that of ``patches.txt``; the data's is over the hashes of what training sees of every patch, in
    the order of that file, so that it is the same for the same pixels, whatever file or store they come from.

    Args:
        run: Where to.
        settings: Of the run.
        names: Of the patches, one a line.
        digests: SHA-256 of what training sees of each.
    """
    write_json(
        run.provenance,
        {
            "seed": settings.seed,
            "settings_sha256": _sha256(settings.model_dump_json()),
            "split_sha256": _sha256(names),
            "data_sha256": _sha256("".join(f"{one}\n" for one in digests)),
            "patches": len(digests),
            "start_from_sha256": sha256(settings.start_from) if settings.start_from else None,
            "sessions": [session(0, settings)],
        },
    )


def training_data_summary(run: RunFolder) -> dict[str, str]:
    """Return what a weights file says of the patches it learnt from, for whoever has nothing but that file.

    Returns:
        ``data_sha256`` and ``split_sha256`` of :func:`write_provenance`, and ``regions``, one blank apart, where every
        patch's name tells its region.
    """
    content = read_json_object(run.provenance)
    lists = [path for path in (run.patches, run.clear_images) if path.is_file()]
    names = [name for path in lists for name in path.read_text(encoding="utf-8").splitlines()]
    hashes = {key: str(content[key]) for key in ("data_sha256", "split_sha256")}
    regions = {region_of(name) for name in names}
    if "" in regions or len(regions) > MAX_REGIONS:
        return hashes
    return hashes | {"regions": " ".join(sorted(regions))}


def add_session(run: RunFolder, step: int, settings: TrainSettings, warning: str = "") -> None:
    """Record that a run goes on from a step, with which settings and versions, and a warning about them."""
    content = read_json_object(run.provenance) if run.provenance.is_file() else {"sessions": []}
    content["sessions"].append(session(step, settings) | ({"warning": warning} if warning else {}))
    write_json(run.provenance, content)


def session(step: int, settings: TrainSettings) -> dict[str, Any]:
    """Return what may differ between two sessions of a run: settings, versions, commit and machine."""
    libraries = {name: version(name) for name in ("unclouded", *LIBRARIES)}
    return {
        "first_step": step + 1,
        "settings": settings.model_dump(mode="json"),
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__), **libraries},
        "git_commit": git_commit(Path(__file__).parent),
        "machine": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name()
        if torch.cuda.is_available() and settings.device.accelerator in ("auto", "cuda")
        else torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }


def git_commit(folder: Path) -> str | None:
    """Return the commit of the source tree that a folder belongs to, with a + if it was changed, or None."""
    git = shutil.which("git")
    if git is None:
        return None

    def answer(*words: str) -> str | None:
        asked = subprocess.run([git, "-C", str(folder), *words], capture_output=True, text=True, check=False)  # noqa: S603
        return asked.stdout.strip() if asked.returncode == 0 else None

    if not answer("ls-files", "."):  # an installed package inside somebody else's repository
        return None
    commit = answer("rev-parse", "HEAD")
    changed = answer("status", "--porcelain", "--untracked-files=no", ".")
    return f"{commit}+" if commit and changed else commit


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
