from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from products.radar_product import RadarProduct

from unclouded.sentinel.calibration import BLOCK_PX, BorderNoise, rim, sigma0, to_db
from unclouded.sentinel.safe import SafeProduct, open_product
from unclouded.sentinel.sentinel1 import Channel, describe_radar_product


def channel(folder: Path) -> Channel:
    with open_product(SafeProduct(folder), folder) as product:
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


LINES, PIXELS = 200, 240


@pytest.fixture(params=["range", "zeros"])
def border_channel(radar_product: Callable[..., Path], request: pytest.FixtureRequest) -> Channel:
    folder = radar_product(processor="002.84", noise=request.param, noise_power=1_500.0)
    with open_product(SafeProduct(folder), folder) as product:
        return describe_radar_product(product).channels[0]


def found(border_channel: Channel, numbers: NDArray[np.uint16]) -> NDArray[np.bool_]:
    border = BorderNoise(border_channel)
    for top in range(0, LINES, 4 * BLOCK_PX):
        border.add(top, numbers[top : top + 4 * BLOCK_PX])
    return border.at(slice(0, LINES), slice(0, PIXELS))


def speckle(mean_number: float) -> NDArray[np.uint16]:
    """Amplitudes of 4.4 looks, as GRD has them."""
    power = np.random.default_rng(1).gamma(4.4, mean_number**2 / 4.4, (LINES, PIXELS))
    return np.sqrt(power).astype(np.uint16)


def test_the_faint_rim_is_found(border_channel: Channel) -> None:
    numbers = speckle(150)
    numbers[:, :48] = speckle(8)[:, :48]
    numbers[:16] = speckle(8)[:16]
    expected = np.zeros_like(numbers, bool)
    expected[:, :48] = expected[:16] = True
    np.testing.assert_array_equal(found(border_channel, numbers), expected)


def test_calm_water_at_the_edge_is_no_rim(border_channel: Channel) -> None:
    """Thermal noise alone, -25 dB or 1,500 in power, is as dark as water can be."""
    assert not found(border_channel, speckle(39)).any()


def test_a_dark_lake_inside_is_no_rim(border_channel: Channel) -> None:
    numbers = speckle(150)
    numbers[64:96, 64:96] = 3
    assert not found(border_channel, numbers).any()


def test_a_window_is_a_part_of_the_whole(border_channel: Channel) -> None:
    numbers = speckle(150)
    numbers[:, -40:] = 5
    border = BorderNoise(border_channel)
    border.add(0, numbers)
    whole = border.at(slice(0, LINES), slice(0, PIXELS))
    assert whole[:, 224:].all() and not whole[:, :192].any()
    np.testing.assert_array_equal(border.at(slice(3, 77), slice(150, 233)), whole[3:77, 150:233])


def test_the_rim_reaches_from_each_edge_only_so_far() -> None:
    faint = np.ones((1, 9), bool)
    assert rim(np.pad(faint, ((4, 4), (0, 0))), 3)[4].tolist() == [True] * 3 + [False] * 3 + [True] * 3
    faint[0, 1] = False
    assert rim(np.pad(faint, ((4, 4), (0, 0))), 3)[4].tolist() == [True] + [False] * 5 + [True] * 3
