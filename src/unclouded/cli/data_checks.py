"""``data check`` and ``data manifest``: run one task per region, then write and print the results."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import typer

from unclouded.batch.executors import run_tasks
from unclouded.batch.tasks import TaskLedger
from unclouded.cli.execution import process_runner
from unclouded.cli.progress import progress_bar
from unclouded.curation.maintenance import describing, verifying
from unclouded.errors import InputError
from unclouded.files import named, require_new_file, sha256, write_json
from unclouded.locks import held
from unclouded.patches.consistency import leaks_of_files, manifest_faults
from unclouded.patches.layouts import Inventory, section
from unclouded.patches.manifest import FAILED, ManifestRow, read_manifest, write_manifest
from unclouded.patches.reading import TOKENS, DamagedTriplet, Inspection, PatchImages, images_of
from unclouded.patches.review import read_review, reviewed
from unclouded.patches.roi import MANIFEST, REVIEW
from unclouded.patches.screening import ScreeningSettings
from unclouded.patches.splits import SplitCheck, check_split, parts_by_name
from unclouded.patches.verification import Fault, count_lines, published_counts, unlisted


def describe(inventory: Inventory, out: Path, settings: ScreeningSettings, *, coverage: bool, processes: int) -> int:
    """Write the manifest of a data set.

    Returns:
        Exit status.

    Raises:
        InputError: The data set already has a manifest of its own, or a region cannot be described.
    """
    if inventory.layout in ("scenes", "series"):
        raise InputError(
            f"{named(inventory.root)} keeps its manifest from 'unclouded curate'; another one cannot be written"
        )
    require_new_file(out)
    if out.is_file() and any(row["row_px"] is not None or row["s2_product"] for row in read_manifest(out)):
        raise InputError(
            f"{named(out)} was written by 'unclouded curate' and holds products, dates and rejected patches, which the "
            "files do not; keep it, or give another file with --out"
        )
    tasks = describing(inventory.root, images_of(inventory), parts_by_name(inventory), settings, coverage=coverage)
    with _work_folder(out.with_name(f".{out.stem}.work")) as work, progress_bar() as on_progress:
        ledger = TaskLedger(work)
        ledger.retry_failed(tasks)  # the files may have been repaired since an earlier run
        failed = run_tasks(tasks, ledger, process_runner(processes), on_progress, "describing regions")
        if failed:
            name, reason = next(iter(failed.items()))
            raise InputError(f"{len(failed)} regions cannot be described, first {name}: {reason}")
        rows: list[ManifestRow] = ledger.rows(tasks)
        if (review := inventory.root / REVIEW).is_file():
            rows = reviewed(rows, read_review(review))
        write_manifest(out, rows)
    statuses = {
        status: sum(row["status"] == status for row in rows) for status in dict.fromkeys(r["status"] for r in rows)
    }
    counts = ", ".join(f"{count:,} {status}" for status, count in statuses.items())
    typer.echo(f"{out}: {len(rows):,} patches ({counts}), SHA-256 {sha256(out)}")
    return 0


def inspect(inventory: Inventory, *, published: bool, report: Path | None, work: Path | None, processes: int) -> int:
    """Read a data set, compare it with its manifest if there is one, and print a report.

    Returns:
        Exit status: 1 if something is incomplete, damaged or changed.
    """
    if report is not None:
        require_new_file(report)
    path = inventory.root / MANIFEST
    listed = read_manifest(path) if path.is_file() else []
    rows = [row for row in listed if row["status"] != FAILED]
    lost = {row["roi"]: row["reason"] for row in listed if row["status"] == FAILED}
    tasks = verifying(inventory, rows, sha256(path) if rows else "")
    with _work_folder(work) as folder, progress_bar() as on_progress:
        ledger = TaskLedger(folder)
        ledger.retry_failed(tasks)
        failed = run_tasks(tasks, ledger, process_runner(processes), on_progress, "reading regions")
        found = ledger.rows(tasks)
    damaged = [DamagedTriplet(row["damaged"], row["reason"]) for row in found if "damaged" in row]
    same = [f"{row['same_scene']}: {row['detail']}" for row in found if "same_scene" in row]
    damaged += [DamagedTriplet(name, reason) for name, reason in failed.items()]
    inspection = Inspection(inventory, tuple(damaged))
    images = images_of(inventory)
    faults = [Fault(**row) for row in found if "file" in row]
    faults += unlisted(inventory.root, rows, images) if listed else []
    counts = published_counts(images, everywhere=published)
    lacking = [count for count in counts if count.found != count.published] if published else []
    split = check_split(inventory)
    inconsistent = manifest_faults(rows) if listed else leaks_of_files(inventory)
    lines = [inspection.report(), *split.lines(), *count_lines(counts)]
    lines += section("triplets whose cloudy image is the clear one", same, len(same))
    lines += section("inconsistencies of dates, seasons and parts", inconsistent, 50)
    hashed = sum(any(row[token] for token in TOKENS) for row in rows)
    if listed:
        lines += [f"{path.name}: {hashed:,} patches hashed", *section("different", faults, len(faults))]
        lines += section("regions failed", [f"{roi}: {reason}" for roi, reason in lost.items()])
    typer.echo("\n".join(lines))
    clean = inspection.is_clean and split.is_clean and not (faults or lacking or same or inconsistent)
    if report:
        write_json(
            report,
            _as_json(
                inspection,
                faults,
                images,
                lost,
                split,
                hashed=hashed,
                clean=clean,
                same=same,
                inconsistent=inconsistent,
            ),
        )
    return 0 if clean else 1


def _as_json(
    inspection: Inspection,
    faults: list[Fault],
    images: list[PatchImages],
    lost: dict[str, str],
    split: SplitCheck,
    *,
    hashed: int,
    clean: bool,
    same: list[str],
    inconsistent: list[str],
) -> dict[str, Any]:
    found = inspection.inventory
    return {
        "root": str(found.root),
        "clean": clean,
        "triplets": len(found.triplets),
        "incomplete": [{"patch": one.name, "lacks": one.lacks} for one in found.incomplete],
        "damaged": [vars(one) for one in inspection.damaged],
        "strange": found.unexpected_files,
        "split": vars(split),
        "same_scene": same,
        "inconsistent": inconsistent,
        "withdrawn": found.withdrawn,
        "hashed": hashed,
        "different": [vars(fault) for fault in faults],
        "failed": [{"roi": roi, "reason": reason} for roi, reason in lost.items()],
        "regions": [
            {"roi": str(one.roi), "found": one.found, "published": one.published} for one in published_counts(images)
        ],
    }


@contextmanager
def _work_folder(work: Path | None) -> Iterator[Path]:
    """Work folder; one with a name survives a killed process and is removed once the work is complete."""
    if work is None:
        with tempfile.TemporaryDirectory(prefix="unclouded-") as folder:
            yield Path(folder)
        return
    with held(work):
        yield work
        for name in ("done", "failed", "attempts", "locks"):
            shutil.rmtree(work / name, ignore_errors=True)
        (work / "lock").unlink(missing_ok=True)
    with suppress(OSError):  # not empty
        work.rmdir()
