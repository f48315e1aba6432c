"""Registry of the files that the viewer serves: a request names an id, never a path."""

import hashlib
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from unclouded.errors import InputError
from unclouded.files import is_file, named, resolved

ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Form of every id in a request."""


def id_of(*words: object) -> str:
    """Return an id that depends on words alone, so that a link stays valid when the viewer is started again."""
    return hashlib.sha256("\0".join(map(str, words)).encode(errors="surrogateescape")).hexdigest()[:16]


class Registry:
    """Files by id, each inside a folder that the user named.

    A file is checked when it is added and when it is opened: it has to be regular, and inside its folder after all
    symbolic links are followed.
    """

    def __init__(self) -> None:
        self._files: dict[str, tuple[Path, Path]] = {}

    def add(self, path: Path, root: Path) -> str:
        """Add a file; return its id.

        Args:
            path: File.
            root: Folder that it must not leave.

        Raises:
            InputError: The file is not regular, or is outside of the folder.
        """
        require_inside(path, root)
        name = id_of(resolved(path))
        self._files[name] = (path, root)
        return name

    def open(self, name: str) -> tuple[BinaryIO, os.stat_result]:
        """Open a file for reading; return it with its state.

        Raises:
            KeyError: No file has this id.
            InputError: The file was replaced by something else.
        """
        path, root = self._files[name]
        require_inside(path, root)
        file = os.fdopen(_open_regular(resolved(path)), "rb")
        return file, os.fstat(file.fileno())

    def name(self, name: str) -> str:
        """Return the file name of an id."""
        return self._files[name][0].name


def require_inside(path: Path, root: Path) -> None:
    """Refuse anything but a regular file inside a folder.

    Raises:
        InputError: ``path`` is not a regular file, or a symbolic link leads out of ``root``.
    """
    if not is_file(path) or not resolved(path).is_relative_to(resolved(root)):
        raise InputError(f"{named(path)} is not a regular file inside {named(root)}; copy it there")


def _open_regular(path: Path) -> int:
    """Return a descriptor of a regular file; a pipe that took its place meanwhile does not block."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{named(path)} is not a regular file")
    return descriptor
