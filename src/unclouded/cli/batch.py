"""What commands that do many tasks share: their options, who does the tasks, and what is said in the end."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unclouded.cli.options import note
from unclouded.machine import capped

if TYPE_CHECKING:
    from unclouded.batch.executors import Runner
    from unclouded.batch.tasks import Row, Task, TaskLedger
    from unclouded.batch.upload import Outputs

Shards = Annotated[str, typer.Option(help="Part of the work, such as 3/8; for job arrays.")]
Processes = Annotated[int, typer.Option(min=1, help="How much is done at once.")]
Dask = Annotated[str | None, typer.Option(help="Address of a dask scheduler, or 'local' for one here.")]
Attempts = Annotated[int, typer.Option(min=1, help="How often each may be begun; more where jobs are killed.")]
Retry = Annotated[bool, typer.Option("--retry", help="Try again what was set aside.")]
UploadTo = Annotated[str | None, typer.Option(help="Storage to copy all outputs to, such as s3://bucket/folder.")]


@dataclass(frozen=True)
class ExecutionOptions:
    """Who does which part of the tasks.

    Attributes:
        shard: Part of the tasks, such as ``3/8``.
        processes: How many at once; on a dask cluster of our own, its workers.
        dask: Address of a scheduler, or ``local``.
        retry: Whether tasks that were set aside are tried again.
    """

    shard: str = "1/1"
    processes: int = 1
    dask: str | None = None
    retry: bool = False

    def do(self, tasks: "Sequence[Task]", notes: "TaskLedger", stage: str) -> None:
        """Do the tasks of this shard, each until it is done or set aside, and show how far they are.

        Args:
            tasks: Of all shards.
            notes: What is known of them.
            stage: What the bar says, such as "curating regions".
        """
        self._do(self._mine(tasks), notes, stage)

    def deliver(
        self,
        tasks: "Sequence[Task]",
        notes: "TaskLedger",
        folder: Path,
        url: str,
        outputs: "Outputs",
        summary: Sequence[str],
    ) -> int:
        """Deliver the outputs of this shard's tasks, and the summary once all shards have delivered; return the status.

        Args:
            tasks: Of all shards.
            notes: What is known of them.
            folder: Of all outputs.
            url: Where to.
            outputs: The files of a row.
            summary: Names in the folder; they go last, for they vouch for the others.
        """
        from unclouded.batch.storage import put, shown
        from unclouded.batch.upload import uploading
        from unclouded.files import sha256

        self._do(uploading(self._mine(tasks), notes, folder, url, outputs), notes, "delivering")
        jobs = uploading(tasks, notes, folder, url, outputs)
        failures, left = notes.failures(jobs), len(notes.left(jobs)) + len(notes.left(tasks))
        for name, reason in failures.items():
            typer.echo(f"{name} was not delivered: {reason}", err=True)
        if failures or left:
            typer.echo(f"{shown(url)} lacks {' and '.join(summary)} until everything else is there")
            return 1 if failures else 0
        for name in summary:
            put(folder / name, f"{url}/{name}", sha256(folder / name))
        delivered = sum(row["bytes"] for row in notes.rows(jobs))
        typer.echo(f"{shown(url)}: {delivered / 2**20:,.1f} MiB delivered and read back")
        return 0

    def _mine(self, tasks: "Sequence[Task]") -> "list[Task]":
        from unclouded.batch.executors import Shard

        return Shard.parse(self.shard).of(tasks)

    def _do(self, mine: "Sequence[Task]", notes: "TaskLedger", stage: str) -> None:
        from unclouded.batch.executors import run_tasks, stoppable
        from unclouded.cli.progress import progress_bar

        if self.retry:
            notes.retry_failed(mine)
        with progress_bar() as on_progress, stoppable(), self._runner() as runner:
            run_tasks(mine, notes, runner, lambda done, total: on_progress(stage, done, total))

    @contextmanager
    def _runner(self) -> "Iterator[Runner]":
        from unclouded.batch.executors import dask_client, on_dask

        if self.dask is None:
            yield in_so_many(self.processes)
            return
        with dask_client(None if self.dask == "local" else self.dask, started(self.processes)) as client:
            yield on_dask(client)


def started(processes: int) -> int:
    """Return how many processes to start: no more than suit this machine, with a note."""
    count, remark = capped("--processes", processes)
    if remark:
        note(remark)
    return count


def in_so_many(processes: int) -> "Runner":
    """Return who does tasks in so many processes; they share the processors, not each of them all."""
    from unclouded.batch.executors import in_processes, serially

    processes = started(processes)
    if processes == 1:
        return serially
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))  # children inherit it
    return in_processes(processes)


def finish(
    notes: "TaskLedger",
    tasks: "Sequence[Task]",
    what: str,
    summary: Path,
    write: "Callable[[list[Row], dict[str, str]], tuple[str, bool]]",
) -> int:
    """Say what was set aside; where nothing is left to do, write the summary of all and say where it is.

    Args:
        notes: What is known of the tasks.
        tasks: Of all shards.
        what: What a task is about, in the plural.
        summary: What is written in the end.
        write: Writes it, and whatever belongs to it, from the rows of all tasks and the reasons of those set aside, by
            name; returns what it counted, and whether there is anything in it.

    Returns:
        The exit status: 1 where something was set aside, or the summary is empty.
    """
    from unclouded.files import remove_partial_files, sha256

    failures = notes.failures(tasks)
    for name, reason in failures.items():
        typer.echo(f"{name} was set aside: {reason}", err=True)
    if left := notes.left(tasks):
        typer.echo(f"{len(left):,} of {len(tasks):,} {what} are left to other shards; the last one ends the work")
        return 1 if failures else 0
    for folder in ("done", "failed"):  # nobody is at work on these any more
        remove_partial_files(notes.path / folder, {task.id for task in tasks})
    counted, filled = write(notes.rows(tasks), failures)
    aside = f"{len(failures):,} of {len(tasks):,} {what} set aside"
    typer.echo(f"{summary}: {counted}, {aside}, SHA-256 {sha256(summary)}")
    return 1 if failures or not filled else 0
