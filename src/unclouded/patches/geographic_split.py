"""Geographic split: regions near each other stay in one part; seasons and continents are balanced over the parts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from jaxtyping import Float64
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from shapely.geometry import shape

from unclouded.errors import InputError
from unclouded.patches.roi import Roi
from unclouded.patches.splits import PARTS, Split

SHARES = (0.90, 0.05, 0.05)
"""Shares of the patches in train, val and test; the authors' split has 88, 6 and 6 %."""

APART_KM = 50.0
"""Minimum distance between two parts."""


def parse_shares(text: str) -> tuple[float, float, float]:
    """Parse shares of train, val and test, such as ``0.8,0.1,0.1``.

    Raises:
        InputError: The text is not three numbers of at least 0 that sum to 1.
    """
    try:
        train, val, test = map(float, text.split(","))
    except ValueError as error:
        raise InputError(f"expected three shares such as 0.8,0.1,0.1, found {text[:40]!r}") from error
    _require_shares((train, val, test))
    return train, val, test


def _require_shares(shares: tuple[float, float, float]) -> None:
    if not min(shares) >= 0 or not abs(sum(shares) - 1) <= 1e-9:
        raise InputError(f"expected shares of train, val and test that sum to 1, found {shares}")


@dataclass(frozen=True)
class PlacedRegion:
    """A region and its location.

    Attributes:
        roi: Region.
        footprint: GeoJSON geometry in degrees.
        patches: Number of patches.
        continent: Continent, or another stratum.
    """

    roi: Roi
    footprint: Mapping[str, Any]
    patches: int = 1
    continent: str = ""

    @property
    def stratum(self) -> tuple[str, str]:
        """Season and continent."""
        return self.roi.season, self.continent


def split_by_place(
    regions: Sequence[PlacedRegion],
    rng: np.random.Generator,
    shares: tuple[float, float, float] = SHARES,
    apart_km: float = APART_KM,
) -> Split:
    """Split regions so that parts and strata are close to the shares and the parts keep a minimum distance.

    Groups of regions within ``apart_km`` of each other are assigned as a whole, the largest first, each to the part
    with the largest deficit in its strata; groups of equal size in random order. Groups are then moved until the parts
    are as close as possible to the shares, rounded by largest remainder to at least one region.

    Args:
        regions: Regions to split.
        rng: Source of randomness.
        shares: Shares of train, val and test; sum to 1.
        apart_km: Minimum distance between two parts.

    Raises:
        InputError: The shares are not valid, or a part stays empty.
    """
    _require_shares(shares)
    ordered = sorted(regions, key=lambda region: region.roi)
    groups = groups_within([circle_around(region.footprint) for region in ordered], apart_km)
    order = sorted(rng.permutation(len(groups)).tolist(), key=lambda index: -_patches(ordered, groups[index]))
    totals = _totals(ordered, range(len(ordered)))
    needed = [part for part, share in zip(PARTS, shares, strict=True) if share > 0]
    if len(groups) < len(needed):
        raise InputError(
            f"{len(groups)} groups of regions {apart_km:g} km apart leave a part of {' '.join(needed)} empty; "
            "add regions, or reduce the distance"
        )
    given: dict[str, Counter[tuple[str, str]]] = {part: Counter() for part in PARTS}
    part_of, own_of = [], [_totals(ordered, groups[index]) for index in order]
    for own in own_of:
        part = max(PARTS, key=lambda name: _lack(own, totals, given[name], shares[PARTS.index(name)]))
        given[part] += own
        part_of.append(part)
    targets = {
        part: regions_of * totals.total() / len(ordered)
        for part, regions_of in zip(PARTS, quotas(len(ordered), shares), strict=True)
    }
    parts: dict[str, list[Roi]] = {part: [] for part in PARTS}
    for index, part in zip(order, _near_quotas(part_of, own_of, targets), strict=True):
        parts[part] += [ordered[member].roi for member in groups[index]]
    if empty := [part for part in needed if not parts[part]]:
        raise InputError(f"regions {apart_km:g} km apart leave {' and '.join(empty)} empty; add regions elsewhere")
    return Split(*(frozenset(parts[part]) for part in PARTS))


def quotas(count: int, shares: Sequence[float]) -> list[int]:
    """Return integers close to shares of a count, by largest remainder, and at least 1 for every share above 0.

    The count has to be at least the number of shares above 0; of equal remainders the first is rounded up.
    """
    exact = [count * share for share in shares]
    found = [int(value + 1e-9) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda index: found[index] - exact[index])
    for index in by_remainder[: count - sum(found)]:
        found[index] += 1
    for index, share in enumerate(shares):
        if share > 0 and not found[index]:
            found[found.index(max(found))] -= 1
            found[index] = 1
    return found


def _near_quotas(
    part_of: Sequence[str], totals: Sequence[Counter[tuple[str, str]]], targets: Mapping[str, float]
) -> list[str]:
    """Return the part of each group, moved between parts until no move brings the sizes closer to the quotas.

    Of the groups whose move brings the sizes closest, the one that the part lacks most in its strata is moved.

    Args:
        part_of: Part of each group.
        totals: Patches of each group by stratum.
        targets: Patches of each part.
    """
    parts = list(part_of)
    sizes = [one.total() for one in totals]
    overall = sum(totals, Counter[tuple[str, str]]())
    while True:
        given = {part: Counter[tuple[str, str]]() for part in PARTS}
        for part, own in zip(parts, totals, strict=True):
            given[part] += own
        error = {part: given[part].total() - targets[part] for part in PARTS}
        low, high = min(PARTS, key=lambda part: error[part]), max(PARTS, key=lambda part: error[part])
        there = [index for index, part in enumerate(parts) if part == high]
        gains = {i: _gain(error[low], error[high], sizes[i]) for i in there if sizes[i] < given[high].total()}
        best = max(gains.values(), default=0.0)
        if best <= 1e-9:
            return parts
        share = targets[low] / overall.total()
        moved = max(
            (index for index in gains if gains[index] >= best - 1e-9),
            key=lambda index: _lack(totals[index], overall, given[low], share),
        )
        parts[moved] = low


def _gain(low: float, high: float, size: int) -> float:
    """Return by how much two errors shrink if a group of a size is moved from the higher one to the lower one."""
    return abs(low) + abs(high) - abs(low + size) - abs(high - size)


def require_apart(split: Split, regions: Sequence[PlacedRegion], apart_km: float = APART_KM) -> None:
    """Check that the parts of a split keep a minimum distance.

    Raises:
        InputError: Two parts are too close; the message names their nearest regions.
    """
    part_of = split.parts()
    placed = [region for region in regions if region.roi in part_of]
    parts = np.array([PARTS.index(part_of[region.roi]) for region in placed])
    gaps = gaps_km([circle_around(region.footprint) for region in placed])
    gaps[parts[:, None] == parts] = np.inf
    first, second = np.unravel_index(int(gaps.argmin()), gaps.shape)
    if (gap := float(gaps[first, second])) < apart_km:
        one, other = placed[int(first)].roi, placed[int(second)].roi
        found = "overlap" if gap < 0 else f"lie {gap:.0f} km apart"
        raise InputError(
            f"{one} ({part_of[one]}) and {other} ({part_of[other]}) {found}, expected {apart_km:g} km between two "
            "parts; keep them in one part"
        )


def _patches(regions: Sequence[PlacedRegion], members: Sequence[int]) -> int:
    return sum(regions[member].patches for member in members)


def _totals(regions: Sequence[PlacedRegion], members: Sequence[int]) -> Counter[tuple[str, str]]:
    totals: Counter[tuple[str, str]] = Counter()
    for member in members:
        totals[regions[member].stratum] += regions[member].patches
    return totals


def _lack(
    own: Counter[tuple[str, str]], totals: Counter[tuple[str, str]], given: Counter[tuple[str, str]], share: float
) -> float:
    """Return the deficit of a part after half of a group is added, over the strata of the group and over all."""
    strata = sum(
        count * (share * totals[name] - given[name] - own[name] / 2) / totals[name] for name, count in own.items()
    )
    overall = share * totals.total() - given.total() - own.total() / 2
    return strata / own.total() + overall / totals.total()


# Distances on the globe between circles around regions: lower bounds of the distances of the regions.


EARTH_KM = 6371.0088
"""Mean radius; the flattening changes distances by up to 0.6 %."""


@dataclass(frozen=True)
class Circle:
    """A circle on the globe.

    Attributes:
        longitude: Longitude of the centre, degrees.
        latitude: Latitude of the centre, degrees.
        radius_km: Radius along the ground, km.
    """

    longitude: float
    latitude: float
    radius_km: float

    def gap_km(self, other: "Circle") -> float:
        """Return the distance to another circle in km; negative if they overlap."""
        return float(gaps_km([self, other])[0, 1])


def gaps_km(circles: Sequence[Circle]) -> Float64[np.ndarray, "circle circle"]:
    """Return the distances between all circles in km; negative if they overlap."""
    return gaps_between(circles, circles)


def gaps_between(first: Sequence[Circle], second: Sequence[Circle]) -> Float64[np.ndarray, "first second"]:
    """Return the distances of some circles to others in km; negative if they overlap."""
    return _gaps(located(first), located(second))


Located = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Centres of circles as unit vectors, and their radii in km."""


def gaps_to(circle: Circle, others: Located) -> Float64[np.ndarray, " circle"]:
    """Return the distances of one circle to others in km; negative if they overlap."""
    return np.asarray(_gaps(located([circle]), others)[0])


def _gaps(first: Located, second: Located) -> Float64[np.ndarray, "first second"]:
    (places, radius), (others, other_radius) = first, second
    chord = np.linalg.norm(places[:, None] - others[None], axis=-1)
    return np.asarray(2 * np.arcsin(np.clip(chord / 2, 0, 1)) * EARTH_KM - radius[:, None] - other_radius)


def located(circles: Sequence[Circle]) -> Located:
    """Return circles as arrays, for many distances to them."""
    places = unit_vectors(np.array([[one.longitude, one.latitude] for one in circles], float).reshape(-1, 2))
    return places, np.array([one.radius_km for one in circles], float)


def circle_around(footprint: Mapping[str, Any]) -> Circle:
    """Return a circle around a footprint, which may cross the antimeridian.

    Args:
        footprint: GeoJSON geometry in degrees.
    """
    points = unit_vectors(shapely.get_coordinates(shape(footprint)))
    centre = points.min(axis=0) + points.max(axis=0)
    centre /= np.linalg.norm(centre)
    radius = 2 * np.arcsin(np.linalg.norm(points - centre, axis=1).max() / 2) * EARTH_KM
    longitude, latitude = np.degrees([np.arctan2(centre[1], centre[0]), np.arcsin(np.clip(centre[2], -1, 1))])
    return Circle(float(longitude), float(latitude), float(radius))


def groups_within(circles: Sequence[Circle], gap_km: float) -> list[list[int]]:
    """Group circles that are closer than a gap, directly or through others in between; return their indices."""
    _, found = connected_components(gaps_km(circles) < gap_km, directed=False)
    group = found.tolist()
    return [[index for index, one in enumerate(group) if one == name] for name in dict.fromkeys(group)]


def unit_vectors(degrees: Float64[np.ndarray, "point 2"]) -> Float64[np.ndarray, "point 3"]:
    """Return the unit vectors of places given as longitude and latitude."""
    longitude, latitude = np.radians(degrees.T)
    return np.stack([np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], 1)
