"""What the root of a data set remembers of its regions, so that curators who share it never mix what they make."""

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from unclouded.errors import InputError
from unclouded.files import named, remove_partial_files, write_json
from unclouded.patches.identity import MANIFEST, Roi
from unclouded.patches.storing import store_folders
from unclouded.scale.tasks import Row, TaskFolder
from unclouded.strict_json import read_json

WORK = ".curation"
"""Folder below the root where the tasks leave their notes."""


def work_folder(root: Path, identity: str) -> Path:
    """Return where the products of a task are unpacked and decoded."""
    return root / WORK / "work" / identity


def choices_of(root: Path, roi: str) -> Path:
    """Return where the choice of a region is explained."""
    return root / WORK / "choices" / f"{roi}.csv"


def claim(root: Path, roi: str, identity: str) -> None:
    """Clean up after a killed attempt, and refuse to mix patches of two sets of products.

    The manifest would not know which is which. Of two who claim a region at once, one is first.

    Raises:
        InputError: The root holds the region made by another task.
    """
    note = _note(root, roi)
    note.parent.mkdir(parents=True, exist_ok=True)
    with _locked(root, f"claim {roi}"):
        if not note.is_file():
            write_json(note, identity)
    if _claimed(note) != identity:
        raise InputError(
            f"{named(root)} holds {roi} made of other products or settings; choose another root, or remove the region "
            f"and {named(note)}"
        )
    for folder in store_folders(root, Roi.parse(roi)):
        remove_partial_files(folder)


def tidy(root: Path, identities: Mapping[str, str], failures: Mapping[str, str]) -> None:
    """Remove what killed tasks left, and what was made of regions that were set aside; nothing that others work on.

    Args:
        root: Of the data set.
        identities: Of settled tasks, by region.
        failures: Which of them were set aside.
    """
    for folder in (root / WORK / "work").glob("*"):
        with suppress(Timeout), FileLock(root / WORK / "locks" / folder.name, timeout=0):  # held by who works there
            shutil.rmtree(folder)
    remove_partial_files(root, {"choices", Path(MANIFEST).stem})
    for name in ("regions", "choices"):
        remove_partial_files(root / WORK / name, set(identities))
    for roi in failures:
        note = _note(root, roi)
        if note.is_file() and _claimed(note) == identities[roi]:
            for folder in store_folders(root, Roi.parse(roi)):
                shutil.rmtree(folder, ignore_errors=True)
            note.unlink()


def rows_of_others(root: Path, notes: TaskFolder, identities: Mapping[str, str]) -> list[Row]:
    """Return the rows of regions that the root holds, and that are done, but were made by other tasks than these.

    They stand in another list, or were made of other products or settings than this one has: what is there stays there.

    Args:
        root: Of the data set.
        notes: What is known of its tasks.
        identities: Of the tasks of this list, by region.
    """
    claims = {note.stem: _claimed(note) for note in sorted((root / WORK / "regions").glob("*.txt"))}
    return notes.rows_of(held for roi, held in claims.items() if identities.get(roi) != held)


def regions_held(root: Path) -> set[str]:
    """Return the names of the regions that the root holds, or that somebody is making."""
    return {note.stem for note in (root / WORK / "regions").glob("*.txt")}


def _note(root: Path, roi: str) -> Path:
    return root / WORK / "regions" / f"{roi}.txt"


def _claimed(note: Path) -> str:
    return str(read_json(note))


def _locked(root: Path, name: str) -> FileLock:
    folder = root / WORK / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / name)
