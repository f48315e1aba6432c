"""What a run was made from: hashes of settings, split and data; versions and machine of every session."""

import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from unclouded.files import sha256, write_json
from unclouded.patches.identity import region_of
from unclouded.strict_json import read_json_object
from unclouded.training.run import RunFolder
from unclouded.training.settings import TrainSettings

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


def told_with_weights(run: RunFolder) -> dict[str, str]:
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
