from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from unclouded.clouds.detector import Detector, ReadRows, TellRows
from unclouded.clouds.map import CloudMapSettings, map_clouds
from unclouded.clouds.rows import map_rows, reach_px
from unclouded.errors import InputError

BRIGHT = Detector("bright", "1", ("B01",), lambda reflectance, _: reflectance[0])
"""The probability of a pixel is its reflectance."""


@pytest.fixture
def scene() -> NDArray[np.float32]:
    return np.random.default_rng(0).random((1, 101, 40), np.float32)


@pytest.mark.parametrize(
    "settings",
    [
        CloudMapSettings(),
        CloudMapSettings(sigma_px=5.0),
        CloudMapSettings(mode="binary"),
        CloudMapSettings(mode="ones"),
        CloudMapSettings(resolution_m=20),
        CloudMapSettings(resolution_m=60),
    ],
    ids=str,
)
@pytest.mark.parametrize("strip_px", [12, 60, 120])
def test_strips_and_one_piece_are_the_same_to_the_last_bit(
    scene: NDArray[np.float32], settings: CloudMapSettings, strip_px: int
) -> None:
    whole = map_clouds(scene, ("B01",), settings, BRIGHT)
    strips = dict(map_rows(lambda a, b: scene[:, a:b], 101, ("B01",), settings, BRIGHT, strip_px))
    assert list(strips) == list(range(0, 101, strip_px))
    assert np.array_equal(np.concatenate(list(strips.values())), whole)


def test_the_papers_map_reaches_8_px() -> None:
    assert reach_px(CloudMapSettings()) == 8


def test_no_strip_reads_more_than_its_rows_and_its_reach(scene: NDArray[np.float32]) -> None:
    asked = []

    def read(top: int, bottom: int) -> NDArray[np.float32]:
        asked.append((top, bottom))
        return scene[:, top:bottom]

    list(map_rows(read, 101, ("B01",), CloudMapSettings(), BRIGHT, strip_px=48))
    assert asked == [(0, 56), (40, 101), (88, 101)]


def survey(read: ReadRows, height: int, bands: tuple[str, ...]) -> TellRows:
    """Tell by the mean of a column, which no strip knows, and by the row, which a strip has to be told."""
    parts = [read(top, min(top + 9, height)) for top in range(0, height, 9)]
    bright = np.concatenate(parts, axis=1)[0].mean(axis=0) > 0.5

    def tell(top: int, reflectance: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = top + np.arange(reflectance.shape[1], dtype=np.float32)
        return np.asarray(bright * rows[:, None] / height, dtype=np.float32)

    return tell


def in_one_piece(image: NDArray[np.float32], bands: tuple[str, ...]) -> NDArray[np.float32]:
    return survey(lambda top, bottom: image[:, top:bottom], image.shape[1], bands)(0, image)


SURVEYING = Detector("surveying", "1", ("B01",), in_one_piece, survey)


@pytest.mark.parametrize("strip_px", [12, 60, 120])
def test_a_detector_that_looks_at_surroundings_has_seen_the_scene_before_its_strips(
    scene: NDArray[np.float32], strip_px: int
) -> None:
    whole = map_clouds(scene, ("B01",), CloudMapSettings(threshold=0.0), SURVEYING)
    settings = CloudMapSettings(threshold=0.0)
    strips = dict(map_rows(lambda a, b: scene[:, a:b], 101, ("B01",), settings, SURVEYING, strip_px))
    assert list(strips) == list(range(0, 101, strip_px))
    assert np.array_equal(np.concatenate(list(strips.values())), whole)
    assert whole.std() > 0.1


def test_mode_ones_asks_no_detector_for_its_survey(scene: NDArray[np.float32]) -> None:
    asks = replace(SURVEYING, survey=lambda *_: pytest.fail("asked"))
    strips = list(map_rows(lambda a, b: scene[:, a:b], 101, ("B01",), CloudMapSettings(mode="ones"), asks, 48))
    assert all(strip.all() for _, strip in strips)


def test_such_a_detector_chooses_its_own_resolution(scene: NDArray[np.float32]) -> None:
    with pytest.raises(InputError, match="surveying chooses its own resolution, found 20 m; set resolution_m to 10"):
        map_clouds(scene, ("B01",), CloudMapSettings(resolution_m=20), SURVEYING)
