"""Cloud removal of many scenes, one task per scene, and the table and STAC collection of the results.

The products of a scene are the same as those of :func:`unclouded.prediction.scene.predict_scene` for that scene alone.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import shapely
from shapely.geometry import shape

from unclouded.batch.scene_list import TABLE, ListedScene
from unclouded.batch.storage import fetched, file_states, is_url, known_by
from unclouded.batch.tasks import Row, TaskLedger, content_id
from unclouded.batch.upload import Output
from unclouded.clouds.map import PRODUCT
from unclouded.errors import InputError
from unclouded.files import write_json
from unclouded.io.geoparquet import TIME, geo_table, with_metadata, write_table
from unclouded.models.weights import choose_map
from unclouded.prediction.auto_remover import RemoverSpec
from unclouded.prediction.clearing import LOSSES
from unclouded.prediction.products import Provenance
from unclouded.prediction.scene import SUMMARY, PredictedScene, SceneSettings, predict_scene, require_radar_free
from unclouded.prediction.scene_report import ITEM
from unclouded.prediction.stac import item_id
from unclouded.strict_json import read_json_object

WORK = ".clearing"
"""Folder of the task ledger, beside the scene folders."""

MAPS = "maps"
"""Folder of the cloud maps of references in that folder, which scenes share."""

ALIGNMENT = ("radar_after_optical_days", "shift_right_px", "shift_down_px", "shift_gap")
"""Columns on the alignment of radar and optical image; see :mod:`unclouded.prediction.alignment`."""


@dataclass(frozen=True)
class PredictScene:
    """Cloud removal of one scene; see :class:`~unclouded.batch.tasks.Task`.

    Attributes:
        name: Name of the scene and of its folder.
        id: Hash of images, remover and settings.
        folder: Output folder of the scene.
        cloudy: Sentinel-2 product or GeoTIFF, as path or URL.
        sar: Sentinel-1 product or GeoTIFF, as path or URL; None for the optical image alone.
        removers: The remover, followed by further ones for the uncertainty; pinned.
        settings: Settings of the scene.
        references: Images of other dates, as path or URL, each with its radar image or None.
    """

    name: str
    id: str
    folder: Path
    cloudy: str
    sar: str | None
    removers: tuple[RemoverSpec, ...]
    settings: SceneSettings
    references: tuple[tuple[str, str | None], ...] = ()

    def run(self) -> list[Row]:
        """Write the products, and return one row that describes the scene.

        Raises:
            InputError: The images cannot be used.
        """
        first, *others = (one.find() for one in self.removers)
        scratch = self.folder.parent / WORK / "fetched"
        with ExitStack() as stack:

            def local(place: str, role: str) -> Path:
                return stack.enter_context(fetched(place, scratch / f"{self.id}-{role}"))

            cloudy = local(self.cloudy, "cloudy")
            sar = local(self.sar, "sar") if self.sar is not None else None
            references = [
                (local(one, f"{k}"), local(radar, f"{k}-sar") if radar is not None else None)
                for k, (one, radar) in enumerate(self.references)
            ]
            cleared = predict_scene(
                first,
                cloudy,
                sar,
                self.folder,
                self.settings,
                others=others,
                references=references,
                map_cache=self.folder.parent / WORK / MAPS,
                require_offset=True,
            )
            return [_row(self.name, cleared)]

    def inputs_state(self) -> str:
        """Return a hash of names, sizes and times of the input files; see :class:`~unclouded.batch.tasks.InputTask`."""
        others = (place for pair in self.references for place in pair)
        radar = self.settings.radar
        given = (self.cloudy, self.sar, radar.heights, radar.incidence, self.settings.cloud_map, *others)
        return content_id([file_states(one) for one in given if one is not None])

    def holds(self, row: Row) -> bool:
        """Return whether the folder still contains the scene that a row describes."""
        with suppress(InputError, ValueError, KeyError, TypeError):
            return bool(read_json_object(self.folder / SUMMARY)["key"] == row["key"])
        return False


def clearing(
    scenes: Sequence[ListedScene], base: Path, out: Path, removers: Sequence[RemoverSpec], settings: SceneSettings
) -> list[PredictScene]:
    """Return one task per scene; ids depend on the content of images and weights, and on the settings.

    A scene with a missing image becomes a task that fails; its id changes once the image exists.

    Args:
        scenes: Listed scenes.
        base: Folder that their paths are relative to.
        out: Parent of the scene folders.
        removers: The remover, followed by further ones for the uncertainty.
        settings: Settings of all scenes; the options of a single scene override them.

    Raises:
        InputError: A remover cannot be found, or needs radar and a scene has none.
    """
    pinned = tuple(one.pinned() for one in removers)
    requested = [[json.loads(str(one.identity)), one.precision] for one in pinned]
    found = [one.find() for one in pinned]
    tasks = []
    for scene in scenes:
        own = _settings_of(scene, settings, base)
        if scene.sar is None:
            require_radar_free(found, f"the scene {scene.name}")
        cloudy, sar = _place(scene.cloudy, base), _place(scene.sar, base) if scene.sar is not None else None
        radars = scene.reference_sars or (None,) * len(scene.references)
        references = tuple(
            (_place(one, base), None if radar is None else _place(radar, base))
            for one, radar in zip(scene.references, radars, strict=True)
        )
        given = (
            cloudy,
            sar,
            own.radar.heights,
            own.radar.incidence,
            own.cloud_map,
            *(place for pair in references for place in pair),
        )
        inputs = [known_by(one) for one in given if one is not None]
        used = choose_map(found, own.clouds, own.cloud_map, PRODUCT).used
        radar = own.radar.model_copy(update={"heights": None, "incidence": None})
        common = own.model_copy(update={"radar": radar, "clouds": used, "cloud_map": None})
        identity = content_id("clear 1", scene.name, inputs, requested, common.model_dump(mode="json"))
        folder = out / scene.name
        tasks.append(PredictScene(scene.name, identity, folder, cloudy, sar, pinned, own, references))
    return tasks


def _place(text: str, base: Path) -> str:
    return text if is_url(text) else str(base / text)


def outputs(row: Row) -> list[Output]:
    """Return the output files of a scene, its summary last, relative to the parent of the scene folders."""
    made = [Output(f"{row['scene']}/{one['file']}", one["sha256"]) for one in row["files"].values()]
    return [*made, Output(f"{row['scene']}/{SUMMARY}")]


def invalidate_lost(tasks: Sequence[PredictScene], ledger: TaskLedger) -> None:
    """Invalidate done scenes whose products are missing or were replaced by those of other settings."""
    ledger.invalidate([task for task in tasks if not all(task.holds(row) for row in ledger.rows([task]))])


def _settings_of(scene: ListedScene, settings: SceneSettings, base: Path) -> SceneSettings:
    """Return the common settings, overridden by the options of one scene."""
    options = scene.options()
    for name in ("heights", "incidence"):
        if (path := getattr(scene, name)) is not None:
            options["radar"][name] = base / path
    update: dict[str, Any] = {group: getattr(settings, group).model_copy(update=own) for group, own in options.items()}
    if scene.cloud_map is not None:
        update["cloud_map"] = base / scene.cloud_map
    return settings.model_copy(update=update)


def _row(name: str, cleared: PredictedScene) -> Row:
    """Return the table row of a scene; no value depends on when or where the scene was processed."""
    summary, item = cleared.summary, read_json_object(cleared.files["item"])
    radar: Mapping[str, Any] = summary["radar"] or {}
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
        "radar_product": radar.get("product"),
        "radar_sha256": (summary["sar"] or {}).get("sha256"),
        "radar_acquired": radar.get("acquired"),
        **{name: (summary["fit"] or {}).get(name) for name in ALIGNMENT},
        "remarks": summary["remarks"],
        "key": summary["key"],
        "files": summary["files"],
        "crs": item["properties"].get("proj:code"),
        "geometry": item["geometry"],
        "interval": _interval(item["properties"]),
    }


def _interval(properties: Mapping[str, Any]) -> list[str]:
    """Return the earliest and the latest possible acquisition time of an image."""
    taken = properties.get("datetime")
    return [taken, taken] if taken else [properties["start_datetime"], properties["end_datetime"]]


# Table of all scenes as GeoParquet, and STAC collection with a link to every item.

VERSION = "1"

SCHEMA = pa.schema(
    [
        pa.field("scene", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        ("reason", pa.string()),
        ("remover", pa.string()),
        ("expected_mae", pa.float64()),
        ("mean_coverage", pa.float64()),
        ("cloudy_share", pa.float64()),
        *((code.name.lower(), pa.int64()) for code in Provenance),
        *((name, pa.int64()) for name in LOSSES),
        *(
            (f"{sensor}_{name}", TIME if name == "acquired" else pa.string())
            for sensor in ("cloudy", "radar")
            for name in ("product", "sha256", "acquired")
        ),
        *((name, pa.float64()) for name in ALIGNMENT),
        ("remarks", pa.list_(pa.string())),
        ("item", pa.string()),
        ("clear", pa.string()),
        ("clear_bytes", pa.int64()),
        ("clear_sha256", pa.string()),
        ("crs", pa.string()),
        ("geometry", pa.binary()),
    ]
)
"""Columns of the table, described in docs/scale.md."""


def write_scene_table(path: Path, rows: Sequence[Row], failures: Mapping[str, str]) -> None:
    """Write the table atomically, sorted by name; the same scenes give the same bytes.

    Args:
        path: Output file.
        rows: Rows of the cleared scenes, from their tasks.
        failures: Reasons of the failed scenes by name.
    """
    failed = [{"scene": name, "status": "failed", "reason": reason} for name, reason in failures.items()]
    table = geo_table(SCHEMA, sorted([*map(_listed, rows), *failed], key=lambda row: str(row["scene"])))
    write_table(path, with_metadata(table, {"unclouded.scenes": VERSION}))


def _listed(row: Row) -> Row:
    clear = row["files"]["clear"]
    return row | {
        "item": f"{row['scene']}/{ITEM}",
        "clear": f"{row['scene']}/{clear['file']}",
        "clear_bytes": clear["bytes"],
        "clear_sha256": clear["sha256"],
    }


def write_collection(path: Path, title: str, rows: Sequence[Row]) -> None:
    """Write a STAC 1.1 collection beside the scene folders, with a link to the item of each scene.

    Args:
        path: Output file.
        title: Title from which the id is derived.
        rows: Rows of the cleared scenes.
    """
    ordered = sorted(rows, key=lambda row: str(row["scene"]))
    links = [{"rel": "root", "href": f"./{path.name}", "type": "application/json"}]
    for row in ordered:
        link = {"rel": "item", "href": f"./{row['scene']}/{ITEM}", "type": "application/geo+json"}
        links.append(link | {"title": row["scene"]})
    content = {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": item_id(title),
        "title": "Sentinel-2 scenes without clouds",
        "description": f"{len(ordered)} scenes whose cloudy pixels were predicted by unclouded, with the help of "
        f"Sentinel-1 radar where there was any. {TABLE} lists them, and those that failed. Contains modified "
        "Copernicus Sentinel data.",
        "license": "other",
        "extent": _extent(ordered),
        "links": links,
    }
    write_json(path, content)


def _extent(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the bounding box of all footprints (of the whole earth if none is known) and the acquisition interval."""
    shapes = [shape(row["geometry"]) for row in rows if row["geometry"]]
    box = [round(float(one), 7) for one in shapely.total_bounds(shapes)] if shapes else [-180.0, -90.0, 180.0, 90.0]
    moments = [moment for row in rows for moment in row["interval"]]
    return {
        "spatial": {"bbox": [box]},
        "temporal": {"interval": [[min(moments, default=None), max(moments, default=None)]]},
    }
