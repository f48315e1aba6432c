"""Execution of task lists for ``batch``, ``curate`` and the data checks: options, processes, summary and upload."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unclouded.cli.logging import logger
from unclouded.cli.options import EXECUTION, OUTPUT
from unclouded.machine import capped

if TYPE_CHECKING:
    from unclouded.batch.executors import Runner
    from unclouded.batch.tasks import Row, Task, TaskLedger
    from unclouded.batch.upload import Outputs

Shard = Annotated[
    str,
    typer.Option(help="Part of the work for one job of a job array, such as 3/8.", rich_help_panel=EXECUTION),
]
Processes = Annotated[
    int, typer.Option(min=1, help="Number of processes, or of workers with --dask local.", rich_help_panel=EXECUTION)
]
Dask = Annotated[
    str | None,
    typer.Option(help="Address of a dask scheduler, or 'local' to start a cluster here.", rich_help_panel=EXECUTION),
]
Attempts = Annotated[
    int,
    typer.Option(
        min=1,
        help="Attempts per task before it counts as failed; raise it where jobs are killed often.",
        rich_help_panel=EXECUTION,
    ),
]
Retry = Annotated[bool, typer.Option("--retry", help="Try failed tasks again.", rich_help_panel=EXECUTION)]
UploadTo = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="Storage to copy all outputs to, such as s3://bucket/folder.", rich_help_panel=OUTPUT
    ),
]


@dataclass(frozen=True)
class ExecutionOptions:
    """How and where a list of tasks is run.

    Attributes:
        shard: Part of the tasks, such as ``3/8``.
        processes: Number of processes; with ``dask="local"``, of workers.
        dask: Address of a scheduler, or ``local``.
        attempts: Attempts per task before it counts as failed.
        retry: Whether failed tasks are tried again.
        upload_to: Address of the storage that all outputs are copied to, if any.
    """

    shard: Shard = "1/1"
    processes: Processes = 1
    dask: Dask = None
    attempts: Attempts = 3
    retry: Retry = False
    upload_to: UploadTo = None

    def require_uploadable(self) -> None:
        """Refuse a storage that cannot be written.

        Raises:
            InputError: States why.
        """
        if self.upload_to is not None:
            from unclouded.batch.storage import require_uploadable

            require_uploadable(self.upload_to)

    def run(self, tasks: "Sequence[Task]", ledger: "TaskLedger", stage: str) -> None:
        """Run the tasks of this shard until each is done or failed, with a progress bar.

        Args:
            tasks: Tasks of all shards.
            ledger: Records of the tasks.
            stage: Label of the progress bar, such as "curating regions".
        """
        self._run(self._shard_of(tasks), ledger, stage)

    def upload(
        self,
        tasks: "Sequence[Task]",
        ledger: "TaskLedger",
        folder: Path,
        outputs: "Outputs",
        summary: Sequence[str],
    ) -> int:
        """Upload the outputs of this shard's tasks if requested; the shard that completes the upload adds the summary.

        Args:
            tasks: Tasks of all shards.
            ledger: Records of the tasks.
            folder: Folder of all outputs.
            outputs: Returns the files of a row.
            summary: File names in the folder, uploaded last because they vouch for all others.

        Returns:
            Exit status.
        """
        if (url := self.upload_to) is None:
            return 0
        from unclouded.batch.storage import put, shown
        from unclouded.batch.upload import uploading
        from unclouded.files import sha256

        self._run(uploading(self._shard_of(tasks), ledger, folder, url, outputs), ledger, "uploading")
        uploads = uploading(tasks, ledger, folder, url, outputs)
        failures, left = ledger.failures(uploads), len(ledger.pending(uploads)) + len(ledger.pending(tasks))
        for name, reason in failures.items():
            logger.error(f"{name} was not uploaded: {reason}")
        if failures or left:
            typer.echo(f"{shown(url)} lacks {' and '.join(summary)} until everything else is there")
            return 1 if failures else 0
        for name in summary:
            put(folder / name, f"{url}/{name}", sha256(folder / name))
        uploaded = sum(row["bytes"] for row in ledger.rows(uploads))
        typer.echo(f"{shown(url)}: {uploaded / 2**20:,.1f} MiB uploaded and read back")
        return 0

    def _shard_of(self, tasks: "Sequence[Task]") -> "list[Task]":
        from unclouded.batch.executors import Shard as TaskShard

        return TaskShard.parse(self.shard).of(tasks)

    def _run(self, tasks: "Sequence[Task]", ledger: "TaskLedger", stage: str) -> None:
        from unclouded.batch.executors import run_tasks, stoppable
        from unclouded.cli.progress import progress_bar

        if self.retry:
            ledger.retry_failed(tasks)
        with progress_bar() as on_progress, stoppable(), self._runner() as runner:
            run_tasks(tasks, ledger, runner, on_progress, stage)

    @contextmanager
    def _runner(self) -> "Iterator[Runner]":
        from unclouded.batch.executors import dask_client, on_dask

        if self.dask is None:
            yield process_runner(self.processes)
            return
        address = None if self.dask == "local" else self.dask
        with dask_client(address, capped_processes(self.processes)) as client:
            yield on_dask(client)


def capped_processes(processes: int) -> int:
    """Number of processes to start, at most what suits this machine; a lower number is reported."""
    count, remark = capped("--processes", processes)
    if remark:
        logger.warning(remark)
    return count


def process_runner(processes: int) -> "Runner":
    """Runner of tasks in this process, or in several that share the processor cores."""
    from unclouded.batch.executors import in_processes, serially

    processes = capped_processes(processes)
    if processes == 1:
        return serially
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))  # inherited by children
    return in_processes(processes)


def finish(
    ledger: "TaskLedger",
    tasks: "Sequence[Task]",
    noun: str,
    summary: Path,
    write: "Callable[[list[Row], dict[str, str]], tuple[str, bool]]",
) -> int:
    """Report failed tasks and, once no task of any shard is left, write and report the summary.

    Args:
        ledger: Records of the tasks.
        tasks: Tasks of all shards.
        noun: Plural noun for the tasks, such as "scenes".
        summary: Summary file.
        write: Called with the rows of all tasks and the reasons of failed ones by name; writes the summary and its
            companions, and returns a count in words and whether the summary holds anything.

    Returns:
        Exit status: 1 if a task failed or the summary is empty.
    """
    from unclouded.files import remove_partial_files, sha256

    failures = ledger.failures(tasks)
    for name, reason in failures.items():
        logger.error(f"{name} failed: {reason}")
    if left := ledger.pending(tasks):
        typer.echo(f"{len(left):,} of {len(tasks):,} {noun} are left to other shards; the last one writes {summary}")
        return 1 if failures else 0
    for folder in ("done", "failed"):  # no shard is writing here any more
        remove_partial_files(ledger.path / folder, {task.id for task in tasks})
    counted, filled = write(ledger.rows(tasks), failures)
    typer.echo(f"{summary}: {counted}, {len(failures):,} of {len(tasks):,} {noun} failed, SHA-256 {sha256(summary)}")
    return 1 if failures or not filled else 0
