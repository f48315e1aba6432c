from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unclouded.scenes.calibration import sigma0, to_db
from unclouded.scenes.safe import open_product
from unclouded.scenes.sentinel1 import Channel, describe_radar_product
from unclouded.simulation.radar_product import RadarProduct


def channel(folder: Path) -> Channel:
    with open_product(folder, folder) as product:
        return describe_radar_product(product).channels[0]


@pytest.mark.parametrize("noise", ["range and azimuth", "range", "zeros"])
def test_a_truth_put_through_the_products_tables_returns_within_a_twentieth_of_a_db(
    radar_product: Callable[..., Path], noise: str
) -> None:
    product = RadarProduct(noise=noise, processor="003.31")
    one = channel(radar_product(noise=noise))
    truth_db = np.random.default_rng(1).uniform(-15, 0, (200, 240))
    line, pixel = np.mgrid[:200, :240].astype(float)
    along = product.noise_power * (1 - 0.002 * pixel + 0.001 * line) if noise != "zeros" else 0 * pixel
    sweep = 1 + 0.002 * line if noise == "range and azimuth" else 1
    numbers = np.sqrt(10 ** (truth_db / 10) * (660 - 0.5 * pixel + 0.2 * line) ** 2 + along * sweep)
    window = slice(0, 200), slice(0, 240)
    seen = to_db(sigma0(one, np.rint(numbers).astype(np.uint16), *window))
    assert np.abs(seen - truth_db).max() < 0.05
    assert abs((seen - truth_db).mean()) < 0.001


def test_zeros_are_no_data_and_less_than_noise_stays_negative(radar_product: Callable[..., Path]) -> None:
    numbers = np.full((4, 4), 10, np.uint16)
    numbers[0] = 0
    power = sigma0(channel(radar_product()), numbers, slice(0, 4), slice(0, 4))
    assert np.isnan(power[0]).all() and (power[1:] < 0).all()
    db = to_db(power)
    assert np.isnan(db[0]).all() and np.allclose(db[1:], -50)


def test_decibels() -> None:
    np.testing.assert_allclose(to_db(np.float32([1, 0.1, 10, 0, np.nan])), [0, -10, 10, -50, np.nan], atol=1e-5)
