"""``unclouded curate``: create a data set like SEN12MS-CR."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unclouded.cli.execution import ExecutionOptions, finish
from unclouded.cli.logging import logger
from unclouded.cli.options import expand_options
from unclouded.errors import InputError
from unclouded.files import resolved

if TYPE_CHECKING:
    from unclouded.batch.tasks import Row


@expand_options
def curate(
    regions: Annotated[
        Path,
        typer.Argument(
            metavar="REGIONS.toml",
            help="TOML file with the settings and one [[regions]] table per region.",
            show_default=False,
        ),
    ],
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Folder of the data set.", show_default=False)],
    plan_only: Annotated[bool, typer.Option("--plan", help="Print the work to do and exit.")] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as screening.haze=0.1. Repeatable."),
    ] = None,
    fetch: Annotated[
        str | None,
        typer.Option(
            metavar="ARCHIVE",
            help="Fetch the products that 'unclouded data search' proposed first: copernicus, earth-search, or the "
            "address of a STAC API. With --plan only the bytes and hours are printed.",
        ),
    ] = None,
    remove_products: Annotated[
        bool,
        typer.Option("--remove-products", help="Remove the fetched products once all regions are made."),
    ] = False,
    *,
    execution: ExecutionOptions,
) -> None:
    """Create a data set of triplets from Sentinel products.

    Scenes are cut into triplets of radar, clear and cloudy image; triplets with imaging artifacts are screened out. A
    manifest describes the result. An interrupted run resumes when the command is repeated, with the same manifest in
    the end. With several shards, the last one to finish writes the manifest.

    The exit status is 1 if a region failed or no triplet was kept.
    """
    from unclouded.files import require_file

    require_file(regions)  # before the imports below, which take a second
    from unclouded.batch.executors import Shard as TaskShard
    from unclouded.batch.storage import put
    from unclouded.batch.tasks import TaskLedger
    from unclouded.curation.leases import WORK
    from unclouded.curation.products import Folders
    from unclouded.curation.region_task import curating
    from unclouded.curation.regions import MAX_BYTES, CurationSettings
    from unclouded.curation.results import irreplaceable, lost, outputs, plan, write_results
    from unclouded.curation.shards import SHARDS, write_record
    from unclouded.files import require_writable, sha256
    from unclouded.patches.manifest import FAILED
    from unclouded.patches.manifest_rows import summary_lines
    from unclouded.patches.roi import CHOICES, MANIFEST
    from unclouded.settings import load_settings

    if not plan_only:
        execution.require_uploadable()
    settings = load_settings(CurationSettings, regions, overrides or [], MAX_BYTES)
    if remove_products and fetch is None:
        raise InputError("--remove-products removes what --fetch fetched; give both")
    if fetch is not None and not _fetched(resolved(regions), fetch, plan_only):
        return
    folders = Folders(execution.processes)
    tasks = curating(settings, resolved(regions).parent, root, folders)
    for reason in folders.refused.values():
        logger.warning(f"no products to choose from: {reason}")
    ledger = TaskLedger(root / WORK, execution.attempts)
    if plan_only:
        planned = plan(tasks, ledger, root)
        typer.echo(planned)
        raise typer.Exit(1 if planned.lacking else 0)
    require_writable(root)
    own = TaskShard.parse(execution.shard).of(tasks)
    ledger.invalidate(lost(own, ledger))
    for name, patches in irreplaceable(own, ledger).items():
        logger.warning(
            f"{name} lacks the images of {patches:,} patches that pass, and its products no longer exist; fetch them "
            "again and repeat the command, or leave it"
        )
    if gone := sum(task.products_gone for task in own):
        logger.info(f"{gone:,} regions stay as they are; their products were removed since they were made")
    execution.run(tasks, ledger, "curating regions")

    def write(rows: "list[Row]", failures: dict[str, str]) -> tuple[str, bool]:
        listed = write_results(root, tasks, ledger, failures)
        _report_remarks(rows)
        for line in summary_lines(listed, settings.screening):
            typer.echo(line)
        statuses = [row["status"] for row in listed if row["status"] != FAILED]
        return f"{statuses.count('kept'):,} of {len(statuses):,} candidates kept", "kept" in statuses

    status = finish(ledger, tasks, "regions", root / MANIFEST, write)
    summary = [name for name in (CHOICES, MANIFEST) if (root / name).is_file()]
    status = max(status, execution.upload(tasks, ledger, root, outputs, summary))
    shard = TaskShard.parse(execution.shard)
    record = write_record(root, shard, tasks, ledger) if shard.count > 1 else None
    if record and execution.upload_to:
        put(record, f"{execution.upload_to}/{SHARDS}/{record.name}", sha256(record))
    if remove_products and not status:
        _remove(resolved(regions))
    raise typer.Exit(status)


def _fetched(regions: Path, archive: str, plan_only: bool) -> bool:
    """Fetch missing products, or print what is missing; return whether to go on."""
    from unclouded.acquisition.credentials import Credentials
    from unclouded.acquisition.providers import find_provider
    from unclouded.cli.progress import byte_progress_bar
    from unclouded.curation.fetch import fetch_products, plan_fetch

    credentials, plan = Credentials(find_provider(archive)), plan_fetch(regions)
    typer.echo(plan)
    if plan_only and plan.missing:
        return False
    if plan.missing:
        credentials.require()
        with byte_progress_bar() as on_progress:
            failures = fetch_products(plan, credentials, on_progress)
        for reason in failures.values():
            logger.warning(f"not fetched: {reason}")
    return True


def _remove(regions: Path) -> None:
    from unclouded.curation.fetch import plan_fetch, remove_products
    from unclouded.files import as_room

    logger.info(f"removed {as_room(remove_products(plan_fetch(regions)))} of fetched products")


def merge(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SHARD...", help="Folders or URLs of the shards of one list.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Root of the merged data set.", show_default="the URL that all shards were uploaded to"),
    ] = None,
) -> None:
    """Merge the shards of 'unclouded curate --shard i/n' from machines without a common folder.

    Images are copied and compared with their hashes; the files are those of a single run, byte for byte. Without --out
    the shards have to be below one URL, and only the manifest is added there.

    The exit status is 1 if a region failed or no triplet was kept.
    """
    from unclouded.batch.storage import is_url, shown
    from unclouded.cli.progress import progress_bar
    from unclouded.curation.shards import merge as merge_shards
    from unclouded.curation.shards import merge_in_storage
    from unclouded.files import require_writable
    from unclouded.patches.manifest import FAILED
    from unclouded.patches.manifest_rows import summary_lines
    from unclouded.patches.screening import ScreeningSettings

    if out is None:
        if len(sources) > 1 or not is_url(sources[0]):
            raise InputError("expected --out, or the one URL that all shards were uploaded to")
        listed = merge_in_storage(sources[0].rstrip("/"))
    else:
        require_writable(out)
        with progress_bar() as on_progress:
            listed = merge_shards(sources, out, on_progress)
    for line in summary_lines(listed, ScreeningSettings()):
        typer.echo(line)
    statuses = [row["status"] for row in listed]
    typer.echo(f"{out or shown(sources[0])}: {statuses.count('kept'):,} triplets from {len(sources):,} sources")
    raise typer.Exit(1 if FAILED in statuses or "kept" not in statuses else 0)


def _report_remarks(rows: "list[Row]") -> None:
    """Log each remark on the images once, with the number of regions it applies to."""
    regions: dict[str, dict[str, None]] = {}
    for row in rows:
        for remark in row["remarks"]:
            regions.setdefault(remark, {})[row["roi"]] = None
    for remark, names in regions.items():
        first, *others = names
        more = f" and {len(others):,} more" if others else ""
        logger.warning(f"{first}{more}: {remark}")
