"""CSV table of the scenes of a batch, one scene per line, as written by catalogues, spreadsheets and data frames."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from unclouded.batch.storage import is_url, require_known_storage
from unclouded.clouds.detectors import find_detector
from unclouded.clouds.map import MapMode
from unclouded.errors import InputError
from unclouded.files import named, read_small
from unclouded.formats import found_clause
from unclouded.sentinel.optical import Offset
from unclouded.sentinel.radar_delivery import RadarRadiometry
from unclouded.sentinel.radar_units import RadarUnits
from unclouded.sentinel.resample import Resampling
from unclouded.settings import Settings, nearest, settings_from

TABLE, COLLECTION = "scenes.parquet", "collection.json"
"""Files that a batch writes beside the scene folders."""

MAX_BYTES = 64 << 20
"""Largest table; one of all land tiles takes 6 MB."""

MAX_MISTAKES = 10
"""Most mistakes that one message lists; further ones are only counted."""

SEPARATORS = (",", ";", "\t")
"""Recognised cell separators; spreadsheets in many locales write semicolons."""

REQUIRED = ("name", "cloudy")
"""Required columns."""


class ListedScene(Settings):
    """One line of the table; an empty cell means the setting for all scenes.

    Attributes:
        name: Name of the scene and of its output folder; letters, digits, ``-``, ``_`` and ``.``.
        cloudy: Sentinel-2 product or GeoTIFF: path relative to the table, or URL.
        sar: Sentinel-1 product or GeoTIFF: path relative to the table, or URL; empty for the optical image alone.
        offset: DN offset of an optical GeoTIFF without tags.
        resampling: Interpolation of the bands of 20 and 60 m.
        tile: Granule of an old Sentinel-2 product that has several.
        align: Whether to warp a radar GeoTIFF to the optical grid.
        units: Units of a radar GeoTIFF.
        radiometry: Radiometry of a radar GeoTIFF.
        incidence: Incidence angle for the conversion of gamma0, path relative to the table.
        heights: Elevation model for the terrain correction of a radar product, relative to the table.
        heights_datum: Metres from its zero to the ellipsoid.
        clouds: Mode of the cloud map.
        detector: Cloud detector.
        cloud_map: Cloud map to use instead of a detector, relative to the table.
        references: Images of other dates, paths relative to the table or URLs, separated by ``|``.
        reference_sars: Radar images of about these dates, likewise; one for each reference, or none.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_]([A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?$")
    cloudy: str = Field(min_length=1)
    sar: str | None = Field(None, min_length=1)
    offset: Offset | None = None
    resampling: Resampling | None = None
    tile: str | None = None
    align: bool | None = None
    units: RadarUnits | None = None
    radiometry: RadarRadiometry | None = None
    incidence: Path | None = None
    heights: Path | None = None
    heights_datum: float | None = None
    clouds: MapMode | None = None
    detector: str | None = None
    cloud_map: Path | None = None
    references: tuple[str, ...] = ()
    reference_sars: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _paired(self) -> "ListedScene":
        if self.reference_sars and len(self.reference_sars) != len(self.references):
            found = f"{len(self.reference_sars)} for {len(self.references)} references"
            raise ValueError(f"expected one of reference_sars for each of references, or none, found {found}")
        return self

    @field_validator("references", "reference_sars", mode="before")
    @classmethod
    def _separated(cls, places: Any) -> Any:
        if isinstance(places, str):
            places = tuple(place.strip() for place in places.split("|") if place.strip())
        for place in filter(is_url, map(str, places)):
            require_known_storage(place)
        return places

    @field_validator("cloudy", "sar")
    @classmethod
    def _reachable(cls, place: str | None) -> str | None:
        if place is not None and is_url(place):
            require_known_storage(place)
        return place

    @field_validator("heights", "incidence", "cloud_map", mode="before")
    @classmethod
    def _local(cls, place: Any) -> Any:
        if is_url(str(place)):
            raise ValueError(f"expected a local file, found the URL {str(place)[:100]}; download it first")
        return place

    @field_validator("detector")
    @classmethod
    def _known(cls, name: str) -> str:
        return find_detector(name).name

    def options(self) -> dict[str, dict[str, Any]]:
        """Return the non-empty cells as groups of :class:`unclouded.prediction.scene.SceneSettings`."""
        groups: dict[str, dict[str, Any]] = {
            "optical": {"offset": self.offset, "resampling": self.resampling, "tile": self.tile},
            "radar": {
                "align": self.align,
                "units": self.units,
                "radiometry": self.radiometry,
                "incidence": self.incidence,
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
            raise ValueError(f"{name} is the name of an output file beside the scene folders; choose another")
        return name


def read_scene_list(path: Path) -> list[ListedScene]:
    """Read a CSV table of scenes; the first line holds the column names and determines the separator.

    Raises:
        InputError: Not a table, unknown or missing columns, invalid cells, no scene, or duplicate names; the message
            lists all mistakes with their lines.
    """
    content = read_small(path, MAX_BYTES)
    expected = f"expected a table with the columns {', '.join(REQUIRED)}"
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
    """Return the separator that yields the most known columns in the first line; a comma if tied."""
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
            yield f"the column {column!r} occurs {count} times; keep one"
    if absent := [column for column in REQUIRED if column not in columns]:
        yield (
            f"the first line lacks the column {', '.join(absent)} (assumed separator: {separator!r}); "
            f"expected {', '.join(REQUIRED)}, and any of {', '.join(known[len(REQUIRED) :])}"
        )


def _scene(columns: list[str], cells: list[str], place: str, separator: str) -> ListedScene:
    if len(cells) > len(columns):
        raise InputError(
            f"{place} has {len(cells)} cells, expected {len(columns)}; quote cells that hold {separator!r}"
        )
    given = dict(zip(columns, cells, strict=False))
    return settings_from(ListedScene, {key: cell for key, cell in given.items() if cell}, origin=place)


def _shared_names(scenes: Mapping[int, ListedScene]) -> Iterator[str]:
    """Yield a message for lines whose scenes would share a folder, also on case-insensitive file systems."""
    lines: dict[str, list[int]] = {}
    for number, scene in scenes.items():
        lines.setdefault(scene.name.casefold(), []).append(number)
    for name, numbers in lines.items():
        if len(numbers) > 1:
            shown = ", ".join(map(str, numbers[:5]))
            yield f"lines {shown} share the name {name}; give each scene a unique name"
