import hashlib
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from unclouded.errors import InputError
from unclouded.patches.download import Line, download

pytestmark = pytest.mark.enable_socket  # the loopback alone

CONTENT = random.Random(0).randbytes(3_000_000)
QUICK = Line(attempts=4, first_wait_s=0.001, timeout_s=5.0, rng=random.Random(0))


@dataclass
class Server:
    """A server on the loopback, with the troubles it makes.

    Attributes:
        cut_every: Every so manieth answer breaks off in its middle; 0 for none.
        failures: Status codes that are answered first.
        knows_ranges: Whether it honours Range.
        served: Bytes of content that were sent.
    """

    content: bytes = CONTENT
    cut_every: int = 0
    failures: list[int] = field(default_factory=list)
    knows_ranges: bool = True
    etag: str = '"1"'
    served: int = 0
    answers: int = 0
    address: str = ""


@pytest.fixture
def server() -> Iterator[Server]:
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            told.answers += 1
            if told.failures:
                self.send_response(told.failures.pop(0))
                self.end_headers()
                return
            start = 0
            wanted = self.headers.get("Range", "")
            if wanted and told.knows_ranges and self.headers.get("If-Range", told.etag) == told.etag:
                start = int(wanted.removeprefix("bytes=").partition("-")[0])
                self.send_response(206)
                size = len(told.content)
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            else:
                self.send_response(200)
            rest = told.content[start:]
            self.send_header("Content-Length", str(len(rest)))
            self.send_header("ETag", told.etag)
            self.end_headers()
            if told.cut_every and told.answers % told.cut_every:
                rest = rest[: len(rest) // 2]
            told.served += len(rest)  # before they are sent: who has them all may ask at once
            self.wfile.write(rest)

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    told.address = f"http://127.0.0.1:{running.server_port}/file"
    yield told
    running.shutdown()
    running.server_close()
    thread.join()


def test_a_line_that_breaks_two_of_three_times_brings_every_byte_once(server: Server, tmp_path: Path) -> None:
    server.cut_every = 3
    seen: list[int] = []
    download(server.address, tmp_path / "file", lambda done, total: seen.append(done), QUICK)
    assert hashlib.sha256((tmp_path / "file").read_bytes()).digest() == hashlib.sha256(CONTENT).digest()
    assert server.answers == 3
    assert server.served == len(CONTENT)
    assert seen == sorted(seen) and seen[-1] == len(CONTENT)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_fault_41_what_a_dead_process_fetched_is_kept(server: Server, tmp_path: Path) -> None:
    class DiedError(Exception):
        pass

    def die(done: int, total: int) -> None:
        if done > 1_000_000:
            raise DiedError

    with pytest.raises(DiedError):
        download(server.address, tmp_path / "file", die, QUICK)
    kept = (tmp_path / "file.part").stat().st_size
    assert kept > 1_000_000
    before = server.served
    download(server.address, tmp_path / "file", line=QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.served - before == len(CONTENT) - kept


@pytest.mark.parametrize("code", [429, 500, 503])
def test_fault_41_a_busy_server_is_asked_again(server: Server, tmp_path: Path, code: int) -> None:
    server.failures = [code, code]
    download(server.address, tmp_path / "file", line=QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_fault_41_a_server_that_stays_busy_is_given_up(server: Server, tmp_path: Path) -> None:
    server.failures = [503] * 9
    with pytest.raises(InputError, match=r"the server answers 503 .*run again to go on"):
        download(server.address, tmp_path / "file", line=QUICK)
    assert server.answers == QUICK.attempts


def test_a_file_that_is_not_there_is_not_asked_for_twice(server: Server, tmp_path: Path) -> None:
    server.failures = [404, 404]
    with pytest.raises(InputError, match="the server answers 404"):
        download(server.address, tmp_path / "file", line=QUICK)
    assert server.answers == 1


def test_a_file_that_changed_meanwhile_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    (tmp_path / "file.part.json").write_text('{"size": 3000000, "mark": "\\"old\\""}')
    download(server.address, tmp_path / "file", line=QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_server_without_ranges_begins_anew(server: Server, tmp_path: Path) -> None:
    server.knows_ranges, server.cut_every = False, 2
    download(server.address, tmp_path / "file", line=QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.served == len(CONTENT) * 3 // 2


def test_a_rest_of_unknown_origin_is_not_trusted(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(b"something else")
    download(server.address, tmp_path / "file", line=QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://host/x", "/vsicurl/x", "http:///x", "data:,x"])
def test_fault_28_only_web_addresses_are_opened(tmp_path: Path, address: str) -> None:
    with pytest.raises(InputError, match="neither a folder nor an address"):
        download(address, tmp_path / "file")


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"http://127.0.0.1:9/x: .*refused"):
        download("http://127.0.0.1:9/x", tmp_path / "file", line=Line(attempts=1))
