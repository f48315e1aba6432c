"""Fetch a large file over a bad line: what is there is kept, what is missing is asked for, nothing is fetched twice."""

import random
import time
from dataclasses import dataclass
from pathlib import Path

from unclouded.errors import InputError
from unclouded.files import explained, named, write_json
from unclouded.progress import ProgressCallback, no_progress
from unclouded.strict_json import read_json_object
from unclouded.web import (
    Answer,
    SilentError,
    WebError,
    WebLimits,
    asked,
    declared_bytes,
    is_number,
    require_web_address,
    shown_address,
)

ATTEMPTS = 8
"""Attempts in a row that may bring nothing before the download gives up."""
FIRST_ATTEMPTS = 4
"""The same for a server that has not sent a byte of the file since the download began."""
SILENT_ATTEMPTS = 2
"""The same for a server that has not even answered."""
LONGEST_WAIT_S = 60.0
_RANGE_NOT_SATISFIABLE = 416


@dataclass(frozen=True)
class RetryPolicy:
    """How patient a download is.

    Attributes:
        attempts: Attempts in a row that may bring nothing.
        first_wait_s: Mean wait after the first of them; it doubles each time, to at most a minute.
        limits: How long the server may take for one of them.
        rng: Source of the waits' randomness, so that many clients do not come back at once.
    """

    attempts: int = ATTEMPTS
    first_wait_s: float = 1.0
    limits: WebLimits = WebLimits()  # noqa: RUF009  (frozen)
    rng: random.Random = random.Random()  # noqa: RUF009, S311  (waits are no secret)

    def wait(self, failures: int, asked_s: float = 0.0) -> None:
        """Wait after so many failures, at least as long as the server asks for, at most a minute."""
        mean = self.first_wait_s * 2 ** (failures - 1)
        time.sleep(min(max(self.rng.uniform(0.5, 1.5) * mean, asked_s), LONGEST_WAIT_S))


@dataclass(frozen=True)
class RemoteFile:
    """Size and version of a file on a server.

    Attributes:
        size: Bytes.
        mark: ETag or date of change; empty where the server gives neither.
    """

    size: int
    mark: str


def download(
    address: str, target: Path, on_progress: ProgressCallback = no_progress, retry: RetryPolicy = RetryPolicy()
) -> None:
    """Fetch a file; a rest that an earlier call left beside ``target`` is taken up by range.

    Args:
        address: http or https.
        target: Where to; it appears when the last byte is on disk. ``NAME.part`` and ``NAME.part.json`` lie beside it
            until then.
        on_progress: Called with (stage, bytes done, total bytes).
        retry: How patient to be.

    Raises:
        InputError: The server has no such file, or the line stays dead; what was fetched is kept.
    """
    require_web_address(address)
    part, note = (target.with_name(f"{target.name}{suffix}") for suffix in (".part", ".part.json"))
    failures, has_brought = 0, False
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        while True:
            there = _size(part)
            try:
                total = _go_on(address, part, note, on_progress, retry)
                break
            except WebError as error:
                if begins_anew := error.status == _RANGE_NOT_SATISFIABLE:  # the file became shorter
                    note.unlink(missing_ok=True)
                grown = _size(part) - there
                has_brought |= grown > 0
                failures = 1 if grown >= retry.limits.least_bytes else failures + 1
                first = SILENT_ATTEMPTS if isinstance(error, SilentError) else FIRST_ATTEMPTS
                is_lasting = not error.may_pass and not begins_anew
                if is_lasting or failures >= (retry.attempts if has_brought else min(retry.attempts, first)):
                    raise InputError(_given_up(address, part, error)) from error
                retry.wait(failures, error.wait_s)
        if _size(part) != total:
            raise InputError(f"{named(part)} has {_size(part):,} bytes, expected {total:,}; delete it")
        part.replace(target)
        note.unlink(missing_ok=True)


def _given_up(address: str, part: Path, error: WebError) -> str:
    kept = f"what is there is kept in {named(part)}, run again to go on" if _size(part) else "check the address"
    return f"{shown_address(address)}: {error}; {kept}"


def _go_on(address: str, part: Path, note: Path, on_progress: ProgressCallback, retry: RetryPolicy) -> int:
    """Fetch what is missing over one connection; return the size of the whole."""
    known = _noted(note)
    there = _size(part) if known else 0
    if known and there == known.size:
        return known.size
    headers = {"Accept-Encoding": "identity"}
    if there and known:
        headers |= {"Range": f"bytes={there}-"} | ({"If-Range": known.mark} if known.mark else {})
    with asked("GET", address, headers=headers, limits=retry.limits) as answer:
        remote, start, end = _described(answer)
        if start != there or (known and remote != known):
            there = 0  # another file by now, or a server that knows no ranges: from the beginning
        if start not in (0, there):
            note.unlink(missing_ok=True)  # the next connection begins anew
            raise WebError(f"the server answers from byte {start:,}, expected {there:,}")
        write_json(note, {"size": remote.size, "mark": remote.mark})
        with part.open("ab") as file:
            file.truncate(there)
            for chunk in answer.chunks():
                if there + len(chunk) > end:
                    raise WebError("the server sends more bytes than it declared", may_pass=False)
                file.write(chunk)
                there += len(chunk)
                on_progress(f"fetch {part.stem}", there, remote.size)
    if there != remote.size:
        raise WebError(f"the server breaks off {remote.size - there:,} bytes before the end")
    return remote.size


def _described(answer: Answer) -> tuple[RemoteFile, int, int]:
    """Return the file as the answer describes it, the byte that the answer begins with, and the one it ends before."""
    if answer.status not in (200, 206):
        raise answer.error()
    mark = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
    length = declared_bytes(answer.headers)
    if answer.status == 200:
        if length is None:
            raise WebError("the server does not declare how long the file is", may_pass=False)
        return RemoteFile(length, mark), 0, length
    span, _, total = answer.headers.get("Content-Range", "").strip().removeprefix("bytes ").partition("/")
    first, _, last = span.partition("-")
    if not (is_number(first) and is_number(last) and is_number(total)):
        raise WebError("the server answers a part of the file without a valid range", may_pass=False)
    start, end, size = int(first), int(last) + 1, int(total)
    if not start < end <= size or length not in (None, end - start):
        raise WebError(f"the server declares {length} bytes for the range {span}/{total}", may_pass=False)
    return RemoteFile(size, mark), start, end


def _noted(note: Path) -> RemoteFile | None:
    try:
        content = read_json_object(note, 1 << 16)
        return RemoteFile(int(content["size"]), str(content["mark"]))
    except (ValueError, KeyError, TypeError):
        return None


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
