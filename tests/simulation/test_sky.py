import numpy as np
import pytest

from unclouded.sensors import SENTINEL2
from unclouded.simulation.seasons import SEASONS
from unclouded.simulation.sky import Sky, invent_sky, through

SUMMER = SEASONS["summer"]
B02, B10, B11 = SENTINEL2.indices("B02", "B10", "B11")


def even_sky(cumulus: float = 0, cirrus: float = 0, shadow: float = 0) -> Sky:
    return Sky(*(np.full((2, 2), value, np.float32) for value in (cumulus, cirrus, 1, shadow)))


@pytest.fixture
def land() -> np.ndarray:
    return np.full((13, 2, 2), 0.3, np.float32)


@pytest.mark.parametrize("coverage", [0.0, 0.1, 0.45, 0.9, 1.0])
def test_coverage_is_the_share_under_cumulus(coverage) -> None:
    sky = invent_sky(np.random.default_rng(1), 200, SUMMER, coverage)
    assert (sky.cumulus > 0).mean() == pytest.approx(coverage, abs=0.001)


def test_clouds_are_thick_in_the_middle_and_thin_at_the_edge() -> None:
    sky = invent_sky(np.random.default_rng(1), 256, SUMMER, 0.5)
    under = sky.cumulus[sky.cumulus > 0]
    assert 0.15 < (under > 0.9).mean() < 0.8
    assert (under < 0.5).mean() > 0.1
    assert sky.opacity.max() <= 1


def test_cirrus_is_thin_and_leaves_some_sky_open() -> None:
    for seed in range(5):
        sky = invent_sky(np.random.default_rng(seed), 256, SUMMER, 0.3)
        assert 0.02 < sky.cirrus.max() <= 0.4
        assert (sky.cirrus == 0).mean() > 0.3


def test_shadows_lie_north_west_of_their_clouds_in_the_morning() -> None:
    sky = invent_sky(np.random.default_rng(1), 512, SUMMER, 0.3)
    match = np.fft.ifft2(np.fft.fft2(sky.shadow) * np.conj(np.fft.fft2(sky.cumulus))).real
    south, east = (int(s) if s < 256 else int(s) - 512 for s in np.unravel_index(match.argmax(), match.shape))
    assert south < 0
    assert east < 0
    assert 0.95 * 70 / np.tan(np.radians(60)) < np.hypot(south, east) < 1.05 * 160 / np.tan(np.radians(60))
    np.testing.assert_array_equal(sky.shadow, np.roll(sky.cumulus, (south, east), (0, 1)))


def test_opacities_of_two_layers_combine() -> None:
    np.testing.assert_allclose(even_sky(cumulus=0.5, cirrus=0.2).opacity, 0.6)


def test_an_open_sky_changes_nothing(land) -> None:
    np.testing.assert_allclose(through(even_sky(), land), land, atol=1e-7)


def test_thick_cumulus_hides_the_land(land) -> None:
    np.testing.assert_allclose(through(even_sky(cumulus=1), land), through(even_sky(cumulus=1), land / 2), rtol=1e-5)
    assert through(even_sky(cumulus=1), land)[B02, 0, 0] == pytest.approx(0.758)


def test_half_a_cirrus_raises_b10_to_a_tenth(land) -> None:
    land[B10] = 0.001
    assert through(even_sky(cirrus=0.5), land)[B10, 0, 0] == pytest.approx(0.1005)


def test_a_shadow_leaves_the_light_of_the_air_and_is_darkest_in_the_far_infrared(land) -> None:
    shaded = through(even_sky(shadow=1), land)[:, 0, 0]
    assert shaded[B02] == pytest.approx(0.073 + (0.3 - 0.073) * 0.65)
    assert shaded[B11] == pytest.approx(0.001 + (0.3 - 0.001) * 0.31)
