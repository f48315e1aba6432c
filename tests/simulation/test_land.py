import numpy as np
import pytest

from unclouded.simulation.land import LandCover, invent_land
from unclouded.simulation.seasons import SEASONS


@pytest.mark.parametrize("seed", range(3))
def test_the_smallest_region_has_all_covers(seed) -> None:
    land = invent_land(np.random.default_rng(seed), 256, SEASONS["spring"])
    pixels = np.bincount(land.cover.ravel(), minlength=len(LandCover))
    assert (pixels > 100).all()
    assert 0.2 < pixels[LandCover.FOREST] / 256**2 < 0.45


def test_roads_cross_the_river_on_bridges() -> None:
    land = invent_land(np.random.default_rng(2), 512, SEASONS["spring"])
    assert set(np.unique(land.cover[land.terrain.river])) == {LandCover.WATER, LandCover.ROAD}
    assert (land.cover[land.terrain.lake] == LandCover.WATER).all()


def test_town_and_plants_fit_to_the_cover() -> None:
    land = invent_land(np.random.default_rng(2), 256, SEASONS["fall"])
    np.testing.assert_array_equal(land.cover == LandCover.TOWN, land.town.area)
    assert 0 <= land.moisture.min() <= land.moisture.max() <= 1
    assert 0 <= land.needles.min() <= land.needles.max() <= 1


def test_soil_is_wetter_at_the_water_and_in_winter() -> None:
    summer, winter = (invent_land(np.random.default_rng(2), 256, SEASONS[season]) for season in ("summer", "winter"))
    assert winter.moisture.mean() > summer.moisture.mean() + 0.3
    assert summer.moisture[summer.terrain.shore_px < 5].mean() > summer.moisture.mean() + 0.05
