import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from unclouded.models.smoothing import blur, local_mean, reach_px


def test_a_gaussian_of_4_px_reaches_12() -> None:
    assert (reach_px(4.0), reach_px(0.5)) == (12, 2)


def test_blurring_agrees_with_scipy() -> None:
    image = torch.rand(1, 2, 30, 41, generator=torch.Generator().manual_seed(0))
    expected = [gaussian_filter(band, 3.0, mode="constant", truncate=3) for band in image[0].double().numpy()]
    np.testing.assert_allclose(blur(image, 3.0)[0].numpy(), np.stack(expected), atol=1e-6)


def test_a_mean_takes_no_notice_of_holes_and_is_0_where_nothing_is_near() -> None:
    image, valid = torch.full((1, 1, 9, 60), 0.25), torch.ones(1, 1, 9, 60, dtype=torch.bool)
    valid[..., 20:] = False
    image[..., 20:] = 0.0
    mean = local_mean(image, valid, 2.0)
    torch.testing.assert_close(mean[..., :26], torch.full((1, 1, 9, 26), 0.25))
    assert mean[..., 26:].abs().max().item() == 0.0
