import pytest

from unclouded.simulation.seasons import CROP_SHARES, SEASONS, Crop


@pytest.mark.parametrize("season", SEASONS.values(), ids=SEASONS)
@pytest.mark.parametrize("crop", Crop)
def test_plants_of_a_crop_leave_some_ground_bare(season, crop) -> None:
    assert 0 < season.leaves[crop] + season.straw[crop] + season.blossom[crop] < 1


def test_every_field_bears_something() -> None:
    assert sum(CROP_SHARES) == pytest.approx(1)
    assert len(CROP_SHARES) == len(Crop)


def test_the_sun_stands_highest_in_summer_and_lowest_in_winter() -> None:
    heights = {name: season.sun_elevation_deg for name, season in SEASONS.items()}
    assert max(heights, key=heights.__getitem__) == "summer"
    assert min(heights, key=heights.__getitem__) == "winter"


def test_rape_blossoms_in_spring_only() -> None:
    assert [name for name, season in SEASONS.items() if season.blossom[Crop.RAPE] > 0] == ["spring"]
