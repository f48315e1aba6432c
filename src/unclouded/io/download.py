"""Download a large file over an unreliable connection, with retries; an interrupted download resumes by byte range."""

import random
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from unclouded.errors import InputError
from unclouded.files import explained, named, write_json
from unclouded.progress import ProgressCallback, no_progress
from unclouded.strict_json import read_json_object
from unclouded.web import (
    Answer,
    SilentError,
    WebError,
    WebLimits,
    declared_bytes,
    is_number,
    require_web_address,
    send_request,
    shown_address,
)

ATTEMPTS = 8
"""Consecutive attempts without progress after which the download fails."""
FIRST_ATTEMPTS = 4
"""The same while the server has not yet sent a byte of the file."""
SILENT_ATTEMPTS = 2
"""The same while the server has not responded at all."""
LONGEST_WAIT_S = 60.0
"""Longest wait before another attempt; a server that asks for more with ``Retry-After`` ends the download."""
UNKNOWN = -1
"""Size of a file that a server does not state."""
_RANGE_NOT_SATISFIABLE = 416
_REJECTED = (401, 403)


@dataclass(frozen=True)
class RetryPolicy:
    """Retries with exponential backoff.

    Attributes:
        attempts: Consecutive attempts without progress after which the download fails.
        first_wait_s: Mean wait after the first failure in seconds; it doubles with each failure, up to a minute.
        limits: Timeouts of one attempt.
        rng: Random generator of the jitter, which keeps many clients from retrying at the same time.
    """

    attempts: int = ATTEMPTS
    first_wait_s: float = 1.0
    limits: WebLimits = WebLimits()  # noqa: RUF009  (frozen)
    rng: random.Random = random.Random()  # noqa: RUF009, S311  (waits are no secret)

    def wait(self, failures: int, asked_s: float = 0.0) -> None:
        """Sleep before the next attempt.

        Args:
            failures: Number of consecutive failures.
            asked_s: Wait that the server asked for (``Retry-After``), in seconds.
        """
        mean = self.first_wait_s * 2 ** (failures - 1)
        time.sleep(min(max(self.rng.uniform(0.5, 1.5) * mean, asked_s), LONGEST_WAIT_S))


@runtime_checkable
class Access(Protocol):
    """Credentials for downloads, renewed when a server rejects them."""

    def signed(self, address: str) -> str:
        """Return an address with a valid signature, or unchanged."""
        ...

    def headers(self, address: str) -> Mapping[str, str]:
        """Return the headers with credentials for an address; none for hosts that they are not for."""
        ...

    def renew(self) -> bool:
        """Discard rejected credentials; return whether others can be obtained."""
        ...


@dataclass(frozen=True)
class RemoteFile:
    """Size and version of a file on a server.

    Attributes:
        size: Size in bytes.
        mark: ETag or modification date; empty if the server sends neither.
    """

    size: int
    mark: str


def download(
    address: str,
    target: Path,
    on_progress: ProgressCallback = no_progress,
    retry: RetryPolicy = RetryPolicy(),
    access: Access | None = None,
    *,
    most_bytes: int | None = None,
) -> None:
    """Download a file; a partial file of an earlier call is continued.

    From a server that states no size (a chunked answer without Content-Length) the file is taken in one piece, as its
    end is marked, but every attempt starts anew.

    Args:
        address: http or https URL.
        target: Output file, which appears when the download is complete; until then ``NAME.part`` and
            ``NAME.part.json`` lie beside it.
        on_progress: Called with (stage, bytes done, total bytes).
        retry: Timeouts and attempts.
        access: Credentials, asked anew for every attempt; none if omitted.
        most_bytes: Largest size that is accepted; None for any.

    Raises:
        InputError: The server rejects the credentials or has no such file, it is too large, or retries are exhausted;
            the partial file is kept.
    """
    require_web_address(address)
    part, state = (target.with_name(f"{target.name}{suffix}") for suffix in (".part", ".part.json"))
    failures, has_received, renewed = 0, False, False
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        while True:
            before = _size(part)
            try:
                total = _resume(address, part, state, on_progress, retry, access, most_bytes)
                break
            except WebError as error:
                if restarts := error.status == _RANGE_NOT_SATISFIABLE:  # the file on the server became shorter
                    state.unlink(missing_ok=True)
                grown = _size(part) - before
                renewed &= grown == 0  # a signature that brought bytes may expire again
                if error.status in _REJECTED and access is not None and not renewed and access.renew():
                    renewed = True
                    continue
                has_received |= grown > 0
                failures = 1 if grown >= retry.limits.least_bytes else failures + 1
                first = SILENT_ATTEMPTS if isinstance(error, SilentError) else FIRST_ATTEMPTS
                is_permanent = (not error.may_pass and not restarts) or error.wait_s > LONGEST_WAIT_S
                if is_permanent or failures >= (retry.attempts if has_received else min(retry.attempts, first)):
                    raise InputError(_failure(address, part, error)) from error
                retry.wait(failures, error.wait_s)
        if _size(part) != total:
            raise InputError(f"{named(part)} has {_size(part):,} bytes, expected {total:,}; delete it")
        part.replace(target)
        state.unlink(missing_ok=True)


def _failure(address: str, part: Path, error: WebError) -> str:
    remedy = f"the partial file {named(part)} is kept; run again to resume" if _size(part) else "check the address"
    if error.status in _REJECTED:
        remedy = "check the credentials (docs/scenes.md, Credentials)"
    if error.wait_s > LONGEST_WAIT_S:
        return f"{shown_address(address)}: {error}, and asks to wait {error.wait_s:,.0f} s; run again after that"
    return f"{shown_address(address)}: {error}; {remedy}"


def _resume(
    address: str,
    part: Path,
    state: Path,
    on_progress: ProgressCallback,
    retry: RetryPolicy,
    access: Access | None,
    most_bytes: int | None,
) -> int:
    """Fetch the missing bytes over one connection; return the size of the whole file."""
    known = _read_state(state)
    there = _size(part) if known else 0
    if known and there == known.size:
        return known.size
    headers = {"Accept-Encoding": "identity"}
    if there and known:
        headers |= {"Range": f"bytes={there}-"} | ({"If-Range": known.mark} if known.mark else {})
    signed, authorize = (address, None) if access is None else (access.signed(address), access.headers)
    with send_request("GET", signed, headers=headers, limits=retry.limits, authorize=authorize) as answer:
        remote, start, end = _described(answer)
        most = end if most_bytes is None else min(end, most_bytes)
        if remote.size != UNKNOWN and remote.size > most:
            raise WebError(f"the file has {remote.size:,} bytes, expected at most {most:,}", may_pass=False)
        if start != there or (known and remote != known):
            there = 0  # the file changed, or the server does not support ranges: start over
        if start not in (0, there):
            state.unlink(missing_ok=True)  # the next attempt starts over
            raise WebError(f"the response starts at byte {start:,}, expected {there:,}")
        if remote.size == UNKNOWN:
            state.unlink(missing_ok=True)
        else:
            write_json(state, {"size": remote.size, "mark": remote.mark})
        with part.open("ab") as file:
            file.truncate(there)
            for chunk in answer.chunks():
                if there + len(chunk) > most:
                    limit = "it declared" if most_bytes is None or end <= most_bytes else f"{most:,}, the limit"
                    raise WebError(f"the server sends more bytes than {limit}", may_pass=False)
                file.write(chunk)
                there += len(chunk)
                on_progress(f"fetch {part.stem}", there, remote.size)
    if remote.size == UNKNOWN:  # the last chunk was marked as such
        return there
    if there != remote.size:
        raise WebError(f"the connection closed {remote.size - there:,} bytes before the end")
    return remote.size


def _described(answer: Answer) -> tuple[RemoteFile, int, int]:
    """Return the file that a response describes, and the byte range it carries (start, end exclusive)."""
    if answer.status not in (200, 206):
        raise answer.error()
    mark = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
    length = declared_bytes(answer.headers)
    if answer.status == 200:
        if length is None:
            if "chunked" not in answer.headers.get("Transfer-Encoding", "").lower():
                raise WebError("the response has no Content-Length, so that its end is uncertain", may_pass=False)
            return RemoteFile(UNKNOWN, mark), 0, sys.maxsize
        return RemoteFile(length, mark), 0, length
    span, _, total = answer.headers.get("Content-Range", "").strip().removeprefix("bytes ").partition("/")
    first, _, last = span.partition("-")
    if not (is_number(first) and is_number(last) and is_number(total)):
        raise WebError("the partial response has no valid Content-Range", may_pass=False)
    start, end, size = int(first), int(last) + 1, int(total)
    if not start < end <= size or length not in (None, end - start):
        raise WebError(f"the server declares {length} bytes for the range {span}/{total}", may_pass=False)
    return RemoteFile(size, mark), start, end


def _read_state(state: Path) -> RemoteFile | None:
    try:
        content = read_json_object(state, 1 << 16)
        return RemoteFile(int(content["size"]), str(content["mark"]))
    except (ValueError, KeyError, TypeError):
        return None


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
