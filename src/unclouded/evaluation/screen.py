"""Which pairs of features may be near: products in low precision, with a bound of their error."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from torch import Tensor

ROUNDING = {torch.float32: 2.0**-24, torch.bfloat16: 2.0**-8}
"""Largest relative error of rounding to a screen's precision."""
BLOCK = 1024
"""Rows and columns of a block of products."""
_ROWS = 256  # converted to float64 at a time


@dataclass(frozen=True, eq=False)
class Screened:
    """Features, and what a screen needs to know of them.

    With x and y two features from which the same centre was subtracted, their squared distance is at least
    ``(1 - slack) (|x|² + |y|²) - 2 p``, where p is their product in :func:`blocks`.

    Attributes:
        features: As they were given, on the CPU.
        rounded: The same centred and in the screen's precision.
        squares: Squared length of each centred feature, before rounding.
        slack: Bound of the error, relative to the sum of two squared lengths.
    """

    features: NDArray[Any]
    rounded: Float[Tensor, "n feature"]
    squares: Float64[np.ndarray, " n"]
    slack: float


def fastest_screen() -> torch.dtype:
    """Return bfloat16 where the processor multiplies it, else float32."""
    native = (getattr(torch.cpu, f"_is_{name}_supported", bool)() for name in ("avx512_bf16", "amx_tile"))
    return torch.bfloat16 if any(native) else torch.float32


def screened(sets: Sequence[Float[Tensor, "_ feature"]], precision: torch.dtype) -> list[Screened]:
    """Round sets of features for one screen: the same centre and the same slack for all.

    The centre, their mean, is taken away because it is what matrix products lose most precision to. The slack: with
    rounding errors of at most r relative to each feature's length, products p of n rounded values summed in float32
    with a relative error of at most s = n 2^-24 / (1 - n 2^-24) (Higham 2002, section 3.1) and rounded once more by at
    most u are wrong by at most ``(2 r + r² + (1 + r)² (s + u)) |x| |y|``, and 2 |x| |y| is at most |x|² + |y|².
    """
    held = [features.detach().cpu().contiguous() for features in sets]
    centre = torch.stack([one.sum(dim=0, dtype=torch.float64) for one in held]).sum(dim=0) / sum(map(len, held))
    parts = [_rounded(features, centre, precision) for features in held]
    r = max(worst for _, _, worst in parts)
    summed = held[0].shape[1] * 2.0**-24
    slack = 2 * r + r**2 + (1 + r) ** 2 * (summed / (1 - summed) + ROUNDING[precision])
    return [
        Screened(features.numpy(), rounded, squares.numpy(), 1.001 * slack)
        for features, (rounded, squares, _) in zip(held, parts, strict=True)
    ]


def _rounded(
    features: Float[Tensor, "n feature"], centre: Float64[Tensor, " feature"], precision: torch.dtype
) -> tuple[Float[Tensor, "n feature"], Float64[Tensor, " n"], float]:
    """Centred and rounded features, their squared lengths before rounding, and the largest relative error."""
    rounded = torch.empty(features.shape, dtype=precision)
    squares, worst = torch.empty(len(features), dtype=torch.float64), 0.0
    for start in range(0, len(features), _ROWS):
        rows = slice(start, start + _ROWS)
        centred = features[rows].double() - centre
        rounded[rows] = centred.to(precision)
        squares[rows] = centred.square().sum(dim=1)
        error = (centred - rounded[rows].double()).square().sum(dim=1)
        worst = max(worst, (error / squares[rows].clamp_min(1e-300)).max().sqrt().item())
    return rounded, squares, worst


def blocks(rows: Screened, columns: Screened, *, upper: bool = False) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Yield the matrix of products in blocks, each with its first row and its first column.

    Args:
        rows: One set.
        columns: The other one.
        upper: Leave out the blocks below the diagonal.
    """
    for top in range(0, len(rows.rounded), BLOCK):
        for left in range(top if upper else 0, len(columns.rounded), BLOCK):
            product = rows.rounded[top : top + BLOCK] @ columns.rounded[left : left + BLOCK].T
            yield top, left, product.float().numpy()
