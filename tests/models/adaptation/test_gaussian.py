import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from unclouded.models.adaptation import gaussian
from unclouded.models.adaptation.gaussian import blur, local_mean, mean_where, reach_px


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


@pytest.mark.parametrize("sigma_px", [0.5, 1.0, 16.0])
def test_windows_agree_bit_for_bit_on_the_pixels_they_share(sigma_px: float) -> None:
    rng = torch.Generator().manual_seed(0)
    image, valid = torch.rand(1, 2, 150, 170, generator=rng), torch.rand(1, 1, 150, 170, generator=rng) > 0.1
    image, reach = torch.where(valid, image, 0.0), reach_px(sigma_px)
    whole = local_mean(image, valid, sigma_px)
    part = local_mean(image[..., 3:140, 5:160], valid[..., 3:140, 5:160], sigma_px)
    inner = (..., slice(reach, -reach), slice(reach, -reach))
    assert torch.equal(whole[..., 3:140, 5:160][inner], part[inner])


def test_any_number_of_threads_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.rand(1, 2, 90, 70, generator=torch.Generator().manual_seed(0))
    one = local_mean(image, None, 4.0)
    monkeypatch.setattr(gaussian, "_WORTH_A_THREAD", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", 3)
    assert torch.equal(local_mean(image, None, 4.0), one)


def test_selected_pixels_have_the_bits_of_the_whole_image() -> None:
    rng = torch.Generator().manual_seed(0)
    image, valid = torch.rand(1, 1, 120, 300, generator=rng), torch.rand(1, 1, 120, 300, generator=rng) > 0.1
    image = torch.where(valid, image, 0.0)
    where = np.zeros((120, 300), bool)
    where[4, [0, 60, 299]] = where[70:90, 100:200] = where[119] = True  # single pixels, one run, a whole row
    share = blur(valid.float(), 8.0)[0, 0].numpy()
    selected = mean_where(image[0, 0].numpy(), share, 8.0, where)
    assert np.array_equal(selected[where], local_mean(image, valid, 8.0)[0, 0].numpy()[where])
