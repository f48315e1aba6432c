import numpy as np
import pytest
from numpy.typing import NDArray

from unclouded.clouds.detector import Detector
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


def test_a_detector_that_looks_at_surroundings_gets_the_scene_in_one_piece(scene: NDArray[np.float32]) -> None:
    whole = Detector("whole", "1", ("B01",), BRIGHT.probability, whole=True)
    strips = list(map_rows(lambda a, b: scene[:, a:b], 101, ("B01",), CloudMapSettings(), whole, strip_px=12))
    assert [(top, len(strip)) for top, strip in strips] == [(0, 101)]


def test_such_a_detector_chooses_its_own_resolution(scene: NDArray[np.float32]) -> None:
    whole = Detector("whole", "1", ("B01",), BRIGHT.probability, whole=True)
    with pytest.raises(InputError, match="whole chooses its own resolution, found 20 m; set resolution_m to 10"):
        map_clouds(scene, ("B01",), CloudMapSettings(resolution_m=20), whole)
