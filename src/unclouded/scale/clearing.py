"""Many scenes without their clouds, one scene a task: the same products as of one scene by itself."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from unclouded.errors import InputError
from unclouded.files import resolved
from unclouded.models.catalogue import choose_map
from unclouded.models.remover import CloudRemover
from unclouded.prediction.scene import SUMMARY, ClearedScene, SceneSettings, clear, describe_remover
from unclouded.prediction.wanted import WantedRemover
from unclouded.scale.delivery import Output
from unclouded.scale.regions import known_by
from unclouded.scale.scene_list import ListedScene
from unclouded.scale.storage import fetched, is_url
from unclouded.scale.tasks import Row, TaskFolder, content_id
from unclouded.strict_json import read_json_object

WORK = ".clearing"
"""Folder beside the scenes where the tasks leave their notes."""


FIT = ("radar_after_optical_days", "shift_right_px", "shift_down_px", "shift_gap")
"""What the table says of how radar and optics go together; see :mod:`unclouded.prediction.fit`."""


@dataclass(frozen=True)
class PinnedRemover:
    """A remover that is asked for, and the description of the one that was found when the tasks were made."""

    wanted: WantedRemover
    description: str

    @classmethod
    def of(cls, wanted: WantedRemover) -> "PinnedRemover":
        """Find a remover, and keep what it is known by: name, bands, settings and the hash of its weights."""
        description = _described(wanted.find())
        if wanted.name and (weights := Path(wanted.name)).is_file():
            wanted = replace(wanted, name=str(resolved(weights)))  # workers may have another working folder
        return cls(wanted, description)

    def find(self) -> CloudRemover:
        """Return the very same remover, in whatever process; it is loaded once.

        Raises:
            InputError: The weights are others now.
        """
        return _loaded(self)


@lru_cache(maxsize=8)
def _loaded(pinned: PinnedRemover) -> CloudRemover:
    remover = pinned.wanted.find()
    if _described(remover) != pinned.description:
        raise InputError(f"{pinned.wanted.name} holds other weights than at the start; run the command again")
    return remover


def _described(remover: CloudRemover) -> str:
    told = describe_remover(remover)
    told.pop("precision", None)  # what auto means is up to each processor; what was asked for counts
    return json.dumps(told, sort_keys=True)


@dataclass(frozen=True)
class ClearScene:
    """Clear one scene; see :class:`~unclouded.scale.tasks.Task`.

    Attributes:
        name: Of the scene and of its folder.
        id: Hash of images, remover and settings.
        folder: Of the products.
        cloudy: Sentinel-2 product or GeoTIFF; a path, or an address in a storage.
        sar: Sentinel-1 product or GeoTIFF, idem.
        removers: The remover; after it others for the uncertainty.
        settings: How.
    """

    name: str
    id: str
    folder: Path
    cloudy: str
    sar: str
    removers: tuple[PinnedRemover, ...]
    settings: SceneSettings

    def run(self) -> list[Row]:
        """Make the products, and return one row that describes the scene.

        Raises:
            InputError: The images cannot be used.
        """
        first, *others = (one.find() for one in self.removers)
        scratch = self.folder.parent / WORK / "fetched"
        places = (scratch / f"{self.id}-{image}" for image in ("cloudy", "sar"))
        with fetched(self.cloudy, next(places)) as cloudy, fetched(self.sar, next(places)) as sar:
            cleared = clear(first, cloudy, sar, self.folder, self.settings, others=others, require_offset=True)
            return [_row(self.name, cleared)]

    def holds(self, row: Row) -> bool:
        """Say whether the folder still holds the scene that a row describes."""
        with suppress(InputError, ValueError, KeyError, TypeError):
            return bool(read_json_object(self.folder / SUMMARY)["key"] == row["key"])
        return False


def clearing(
    scenes: Sequence[ListedScene], base: Path, out: Path, removers: Sequence[WantedRemover], settings: SceneSettings
) -> list[ClearScene]:
    """Return the tasks, one a scene; ids change with the content of images and weights, and with the settings.

    A scene whose image is absent becomes a task, too, which will be set aside; once the image is there the task is
    another one.

    Args:
        scenes: What is listed.
        base: Folder that their paths are relative to.
        out: Folder for the folders of the scenes.
        removers: What clears them; the ones after the first answer for the uncertainty.
        settings: Settings of all scenes; the options of a single scene count more.

    Raises:
        InputError: A remover cannot be found.
    """
    pinned = tuple(PinnedRemover.of(one) for one in removers)
    asked = [[json.loads(one.description), one.wanted.precision] for one in pinned]
    found = [one.find() for one in pinned]
    tasks = []
    for scene in scenes:
        own = _settings_of(scene, settings, base)
        cloudy, sar = (text if is_url(text) else str(base / text) for text in (scene.cloudy, scene.sar))
        inputs = [known_by(one) for one in (cloudy, sar, own.radar.heights, own.cloud_map) if one is not None]
        used = choose_map(found, own.clouds, own.cloud_map).used
        radar = own.radar.model_copy(update={"heights": None})
        common = own.model_copy(update={"radar": radar, "clouds": used, "cloud_map": None})
        identity = content_id("clear 1", scene.name, inputs, asked, common.model_dump(mode="json"))
        tasks.append(ClearScene(scene.name, identity, out / scene.name, cloudy, sar, pinned, own))
    return tasks


def outputs(row: Row) -> list[Output]:
    """Return the files of a cleared scene, its summary last, as below the folder of all scenes."""
    made = [Output(f"{row['scene']}/{one['file']}", one["sha256"]) for one in row["files"].values()]
    return [*made, Output(f"{row['scene']}/{SUMMARY}")]


def forget_lost(tasks: Sequence[ClearScene], notes: TaskFolder) -> None:
    """Take done scenes for undone whose products are gone, or were replaced by those of other settings."""
    notes.forget([task for task in tasks if not all(task.holds(row) for row in notes.rows([task]))])


def _settings_of(scene: ListedScene, settings: SceneSettings, base: Path) -> SceneSettings:
    """Return the settings of all scenes with the options of one."""
    options = scene.options()
    if scene.heights is not None:
        options["radar"]["heights"] = base / scene.heights
    update: dict[str, Any] = {group: getattr(settings, group).model_copy(update=own) for group, own in options.items()}
    if scene.cloud_map is not None:
        update["cloud_map"] = base / scene.cloud_map
    return settings.model_copy(update=update)


def _row(name: str, cleared: ClearedScene) -> Row:
    """Return what the table of scenes says; nothing in it depends on when or where the scene was cleared."""
    summary, item = cleared.summary, read_json_object(cleared.files["item"])
    expected: Mapping[str, Any] = (summary["expected_error"] or {}).get("rows", {}).get(summary["used"], {})
    return {
        "scene": name,
        "status": "cleared",
        "remover": summary["used"],
        "expected_mae": expected.get("mae"),
        **summary["pixels"],
        "cloudy_product": summary["scene"]["product"],
        "cloudy_sha256": summary["cloudy"]["sha256"],
        "cloudy_acquired": summary["scene"].get("acquired"),
        "radar_product": summary["radar"]["product"],
        "radar_sha256": summary["sar"]["sha256"],
        "radar_acquired": summary["radar"].get("acquired"),
        **{name: summary["fit"][name] for name in FIT},
        "remarks": summary["remarks"],
        "key": summary["key"],
        "files": summary["files"],
        "crs": item["properties"].get("proj:code"),
        "geometry": item["geometry"],
        "interval": _interval(item["properties"]),
    }


def _interval(properties: Mapping[str, Any]) -> list[str]:
    """First and last moment at which the image may have been taken."""
    taken = properties.get("datetime")
    return [taken, taken] if taken else [properties["start_datetime"], properties["end_datetime"]]
