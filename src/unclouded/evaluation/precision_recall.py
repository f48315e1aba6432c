"""Improved precision and recall of generated images.

Kynkäänniemi et al. (2019), NeurIPS ([28] in the paper); section III-B.1 and appendix B of the paper.

The manifold of a set of images is the union of balls around their features whose radius is the distance to the k-th
nearest neighbour. Precision is the share of generated images within the manifold of the real ones, recall the reverse.

Membership is decided by float64 distances, but few of them are computed: matrix products in low precision (the screen),
with a bound of their error, exclude the pairs of features that cannot matter. The result equals that of all float64
distances, whatever the precision of the screen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, no_type_check

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from torch import Tensor

from unclouded.errors import InputError
from unclouded.jit import compiled, compiled_in_lanes

DEFINITION = "unclouded-precision-recall-1"
"""Version of the definitions in this module; results of different versions are not comparable."""

K = 10
"""Number of neighbours in the paper."""


@dataclass(frozen=True, eq=False)
class PrecisionRecall:
    """Precision, recall and realism of generated images.

    Attributes:
        precision: Share of the generated images within the manifold of the real ones.
        recall: Share of the real images within the manifold of the generated ones.
        k: Number of neighbours that defines the radius of a ball.
        include_self: Whether a feature counts as its own first neighbour.
        n_real: Number of real images.
        n_generated: Number of generated images.
        realism: Realism of each generated image: the largest ratio of radius to distance from the centre over the
            real balls not larger than their median (section 5 of Kynkäänniemi et al.); 1 or more is within a ball.
    """

    precision: float
    recall: float
    k: int
    include_self: bool
    n_real: int
    n_generated: int
    realism: Float64[Tensor, " generated"]

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 if both are 0."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def precision_recall(
    real: Float[Tensor, "real feature"],
    generated: Float[Tensor, "generated length"],
    k: int = K,
    *,
    include_self: bool = False,
    precision: torch.dtype | None = None,
) -> PrecisionRecall:
    """Return precision, recall and realism of generated images from their features.

    Args:
        real: Features of the real images.
        generated: Features of the generated images.
        k: Number of neighbours that defines the radius of a ball.
        include_self: Count a feature as its own first neighbour, so that its ball reaches only to the neighbour k - 1.
            Otherwise, as in [28], a feature is not its own neighbour; a copy of it in the set is one, at distance 0.
            Appendix B of the paper can be read in both ways: k = 10 "removes the paired target itself plus its eight
            overlapping samples", nine images, so that the tenth of a list that begins with the target is used.
        precision: Precision of the screen; the fastest on this processor if omitted. It never changes the result.

    Raises:
        InputError: A set has no k neighbours, a feature is not finite, or the features differ in length.
    """
    _check(real, generated, k)
    real_set, generated_set = screened([real, generated], precision or fastest_screen())
    neighbour = k - 1 if include_self else k
    real_radii, generated_radii = (squared_radii(one, neighbour) for one in (real_set, generated_set))
    is_small = real_radii <= np.median(real_radii)
    generated_inside, real_inside = np.zeros(len(generated), np.bool_), np.zeros(len(real), np.bool_)
    nearness = np.full(len(generated), np.inf)
    for top, left, product in blocks(generated_set, real_set):
        rows, columns = slice(top, top + len(product)), slice(left, left + product.shape[1])
        _sort_into_balls(
            product, generated_set.slack,
            generated_set.features[rows], generated_set.squares[rows], generated_radii[rows], generated_inside[rows],
            nearness[rows],
            real_set.features[columns], real_set.squares[columns], real_radii[columns], real_inside[columns],
            is_small[columns],
        )  # fmt: skip
    with np.errstate(divide="ignore"):
        realism = torch.from_numpy(1 / np.sqrt(nearness))
    inside = (float(generated_inside.mean()), float(real_inside.mean()))
    return PrecisionRecall(*inside, k, include_self, len(real), len(generated), realism)


def _check(real: Tensor, generated: Tensor, k: int) -> None:
    if real.shape[1] != generated.shape[1]:
        raise InputError(f"expected features of one length, found {real.shape[1]} and {generated.shape[1]}")
    for name, features in (("real", real), ("generated", generated)):
        if not 1 <= k < len(features):
            raise InputError(f"k = {k} neighbours need more than {k} {name} images, found {len(features)}; lower k")
        if not features.isfinite().all():
            raise InputError(f"the features of the {name} images hold NaN or infinity; leave such images out")


@dataclass(frozen=True, eq=False)
class Screened:
    """Features prepared for the screen.

    With x and y two features from which the same centre was subtracted, their squared distance is at least
    ``(1 - slack) (|x|² + |y|²) - 2 p``, where p is their product in :func:`blocks`.

    Attributes:
        features: Features as given, on the CPU.
        rounded: Centred features in the precision of the screen.
        squares: Squared length of each centred feature, before rounding.
        slack: Error bound, relative to the sum of two squared lengths.
    """

    features: NDArray[Any]
    rounded: Float[Tensor, "n feature"]
    squares: Float64[np.ndarray, " n"]
    slack: float


def squared_radii(points: Screened, k: int) -> Float64[np.ndarray, " n"]:
    """Return the squared distance of each feature to its k-th nearest other one; 0 for k = 0.

    Each block of the matrix of distances is computed once and serves its rows and its columns.
    """
    if k == 0:
        return np.zeros(len(points.features))
    nearest = np.full((len(points.features), k), np.inf)
    for top, left, product in blocks(points, points, upper=True):
        _update_nearest(product, points.slack, top, left, points.features, points.squares, nearest)
    return nearest[:, -1].copy()


@compiled_in_lanes
@no_type_check
def _squared_distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Sum of squared differences in float64: the same for (a, b) and (b, a)."""
    total = 0.0
    for i in range(len(a)):
        difference = np.float64(a[i]) - np.float64(b[i])
        total += difference * difference
    return total


@compiled
@no_type_check  # numba compiles the function itself, not one wrapped in checks
def _insert(row: NDArray[np.float64], value: float) -> None:
    """Insert a value into an ascending row and drop the last one."""
    place = len(row) - 1
    if value >= row[place]:
        return
    while place > 0 and row[place - 1] > value:
        row[place] = row[place - 1]
        place -= 1
    row[place] = value


@compiled
@no_type_check  # numba compiles the function itself, not one wrapped in checks
def _update_nearest(
    product: NDArray[np.float32],
    slack: float,
    top: int,
    left: int,
    features: NDArray[np.float32],
    squares: NDArray[np.float64],
    nearest: NDArray[np.float64],
) -> None:
    """Update the nearest distances of both features of each pair of a block above the diagonal."""
    last = nearest.shape[1] - 1
    for row in range(product.shape[0]):
        i = top + row
        for column in range(max(0, i + 1 - left), product.shape[1]):
            j = left + column
            lowest = (1.0 - slack) * (squares[i] + squares[j]) - 2.0 * product[row, column]
            if lowest < nearest[i, last] or lowest < nearest[j, last]:
                distance = _squared_distance(features[i], features[j])
                _insert(nearest[i], distance)
                _insert(nearest[j], distance)


@compiled
@no_type_check  # numba compiles the function itself, not one wrapped in checks
def _sort_into_balls(
    product: NDArray[np.float32],
    slack: float,
    generated: NDArray[np.float32],
    generated_squares: NDArray[np.float64],
    generated_radii: NDArray[np.float64],
    generated_inside: NDArray[np.bool_],
    nearness: NDArray[np.float64],
    real: NDArray[np.float32],
    real_squares: NDArray[np.float64],
    real_radii: NDArray[np.float64],
    real_inside: NDArray[np.bool_],
    is_small: NDArray[np.bool_],
) -> None:
    """Update membership in balls, and the smallest ratio of squared distance to squared radius of the small balls."""
    for i in range(product.shape[0]):
        for j in range(product.shape[1]):
            lowest = (1.0 - slack) * (generated_squares[i] + real_squares[j]) - 2.0 * product[i, j]
            if (
                (lowest <= real_radii[j] and not generated_inside[i])
                or (lowest <= generated_radii[i] and not real_inside[j])
                or (is_small[j] and lowest < nearness[i] * real_radii[j])
            ):
                distance = _squared_distance(generated[i], real[j])
                generated_inside[i] |= distance <= real_radii[j]
                real_inside[j] |= distance <= generated_radii[i]
                if is_small[j] and distance < nearness[i] * real_radii[j]:
                    nearness[i] = distance / real_radii[j]


# The screen: products of features in low precision, with a bound of their error.


ROUNDING = {torch.float32: 2.0**-24, torch.bfloat16: 2.0**-8}
"""Largest relative rounding error, by precision of the screen."""

BLOCK = 1024
"""Rows and columns of a block of products."""

_ROWS = 256  # rows converted to float64 at a time; limits memory


def fastest_screen() -> torch.dtype:
    """Return bfloat16 if the processor multiplies it in hardware, else float32."""
    native = (getattr(torch.cpu, f"_is_{name}_supported", bool)() for name in ("avx512_bf16", "amx_tile"))
    return torch.bfloat16 if any(native) else torch.float32


def screened(sets: Sequence[Float[Tensor, "_ feature"]], precision: torch.dtype) -> list[Screened]:
    """Round sets of features for one screen: the same centre and the same slack for all.

    The mean of all features is subtracted first, because it would dominate the rounding errors. The slack: with
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
    slack *= 1.001  # for the rounding errors of the bound itself
    return [
        Screened(features.numpy(), rounded, squares.numpy(), slack)
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
        rows: Features of the rows.
        columns: Features of the columns.
        upper: Omit the blocks below the diagonal.
    """
    for top in range(0, len(rows.rounded), BLOCK):
        for left in range(top if upper else 0, len(columns.rounded), BLOCK):
            product = rows.rounded[top : top + BLOCK] @ columns.rounded[left : left + BLOCK].T
            yield top, left, product.float().numpy()
