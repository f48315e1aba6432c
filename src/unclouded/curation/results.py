"""What curating leaves in the root of a data set: the manifest of all regions, and why their scenes were chosen."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from affine import Affine
from filelock import FileLock
from odc.geo.geobox import GeoBox

from unclouded.batch.tasks import Row, TaskLedger
from unclouded.batch.upload import Output
from unclouded.catalogue.triplets import joined_tables
from unclouded.curation.products import open_to
from unclouded.curation.region_task import CurateRegion, choices_of, clean_up, regions_held, rows_of_others
from unclouded.curation.regions import CurationSettings, Region
from unclouded.errors import InputError
from unclouded.files import free_bytes, write_text
from unclouded.patches.archives import PATCH_BYTES
from unclouded.patches.cutting import PATCH_PX, windows
from unclouded.patches.layouts import CLEAR, CLOUDY, SAR, section
from unclouded.patches.manifest import FAILED, ManifestRow, write_manifest
from unclouded.patches.reading import TOKENS
from unclouded.patches.roi import CHOICES, MANIFEST, Roi
from unclouded.sentinel.footprints import footprint_around


def write_results(
    root: Path, tasks: Sequence[CurateRegion], ledger: TaskLedger, failures: Mapping[str, str]
) -> list[ManifestRow]:
    """Write the manifest and the table of choices once all tasks are settled; return the rows of the manifest.

    What the root holds of a region stays in it, whoever made it. Two who end at once write one after the other.

    Args:
        root: Of the data set.
        tasks: All regions of a list.
        ledger: What is known of them.
        failures: Why some were set aside, by name.
    """
    identities = {task.name: task.id for task in tasks}
    with FileLock(ledger.path / "locks" / "manifest"):
        clean_up(root, identities, failures)
        others = rows_of_others(root, ledger, identities)
        held = {row["roi"] for row in others}
        aside = set_aside(tasks, {roi: reason for roi, reason in failures.items() if roi not in held})
        listed = [*ledger.rows(tasks), *others, *aside]
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
    row: ManifestRow = {"status": FAILED, "reason": reason, "roi": region.roi}
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


def lost(tasks: Iterable[CurateRegion], ledger: TaskLedger) -> list[CurateRegion]:
    """Return done regions some of whose files are gone; what is in the files is for ``data check`` to say."""
    return [task for task in tasks if not _holds(task.root, ledger.rows([task]))]


def _holds(root: Path, rows: Iterable[Row]) -> bool:
    names = {output.name for row in rows for output in outputs(row)}
    folders = {(root / name).parent for name in names}
    there = {path.relative_to(root).as_posix() for folder in folders if folder.is_dir() for path in folder.iterdir()}
    return names <= there


# What curating would do, before it begins: how far it is, which regions lack products, how much room it may take.


@dataclass(frozen=True)
class CurationPlan:
    """What is done, and what is left.

    Attributes:
        regions: How many there are.
        done: How many of them are made.
        aside: How many were set aside.
        lacking: Of those left, which cannot be made as things are, and why.
        most_bytes: Of all patches that are left, were each of them kept, before they are compressed.
        free_bytes: Room on the disk.
    """

    regions: int
    done: int
    aside: int
    lacking: Mapping[str, str]
    most_bytes: int
    free_bytes: int

    def __str__(self) -> str:
        """Return the plan in a few lines."""
        left = self.regions - self.done - self.aside
        return "\n".join(
            [
                f"{self.regions:,} regions: {self.done:,} done, {self.aside:,} set aside, {left:,} left",
                f"at most  {self.most_bytes / 2**30:,.1f} GiB to write, uncompressed and were nothing rejected",
                f"free     {self.free_bytes / 2**30:,.1f} GiB",
                *section("without products", [f"{name}: {why}" for name, why in self.lacking.items()], self.regions),
            ]
        )


def plan(tasks: Sequence[CurateRegion], ledger: TaskLedger, root: Path) -> CurationPlan:
    """Say what there is to do; no pixel is looked at, so that clouds may leave more regions without products.

    Args:
        tasks: All regions.
        ledger: What is known of them.
        root: Of the data set; need not be there.
    """
    left = {task.name for task in (*ledger.left(tasks), *lost(tasks, ledger))}
    open_tasks = [task for task in tasks if task.name in left]
    aside = len(ledger.failures(tasks))
    return CurationPlan(
        regions=len(tasks),
        done=len(tasks) - len(left) - aside,
        aside=aside,
        lacking={task.name: why for task in open_tasks if (why := _lacking(task))},
        most_bytes=sum(_most_bytes(task.settings) for task in open_tasks),
        free_bytes=free_bytes(root),
    )


def _lacking(task: CurateRegion) -> str:
    """Return what a region lacks, in words; nothing where all may be there."""
    if task.absent:
        return f"{' and '.join(task.absent)} not found"
    found = open_to(task.region, task.candidates, task.settings)
    radar, optical = (sum(one.kind == kind for one in found) for kind in ("radar", "optical"))
    named = task.region.named
    radar_wanted, optical_wanted = 1 - ("radar" in named), 2 - len({"clear", "cloudy"} & named.keys())
    if radar >= radar_wanted and optical >= optical_wanted:
        return ""
    return f"{radar} radar and {optical} optical products may be chosen, expected {radar_wanted} and {optical_wanted}"


def _most_bytes(settings: CurationSettings) -> int:
    """Return the bytes of a region's patches, or of its scenes, uncompressed."""
    grid = GeoBox((settings.rows, settings.columns), Affine.identity(), None)
    patch_bytes = sum(PATCH_BYTES.values())
    if settings.store == "patches":
        return len(windows(grid, settings.stride_px)) * patch_bytes
    return settings.rows * settings.columns * patch_bytes // PATCH_PX**2
