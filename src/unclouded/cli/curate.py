"""``unclouded curate``: make a data set like SEN12MS-CR."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unclouded.cli.batch import Attempts, Dask, ExecutionOptions, Processes, Retry, Shards, UploadTo, finish
from unclouded.files import resolved

if TYPE_CHECKING:
    from unclouded.batch.tasks import Row


def curate(
    regions: Annotated[Path, typer.Argument(help="TOML file: settings, and a table 'regions' for each region.")],
    root: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    shard: Shards = "1/1",
    processes: Processes = 1,
    dask: Dask = None,
    attempts: Attempts = 3,
    retry: Retry = False,
    deliver: UploadTo = None,
    plan_only: Annotated[bool, typer.Option("--plan", help="Say what there is to do, and do nothing.")] = False,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="A setting, such as screening.haze=0.1.")] = None,
) -> None:
    """Cut scenes into triplets, screen them, and keep those without artifacts, with a manifest.

    Killed, it goes on where it was, and ends with the same manifest. The last shard to end writes it.
    """
    from unclouded.files import require_file

    require_file(regions)  # before the imports below, which take a second
    from unclouded.batch.executors import Shard
    from unclouded.batch.storage import require_uploadable
    from unclouded.batch.tasks import TaskLedger
    from unclouded.curation.products import Folders
    from unclouded.curation.region_task import WORK, curating
    from unclouded.curation.regions import MAX_BYTES, CurationSettings
    from unclouded.curation.results import lost, outputs, plan, write_results
    from unclouded.files import require_writable
    from unclouded.patches.manifest import FAILED
    from unclouded.patches.manifest_rows import summary_lines
    from unclouded.patches.roi import CHOICES, MANIFEST
    from unclouded.settings import load_settings

    execution = ExecutionOptions(shard, processes, dask, retry)
    if deliver is not None and not plan_only:
        require_uploadable(deliver)
    settings = load_settings(CurationSettings, regions, overrides or [], MAX_BYTES)
    folders = Folders()
    tasks = curating(settings, resolved(regions).parent, root, folders)
    for reason in folders.refused.values():
        typer.echo(f"nothing to choose: {reason}", err=True)
    notes = TaskLedger(root / WORK, attempts)
    if plan_only:
        planned = plan(tasks, notes, root)
        typer.echo(planned)
        raise typer.Exit(1 if planned.lacking else 0)
    require_writable(root)
    notes.invalidate(lost(Shard.parse(shard).of(tasks), notes))
    execution.do(tasks, notes, "curating regions")

    def write(rows: "list[Row]", failures: dict[str, str]) -> tuple[str, bool]:
        listed = write_results(root, tasks, notes, failures)
        _tell_remarks(rows)
        for line in summary_lines(listed, settings.screening):
            typer.echo(line)
        statuses = [row["status"] for row in listed if row["status"] != FAILED]
        return f"{statuses.count('kept'):,} of {len(statuses):,} candidates kept", "kept" in statuses

    status = finish(notes, tasks, "regions", root / MANIFEST, write)
    if deliver is not None:
        summary = [name for name in (CHOICES, MANIFEST) if (root / name).is_file()]
        status = max(status, execution.deliver(tasks, notes, root, deliver, outputs, summary))
    raise typer.Exit(status)


def _tell_remarks(rows: "list[Row]") -> None:
    """Say once what readers remark of many scenes."""
    regions: dict[str, dict[str, None]] = {}
    for row in rows:
        for remark in row["remarks"]:
            regions.setdefault(remark, {})[row["roi"]] = None
    for remark, names in regions.items():
        first, *others = names
        more = f" and {len(others):,} more" if others else ""
        typer.echo(f"{first}{more}: {remark}", err=True)
