"""Cache of the metadata of products in folders, so that a plan of thousands of products reads each of them once."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from unclouded.batch.storage import file_states
from unclouded.batch.tasks import content_id
from unclouded.catalogue.local import describe_scenes
from unclouded.catalogue.triplets import SceneRecord
from unclouded.errors import InputError, MachineError
from unclouded.files import resolved, write_json
from unclouded.io.array_cache import default_folder
from unclouded.strict_json import read_json_object

VERSION = 1
"""Version of the records; other ones are not used."""
MAX_BYTES = 256 << 20
"""Largest cache of one folder; a record takes 1.5 kB."""


class DescribedProducts:
    """Scenes of the products in a folder, from the cache if a product has not changed since.

    Args:
        folder: Folder of products.
    """

    def __init__(self, folder: Path) -> None:
        self._path = default_folder() / "products" / f"{content_id(VERSION, str(resolved(folder)))}.json"
        self._known = _read(self._path)
        self._used: dict[str, Any] = {}

    def scenes(self, path: Path) -> list[SceneRecord]:
        """Return the scenes of a product.

        Raises:
            InputError: See :func:`~unclouded.catalogue.local.describe_scenes`; the reason is not cached.
        """
        manifest = path / "manifest.safe"
        state = file_states(manifest if manifest.is_file() else path)
        entry = self._known.get(path.name)
        if not isinstance(entry, Mapping) or entry.get("state") != state:
            entry = {"state": state, "scenes": [_as_json(one) for one in describe_scenes(path)]}
        self._used[path.name] = entry
        return list(_scenes(path, entry))

    def save(self) -> None:
        """Write the cache, without products that no longer exist; a full disk is no error, as nothing is lost."""
        if self._used != self._known:
            try:
                write_json(self._path, self._used)
            except (MachineError, OSError):
                return


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(read_json_object(path, MAX_BYTES))
    except InputError:  # none yet, or damaged
        return {}


def _as_json(record: SceneRecord) -> dict[str, Any]:
    return {**asdict(record), "acquired": record.acquired.isoformat(), "place": ""}


def _scenes(path: Path, entry: Mapping[str, Any]) -> Iterator[SceneRecord]:
    for one in entry["scenes"]:
        yield SceneRecord(**{**one, "acquired": datetime.fromisoformat(one["acquired"]), "place": str(path)})
