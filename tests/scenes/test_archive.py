import re
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unclouded.errors import InputError, MachineError
from unclouded.scenes import archive
from unclouded.scenes.archive import is_zip, unpack

EVERYTHING = re.compile(r".*")


def make(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def refused(path: Path, into: Path) -> str:
    into.mkdir(exist_ok=True)
    with pytest.raises((InputError, MachineError)) as error:
        unpack(path, into, EVERYTHING)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_only_what_is_wanted_is_unpacked(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", ("p/b.jp2", b"12"), ("p/c.txt", b"3"), ("p/d/e.jp2", b""))
    (tmp_path / "out").mkdir()
    unpack(path, tmp_path / "out", re.compile(r".*\.jp2"))
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").rglob("*.*")} == {"b.jp2": b"12", "e.jp2": b""}


def test_a_zip_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "b.zip").write_bytes(b"II*\0")
    assert is_zip(make(tmp_path / "a.tif", ("x", b"1"))) and not is_zip(tmp_path / "b.zip")


@settings(max_examples=60)
@given(data=st.data())
def test_fault_07_a_cut_zip_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    whole = make(tmp_path / "whole.zip", ("p/a", bytes(range(256)) * 9), ("p/b", b"2" * 99)).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: data.draw(st.integers(4, len(whole) - 1))])
    assert "cut.zip is not a whole zip (" in refused(tmp_path / "cut.zip", tmp_path / "out")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_fault_07_a_changed_byte_is_refused(tmp_path: Path, method: int) -> None:
    content = bytearray(make(tmp_path / "a.zip", ("p/a", zlib.compress(bytes(9_999)) * 9), method=method).read_bytes())
    content[60] ^= 1
    (tmp_path / "a.zip").write_bytes(content)
    assert "a.zip is not a whole zip (" in refused(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@given(data=st.data())
@settings(max_examples=40)
def test_fault_07_a_zip_with_other_bytes_gives_what_it_held_or_a_refusal(
    tmp_path: Path, method: int, data: st.DataObject
) -> None:
    held = {"p/a": bytes(range(256)) * 3, "p/b": b"2" * 99}
    whole = make(tmp_path / "a.zip", *held.items(), method=method).read_bytes()
    place = data.draw(st.integers(4, len(whole) - 1))
    other = data.draw(st.sampled_from([b"\xff", b"\0", b"\xff" * 8, b"\0" * 4, b"../", b"PK\x01\x02", b""]))
    (tmp_path / "a.zip").write_bytes(whole[:place] + other + whole[place + len(other) :])
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        with suppress(InputError):
            unpack(tmp_path / "a.zip", Path(folder), EVERYTHING)
        found = [path for path in Path(folder).rglob("*") if path.is_file()]
        assert all(held["p/a"].startswith(one) or held["p/b"].startswith(one) for one in map(Path.read_bytes, found))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_fault_07_damage_is_named_whatever_the_method(tmp_path: Path, method: int) -> None:
    content = bytearray(make(tmp_path / "a.zip", ("p/a", bytes(range(256)) * 9), method=method).read_bytes())
    content[60:90] = b"\xff" * 30
    (tmp_path / "a.zip").write_bytes(content)
    assert "a.zip is not a whole zip (" in refused(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("name", ["p/" + "a" * 256, "p/" + "é" * 128, "p/\x1b[31m", "p/\n"])
def test_fault_37_names_that_no_file_system_takes_are_refused(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / "a.zip", (name, b"1"))
    assert "a name that no product has" in refused(path, tmp_path / "out")


def test_fault_21_a_directory_larger_than_any_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "a.zip", *((f"p/{number}", b"") for number in range(30)))
    monkeypatch.setattr(archive, "MAX_DIRECTORY_BYTES", 1000)
    assert "has a directory of 1,490 bytes" in refused(path, tmp_path / "out")


def test_fault_21_what_unfolds_too_far_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", ("p/a.jp2", bytes(9 << 20)))
    assert " bytes to 9,437,184; it is a bomb" in refused(path, tmp_path / "out")


def test_fault_21_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "a.zip", ("p/a", b"12345"), ("p/b", b"12345"))
    monkeypatch.setattr(archive, "MAX_BYTES", 9)
    assert "unfolds to 10 bytes, expected at most 9" in refused(path, tmp_path / "out")
    monkeypatch.setattr(archive, "MAX_MEMBERS", 1)
    assert "holds 2 files, expected at most 1" in refused(path, tmp_path / "out")


def test_fault_21_a_member_larger_than_it_declares_is_refused(tmp_path: Path) -> None:
    content = make(tmp_path / "a.zip", ("p/a", b"7" * 5_000)).read_bytes()
    declared = (5_000).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(content.replace(declared, (50).to_bytes(4, "little")))
    assert "a.zip" in refused(tmp_path / "a.zip", tmp_path / "out")
    assert sum(p.stat().st_size for p in (tmp_path / "out").rglob("*") if p.is_file()) <= 50


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    "name", ["../a", "p/../../a", "/etc/a", "p/..", "C:/a", "p\\..\\a", link("p/a")], ids=lambda n: str(n)[:20]
)
def test_fault_22_names_that_lead_out_are_refused(tmp_path: Path, name: str | zipfile.ZipInfo) -> None:
    path = make(tmp_path / "a.zip", ("p/first", b"1"), (name, b"2"))
    assert "which leads out of it; do not trust it" in refused(path, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_fault_22_a_name_twice_is_refused(tmp_path: Path) -> None:
    assert "holds a name twice" in refused(make(tmp_path / "a.zip", ("p/a", b"1"), ("p/a", b"2")), tmp_path / "out")


def test_a_file_where_a_folder_should_be_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", ("p", b"1"), ("p/a", b"2"))
    assert "a.zip holds 'p' as a file and as a folder" in refused(path, tmp_path / "out")


def test_a_protected_zip_is_refused(tmp_path: Path) -> None:
    content = bytearray(make(tmp_path / "a.zip", ("p/a", b"1")).read_bytes())
    content[6] |= 1  # local header
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    assert "a.zip is not a whole zip" in refused(tmp_path / "a.zip", tmp_path / "out")


def test_fault_19_a_zip_of_something_else_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", ("holiday.jpg", b"1"))
    with pytest.raises(InputError, match="holds no Sentinel product; give the zip that Copernicus delivers"):
        unpack(path, tmp_path, re.compile("manifest.safe"))


def test_fault_32_a_full_disk_is_told_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full_disk: Callable[[], None]
) -> None:
    full_disk()
    assert "has 0 MiB free, expected 1 MiB to unpack" in refused(
        make(tmp_path / "a.zip", ("p/a", b"1")), tmp_path / "out"
    )
