import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from unclouded.batch.executors import run_tasks, serially
from unclouded.batch.tasks import Row, TaskLedger, content_id
from unclouded.batch.upload import Output, uploading
from unclouded.files import sha256


@dataclass(frozen=True)
class Writing:
    """Writes one file of its name; task ``none`` writes nothing."""

    name: str
    folder: Path

    @property
    def id(self) -> str:
        return content_id(self.name)

    def run(self) -> list[Row]:
        if self.name == "none":
            return []
        (self.folder / self.name).mkdir(parents=True, exist_ok=True)
        path = self.folder / self.name / "a.txt"
        path.write_text(self.name)
        return [{"file": f"{self.name}/a.txt", "sha256": sha256(path)}]


def outputs(row: Row) -> list[Output]:
    return [Output(row["file"], row["sha256"])]


@pytest.fixture
def bucket() -> Iterator[MemoryFileSystem]:
    fs = MemoryFileSystem()
    yield fs
    if fs.exists("/d"):
        fs.rm("/d", recursive=True)


@pytest.fixture
def done(tmp_path: Path) -> tuple[list[Writing], TaskLedger]:
    tasks = [Writing(name, tmp_path / "out") for name in ("a", "b", "none")]
    ledger = TaskLedger(tmp_path / "notes")
    run_tasks(tasks, ledger, serially)
    return tasks, ledger


def test_outputs_are_uploaded_with_a_record_that_lists_them(
    done: tuple[list[Writing], TaskLedger], bucket: MemoryFileSystem, tmp_path: Path
) -> None:
    tasks, ledger = done
    jobs = uploading(tasks, ledger, tmp_path / "out", "memory://d/x", outputs)
    assert [job.name for job in jobs] == ["a", "b"]
    assert run_tasks(jobs, ledger, serially) == {}
    assert bucket.find("/d/x") == [
        "/d/x/.uploaded/a.json",
        "/d/x/.uploaded/b.json",
        "/d/x/a/a.txt",
        "/d/x/b/a.txt",
    ]
    note = json.loads(bucket.cat_file("/d/x/.uploaded/b.json"))
    assert note == {"name": "b", "files": {"b/a.txt": sha256(tmp_path / "out" / "b" / "a.txt")}, "bytes": 1}


def test_the_record_is_uploaded_after_all_files_that_it_lists(
    done: tuple[list[Writing], TaskLedger],
    bucket: MemoryFileSystem,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks, ledger = done
    (job, _) = uploading(tasks, ledger, tmp_path / "out", "memory://d/x", outputs)
    troubles = [ConnectionError("reset"), ConnectionError("reset")]
    put_file = MemoryFileSystem.put_file

    def shaky(*arguments: object) -> None:
        if troubles:
            raise troubles.pop()
        put_file(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(MemoryFileSystem, "put_file", shaky)
    endings = []
    for left in (0, 0, 2):
        endings.append(ledger.attempt(job))
        assert len(bucket.find("/d/x")) == left
    assert endings == ["retry", "retry", "done"]


def test_uploaded_files_are_not_written_again(
    done: tuple[list[Writing], TaskLedger],
    bucket: MemoryFileSystem,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks, ledger = done
    (job, _) = uploading(tasks, ledger, tmp_path / "out", "memory://d/x", outputs)
    job.run()
    monkeypatch.setattr(MemoryFileSystem, "put_file", pytest.fail)
    job.run()  # as after a kill between the last object and the note
    assert ledger.attempt(job) == "done"


def test_fault_42_a_changed_or_missing_output_is_not_uploaded(
    done: tuple[list[Writing], TaskLedger], bucket: MemoryFileSystem, tmp_path: Path
) -> None:
    tasks, ledger = done
    jobs = uploading(tasks, ledger, tmp_path / "out", "memory://d/x", outputs)
    (tmp_path / "out" / "a" / "a.txt").write_text("A")
    (tmp_path / "out" / "b" / "a.txt").unlink()
    failures = run_tasks(jobs, ledger, serially)
    assert "a.txt was changed after it was written" in failures["a"] and "a.txt is not a file" in failures["b"]
    assert bucket.find("/d") == []


def test_other_outputs_and_other_places_are_other_tasks(done: tuple[list[Writing], TaskLedger], tmp_path: Path) -> None:
    tasks, ledger = done
    ids = {
        job.id for url in ("memory://d/x", "memory://d/y") for job in uploading(tasks, ledger, tmp_path, url, outputs)
    }
    assert len(ids) == 4
