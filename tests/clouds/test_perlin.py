import numpy as np
import pytest

from unclouded.clouds.perlin import PERIOD, Octave, draw_noise

UNIT = (4 * 181 / 462 * 535 / 18018) ** 0.5
"""Standard deviation of gradient noise with gradients of length 1."""


def pixels(count: int, first: float = 0.0) -> np.ndarray:
    return first + np.arange(count, dtype=np.float64)


def one_octave(direction: int, wavelength_px: float = 4.0) -> Octave:
    return Octave(wavelength_px, UNIT, np.full((PERIOD, PERIOD), direction, np.uint8), (0.0, 0.0))


def test_equal_gradients_along_the_columns_leave_the_offset_minus_the_fade_curve() -> None:
    noise = one_octave(0).at(pixels(2), pixels(5))
    row = [0, 0.25 - 0.103515625, 0, 0.75 - 0.896484375, 0]  # t - (6 t^5 - 15 t^4 + 10 t^3) at quarters
    np.testing.assert_allclose(noise, [row, row], atol=1e-6)


def test_equal_gradients_along_the_rows_do_the_same_downwards() -> None:
    quarter_turn = one_octave(64).at(pixels(5), pixels(3))
    np.testing.assert_allclose(quarter_turn[:, 2], [0, 0.146484375, 0, -0.146484375, 0], atol=1e-6)


def test_noise_is_0_at_the_nodes_of_the_lattice() -> None:
    directions = np.random.default_rng(1).integers(0, 256, (PERIOD, PERIOD), np.uint8)
    noise = Octave(8.0, 1.0, directions, (3.0, 5.0)).at(pixels(64), pixels(64))
    np.testing.assert_allclose(noise[::8, ::8], 0, atol=1e-6)
    assert np.abs(noise[4::8, 4::8]).min() > 0


def test_an_octave_repeats_after_256_nodes() -> None:
    octave = draw_noise(np.random.default_rng(2), wavelength_px=2.0)
    near, far = (octave.at(pixels(16, first), pixels(16)) for first in (0.0, 2.0 * PERIOD))
    np.testing.assert_allclose(near, far, atol=1e-5)


def test_the_noise_of_a_window_is_a_window_of_the_noise() -> None:
    noise = draw_noise(np.random.default_rng(3), 32.0, octaves=4)
    plane = noise.at(pixels(60), pixels(80))
    np.testing.assert_allclose(noise.at(pixels(20, 30.0), pixels(9, 50.0)), plane[30:50, 50:59], atol=1e-5)


def test_the_plane_continues_to_the_left_and_above() -> None:
    noise = draw_noise(np.random.default_rng(3), 32.0, octaves=4)
    beside = noise.at(pixels(20, -10.0), pixels(20, -10.0))
    np.testing.assert_allclose(beside[10:, 10:], noise.at(pixels(10), pixels(10)), atol=1e-5)


def test_noise_has_mean_0_and_standard_deviation_1_with_any_number_of_octaves() -> None:
    for octaves in (1, 5):
        noise = draw_noise(np.random.default_rng(4), 12.0, octaves, persistence=0.7).at(pixels(512), pixels(512))
        assert noise.dtype == np.float32
        assert noise.mean() == pytest.approx(0, abs=0.02)
        assert noise.std() == pytest.approx(1, abs=0.03)


def test_one_octave_stays_within_the_bound_of_gradient_noise() -> None:
    noise = draw_noise(np.random.default_rng(5), 16.0).at(pixels(1024), pixels(1024)) * UNIT
    assert 0.6 < np.abs(noise).max() < 0.5**0.5


def test_the_second_octave_has_half_the_wavelength_and_persistence_times_the_amplitude() -> None:
    first, second = draw_noise(np.random.default_rng(6), 40.0, octaves=2, persistence=0.75).octaves
    assert (first.wavelength_px, second.wavelength_px) == (40.0, 20.0)
    assert (first.amplitude, second.amplitude) == pytest.approx((0.8, 0.6))


def test_the_same_generator_state_gives_the_same_noise() -> None:
    first, second = (draw_noise(np.random.default_rng(7), 20.0, 3).at(pixels(30), pixels(30)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def autocorrelations(noise: np.ndarray) -> np.ndarray:
    """Along columns, rows and both diagonals, at 4, 8 and 16 px."""
    rest = noise - noise.mean()
    pairs = [
        [rest[:, k:] * rest[:, :-k], rest[k:] * rest[:-k], rest[k:, k:] * rest[:-k, :-k], rest[k:, :-k] * rest[:-k, k:]]
        for k in (4, 8, 16)
    ]
    return np.array([[pair.mean() for pair in lag] for lag in pairs]) / rest.var()


@pytest.mark.parametrize(("wavelength_px", "octaves"), [(16.0, 1), (32.0, 4)])
def test_noise_has_the_statistics_of_fastnoiselite(wavelength_px: float, octaves: int) -> None:
    """Its standard deviation and range (one octave) to 3 %, and its autocorrelation to 0.04 in four directions."""
    fastnoise = pytest.importorskip("pyfastnoiselite.pyfastnoiselite")
    peer = fastnoise.FastNoiseLite(seed=3)
    peer.noise_type, peer.frequency = fastnoise.NoiseType.NoiseType_Perlin, 1 / wavelength_px
    peer.fractal_type = fastnoise.FractalType.FractalType_FBm
    peer.fractal_octaves, peer.fractal_gain, peer.fractal_lacunarity = octaves, 0.6, 2.0
    side = pixels(1024)
    coordinates = np.stack(np.meshgrid(side, side)).reshape(2, -1).astype(np.float32)
    theirs = peer.gen_from_coords(coordinates).reshape(1024, 1024)
    ours = draw_noise(np.random.default_rng(8), wavelength_px, octaves, persistence=0.6).at(side, side)
    np.testing.assert_allclose(autocorrelations(ours), autocorrelations(theirs), atol=0.04)
    if octaves == 1:
        ours *= UNIT * 1.4247691  # FastNoiseLite stretches Perlin noise towards -1 and 1
        assert ours.std() == pytest.approx(theirs.std(), rel=0.03)
        assert np.ptp(ours) == pytest.approx(np.ptp(theirs), rel=0.03)
