"""Results of a curation in the root of its data set: the manifest and the table of choices; plan of the open work."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from affine import Affine
from filelock import FileLock
from odc.geo.geobox import GeoBox

from unclouded.batch.tasks import Row, TaskLedger
from unclouded.batch.upload import Output
from unclouded.catalogue.triplets import joined_tables
from unclouded.curation.leases import choices_of, clean_up, leased_regions, leases_of_others, record_screening
from unclouded.curation.products import open_to
from unclouded.curation.region_task import CurateRegion
from unclouded.curation.regions import CurationSettings, Region
from unclouded.errors import InputError
from unclouded.files import free_bytes, write_text
from unclouded.patches.archives import PATCH_BYTES
from unclouded.patches.consistency import without_leaks
from unclouded.patches.cutting import PATCH_PX, windows
from unclouded.patches.geographic_split import APART_KM
from unclouded.patches.layouts import CLEAR, CLOUDY, SAR, section
from unclouded.patches.manifest import FAILED, ManifestRow, read_manifest, write_manifest
from unclouded.patches.manifest_rows import decided_by_thresholds, lacks_images
from unclouded.patches.reading import TOKENS
from unclouded.patches.review import read_review, reviewed
from unclouded.patches.roi import CHOICES, MANIFEST, REVIEW, SCENES, Roi
from unclouded.patches.screening import ScreeningSettings
from unclouded.sentinel.footprints import footprint_around

NOT_WRITTEN = "passes by these thresholds, but its images were not written; fetch the products, then curate again"
"""Reason of a patch that earlier thresholds rejected, in a region whose products no longer exist."""


def write_results(
    root: Path, tasks: Sequence[CurateRegion], ledger: TaskLedger, failures: Mapping[str, str]
) -> list[ManifestRow]:
    """Write the manifest and the table of choices once all tasks are done or failed; return the manifest rows.

    Parts, thresholds and decisions of the review are those of this moment, not those of the time of cutting. Regions of
    other lists in the same root stay in the manifest. A lock serialises runs that end at the same time.

    Args:
        root: Root folder of the data set.
        tasks: All regions of a list.
        ledger: Records of the tasks.
        failures: Reasons of the failed tasks by name.
    """
    identities = {task.name: task.id for task in tasks}
    with FileLock(ledger.path / "locks" / "manifest"):
        clean_up(root, identities, failures)
        others = rows_of_leases(root, ledger, identities)
        present = {row["roi"] for row in others}
        failed = failed_rows(tasks, {roi: reason for roi, reason in failures.items() if roi not in present})
        parts = {task.name: task.region.split for task in tasks}
        apart_km = max((task.settings.apart_km for task in tasks), default=APART_KM)
        listed = decided([*_own_rows(tasks, ledger), *others, *failed], parts, apart_km, root)
        write_manifest(root / MANIFEST, listed)
        write_choices(root, {*identities, *leased_regions(root)})
    return listed


def rows_of_leases(root: Path, ledger: TaskLedger, identities: Mapping[str, str]) -> list[ManifestRow]:
    """Return the rows of the regions leased to tasks outside a list, by the thresholds of their leases.

    Args:
        root: Root folder of the data set.
        ledger: Records of the tasks.
        identities: Ids of the tasks of the list by region.
    """
    return [
        row
        for lease in leases_of_others(root, identities)
        for row in screened_rows(ledger.rows_of([lease["id"]]), ScreeningSettings(**lease.get("screening", {})))
    ]


def _own_rows(tasks: Iterable[CurateRegion], ledger: TaskLedger) -> Iterator[ManifestRow]:
    for task in tasks:
        screening = task.settings.screening
        record_screening(task.root, task.name, task.id, screening.model_dump(mode="json"))
        for row in screened_rows(ledger.rows([task]), screening):
            yield {**row, "status": "rejected", "reason": NOT_WRITTEN} if lacks_images(row) else row


def screened_rows(rows: Iterable[Row], screening: ScreeningSettings) -> list[ManifestRow]:
    """Return the recorded rows of a region with findings and statuses by given thresholds.

    In the scenes layout, whose files hold every patch, all kept patches have these files and rejected ones have none.
    """
    listed = [dict(row) for row in rows]
    scene = next((row for row in listed if str(row.get(SAR)).startswith(f"{SCENES}/")), None)
    if scene is None:
        return [decided_by_thresholds(row, screening) for row in listed]
    columns = [f"{token}{end}" for token in TOKENS for end in ("", "_bytes", "_sha256")]
    files = {column: scene[column] for column in columns}
    bare = ({key: value for key, value in row.items() if key not in files} for row in listed)
    decided = [decided_by_thresholds(row, screening) for row in bare]
    return [row | files if row["status"] == "kept" else row for row in decided]


def decided(
    rows: Iterable[ManifestRow], parts: Mapping[str, str | None], apart_km: float, root: Path | None
) -> list[ManifestRow]:
    """Return rows with the parts of a list, or else of the manifest, and with reviewed and leaking ones rejected.

    Args:
        rows: Rows by the thresholds in force.
        parts: Parts of the split by region.
        apart_km: Minimum distance between regions of different parts.
        root: Root folder with an earlier manifest and the review, if any.
    """
    earlier = read_manifest(root / MANIFEST) if root and (root / MANIFEST).is_file() else []
    known = {**{row["roi"]: row["split"] for row in earlier}, **parts}
    listed = [{**row, "split": known.get(row["roi"], row.get("split"))} for row in rows]
    if root and (root / REVIEW).is_file():
        listed = reviewed(listed, read_review(root / REVIEW))
    return without_leaks(listed, apart_km)


def failed_rows(tasks: Iterable[CurateRegion], failures: Mapping[str, str]) -> list[ManifestRow]:
    """Return a manifest row for each failed region.

    Args:
        tasks: All regions.
        failures: Reasons of the failed tasks by name.
    """
    return [
        _failed_row(task.region, task.settings.size_km, failures[task.name]) for task in tasks if task.name in failures
    ]


def _failed_row(region: Region, size_km: tuple[float, float], reason: str) -> ManifestRow:
    row: ManifestRow = {"status": FAILED, "reason": reason, "roi": region.roi}
    row["season"] = Roi.parse(region.roi).season
    if region.center is not None:
        with suppress(InputError):  # beyond UTM
            row["geometry"] = footprint_around(*region.center, size_km)
    tokens = {"radar": SAR, "clear": CLEAR, "cloudy": CLOUDY}
    files = {role: str(source).rstrip("/").rpartition("/")[2] for role, source in region.named.items()}
    names = {role: name.removesuffix(".zip").removesuffix(".SAFE") for role, name in files.items()}
    return {**row, "split": region.split, **{f"{tokens[role]}_product": name for role, name in names.items()}}


def write_choices(root: Path, regions: Iterable[str]) -> None:
    """Join the tables that explain the choices of regions into one beside the manifest; no file without choices."""
    tables = [choices_of(root, name) for name in sorted(regions)]
    if found := [table for table in tables if table.is_file()]:
        write_text(root / CHOICES, joined_tables(table.read_text(encoding="utf-8") for table in found))


def outputs(row: Row) -> list[Output]:
    """Return the files of a kept patch, relative to the root."""
    return [Output(row[token], row[f"{token}_sha256"]) for token in TOKENS if row.get(token)]


def lost(tasks: Iterable[CurateRegion], ledger: TaskLedger) -> list[CurateRegion]:
    """Return the done regions without all images of the patches that pass, which have to be cut again.

    Files are missing, or a looser threshold lets patches pass that were not written. Regions whose products no longer
    exist are left out. ``data check`` verifies the content of files.
    """
    return [task for task in tasks if not task.products_gone and _missing(task, ledger)]


def irreplaceable(tasks: Iterable[CurateRegion], ledger: TaskLedger) -> dict[str, int]:
    """Return the number of patches without images by region, for regions whose products no longer exist."""
    return {task.name: len(missing) for task in tasks if task.products_gone and (missing := _missing(task, ledger))}


def _missing(task: CurateRegion, ledger: TaskLedger) -> list[str]:
    """Return the patches that pass the thresholds and lack images."""
    rows = screened_rows(ledger.rows([task]), task.settings.screening)
    kept = [row for row in rows if row["status"] == "kept"]
    folders = {(task.root / output.name).parent for row in kept for output in outputs(row)}
    present = {path for folder in folders if folder.is_dir() for path in folder.iterdir()}
    return [
        str(row["patch"])
        for row in kept
        if lacks_images(row) or not all(task.root / output.name in present for output in outputs(row))
    ]


# Plan of a curation before it starts: progress, regions without products, disk space.


@dataclass(frozen=True)
class CurationPlan:
    """Progress and open work of a curation.

    Attributes:
        regions: Number of regions.
        done: Number of done regions.
        failed: Number of failed regions.
        gone: Number of done regions whose products no longer exist.
        lacking: Pending regions without the necessary products, with the reason.
        most_bytes: Uncompressed size of all pending patches if every one is kept.
        free_bytes: Free disk space.
    """

    regions: int
    done: int
    failed: int
    gone: int
    lacking: Mapping[str, str]
    most_bytes: int
    free_bytes: int

    def __str__(self) -> str:
        """Return the plan as a few lines of text."""
        pending = self.regions - self.done - self.failed
        return "\n".join(
            [
                f"{self.regions:,} regions: {self.done:,} done, {self.failed:,} failed, {pending:,} pending",
                *(
                    [f"{self.gone:,} of the done ones cannot be made again, as their products were removed"]
                    * bool(self.gone)
                ),
                f"at most  {self.most_bytes / 2**30:,.1f} GiB to write, uncompressed, if no patch is rejected",
                f"free     {self.free_bytes / 2**30:,.1f} GiB",
                *section("without products", [f"{name}: {why}" for name, why in self.lacking.items()], self.regions),
            ]
        )


def plan(tasks: Sequence[CurateRegion], ledger: TaskLedger, root: Path) -> CurationPlan:
    """Return the plan of a curation; it reads no pixels, so clouds may leave more regions without products.

    Args:
        tasks: All regions.
        ledger: Records of the tasks.
        root: Root folder of the data set; need not exist yet.
    """
    pending = {task.name for task in (*ledger.pending(tasks), *lost(tasks, ledger))}
    open_tasks = [task for task in tasks if task.name in pending]
    failed = len(ledger.failures(tasks))
    return CurationPlan(
        regions=len(tasks),
        done=len(tasks) - len(pending) - failed,
        failed=failed,
        gone=sum(task.products_gone for task in tasks),
        lacking={task.name: why for task in open_tasks if (why := _lacking(task))},
        most_bytes=sum(_most_bytes(task.settings) for task in open_tasks),
        free_bytes=free_bytes(root),
    )


def _lacking(task: CurateRegion) -> str:
    """Return which products a region lacks, in words; an empty text if it may have all."""
    if task.absent:
        return f"{' and '.join(task.absent)} not found"
    found = open_to(task.region, task.candidates, task.settings)
    radar, optical = (sum(one.kind == kind for one in found) for kind in ("radar", "optical"))
    named = task.region.named
    radar_needed, optical_needed = 1 - ("radar" in named), 2 - len({"clear", "cloudy"} & named.keys())
    if radar >= radar_needed and optical >= optical_needed:
        return ""
    return f"{radar} radar and {optical} optical products are eligible, expected {radar_needed} and {optical_needed}"


def _most_bytes(settings: CurationSettings) -> int:
    """Return the uncompressed size of a region's patches, or of its scenes."""
    grid = GeoBox((settings.rows, settings.columns), Affine.identity(), None)
    pixels = settings.rows * settings.columns
    if settings.store == "patches":
        pixels = len(windows(grid, settings.stride_px, settings.patch_px)) * settings.patch_px**2
    once, of_date = PATCH_BYTES[CLEAR], PATCH_BYTES[SAR] + PATCH_BYTES[CLOUDY]
    return pixels * (once + settings.dates * of_date) // PATCH_PX**2
