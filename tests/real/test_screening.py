from pathlib import Path

import pytest

from unclouded.patches.layouts import find_triplets
from unclouded.patches.reading import images_of
from unclouded.patches.screening import ScreeningSettings, screen_files

RANGE_CHECK_PATCHES = {
    "ROIs1970_fall_136_p100": ["haze"],
    "ROIs1970_fall_85_p492": ["haze"],
    "ROIs1970_fall_136_p500": [],
    "ROIs1158_spring_26_p100": ["snow"],
    "ROIs1868_summer_135_p211": ["open_water"],
    "ROIs2017_winter_112_p797": [],
}
"""Patches of SEN12MS-CR that were looked at, and what is to be seen in them."""


def test_the_screening_of_published_patches_finds_only_visible_faults(samples: Path) -> None:
    images = {one.name: one for one in images_of(find_triplets(samples / "sen12mscr"))}
    found = {name: screen_files(images[name], ScreeningSettings()) for name in RANGE_CHECK_PATCHES}
    assert {name: [one.check for one in screening.findings] for name, screening in found.items()} == RANGE_CHECK_PATCHES


@pytest.mark.parametrize("name", ("oriolac_test_0316", "oriolac_test_4433"))
def test_radar_and_optics_of_published_triplets_lie_within_a_pixel_and_a_half(samples: Path, name: str) -> None:
    images = {one.name: one for one in images_of(find_triplets(samples / "triplets"))}
    screening = screen_files(images[name], ScreeningSettings())
    assert screening.findings == () and screening.shift and screening.shift.is_confident
    assert abs(screening.shift.right_px) < 1.5 and abs(screening.shift.down_px) < 1.5
