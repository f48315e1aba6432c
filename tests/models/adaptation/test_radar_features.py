import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from unclouded.models.adaptation.radar_features import MEAN_SCALES_PX, SPREAD_SCALES_PX, radar_features, reused_features


def speckle(*shape: int, seed: int = 0) -> torch.Tensor:
    return -12.0 + 5.0 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_there_are_sixteen_and_the_first_two_are_the_clipped_backscatter() -> None:
    sar = torch.tensor([[-40.0, -25.0, -10.0, 3.0], [-10.0, -20.0, -25.0, -30.0]]).view(1, 2, 1, 4)
    features = radar_features(sar)
    assert features.shape == (1, 16, 1, 4)
    assert features[0, 0, 0].tolist() == [-25.0, -25.0, -10.0, 0.0]
    assert features[0, 1, 0].tolist() == [-10.0, -20.0, -25.0, -25.0]


def test_means_and_spreads_agree_with_scipy_and_borders_weigh_only_what_is_there() -> None:
    sar = speckle(1, 2, 40, 50)
    clipped = sar[0].double().clamp(-25, 0).numpy()

    def mean(image: np.ndarray, sigma: float) -> np.ndarray:
        return gaussian_filter(image, sigma, mode="constant", truncate=3) / gaussian_filter(
            np.ones_like(image), sigma, mode="constant", truncate=3
        )

    expected = [*clipped]
    expected += [mean(image, sigma) for sigma in MEAN_SCALES_PX for image in clipped]
    expected += [
        np.sqrt(mean((image - mean(image, sigma)) ** 2, sigma)) for sigma in SPREAD_SCALES_PX for image in clipped
    ]
    np.testing.assert_allclose(radar_features(sar)[0].numpy(), np.stack(expected), atol=1e-3)


def test_a_flat_scene_has_its_own_value_for_mean_and_no_spread() -> None:
    features = radar_features(torch.full((1, 2, 30, 30), -8.0))
    torch.testing.assert_close(features[:, :12], torch.full((1, 12, 30, 30), -8.0))
    assert features[:, 12:].max().item() < 1e-4


@pytest.mark.parametrize("hole", [math.nan, math.inf])
def test_fault_13_a_pixel_without_data_has_no_features_and_is_in_no_mean(hole: float) -> None:
    sar = torch.full((1, 2, 20, 20), -8.0)
    sar[0, 1, 5, 6] = hole
    features = radar_features(sar)
    assert features[0, :, 5, 6].isnan().all()
    assert features.isnan().sum().item() == 16
    torch.testing.assert_close(features[0, :12, 5, 7], torch.full((12,), -8.0))


def test_the_images_of_a_batch_do_not_mix() -> None:
    both = speckle(2, 2, 24, 24)
    torch.testing.assert_close(radar_features(both)[1:], radar_features(both[1:]), rtol=0, atol=0)


def test_features_are_computed_once_for_an_image_within_a_context() -> None:
    sar = speckle(1, 2, 12, 12)
    before = radar_features(sar)
    with reused_features():
        assert radar_features(sar) is radar_features(sar.narrow(0, 0, 1))
        assert torch.equal(radar_features(sar), before)
        sar[0, 0, 3, 3] = 0.0  # another image from now on
        assert not torch.equal(radar_features(sar), before)
    assert radar_features(sar) is not radar_features(sar)
