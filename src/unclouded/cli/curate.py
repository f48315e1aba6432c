"""``unclouded curate``: make a data set like SEN12MS-CR."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unclouded.scale.curation import CurateRegion
    from unclouded.scale.running import Runner
    from unclouded.scale.tasks import TaskFolder


def curate(
    regions: Annotated[Path, typer.Argument(help="TOML file: settings, and a [[regions]] for each region.")],
    root: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    shard: Annotated[str, typer.Option(help="Part of the regions, such as 3/8; for job arrays.")] = "1/1",
    processes: Annotated[int, typer.Option(min=1, help="Regions at once.")] = 1,
    dask: Annotated[str | None, typer.Option(help="Address of a dask scheduler, or 'local' for one here.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try regions again that were set aside.")] = False,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="A setting, such as screening.haze=0.1.")] = None,
) -> None:
    """Cut scenes into triplets, screen them, and keep those without artifacts, with a manifest.

    Killed, it goes on where it was, and ends with the same manifest. The last shard to end writes it.
    """
    from unclouded.cli.progress import shown_progress
    from unclouded.scale.curation import WORK, curating
    from unclouded.scale.regions import CurationSettings
    from unclouded.scale.running import Shard, run_tasks
    from unclouded.scale.tasks import TaskFolder
    from unclouded.settings import load_settings

    mine = Shard.parse(shard)
    settings = load_settings(CurationSettings, regions, overrides or [])
    tasks = curating(settings, regions.resolve().parent, root)
    notes = TaskFolder(root / WORK)
    if retry:
        notes.forgive(tasks)
    with shown_progress() as told, _runner(processes, dask) as runner:
        run_tasks(mine.of(tasks), notes, runner, lambda done, total: told("curating regions", done, total))
    raise typer.Exit(_finish(notes, tasks, root))


def _finish(notes: "TaskFolder", tasks: "list[CurateRegion]", root: Path) -> int:
    """Write the manifest if no region is left to do; return the exit status."""
    from unclouded.files import remove_partial_files, sha256
    from unclouded.patches.layouts import MANIFEST
    from unclouded.patches.manifest import write_manifest

    failures = notes.failures(tasks)
    for name, reason in failures.items():
        typer.echo(f"{name} was set aside: {reason}", err=True)
    if left := notes.left(tasks):
        typer.echo(
            f"{len(left):,} of {len(tasks):,} regions are left to other shards; the last one writes the manifest"
        )
        return 1 if failures else 0
    for folder in ("done", "failed"):  # nobody is at work any more
        remove_partial_files(notes.path / folder)
    rows = notes.rows(tasks)
    write_manifest(root / MANIFEST, rows)
    kept = sum(row["status"] == "kept" for row in rows)
    typer.echo(
        f"{root / MANIFEST}: {kept:,} of {len(rows):,} candidates kept, {len(failures):,} of {len(tasks):,} regions "
        f"set aside, SHA-256 {sha256(root / MANIFEST)}"
    )
    return 1 if failures or not kept else 0


@contextmanager
def _runner(processes: int, dask: str | None) -> "Iterator[Runner]":
    from unclouded.scale.running import dask_client, in_processes, on_dask, serially

    if dask is None:
        yield serially if processes == 1 else in_processes(processes)
        return
    with dask_client(None if dask == "local" else dask, processes) as client:
        yield on_dask(client)
