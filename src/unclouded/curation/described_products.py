"""Cache of the metadata of products in folders, so that a plan of thousands of products reads each of them once."""

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
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

VERSION = 2
"""Version of the records; other ones are not used."""
MAX_BYTES = 256 << 20
"""Largest cache of one folder; a record takes 4 kB."""
DECIMALS = 6
"""Decimals of the degrees of a footprint: 0.1 m."""
PARALLEL_FROM = 64
"""Smallest number of products that several processes read; fewer take less time than the start of a process."""


class DescribedProducts:
    """Scenes of the products in a folder, from the cache if a product has not changed since.

    Args:
        folder: Folder of products.
    """

    def __init__(self, folder: Path) -> None:
        self._path = default_folder() / "products" / f"{content_id(VERSION, str(resolved(folder)))}.json"
        self._known = _read(self._path)
        self._used: dict[str, Any] = {}

    def scenes(self, paths: Sequence[Path], processes: int = 1) -> Iterator[tuple[Path, list[SceneRecord] | str]]:
        """Yield the scenes of each product, or the reason why it has none, which is not cached.

        Args:
            paths: Products.
            processes: Number of processes that read products.
        """
        states = {path: _state(path) for path in paths}
        known = {path: self._known.get(path.name) for path in paths}
        new = [path for path, entry in known.items() if not isinstance(entry, dict) or entry["state"] != states[path]]
        found = dict(zip(new, _described_all(new, processes), strict=True))
        for path in paths:
            scenes = found[path] if path in found else self._known[path.name]["scenes"]
            if isinstance(scenes, str):
                yield path, scenes
                continue
            self._used[path.name] = {"state": states[path], "scenes": scenes}
            yield path, list(_scenes(path, scenes))

    def save(self) -> None:
        """Write the cache, without products that no longer exist; a full disk is no error, as nothing is lost."""
        if self._used != self._known:
            try:
                write_json(self._path, self._used)
            except (MachineError, OSError):
                return


def _state(path: Path) -> list[list[Any]]:
    manifest = path / "manifest.safe"
    return file_states(manifest if manifest.is_file() else path)


def _described_all(paths: Sequence[Path], processes: int) -> list[list[dict[str, Any]] | str]:
    if processes == 1 or len(paths) < PARALLEL_FROM:
        return [_described(path) for path in paths]
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(_described, paths, chunksize=16))


def _described(path: Path) -> list[dict[str, Any]] | str:
    """Return the scenes of a product as JSON values, or the reason why it has none."""
    try:
        return [_as_json(one) for one in describe_scenes(path)]
    except InputError as error:
        return str(error)


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(read_json_object(path, MAX_BYTES))
    except InputError:  # none yet, or damaged
        return {}


def _as_json(record: SceneRecord) -> dict[str, Any]:
    footprint = {"type": record.footprint["type"], "coordinates": _rounded(record.footprint["coordinates"])}
    return {**asdict(record), "footprint": footprint, "acquired": record.acquired.isoformat(), "place": ""}


def _rounded(coordinates: Any) -> Any:
    if isinstance(coordinates, int | float):
        return round(coordinates, DECIMALS)
    return [_rounded(one) for one in coordinates]


def _scenes(path: Path, scenes: Sequence[Mapping[str, Any]]) -> Iterator[SceneRecord]:
    for one in scenes:
        yield SceneRecord(**{**one, "acquired": datetime.fromisoformat(one["acquired"]), "place": str(path)})
