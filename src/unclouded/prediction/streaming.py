"""Finished rows of a scene, kept until the scene is whole: who was killed goes on where he was."""

import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from unclouded.files import whole_file

T = TypeVar("T")
Strip = dict[str, NDArray[Any]]
"""Rows of a scene: arrays by name."""

_PREFIX = ".rows-"
_CHUNK = 1 << 20
_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class StripStore:
    """Strips of rows on disk, each a file with its own SHA-256: a strip is there and right, or is not there.

    Attributes:
        folder: Where they lie.
        name: What the strips are of.
    """

    folder: Path
    name: str

    def put(self, top: int, strip: Strip) -> None:
        """Keep the strip that begins at a row.

        Raises:
            MachineError: The disk is full, or the folder cannot be written.
        """
        with whole_file(self._path(top)) as partial, partial.open("wb") as file:
            hashing = _Hashing(file)
            np.savez(hashing, allow_pickle=False, **strip)
            file.write(hashing.digest.digest())

    def get(self, top: int) -> Strip | None:
        """Return the strip that begins at a row; None where it is absent or damaged."""
        try:
            with self._path(top).open("rb") as file:
                if not _is_whole(file):
                    return None
                with np.load(file, allow_pickle=False) as stored:
                    return dict(stored)
        except FileNotFoundError:
            return None

    def holds(self, top: int) -> bool:
        """Say whether the strip is there and whole."""
        try:
            with self._path(top).open("rb") as file:
                return _is_whole(file)
        except FileNotFoundError:
            return False

    def _path(self, top: int) -> Path:
        return self.folder / f"{self.name}-{top:08d}.strip"


class _Hashing(io.RawIOBase):
    """Writes into a file and hashes on the way: a strip of a wide scene has hundreds of MB, once is enough."""

    def __init__(self, file: BinaryIO) -> None:
        self._to = file
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self._to.write(data)


def _is_whole(file: BinaryIO) -> bool:
    """Say whether a file ends with the hash of what comes before, and go back to its beginning."""
    left, digest = file.seek(0, os.SEEK_END) - _DIGEST_BYTES, hashlib.sha256()
    file.seek(0)
    while left > 0:
        chunk = file.read(min(left, _CHUNK))
        digest.update(chunk)
        left -= len(chunk)
    whole = file.read() == digest.digest()
    file.seek(0)
    return whole


def work_folder(out: Path, key: str) -> Path:
    """Return the folder for the strips of one run, and delete those of runs with another key.

    Args:
        out: Folder of the products, held by the caller.
        key: Hash of everything that the strips depend on.
    """
    folder = out / f"{_PREFIX}{key[:16]}"
    for other in out.glob(f"{_PREFIX}*"):
        if other != folder:
            shutil.rmtree(other)
    folder.mkdir(exist_ok=True)
    return folder


def ahead(items: list[T], load: Callable[[T], "Future[Any]"]) -> Iterator[tuple[T, Any]]:
    """Yield every item with what was loaded for it; the next one is being loaded meanwhile."""
    waiting = [load(item) for item in items[:1]]
    for index, item in enumerate(items):
        loaded = waiting.pop().result()
        waiting += [load(following) for following in items[index + 1 : index + 2]]
        yield item, loaded
