"""HTTP requests that end in time, bring no more than was declared, and stay on the web, whatever a server does.

Every request runs in a thread of its own and is waited for, so that a deadline covers resolving the name, connecting,
TLS, headers, redirects and the body alike; at the deadline its sockets are shut down, which ends the thread as well.
"""

import os
import queue
import re
import socket
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
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

from unclouded.errors import InputError

MAX_REDIRECTS = 5
MAX_ADDRESS = 60_000
"""Longest address, in characters; searches carry whole outlines."""
_CHUNK = 1 << 18
_WAITING_CHUNKS = 8
_ADDRESS = re.compile(r"https?://(?:[^/?#@]*@)?(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{0,5})?(?:[/?#].*)?", re.I)
_REDIRECTS = (301, 302, 303, 307, 308)
_BUSY = (408, 425, 429)
_LASTING = (BadStatusLine, InvalidHeader, LineTooLong, UnknownProtocol)
_PRINTABLE = "".join(map(chr, range(33, 127)))


@dataclass(frozen=True)
class WebLimits:
    """How long a server may take.

    Attributes:
        connect_s: For one attempt to connect.
        silence_s: Longest silence; also the window in which a body must bring ``least_bytes_s`` on average.
        answer_s: Until the last header of the answer, redirects included.
        whole_s: Until the last byte of the body; unlimited if omitted, for files of any size.
        least_bytes_s: Slowest body.
    """

    connect_s: float = 10.0
    silence_s: float = 20.0
    answer_s: float = 30.0
    whole_s: float | None = None
    least_bytes_s: float = 1_000.0

    @property
    def least_bytes(self) -> int:
        """Bytes that a body must bring in a window of ``silence_s``."""
        return max(1, int(self.silence_s * self.least_bytes_s))


class WebError(Exception):
    """A request did not bring what was asked for.

    Attributes:
        status: Status code; None where the server gave no proper answer.
        may_pass: Whether another attempt may succeed.
        wait_s: Seconds that the server asks to wait before it; 0 where it does not.
    """

    def __init__(self, reason: str, *, status: int | None = None, may_pass: bool = True, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.status, self.may_pass, self.wait_s = status, may_pass, wait_s


class SilentError(WebError):
    """A server did not answer in time."""


def require_web_address(address: str, expected: str = "an address") -> None:
    """Refuse every address but well-formed http and https ones.

    Args:
        address: What was given.
        expected: What else would have been accepted, such as "a folder or an address".

    Raises:
        InputError: Another scheme, no host, a port that is none, or characters that an address cannot have.
    """
    shown = shown_address(address)
    if len(address) > MAX_ADDRESS:
        raise InputError(
            f"{shown!r}... has {len(address):,} characters, expected an address of at most {MAX_ADDRESS:,}"
        )
    if not re.match(r"https?://[^/?#]", address, re.I):
        raise InputError(f"{shown!r} is not {expected} that begins with http:// or https://")
    if strange := next((letter for letter in address if not "!" <= letter <= "~" or letter in '\\"<>^`{|}'), None):
        raise InputError(f"{shown!r} holds {strange!r}, which no address can; write it percent-encoded")
    if not _ADDRESS.fullmatch(address) or not _has_valid_host(address):
        raise InputError(f"{shown!r} has no valid host or port; expected an address such as https://host:8080/folder")


def _has_valid_host(address: str) -> bool:
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        labels = [""] if ":" in host else host.removesuffix(".").split(".")
        return parts.port != 0 and bool(host) and (":" in host or all(0 < len(label) < 64 for label in labels))
    except ValueError:  # a port beyond 65535, or brackets around what is no IPv6 address
        return False


def shown_address(address: str) -> str:
    """Return an address as messages show it: short, printable, without password and query, which may be secret."""
    plain, mark, _ = address.partition("?")
    text = re.sub(r"//[^/?#]*@", "//", plain)[:200] + ("?..." if mark else "")
    return text if text.isprintable() else ascii(text)[1:-1]


def declared_bytes(headers: Mapping[str, str]) -> int | None:
    """Return the length that headers declare; None where they declare none.

    Raises:
        WebError: It is no number, or there are several.
    """
    declared = {one.strip() for one in headers.get("Content-Length", "").split(",")} - {""}
    if len(declared) > 1 or not all(is_number(one) for one in declared):
        found = _shown(", ".join(sorted(declared)))[:40]
        raise WebError(f"the server declares a length of {found!r} bytes", may_pass=False)
    return int(declared.pop()) if declared else None


def is_number(text: str) -> bool:
    """Say whether a header's value is a number of bytes or seconds: 1 to 15 digits of ASCII."""
    return re.fullmatch(r"[0-9]{1,15}", text) is not None


class Answer:
    """What a server answered.

    Attributes:
        status: Status code.
        headers: Headers, by names of any case.
        address: Where the answer comes from, after redirects.
    """

    def __init__(self, exchange: "_Exchange", limits: WebLimits) -> None:
        self.status, self.headers, self.address = exchange.head()
        self._exchange, self._limits = exchange, limits

    def error(self) -> WebError:
        """Return an error that says which status was answered instead of a content."""
        asked = self.headers.get("Retry-After", "")
        moved = f", moved to {_shown(self.headers['Location'])}" if "Location" in self.headers else ""
        return WebError(
            f"the server answers {self.status} {responses.get(self.status, '')}".rstrip() + moved,
            status=self.status,
            may_pass=self.status >= 500 or self.status in _BUSY,
            wait_s=_seconds(asked),
        )

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it comes, without decoding it.

        Raises:
            WebError: The body breaks off, or comes too slowly.
        """
        waited, brought = 0.0, 0
        while True:
            before = time.monotonic()
            chunk = self._exchange.chunk(
                self._limits.silence_s - waited, f"only {brought:,} more bytes within {self._limits.silence_s:g} s"
            )
            waited += time.monotonic() - before
            if chunk is None:
                return
            brought += len(chunk)
            if brought >= self._limits.least_bytes:
                waited, brought = 0.0, 0  # time that the caller takes for a chunk does not count
            yield chunk

    def read(self, most_bytes: int) -> bytes:
        """Return the whole body, unpacked where it is gzipped.

        Raises:
            WebError: It breaks off, comes too slowly, has more than ``most_bytes``, or is packed in another way.
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
def asked(
    method: str,
    address: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    limits: WebLimits = WebLimits(),
    redirects: int = MAX_REDIRECTS,
) -> Iterator[Answer]:
    """Send a request and give its answer; whatever is left of the answer at the end of the block is not read.

    Proxies are taken from the usual environment variables, a bundle of certificates from ``REQUESTS_CA_BUNDLE``. A user
    name and a password in the address are sent to that host alone.

    Args:
        method: GET, HEAD or POST.
        address: http or https.
        headers: More headers.
        body: Content to send.
        limits: How long the server may take.
        redirects: Most redirects that are followed; only to http and https, never from https to http.

    Raises:
        InputError: The address is none.
        WebError: The server does not answer in time, or not in HTTP.
    """
    require_web_address(address)
    exchange = _Exchange(method, address, {**(headers or {}), "Connection": "close"}, body, limits, redirects)
    exchange.start()
    try:
        yield Answer(exchange, limits)
    finally:
        exchange.stop()


class _Exchange(threading.Thread):
    """One request with its redirects; puts the head of the answer, the chunks of its body and None into a queue."""

    def __init__(
        self,
        method: str,
        address: str,
        headers: Mapping[str, str],
        body: bytes | None,
        limits: WebLimits,
        redirects: int,
    ) -> None:
        super().__init__(daemon=True, name="web request")
        self._method, self._address, self._headers, self._body = method, address, headers, body
        self._limits, self._redirects = limits, redirects
        self._found: queue.Queue[Any] = queue.Queue(_WAITING_CHUNKS)
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._ends = time.monotonic() + (limits.whole_s or 0.0)

    def head(self) -> tuple[int, HTTPHeaderDict, str]:
        """Wait for status, headers and address of the answer."""
        answer_s = self._limits.answer_s
        found: tuple[int, HTTPHeaderDict, str] = self._next(answer_s, f"no answer within {answer_s:g} s")
        return found

    def chunk(self, most_s: float, missing: str) -> bytes | None:
        """Wait for a piece of the body; None at its end."""
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
        """Break the connection off, wherever the request is; ends the thread, too."""
        self._stopped.set()
        with self._lock:
            for one in self._sockets:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def watch(self, connection: socket.socket) -> None:
        """Remember a socket before anything is read from it; TLS replaces the object, a duplicate stays."""
        with self._lock:
            self._sockets.append(connection.dup())
        if self._stopped.is_set():
            self.stop()

    def run(self) -> None:
        """Make the request; every exception of the libraries below becomes one of ours here."""
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
            with self._response(address, {**self._headers, **secret}) as response:
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
    """Mixin that shows every new socket to the exchange in whose thread it is made."""

    def _new_conn(self) -> socket.socket:
        connection: socket.socket = super()._new_conn()  # type: ignore[misc]
        exchange = threading.current_thread()
        assert isinstance(exchange, _Exchange)
        exchange.watch(connection)
        return connection


class _WatchedHttp(_Watched, HTTPConnection):
    pass


class _WatchedHttps(_Watched, HTTPSConnection):
    pass


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
    """Return an address without user name and password, and the header that carries them."""
    parts = urlsplit(address)
    secret, _, host = parts.netloc.rpartition("@")
    headers = {key.title(): value for key, value in make_headers(basic_auth=unquote(secret)).items()} if secret else {}
    return parts._replace(netloc=host).geturl(), headers


def _redirected(address: str, onward: str) -> str:
    """Return where a redirect leads; servers send addresses that are not percent-encoded."""
    try:
        place, _ = _without_secret(urljoin(address, quote(onward.encode("latin-1", "replace"), safe=_PRINTABLE)))
        require_web_address(place)
    except ValueError as error:  # InputError is one
        raise WebError(f"the server leads elsewhere, {error}", may_pass=False) from error
    if address.lower().startswith("https:") and not place.lower().startswith("https:"):
        raise WebError(f"the server leads from https to {_shown(place)}, which is not encrypted", may_pass=False)
    return place


def _seconds(asked: str) -> float:
    """Return the seconds that a Retry-After header asks for, as number or date; 0 where it holds neither."""
    if is_number(asked.strip()):
        return float(asked)
    with suppress(ValueError, TypeError, OverflowError):
        moment = parsedate_to_datetime(asked)
        return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    return 0.0


def _reason(error: Exception) -> str:
    cause = next((one for one in error.args if isinstance(one, Exception)), error)
    text = " ".join(str(cause).split()) or type(cause).__name__
    if isinstance(cause, BadStatusLine) and not isinstance(cause, RemoteDisconnected):
        return _shown(f"the server does not answer in HTTP, but {text[:80]!r}")
    return _shown(re.sub(r"^\S*(?:object at |\().*?[>)]: ", "", text))


def _may_pass(error: Exception) -> bool:
    """Return whether another attempt may succeed; not where the server speaks no HTTP or has no valid certificate."""
    causes = (error, *error.args)
    if any(isinstance(one, RemoteDisconnected) for one in causes):
        return True
    return not any(isinstance(one, _LASTING) for one in causes) and "CERTIFICATE_VERIFY_FAILED" not in str(error)


def _shown(text: str) -> str:
    return (text if text.isprintable() else ascii(text))[:200]
