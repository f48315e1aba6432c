"""Scenes to clear as a table: CSV with one scene a line, as catalogues, spreadsheets and data frames write it."""

import csv
import io
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, field_validator

from unclouded.errors import InputError
from unclouded.files import named, read_small
from unclouded.scenes.radar_units import RadarUnits
from unclouded.settings import Settings, settings_from

TABLE, COLLECTION = "scenes.parquet", "collection.json"
"""What is written beside the folders of the scenes; see :mod:`unclouded.scale.scene_table`."""
MAX_BYTES = 64 << 20
"""Largest table; all land tiles take 6 MB."""
MAX_MISTAKES = 10
"""How many lines with mistakes one message spells out before it only counts."""


class ListedScene(Settings):
    """One line of the table; an empty cell is what the command says for all scenes.

    Attributes:
        name: Of the folder of its products; letters, digits, ``-``, ``_`` and ``.``.
        cloudy: Sentinel-2 product or GeoTIFF, relative to the table.
        sar: Sentinel-1 product or GeoTIFF, idem.
        align: Whether to warp a radar GeoTIFF to the optical grid.
        units: Of a radar GeoTIFF.
        heights: Elevation model to correct a radar product by, relative to the table.
        heights_datum: Metres from its zero to the ellipsoid.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_]([A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?$")
    cloudy: str = Field(min_length=1)
    sar: str = Field(min_length=1)
    align: bool | None = None
    units: RadarUnits | None = None
    heights: Path | None = None
    heights_datum: float | None = None

    @field_validator("name")
    @classmethod
    def _free(cls, name: str) -> str:
        if name.casefold() in (TABLE, COLLECTION):
            raise ValueError(f"{name} is the name of a file beside the scenes; choose another")
        return name


def read_scene_list(path: Path) -> list[ListedScene]:
    """Read a table of scenes; the first line names the columns.

    Raises:
        InputError: No table, unknown columns, lines with mistakes (all are told), no scene, or a name that is there
            twice.
    """
    try:
        text = read_small(path, MAX_BYTES).decode("utf-8-sig")  # spreadsheets put a byte order mark in front
        table = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{named(path)} is not CSV ({error}); expected columns name, cloudy, sar") from error
    columns = [column.strip() for column in table[0]] if table else []
    known = list(ListedScene.model_fields)
    if strange := [column for column in columns if column not in known or columns.count(column) > 1]:
        raise InputError(f"{named(path)} has the column {strange[0][:40]!r}; expected some of {', '.join(known)}, once")
    scenes, mistakes = [], []
    for number, cells in enumerate(table[1:], start=2):
        if not any(cells):
            continue
        try:
            scenes.append(_scene(columns, cells, f"scene {number - 1}"))
        except InputError as error:
            mistakes.append(str(error))
    if mistakes:
        more = [f"and {len(mistakes) - MAX_MISTAKES} more"] if len(mistakes) > MAX_MISTAKES else []
        raise InputError(f"{named(path)}: {'; '.join(mistakes[:MAX_MISTAKES] + more)}")
    _require_different(path, scenes)
    return scenes


def _scene(columns: list[str], cells: list[str], place: str) -> ListedScene:
    if len(cells) > len(columns):
        raise InputError(f"{place} has {len(cells)} cells, expected {len(columns)}; quote cells that hold commas")
    told: Mapping[str, str] = dict(zip(columns, cells, strict=False))
    return settings_from(ListedScene, {key: cell.strip() for key, cell in told.items() if cell.strip()}, origin=place)


def _require_different(path: Path, scenes: list[ListedScene]) -> None:
    """Refuse what would share a folder, also where file systems take capitals for small letters."""
    names = [scene.name.casefold() for scene in scenes]
    if not names:
        raise InputError(f"{named(path)} lists no scene; expected a line with name, cloudy, sar for each")
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise InputError(f"{named(path)} has {', '.join(twice[:5])} twice; give each scene a name of its own")
