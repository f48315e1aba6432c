"""HTTP server for this machine alone: limits of time, size and number, and the checks that precede every route.

It listens on 127.0.0.1 only. A page of another site cannot use it: the ``Host`` header has to name this server (a DNS
name that was rebound to 127.0.0.1 does not), the ``Origin`` has to be its own, no answer allows another origin to read
it, and writing needs a token that only its own pages can read.
"""

import gzip
import json
import logging
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO

ADDRESS = "127.0.0.1"
MAX_TARGET, MAX_BODY = 2048, 64 << 10
"""Longest request target and body, in bytes."""
MAX_CONNECTIONS = 48
HEAD_S, REQUEST_S, IDLE_S = 10.0, 300.0, 20.0
"""Most seconds for the head of a request, for a whole request, and between two requests of a connection."""
_CHUNK = 1 << 20
_GZIP_FROM = 512

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Content security policy of all answers: no inline script or style, nothing from elsewhere."""

_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """Request that passed the checks.

    Attributes:
        method: ``GET`` or ``POST``; ``HEAD`` is answered as GET, without the body.
        path: Path, not decoded.
        body: JSON value of the body of a POST.
    """

    method: str
    path: str
    body: Any = None


@dataclass(frozen=True)
class Response:
    """Answer to a request.

    Attributes:
        status: Status code.
        content: Body.
        kind: Media type.
        file: Open file to send in place of ``content``, of ``size`` bytes; byte ranges are answered.
        size: Size of the file.
        etag: Entity tag; the browser may cache an answer with one and revalidates it.
        headers: Further headers.
    """

    status: int = 200
    content: bytes = b""
    kind: str = "application/json"
    file: BinaryIO | None = None
    size: int = 0
    etag: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def json_response(value: Any, status: int = 200) -> Response:
    """Return a JSON answer."""
    return Response(status, json.dumps(value, allow_nan=False, ensure_ascii=False).encode(errors="backslashreplace"))


def refusal(status: int, message: str) -> Response:
    """Return an error as JSON."""
    return json_response({"error": message}, status)


Respond = Callable[[Request], Response]


class LocalServer(ThreadingHTTPServer):
    """Server on 127.0.0.1 with a thread per connection.

    Args:
        respond: Answers requests that passed the checks; called by several threads at once.
        port: Port; a free one if 0.
        max_connections: Connections at a time; further ones are answered with 503.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, respond: Respond, port: int = 0, max_connections: int = MAX_CONNECTIONS) -> None:
        self.respond = respond
        self.token = secrets.token_urlsafe(32)
        self._free = threading.BoundedSemaphore(max_connections)
        self._lock = threading.Lock()
        self._deadlines: dict[socket.socket, float] = {}
        super().__init__((ADDRESS, port), _Handler)

    @property
    def url(self) -> str:
        """Address of the first page."""
        return f"http://{ADDRESS}:{self.server_port}/"

    @property
    def hosts(self) -> frozenset[str]:
        """Values of the ``Host`` header that name this server."""
        return frozenset(f"{name}:{self.server_port}" for name in (ADDRESS, "localhost"))

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection in a thread of its own, or refuse it if there are too many."""
        if not self._free.acquire(blocking=False):
            with suppress(OSError):
                request.settimeout(0.5)
                request.sendall(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            self.shutdown_request(request)
            return
        self.set_deadline(request, IDLE_S)
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._release(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer the requests of a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._release(request)

    def _release(self, connection: socket.socket) -> None:
        with self._lock:
            self._deadlines.pop(connection, None)
        self._free.release()

    def set_deadline(self, connection: socket.socket, seconds: float) -> None:
        """Close a connection after some seconds, even in the middle of an answer."""
        with self._lock:
            self._deadlines[connection] = time.monotonic() + seconds

    def service_actions(self) -> None:
        """Close the connections that are past their deadlines; called twice a second."""
        now = time.monotonic()
        with self._lock:
            overdue = [one for one, deadline in self._deadlines.items() if deadline < now]
        for one in overdue:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log the failure of a connection, most often one that the client closed."""
        _logger.debug("connection failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "unclouded"
    sys_version = ""
    timeout = IDLE_S
    disable_nagle_algorithm = True
    server: LocalServer

    def handle_one_request(self) -> None:
        """Read one request and answer it."""
        self.server.set_deadline(self.connection, IDLE_S)
        try:
            self.raw_requestline = self.rfile.readline(MAX_TARGET + 64)
            if not self.raw_requestline:
                self.close_connection = True
                return
            self.server.set_deadline(self.connection, HEAD_S)
            self.requestline, self.request_version, self.command = "", "HTTP/1.1", ""
            if not self.raw_requestline.endswith(b"\n"):
                self.close_connection = True
                self._send(refusal(414, "the address is too long"))
                return
            if not self.parse_request():  # which sent an error
                return
            self.server.set_deadline(self.connection, REQUEST_S)
            self._send(self._answer())
            self.wfile.flush()
        except (TimeoutError, ConnectionError):
            self.close_connection = True

    def _answer(self) -> Response:
        if self.headers.get_all("Host", []) != [host := self.headers.get("Host", "")] or host not in self.server.hosts:
            self.close_connection = True
            return refusal(421, "this server answers to its own address only")
        if not self._is_own_page():
            self.close_connection = True
            return refusal(403, "requests from pages of other sites are refused")
        if self.command not in ("GET", "HEAD", "POST"):
            self.close_connection = True
            return refusal(405, "expected GET, HEAD or POST")
        if not re.fullmatch(r"/[A-Za-z0-9_./-]*", self.path):
            self.close_connection = self.command == "POST"
            return refusal(404, "there is nothing at this address")
        request = Request("GET" if self.command == "HEAD" else self.command, self.path)
        if self.command == "POST":
            body = self._body()
            if isinstance(body, Response):
                self.close_connection = True
                return body
            request = Request("POST", self.path, body)
        elif self.headers.get("Content-Length", "0") != "0" or self.headers.get("Transfer-Encoding"):
            self.close_connection = True
            return refusal(400, "expected no body")
        try:
            return self.server.respond(request)
        except Exception:
            _logger.exception("request failed: %s %s", self.command, self.path)
            return refusal(500, "the viewer failed; its log has the details")

    def _is_own_page(self) -> bool:
        """Return whether the request comes from a page of this server, or opens the first page by a link."""
        own = {f"http://{host}" for host in self.server.hosts}
        if (origin := self.headers.get("Origin")) is not None and origin not in own:
            return False
        site = self.headers.get("Sec-Fetch-Site", "same-origin")
        opened = self.path == "/" and self.headers.get("Sec-Fetch-Mode") == "navigate"
        return site in ("same-origin", "none") or opened

    def _body(self) -> Any:
        """Return the JSON value in the body of a POST, or the response that refuses it."""
        if not secrets.compare_digest(self.headers.get("X-Unclouded-Token", "").encode(), self.server.token.encode()):
            return refusal(403, "the token of this session is missing; reload the page")
        if self.headers.get("Content-Type") != "application/json":
            return refusal(415, "expected application/json")
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"[0-9]{1,6}", length) or self.headers.get("Transfer-Encoding"):
            return refusal(411, "expected a length")
        if int(length) > MAX_BODY:
            return refusal(413, f"expected at most {MAX_BODY} bytes")
        try:
            return json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            return refusal(400, "expected JSON")

    # Answers.

    def _send(self, response: Response) -> None:
        try:
            if response.etag is not None and self.headers.get("If-None-Match") == response.etag:
                self._head(response, 304, None)
            elif response.file is not None:
                self._send_file(response, response.file)
            else:
                self._send_content(response)
        finally:
            if response.file is not None:
                response.file.close()

    def _head(self, response: Response, status: int, length: int | None, **more: str) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Type", response.kind)
            self.send_header("Content-Length", str(length))
        cache = "no-store" if response.etag is None else "private, no-cache"
        etag = {} if response.etag is None else {"ETag": response.etag}
        named = {key.replace("_", "-"): value for key, value in more.items()}
        closing = {"Connection": "close"} if self.close_connection else {}
        for key, value in {**_HEADERS, "Cache-Control": cache, **etag, **response.headers, **named, **closing}.items():
            self.send_header(key, value)
        self.end_headers()

    def _send_content(self, response: Response) -> None:
        content, more = response.content, {}
        headers = getattr(self, "headers", None) or {}
        squeezed = not response.kind.startswith("image/") and len(content) >= _GZIP_FROM
        if squeezed and "gzip" in headers.get("Accept-Encoding", ""):
            content, more = gzip.compress(content, compresslevel=1, mtime=0), {"Content_Encoding": "gzip"}
        self._head(response, response.status, len(content), **more)
        if self.command != "HEAD":
            self.wfile.write(content)

    def _send_file(self, response: Response, file: BinaryIO) -> None:
        first, last, status = 0, response.size - 1, 200
        header, condition = self.headers.get("Range"), self.headers.get("If-Range")
        if header is not None and condition in (None, response.etag):
            span = byte_range(header, response.size)
            if span is None:
                refused = Response(416, kind="text/plain")
                self._head(refused, 416, 0, Content_Range=f"bytes */{response.size}")
                return
            (first, last), status = span, 206
        more = {"Content_Range": f"bytes {first}-{last}/{response.size}"} if status == 206 else {}
        self._head(response, status, last - first + 1, Accept_Ranges="bytes", **more)
        if self.command == "HEAD":
            return
        file.seek(first)
        left = last - first + 1
        while left and (part := file.read(min(_CHUNK, left))):
            self.wfile.write(part)
            left -= len(part)
        if left:  # the file became shorter: the length that was announced is wrong
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (name of the base class)
        """Log a request at debug level."""
        _logger.debug(format, *args)


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """Return first and last byte of a ``Range`` header with one range; None if it cannot be satisfied.

    Several ranges in one request are refused: a million of them is a known attack, and the front end never sends two.
    """
    match = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", header.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        count = min(int(match[2]), size)
        return (size - count, size - 1) if count else None
    first, last = int(match[1]), int(match[2]) if match[2] else size - 1
    return (first, min(last, size - 1)) if first < size and first <= last else None
