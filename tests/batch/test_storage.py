import io
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from unclouded.batch import storage
from unclouded.batch.storage import fetched, put, require_uploadable, shown, storage_of, version_of
from unclouded.errors import InputError
from unclouded.files import sha256


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def bucket() -> Iterator[MemoryFileSystem]:
    """A storage in memory with a product of two files, and an image."""
    fs = MemoryFileSystem()
    fs.pipe({"/b/S1.SAFE/manifest.safe": b"<m/>", "/b/S1.SAFE/measurement/vv.tiff": b"vv", "/b/s2.tif": b"image"})
    yield fs
    fs.rm("/b", recursive=True)


def test_fault_41_a_storage_without_metadata_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Access\nDenied")

    monkeypatch.setattr(MemoryFileSystem, "info", refuse)
    with pytest.raises(
        InputError, match=r"memory://b/s2.tif cannot be read \(PermissionError: Access Denied\); check URL"
    ):
        version_of("memory://secret@b/s2.tif")


@pytest.mark.parametrize(
    "url",
    ["reference://x", "zip://x", "dask://x", "ftp://h/x", "ssh://h/x", "github://a", "data://x", "S3://b/x", "://x"],
)
def test_unsupported_protocols_are_rejected_before_anything_is_opened(url: str) -> None:
    for ask in (storage_of, version_of, require_uploadable):
        with pytest.raises(InputError, match="expected one of file, http, https, s3, gs, az, abfs; download it first"):
            ask(url)


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    with fetched(str(tmp_path / "s2.tif"), tmp_path / "scratch") as path:
        assert path == tmp_path / "s2.tif"
    assert not (tmp_path / "scratch").exists()


def test_a_file_is_fetched_whole_with_its_time_and_removed(bucket: MemoryFileSystem, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "half").touch()  # of a killed attempt
    with fetched("memory://b/s2.tif", tmp_path / "scratch") as path:
        assert path.name == "s2.tif" and path.read_bytes() == b"image"
        assert [one.name for one in path.parent.iterdir()] == ["s2.tif"]
        assert abs(path.stat().st_mtime - bucket.modified("/b/s2.tif").timestamp()) < 0.01
    assert not (tmp_path / "scratch").exists()


def test_a_product_is_fetched_as_a_folder(bucket: MemoryFileSystem, tmp_path: Path) -> None:
    with fetched("memory://b/S1.SAFE/", tmp_path / "scratch") as path:
        assert path.name == "S1.SAFE" and (path / "measurement" / "vv.tiff").read_bytes() == b"vv"
        assert (path / "manifest.safe").is_file()


def test_a_local_folder_is_a_storage_too(tmp_path: Path) -> None:
    (tmp_path / "in" / "S2.SAFE").mkdir(parents=True)
    (tmp_path / "in" / "S2.SAFE" / "manifest.safe").write_text("m")
    os.utime(tmp_path / "in" / "S2.SAFE" / "manifest.safe", (1e9, 1e9))
    with fetched(f"file://{tmp_path}/in/S2.SAFE", tmp_path / "scratch") as path:
        moment = datetime.fromtimestamp((path / "manifest.safe").stat().st_mtime, UTC)
        assert moment == datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)


@pytest.mark.enable_socket  # the loopback alone
def test_a_web_server_is_a_storage_and_a_new_signature_is_not_a_new_version(tmp_path: Path) -> None:
    (tmp_path / "s2.tif").write_bytes(b"image")
    os.utime(tmp_path / "s2.tif", (1e9, 1e9))
    handler = partial(QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/s2.tif"
        with fetched(f"{url}?signature=1", tmp_path / "scratch") as path:
            assert (path.name, path.read_bytes(), path.stat().st_mtime) == ("s2.tif", b"image", 1e9)
        assert version_of(f"{url}?signature=1") == version_of(f"{url}?signature=2")
        server.shutdown()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("HTTP/1.1 404 No\r\n\r\n", "does not exist"),
        ("HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\n", "declares a length"),
        ("HTTP/1.1 200 OK\r\n\r\n", "of unknown size"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n", r"expected a product of at most"),
        ("HTTP/1.1 302 Found\r\nLocation: ftp://host/x\r\n\r\n", "leads elsewhere"),
        ("HELLO\r\n\r\n", "does not answer in HTTP"),
    ],
)
@pytest.mark.enable_socket  # the loopback alone
def test_fault_41_an_unexpected_response_of_a_web_server_is_reported(answer: str, reason: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(65_536)
                        connection.sendall(answer.encode("latin-1"))

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        with pytest.raises(InputError, match=reason) as error:
            version_of(f"http://127.0.0.1:{listener.getsockname()[1]}/s2.tif?secret=1")
        assert "secret" not in str(error.value) and "\n" not in str(error.value)
        listener.shutdown(socket.SHUT_RDWR)
        serving.join()


def test_downloads_are_removed_even_after_errors(bucket: MemoryFileSystem, tmp_path: Path) -> None:
    with pytest.raises(KeyError), fetched("memory://b/s2.tif", tmp_path / "scratch"):
        raise KeyError
    assert not (tmp_path / "scratch").exists()


def test_a_version_changes_with_the_content(bucket: MemoryFileSystem) -> None:
    before = version_of("memory://b/S1.SAFE")
    assert before == version_of("memory://b/S1.SAFE/") and [one[0] for one in before] == [
        "S1.SAFE/manifest.safe",
        "S1.SAFE/measurement/vv.tiff",
    ]
    bucket.pipe_file("/b/S1.SAFE/measurement/vv.tiff", b"other")
    assert version_of("memory://b/S1.SAFE") != before


def test_fault_20_a_product_that_is_too_large_is_rejected_before_the_download(
    bucket: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "MAX_FILES", 1)
    with pytest.raises(InputError, match=r"memory://b/S1\.SAFE has 2 files, .* at most 1 files and 16 GiB"):
        version_of("memory://b/S1.SAFE")
    monkeypatch.setattr(storage, "MAX_BYTES", 4)
    with pytest.raises(InputError, match=r"memory://b/s2\.tif has 1 files, 0\.0 GiB"):
        version_of("memory://b/s2.tif")


@pytest.mark.parametrize("name", ["../../x", "a/./b", "a\\..\\b", "c:evil", "line\nbreak"])
def test_fault_27_names_outside_the_folder_are_rejected(bucket: MemoryFileSystem, name: str, tmp_path: Path) -> None:
    bucket.store[f"/b/S1.SAFE/{name}"] = bucket.store["/b/s2.tif"]
    with pytest.raises(InputError, match="not a valid file name"), fetched("memory://b/S1.SAFE", tmp_path / "scratch"):
        pass
    del bucket.store[f"/b/S1.SAFE/{name}"]
    assert not (tmp_path / "scratch").exists()


def test_fault_07_a_truncated_download_is_rejected(
    bucket: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_FIRST_WAIT_S", 0.0)
    monkeypatch.setattr(MemoryFileSystem, "open", lambda *_, **__: io.BytesIO(b"imag"))
    expected = "the storage ends 1 bytes early"  # an error of the line: the task is tried again
    with pytest.raises(ConnectionError, match=expected), fetched("memory://b/s2.tif", tmp_path / "scratch"):
        pass


@pytest.mark.parametrize(
    "url, reason",
    [
        ("s3://bucket/x", "s3://bucket/x cannot be reached: Install s3fs"),
        ("nothing://x", "has the protocol .nothing., expected one of"),
        ("/local/folder", "expected a URL such as s3://bucket/folder, found /local/folder"),
        ("simplecache::memory://b", "expected a URL"),
        ("memory://b/absent.tif", r"memory://b/absent\.tif does not exist; check the URL"),
    ],
)
def test_an_invalid_url_is_rejected_in_one_line(url: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as where it is not installed
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(InputError, match=reason):
        version_of(url)


def test_secrets_in_addresses_are_not_shown() -> None:
    assert shown("https://me:secret@host/a.tif?signature=secret") == "https://host/a.tif"
    assert shown("s3://b/a\nb") == "'s3://b/a\\nb'"


def test_a_file_is_put_once_and_read_back(bucket: MemoryFileSystem, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"abc")
    assert put(path, "memory://b/out/a.tif", sha256(path)) is True
    assert put(path, "memory://b/out/a.tif", sha256(path)) is False
    bucket.pipe_file("/b/out/a.tif", b"abd")  # as long, but another
    assert put(path, "memory://b/out/a.tif", sha256(path)) is True
    assert bucket.cat_file("/b/out/a.tif") == b"abc"


def test_a_storage_that_loses_bytes_is_detected(
    bucket: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"abc")
    monkeypatch.setattr(MemoryFileSystem, "put_file", lambda fs, _, target: fs.pipe_file(target, b"ab"))
    with pytest.raises(OSError, match="read-back differs from what was written"):
        put(path, "memory://b/a.tif", sha256(path))


def test_a_storage_without_write_access_is_rejected_before_the_work(
    bucket: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_uploadable("memory://b/out")
    assert bucket.find("/b/out") == []

    def refuse(*_: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", refuse)
    with pytest.raises(InputError, match=r"memory://b/out cannot be written \(PermissionError: Access Denied\)"):
        require_uploadable("memory://b/out")


def test_a_local_storage_makes_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"abc")
    put(path, f"file://{tmp_path}/new/folder/a.tif", sha256(path))
    assert (tmp_path / "new" / "folder" / "a.tif").read_bytes() == b"abc"
    fs, found = storage_of(f"file://{tmp_path}/new/")
    assert fs.isdir(found) and found.endswith("/new")
