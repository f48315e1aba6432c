"""Uploads of the outputs of done tasks: one task per task, with the same guarantees."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from unclouded.batch.storage import put, storage_of
from unclouded.batch.tasks import Row, Task, TaskLedger, content_id
from unclouded.errors import InputError
from unclouded.files import named, require_file, sha256

MARKERS = ".uploaded"
"""Folder in the storage with a record per task, written after all files that the record lists."""


@dataclass(frozen=True)
class Output:
    """Output file of a task.

    Attributes:
        name: Path relative to the output folder, and to the URL of the upload.
        sha256: Checksum recorded by the task; None where the task records none and the file on disk counts.
    """

    name: str
    sha256: str | None = None


Outputs = Callable[[Row], Iterable[Output]]
"""Returns the output files of a row; a file that lists or describes others comes last."""


@dataclass(frozen=True)
class UploadOutputs:
    """Upload of the outputs of one task; see :class:`~unclouded.batch.tasks.Task`.

    Every object has one writer: the task that made the file.

    Attributes:
        name: Name of the task whose outputs are uploaded.
        id: Hash of outputs and URL.
        folder: Output folder of all tasks.
        outputs: Files to upload, in this order.
        url: Destination.
    """

    name: str
    id: str
    folder: Path
    outputs: tuple[Output, ...]
    url: str

    def run(self) -> list[Row]:
        """Write missing objects, read all of them back, then write the record that lists them; return that record.

        Raises:
            InputError: An output is missing, or was changed after the task wrote it.
            OSError: An object read back differs from what was written.
        """
        fs, base = storage_of(self.url)
        listed, written = {}, 0
        for output in self.outputs:
            path = self.folder / output.name
            require_file(path)
            digest = sha256(path)
            if output.sha256 not in (None, digest):
                raise InputError(f"{named(path)} was changed after it was written; create it again, then upload it")
            put(path, f"{self.url}/{output.name}", digest)
            listed[output.name], written = digest, written + path.stat().st_size
        record = {"name": self.name, "files": listed, "bytes": written}
        fs.pipe_file(f"{base}/{MARKERS}/{self.name}.json", json.dumps(record, indent=1).encode())
        return [record]


def uploading(
    tasks: Sequence[Task], ledger: TaskLedger, folder: Path, url: str, outputs: Outputs
) -> list[UploadOutputs]:
    """Return one upload task for each done task that has outputs.

    Args:
        tasks: Tasks whose outputs are uploaded.
        ledger: Records of these tasks.
        folder: Output folder of all tasks.
        url: Destination.
        outputs: Returns the output files of a row.
    """
    jobs = []
    for task in tasks:
        files = tuple(dict.fromkeys(output for row in ledger.rows([task]) for output in outputs(row)))
        identity = content_id("upload 1", task.id, url, [[one.name, one.sha256] for one in files])
        if files:
            jobs.append(UploadOutputs(task.name, identity, folder, files, url))
    return jobs
