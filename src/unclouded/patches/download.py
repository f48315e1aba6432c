"""Fetch a large file over a bad line: what is there is kept, what is missing is asked for, nothing is fetched twice."""

import http
import http.client
import json
import random
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from unclouded.errors import InputError
from unclouded.files import explained, named, read_small, write_json

CHUNK = 1 << 20
ATTEMPTS = 8
"""How often in a row a connection may bring nothing before the download gives up."""
LONGEST_WAIT_S = 60.0
TIMEOUT_S = 30.0

Told = Callable[[int, int], object]


@dataclass(frozen=True)
class Line:
    """How patient a download is.

    Attributes:
        attempts: Connections in a row that may bring nothing.
        first_wait_s: Mean wait after the first of them; it doubles each time, to at most a minute.
        timeout_s: Longest silence of a server.
        rng: Source of the waits' randomness, so that many clients do not come back at once.
    """

    attempts: int = ATTEMPTS
    first_wait_s: float = 1.0
    timeout_s: float = TIMEOUT_S
    rng: random.Random = random.Random()  # noqa: RUF009, S311  (waits are no secret)

    def wait(self, failures: int, asked_s: float = 0.0) -> None:
        """Wait after so many failures, at least as long as the server asks for, at most a minute."""
        mean = self.first_wait_s * 2 ** (failures - 1)
        time.sleep(min(max(self.rng.uniform(0.5, 1.5) * mean, asked_s), LONGEST_WAIT_S))


@dataclass(frozen=True)
class Remote:
    """What a server says of a file.

    Attributes:
        size: Bytes.
        mark: ETag or date of change; empty where the server gives neither.
    """

    size: int
    mark: str


def require_web_address(address: str) -> None:
    """Refuse every address but http and https ones.

    Raises:
        InputError: Another scheme, or no host.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"{address[:200]!r} is neither a folder nor an address that begins with http:// or https://")


def download(address: str, target: Path, told: Told = lambda done, total: None, line: Line = Line()) -> None:
    """Fetch a file; a rest that an earlier call left beside ``target`` is taken up by range.

    Args:
        address: http or https.
        target: Where to; it appears when the last byte is on disk. ``NAME.part`` and ``NAME.part.json`` lie beside it
            until then.
        told: Called with bytes there and bytes in all.
        line: How patient to be.

    Raises:
        InputError: The server has no such file, or the line stays dead; what was fetched is kept.
    """
    require_web_address(address)
    part, note = (target.with_name(f"{target.name}{suffix}") for suffix in (".part", ".part.json"))
    failures = 0
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        while True:
            there = part.stat().st_size if part.exists() else 0
            try:
                total = _go_on(address, part, note, told, line)
                break
            except (OSError, http.client.HTTPException) as error:
                if isinstance(error, OSError) and error.errno is not None and not _is_of_the_line(error):
                    raise
                if (
                    isinstance(error, urllib.error.HTTPError)
                    and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
                ):
                    note.unlink(missing_ok=True)  # the file became shorter: begin anew
                failures = 1 if part.exists() and part.stat().st_size > there else failures + 1
                if failures >= line.attempts or _is_final(error):
                    raise InputError(
                        f"{address}: {_reason(error)}; what is there is kept in {named(part)}, run again to go on"
                    ) from error
                line.wait(failures, _asked_wait(error))
        if part.stat().st_size != total:
            raise InputError(f"{named(part)} has {part.stat().st_size:,} bytes, expected {total:,}; delete it")
        part.replace(target)
        note.unlink(missing_ok=True)


def _go_on(address: str, part: Path, note: Path, told: Told, line: Line) -> int:
    """Fetch what is missing over one connection; return the size of the whole."""
    known = _noted(note)
    there = part.stat().st_size if part.exists() and known else 0
    if known and there == known.size:
        return known.size
    headers = {"Accept-Encoding": "identity"}
    if there and known:
        headers |= {"Range": f"bytes={there}-"} | ({"If-Range": known.mark} if known.mark else {})
    request = urllib.request.Request(address, headers=headers)  # noqa: S310  (the scheme is checked)
    with urllib.request.urlopen(request, timeout=line.timeout_s) as answer:  # noqa: S310
        remote, start = _described(answer)
        if start != there or (known and remote != known):
            there = 0  # another file by now, or a server that knows no ranges: from the beginning
        if start not in (0, there):
            note.unlink(missing_ok=True)  # the next connection begins anew
            raise http.client.HTTPException(f"the server answers from byte {start:,}, expected {there:,}")
        write_json(note, {"size": remote.size, "mark": remote.mark})
        with part.open("ab") as file:
            file.truncate(there)
            while chunk := answer.read1(CHUNK):
                file.write(chunk)
                there += len(chunk)
                told(there, remote.size)
    if there != remote.size:
        raise http.client.IncompleteRead(b"", remote.size - there)
    return remote.size


def _described(answer: Any) -> tuple[Remote, int]:
    """Return the file as the answer describes it, and the byte that the answer begins with."""
    headers = answer.headers
    mark = headers.get("ETag") or headers.get("Last-Modified") or ""
    if answer.status == 206:
        span, _, total = headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        if total.isdigit() and (start := span.partition("-")[0]).isdigit():
            return Remote(int(total), mark), int(start)
        raise http.client.HTTPException("the server gives a range without saying which")
    if not (length := headers.get("Content-Length", "")).isdigit():
        raise http.client.HTTPException("the server does not say how long the file is")
    return Remote(int(length), mark), 0


def _noted(note: Path) -> Remote | None:
    try:
        content = json.loads(read_small(note, 1 << 16))
        return Remote(int(content["size"]), str(content["mark"]))
    except (InputError, ValueError, KeyError, TypeError):
        return None


def _is_of_the_line(error: OSError) -> bool:
    return isinstance(error, ConnectionError | TimeoutError | ssl.SSLError | urllib.error.URLError)


def _is_final(error: Exception) -> bool:
    """A server that answers, but not with the file; 408, 429 and its own troubles may pass."""
    return isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in (408, 416, 429)


def _asked_wait(error: Exception) -> float:
    """Return the seconds that a busy server asks for."""
    if not isinstance(error, urllib.error.HTTPError):
        return 0.0
    asked = error.headers.get("Retry-After", "")
    return float(asked) if asked.isdigit() else 0.0


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    return " ".join(str(getattr(error, "reason", None) or error or type(error).__name__).split())[:200]
