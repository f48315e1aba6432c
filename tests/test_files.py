import errno
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unclouded.errors import InputError, MachineError
from unclouded.files import (
    as_room,
    machine_fault,
    named,
    read_small,
    remove_partial_files,
    require_apart,
    require_file,
    require_folder,
    require_new_file,
    require_room,
    require_writable,
    sha256,
    whole_file,
    write_json,
    write_text,
)


@pytest.fixture
def small_disk(mount_disk: Callable[[int], Path]) -> Path:
    """A disk of 64 KiB."""
    return mount_disk(64)


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_gets_its_name_at_the_end_of_the_block(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    with whole_file(path) as partial:
        partial.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half" and listing(path.parent) == ["a.txt"]


def test_the_temporary_file_keeps_the_suffix(tmp_path: Path) -> None:
    with whole_file(tmp_path / "a.tif") as partial:
        partial.touch()
        assert partial.suffix == ".tif" and partial.name.startswith(".a.") and partial.parent == tmp_path


def test_an_exception_keeps_the_existing_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with suppress(KeyError), whole_file(path) as partial:
        partial.write_text("new")
        raise KeyError
    assert path.read_text() == "old" and listing(tmp_path) == ["a.txt"]


def test_fault_02_a_killed_writer_keeps_the_existing_file_and_leaves_a_partial_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    program = (
        "import sys, time; from pathlib import Path; from unclouded.files import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as partial:\n"
        "    partial.write_text('half'); print('ready', flush=True); time.sleep(60)"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"ready\n"
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    assert path.read_text() == "old" and len(listing(tmp_path)) == 2
    assert remove_partial_files(tmp_path) == 1
    assert listing(tmp_path) == ["a.txt"]


def test_only_partial_files_are_removed(tmp_path: Path) -> None:
    for name in (".a.1-2.partial.tif", ".a.1-2.partial", "a.partial.tif", ".hidden", "a.tif"):
        (tmp_path / name).touch()
    assert remove_partial_files(tmp_path) == 2
    assert listing(tmp_path) == [".hidden", "a.partial.tif", "a.tif"]


def test_fault_32_a_full_disk_keeps_the_existing_file_and_leaves_no_partial_one(small_disk: Path) -> None:
    path = small_disk / "a.txt"
    write_text(path, "old")
    with pytest.raises(MachineError, match=r"a.txt cannot be written \(No space left on device\); free some space"):
        write_text(path, "x" * 100_000)
    assert path.read_text() == "old" and listing(small_disk) == ["a.txt"]
    write_text(path, "new")
    assert path.read_text() == "new"


def test_fault_32_a_full_disk_is_reported_before_the_work(small_disk: Path) -> None:
    require_writable(small_disk)
    (small_disk / "full").write_bytes(b"x" * (64 << 10))
    with pytest.raises(MachineError, match="No space left on device"):
        require_writable(small_disk)


def test_fault_33_a_read_only_folder_is_reported_before_the_work(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for write in (require_writable, lambda folder: write_text(folder / "a.txt", "new")):
        with pytest.raises(MachineError, match=r"cannot be written \(Read-only file system\); choose a folder"):
            write(small_disk)


def test_fault_33_a_folder_of_another_user_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Path, target: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "replace", denied)
    with pytest.raises(MachineError, match=r"cannot be written \(Permission denied\); choose a folder you may write"):
        write_text(tmp_path / "a.txt", "new")
    assert listing(tmp_path) == []


def test_fault_33_a_file_system_without_new_folders_is_reported() -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("this system has no /proc, where no folder can be made")
    for write in (require_writable, lambda folder: write_text(folder / "a.txt", "new")):
        with pytest.raises(InputError, match=r"^/proc/unclouded cannot be made here; choose another place"):
            write(Path("/proc/unclouded"))


def test_an_output_that_is_an_input_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif").touch()
    (tmp_path / "same.tif").hardlink_to(tmp_path / "a.tif")
    for written in ("a.tif", "same.tif", "./../" + tmp_path.name + "/a.tif"):
        with pytest.raises(InputError, match="is the input itself; choose another place for the output"):
            require_apart(tmp_path / written, tmp_path / "a.tif")
    for written, source in (("b.tif", "a.tif"), ("b.tif", "b.tif"), ("a\0b", "a.tif"), ("a" * 300, "a.tif")):
        require_apart(tmp_path / written, tmp_path / source)


def test_an_output_in_an_input_folder_is_refused(tmp_path: Path) -> None:
    for written in ("S2.SAFE", "S2.SAFE/out/clear.tif"):
        (tmp_path / "S2.SAFE").mkdir(exist_ok=True)
        with pytest.raises(
            InputError, match=r"(lies in the input .*S2\.SAFE|is the input itself); choose another place"
        ):
            require_apart(tmp_path / written, tmp_path / "S2.SAFE")
    require_apart(tmp_path / "S2.SAFE.out" / "clear.tif", tmp_path / "S2.SAFE")


@pytest.mark.parametrize(
    ("count", "needed", "free"),
    [
        (0, "0 MiB", "0 MiB"),
        (1, "1 MiB", "0 MiB"),
        (999 << 20, "999 MiB", "999 MiB"),
        (1_600 << 20, "1.6 GiB", "1.5 GiB"),
    ],
)
def test_required_space_is_rounded_up_and_free_space_down(count: int, needed: str, free: str) -> None:
    assert (as_room(count), as_room(count, math.floor)) == (needed, free)


def test_an_error_without_remedy_is_unchanged(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Resource deadlock avoided"), whole_file(tmp_path / "a.txt"):
        raise OSError(errno.EDEADLK, os.strerror(errno.EDEADLK))


class LibraryError(Exception):
    """As of a library that is not written in Python."""


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        OSError(errno.EIO, os.strerror(errno.EIO)),
        OSError(errno.EROFS, os.strerror(errno.EROFS)),
        OSError("IOError: No space left on device (os error 28)"),
        LibraryError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail] PytorchStreamWriter failed writing file data/0: Disk quota exceeded"),
    ],
    ids=str,
)
def test_fault_32_a_fault_of_the_disk_is_one_line_in_any_library(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"a\.txt cannot be written \(") as raised, whole_file(tmp_path / "a.txt"):
        raise error
    assert str(machine_fault(raised.value)) == str(raised.value)
    assert machine_fault(error) is not None and "\n" not in str(raised.value)


def test_fault_32_the_cause_of_an_input_error_is_a_fault_of_the_machine() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/disk/a.txt")
    wrapped = InputError("a.txt is no good")
    wrapped.__cause__ = full
    fault = machine_fault(wrapped)
    assert fault is not None and str(fault).startswith("/disk/a.txt cannot be written (No space left on device)")


def test_fault_38_a_disk_that_fails_on_reading_is_reported_as_such() -> None:
    fault = machine_fault(OSError(errno.EIO, os.strerror(errno.EIO), "/disk/a.txt"))
    assert str(fault) == "/disk/a.txt cannot be read or written (Input/output error); check the disk and run again"


@pytest.mark.parametrize(
    "error",
    [InputError("No space left on device, as its name"), PermissionError(errno.EACCES, "no"), KeyError("a")],
    ids=["input", "permission", "bug"],
)
def test_faults_of_the_input_and_bugs_are_not_faults_of_the_machine(error: Exception) -> None:
    assert machine_fault(error) is None


def test_a_folder_is_refused_as_a_new_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder, expected the name of a file"):
        require_new_file(tmp_path)
    with pytest.raises(InputError, match="File name too long"):
        require_new_file(tmp_path / ("a" * 300))
    require_new_file(tmp_path / "new" / "a.json")
    assert listing(tmp_path / "new") == []


def test_a_writable_folder_is_created_and_stays_empty(tmp_path: Path) -> None:
    require_writable(tmp_path / "runs" / "first")
    assert listing(tmp_path / "runs" / "first") == []


def test_a_file_in_place_of_a_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(InputError, match=r"a/b.txt cannot be written \(.*\); choose another name"):
        write_text(tmp_path / "a" / "b.txt", "new")


def test_a_folder_in_place_of_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match=r"a cannot be written \(.*\); choose another name"):
        write_text(tmp_path / "a", "new")
    assert listing(tmp_path) == ["a"]


@pytest.mark.parametrize(
    "name", ["a" * 255, "a" * 251 + ".tif", "雲" * 85, "a." + "x" * 253, "雲 und Ø.tif", "%2e?#.tif"]
)
def test_fault_37_every_valid_name_is_written(tmp_path: Path, name: str) -> None:
    write_text(tmp_path / name, "new")
    assert listing(tmp_path) == [name]


def test_fault_37_a_name_that_is_too_long_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"File name too long.*; choose a shorter name and run again"):
        write_text(tmp_path / ("a" * 256), "new")
    assert listing(tmp_path) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=40)
@given(json_values)
def test_json_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, content: object) -> None:
    path = tmp_path_factory.getbasetemp() / "content.json"
    write_json(path, content)
    assert json.loads(path.read_text(encoding="utf-8")) == content


def test_json_has_null_for_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"mae": [float("nan"), float("inf"), 0.5]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"mae": [None, None, 0.5]}


def test_a_small_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_small(tmp_path / "a", limit=5) == b"12345"


def test_a_file_above_the_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    with pytest.raises(InputError, match="a has more than 4 bytes, expected fewer; check that it is the right file"):
        read_small(tmp_path / "a", limit=4)


@pytest.mark.parametrize("name", ["absent", "", "a" * 300, "a\0b", "a" * 5_000])
def test_a_path_that_is_not_a_file_is_refused_in_one_short_line(tmp_path: Path, name: str) -> None:
    for check in (require_file, read_small):
        with pytest.raises(InputError, match=r"is not a file( \(.*\))?; check the path") as refused:
            check(tmp_path / name)
        assert len(str(refused.value)) < 500 and "\0" not in str(refused.value)


def test_a_path_that_is_not_a_folder_is_refused(tmp_path: Path) -> None:
    require_folder(tmp_path)
    (tmp_path / "file").touch()
    for name in ("file", "absent", "a" * 300):
        with pytest.raises(InputError, match=r"is not a folder( \(.*\))?; check the path"):
            require_folder(tmp_path / name)


def test_a_device_is_not_a_file() -> None:
    with pytest.raises(InputError, match="/dev/zero is not a file"):
        read_small(Path("/dev/zero"))


def test_a_name_of_two_lines_is_shown_on_one() -> None:
    assert named(Path("a\nb")) == r"'a\nb'"
    assert named(Path("雲 b.tif")) == "雲 b.tif"


def test_the_hash_of_three_letters_is_the_published_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_fault_32_output_larger_than_the_disk_is_refused_before_the_start(tmp_path: Path) -> None:
    require_room(tmp_path, 1, "test")
    with pytest.raises(MachineError, match=r"GiB free, expected 1073741824\.0 GiB to unpack a\.zip; free some space"):
        require_room(tmp_path, 1 << 60, "unpack a.zip")
