"""Preparation of a run before its first step.

:func:`prepare` selects the patches of training and validation, reads each of them once (which fills the cache of cloud
maps and finds damaged patches), checks that values are in the expected units, and writes the provenance of the run:
hashes of settings, split and data, and the versions and machine of every session.
"""

import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from unclouded.clouds.cache import ProbabilityCache
from unclouded.errors import InputError, MachineError
from unclouded.files import sha256, write_json, write_text
from unclouded.machine import capped
from unclouded.models.scaling import Scaling
from unclouded.models.weights import require_network
from unclouded.patches.layouts import SHOWN
from unclouded.patches.reading import DamagedTriplet
from unclouded.patches.roi import region_of
from unclouded.progress import ProgressCallback, TrainingCallback, counted, no_progress
from unclouded.strict_json import read_json_object
from unclouded.tensors.dataset import TripletSource
from unclouded.tensors.observation import Triplet
from unclouded.training.checkpoint import RunFolder
from unclouded.training.data import PatchSelection, select_patches, select_triplets
from unclouded.training.distributed import all_gathered, die_with_parent, on_rank_zero
from unclouded.training.settings import TrainSettings
from unclouded.training.unpaired import UnpairedImages
from unclouded.training.validation import validation_triplets

RANGE_CHECK_PATCHES = 16
"""Number of patches whose value ranges are checked together."""


class Prepared(NamedTuple):
    """A run that is ready to start or to be resumed.

    Attributes:
        settings: Settings of the run.
        triplets: Training patches.
        validation: Validation patches; None without validation.
        before: Settings of the run so far; None for a new run.
    """

    settings: TrainSettings
    triplets: TripletSource
    validation: TripletSource | None
    before: TrainSettings | None = None


def prepare(
    settings: TrainSettings,
    run: RunFolder,
    fabric: Fabric,
    resume: bool,
    on_progress: ProgressCallback,
    callback: TrainingCallback,
) -> Prepared:
    """Prepare a new run or one to be resumed.

    The list of patches is written last: a run that was killed before that is prepared again.

    Raises:
        InputError: Settings, patches or folder are invalid.
    """
    cache = ProbabilityCache()
    checker = _PatchChecker(settings, run, fabric, on_progress, callback, cache)
    if resume:
        before = on_rank_zero(fabric, run.read_settings)
        settings = on_rank_zero(fabric, lambda: run.resumed_settings(settings))
        if on_rank_zero(fabric, run.patches.is_file):
            again = settings.model_copy(update={"patch_list": run.patches, "subset": None, "damaged": "refuse"})
            triplets = select_triplets(again, cache)
            _require_same_clear_images(triplets, run)
            return Prepared(settings, triplets, checker.validation(triplets), before)
        on_rank_zero(fabric, lambda: run.write_settings(settings))
    else:
        on_rank_zero(fabric, lambda: run.start(settings))
    chosen = select_patches(settings, cache)
    validation = checker.select_validation(chosen.triplets)
    if settings.start_from is not None:
        _require_start(settings, settings.start_from)
    triplets, digests, _ = checker.check("training", chosen)
    held_out = checker.check("validation", validation).triplets if validation else None
    if fabric.is_global_zero:
        names = "".join(f"{name}\n" for name in triplets.names)
        if isinstance(triplets, UnpairedImages):
            callback.on_message(str(triplets))
            write_text(run.clear_images, "".join(f"{name}\n" for name in triplets.clear_names))
        write_provenance(run, settings, names, digests)
        write_text(run.patches, names)
    return Prepared(settings, triplets, held_out)


def _require_start(settings: TrainSettings, source: Path) -> None:
    """Raise before cloud maps are computed if a run cannot start from a weights file or a run folder."""
    if source.is_dir():
        RunFolder(source).require_networks(settings)
    else:
        require_network(settings.network, source)


def _start_file(source: Path) -> Path:
    return RunFolder(source).state if source.is_dir() else source


def _require_same_clear_images(triplets: TripletSource, run: RunFolder) -> None:
    """Raise if a resumed run would combine the observations with other clear images than before."""
    if not isinstance(triplets, UnpairedImages):
        return
    names = run.clear_images.read_text(encoding="utf-8").splitlines() if run.clear_images.is_file() else []
    if list(triplets.clear_names) != names:
        raise InputError(
            f"the clear images of the data set are not those of {run.clear_images}; restore them or start anew"
        )


@dataclass(frozen=True)
class _PatchChecker:
    """Reads the patches of a run once and reports those that are skipped."""

    settings: TrainSettings
    run: RunFolder
    fabric: Fabric
    on_progress: ProgressCallback
    callback: TrainingCallback
    cache: ProbabilityCache

    def select_validation(self, trained: TripletSource) -> PatchSelection | None:
        """Select the validation patches, if any, before cloud maps are computed for hours."""
        return validation_triplets(self.settings, trained, self.cache) if self.settings.validation.every else None

    def validation(self, trained: TripletSource) -> TripletSource | None:
        """Select and read the validation patches, if any."""
        chosen = self.select_validation(trained)
        return self.check("validation", chosen).triplets if chosen else None

    def check(self, part: str, chosen: PatchSelection) -> "CheckedPatches":
        """Return the intact patches of a part; report the others in a message and in the run folder."""
        found = check_patches(chosen.triplets, self.settings, self.fabric, self.on_progress)
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
    """Result of reading all patches once.

    Attributes:
        triplets: Intact patches.
        digests: SHA-256 of the training input of each.
        damaged: Patches that cannot be used.
    """

    triplets: TripletSource
    digests: tuple[str, ...]
    damaged: tuple[DamagedTriplet, ...]


class PatchCheck(NamedTuple):
    """Result of reading a patch: SHA-256 of its training input, or the reason why it cannot be used."""

    sha256: str
    damage: str


def check_patches(
    chosen: TripletSource, settings: TrainSettings, fabric: Fabric, on_progress: ProgressCallback
) -> CheckedPatches:
    """Read every patch once, each rank its share; this fills the cache of cloud maps.

    Raises:
        InputError: The first patches are in another unit, or patches are damaged and the settings refuse them.
    """
    on_rank_zero(fabric, lambda: _check_ranges(chosen, settings))
    share = range(fabric.global_rank, len(chosen), fabric.world_size)
    workers, _ = capped("device.workers", settings.device.workers, settings.device.devices)
    own = _read(chosen, share, on_progress if fabric.is_global_zero else no_progress, workers)
    dealt_out = all_gathered(fabric, own)
    checked = [one for one in chain.from_iterable(zip_longest(*dealt_out)) if one is not None]
    damaged = [DamagedTriplet(name, one.damage) for name, one in zip(chosen.names, checked, strict=True) if one.damage]
    if damaged and (settings.damaged == "refuse" or len(damaged) == len(checked)):
        raise InputError(
            f"{len(damaged)} of {len(chosen)} patches are damaged ({'; '.join(map(str, damaged[:SHOWN]))}"
            f"{'; ...' if len(damaged) > SHOWN else ''}); repair them or set damaged = 'skip'"
        )
    sound = [index for index, one in enumerate(checked) if not one.damage]
    return CheckedPatches(chosen.subset(sound), tuple(checked[index].sha256 for index in sound), tuple(damaged))


def _check_ranges(chosen: TripletSource, settings: TrainSettings) -> None:
    """Check the units of the first patches, before cloud maps are computed for hours."""
    sound = []
    for index in range(min(RANGE_CHECK_PATCHES, len(chosen))):
        with suppress(InputError):
            sound.append(chosen.check(index))
    if sound:
        require_ranges(sound, settings.network.scaling)


@dataclass(frozen=True)
class _Checks(Dataset[PatchCheck]):
    """The checks of the patches of a rank, for the workers of a DataLoader."""

    triplets: TripletSource
    share: Sequence[int]

    def __len__(self) -> int:
        return len(self.share)

    def __getitem__(self, place: int) -> PatchCheck:
        try:
            return PatchCheck(digest(self.triplets.check(self.share[place])), "")
        except InputError as error:
            return PatchCheck("", str(error))


def _read(chosen: TripletSource, share: Sequence[int], on_progress: ProgressCallback, workers: int) -> list[PatchCheck]:
    """Check the patches of a rank in worker processes, or in this one without workers; in the order of ``share``."""
    checks = _Checks(chosen, share)
    loader = DataLoader(
        checks,
        batch_size=None,
        num_workers=min(workers, len(share)),
        collate_fn=_unchanged,
        generator=torch.Generator(),
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=partial(die_with_parent, os.getpid()),
    )
    try:
        return list(counted(loader, "cloud maps", len(share), on_progress))
    except MachineError as error:  # that of a worker comes with its traceback
        raise MachineError(str(error).rsplit("MachineError: ", 1)[-1].strip()) from error
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise MachineError(
            f"a process that reads patches died ({str(error).splitlines()[0]}); lower device.workers, now {workers}"
        ) from error


def _unchanged(check: Any) -> Any:  # the default would turn it into a list
    return check


def digest(triplet: Triplet) -> str:
    """Return the SHA-256 of the training input of a patch: radar, cloudy image, cloud map, clear image."""
    seen = triplet.observation
    content = hashlib.sha256()
    for image in (seen.sar, seen.cloudy, seen.cloud_map, triplet.clear):
        content.update(image.contiguous().numpy().tobytes())
    return content.hexdigest()


# Check of units: radar in dB, optical images in reflectance.


MOST = 0.9
"""Share of clipped pixels above which values are taken to be in another unit."""

BLACK = 0.001
"""Reflectance that nearly all pixels exceed, except in images stored as reflectance but divided by 10 000."""


def require_ranges(triplets: Sequence[Triplet], scaling: Scaling) -> None:
    """Raise if the scaling would clip nearly all pixels, which indicates a wrong unit.

    Args:
        triplets: Several patches, checked together because a single one may be all water or all cloud.
        scaling: Scaling to network values.

    Raises:
        InputError: Names the range found and the likely unit.
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


# Provenance: hashes of settings, split and data; versions and machine of every session.


LIBRARIES = ("lightning-fabric", "numpy", "rasterio", "s2cloudless", "lightgbm", "safetensors")
"""Libraries besides torch whose version may change the result."""

MAX_REGIONS = 20_000
"""Largest number of regions listed in a weights file."""


def write_provenance(run: RunFolder, settings: TrainSettings, names: str, digests: Sequence[str]) -> None:
    """Write the provenance of a new run.

    The hash of the split is that of ``patches.txt``. The hash of the data is taken over the hashes of the training
    input of every patch, in the order of that file: equal pixels give equal hashes, from files or from a store.

    Args:
        run: Run folder.
        settings: Training settings.
        names: Patch names, one per line.
        digests: SHA-256 of the training input of each patch.
    """
    write_json(
        run.provenance,
        {
            "seed": settings.seed,
            "settings_sha256": _sha256(settings.model_dump_json()),
            "split_sha256": _sha256(names),
            "data_sha256": _sha256("".join(f"{one}\n" for one in digests)),
            "patches": len(digests),
            "start_from_sha256": sha256(_start_file(settings.start_from)) if settings.start_from else None,
            "sessions": [session(0, settings)],
        },
    )


def training_data_summary(run: RunFolder) -> dict[str, str]:
    """Return the description of the training data that is stored in a weights file.

    Returns:
        ``data_sha256`` and ``split_sha256`` of :func:`write_provenance`, and ``regions``, separated by blanks, if every
        patch name contains its region.
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
    """Record a resumed session: first step, settings, versions, and a warning if there is one."""
    content = read_json_object(run.provenance) if run.provenance.is_file() else {"sessions": []}
    content["sessions"].append(session(step, settings) | ({"warning": warning} if warning else {}))
    write_json(run.provenance, content)


def session(step: int, settings: TrainSettings) -> dict[str, Any]:
    """Return the record of a session: settings, versions, commit and machine."""
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
    """Return the commit of the source tree of a folder, with a + if it has changes; None if there is none."""
    git = shutil.which("git")
    if git is None:
        return None

    def answer(*words: str) -> str | None:
        asked = subprocess.run([git, "-C", str(folder), *words], capture_output=True, text=True, check=False)  # noqa: S603
        return asked.stdout.strip() if asked.returncode == 0 else None

    if not answer("ls-files", "."):  # a package installed inside another repository
        return None
    commit = answer("rev-parse", "HEAD")
    changed = answer("status", "--porcelain", "--untracked-files=no", ".")
    return f"{commit}+" if commit and changed else commit


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
