from collections import Counter
from typing import Any

import numpy as np
import pytest

from unclouded.errors import InputError
from unclouded.patches.geographic_split import PlacedRegion, require_apart, split_by_place
from unclouded.patches.identity import Roi
from unclouded.patches.splits import Split


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
    wanted = {"train": 16, "val": 2, "test": 2}  # of 20 regions
    assert max(abs(count - wanted[part]) for (part, *_), count in strata.items()) <= 1
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
    with pytest.raises(InputError, match="1 groups of regions 50 km apart leave val and test empty; give more regions"):
        split_by_place([PlacedRegion(Roi("ROIs0001", "fall", 1), square(0, 0))], np.random.default_rng(0))
    with pytest.raises(InputError, match="sum to 1"):
        split_by_place(regions(), np.random.default_rng(0), (0.9, 0.2, 0.1))
