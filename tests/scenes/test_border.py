from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from unclouded.scenes.border import BLOCK_PX, BorderNoise, rim
from unclouded.scenes.safe import open_product
from unclouded.scenes.sentinel1 import Channel, describe_radar_product

LINES, PIXELS = 200, 240


@pytest.fixture(params=["range", "zeros"])
def channel(radar_product: Callable[..., Path], request: pytest.FixtureRequest) -> Channel:
    folder = radar_product(processor="002.84", noise=request.param, noise_power=1_500.0)
    with open_product(folder, folder) as product:
        return describe_radar_product(product).channels[0]


def found(channel: Channel, numbers: NDArray[np.uint16]) -> NDArray[np.bool_]:
    border = BorderNoise(channel)
    for top in range(0, LINES, 4 * BLOCK_PX):
        border.add(top, numbers[top : top + 4 * BLOCK_PX])
    return border.at(slice(0, LINES), slice(0, PIXELS))


def speckle(mean_number: float) -> NDArray[np.uint16]:
    """Amplitudes of 4.4 looks, as GRD has them."""
    power = np.random.default_rng(1).gamma(4.4, mean_number**2 / 4.4, (LINES, PIXELS))
    return np.sqrt(power).astype(np.uint16)


def test_the_faint_rim_is_found(channel: Channel) -> None:
    numbers = speckle(150)
    numbers[:, :48] = speckle(8)[:, :48]
    numbers[:16] = speckle(8)[:16]
    expected = np.zeros_like(numbers, bool)
    expected[:, :48] = expected[:16] = True
    np.testing.assert_array_equal(found(channel, numbers), expected)


def test_calm_water_at_the_edge_is_no_rim(channel: Channel) -> None:
    """Thermal noise alone, -25 dB or 1,500 in power, is as dark as water can be."""
    assert not found(channel, speckle(39)).any()


def test_a_dark_lake_inside_is_no_rim(channel: Channel) -> None:
    numbers = speckle(150)
    numbers[64:96, 64:96] = 3
    assert not found(channel, numbers).any()


def test_a_window_is_a_part_of_the_whole(channel: Channel) -> None:
    numbers = speckle(150)
    numbers[:, -40:] = 5
    border = BorderNoise(channel)
    border.add(0, numbers)
    whole = border.at(slice(0, LINES), slice(0, PIXELS))
    assert whole[:, 224:].all() and not whole[:, :192].any()
    np.testing.assert_array_equal(border.at(slice(3, 77), slice(150, 233)), whole[3:77, 150:233])


def test_the_rim_reaches_from_each_edge_only_so_far() -> None:
    faint = np.ones((1, 9), bool)
    assert rim(np.pad(faint, ((4, 4), (0, 0))), 3)[4].tolist() == [True] * 3 + [False] * 3 + [True] * 3
    faint[0, 1] = False
    assert rim(np.pad(faint, ((4, 4), (0, 0))), 3)[4].tolist() == [True] + [False] * 5 + [True] * 3
