"""Places on the command line: a box, a point, a GeoJSON file, or a tile of the Sentinel-2 grid."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shapely
from odc.geo.geobox import GeoBox
from shapely.geometry import box, mapping
from shapely.geometry.base import BaseGeometry

from unclouded.errors import InputError
from unclouded.io.geojson import read_area
from unclouded.sentinel.footprints import footprint, footprint_around, require_latitude, utm_crs

EXPECTED = (
    "a box WEST,SOUTH,EAST,NORTH or a point LONGITUDE,LATITUDE in degrees, a GeoJSON file, or a tile such as 32TQM"
)
SIZE_KM = 10.0
"""Side of the square around a point, unless the user gives another."""
_TILE = re.compile(r"T?(\d{1,2})([C-HJ-NP-X])([A-HJ-NP-Z])([A-HJ-NP-V])", re.IGNORECASE)
_COLUMNS = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")
_ROWS = "ABCDEFGHJKLMNPQRSTUV"
_BANDS = "CDEFGHJKLMNPQRSTUVWX"
_COARSEST_M = 60
"""Corners of tiles are multiples of the coarsest pixel: those of squares of 100 km, moved left and up."""
_TILE_PX, _SQUARE_M = 10_980, 100_000


@dataclass(frozen=True)
class Place:
    """Area of interest.

    Attributes:
        name: Text that the user gave, for messages.
        outline: GeoJSON geometry in degrees.
        tile: Tile of the Sentinel-2 grid, such as T32TQM; empty unless the user named one.
    """

    name: str
    outline: Mapping[str, Any]
    tile: str = ""

    @property
    def longitude(self) -> float:
        """Longitude of a point inside, degrees."""
        return float(shapely.geometry.shape(self.outline).representative_point().x)

    @property
    def zone(self) -> str:
        """UTM zone of a point inside, such as 32N."""
        point = shapely.geometry.shape(self.outline).representative_point()
        code = utm_crs(float(point.x), float(point.y)).removeprefix("EPSG:")
        return f"{code[-2:]}{'N' if code.startswith('326') else 'S'}"


def find_place(text: str, size_km: float = SIZE_KM) -> Place:
    """Return the place that a text describes.

    Args:
        text: Box, point, path of a GeoJSON file, or tile.
        size_km: Side of the square around a point.

    Raises:
        InputError: The text is none of them, or the place lies outside the area that Sentinel-2 observes.
    """
    if found := _TILE.fullmatch(text):
        tile = f"T{int(found[1]):02d}{''.join(found.groups()[1:]).upper()}"
        return Place(text, footprint(tile_grid(tile)), tile)
    if re.fullmatch(r"[-+0-9.,\s]+", text) and "," in text:
        return Place(text, _numbered(text, size_km))
    path = Path(text)
    if path.suffix.lower() in (".geojson", ".json") or path.is_file():
        outline = read_area(path)
        _require_seen(outline)
        return Place(path.name, dict(mapping(outline)))
    raise InputError(f"{text[:80]!r} is no place; expected {EXPECTED}")


def _numbered(text: str, size_km: float) -> Mapping[str, Any]:
    try:
        numbers = [float(one) for one in text.split(",")]
    except ValueError as error:
        raise InputError(f"{text[:80]!r} are no numbers; expected {EXPECTED}") from error
    if len(numbers) == 2:
        longitude, latitude = numbers
        _require_seen(box(longitude, latitude, longitude, latitude))
        if not 0 < size_km <= 100:
            raise InputError(f"expected a size above 0 and at most 100 km, found {size_km:g}")
        return footprint_around(longitude, latitude, (size_km, size_km))
    if len(numbers) != 4:
        raise InputError(f"{text[:80]!r} has {len(numbers)} numbers; expected {EXPECTED}")
    west, south, east, north = numbers
    if not (south < north and (west < east or west - east > 180)):
        raise InputError(f"{text[:80]!r} is no box: expected west below east and south below north, in this order")
    east = east if west < east else east + 360
    outline = box(west, south, east, north)
    _require_seen(outline)
    return dict(mapping(outline))


def _require_seen(outline: BaseGeometry) -> None:
    west, south, east, north = outline.bounds
    if not (-180 <= west <= 180 and east - west < 180 and south >= -90 and north <= 90):
        raise InputError(
            f"expected longitudes from -180 to 180 and latitudes from -90 to 90, found {west:g}, {south:g} to "
            f"{east:g}, {north:g}; longitude comes first"
        )
    require_latitude(south, north)


def tile_grid(tile: str) -> GeoBox:
    """Return the 10 m grid of a tile of Sentinel-2, such as T32TQM, by the rules of MGRS.

    Raises:
        InputError: There is no such tile.
    """
    found = _TILE.fullmatch(tile)
    zone = int(found[1]) if found else 0
    column = _COLUMNS[(zone - 1) % 3].find(found[3].upper()) + 1 if found else 0
    if not found or not 1 <= zone <= 60 or not column:
        raise InputError(f"{tile[:40]!r} is no tile of Sentinel-2; expected a name such as 32TQM")
    band, row = _BANDS.index(found[2].upper()), _ROWS.index(found[4].upper())
    # rows repeat every 2000 km; letters of even zones begin at F
    northing = ((row - (5 if zone % 2 == 0 else 0)) % 20) * _SQUARE_M
    north = band >= _BANDS.index("N")
    false_northing = 0 if north else 10_000_000
    # metres along a meridian of the southern edge of the band, from the equator (a degree has 110.57 to 111.7 km)
    edge = (8 * band - 80) * 110_700 + false_northing
    while northing + _SQUARE_M <= edge:
        northing += 20 * _SQUARE_M
    crs = f"EPSG:{32600 if north else 32700}".replace("00", f"{zone:02d}", 1)
    left = column * _SQUARE_M // _COARSEST_M * _COARSEST_M
    top = -((false_northing - northing - _SQUARE_M) // _COARSEST_M) * _COARSEST_M + false_northing
    side = _TILE_PX * 10
    return GeoBox.from_bbox((left, top - side, left + side, top), crs, shape=(_TILE_PX, _TILE_PX), tight=True)
