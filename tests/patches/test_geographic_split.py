from collections import Counter
from typing import Any

import numpy as np
import pytest
from odc.geo.geobox import GeoBox
from pyproj import Geod

from unclouded.errors import InputError
from unclouded.patches.geographic_split import (
    EARTH_KM,
    Circle,
    PlacedRegion,
    circle_around,
    groups_within,
    parse_shares,
    quotas,
    require_apart,
    split_by_place,
)
from unclouded.patches.roi import Roi
from unclouded.patches.splits import Split
from unclouded.sentinel.footprints import footprint


def square(west: float, south: float, side: float = 0.3) -> dict[str, Any]:
    east, north = west + side, south + side
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def regions() -> list[PlacedRegion]:
    """160 regions: 20 places, 4 degrees apart, on each of two continents in each season; all of 700 patches."""
    return [
        PlacedRegion(
            Roi("ROIs0001", season, 100 * c + n), square(40 * c + 4 * (n % 8), 20 * s + 4 * (n // 8)), 700, name
        )
        for s, season in enumerate(("spring", "summer", "fall", "winter"))
        for c, name in enumerate(("Asia", "Europe"))
        for n in range(20)
    ]


def test_every_season_and_continent_has_its_share_in_every_part() -> None:
    split = split_by_place(regions(), np.random.default_rng(1), (0.8, 0.1, 0.1))
    parts = split.parts()
    strata = Counter((parts[region.roi], *region.stratum) for region in regions())
    assert len(parts) == 160 and len(strata) == 24
    target = {"train": 16, "val": 2, "test": 2}  # of 20 regions
    assert max(abs(count - target[part]) for (part, *_), count in strata.items()) <= 1
    require_apart(split, regions())


def test_a_seed_repeats_a_split_whatever_the_order_of_the_regions() -> None:
    first = split_by_place(regions(), np.random.default_rng(1))
    assert first == split_by_place(regions()[::-1], np.random.default_rng(1))
    assert first != split_by_place(regions(), np.random.default_rng(2))


def test_regions_near_each_other_stay_together() -> None:
    pairs = [
        PlacedRegion(Roi("ROIs0001", "fall", 2 * n + twin), square(5 * n + 0.4 * twin, 0))
        for n in range(20)
        for twin in (0, 1)
    ]
    split = split_by_place(pairs, np.random.default_rng(3), (0.8, 0.1, 0.1))
    part = split.parts()
    assert all(part[Roi("ROIs0001", "fall", 2 * n)] == part[Roi("ROIs0001", "fall", 2 * n + 1)] for n in range(20))
    require_apart(split, pairs)


def test_parts_that_overlap_or_come_near_are_refused_by_name() -> None:
    here, there = (PlacedRegion(Roi("ROIs0001", "fall", n), square(0.2 * n, 0)) for n in (1, 2))
    far = PlacedRegion(Roi("ROIs0001", "fall", 3), square(1.4, 0))
    split = Split([here.roi], [there.roi], [])
    with pytest.raises(InputError, match=r"fall_1 \(train\) and ROIs0001_fall_2 \(val\) overlap, expected 50 km"):
        require_apart(split, [here, there])
    with pytest.raises(
        InputError, match=r"fall_1 \(train\) and ROIs0001_fall_3 \(test\) lie 86 km apart, expected 90 km"
    ):
        require_apart(Split([here.roi], [], [far.roi]), [here, far], 90)


def test_too_few_regions_and_wrong_shares_are_refused() -> None:
    with pytest.raises(InputError, match="1 groups of regions 50 km apart leave a part of train val test empty; add"):
        split_by_place([PlacedRegion(Roi("ROIs0001", "fall", 1), square(0, 0))], np.random.default_rng(0))
    with pytest.raises(InputError, match="sum to 1"):
        split_by_place(regions(), np.random.default_rng(0), (0.9, 0.2, 0.1))


@pytest.mark.parametrize(
    ("count", "shares", "expected"),
    [
        (3, (0.9, 0.05, 0.05), [1, 1, 1]),
        (30, (0.9, 0.05, 0.05), [27, 2, 1]),  # 27, 1.5 and 1.5
        (80, (0.9, 0.05, 0.05), [72, 4, 4]),
        (7, (0.6, 0.2, 0.2), [4, 2, 1]),  # 4.2, 1.4 and 1.4
        (5, (0.5, 0.5, 0.0), [3, 2, 0]),
    ],
)
def test_parts_have_the_shares_by_largest_remainder(
    count: int, shares: tuple[float, float, float], expected: list[int]
) -> None:
    assert quotas(count, shares) == expected
    far = [PlacedRegion(Roi("ROIs0001", "fall", n), square(3.0 * n % 360 - 180, 0), 700) for n in range(count)]
    split = split_by_place(far, np.random.default_rng(0), shares)
    assert [len(split.train), len(split.val), len(split.test)] == expected


def test_shares_are_read() -> None:
    assert parse_shares("0.8,0.1,0.1") == (0.8, 0.1, 0.1)
    for text in ("0.8,0.2", "a,b,c", "0.8,0.3,0.1", "nan,0.5,0.5"):
        with pytest.raises(InputError, match="expected"):
            parse_shares(text)


def test_a_quarter_of_the_globe_lies_between_the_equator_and_the_pole() -> None:
    gap = Circle(0, 0, 0).gap_km(Circle(0, 90, 0))
    assert gap == pytest.approx(np.pi / 2 * EARTH_KM)
    assert Circle(0, 0, 100).gap_km(Circle(0, 90, 50)) == pytest.approx(gap - 150)
    assert Circle(179, 0, 10).gap_km(Circle(-179, 0, 10)) == pytest.approx(2 * 111.195 - 20, abs=0.01)


def test_distances_are_those_of_the_ellipsoid_to_0_6_percent() -> None:
    rng, geod = np.random.default_rng(5), Geod(ellps="WGS84")
    for west, south, east, north in rng.uniform((-180, -80, -180, -80), (180, 80, 180, 80), (50, 4)):
        expected = geod.inv(west, south, east, north)[2] / 1000
        assert Circle(west, south, 0).gap_km(Circle(east, north, 0)) == pytest.approx(expected, rel=0.006)


@pytest.mark.parametrize("crs", ("EPSG:32632", "EPSG:32760"))
def test_the_circle_around_a_region_reaches_its_corners_also_over_the_antimeridian(crs: str) -> None:
    east = 500_000 if crs == "EPSG:32632" else 815_000
    region = GeoBox.from_bbox((east, 8_000_000, east + 52_000, 8_040_000), crs, shape=(40, 52))
    circle = circle_around(footprint(region))
    assert circle.radius_km == pytest.approx(np.hypot(26, 20), rel=0.02)


def test_neighbours_of_neighbours_are_one_group() -> None:
    circles = [Circle(longitude, 0, 10) for longitude in (0, 10, 1, 0.5, 11)]  # a degree is 111 km
    assert groups_within(circles, 50) == [[0, 2, 3], [1], [4]]
    assert groups_within(circles, 30) == [[0], [1], [2], [3], [4]]
    assert groups_within(circles, 95) == [[0, 2, 3], [1, 4]]


def test_groups_of_thousands_of_neighbours_are_found_at_once() -> None:
    chain = [Circle(index * 0.1, 0.0, 1.0) for index in range(1500)]  # 11 km apart, up to 150 degrees east
    alone = Circle(-90.0, 0.0, 1.0)
    assert groups_within([alone, *chain], 20.0) == [[0], list(range(1, 1501))]
