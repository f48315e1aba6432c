import numpy as np
import pytest

from unclouded.simulation.noise import fractal_noise, smooth_step


def test_noise_has_mean_0_and_standard_deviation_1() -> None:
    noise = fractal_noise(np.random.default_rng(1), 101, slope=1, longest_px=50)
    assert noise.shape == (101, 101)
    assert noise.dtype == np.float32
    assert noise.mean() == pytest.approx(0, abs=1e-5)
    assert noise.std() == pytest.approx(1, abs=1e-5)


def test_the_same_generator_state_gives_the_same_noise() -> None:
    first, second = (fractal_noise(np.random.default_rng(3), 64, 1, 30) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_noise_of_slope_1_is_twice_as_strong_in_the_octave_of_twice_the_wavelength() -> None:
    noise = fractal_noise(np.random.default_rng(2), 512, slope=1, longest_px=1e6, shortest_px=0.5)
    power = np.abs(np.fft.fft2(noise)) ** 2
    frequency = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.fftfreq(512)[None, :])
    short, long = (power[(frequency > low) & (frequency <= 2 * low)].sum() for low in (1 / 16, 1 / 32))
    assert np.sqrt(long / short) == pytest.approx(2, rel=0.1)


def test_waves_shorter_than_the_shortest_are_absent() -> None:
    noise = fractal_noise(np.random.default_rng(2), 128, slope=0, longest_px=64, shortest_px=16)
    power = np.abs(np.fft.rfft(noise, axis=1)) ** 2
    assert power[:, 17:].sum() < 1e-6 * power.sum()


def test_noise_is_periodic() -> None:
    noise = fractal_noise(np.random.default_rng(4), 128, slope=2, longest_px=60, shortest_px=10)
    step_inside = np.abs(noise[1:] - noise[:-1]).mean()
    assert np.abs(noise[0] - noise[-1]).mean() < 2 * step_inside


def test_stretched_noise_changes_slowly_along_one_direction() -> None:
    noise = fractal_noise(np.random.default_rng(6), 256, slope=1, longest_px=60, shortest_px=4, stretch=5)
    slopes = np.stack([slope.ravel() for slope in np.gradient(noise)])
    slow, fast = np.linalg.eigvalsh(np.cov(slopes))
    assert fast > 8 * slow


def test_smooth_step_rises_from_0_to_1_and_is_level_outside() -> None:
    steps = smooth_step(np.array([1, 2, 3, 4, 6, 7], np.float32), 2, 6)
    np.testing.assert_allclose(steps, [0, 0, 0.15625, 0.5, 1, 1])
