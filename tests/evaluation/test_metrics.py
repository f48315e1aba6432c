import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity as skimage_similarity
from torch import Tensor
from torch.testing import assert_close

from unclouded.errors import InputError
from unclouded.evaluation import metrics

EVERY = [
    metrics.mean_absolute_error,
    metrics.root_mean_square_error,
    metrics.peak_signal_to_noise_ratio_db,
    metrics.structural_similarity,
    metrics.spectral_angle_deg,
    metrics.spectral_angle_global_rad,
]
Metric = Callable[..., Tensor]


def pair(seed: int, *shape: int, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    target = torch.rand(shape, generator=rng)
    return (target + noise * torch.randn(shape, generator=rng)).clamp(0, 1), target


def loop_over_pixels(prediction: Tensor, target: Tensor, where: Tensor) -> dict[str, float]:
    """Every formula of section III-B.1 but SSIM, value by value in Python's own floats; for one image."""
    absolute = square = xy = xx = yy = angles = 0.0
    values = pixels = 0
    bands, height, width = prediction.shape
    for row in range(height):
        for column in range(width):
            if not where[0, row, column]:
                continue
            x = [float(prediction[band, row, column]) for band in range(bands)]
            y = [float(target[band, row, column]) for band in range(bands)]
            absolute += sum(abs(a - b) for a, b in zip(x, y, strict=True))
            square += sum((a - b) ** 2 for a, b in zip(x, y, strict=True))
            dot, x2, y2 = sum(a * b for a, b in zip(x, y, strict=True)), sum(a * a for a in x), sum(b * b for b in y)
            angles += math.degrees(math.acos(min(1.0, dot / math.sqrt(x2) / math.sqrt(y2))))
            xy, xx, yy = xy + dot, xx + x2, yy + y2
            values, pixels = values + bands, pixels + 1
    rmse = math.sqrt(square / values)
    return {
        "mean_absolute_error": absolute / values,
        "root_mean_square_error": rmse,
        "peak_signal_to_noise_ratio_db": 20 * math.log10(1 / rmse),
        "spectral_angle_deg": angles / pixels,
        "spectral_angle_global_rad": math.acos(xy / math.sqrt(xx) / math.sqrt(yy)),
    }


def loop_over_windows(x: Tensor, y: Tensor) -> Tensor:
    """SSIM of Wang et al. (2004) around each inner pixel of one band, straight from its definition."""
    weights = [[math.exp(-(i * i + j * j) / (2 * 1.5**2)) for j in range(-5, 6)] for i in range(-5, 6)]
    total = sum(map(sum, weights))
    result = torch.zeros(x.shape[0] - 10, x.shape[1] - 10, dtype=torch.float64)
    for row in range(result.shape[0]):
        for column in range(result.shape[1]):
            window = [
                (weights[i][j] / total, float(x[row + i, column + j]), float(y[row + i, column + j]))
                for i in range(11)
                for j in range(11)
            ]
            mx, my = sum(w * a for w, a, _ in window), sum(w * b for w, _, b in window)
            vx, vy = sum(w * (a - mx) ** 2 for w, a, _ in window), sum(w * (b - my) ** 2 for w, _, b in window)
            cov = sum(w * (a - mx) * (b - my) for w, a, b in window)
            result[row, column] = ((2 * mx * my + 1e-4) * (2 * cov + 9e-4)) / (
                (mx * mx + my * my + 1e-4) * (vx + vy + 9e-4)
            )
    return result


@pytest.mark.parametrize("seed", range(5))
def test_every_formula_agrees_with_a_loop_over_pixels(seed: int) -> None:
    prediction, target = pair(seed, 2, 3, 6, 5)
    where = torch.rand(2, 1, 6, 5, generator=torch.Generator().manual_seed(seed)) < 0.6
    for image in range(2):
        for name, expected in loop_over_pixels(prediction[image], target[image], where[image]).items():
            assert getattr(metrics, name)(prediction, target, where)[image].item() == pytest.approx(expected, rel=1e-9)


def test_similarity_agrees_with_a_loop_over_windows() -> None:
    prediction, target = pair(3, 1, 1, 14, 13)
    expected = loop_over_windows(prediction[0, 0], target[0, 0])
    assert_close(metrics.structural_similarity_map(prediction, target)[0, 0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "scale"), [((3, 64, 48), 1.0), ((13, 40, 40), 1.0), ((1, 11, 11), 1.0), ((3, 64, 64), 0.05)]
)
def test_similarity_agrees_with_scikit_image_to_one_in_a_million(shape: tuple[int, ...], scale: float) -> None:
    prediction, target = (image * scale for image in pair(7, 1, *shape, noise=0.2))
    expected = skimage_similarity(
        prediction[0].double().numpy(),
        target[0].double().numpy(),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1,
        channel_axis=0,
    )
    assert metrics.structural_similarity(prediction, target).item() == pytest.approx(expected, abs=1e-6)


def test_two_pixels_by_hand() -> None:
    prediction = torch.tensor([[0.3, 0.0], [0.0, 0.4]]).view(1, 2, 1, 2)
    target = torch.tensor([[0.3, 0.0], [0.3, 0.0]]).view(1, 2, 1, 2)
    # errors 0, -0.3; 0, 0.4: MAE 0.7/4, RMSE sqrt(0.25/4) = 0.25; angles: 45 deg, and black against not black: 90 deg
    assert metrics.mean_absolute_error(prediction, target).item() == pytest.approx(0.175)
    assert metrics.root_mean_square_error(prediction, target).item() == pytest.approx(0.25)
    assert metrics.peak_signal_to_noise_ratio_db(prediction, target).item() == pytest.approx(12.0412, abs=1e-4)
    assert metrics.spectral_angle_deg(prediction, target).item() == pytest.approx((45 + 90) / 2)
    # vectors (0.3, 0, 0, 0.4) and (0.3, 0, 0.3, 0): cosine 0.09 / (0.5 * 0.3 * sqrt 2)
    expected = math.acos(0.09 / (0.5 * 0.3 * math.sqrt(2)))
    assert metrics.spectral_angle_global_rad(prediction, target).item() == pytest.approx(expected)


def test_where_chooses_the_pixels_of_each_image() -> None:
    prediction, target = torch.tensor([0.1, 0.2, 0.3, 0.4]).view(2, 1, 1, 2), torch.zeros(2, 1, 1, 2)
    where = torch.tensor([True, False, True, True]).view(2, 1, 1, 2)
    assert metrics.mean_absolute_error(prediction, target, where).tolist() == pytest.approx([0.1, 0.35])


def test_the_angle_ignores_brightness_and_the_errors_do_not() -> None:
    _, target = pair(1, 1, 3, 4, 4)
    assert metrics.spectral_angle_deg(target / 2, target).item() == pytest.approx(0.0, abs=1e-5)
    assert metrics.spectral_angle_global_rad(target / 2, target).item() == pytest.approx(0.0, abs=1e-7)
    assert metrics.mean_absolute_error(target / 2, target).item() == pytest.approx(target.mean().item() / 2)


def test_the_global_angle_depends_on_the_brightness_of_pixels() -> None:
    target = torch.tensor([0.5, 0.5]).view(1, 1, 1, 2)
    prediction = torch.tensor([0.5, 0.0]).view(1, 1, 1, 2)
    assert metrics.spectral_angle_global_rad(prediction, target).item() == pytest.approx(math.pi / 4)


def test_equal_images_are_perfect_exactly() -> None:
    image, _ = pair(2, 1, 13, 20, 20)
    perfect = [metric(image, image).item() for metric in EVERY]
    assert perfect == [0.0, 0.0, math.inf, 1.0, 0.0, 0.0]


def test_two_black_images_have_no_angle() -> None:
    black, grey = torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.2)
    assert metrics.spectral_angle_deg(black, black).item() == 0.0
    assert metrics.spectral_angle_global_rad(black, black).item() == 0.0
    assert metrics.spectral_angle_deg(black, grey).item() == pytest.approx(90.0)
    assert metrics.spectral_angle_global_rad(grey, black).item() == pytest.approx(math.pi / 2)


def test_the_similarity_of_an_area_is_the_mean_of_the_whole_images_map() -> None:
    prediction, target = pair(5, 1, 2, 20, 20)
    where = torch.zeros(1, 1, 20, 20, dtype=torch.bool)
    where[..., 8, 9] = where[..., 2, 2] = True  # the second is in the border, where no window fits
    expected = metrics.structural_similarity_map(prediction, target)[..., 3, 4].mean().item()
    assert metrics.structural_similarity(prediction, target, where).item() == pytest.approx(expected)


def test_images_smaller_than_the_window_have_no_similarity() -> None:
    prediction, target = pair(5, 1, 3, 10, 40)
    assert metrics.structural_similarity(prediction, target).isnan().all()
    assert metrics.structural_similarity(prediction, target, torch.ones(1, 1, 10, 40, dtype=torch.bool)).isnan().all()


@pytest.mark.parametrize("metric", EVERY)
def test_fault_14_an_empty_area_is_not_a_number_and_spoils_no_other_image(metric: Metric) -> None:
    prediction, target = pair(4, 2, 3, 16, 16)
    where = torch.ones(2, 1, 16, 16, dtype=torch.bool)
    where[0] = False
    value = metric(prediction, target, where)
    assert value[0].isnan()
    assert value[1].item() == metric(prediction[1:], target[1:]).item()


@pytest.mark.parametrize("hole", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("holed", ["prediction", "target"])
@pytest.mark.parametrize("metric", [metric for metric in EVERY if metric is not metrics.structural_similarity])
def test_fault_13_pixels_without_data_in_one_band_never_count(metric: Metric, holed: str, hole: float) -> None:
    prediction, target = pair(6, 1, 3, 16, 16)
    where = torch.ones(1, 1, 16, 16, dtype=torch.bool)
    where[..., 4, 7] = False
    expected = metric(prediction, target, where).item()
    {"prediction": prediction, "target": target}[holed][0, 1, 4, 7] = hole
    assert metric(prediction, target).item() == expected


def test_fault_13_windows_with_a_hole_have_no_similarity_and_all_others_keep_theirs() -> None:
    prediction, target = pair(6, 1, 2, 24, 24)
    whole = metrics.structural_similarity_map(prediction, target)
    prediction[0, 1, 12, 12] = math.nan
    holed = metrics.structural_similarity_map(prediction, target)
    assert holed[0, 1, 2:13, 2:13].isnan().all()
    assert holed.isnan().sum().item() == 11 * 11
    assert_close(holed[0, 0], whole[0, 0], rtol=0, atol=0)
    outside = holed.isfinite().all(dim=1)
    expected = whole.mean(dim=1)[outside].mean().item()
    assert metrics.structural_similarity(prediction, target).item() == pytest.approx(expected)


def test_small_errors_of_float32_images_are_summed_without_loss() -> None:
    target = torch.full((1, 1, 256, 256), 0.1)
    prediction = target + 1e-4
    error = float(np.float32(0.1) + np.float32(1e-4)) - float(np.float32(0.1))
    assert metrics.mean_absolute_error(prediction, target).item() == pytest.approx(error, rel=1e-12)


@pytest.mark.parametrize("metric", EVERY)
def test_numpy_and_half_precision_give_what_tensors_give(metric: Metric) -> None:
    prediction, target = pair(8, 2, 3, 16, 16)
    where = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(1)) < 0.6
    expected = metric(prediction, target, where)
    assert_close(metric(prediction.numpy(), target.numpy(), where.numpy()), expected, rtol=0, atol=0)
    assert_close(metric(prediction.numpy()[..., ::-1], target.numpy()[..., ::-1], where.numpy()[..., ::-1]), expected)
    assert_close(metric(prediction.double(), target.numpy(), where), expected, rtol=0, atol=0)
    for dtype in (torch.float16, torch.bfloat16):
        half, other = prediction.to(dtype), target.to(dtype)
        assert_close(metric(half, other), metric(half.double(), other.double()), rtol=0, atol=0)


@pytest.mark.parametrize("metric", EVERY)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y, w: (x, y[:, :1], w), "the prediction has the shape .* and the target"),
        (lambda x, y, w: (x[..., ::2, ::2], y, w), "the prediction has the shape .* and the target"),
        (lambda x, y, w: (x[:1], y, w), "the prediction has the shape .* and the target"),
        (lambda x, y, w: (x[0], y[0], None), r"of the shape \(3, 16, 16\), expected floating-point"),
        (lambda x, y, w: (x, y, w[:, 0]), r"of the shape \(2, 16, 16\), expected a boolean mask"),
        (lambda x, y, w: (x, y, w[:1]), r"of the shape \(1, 1, 16, 16\), expected a boolean mask"),
        (lambda x, y, w: (x, y, w.expand(2, 3, 16, 16)), r"of the shape \(2, 3, 16, 16\), expected a boolean"),
        (lambda x, y, w: (x, y, w[..., :1]), r"of the shape \(2, 1, 16, 1\), expected a boolean mask"),
        (lambda x, y, w: (x, y, w.float()), "where is torch.float32"),
        (lambda x, y, w: (x, y, w.numpy()[:, 0]), r"of the shape \(2, 16, 16\), expected a boolean mask"),
        (lambda x, y, w: (x * 1e4, y * 1e4, w), "the prediction has values from .*; divide stored numbers by 10,000"),
        (lambda x, y, w: (x, y * 1e4, w), "the target has values from"),
        (lambda x, y, w: (x * 255, y * 255, w), "the prediction has values from"),
        (lambda x, y, w: (x * 2 - 1, y * 2 - 1, w), "the prediction has values from -1"),
        (lambda x, y, w: ((x * 1e4).int(), y, w), "the prediction is torch.int32"),
        (lambda x, y, w: ((x * 1e4).numpy().astype(np.uint16), y, w), "the prediction is uint16"),
    ],
)
def test_nothing_is_broadcast_and_other_units_are_refused(
    metric: Metric, change: Callable[[Tensor, Tensor, Tensor], tuple[object, ...]], message: str
) -> None:
    prediction, target = pair(4, 2, 3, 16, 16)
    with pytest.raises(InputError, match=message):
        metric(*change(prediction, target, torch.ones(2, 1, 16, 16, dtype=torch.bool)))
