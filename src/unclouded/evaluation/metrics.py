"""Metrics of a prediction against a clear image: MAE, RMSE, PSNR, SSIM and spectral angles.

Section III-B.1 and appendix B of Ebel et al. (2020). Every function takes TOA reflectance as two tensors or numpy
arrays of one shape (batch, band, row, column), computes in float64 and returns a tensor with one value for each image
of the batch. Nothing is broadcast: other shapes, integers, a mask that is not boolean (batch, 1, row, column), and
values that are not reflectance raise :class:`~unclouded.errors.InputError`. A pixel counts if it is in ``where`` and
every band of both images is finite; an image without such pixels has the value NaN. The paper evaluates images in
[0, 1]: :mod:`unclouded.evaluation.scores` clips them before it calls these functions.
"""

import math
from typing import Any, no_type_check

import numpy as np
import torch
from jaxtyping import Bool, Float64
from numpy.typing import NDArray
from torch import Tensor

from unclouded.errors import InputError
from unclouded.jit import compiled
from unclouded.tensors.predictions import require_reflectance

_MARGIN = 5  # the window of SSIM has 11 x 11 px
_GAUSSIAN = np.exp(-0.5 * (np.arange(-_MARGIN, _MARGIN + 1) / 1.5) ** 2)
_GAUSSIAN /= _GAUSSIAN.sum()
_C1, _C2 = 0.01**2, 0.03**2

Image = Tensor | NDArray[Any]
"""TOA reflectance in floating point: (batch, band, row, column)."""
Mask = Tensor | NDArray[Any]
"""Boolean: (batch, 1, row, column)."""


def mean_absolute_error(prediction: Image, target: Image, where: Mask | None = None) -> Float64[Tensor, " batch"]:
    """Mean of the absolute error over pixels and bands, in reflectance; 0 is best.

    Args:
        prediction: TOA reflectance (batch, band, row, column).
        target: TOA reflectance of the same shape.
        where: Pixels to average over, e.g. the cloud mask; all pixels if omitted.
    """
    x, y, counted = _checked(prediction, target, where)
    return _average((x - y).abs().mean(dim=1), counted)


def root_mean_square_error(prediction: Image, target: Image, where: Mask | None = None) -> Float64[Tensor, " batch"]:
    """Root of the mean squared error over pixels and bands, in reflectance; 0 is best.

    Args:
        prediction: TOA reflectance (batch, band, row, column).
        target: TOA reflectance of the same shape.
        where: Pixels to average over, e.g. the cloud mask; all pixels if omitted.
    """
    x, y, counted = _checked(prediction, target, where)
    return _average((x - y).square().mean(dim=1), counted).sqrt()


def peak_signal_to_noise_ratio_db(
    prediction: Image, target: Image, where: Mask | None = None
) -> Float64[Tensor, " batch"]:
    """Ratio of the largest reflectance, 1, to the root-mean-square error, 20 log10(1 / RMSE), in dB.

    Higher is better; infinite for two equal images.

    Args:
        prediction: TOA reflectance (batch, band, row, column).
        target: TOA reflectance of the same shape.
        where: Pixels to average over, e.g. the cloud mask; all pixels if omitted.
    """
    return -20.0 * root_mean_square_error(prediction, target, where).log10()


def structural_similarity(prediction: Image, target: Image, where: Mask | None = None) -> Float64[Tensor, " batch"]:
    """Mean of the local structural similarity over pixels and bands; 1 is best.

    Wang et al. (2004), IEEE Transactions on Image Processing 13, with their Gaussian window of 11 px and a standard
    deviation of 1.5 px. Windows that leave the image do not count. The same number as scikit-image's with
    ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1``.

    Args:
        prediction: TOA reflectance (batch, band, row, column).
        target: TOA reflectance of the same shape.
        where: Pixels to average over; all pixels if omitted. The similarity at a pixel of ``where`` always looks at
            its whole window, so at the edge of a cloud it sees the clear pixels beside it.
    """
    x, y, counted = _checked(prediction, target, where)
    return mean_similarity(_similarity_map(x, y), counted)


def structural_similarity_map(prediction: Image, target: Image) -> Float64[Tensor, "batch band inner_h inner_w"]:
    """Structural similarity in the window around each pixel that lies at least 5 px inside the image.

    With k1 = 0.01, k2 = 0.03 and a data range of 1. NaN where any value in the window is.
    """
    x, y, _ = _checked(prediction, target, None)
    return _similarity_map(x, y)


def _similarity_map(
    prediction: Float64[Tensor, "batch band h w"], target: Float64[Tensor, "batch band h w"]
) -> Float64[Tensor, "batch band inner_h inner_w"]:
    batch, band, height, width = prediction.shape
    inner = (max(height - 2 * _MARGIN, 0), max(width - 2 * _MARGIN, 0))
    similarity = np.empty((batch * band, *inner))
    pairs = zip(_planes(prediction), _planes(target), similarity, strict=True)
    for first, second, result in pairs:
        _similarity_of_windows(first, second, _GAUSSIAN, result)
    return torch.from_numpy(similarity).reshape(batch, band, *inner).to(prediction.device)


def mean_similarity(
    similarity: Float64[Tensor, "batch band inner_h inner_w"], where: Bool[Tensor, "batch 1 h w"] | None = None
) -> Float64[Tensor, " batch"]:
    """Average a map of :func:`structural_similarity_map` over the pixels of ``where``, given for the whole image."""
    if where is not None:
        size = (similarity.shape[0], 1, *(side + 2 * _MARGIN for side in similarity.shape[-2:]))
        if similarity.numel() and tuple(where.shape) != size:
            raise InputError(f"where has the shape {tuple(where.shape)}, expected {size}: that of the whole image")
        where = where[..., _MARGIN : where.shape[-2] - _MARGIN, _MARGIN : where.shape[-1] - _MARGIN]
    return _average(similarity.mean(dim=1), where)


def spectral_angle_deg(prediction: Image, target: Image, where: Mask | None = None) -> Float64[Tensor, " batch"]:
    """Mean over pixels of the angle between predicted and true spectra, in degrees; 0 is best.

    Kruse et al. (1993), Remote Sensing of Environment 44. Two black spectra are 0 degrees apart, and a black one is 90
    degrees from any other.

    Args:
        prediction: TOA reflectance (batch, band, row, column).
        target: TOA reflectance of the same shape.
        where: Pixels to average over, e.g. the cloud mask; all pixels if omitted.
    """
    x, y, counted = _checked(prediction, target, where)
    return torch.rad2deg(_average(_angle_rad(*_products(x, y)), counted))


def spectral_angle_global_rad(prediction: Image, target: Image, where: Mask | None = None) -> Float64[Tensor, " batch"]:
    """One angle between two whole images, each taken as a single vector of bands, rows and columns, in radians.

    The formula that section III-B.1 of the paper prints as SAM. Two black images are 0 apart, and a black one is pi/2
    from any other.

    Args:
        prediction: TOA reflectance (batch, band, row, column).
        target: TOA reflectance of the same shape.
        where: Pixels whose values enter the vectors; all pixels if omitted.
    """
    x, y, counted = _checked(prediction, target, where)
    return _angle_rad(*(_average(product, counted) for product in _products(x, y)))


def _checked(
    prediction: Image, target: Image, where: Mask | None
) -> tuple[Float64[Tensor, "batch band h w"], Float64[Tensor, "batch band h w"], Bool[Tensor, "batch 1 h w"] | None]:
    """Return both images in float64, and the mask; validates the input of every metric.

    Raises:
        InputError: Shapes or types do not match, or an image holds values that are not reflectance.
    """
    x, y = _values(prediction, "the prediction"), _values(target, "the target")
    if x.shape != y.shape:
        raise InputError(
            f"the prediction has the shape {tuple(x.shape)} and the target {tuple(y.shape)}, expected two equal shapes"
        )
    if where is None:
        return x, y, None
    mask = torch.from_numpy(np.ascontiguousarray(where)) if isinstance(where, np.ndarray) else where
    size = (x.shape[0], 1, *x.shape[-2:])
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or tuple(mask.shape) != size:
        found = f"{mask.dtype} of the shape {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
        raise InputError(f"where is {found}, expected a boolean mask of the shape {size} (batch, 1, row, column)")
    return x, y, mask.to(x.device)


def _values(image: Image, name: str) -> Float64[Tensor, "batch band h w"]:
    if not isinstance(image, Tensor | np.ndarray):
        raise InputError(f"{name} is a {type(image).__name__}, expected a tensor or a numpy array")
    is_float = image.dtype.kind == "f" if isinstance(image, np.ndarray) else image.dtype.is_floating_point
    if not is_float or image.ndim != 4:
        raise InputError(
            f"{name} is {image.dtype} of the shape {tuple(image.shape)}, expected floating-point TOA reflectance of "
            "the shape (batch, band, row, column); divide stored numbers by 10,000"
        )
    values = image.double() if isinstance(image, Tensor) else torch.from_numpy(np.array(image, np.float64, order="C"))
    require_reflectance(values, f"{name} has")
    return values


def _average(
    values: Float64[Tensor, "batch h w"], where: Bool[Tensor, "batch 1 h w"] | None
) -> Float64[Tensor, " batch"]:
    counted = values.isfinite() if where is None else values.isfinite() & where[:, 0]
    return torch.where(counted, values, 0.0).sum(dim=(1, 2)) / counted.sum(dim=(1, 2))


def _products(
    x: Float64[Tensor, "batch band h w"], y: Float64[Tensor, "batch band h w"]
) -> tuple[Float64[Tensor, "batch h w"], Float64[Tensor, "batch h w"], Float64[Tensor, "batch h w"]]:
    """Scalar product of the spectra of each pixel, and of each spectrum with itself."""
    xy, xx, yy = (x * y).sum(dim=1), x.square().sum(dim=1), y.square().sum(dim=1)
    counted = xy.isfinite()
    return xy, torch.where(counted, xx, math.nan), torch.where(counted, yy, math.nan)


def _angle_rad(
    xy: Float64[Tensor, "*any"], xx: Float64[Tensor, "*any"], yy: Float64[Tensor, "*any"]
) -> Float64[Tensor, "*any"]:
    cosine = (xy / (xx * yy).sqrt()).clamp(-1.0, 1.0)
    black = (xx == 0).int() + (yy == 0).int()
    return torch.where(black == 2, 0.0, torch.where(black == 1, math.pi / 2, cosine.arccos()))


def _planes(image: Float64[Tensor, "batch band h w"]) -> NDArray[np.float64]:
    return image.detach().cpu().contiguous().flatten(0, 1).numpy()


@compiled
@no_type_check  # numba compiles the function itself, not one wrapped in checks
def _similarity_of_windows(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    weights: NDArray[np.float64],
    result: NDArray[np.float64],
) -> None:
    """Fill ``result``, window by window: moments down the columns first, then along the row, all in float64."""
    size, width = len(weights), first.shape[1]
    columns = np.empty((4, width))
    rows = np.empty((4, result.shape[1]))
    for y in range(result.shape[0]):
        columns[:] = 0.0
        for k in range(size):
            for x in range(width):
                p, q = first[y + k, x], second[y + k, x]
                columns[0, x] += weights[k] * p
                columns[1, x] += weights[k] * q
                columns[2, x] += weights[k] * (p * p + q * q)
                columns[3, x] += weights[k] * (p * q)
        rows[:] = 0.0
        for k in range(size):
            for moment in range(4):
                for x in range(result.shape[1]):
                    rows[moment, x] += weights[k] * columns[moment, x + k]
        for x in range(result.shape[1]):
            product, squares = rows[0, x] * rows[1, x], rows[0, x] ** 2 + rows[1, x] ** 2
            luminance = (2 * product + _C1) / (squares + _C1)
            result[y, x] = luminance * (2 * (rows[3, x] - product) + _C2) / (rows[2, x] - squares + _C2)
