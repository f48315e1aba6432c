"""Finished rows of a scene, kept until the scene is whole: who was killed goes on where he was."""

import hashlib
import io
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from unclouded.files import whole_file

T = TypeVar("T")
Strip = dict[str, NDArray[Any]]
"""Rows of a scene: arrays by name."""

_PREFIX = ".rows-"
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
            InputError: The disk is full, or the folder cannot be written.
        """
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **strip)
        with whole_file(self._path(top)) as partial, partial.open("wb") as file:
            file.write(buffer.getbuffer())
            file.write(hashlib.sha256(buffer.getbuffer()).digest())

    def get(self, top: int) -> Strip | None:
        """Return the strip that begins at a row; None where it is absent or damaged."""
        try:
            content = memoryview(self._path(top).read_bytes())
        except FileNotFoundError:
            return None
        arrays, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
        if hashlib.sha256(arrays).digest() != digest:
            return None
        with np.load(io.BytesIO(arrays), allow_pickle=False) as stored:
            return dict(stored)

    def holds(self, top: int) -> bool:
        """Say whether the strip is there and whole."""
        return self.get(top) is not None

    def _path(self, top: int) -> Path:
        return self.folder / f"{self.name}-{top:08d}.strip"


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
