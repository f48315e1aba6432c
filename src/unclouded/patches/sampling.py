"""Random sampling of regions on land, balanced over continents and seasons, without overlap, reproducible by seed."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from unclouded.errors import InputError
from unclouded.io.geojson import parse_polygon, read_features
from unclouded.patches.geographic_split import Circle, gaps_to, located
from unclouded.patches.roi import MIDDLE_DAY, Roi
from unclouded.patches.splits import PARTS, Split, official_counts
from unclouded.sentinel.footprints import NORTHERNMOST, SOUTHERNMOST, contains_point, footprint_around, require_latitude

SEASONS = ("spring", "summer", "fall", "winter")
MONTHS = {"spring": (3, 4, 5), "summer": (6, 7, 8), "fall": (9, 10, 11), "winter": (12, 1, 2)}
"""Months of the seasons in the northern hemisphere; they are shifted by half a year in the southern one."""
GLOBE = 1.01
"""Margin factor for the circle around a region: covers the scale of UTM and the flattening of the Earth."""
LEAST_SUN_DEG = 5.0
"""Smallest elevation of the sun at noon in the middle of the season; lower, there are hardly any optical images."""
TRIALS = 2_000
"""Maximum number of random places per region before a continent is considered full."""


@dataclass(frozen=True)
class SampledRegion:
    """A place and a season to search scenes for.

    Attributes:
        roi: Region.
        longitude: Longitude of the centre, degrees.
        latitude: Latitude of the centre, degrees.
        continent: Continent, or another stratum of the land mask.
        months: Months of the season at this latitude.
        footprint: GeoJSON geometry in degrees.
    """

    roi: Roi
    longitude: float
    latitude: float
    continent: str
    months: tuple[int, int, int]
    footprint: Mapping[str, Any]


PACKAGED = ("world", "climate", "world-climate")
"""Names of the packaged land masks: continents, climate zones, and climate zones of each continent."""
LEAST_STRATUM = 30.0
"""Smallest climate zone of a continent, square degrees; a smaller one has no room for several regions."""


def packaged_land(name: str) -> dict[str, BaseGeometry]:
    """Return a packaged land mask: outlines by stratum, without Antarctica.

    Continents are those of Natural Earth, public domain; climate zones the five main classes of Koeppen and Geiger on
    a grid of 0.5 degrees (Beck et al. 2018, CC BY 4.0).

    Args:
        name: One of :data:`PACKAGED`.
    """
    folder = package_files("unclouded.patches") / "data"
    continents = read_land(Path(str(folder / "land.geojson")))
    if name == "world":
        return continents
    zones = read_land(Path(str(folder / "climate.geojson")))
    if name == "climate":
        everywhere = shapely.union_all(list(continents.values()))
        return {zone: shapely.intersection(outline, everywhere) for zone, outline in zones.items()}
    both = {
        f"{continent}, {zone}": shapely.intersection(land, outline)
        for continent, land in continents.items()
        for zone, outline in zones.items()
    }
    return {name: outline for name, outline in both.items() if outline.area >= LEAST_STRATUM}


def read_land(path: Path, warn: Callable[[str], object] = lambda message: None) -> dict[str, BaseGeometry]:
    """Read a land mask: GeoJSON polygons in degrees, each with a property ``continent``.

    Args:
        path: GeoJSON file.
        warn: Called with a message for each polygon that was repaired.

    Raises:
        InputError: The file has another format; the message names the invalid feature.
    """
    pieces: dict[str, list[BaseGeometry]] = {}
    for name, properties, geometry in read_features(path, "a land mask: polygons with a property 'continent'"):
        if not isinstance(continent := properties.get("continent"), str | int):
            raise InputError(f"{name} has no property 'continent', expected the name of a continent")
        try:
            outline, repair = parse_polygon(geometry, most_longitude=180.0)
        except InputError as error:
            raise InputError(f"{name}: {error}; correct or remove it") from error
        if repair:
            warn(f"{name} was repaired: {repair}")
        pieces.setdefault(str(continent), []).append(outline)
    return {name: shapely.unary_union(outlines) for name, outlines in pieces.items()}


def sample_regions(
    land: Mapping[str, BaseGeometry],
    count: int,
    seed: int,
    *,
    size_km: tuple[float, float] = (52.0, 40.0),
    apart_km: float = 0.0,
    least_land: float = 0.5,
    has_products: Callable[[SampledRegion], bool] = lambda region: True,
) -> list[SampledRegion]:
    """Draw random regions, cycling through continents and seasons, so that their counts differ by at most one.

    Centres are uniform by area over the land of a continent, except for places that show mostly sea, lie in polar night
    in the middle of their season, or have no products. Published regions keep their names: seeds of SEN12MS-CR count
    from 1001. The circles around any two regions, of whatever season,
    are at least ``apart_km`` apart.

    Args:
        land: Land in degrees, by continent.
        count: Number of regions.
        seed: Random seed; also the number in the names of the regions.
        size_km: Extent of a region, east to west and north to south.
        apart_km: Minimum distance.
        least_land: Smallest share of land in a region.
        has_products: Returns whether a region has suitable products.

    Raises:
        InputError: No place for a further region was found on a continent.
    """
    rng = np.random.default_rng(seed)
    strata = [(continent, season) for season in SEASONS for continent in sorted(land)]
    strata = [strata[index] for index in rng.permutation(len(strata))]
    radius = float(np.hypot(*size_km)) / 2 * GLOBE
    found: list[SampledRegion] = []
    taken: list[Circle] = []
    seed_name, everywhere = f"ROIs{seed % 10_000:04d}", shapely.union_all(list(land.values()))
    first = 1001 if any(roi.seed == seed_name for roi in official_counts()) else 1
    for index in range(count):
        continent, season = strata[index % len(strata)]
        others = located(taken)
        for longitude, latitude in _places(land[continent], rng):
            circle = Circle(longitude, latitude, radius)
            if noon_sun_deg(season, latitude) < LEAST_SUN_DEG or (taken and gaps_to(circle, others).min() < apart_km):
                continue
            outline = footprint_around(longitude, latitude, size_km)
            if _land_share(everywhere, outline) < least_land:
                continue
            roi, months = Roi(seed_name, season, first + index), months_of(season, latitude)
            region = SampledRegion(roi, longitude, latitude, continent, months, outline)
            if has_products(region):
                break
        else:
            raise InputError(
                f"{continent} has no room for region {index + 1} of {count} in {season} ({TRIALS:,} places tried); "
                "reduce the number of regions"
            )
        taken.append(circle)
        found.append(region)
    return found


def noon_sun_deg(season: str, latitude: float) -> float:
    """Return the elevation of the sun at noon in the middle of a season at a latitude, degrees."""
    local = season if latitude >= 0 else SEASONS[(SEASONS.index(season) + 2) % 4]
    declination = -23.44 * np.cos(2 * np.pi * (MIDDLE_DAY[local] + 10) / 365.25)
    return float(90 - abs(latitude - declination))


def months_of(season: str, latitude: float) -> tuple[int, int, int]:
    """Return the months of a meteorological season; in the southern hemisphere those of the opposite season."""
    first, second, third = MONTHS[season]
    if latitude >= 0:
        return first, second, third
    return (first + 5) % 12 + 1, (second + 5) % 12 + 1, (third + 5) % 12 + 1


def _land_share(land: BaseGeometry, outline: Mapping[str, Any]) -> float:
    place = shape(outline)
    return float(shapely.intersection(land, place).area / place.area)


def _places(land: BaseGeometry, rng: np.random.Generator) -> Iterator[tuple[float, float]]:
    """Yield random places on land, uniform by area: in longitude, and in the sine of latitude."""
    west, south, east, north = land.bounds
    low, high = np.sin(np.radians([max(south, SOUTHERNMOST + 0.5), min(north, NORTHERNMOST - 0.5)]))
    if low > high:
        return
    shapely.prepare(land)
    for _ in range(TRIALS):
        longitude, latitude = rng.uniform(west, east), float(np.degrees(np.arcsin(rng.uniform(low, high))))
        if shapely.contains_xy(land, longitude, latitude):
            yield float(longitude), latitude


def as_geojson(regions: Iterable[SampledRegion], split: Split) -> dict[str, Any]:
    """Return sampled regions as GeoJSON features with their season, months and part."""
    part_of = split.parts()
    features = [
        {
            "type": "Feature",
            "geometry": region.footprint,
            "properties": {
                "roi": str(region.roi),
                "center": [region.longitude, region.latitude],
                "continent": region.continent,
                "season": region.roi.season,
                "months": region.months,
                "split": part_of[region.roi],
            },
        }
        for region in regions
    ]
    return {"type": "FeatureCollection", "features": features}


def read_sampled(path: Path) -> list[tuple[SampledRegion, str]]:
    """Read sampled regions with their parts of the split, as written by :func:`as_geojson`.

    Raises:
        InputError: The file has another format; the message names the invalid feature.
    """
    found: dict[Roi, tuple[SampledRegion, str]] = {}
    for name, properties, geometry in read_features(path, "the GeoJSON that 'unclouded data sample' writes"):
        try:
            region = _sampled(properties, geometry)
        except InputError as error:
            raise InputError(f"{name}: {error}; draw regions with 'unclouded data sample'") from error
        if (split := properties.get("split")) not in PARTS:
            raise InputError(f"{name} has no part; expected a property 'split', one of {', '.join(PARTS)}")
        if region.roi in found:
            raise InputError(f"{name} has the name {region.roi} of another feature; remove one of them")
        found[region.roi] = region, str(split)
    return list(found.values())


def _sampled(properties: Mapping[str, Any], geometry: Any) -> SampledRegion:
    roi, center, continent = (properties.get(key) for key in ("roi", "center", "continent"))
    if not isinstance(roi, str) or not isinstance(continent, str):
        raise InputError("expected text for 'roi' and 'continent'")
    if not isinstance(center, list) or len(center) != 2 or not all(type(one) in (int, float) for one in center):
        raise InputError("expected longitude and latitude for 'center'")
    region, (longitude, latitude) = Roi.parse(roi), map(float, center)
    require_latitude(latitude, latitude)
    if not -180 <= longitude <= 180:
        raise InputError(f"expected a center between 180 W and 180 E, found longitude {longitude:g}")
    parse_polygon(geometry)
    if not contains_point(geometry, longitude, latitude):
        raise InputError("its polygon does not contain its center")
    return SampledRegion(region, longitude, latitude, continent, months_of(region.season, latitude), geometry)
