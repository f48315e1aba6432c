"""HTTP requests with deadlines and size limits that hold for any behaviour of the server.

Every request runs in its own thread, so that a deadline covers name resolution, connecting, TLS, headers, redirects and
the body alike. At the deadline its sockets are shut down, which also ends the thread. Redirects lead to http and https
only, and never from https to http.
"""

import os
import queue
import re
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import BadStatusLine, LineTooLong, RemoteDisconnected, UnknownProtocol, responses
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from urllib3 import BaseHTTPResponse, HTTPHeaderDict, PoolManager, ProxyManager, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import InvalidHeader, ReadTimeoutError
from urllib3.exceptions import TimeoutError as SilenceError
from urllib3.util import make_headers
from urllib3.util.ssl_ import create_urllib3_context

from unclouded.errors import InputError

MAX_REDIRECTS = 5
MAX_ADDRESS = 60_000
"""Maximum length of an address; the parameters of a search may contain a whole outline."""
_CHUNK = 1 << 18
_WAITING_CHUNKS = 8
_ADDRESS = re.compile(r"https?://(?:[^/?#@]*@)?(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{0,5})?(?:[/?#].*)?", re.I)
_REDIRECTS = (301, 302, 303, 307, 308)
_BUSY = (408, 425, 429)
_LASTING = (BadStatusLine, InvalidHeader, LineTooLong, UnknownProtocol)
_PRINTABLE = "".join(map(chr, range(33, 127)))


Authorize = Callable[[str], Mapping[str, str]]
"""Returns the headers with credentials for an address; none for hosts that they are not for."""


@dataclass(frozen=True)
class WebLimits:
    """Timeouts of a request, in seconds, and the minimum transfer rate.

    Attributes:
        connect_s: Timeout of one attempt to connect.
        silence_s: Maximum silence, and the window over which the body must reach ``least_bytes_s`` on average.
        answer_s: Timeout until the last header of the response, including redirects.
        whole_s: Timeout until the last byte of the body; none if omitted, for files of any size.
        least_bytes_s: Minimum transfer rate of the body, bytes per second.
    """

    connect_s: float = 10.0
    silence_s: float = 20.0
    answer_s: float = 30.0
    whole_s: float | None = None
    least_bytes_s: float = 1_000.0

    @property
    def least_bytes(self) -> int:
        """Minimum bytes of the body in a window of ``silence_s``."""
        return max(1, int(self.silence_s * self.least_bytes_s))


class WebError(Exception):
    """A request failed.

    Attributes:
        status: HTTP status code; None without a valid response.
        may_pass: Whether another attempt may succeed.
        wait_s: Seconds to wait before another attempt, as requested by the server; 0 if it does not request any.
    """

    def __init__(self, reason: str, *, status: int | None = None, may_pass: bool = True, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.status, self.may_pass, self.wait_s = status, may_pass, wait_s


class SilentError(WebError):
    """A server did not respond in time."""


def require_web_address(address: str, expected: str = "an address") -> None:
    """Check that an address is a well-formed http or https address.

    Args:
        address: Any text.
        expected: Accepted inputs, for the message, such as "a folder or an address".

    Raises:
        InputError: The scheme is another one, the host or port is invalid, or a character is not allowed.
    """
    shown = shown_address(address)
    if len(address) > MAX_ADDRESS:
        raise InputError(
            f"{shown!r}... has {len(address):,} characters, expected an address of at most {MAX_ADDRESS:,}"
        )
    if not re.match(r"https?://[^/?#]", address, re.I):
        raise InputError(f"{shown!r} is not {expected} that begins with http:// or https://")
    if invalid := next((letter for letter in address if not "!" <= letter <= "~" or letter in '\\"<>^`{|}'), None):
        raise InputError(f"{shown!r} holds {invalid!r}, which is not allowed in an address; write it percent-encoded")
    if not _ADDRESS.fullmatch(address) or not _has_valid_host(address):
        raise InputError(f"{shown!r} has no valid host or port; expected an address such as https://host:8080/folder")


def _has_valid_host(address: str) -> bool:
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        labels = [""] if ":" in host else host.removesuffix(".").split(".")
        return parts.port != 0 and bool(host) and (":" in host or all(0 < len(label) < 64 for label in labels))
    except ValueError:  # a port above 65535, or brackets around an invalid IPv6 address
        return False


def shown_address(address: str) -> str:
    """Return an address for messages: short, printable, without password and query, which may be secret."""
    plain, mark, _ = address.partition("?")
    text = re.sub(r"//[^/?#]*@", "//", plain)[:200] + ("?..." if mark else "")
    return text if text.isprintable() else ascii(text)[1:-1]


def declared_bytes(headers: Mapping[str, str]) -> int | None:
    """Return the content length of headers; None if they have none.

    Raises:
        WebError: The length is not a number, or there are several.
    """
    declared = {one.strip() for one in headers.get("Content-Length", "").split(",")} - {""}
    if len(declared) > 1 or not all(is_number(one) for one in declared):
        found = _shown(", ".join(sorted(declared)))[:40]
        raise WebError(f"the server declares a length of {found!r} bytes", may_pass=False)
    return int(declared.pop()) if declared else None


def is_number(text: str) -> bool:
    """Return whether the value of a header is a number: 1 to 15 ASCII digits."""
    return re.fullmatch(r"[0-9]{1,15}", text) is not None


class Answer:
    """Response of a server.

    Attributes:
        status: HTTP status code.
        headers: Headers; names are case-insensitive.
        address: Final address, after redirects.
    """

    def __init__(self, exchange: "_Exchange", limits: WebLimits) -> None:
        self.status, self.headers, self.address = exchange.head()
        self._exchange, self._limits = exchange, limits

    def error(self) -> WebError:
        """Return the error for a response whose status means failure."""
        moved = f", moved to {shown_address(self.headers['Location'])}" if "Location" in self.headers else ""
        return WebError(
            f"the server answers {self.status} {responses.get(self.status, '')}".rstrip() + moved,
            status=self.status,
            may_pass=self.status >= 500 or self.status in _BUSY,
            wait_s=_seconds(self.headers.get("Retry-After", "")),
        )

    def chunks(self) -> Iterator[bytes]:
        """Yield the body in chunks as they arrive, without decoding.

        Raises:
            WebError: The body is incomplete, or arrives too slowly.
        """
        waited, received = 0.0, 0
        while True:
            before = time.monotonic()
            chunk = self._exchange.chunk(
                self._limits.silence_s - waited, f"only {received:,} more bytes within {self._limits.silence_s:g} s"
            )
            waited += time.monotonic() - before
            if chunk is None:
                return
            received += len(chunk)
            if received >= self._limits.least_bytes:
                waited, received = 0.0, 0  # the time that the caller spends on a chunk does not count
            yield chunk

    def read(self, most_bytes: int) -> bytes:
        """Return the whole body, decompressed if it is gzipped.

        Raises:
            WebError: The body is incomplete, arrives too slowly, exceeds ``most_bytes``, or has another encoding.
        """
        encoding = self.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip", "x-gzip", ""):
            raise WebError(f"the answer is packed as {_shown(encoding)}, expected gzip", may_pass=False)
        unpack = zlib.decompressobj(wbits=31) if "gzip" in encoding else None
        body = bytearray()
        try:
            for chunk in self.chunks():
                body += chunk if unpack is None else unpack.decompress(chunk, most_bytes + 1 - len(body))
                if len(body) > most_bytes:
                    raise WebError(f"more than {most_bytes / 2**20:g} MiB for one answer", may_pass=False)
        except zlib.error as error:
            raise WebError(f"the answer is no gzip ({error})") from error
        if unpack is not None and not unpack.eof:
            raise WebError("the packed answer breaks off")
        return bytes(body)


@contextmanager
def send_request(
    method: str,
    address: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    limits: WebLimits = WebLimits(),
    redirects: int = MAX_REDIRECTS,
    authorize: Authorize | None = None,
) -> Iterator[Answer]:
    """Send a request and yield its response; the part of the body that the block does not read is discarded.

    Proxies come from the usual environment variables, certificates from ``REQUESTS_CA_BUNDLE`` if it is set. A user
    name and password in the address are sent to that host only.

    Args:
        method: GET, HEAD or POST.
        address: http or https.
        headers: Additional headers.
        body: Request body.
        limits: Timeouts.
        redirects: Maximum number of redirects; only to http and https, never from https to http.
        authorize: Returns secret headers for an address; asked for each redirect, too, so that no other host gets them.

    Raises:
        InputError: The address is not valid.
        WebError: The server does not respond in time, or not in HTTP.
    """
    require_web_address(address)
    given = {**(headers or {}), "Connection": "close"}
    exchange = _Exchange(method, address, given, body, limits, redirects, authorize)
    exchange.start()
    try:
        yield Answer(exchange, limits)
    finally:
        exchange.stop()


class _Exchange(threading.Thread):
    """Thread of one request with its redirects; queues the head of the response, the chunks of its body, and None."""

    def __init__(
        self,
        method: str,
        address: str,
        headers: Mapping[str, str],
        body: bytes | None,
        limits: WebLimits,
        redirects: int,
        authorize: Authorize | None,
    ) -> None:
        super().__init__(daemon=True, name="web request")
        self._method, self._address, self._headers, self._body = method, address, headers, body
        self._limits, self._redirects, self._authorize = limits, redirects, authorize or (lambda _: {})
        self._found: queue.Queue[Any] = queue.Queue(_WAITING_CHUNKS)
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._ends = time.monotonic() + (limits.whole_s or 0.0)

    def head(self) -> tuple[int, HTTPHeaderDict, str]:
        """Wait for the status, headers and final address of the response."""
        answer_s = self._limits.answer_s
        found: tuple[int, HTTPHeaderDict, str] = self._next(answer_s, f"no answer within {answer_s:g} s")
        return found

    def chunk(self, most_s: float, missing: str) -> bytes | None:
        """Wait for the next chunk of the body; return None at its end."""
        found: bytes | None = self._next(most_s, missing)
        return found

    def _next(self, most_s: float, missing: str) -> Any:
        left_s = most_s
        if (whole_s := self._limits.whole_s) is not None and (rest_s := self._ends - time.monotonic()) < most_s:
            left_s, missing = rest_s, f"no whole answer within {whole_s:.2g} s"
        try:
            found = self._found.get(timeout=max(0.0, left_s))
        except queue.Empty:
            raise SilentError(missing) from None
        if isinstance(found, Exception):
            raise found
        return found

    def stop(self) -> None:
        """Shut down the sockets in any phase of the request, which also ends the thread."""
        self._stopped.set()
        with self._lock:
            for one in self._sockets:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def watch(self, connection: socket.socket) -> None:
        """Register a socket before anything is read from it; as a duplicate, because TLS replaces the object."""
        with self._lock:
            self._sockets.append(connection.dup())
        if self._stopped.is_set():
            self.stop()

    def run(self) -> None:
        """Send the request; exceptions of the libraries become a :class:`WebError`."""
        try:
            for item in self._items():
                self._put(item)
        except WebError as error:
            self._put(error)
        except ReadTimeoutError:
            self._put(SilentError(f"silent for more than {self._limits.silence_s:g} s"))
        except SilenceError as error:
            self._put(SilentError(_reason(error)))
        except Exception as error:
            self._put(WebError(_reason(error), may_pass=_may_pass(error)))
        finally:
            with self._lock:
                for one in self._sockets:
                    one.close()
                self._sockets.clear()

    def _put(self, item: Any) -> None:
        while not self._stopped.is_set():
            with suppress(queue.Full):
                return self._found.put(item, timeout=0.2)
        return None

    def _items(self) -> Iterator[Any]:
        address, secret = _without_secret(self._address)
        for _ in range(self._redirects + 1):
            with self._response(address, {**self._headers, **secret, **self._authorize(address)}) as response:
                onward = response.headers.get("Location") if response.status in _REDIRECTS else None
                if onward is None or not self._redirects:
                    yield response.status, response.headers, address
                    while not self._stopped.is_set() and (chunk := response.read1(_CHUNK, decode_content=False)):
                        yield chunk
                    yield None
                    return
            place = _redirected(address, onward)
            secret = secret if urlsplit(place)[:2] == urlsplit(address)[:2] else {}
            address = place
        raise WebError(f"more than {self._redirects} redirects", may_pass=False)

    @contextmanager
    def _response(self, address: str, headers: Mapping[str, str]) -> Iterator[BaseHTTPResponse]:
        timeout = Timeout(connect=self._limits.connect_s, read=self._limits.silence_s)
        with _manager(address) as manager:
            response = manager.request(
                self._method,
                address,
                headers=dict(headers),
                body=self._body,
                redirect=False,
                retries=False,
                preload_content=False,
                timeout=timeout,
            )
            with closing(response):
                yield response


class _Watched:
    """Mixin that registers every new socket with the exchange of its thread."""

    def _new_conn(self) -> socket.socket:
        connection: socket.socket = super()._new_conn()  # type: ignore[misc]
        exchange = threading.current_thread()
        assert isinstance(exchange, _Exchange)
        exchange.watch(connection)
        return connection


class _TlsSocket(ssl.SSLSocket):
    """Closes itself if the server resets the connection before the handshake, where CPython 3.11 leaves it open."""

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            return super().recv(buflen, flags)
        except ConnectionError:
            self.close()
            raise


class _WatchedHttp(_Watched, HTTPConnection):
    pass


class _WatchedHttps(_Watched, HTTPSConnection):
    def connect(self) -> None:
        self.ssl_context = create_urllib3_context()
        self.ssl_context.sslsocket_class = _TlsSocket
        if not self.ca_certs:
            self.ssl_context.load_default_certs()
        super().connect()


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _WatchedHttp


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedHttps


def _manager(address: str) -> PoolManager:
    parts, proxies = urlsplit(address), getproxies()
    proxy = proxies.get(parts.scheme.lower()) or proxies.get("all")
    certificates = os.environ.get("REQUESTS_CA_BUNDLE") or None
    if certificates and not Path(certificates).is_file():
        raise WebError(f"REQUESTS_CA_BUNDLE names {_shown(certificates)}, which is not a file", may_pass=False)
    if proxy and not proxy_bypass(parts.netloc):
        place, secret = _without_secret(proxy if "://" in proxy else f"http://{proxy}")
        proxy_headers = {f"Proxy-{key}": value for key, value in secret.items()}
        manager: PoolManager = ProxyManager(place, proxy_headers=proxy_headers, ca_certs=certificates)
    else:
        manager = PoolManager(ca_certs=certificates)
    manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
    return manager


def _without_secret(address: str) -> tuple[str, dict[str, str]]:
    """Return an address without user name and password, and the header that contains them."""
    parts = urlsplit(address)
    secret, _, host = parts.netloc.rpartition("@")
    headers = {key.title(): value for key, value in make_headers(basic_auth=unquote(secret)).items()} if secret else {}
    return parts._replace(netloc=host).geturl(), headers


def _redirected(address: str, onward: str) -> str:
    """Return the target of a redirect, percent-encoded, because servers omit that."""
    try:
        place, _ = _without_secret(urljoin(address, quote(onward.encode("latin-1", "replace"), safe=_PRINTABLE)))
        require_web_address(place)
    except ValueError as error:  # includes InputError
        raise WebError(f"the server leads elsewhere, {error}", may_pass=False) from error
    if address.lower().startswith("https:") and not place.lower().startswith("https:"):
        raise WebError(f"the server leads from https to {_shown(place)}, which is not encrypted", may_pass=False)
    return place


def _seconds(retry_after: str) -> float:
    """Return the seconds of a Retry-After header, a number or a date; 0 for any other value."""
    if is_number(retry_after.strip()):
        return float(retry_after)
    with suppress(ValueError, TypeError, OverflowError):
        moment = parsedate_to_datetime(retry_after)
        return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    return 0.0


def _reason(error: Exception) -> str:
    cause = next((one for one in error.args if isinstance(one, Exception)), error)
    text = " ".join(str(cause).split()) or type(cause).__name__
    if "CERTIFICATE_VERIFY_FAILED" in text:
        reason = text.partition("certificate verify failed: ")[2].partition(" (_ssl")[0] or "unknown reason"
        chain = "; it may have left out an intermediate certificate" if "issuer" in reason else ""
        more = "REQUESTS_CA_BUNDLE names a file with further ones"
        return f"its certificate cannot be verified ({_shown(reason)}){chain}: {more}"
    if isinstance(cause, BadStatusLine) and not isinstance(cause, RemoteDisconnected):
        return _shown(f"the server does not answer in HTTP, but {text[:80]!r}")
    return _shown(re.sub(r"^\S*(?:object at |\().*?[>)]: ", "", text))


def _may_pass(error: Exception) -> bool:
    """Return whether another attempt may succeed; False if the server does not speak HTTP or its certificate is bad."""
    causes = (error, *error.args)
    if any(isinstance(one, RemoteDisconnected) for one in causes):
        return True
    return not any(isinstance(one, _LASTING) for one in causes) and "CERTIFICATE_VERIFY_FAILED" not in str(error)


def _shown(text: str) -> str:
    return (text if text.isprintable() else ascii(text))[:200]
