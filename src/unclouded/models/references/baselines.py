"""Baselines that use other dates: the nearest one as it is or regressed, median and geometric median of all."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from unclouded.errors import InputError
from unclouded.jit import compiled
from unclouded.models.baselines import baseline
from unclouded.models.remover import keep_clear_pixels
from unclouded.sensors import RGB
from unclouded.settings import nearest
from unclouded.tensors.observation import Observation, Reference

RIDGE = 1e-3
"""Ridge penalty of ``reference-regression``, as a share of the variance of a band."""

FEWEST_PX = 40
"""Pixels clear on both dates below which ``reference-regression`` takes a reference as it is."""

ITERATIONS = 100
"""Most iterations of the geometric median."""

TOLERANCE = 1e-5
"""Change of reflectance at which the geometric median has converged."""


@dataclass(frozen=True)
class ReferenceBaseline:
    """A :class:`~unclouded.models.remover.CloudRemover` that uses ``Observation.references``.

    Where no reference shows the ground, the answer is that of ``clear-mean``.

    Attributes:
        name: One of :data:`REFERENCE_BASELINES`.
        bands: Optical bands it returns.
    """

    name: str
    bands: tuple[str, ...] = RGB
    needs_radar: bool = False
    uses_references: bool = True
    level: None = None

    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image as reflectance; NaN where today has no data."""
        seen = observation.select(self.bands)
        known = REFERENCE_BASELINES[self.name](seen)
        filled = torch.where(known.isnan(), baseline("clear-mean", self.bands)(seen), known)
        return keep_clear_pixels(torch.where(seen.cloudy.isnan(), math.nan, filled).to(seen.cloudy.dtype), seen)


def reference_baseline(name: str, bands: tuple[str, ...] = RGB) -> ReferenceBaseline:
    """Return a baseline that uses other dates, by its name.

    Raises:
        InputError: There is no such baseline.
    """
    if name not in REFERENCE_BASELINES:
        raise InputError(f"{name[:80]!r} is no baseline{nearest(name, list(REFERENCE_BASELINES))}")
    return ReferenceBaseline(name, bands)


def by_day_gap(seen: Observation) -> list[Reference]:
    """Return the references by the days between them and the observation; those without a date last."""

    def days(reference: Reference) -> float:
        known = seen.date is not None and reference.date is not None
        return abs((reference.date - seen.date).days) if known else math.inf  # type: ignore[operator]

    return sorted(seen.references, key=days)


def reference_copy(seen: Observation) -> Float[Tensor, "batch band h w"]:
    """Return each pixel of the nearest reference that shows it; NaN where none does."""
    return _first_known([_shown(one) for one in by_day_gap(seen)], seen)


def reference_regression(seen: Observation) -> Float[Tensor, "batch band h w"]:
    """Return each pixel of the nearest reference that shows it, by a ridge regression of all bands on all bands.

    One regression for each reference and image, on the pixels that are clear on both dates.
    """
    return _first_known([_regressed(seen, one) for one in by_day_gap(seen)], seen)


def median(seen: Observation) -> Float[Tensor, "batch band h w"]:
    """Return the median of the references by band and pixel; NaN where none shows the ground."""
    if not seen.references:
        return torch.full_like(seen.cloudy, math.nan)
    return torch.stack([_shown(one) for one in seen.references]).nanquantile(0.5, dim=0).to(seen.cloudy.dtype)


def geomedian(seen: Observation) -> Float[Tensor, "batch band h w"]:
    """Return the geometric median of the references' spectra by pixel; NaN where none shows the ground."""
    if not seen.references:
        return torch.full_like(seen.cloudy, math.nan)
    stack = torch.stack([_shown(one) for one in seen.references]).float()
    images = [geometric_median(stack[:, i].numpy()) for i in range(stack.shape[1])]
    return torch.from_numpy(np.stack(images)).to(seen.cloudy.dtype)


REFERENCE_BASELINES: dict[str, Callable[[Observation], Tensor]] = {
    "reference-copy": reference_copy,
    "reference-regression": reference_regression,
    "median": median,
    "geomedian": geomedian,
}
"""Every baseline by its name."""


def _shown(reference: Reference) -> Float[Tensor, "batch band h w"]:
    return torch.where(reference.is_clear, reference.cloudy, math.nan)


def _first_known(answers: list[Tensor], seen: Observation) -> Float[Tensor, "batch band h w"]:
    result = torch.full_like(seen.cloudy, math.nan)
    for answer in answers:
        result = torch.where(result.isnan().any(dim=1, keepdim=True), answer.to(result.dtype), result)
    return result


def _regressed(seen: Observation, reference: Reference) -> Float[Tensor, "batch band h w"]:
    common = (reference.is_clear & ~seen.is_cloudy & seen.cloudy.isfinite().all(dim=1, keepdim=True))[:, 0]
    images = zip(_shown(reference).double(), seen.cloudy.double(), common, strict=True)
    return torch.stack([_ridge(x, y, where) if int(where.sum()) >= FEWEST_PX else x for x, y, where in images])


def _ridge(
    x: Float[Tensor, "band h w"], y: Float[Tensor, "band h w"], where: Bool[Tensor, "h w"]
) -> Float[Tensor, "band h w"]:
    known, target = x[:, where], y[:, where]
    centre, level = known.mean(dim=1)[:, None], target.mean(dim=1)[:, None]
    scale = known.std(dim=1, correction=0)[:, None].clamp(min=1e-4)
    z = (known - centre) / scale
    gram = z @ z.T / z.shape[1] + RIDGE * torch.eye(len(z), dtype=z.dtype)
    slopes = torch.linalg.solve(gram, z @ (target - level).T / z.shape[1])
    regressed: Tensor = slopes.T @ ((x.flatten(1) - centre) / scale) + level
    return regressed.view(x.shape)


def geometric_median(
    stack: Float32[np.ndarray, "date band y x"],
) -> Float32[np.ndarray, "band y x"]:
    """Return the geometric median of the spectra of each pixel: of least summed distance to them.

    Weiszfeld's iteration with the modification of Vardi and Zhang (2000), PNAS 97, which does not stop at a spectrum.
    Dates with a NaN in any band do not count for a pixel.

    Args:
        stack: Reflectance of several dates; NaN in gaps.
    """
    dates, bands = stack.shape[:2]
    pixels = np.ascontiguousarray(stack.reshape(dates, bands, -1).transpose(2, 0, 1), dtype=np.float64)
    found = _geometric_medians(pixels, ITERATIONS, TOLERANCE)
    return np.ascontiguousarray(found.T.reshape(stack.shape[1:]), dtype=np.float32)


@compiled
@no_type_check
def _geometric_medians(pixels, iterations, tolerance):
    count, dates, bands = pixels.shape
    result = np.full((count, bands), np.nan)
    at, total, pull = np.empty(bands), np.empty(bands), np.empty(bands)
    for i in range(count):
        known = np.ones(dates, dtype=np.bool_)
        for k in range(dates):
            for b in range(bands):
                if np.isnan(pixels[i, k, b]):
                    known[k] = False
        there = known.sum()
        if there == 0:
            continue
        at[:] = 0.0
        for k in range(dates):
            if known[k]:
                at += pixels[i, k] / there
        for _ in range(iterations):
            total[:] = 0.0
            pull[:] = 0.0
            weights, equal = 0.0, 0
            for k in range(dates):
                if not known[k]:
                    continue
                distance = np.sqrt(np.sum((pixels[i, k] - at) ** 2))
                if distance < 1e-12:
                    equal += 1
                    continue
                weights += 1 / distance
                total += pixels[i, k] / distance
                pull += (pixels[i, k] - at) / distance
            if weights == 0.0:
                break
            size = np.sqrt(np.sum(pull**2))
            share = 1.0 if equal == 0 else max(0.0, 1 - equal / max(size, 1e-300))
            moved = share * (total / weights - at)
            at += moved
            if np.max(np.abs(moved)) < tolerance:
                break
        result[i] = at
    return result
