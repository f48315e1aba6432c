"""The server answers requests of its own pages on this machine alone; hostile requests are refused."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from products.viewer_example import running

from unclouded.viewer import http_server
from unclouded.viewer.http_server import LocalServer, Request, Response, byte_range, json_response

pytestmark = pytest.mark.enable_socket  # the loopback alone


@pytest.fixture
def calls() -> list[Request]:
    return []


@pytest.fixture
def server(calls: list[Request], tmp_path: Path) -> Iterator[LocalServer]:
    (tmp_path / "file").write_bytes(bytes(range(100)))

    def respond(request: Request) -> Response:
        calls.append(request)
        if request.path == "/file":
            return Response(file=(tmp_path / "file").open("rb"), size=100, etag='"1"', kind="image/tiff")
        return json_response({"long": "x" * 2000} if request.path == "/long" else {"path": request.path})

    with running(LocalServer(respond, max_connections=4)) as made:
        yield made


def ask(
    server: LocalServer, path: str = "/", method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
        for key, value in headers.items():
            connection.putheader(key.replace("_", "-"), value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def raw(server: LocalServer, content: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        try:
            while part := connection.recv(65536):
                received += part
        except ConnectionError:  # closed with bytes of the request unread
            pass
        return received


def test_it_listens_on_the_loopback_alone(server: LocalServer) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"


def test_every_answer_carries_the_policy(server: LocalServer) -> None:
    status, headers, _ = ask(server, "/x")
    assert status == 200
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", "localhost", "", "127.0.0.1.evil.example"]
)
def test_fault_30_another_host_name_is_refused(server: LocalServer, calls: list[Request], host: str) -> None:
    assert ask(server, Host=host)[0] == 421
    assert calls == []


def test_fault_30_two_host_names_are_refused(server: LocalServer, calls: list[Request]) -> None:
    own = f"127.0.0.1:{server.server_port}"
    answer = raw(server, f"GET / HTTP/1.1\r\nHost: {own}\r\nHost: evil.example\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 421")
    assert calls == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "no-cors"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"},  # only the first page may be opened by a link
    ],
)
def test_fault_30_pages_of_other_sites_are_refused(
    server: LocalServer, calls: list[Request], headers: dict[str, str]
) -> None:
    assert ask(server, "/x", **headers)[0] == 403
    assert calls == []


def test_a_link_elsewhere_may_open_the_first_page(server: LocalServer) -> None:
    assert ask(server, "/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")[0] == 200


def test_fault_30_a_post_needs_the_token(server: LocalServer, calls: list[Request]) -> None:
    for token in ("", "x", server.token[:-1], "ü"):
        headers = {"X_Unclouded_Token": token} if token else {}
        status, _, _ = ask(server, "/x", "POST", b"{}", Content_Type="application/json", **headers)
        assert status == 403
    assert calls == []
    headers = {"X_Unclouded_Token": server.token, "Content_Type": "application/json"}
    assert ask(server, "/x", "POST", b'{"a": 1}', **headers)[0] == 200
    assert calls == [Request("POST", "/x", {"a": 1})]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{}", {"Content_Type": "text/plain"}, 415),
        (b"{", {}, 400),
        (b"[" * 60_000, {}, 400),
        (b"\xff", {}, 400),
        (b"x" * 70_000, {}, 413),
        (None, {}, 411),
        (None, {"Content_Length": "-1"}, 411),
        (None, {"Transfer_Encoding": "chunked"}, 411),
    ],
)
def test_fault_31_bodies_that_are_refused(
    server: LocalServer, calls: list[Request], body: bytes | None, headers: dict[str, str], status: int
) -> None:
    given = {"X_Unclouded_Token": server.token, "Content_Type": "application/json", **headers}
    assert ask(server, "/x", "POST", body, **given)[0] == status
    assert calls == []


@pytest.mark.parametrize(
    "path",
    [
        "/x?file=/etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/a%00b",
        "/a\\b",
        "/ü",
        "/x;y",
        "/x#y",
        "//evil.example:80@x/",
        "http://evil.example/",
        "*",
    ],
)
def test_fault_29_addresses_of_another_form_are_refused(server: LocalServer, calls: list[Request], path: str) -> None:
    own = f"127.0.0.1:{server.server_port}"
    answer = raw(server, f"GET {path} HTTP/1.1\r\nHost: {own}\r\n\r\n".encode())
    assert answer.split(b" ")[1] in (b"404", b"400")
    assert calls == []


def test_fault_29_long_addresses_are_refused(server: LocalServer, calls: list[Request]) -> None:
    assert raw(server, b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n")[:12] in (b"HTTP/1.1 414", b"")
    assert calls == []


def test_fault_31_too_many_headers_are_refused(server: LocalServer, calls: list[Request]) -> None:
    assert raw(server, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n")[:12] in (b"HTTP/1.1 431", b"")
    assert calls == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "\x00"])
def test_other_methods_are_refused(server: LocalServer, calls: list[Request], method: str) -> None:
    answer = raw(server, f"{method} / HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n".encode())
    assert answer.split(b" ")[1] in (b"405", b"501", b"400")
    assert calls == []


def test_byte_ranges_of_a_file(server: LocalServer) -> None:
    status, headers, body = ask(server, "/file", Range="bytes=10-19")
    assert (status, body, headers["Content-Range"]) == (206, bytes(range(10, 20)), "bytes 10-19/100")
    assert ask(server, "/file", Range="bytes=-5")[2] == bytes(range(95, 100))
    assert ask(server, "/file", Range="bytes=95-")[2] == bytes(range(95, 100))
    assert ask(server, "/file")[2] == bytes(range(100))
    assert ask(server, "/file", Range="bytes=0-9", If_Range='"old"')[2] == bytes(range(100))
    assert ask(server, "/file", "HEAD")[1]["Content-Length"] == "100"
    assert ask(server, "/file", If_None_Match='"1"')[0] == 304


@pytest.mark.parametrize(
    "header", ["bytes=100-", "bytes=9-8", "bytes=-0", "bytes=-", "bytes=a-b", "pages=1-2", "bytes=0-1,3-4"]
)
def test_ranges_that_cannot_be_satisfied(server: LocalServer, header: str) -> None:
    status, headers, body = ask(server, "/file", Range=header)
    assert (status, headers["Content-Range"], body) == (416, "bytes */100", b"")


def test_fault_31_a_million_ranges_are_refused() -> None:
    assert byte_range("bytes=" + ",".join(["0-0"] * 1_000_000), 100) is None
    assert byte_range("bytes=" + "9" * 1000 + "-", 100) is None


def test_long_texts_are_compressed_for_those_who_accept_it(server: LocalServer) -> None:
    assert "Content-Encoding" not in ask(server, "/long")[1]
    assert ask(server, "/long", Accept_Encoding="gzip")[1]["Content-Encoding"] == "gzip"


def test_fault_31_connections_are_capped(server: LocalServer) -> None:
    idle = [socket.create_connection(("127.0.0.1", server.server_port), timeout=20) for _ in range(4)]
    try:
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as fifth:
            assert fifth.recv(100).startswith(b"HTTP/1.1 503")
    finally:
        for one in idle:
            one.close()
    deadline = time.monotonic() + 20
    while (status := _status_or_none(server)) != 200:  # threads of the closed connections end
        assert time.monotonic() < deadline, status


def _status_or_none(server: LocalServer) -> int | None:
    try:
        return ask(server)[0]
    except ConnectionError:
        return None


def test_fault_31_a_slow_client_is_cut_off_however_it_drips(
    server: LocalServer, calls: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "HEAD_S", 0.3)
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as slow:
        slow.settimeout(0.02)
        slow.sendall(b"GET / HTTP/1.1\r\n")
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                slow.sendall(b"a: b\r\n"[:1])  # a byte at a time resets any time-out of a single read
                if slow.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        else:
            pytest.fail("the connection stayed open")
    assert calls == []


def test_an_error_of_a_route_is_a_500_without_details(caplog: pytest.LogCaptureFixture) -> None:
    def respond(_request: Request) -> Response:
        raise RuntimeError("/secret/path")

    with running(LocalServer(respond)) as server:
        status, _, body = ask(server)
    assert (status, json.loads(body)) == (500, {"error": "the viewer failed; its log has the details"})
    assert "/secret/path" in caplog.text
