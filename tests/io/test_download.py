import hashlib
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from unclouded.errors import InputError
from unclouded.io.download import RetryPolicy, download
from unclouded.patches.archives import archives
from unclouded.patches.download import plan
from unclouded.web import WebLimits

pytestmark = pytest.mark.enable_socket  # the loopback alone

CONTENT = random.Random(0).randbytes(3_000_000)
QUICK = RetryPolicy(
    attempts=4,
    first_wait_s=0.001,
    limits=WebLimits(answer_s=5.0, silence_s=5.0, least_bytes_s=100.0),
    rng=random.Random(0),
)


@dataclass
class Server:
    """A server on the loopback, with the troubles it makes.

    Attributes:
        cut_every: Every so manieth answer is cut in the middle; 0 for none.
        failures: Status codes that are answered first.
        supports_ranges: Whether it honours Range.
        served: Bytes of content that were sent.
    """

    content: bytes = CONTENT
    cut_every: int = 0
    failures: list[int] = field(default_factory=list)
    supports_ranges: bool = True
    etag: str = '"1"'
    served: int = 0
    answers: int = 0
    address: str = ""


@pytest.fixture
def server() -> Iterator[Server]:
    remote = Server()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            remote.answers += 1
            if remote.failures:
                self.send_response(remote.failures.pop(0))
                self.end_headers()
                return
            start = 0
            requested = self.headers.get("Range", "")
            if requested and remote.supports_ranges and self.headers.get("If-Range", remote.etag) == remote.etag:
                start = int(requested.removeprefix("bytes=").partition("-")[0])
                self.send_response(206)
                size = len(remote.content)
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            else:
                self.send_response(200)
            rest = remote.content[start:]
            self.send_header("Content-Length", str(len(rest)))
            self.send_header("ETag", remote.etag)
            self.end_headers()
            if remote.cut_every and remote.answers % remote.cut_every:
                rest = rest[: len(rest) // 2]
            remote.served += len(rest)  # before they are sent: who has them all may ask at once
            self.wfile.write(rest)

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    remote.address = f"http://127.0.0.1:{running.server_port}/file"
    yield remote
    running.shutdown()
    running.server_close()
    thread.join()


def test_a_line_that_breaks_two_of_three_times_brings_every_byte_once(server: Server, tmp_path: Path) -> None:
    server.cut_every = 3
    seen: list[int] = []
    download(server.address, tmp_path / "file", lambda stage, completed, total: seen.append(completed), QUICK)
    assert hashlib.sha256((tmp_path / "file").read_bytes()).digest() == hashlib.sha256(CONTENT).digest()
    assert server.answers == 3
    assert server.served == len(CONTENT)
    assert seen == sorted(seen) and seen[-1] == len(CONTENT)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_fault_41_what_a_dead_process_fetched_is_kept(server: Server, tmp_path: Path) -> None:
    class DiedError(Exception):
        pass

    def die(stage: str, completed: int, total: int) -> None:
        if completed > 1_000_000:
            raise DiedError

    with pytest.raises(DiedError):
        download(server.address, tmp_path / "file", die, QUICK)
    kept = (tmp_path / "file.part").stat().st_size
    assert kept > 1_000_000
    before = server.served
    download(server.address, tmp_path / "file", retry=QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.served - before == len(CONTENT) - kept


@pytest.mark.parametrize("code", [429, 500, 503])
def test_fault_41_a_busy_server_is_asked_again(server: Server, tmp_path: Path, code: int) -> None:
    server.failures = [code, code]
    download(server.address, tmp_path / "file", retry=QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_fault_41_a_server_that_stays_busy_is_given_up(server: Server, tmp_path: Path) -> None:
    server.failures = [503] * 9
    with pytest.raises(InputError, match=r"the server answers 503 Service Unavailable; check the address"):
        download(server.address, tmp_path / "file", retry=QUICK)
    assert server.answers == QUICK.attempts


def test_a_missing_file_is_requested_once(server: Server, tmp_path: Path) -> None:
    server.failures = [404, 404]
    with pytest.raises(InputError, match="the server answers 404"):
        download(server.address, tmp_path / "file", retry=QUICK)
    assert server.answers == 1


def test_a_file_that_changed_meanwhile_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    (tmp_path / "file.part.json").write_text('{"size": 3000000, "mark": "\\"old\\""}')
    download(server.address, tmp_path / "file", retry=QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_server_without_ranges_begins_anew(server: Server, tmp_path: Path) -> None:
    server.supports_ranges, server.cut_every = False, 2
    download(server.address, tmp_path / "file", retry=QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.served == len(CONTENT) * 3 // 2


def test_a_rest_of_unknown_origin_is_not_trusted(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(b"something else")
    download(server.address, tmp_path / "file", retry=QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://host/x", "/vsicurl/x", "http:///x", "data:,x"])
def test_fault_28_only_web_addresses_are_opened(tmp_path: Path, address: str) -> None:
    with pytest.raises(InputError, match="is not an address that begins with http"):
        download(address, tmp_path / "file")


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"http://127.0.0.1:9/x: .*refused"):
        download("http://127.0.0.1:9/x", tmp_path / "file", retry=RetryPolicy(attempts=1))


class Script(threading.Thread):
    """A server that answers every connection in its own way: HEAD with one text, GET with another, then drips."""

    def __init__(self, answer: str, drip: bytes = b"", head: str = "HTTP/1.1 405 No\r\n\r\n") -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.listener.getsockname()[1]}/file"
        self.answer, self.drip, self.head, self.asked = answer, drip, head, 0

    def run(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=self.listener.accept()[:1], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            is_head = connection.recv(65_536).startswith(b"HEAD")
            self.asked += not is_head
            connection.sendall((self.head if is_head else self.answer).encode("latin-1"))
            while self.drip:
                connection.sendall(self.drip)
                time.sleep(0.02)
            while (self.head if is_head else self.answer) in ("", PARTIAL) and connection.recv(65_536):
                pass

    def __enter__(self) -> "Script":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.join()


PARTIAL = "HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\nxxx"
HURRIED = RetryPolicy(3, 0.001, WebLimits(1.0, 0.2, 0.3), random.Random(0))


@pytest.mark.parametrize(
    ("answer", "drip", "reason", "asked"),
    [
        ("", b"", "silent for more than 0.2 s", 2),
        ("", b"H", "no answer within 0.3 s", 2),
        ("HTTP/1.1 200 OK\r\nX: ", b"y", "no answer within 0.3 s", 2),
        (PARTIAL, b"", r"(more bytes within|silent for more than) 0\.2 s", 3),
        (PARTIAL, b"x", r"(more bytes within|silent for more than) 0\.2 s", 3),
        ("HTTP/1.1 503 Busy\r\nContent-Length: 999999999\r\n\r\n", b"x", "503 Service Unavailable", 3),
        ("HTTP/1.1 429 Busy\r\nRetry-After: \xb3\r\n\r\n", b"", "429 Too Many Requests", 3),
        ("", b"HTTP/1.1 100 Continue\r\n\r\n", "no answer within 0.3 s", 2),
    ],
)
def test_fault_41_slow_servers_are_given_up_in_every_phase(
    answer: str, drip: bytes, reason: str, asked: int, tmp_path: Path
) -> None:
    with Script(answer, drip) as script, pytest.raises(InputError, match=reason):
        download(script.address, tmp_path / "file", retry=HURRIED)
    assert script.asked == asked


def test_fault_41_a_server_that_asks_for_a_long_wait_ends_the_download_at_once(tmp_path: Path) -> None:
    busy = "HTTP/1.1 503 Busy\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n"
    reason = "503 Service Unavailable, and asks to wait 3,600 s; run again after that"
    with Script(busy) as script, pytest.raises(InputError, match=reason):
        download(script.address, tmp_path / "file", retry=HURRIED)
    assert script.asked == 1


RANGE = "HTTP/1.1 206 Part\r\nContent-Range: bytes {}\r\n{}\r\n{}"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (RANGE.format("0-9/10", "", "x" * 500), "more bytes than it declared"),
        (RANGE.format("0-9/10", "Transfer-Encoding: chunked\r\n", "FFFFF\r\n" + "x" * 9999), "more bytes than it decl"),
        (RANGE.format("0-9/10", "Content-Length: 99\r\n", "x" * 99), "declares 99 bytes for the range 0-9/10"),
        (RANGE.format("0-9/" + "9" * 5000, "", ""), "no valid Content-Range"),
        (RANGE.format("0-9/*", "", ""), "no valid Content-Range"),
        (RANGE.format("0-\xb2/9", "", ""), "no valid Content-Range"),
        (RANGE.format("9-0/10", "", ""), "for the range 9-0/10"),
        (RANGE.format("0-10/10", "", ""), "for the range 0-10/10"),
        ("HTTP/1.1 206 Part\r\n\r\n", "no valid Content-Range"),
        ("HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\n", "declares a length"),
        ("HTTP/1.1 200 OK\r\n\r\nxxx", "has no Content-Length"),
        ("HTTP/1.1 204 None\r\n\r\n", "answers 204"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\nFF\r\n" + "x" * 255, "more bytes"),
    ],
)
def test_fault_41_contradicting_answers_are_refused_at_once(answer: str, reason: str, tmp_path: Path) -> None:
    with Script(answer) as script, pytest.raises(InputError, match=reason) as error:
        download(script.address, tmp_path / "file", retry=QUICK)
    assert script.asked == 1 and "\n" not in str(error.value)
    assert not (tmp_path / "file").exists()
    assert sum(path.stat().st_size for path in tmp_path.glob("*.part")) <= 10


def test_fault_41_a_silent_server_is_named_before_the_plan_asks_for_more(tmp_path: Path) -> None:
    with (
        Script("", head="") as script,
        pytest.raises(InputError, match=r"silent for more than 0.2 s; check the address"),
    ):
        plan(archives(), script.address, tmp_path, retry=HURRIED)
    with Script("") as script:
        assert plan(archives(), script.address, tmp_path, retry=HURRIED).download_bytes is None


def test_fault_28_a_redirect_leaves_the_web_nowhere(tmp_path: Path) -> None:
    moved = "HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1:9/x\r\n\r\n"
    with Script(moved) as script, pytest.raises(InputError, match="leads elsewhere, 'ftp://"):
        download(script.address, tmp_path / "file", retry=QUICK)


def test_a_redirect_on_the_web_is_followed(server: Server, tmp_path: Path) -> None:
    with Script(f"HTTP/1.1 302 Found\r\nLocation: {server.address}\r\n\r\n") as script:
        download(script.address, tmp_path / "file", retry=QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_file_without_a_stated_size_is_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    whole = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n"
    with Script(whole) as server:
        download(server.address, tmp_path / "file", retry=QUICK)
    assert (tmp_path / "file").read_bytes() == b"whole"
    broken = whole.replace("0\r\n\r\n", "")
    with Script(broken) as server, pytest.raises(InputError):
        download(server.address, tmp_path / "other", retry=QUICK)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("head", ["Content-Length: 11", "Transfer-Encoding: chunked"])
def test_a_file_above_the_limit_is_not_taken(tmp_path: Path, head: str) -> None:
    body = "x" * 11 if "Length" in head else "B\r\n" + "x" * 11 + "\r\n0\r\n\r\n"
    answer = f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}"
    with Script(answer) as server, pytest.raises(InputError, match=r"at most 10 bytes|10, the limit|most 10"):
        download(server.address, tmp_path / "file", retry=QUICK, most_bytes=10)
