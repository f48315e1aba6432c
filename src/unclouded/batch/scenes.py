"""Many scenes without their clouds, one scene a task: the same products as of one scene by itself."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import shapely
from pydantic import Field, field_validator
from shapely.geometry import shape

from unclouded.batch.storage import fetched, is_url, known_by, require_known_storage
from unclouded.batch.tasks import Row, TaskLedger, content_id
from unclouded.batch.upload import Output
from unclouded.clouds.detectors import find_detector
from unclouded.errors import InputError
from unclouded.files import named, read_small, resolved, write_json
from unclouded.formats import found_clause
from unclouded.io.geoparquet import TIME, geo_table, with_metadata, write_table
from unclouded.models.remover import CloudRemover
from unclouded.models.weights import choose_map
from unclouded.prediction.auto_remover import RemoverSpec
from unclouded.prediction.products import Provenance
from unclouded.prediction.scene import SUMMARY, PredictedScene, SceneSettings, describe_remover, predict_scene
from unclouded.prediction.scene_report import ITEM
from unclouded.prediction.stac import item_id
from unclouded.sentinel.optical import Offset
from unclouded.sentinel.radar_units import RadarUnits
from unclouded.sentinel.resample import Resampling
from unclouded.settings import Settings, nearest, settings_from
from unclouded.strict_json import read_json_object

WORK = ".clearing"
"""Folder beside the scenes where the tasks leave their notes."""


FIT = ("radar_after_optical_days", "shift_right_px", "shift_down_px", "shift_gap")
"""What the table says of how radar and optics go together; see :mod:`unclouded.prediction.alignment`."""


@dataclass(frozen=True)
class ResolvedRemover:
    """A remover that is asked for, and the description of the one that was found when the tasks were made."""

    wanted: RemoverSpec
    description: str

    @classmethod
    def of(cls, wanted: RemoverSpec) -> "ResolvedRemover":
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
def _loaded(pinned: ResolvedRemover) -> CloudRemover:
    remover = pinned.wanted.find()
    if _described(remover) != pinned.description:
        raise InputError(f"{pinned.wanted.name} holds other weights than at the start; run the command again")
    return remover


def _described(remover: CloudRemover) -> str:
    told = describe_remover(remover)
    told.pop("precision", None)  # what auto means is up to each processor; what was asked for counts
    return json.dumps(told, sort_keys=True)


@dataclass(frozen=True)
class PredictScene:
    """Clear one scene; see :class:`~unclouded.batch.tasks.Task`.

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
    removers: tuple[ResolvedRemover, ...]
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
            cleared = predict_scene(first, cloudy, sar, self.folder, self.settings, others=others, require_offset=True)
            return [_row(self.name, cleared)]

    def holds(self, row: Row) -> bool:
        """Say whether the folder still holds the scene that a row describes."""
        with suppress(InputError, ValueError, KeyError, TypeError):
            return bool(read_json_object(self.folder / SUMMARY)["key"] == row["key"])
        return False


class ListedScene(Settings):
    """One line of the table; an empty cell means what the command line says for all scenes.

    Attributes:
        name: Name of the scene and of the folder of its products; letters, digits, ``-``, ``_`` and ``.``.
        cloudy: Sentinel-2 product or GeoTIFF: path relative to the table, or address in a storage.
        sar: Sentinel-1 product or GeoTIFF, idem.
        offset: DN offset of an optical GeoTIFF without tags.
        resampling: Interpolation of the bands of 20 and 60 m.
        tile: Granule of an old Sentinel-2 product that has several.
        align: Whether to warp a radar GeoTIFF to the optical grid.
        units: Units of a radar GeoTIFF.
        heights: Elevation model to correct a radar product by, relative to the table.
        heights_datum: Metres from its zero to the ellipsoid.
        clouds: Mode of the cloud map.
        detector: Cloud detector.
        cloud_map: Cloud map to use instead of a detector, relative to the table.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_]([A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?$")
    cloudy: str = Field(min_length=1)
    sar: str = Field(min_length=1)
    offset: Offset | None = None
    resampling: Resampling | None = None
    tile: str | None = None
    align: bool | None = None
    units: RadarUnits | None = None
    heights: Path | None = None
    heights_datum: float | None = None
    clouds: Literal["continuous", "binary", "ones"] | None = None
    detector: str | None = None
    cloud_map: Path | None = None

    @field_validator("cloudy", "sar")
    @classmethod
    def _reachable(cls, place: str) -> str:
        if is_url(place):
            require_known_storage(place)
        return place

    @field_validator("heights", "cloud_map", mode="before")
    @classmethod
    def _local(cls, place: Any) -> Any:
        if is_url(str(place)):
            raise ValueError(f"expected a file on disk, found the address {str(place)[:100]}; fetch it first")
        return place

    @field_validator("detector")
    @classmethod
    def _known(cls, name: str) -> str:
        return find_detector(name).name

    def options(self) -> dict[str, dict[str, Any]]:
        """Return the cells that are filled as settings of :class:`unclouded.prediction.scene.SceneSettings`."""
        groups: dict[str, dict[str, Any]] = {
            "optical": {"offset": self.offset, "resampling": self.resampling, "tile": self.tile},
            "radar": {
                "align": self.align,
                "units": self.units,
                "heights": self.heights,
                "heights_datum_m": self.heights_datum,
            },
            "clouds": {"mode": self.clouds, "detector": self.detector},
        }
        return {
            group: {key: value for key, value in options.items() if value is not None}
            for group, options in groups.items()
        }

    @field_validator("name")
    @classmethod
    def _free(cls, name: str) -> str:
        if name.casefold() in (TABLE, COLLECTION):
            raise ValueError(f"{name} is the name of a file beside the scenes; choose another")
        return name


def clearing(
    scenes: Sequence[ListedScene], base: Path, out: Path, removers: Sequence[RemoverSpec], settings: SceneSettings
) -> list[PredictScene]:
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
    pinned = tuple(ResolvedRemover.of(one) for one in removers)
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
        tasks.append(PredictScene(scene.name, identity, out / scene.name, cloudy, sar, pinned, own))
    return tasks


def outputs(row: Row) -> list[Output]:
    """Return the files of a cleared scene, its summary last, as below the folder of all scenes."""
    made = [Output(f"{row['scene']}/{one['file']}", one["sha256"]) for one in row["files"].values()]
    return [*made, Output(f"{row['scene']}/{SUMMARY}")]


def invalidate_lost(tasks: Sequence[PredictScene], ledger: TaskLedger) -> None:
    """Take done scenes for undone whose products are gone, or were replaced by those of other settings."""
    ledger.invalidate([task for task in tasks if not all(task.holds(row) for row in ledger.rows([task]))])


def _settings_of(scene: ListedScene, settings: SceneSettings, base: Path) -> SceneSettings:
    """Return the settings of all scenes with the options of one."""
    options = scene.options()
    if scene.heights is not None:
        options["radar"]["heights"] = base / scene.heights
    update: dict[str, Any] = {group: getattr(settings, group).model_copy(update=own) for group, own in options.items()}
    if scene.cloud_map is not None:
        update["cloud_map"] = base / scene.cloud_map
    return settings.model_copy(update=update)


def _row(name: str, cleared: PredictedScene) -> Row:
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


# Scenes to clear as a table: CSV with one scene a line, as catalogues, spreadsheets and data frames write it.


TABLE, COLLECTION = "scenes.parquet", "collection.json"
"""What is written beside the folders of the scenes; see :mod:`unclouded.batch.scenes`."""

MAX_BYTES = 64 << 20
"""Largest table; all land tiles take 6 MB."""

MAX_MISTAKES = 10
"""How many lines with mistakes one message spells out before it only counts."""

SEPARATORS = (",", ";", "\t")
"""Separators of cells; spreadsheets of many countries write semicolons."""

NEEDED = ("name", "cloudy", "sar")
"""Columns of every table."""


def read_scene_list(path: Path) -> list[ListedScene]:
    """Read a table of scenes; the first line names the columns, and the separator is the one between their names.

    Raises:
        InputError: No table, unknown or missing columns, cells with mistakes, no scene, or a name that is there twice;
            all mistakes are named at once, with their lines.
    """
    content = read_small(path, MAX_BYTES)
    expected = f"expected a table with the columns {', '.join(NEEDED)}"
    try:
        text = content.decode("utf-8-sig")  # spreadsheets put a byte order mark in front
        separator = _separator(text.partition("\n")[0])
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(map(str.strip, cells))]
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(
            f"{named(path)} is not CSV{found_clause(path) or f' ({error})'}; {expected}, as UTF-8"
        ) from error
    if not lines:
        raise InputError(f"{named(path)} lists no scene; {expected}, and a line for each scene")
    (_, head), *lines = lines
    columns = [column.lower().replace("-", "_") for column in head]
    scenes: dict[int, ListedScene] = {}
    mistakes = list(_mistakes_of_columns(columns, separator))
    if not mistakes:
        for number, cells in lines:
            try:
                scenes[number] = _scene(columns, cells, f"line {number}", separator)
            except InputError as error:
                mistakes.append(str(error))
        mistakes += _shared_names(scenes)
    if mistakes:
        more = [f"and {len(mistakes) - MAX_MISTAKES} more"] if len(mistakes) > MAX_MISTAKES else []
        raise InputError(f"{named(path)}: {'; '.join(mistakes[:MAX_MISTAKES] + more)}")
    if not scenes:
        raise InputError(f"{named(path)} lists no scene; {expected}, and a line for each scene")
    return list(scenes.values())


def _separator(head: str) -> str:
    """Return the separator that makes the most known columns of the first line; a comma if several do."""
    known = set(ListedScene.model_fields)

    def columns(separator: str) -> int:
        return len({cell.strip(' "\r').lower().replace("-", "_") for cell in head.split(separator)} & known)

    return max(SEPARATORS, key=columns)


def _mistakes_of_columns(columns: Sequence[str], separator: str) -> Iterator[str]:
    known = list(ListedScene.model_fields)
    for column, count in Counter(columns).items():
        if column not in known:
            yield f"the column {column[:40]!r} is unknown{nearest(column, known)}"
        elif count > 1:
            yield f"the column {column!r} is there {count} times; leave one"
    if absent := [column for column in NEEDED if column not in columns]:
        yield (
            f"the first line names no column {', '.join(absent)} (cells are taken as separated by {separator!r}); "
            f"expected {', '.join(NEEDED)}, and any of {', '.join(known[len(NEEDED) :])}"
        )


def _scene(columns: list[str], cells: list[str], place: str, separator: str) -> ListedScene:
    if len(cells) > len(columns):
        raise InputError(
            f"{place} has {len(cells)} cells, expected {len(columns)}; quote cells that hold {separator!r}"
        )
    told: Mapping[str, str] = dict(zip(columns, cells, strict=False))
    return settings_from(ListedScene, {key: cell for key, cell in told.items() if cell}, origin=place)


def _shared_names(scenes: Mapping[int, ListedScene]) -> Iterator[str]:
    """Name lines whose scenes would share a folder, also where file systems take capitals for small letters."""
    lines: dict[str, list[int]] = {}
    for number, scene in scenes.items():
        lines.setdefault(scene.name.casefold(), []).append(number)
    for name, numbers in lines.items():
        if len(numbers) > 1:
            shown = ", ".join(map(str, numbers[:5]))
            yield f"lines {shown} have one name, {name}; give each scene a name of its own"


# What became of many scenes: a table of all of them as GeoParquet, and a STAC collection that names every item.


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
        *(
            (f"{sensor}_{name}", TIME if name == "acquired" else pa.string())
            for sensor in ("cloudy", "radar")
            for name in ("product", "sha256", "acquired")
        ),
        *((name, pa.float64()) for name in FIT),
        ("remarks", pa.list_(pa.string())),
        ("item", pa.string()),
        ("clear", pa.string()),
        ("clear_bytes", pa.int64()),
        ("clear_sha256", pa.string()),
        ("crs", pa.string()),
        ("geometry", pa.binary()),
    ]
)
"""Columns; docs/scale.md says what they mean."""


def write_scene_table(path: Path, rows: Sequence[Row], failures: Mapping[str, str]) -> None:
    """Write the table, sorted by name, whole or not at all; the same scenes give the same bytes.

    Args:
        path: The file.
        rows: Of the cleared scenes, from their tasks.
        failures: Reasons of those set aside, by name.
    """
    aside = [{"scene": name, "status": "failed", "reason": reason} for name, reason in failures.items()]
    table = geo_table(SCHEMA, sorted([*map(_listed, rows), *aside], key=lambda row: str(row["scene"])))
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
    """Write a STAC 1.1 collection beside the folders of the scenes, with a link to the item of each.

    Args:
        path: The file.
        title: Gives the id.
        rows: Of the cleared scenes.
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
        "description": f"{len(ordered)} scenes whose cloudy pixels were made by unclouded with the help of Sentinel-1 "
        f"radar. {TABLE} lists them, and those that were set aside. Contains modified Copernicus Sentinel data.",
        "license": "other",
        "extent": _extent(ordered),
        "links": links,
    }
    write_json(path, content)


def _extent(rows: Sequence[Row]) -> dict[str, Any]:
    """Boxes of all footprints, the whole earth where none is known, and the time from the first image to the last."""
    shapes = [shape(row["geometry"]) for row in rows if row["geometry"]]
    box = [round(float(one), 7) for one in shapely.total_bounds(shapes)] if shapes else [-180.0, -90.0, 180.0, 90.0]
    moments = [moment for row in rows for moment in row["interval"]]
    return {
        "spatial": {"bbox": [box]},
        "temporal": {"interval": [[min(moments, default=None), max(moments, default=None)]]},
    }
