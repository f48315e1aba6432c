"""``unclouded curate``: make a data set like SEN12MS-CR."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unclouded.cli.tasks import Crew, Dask, Processes, Retry, Shards, finish

if TYPE_CHECKING:
    from unclouded.scale.tasks import Row


def curate(
    regions: Annotated[Path, typer.Argument(help="TOML file: settings, and a [[regions]] for each region.")],
    root: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    shard: Shards = "1/1",
    processes: Processes = 1,
    dask: Dask = None,
    retry: Retry = False,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="A setting, such as screening.haze=0.1.")] = None,
) -> None:
    """Cut scenes into triplets, screen them, and keep those without artifacts, with a manifest.

    Killed, it goes on where it was, and ends with the same manifest. The last shard to end writes it.
    """
    from unclouded.patches.layouts import MANIFEST
    from unclouded.patches.manifest import write_manifest
    from unclouded.scale.choosing import Folders
    from unclouded.scale.curation import WORK, curating, write_choices
    from unclouded.scale.regions import MAX_BYTES, CurationSettings
    from unclouded.scale.tasks import TaskFolder
    from unclouded.settings import load_settings

    crew = Crew(shard, processes, dask, retry)
    settings = load_settings(CurationSettings, regions, overrides or [], MAX_BYTES)
    folders = Folders()
    tasks = curating(settings, regions.resolve().parent, root, folders)
    for reason in folders.refused.values():
        typer.echo(f"nothing to choose: {reason}", err=True)
    notes = TaskFolder(root / WORK)
    crew.do(tasks, notes, "curating regions")

    def write(rows: "list[Row]", _: dict[str, str]) -> tuple[str, bool]:
        write_manifest(root / MANIFEST, rows)
        write_choices(root, tasks)
        kept = sum(row["status"] == "kept" for row in rows)
        return f"{kept:,} of {len(rows):,} candidates kept", kept > 0

    raise typer.Exit(finish(notes, tasks, "regions", root / MANIFEST, write))
