"""What a catalogue answered, kept until a whole search is done, so that one that breaks off goes on where it was."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

from unclouded.errors import InputError
from unclouded.files import write_text
from unclouded.scenes.catalogue import MAX_BYTES, Catalogue
from unclouded.strict_json import read_json


class KeptAnswers:
    """A catalogue that is asked the same question once, as long as a folder lives.

    Args:
        catalogue: Whom to ask.
        address: What it is known by.
        folder: Takes a file an answer.

    Attributes:
        is_complete: Whether everything asked for was answered.
    """

    def __init__(self, catalogue: Catalogue, address: str, folder: Path) -> None:
        self.is_complete = True
        self._catalogue, self._address, self._folder = catalogue, address, folder

    def items(self, outline: Mapping[str, Any], days: tuple[date, date], collection: str) -> list[Any]:
        """Return what the catalogue says now, or said before; see :class:`~unclouded.scenes.catalogue.Catalogue`.

        Raises:
            InputError: It does not answer.
        """
        question = json.dumps([self._address, outline, *map(str, days), collection], sort_keys=True)
        path = self._folder / f"{hashlib.sha256(question.encode()).hexdigest()}.json"
        with suppress(InputError, TypeError):  # it was not asked yet, or said too much
            return list(read_json(path, MAX_BYTES))
        try:
            found = self._catalogue.items(outline, days, collection)
        except InputError:
            self.is_complete = False
            raise
        with suppress(RecursionError):  # items may be anything
            write_text(path, json.dumps(found))
        return found

    def forget(self) -> None:
        """Remove the folder: who searches again later wants to know what there is then."""
        shutil.rmtree(self._folder, ignore_errors=True)
