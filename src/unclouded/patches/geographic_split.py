"""A split whose parts lie apart on the globe: neighbours stay together, seasons and continents are spread."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unclouded.errors import InputError
from unclouded.patches.geography import circle_around, gaps_km, groups_within
from unclouded.patches.identity import Roi
from unclouded.patches.splits import PARTS, Split

SHARES = (0.90, 0.05, 0.05)
"""Of the patches in train, val and test; the authors' split has 88, 6 and 6 %."""
APART_KM = 50.0
"""How far the parts lie apart at least."""


@dataclass(frozen=True)
class PlacedRegion:
    """A region and where it is.

    Attributes:
        roi: The region.
        footprint: GeoJSON geometry in degrees.
        patches: How many it has.
        continent: Or another stratum.
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
    """Split regions so that each stratum comes near the shares and no two parts come near each other.

    Groups of regions that lie within ``apart_km`` of each other are dealt out whole, the largest first, each to the
    part that its strata lack most; equals in random order.

    Args:
        regions: What to split.
        rng: Source of randomness.
        shares: Of train, val and test; sum to 1.
        apart_km: Least distance between two parts.

    Raises:
        InputError: The shares are none, or a part stays empty.
    """
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
        raise InputError(f"expected shares of train, val and test that sum to 1, found {shares}")
    ordered = sorted(regions, key=lambda region: region.roi)
    groups = groups_within([circle_around(region.footprint) for region in ordered], apart_km)
    order = sorted(rng.permutation(len(groups)).tolist(), key=lambda index: -_patches(ordered, groups[index]))
    wanted = _totals(ordered, range(len(ordered)))
    given: dict[str, Counter[tuple[str, str]]] = {part: Counter() for part in PARTS}
    parts: dict[str, list[Roi]] = {part: [] for part in PARTS}
    for index in order:
        own = _totals(ordered, groups[index])
        part = max(PARTS, key=lambda name: _lack(own, wanted, given[name], shares[PARTS.index(name)]))
        given[part] += own
        parts[part] += [ordered[member].roi for member in groups[index]]
    if empty := [part for part, share in zip(PARTS, shares, strict=True) if share > 0 and not parts[part]]:
        raise InputError(
            f"{len(groups)} groups of regions {apart_km:g} km apart leave {' and '.join(empty)} empty; "
            "give more regions, or a smaller distance"
        )
    return Split(*(frozenset(parts[part]) for part in PARTS))


def require_apart(split: Split, regions: Sequence[PlacedRegion], apart_km: float = APART_KM) -> None:
    """Refuse a split two parts of which come nearer than a distance.

    Raises:
        InputError: Names the nearest two regions.
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
    own: Counter[tuple[str, str]], wanted: Counter[tuple[str, str]], given: Counter[tuple[str, str]], share: float
) -> float:
    """Return by how many of a group's own patches a part would still lack them, over its strata and over all."""
    strata = sum(
        count * (share * wanted[name] - given[name] - own[name] / 2) / wanted[name] for name, count in own.items()
    )
    overall = share * wanted.total() - given.total() - own.total() / 2
    return strata / own.total() + overall / wanted.total()
