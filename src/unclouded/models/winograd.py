"""3 x 3 convolutions of stride 1 with a quarter of the multiplications, in bfloat16 on the CPU, for training.

Winograd's F(4 x 4, 3 x 3) (Lavin and Gray 2016, arXiv:1509.09308): an output tile of 4 x 4 px is computed from products
at 6 x 6 points, each of which is one matrix product over the channels. Transforms are float32; the matrix products are
oneDNN's. Both gradients are the adjoints of the same steps, hence the exact gradients of the function computed.

The points 0, +-sqrt(2), +-sqrt(1/2) and infinity are used because they halve the rounding error of the usual points
0, +-1, +-2 and infinity, which matters in bfloat16: the transform of the output multiplies the rounded products by
powers of the points up to the third, at most sqrt(8) here and 8 there.

The networks of :mod:`unclouded.models.cyclegan` have ordinary convolutions; :func:`use_winograd` replaces those of a
network that is prepared for training.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, no_type_check

import numba
import numpy as np
import torch
from jaxtyping import BFloat16, Float
from numba import prange
from numpy.typing import NDArray
from torch import Tensor, nn

from unclouded.jit import compiled, compiled_parallel
from unclouded.models.cyclegan import Convolution

BLOCK = 32
"""Channels that are transformed together: both channel numbers of a convolution are multiples of it."""

_TILE, _POINTS = 4, 6

# The points are 0, a, -a, b, -b and infinity, and a b = 1. Constants are float32: one float64 constant would turn the
# compiled loops into float64, at half the speed.
_A, _B = np.float32(math.sqrt(2)), np.float32(math.sqrt(0.5))
_A2, _B2, _SUM = np.float32(2), np.float32(0.5), np.float32(2.5)  # a^2, b^2, a^2 + b^2
_A3, _B3 = np.float32(math.sqrt(8)), np.float32(math.sqrt(0.125))

_transformed: dict[Tensor, Tensor] | None = None  # weights transformed within weights_transformed_once


class WinogradConvolution(Convolution):
    """A convolution that is computed by :func:`convolve` in a bfloat16 forward pass with gradients.

    Without gradients oneDNN's own convolution is used: validation and previews then have the same numbers as
    :class:`unclouded.models.cyclegan.Convolution`, whose parameters and state dict it shares.
    """

    def forward(self, x: Float[Tensor, "batch before h w"]) -> Float[Tensor, "batch after rows columns"]:
        """Convolve without bias."""
        if torch.is_grad_enabled() and fits(x, self.weight):
            return convolve(x, self.weight)
        return super().forward(x)


def use_winograd(network: nn.Module) -> None:
    """Replace the 3 x 3 convolutions of stride 1 of a network by :class:`WinogradConvolution`, in place.

    The parameters stay the same objects, in the same order and under the same names. Worth it where
    :func:`is_faster` is True.

    Args:
        network: A generator of :mod:`unclouded.models.cyclegan`; other networks stay as they are.
    """
    for parent in list(network.modules()):
        for name, layer in parent.named_children():
            if type(layer) is Convolution and _replaceable(layer):
                setattr(parent, name, _with_weights_of(layer))


def _replaceable(layer: Convolution) -> bool:
    shape = layer.kernel_size, layer.stride, layer.padding
    return shape == ((3, 3), (1, 1), (0, 0)) and layer.in_channels % BLOCK == layer.out_channels % BLOCK == 0


def _with_weights_of(layer: Convolution) -> WinogradConvolution:
    with torch.device("meta"):  # no memory, and no draw from the global random generator
        made = WinogradConvolution(layer.in_channels, layer.out_channels, 3)
    made.weight, made.bias = layer.weight, layer.bias
    return made.train(layer.training)


@cache
def is_faster() -> bool:
    """Return whether :func:`convolve` is faster than oneDNN's convolution on this processor.

    With tiles (AMX) oneDNN's convolution in bfloat16 is eight times as fast as in float32 already.
    """
    capabilities = getattr(torch.cpu, "get_capabilities", dict[str, bool])()  # exists from torch 2.11 on
    return not capabilities.get("amx_bf16", False)


def fits(x: Tensor, weight: Tensor) -> bool:
    """Return whether :func:`convolve` accepts an image and a filter: bfloat16 on the CPU, whole blocks of channels."""
    blocks = weight.shape[0] % BLOCK == weight.shape[1] % BLOCK == 0
    return x.device.type == "cpu" and x.dtype == torch.bfloat16 and weight.shape[2:] == (3, 3) and blocks


def convolve(
    x: BFloat16[Tensor, "batch before h w"], weight: Float[Tensor, "after before 3 3"]
) -> BFloat16[Tensor, "batch after rows columns"]:
    """Convolve without padding or bias: the result is 2 px smaller and lies in memory as channels_last.

    Args:
        x: Images.
        weight: Filters in float32; they are transformed first and rounded to bfloat16 afterwards.
    """
    convolved: Tensor = _WinogradFunction.apply(x, _transformed_once(weight))
    return convolved


@contextmanager
def weights_transformed_once() -> Iterator[None]:
    """Transform each weight at most once inside the block, where no weight may be changed."""
    global _transformed
    outer, _transformed = _transformed, {}
    try:
        yield
    finally:
        _transformed = outer


def _transformed_once(weight: Tensor) -> Tensor:
    if _transformed is None:
        return transformed(weight)
    if weight not in _transformed:
        _transformed[weight] = transformed(weight)
    return _transformed[weight]


def transformed(weight: Float[Tensor, "after before 3 3"]) -> BFloat16[Tensor, "36 after before"]:
    """Evaluate the filters at the 6 x 6 points."""
    matrix = _filter_points().to(weight.device)
    taps = weight.permute(2, 3, 0, 1).reshape(9, -1)
    return (torch.kron(matrix, matrix) @ taps).to(torch.bfloat16).view(-1, *weight.shape[:2])


def _filter_points() -> Float[Tensor, "6 3"]:
    """Return the transform of the filters, one row per point.

    Row p is (1, p, p^2), the value of a filter as a polynomial at p, divided by the product of the distances from p to
    the other points: the factors of the interpolation stand here, so that the transform of the output has none. The row
    of infinity is the leading coefficient.
    """
    points = [0.0, math.sqrt(2), -math.sqrt(2), math.sqrt(0.5), -math.sqrt(0.5)]
    scales = [math.prod(p - other for other in points if other != p) for p in points]
    rows = [[p**power / scale for power in range(3)] for p, scale in zip(points, scales, strict=True)]
    return torch.tensor([*rows, [0.0, 0.0, 1.0]])


class _WinogradFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        image = x.permute(0, 2, 3, 1).contiguous()
        samples, rows, columns, _ = image.shape
        size = rows - 2, columns - 2
        points = _to_points(image, size, of_output=False)
        ctx.save_for_backward(points, weight)
        ctx.image = image.shape
        convolved = image.new_empty(samples, *size, weight.shape[1])
        _from_points(points @ weight.mT, size, convolved, of_output=True)
        return convolved.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        points, weight = ctx.saved_tensors
        gradient = gradients[0].permute(0, 2, 3, 1).contiguous()
        size = gradient.shape[1], gradient.shape[2]
        of_products = _to_points(gradient, size, of_output=True)
        of_image = gradient.new_empty(ctx.image)
        _from_points(of_products @ weight, size, of_image, of_output=False)
        return of_image.permute(0, 3, 1, 2), of_products.mT @ points


def _to_points(image: Tensor, size: tuple[int, int], *, of_output: bool) -> Tensor:
    """Transform tiles of 6 x 6 px of the input (of 4 x 4 px of the output's gradient) to (36, tile, channel)."""
    tiles = len(image) * math.prod(-(-side // _TILE) for side in size)
    points = image.new_empty(_POINTS**2, tiles, image.shape[3])
    tasks = len(image) * -(-size[0] // _TILE) * (image.shape[3] // BLOCK)
    cut = _cut if _threads_of_torch() == 1 else _cut_together
    cut(tasks, _bits(image), tuple(image.shape), size, of_output, _bits(points))
    return points


def _from_points(points: Tensor, size: tuple[int, int], image: Tensor, *, of_output: bool) -> None:
    """Transform (36, tile, channel) to tiles of 4 x 4 px of the output (6 x 6 px, summed, of the input's gradient)."""
    tasks = len(image) * (image.shape[3] // BLOCK)
    join = _join if _threads_of_torch() == 1 else _join_together
    join(tasks, _bits(points), tuple(image.shape), size, of_output, _bits(image))


def _bits(x: Tensor) -> NDArray[np.uint16]:
    bits: NDArray[np.uint16] = x.detach().reshape(-1).view(torch.uint16).numpy()
    return bits


def _threads_of_torch() -> int:
    """Give numba as many threads as torch has, and return their number.

    One thread needs no thread pool, and handing work to a pool is what costs most on a busy machine.
    """
    threads: int = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)
    if threads > 1:
        numba.set_num_threads(threads)
    return threads


# Compiled functions. A block holds 6 x 6 px (or points) x 32 channels as a flat float32 array, so that all offsets are
# constants: i is the column and channel, 192 = 6 x 32 the distance from row to row, and 32 that from column to column.
# A transform works along the first axis and swaps the first two axes, so that applying it twice is the 2-D transform.
# Sums and differences of the rows +a and -a (and of +b and -b) share their even and odd parts: half the operations.


@compiled
@no_type_check
def _points_of_input(s, o):
    """Row p: the product of (x - q) over all other points q, as coefficients of x0 to x5; p = infinity: all points."""
    for j in range(_POINTS):
        for c in range(BLOCK):
            i = j * BLOCK + c
            x0, x1, x2, x3, x4, x5 = s[i], s[192 + i], s[384 + i], s[576 + i], s[768 + i], s[960 + i]
            even_a, odd_a = x4 - _B2 * x2, _A * x3 - _B * x1
            even_b, odd_b = x4 - _A2 * x2, _B * x3 - _A * x1
            k = j * _POINTS * BLOCK + c
            o[k] = x0 - _SUM * x2 + x4
            o[k + 32] = even_a + odd_a
            o[k + 64] = even_a - odd_a
            o[k + 96] = even_b + odd_b
            o[k + 128] = even_b - odd_b
            o[k + 160] = x1 - _SUM * x3 + x5


@compiled
@no_type_check
def _input_of_points(s, o):
    """The adjoint of the transform above."""
    for j in range(_POINTS):
        for c in range(BLOCK):
            i = j * BLOCK + c
            p0, p1, p2, p3, p4, p5 = s[i], s[192 + i], s[384 + i], s[576 + i], s[768 + i], s[960 + i]
            sum_a, difference_a = p1 + p2, p1 - p2
            sum_b, difference_b = p3 + p4, p3 - p4
            k = j * _POINTS * BLOCK + c
            o[k] = p0
            o[k + 32] = p5 - _B * difference_a - _A * difference_b
            o[k + 64] = -_SUM * p0 - _B2 * sum_a - _A2 * sum_b
            o[k + 96] = _A * difference_a + _B * difference_b - _SUM * p5
            o[k + 128] = p0 + sum_a + sum_b
            o[k + 160] = p5


@compiled
@no_type_check
def _output_of_points(s, o):
    """Output k is the sum of p^k times the product at p; infinity adds to the highest power only."""
    for j in range(_POINTS):
        for c in range(BLOCK):
            i = j * BLOCK + c
            p0, p1, p2, p3, p4, p5 = s[i], s[192 + i], s[384 + i], s[576 + i], s[768 + i], s[960 + i]
            sum_a, difference_a = p1 + p2, p1 - p2
            sum_b, difference_b = p3 + p4, p3 - p4
            k = j * _POINTS * BLOCK + c
            o[k] = p0 + sum_a + sum_b
            o[k + 32] = _A * difference_a + _B * difference_b
            o[k + 64] = _A2 * sum_a + _B2 * sum_b
            o[k + 96] = _A3 * difference_a + _B3 * difference_b + p5


@compiled
@no_type_check
def _points_of_output(s, o):
    """The adjoint of the transform above."""
    for j in range(_POINTS):
        for c in range(BLOCK):
            i = j * BLOCK + c
            y0, y1, y2, y3 = s[i], s[192 + i], s[384 + i], s[576 + i]
            even_a, odd_a = y0 + _A2 * y2, _A * y1 + _A3 * y3
            even_b, odd_b = y0 + _B2 * y2, _B * y1 + _B3 * y3
            k = j * _POINTS * BLOCK + c
            o[k] = y0
            o[k + 32] = even_a + odd_a
            o[k + 64] = even_a - odd_a
            o[k + 96] = even_b + odd_b
            o[k + 128] = even_b - odd_b
            o[k + 160] = y3


# Positions are unsigned: numba checks a signed index for negative values (which count from the end) at every access,
# and that check prevents vectorisation.


@compiled
@no_type_check
def _widen(bits, at, wide, start):
    source, target = np.uintp(at), np.uintp(start)
    for c in range(np.uintp(BLOCK)):
        wide[target + c] = np.uint32(bits[source + c]) << np.uint32(16)


@compiled
@no_type_check
def _round(wide, start, bits, at):
    """Round float32 numbers, given as their bits, to the nearest bfloat16, ties to even.

    A bfloat16 is the upper half of a float32. Adding half of its last place, less one bit unless its last bit is set,
    carries into the upper half exactly where the number has to be rounded up.
    """
    source, target = np.uintp(start), np.uintp(at)
    for c in range(np.uintp(BLOCK)):
        b = wide[source + c]
        bits[target + c] = (b + np.uint32(0x7FFF) + ((b >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)


@compiled
@no_type_check
def _add(block, start, total, at):
    source, target = np.uintp(start), np.uintp(at)
    for c in range(np.uintp(BLOCK)):
        total[target + c] += block[source + c]


@compiled
@no_type_check
def _cut_row(task, image, shape, size, of_output, points):
    """Transform 32 channels of one row of tiles."""
    samples, rows, columns, channels = shape
    down, across, blocks = -(-size[0] // _TILE), -(-size[1] // _TILE), channels // BLOCK
    side = _TILE if of_output else _POINTS
    n, ty, first = task // (down * blocks), task // blocks % down, task % blocks * BLOCK
    one, two = np.empty(_POINTS**2 * BLOCK, np.float32), np.empty(_POINTS**2 * BLOCK, np.float32)
    wide = one.view(np.uint32)
    for tx in range(across):
        one[:] = 0
        for i in range(min(side, rows - ty * _TILE)):
            for j in range(min(side, columns - tx * _TILE)):
                at = ((n * rows + ty * _TILE + i) * columns + tx * _TILE + j) * channels + first
                _widen(image, at, wide, (i * _POINTS + j) * BLOCK)
        if of_output:
            _points_of_output(one, two)
            _points_of_output(two, one)
        else:
            _points_of_input(one, two)
            _points_of_input(two, one)
        tile = (n * down + ty) * across + tx
        for p in range(_POINTS**2):
            _round(wide, p * BLOCK, points, (p * samples * down * across + tile) * channels + first)


@compiled
@no_type_check
def _join_channels(task, points, shape, size, of_output, image):
    """Transform 32 channels of all tiles of a sample back.

    One task goes through the tiles of a sample in order, so that overlapping tiles are summed in the same order
    whatever the number of threads. ``band`` holds the six rows of pixels of one row of tiles, of which the last two
    overlap the next row of tiles.
    """
    samples, rows, columns, channels = shape
    down, across, blocks = -(-size[0] // _TILE), -(-size[1] // _TILE), channels // BLOCK
    side = _TILE if of_output else _POINTS
    length = (across * _TILE + 2) * BLOCK
    n, first = task // blocks, task % blocks * BLOCK
    one, two = np.empty(_POINTS**2 * BLOCK, np.float32), np.zeros(_POINTS**2 * BLOCK, np.float32)
    band = np.zeros(_POINTS * length, np.float32)
    wide, wide_band = one.view(np.uint32), band.view(np.uint32)
    for ty in range(down):
        for tx in range(across):
            tile = (n * down + ty) * across + tx
            for p in range(_POINTS**2):
                _widen(points, (p * samples * down * across + tile) * channels + first, wide, p * BLOCK)
            if of_output:
                _output_of_points(one, two)
                _output_of_points(two, one)
            else:
                _input_of_points(one, two)
                _input_of_points(two, one)
            for i in range(side):
                for j in range(side):
                    _add(one, (i * _POINTS + j) * BLOCK, band, i * length + (tx * _TILE + j) * BLOCK)
        for i in range(min(side if ty == down - 1 else _TILE, rows - ty * _TILE)):
            for x in range(columns):
                at = ((n * rows + ty * _TILE + i) * columns + x) * channels + first
                _round(wide_band, i * length + x * BLOCK, image, at)
        band[: 2 * length] = band[_TILE * length :]
        band[2 * length :] = 0


@compiled
@no_type_check
def _cut(tasks, image, shape, size, of_output, points):
    for task in range(tasks):
        _cut_row(task, image, shape, size, of_output, points)


@compiled_parallel
@no_type_check
def _cut_together(tasks, image, shape, size, of_output, points):
    for task in prange(tasks):
        _cut_row(task, image, shape, size, of_output, points)


@compiled
@no_type_check
def _join(tasks, points, shape, size, of_output, image):
    for task in range(tasks):
        _join_channels(task, points, shape, size, of_output, image)


@compiled_parallel
@no_type_check
def _join_together(tasks, points, shape, size, of_output, image):
    for task in prange(tasks):
        _join_channels(task, points, shape, size, of_output, image)
