"""Outputs of done tasks, delivered to a storage: one task for each task, with the same promises."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from unclouded.batch.storage import put, storage_of
from unclouded.batch.tasks import Row, Task, TaskLedger, content_id
from unclouded.errors import InputError
from unclouded.files import named, require_file, sha256

MARKERS = ".delivered"
"""Folder in the storage with a note for each task, written after all that it lists."""


@dataclass(frozen=True)
class Output:
    """A file of a task.

    Attributes:
        name: Below the folder of all outputs, and below the address.
        sha256: As its task told it; None where it told none, and what is there counts.
    """

    name: str
    sha256: str | None = None


Outputs = Callable[[Row], Iterable[Output]]
"""Names the files that a row of a task tells of; what vouches for others comes last."""


@dataclass(frozen=True)
class UploadOutputs:
    """Deliver the outputs of one task; see :class:`~unclouded.batch.tasks.Task`.

    An object has one writer, the task whose output it is.

    Attributes:
        name: Of the task.
        id: Hash of outputs and address.
        folder: Of all outputs.
        outputs: What is delivered, in this order.
        url: Where to.
    """

    name: str
    id: str
    folder: Path
    outputs: tuple[Output, ...]
    url: str

    def run(self) -> list[Row]:
        """Write what is not there, read all of it back, then write the note that lists it; return that note.

        Raises:
            InputError: An output is gone, or changed after it was made.
            OSError: The storage holds something else than was written.
        """
        fs, base = storage_of(self.url)
        listed, written = {}, 0
        for output in self.outputs:
            path = self.folder / output.name
            require_file(path)
            digest = sha256(path)
            if output.sha256 not in (None, digest):
                raise InputError(f"{named(path)} was changed after it was made; make it again, then deliver it")
            put(path, f"{self.url}/{output.name}", digest)
            listed[output.name], written = digest, written + path.stat().st_size
        note = {"name": self.name, "files": listed, "bytes": written}
        fs.pipe_file(f"{base}/{MARKERS}/{self.name}.json", json.dumps(note, indent=1).encode())
        return [note]


def uploading(
    tasks: Sequence[Task], ledger: TaskLedger, folder: Path, url: str, outputs: Outputs
) -> list[UploadOutputs]:
    """Return a task for each of those that are done and have outputs.

    Args:
        tasks: Whose outputs are delivered.
        ledger: What is known of them.
        folder: Of all outputs.
        url: Where they are delivered.
        outputs: The files of a row.
    """
    jobs = []
    for task in tasks:
        files = tuple(dict.fromkeys(output for row in ledger.rows([task]) for output in outputs(row)))
        identity = content_id("deliver 1", task.id, url, [[one.name, one.sha256] for one in files])
        if files:
            jobs.append(UploadOutputs(task.name, identity, folder, files, url))
    return jobs
