import numpy as np

from unclouded.clouds.detector import upsample
from unclouded.clouds.local_statistics import block_quantile, halved, smoothed, upsample_blocks


def test_four_pixels_become_their_mean_without_those_that_lack_a_band() -> None:
    pixels = np.array([[[1, 3, 7], [5, 7, 9]], [[0, 0, 0], [0, np.nan, 0]]], np.float32)
    assert halved(pixels)[0].tolist() == [[3, 8]]  # (1 + 3 + 5) / 3, and (7 + 9) / 2 at the edge


def test_a_block_without_data_stays_without() -> None:
    assert np.isnan(halved(np.full((1, 2, 2), np.nan, np.float32))).all()


def test_a_pixel_without_data_does_not_count_for_its_neighbours() -> None:
    values = np.ones((5, 5), np.float32)
    values[2, 2], values[0, 0] = np.nan, 10
    smooth = smoothed(values)
    assert np.isnan(smooth[2, 2]) and smooth[3, 3] == 1
    assert smooth[1, 1] == np.float32(17 / 8)


def test_interpolation_equals_that_of_scipy() -> None:
    blocks = np.random.default_rng(0).random((4, 3)).astype(np.float32)
    for factor, shape, top in ((2, (7, 6), 0), (2, (3, 5), 3), (5, (20, 15), 0)):
        np.testing.assert_allclose(
            upsample_blocks(blocks, factor, shape, top), upsample(blocks, factor, shape, top), atol=1e-6
        )


def test_a_quantile_is_that_of_the_selected_pixels_of_a_block() -> None:
    values = np.tile(np.arange(32, dtype=np.float32), (32, 1))
    low = block_quantile(values, values >= 0, 0.1, 32, -1)
    assert np.allclose(low, 2.0)  # the second of the 16 columns 0, 2, ... 30
    assert np.allclose(block_quantile(values, values > 99, 0.1, 32, -1), -1)


def test_a_block_without_selected_pixels_takes_over_its_neighbour() -> None:
    values = np.full((8, 24), 5, np.float32)
    where = np.zeros(values.shape, bool)
    where[:, 8:16] = True
    assert np.allclose(block_quantile(values, where, 0.5, 8, -1), 5)
