"""Leases of regions, and the files of a curation below the root of its data set.

A lease assigns each region to one task, so that patches made of different products or settings are never mixed. It
records of which inputs the region was made, and by which thresholds it is screened.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from unclouded.errors import InputError
from unclouded.files import named, remove_partial_files, write_json
from unclouded.patches.roi import MANIFEST, Roi
from unclouded.patches.storing import store_folders
from unclouded.strict_json import read_json_object

WORK = ".curation"
"""Folder of the task ledger and the leases, below the root of the data set."""
Lease = Mapping[str, Any]
"""``id`` of the task, its ``inputs``, ``rules`` and ``screening``, the thresholds in force."""


def work_folder(root: Path, identity: str) -> Path:
    """Return the folder in which the products of a task are unpacked and decoded."""
    return root / WORK / "work" / identity


def choices_of(root: Path, roi: str) -> Path:
    """Return the path of the table that explains the choice of a region's products."""
    return root / WORK / "choices" / f"{roi}.csv"


def acquire_lease(root: Path, roi: str, identity: str, about: Mapping[str, Any] | None = None) -> None:
    """Assign a region of a data set to a task, and remove the partial files of a killed attempt.

    Without the lease, patches of two sets of products could be mixed, and the manifest could not distinguish them. Of
    two simultaneous requests, one succeeds.

    Args:
        root: Root folder of the data set.
        roi: Region.
        identity: Id of the task.
        about: Further values of a new lease.

    Raises:
        InputError: The region is leased to another task.
    """
    lease = _lease_file(root, roi)
    lease.parent.mkdir(parents=True, exist_ok=True)
    with _locked(root, f"lease {roi}"):
        if not lease.is_file():
            write_json(lease, {**(about or {}), "id": identity})
    if read_lease(lease)["id"] != identity:
        raise InputError(
            f"{named(root)} holds {roi} made of other products or settings; choose another root, or remove the region "
            f"and {named(lease)}"
        )
    for folder in store_folders(root, Roi.parse(roi)):
        remove_partial_files(folder)


def clean_up(root: Path, identities: Mapping[str, str], failures: Mapping[str, str]) -> None:
    """Remove the remains of killed tasks and the patches of failed regions, except those other tasks work on.

    Args:
        root: Root folder of the data set.
        identities: Ids of the done and failed tasks by region.
        failures: Reasons of the failed tasks by region.
    """
    for folder in (root / WORK / "work").glob("*"):
        with suppress(Timeout), FileLock(root / WORK / "locks" / folder.name, timeout=0):  # held by a running task
            shutil.rmtree(folder)
    remove_partial_files(root, {"choices", Path(MANIFEST).stem})
    for name in ("regions", "choices"):
        remove_partial_files(root / WORK / name, set(identities))
    for roi in failures:
        lease = _lease_file(root, roi)
        if lease.is_file() and read_lease(lease)["id"] == identities[roi]:
            for folder in store_folders(root, Roi.parse(roi)):
                shutil.rmtree(folder, ignore_errors=True)
            lease.unlink()


def leases_of_others(root: Path, identities: Mapping[str, str]) -> list[Lease]:
    """Return the leases of regions of the root that belong to tasks outside a list.

    These regions are in another list, or were made of other products or settings than in this one; they are kept.

    Args:
        root: Root folder of the data set.
        identities: Ids of the tasks of this list by region.
    """
    leases = {roi: read_lease(_lease_file(root, roi)) for roi in sorted(leased_regions(root))}
    return [lease for roi, lease in leases.items() if identities.get(roi) != lease["id"]]


def lease_of(root: Path, roi: str) -> Lease | None:
    """Return the lease of a region; None if there is none."""
    path = _lease_file(root, roi)
    return read_lease(path) if path.is_file() else None


def write_lease(root: Path, roi: str, lease: Lease) -> None:
    """Write the lease of a region that was made elsewhere, in place of any earlier one."""
    path = _lease_file(root, roi)
    with _locked(root, f"lease {roi}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, dict(lease))


def record_screening(root: Path, roi: str, identity: str, screening: Mapping[str, Any]) -> None:
    """Record the thresholds in force in the lease of a region, if it is leased to this task."""
    path = _lease_file(root, roi)
    with _locked(root, f"lease {roi}"):
        if path.is_file() and (lease := read_lease(path))["id"] == identity and lease.get("screening") != screening:
            write_json(path, {**lease, "screening": dict(screening)})


def leased_regions(root: Path) -> set[str]:
    """Return the names of all leased regions: done ones, and those in progress."""
    return {path.stem for path in _lease_files(root)}


def _lease_files(root: Path) -> Iterator[Path]:
    return (root / WORK / "regions").glob("*.json")


def _lease_file(root: Path, roi: str) -> Path:
    return root / WORK / "regions" / f"{roi}.json"


def read_lease(path: Path) -> Lease:
    """Read a lease.

    Raises:
        InputError: The file is damaged.
    """
    return read_json_object(path)


def _locked(root: Path, name: str) -> FileLock:
    folder = root / WORK / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / name)
