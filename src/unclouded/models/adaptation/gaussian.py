"""Gaussian means of images with holes, compiled.

Every pixel is the same sum of products in the same order wherever it lies in a window, and without fused
multiplications, so that windows agree bit for bit on the pixels they share, on any processor and with any number of
threads.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar, no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Bool, Float32
from numpy.typing import NDArray
from torch import Tensor

from unclouded.jit import compiled


def reach_px(sigma_px: float) -> int:
    """Return the radius of a Gaussian kernel, which is cut at three sigma."""
    return math.ceil(3 * sigma_px)


def blur(image: Float32[Tensor, "batch band h w"], sigma_px: float) -> Float32[Tensor, "batch band h w"]:
    """Convolve with a Gaussian, down the columns and along the rows; zeros outside, cut at three sigma.

    Args:
        image: Any channels.
        sigma_px: Standard deviation.
    """
    result = torch.empty(image.shape, dtype=torch.float32)
    weights = _weights(sigma_px)
    for values, blurred in zip(channels(image), channels(result), strict=True):
        in_rows(lambda top, bottom: _blur_rows(values, weights, top, bottom, blurred), values.shape, len(weights))  # noqa: B023
    return result.to(image.device)


def local_mean(
    values: Float32[Tensor, "batch band h w"], valid: Bool[Tensor, "batch 1 h w"] | None, sigma_px: float
) -> Float32[Tensor, "batch band h w"]:
    """Gaussian mean over the valid pixels of an image whose invalid pixels are 0; 0 where none is in reach.

    Args:
        values: Any channels.
        valid: Pixels that count; all pixels if None.
        sigma_px: Standard deviation of the Gaussian.
    """
    result = torch.empty(values.shape, dtype=torch.float32)
    for number, (one, out) in enumerate(zip(values, result, strict=True)):
        bands, means = one.contiguous().cpu().numpy(), out.numpy()
        known = np.ones(bands.shape[1:], bool) if valid is None else valid[number, 0].cpu().numpy()
        mean_bands(bands, known, sigma_px, means)
    return result.to(values.device)


def mean_bands(
    values: Float32[np.ndarray, "band y x"],
    valid: Bool[np.ndarray, "y x"],
    sigma_px: float,
    out: Float32[np.ndarray, "band y x"],
) -> Float32[np.ndarray, "y x"]:
    """Write the Gaussian means of several bands into an array, see :func:`local_mean`; return the blurred mask."""
    weights, share = _weights(sigma_px), np.empty(valid.shape, np.float32)
    known = np.ascontiguousarray(valid, np.float32)
    in_rows(
        lambda top, bottom: _mean_rows(values, known, weights, top, bottom, share, out),
        valid.shape,
        len(weights) * (1 + len(values)),
    )
    return share


def mean_where(
    values: Float32[np.ndarray, "y x"],
    share: Float32[np.ndarray, "y x"],
    sigma_px: float,
    where: Bool[np.ndarray, "y x"],
) -> Float32[np.ndarray, "y x"]:
    """Return the Gaussian mean of one band in selected pixels only; any number elsewhere.

    Args:
        values: Values; 0 in invalid pixels.
        share: Valid pixels, blurred by the same Gaussian.
        sigma_px: Standard deviation of the Gaussian.
        where: Pixels to compute.
    """
    out = np.zeros_like(values)
    _mean_where(values, share, _weights(sigma_px), where, out)
    return out


def in_rows(work: Callable[[int, int], None], shape: tuple[int, ...], operations: int) -> None:
    """Call a compiled function for blocks of rows, on several threads if that is worth it.

    Args:
        work: Called with the first row of a block and the row after its last one.
        shape: Rows and columns.
        operations: Operations per pixel.
    """
    height, width = shape
    blocks = 4 * _threads() if height * width * operations >= _WORTH_A_THREAD else 1
    edges = np.linspace(0, height, blocks + 1).astype(int).tolist()
    in_parallel(lambda rows: work(*rows), [*pairwise(edges)])


T = TypeVar("T")


def in_parallel(work: Callable[[T], None], items: Sequence[T]) -> None:
    """Call a function that releases the GIL for each item, on as many threads as torch uses."""
    threads = min(_threads(), len(items))
    if threads == 1:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, items):
            pass


def _threads() -> int:
    return int(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))


_WORTH_A_THREAD = 1 << 23
"""Operations below which starting threads takes longer than they save; about 2 ms."""


@lru_cache(maxsize=64)
def _weights(sigma_px: float) -> Float32[np.ndarray, " tap"]:
    """Return the weights of the middle and of each distance, and zeros up to a multiple of 4 distances."""
    radius = reach_px(sigma_px)
    kernel = np.exp(-0.5 * (np.arange(radius + 1) / sigma_px) ** 2)
    weights = np.zeros(1 + -(-radius // 4) * 4, np.float32)
    weights[: radius + 1] = kernel / (kernel[0] + 2 * kernel[1:].sum())
    weights.setflags(write=False)
    return weights


def channels(image: Float32[Tensor, "batch band h w"]) -> list[NDArray[np.float32]]:
    """Return the channels of all images as arrays."""
    return list(image.contiguous().flatten(0, 1).cpu().numpy())


@compiled
@no_type_check
def _down(image, weights, y, left, right, zeros, out):
    """Sum four distances at once, as the sums would otherwise be loaded and stored for each."""
    height, first = image.shape[0], image[y, left:right]
    for x in range(right - left):
        out[x] = weights[0] * first[x]
    for k in range(1, len(weights), 4):
        w0, w1, w2, w3 = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        a0 = image[y - k, left:right] if y >= k else zeros[left:right]
        a1 = image[y - k - 1, left:right] if y >= k + 1 else zeros[left:right]
        a2 = image[y - k - 2, left:right] if y >= k + 2 else zeros[left:right]
        a3 = image[y - k - 3, left:right] if y >= k + 3 else zeros[left:right]
        b0 = image[y + k, left:right] if y + k < height else zeros[left:right]
        b1 = image[y + k + 1, left:right] if y + k + 1 < height else zeros[left:right]
        b2 = image[y + k + 2, left:right] if y + k + 2 < height else zeros[left:right]
        b3 = image[y + k + 3, left:right] if y + k + 3 < height else zeros[left:right]
        for x in range(right - left):
            near, far = w0 * (a0[x] + b0[x]) + w1 * (a1[x] + b1[x]), w2 * (a2[x] + b2[x]) + w3 * (a3[x] + b3[x])
            out[x] = out[x] + (near + far)


@compiled
@no_type_check
def _across(padded, weights, out):
    """Sum along a row that has zeros on either side, as many as there are distances."""
    width, margin = len(out), len(weights) - 1
    middle = padded[margin : margin + width]
    for x in range(width):
        out[x] = weights[0] * middle[x]
    for k in range(1, len(weights), 4):
        w0, w1, w2, w3 = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        a, b = padded[margin - k - 3 : margin - k + width], padded[margin + k : margin + k + width + 3]
        for x in range(width):
            near, far = w0 * (a[x + 3] + b[x]) + w1 * (a[x + 2] + b[x + 1]), w2 * (a[x + 1] + b[x + 2])
            out[x] = out[x] + (near + (far + w3 * (a[x] + b[x + 3])))


@compiled
@no_type_check
def _blur_rows(image, weights, top, bottom, out):
    width, margin = image.shape[1], len(weights) - 1
    zeros, padded = np.zeros(width, np.float32), np.zeros(width + 2 * margin, np.float32)
    for y in range(top, bottom):
        _down(image, weights, y, 0, width, zeros, padded[margin : margin + width])
        _across(padded, weights, out[y])


@compiled
@no_type_check
def _mean_rows(values, valid, weights, top, bottom, share, out):
    width, margin, tiny = valid.shape[1], len(weights) - 1, np.finfo(np.float32).tiny
    zeros, padded = np.zeros(width, np.float32), np.zeros(width + 2 * margin, np.float32)
    for y in range(top, bottom):
        _down(valid, weights, y, 0, width, zeros, padded[margin : margin + width])
        _across(padded, weights, share[y])
        for band in range(len(values)):
            _down(values[band], weights, y, 0, width, zeros, padded[margin : margin + width])
            _across(padded, weights, out[band, y])
            for x in range(width):
                out[band, y, x] = out[band, y, x] / max(share[y, x], tiny)


@compiled
@no_type_check
def _mean_where(values, share, weights, where, out):
    """Process runs of selected pixels; those of a row that are closer than the reach are one run."""
    height, width = values.shape
    margin, tiny = len(weights) - 1, np.finfo(np.float32).tiny
    zeros, padded = np.zeros(width, np.float32), np.zeros(width + 2 * margin, np.float32)
    for y in range(height):
        x = 0
        while x < width:
            while x < width and not where[y, x]:
                x += 1
            first = last = x
            while x < width and x - last <= margin:
                if where[y, x]:
                    last = x
                x += 1
            if first == width:
                break
            left, right = max(first - margin, 0), min(last + 1 + margin, width)
            start, end = left - (first - margin), right - (first - margin)
            padded[:start] = 0
            padded[end : last + 1 - first + 2 * margin] = 0
            _down(values, weights, y, left, right, zeros, padded[start:end])
            _across(padded[: last + 1 - first + 2 * margin], weights, out[y, first : last + 1])
            for at in range(first, last + 1):
                out[y, at] = out[y, at] / max(share[y, at], tiny)
