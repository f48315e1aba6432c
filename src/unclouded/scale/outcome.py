"""What curating leaves in the root of a data set: the manifest of all regions, and why their scenes were chosen."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from unclouded.errors import InputError
from unclouded.files import write_text
from unclouded.patches.identity import CHOICES, MANIFEST, Roi
from unclouded.patches.images import TOKENS
from unclouded.patches.layouts import CLEAR, CLOUDY, SAR
from unclouded.patches.manifest import SET_ASIDE, ManifestRow, write_manifest
from unclouded.scale.claims import choices_of, regions_held, rows_of_others, tidy
from unclouded.scale.curation import CurateRegion
from unclouded.scale.delivery import Output
from unclouded.scale.regions import Region
from unclouded.scale.tasks import Row, TaskFolder
from unclouded.scenes.candidates import joined_tables
from unclouded.scenes.footprints import footprint_around


def write_outcome(
    root: Path, tasks: Sequence[CurateRegion], notes: TaskFolder, failures: Mapping[str, str]
) -> list[ManifestRow]:
    """Write the manifest and the table of choices once all tasks are settled; return the rows of the manifest.

    What the root holds of a region stays in it, whoever made it. Two who end at once write one after the other.

    Args:
        root: Of the data set.
        tasks: All regions of a list.
        notes: What is known of them.
        failures: Why some were set aside, by name.
    """
    identities = {task.name: task.id for task in tasks}
    with FileLock(notes.path / "locks" / "manifest"):
        tidy(root, identities, failures)
        others = rows_of_others(root, notes, identities)
        held = {row["roi"] for row in others}
        aside = set_aside(tasks, {roi: reason for roi, reason in failures.items() if roi not in held})
        listed = [*notes.rows(tasks), *others, *aside]
        write_manifest(root / MANIFEST, listed)
        _write_choices(root, {*identities, *regions_held(root)})
    return listed


def set_aside(tasks: Iterable[CurateRegion], failures: Mapping[str, str]) -> list[ManifestRow]:
    """Return a row of the manifest for each region of which nothing was made.

    Args:
        tasks: All regions.
        failures: Why some were set aside, by name.
    """
    return [
        _set_aside(task.region, task.settings.size_km, failures[task.name]) for task in tasks if task.name in failures
    ]


def _set_aside(region: Region, size_km: tuple[float, float], reason: str) -> ManifestRow:
    row: ManifestRow = {"status": SET_ASIDE, "reason": reason, "roi": region.roi}
    row["season"] = Roi.parse(region.roi).season
    if region.center is not None:
        with suppress(InputError):  # beyond UTM
            row["geometry"] = footprint_around(*region.center, size_km)
    tokens = {"radar": SAR, "clear": CLEAR, "cloudy": CLOUDY}
    files = {role: str(source).rstrip("/").rpartition("/")[2] for role, source in region.named.items()}
    names = {role: name.removesuffix(".zip").removesuffix(".SAFE") for role, name in files.items()}
    return {**row, "split": region.split, **{f"{tokens[role]}_product": name for role, name in names.items()}}


def _write_choices(root: Path, regions: Iterable[str]) -> None:
    """Write what was chosen for regions, and why, into one table beside the manifest, if there was any choice."""
    tables = [choices_of(root, name) for name in sorted(regions)]
    if found := [table for table in tables if table.is_file()]:
        write_text(root / CHOICES, joined_tables(table.read_text(encoding="utf-8") for table in found))


def outputs(row: Row) -> list[Output]:
    """Return the files of a candidate that was kept, as below the root."""
    return [Output(row[token], row[f"{token}_sha256"]) for token in TOKENS if row.get(token)]


def lost(tasks: Iterable[CurateRegion], notes: TaskFolder) -> list[CurateRegion]:
    """Return done regions some of whose files are gone; what is in the files is for ``data check`` to say."""
    return [task for task in tasks if not _holds(task.root, notes.rows([task]))]


def _holds(root: Path, rows: Iterable[Row]) -> bool:
    names = {output.name for row in rows for output in outputs(row)}
    folders = {(root / name).parent for name in names}
    there = {path.relative_to(root).as_posix() for folder in folders if folder.is_dir() for path in folder.iterdir()}
    return names <= there
