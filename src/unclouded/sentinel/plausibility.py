"""Plausibility of the band order and the units of an optical image, by its spectra.

Spectra of Sentinel-2 are not arbitrary: B10 is dark except under high cloud, B08, B8A and B07 are nearly equal, and
scattering in the air makes B01 brighter than B02 and B03. A mixture of normal distributions of log reflectance, fitted
to real pixels of clear and cloudy land, water and snow (``proofs/fit_spectra.py``), gives each image a plausibility:
the mean log density of its pixels. If the stated order or units are implausible, others are tried.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import combinations
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64
from numpy.typing import NDArray

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.sensors import SENTINEL2

PIXELS = 500
"""Number of sampled pixels per image."""
_FEWEST = 40
"""Smallest number of valid pixels for a check."""
_DARK = 0.01
"""Constant added to reflectance before the logarithm, about the noise and rounding of dark pixels."""
_FLOOR = -30.0
"""Lower limit of the log density of a pixel, so that a few outliers do not dominate the mean."""
_PLAUSIBLE = 0.0
"""Smallest plausibility of an alternative order or unit."""
_SURE, _LIKELY = 8.0, 3.0
"""Gain over the stated order or unit for an error and a warning; in real images no plausible alternative gains 2.9."""
_LARGE = 15.0
"""Gain from which another order is worth a warning even if it is implausible, too."""
_STRANGE = -8.0
"""Plausibility below which the order of unnamed bands is in doubt even if no better one is found.

182 real images stay above -1.7, and random orders of them below -18.
"""
_NEGATIVE = -0.02
"""Lowest median reflectance of a band, caused by noise and dark signal correction."""
_NOTHING, _MOST_NOTHING = 1.5e-4, 0.5
"""Reflectance of about one stored step, and largest share of a band at or below it: at most 0.11 in real images."""
_BRIGHTEST = 1.6
"""Highest median reflectance of a band; backlit clouds, snow slopes and glint rarely exceed it."""

_FEW_MOVED = 3
"""Largest number of misplaced bands that a message lists one by one."""

_WRITTEN = {
    "names sorted as text": "B01 B10 B11 B12 B02 B03 B04 B05 B06 B07 B08 B8A B09",
    "names sorted, B8A last": "B01 B02 B03 B04 B05 B06 B07 B08 B09 B10 B11 B12 B8A",
    "B10 last": "B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B11 B12 B10",
    "reversed": " ".join(SENTINEL2.bands[::-1]),
    "red, green, blue first": "B04 B03 B02 B01 B05 B06 B07 B08 B8A B09 B10 B11 B12",
    "red, green, blue, near infrared first": "B04 B03 B02 B08 B01 B05 B06 B07 B8A B09 B10 B11 B12",
    "bands of 10 m first, then 20 m and 60 m": "B02 B03 B04 B08 B05 B06 B07 B8A B11 B12 B01 B09 B10",
    "bands of 10 m first, then the others": "B02 B03 B04 B08 B01 B05 B06 B07 B8A B09 B10 B11 B12",
    "bands of 60 m last": "B02 B03 B04 B05 B06 B07 B08 B8A B11 B12 B01 B09 B10",
    "bands of 60 m first": "B01 B09 B10 B02 B03 B04 B08 B05 B06 B07 B8A B11 B12",
    "red and blue swapped": "B01 B04 B03 B02 B05 B06 B07 B08 B8A B09 B10 B11 B12",
}
ORDERS = {name: tuple(order.split()) for name, order in _WRITTEN.items()}
"""Band orders written by common tools."""

_STEP = 0.2
"""Smallest gain of a swap of two bands; real images in their true order rarely gain more."""
_MICROMETRES = dict(
    zip(
        SENTINEL2.bands,
        (0.443, 0.492, 0.560, 0.665, 0.704, 0.740, 0.783, 0.833, 0.865, 0.945, 1.374, 1.614, 2.202),
        strict=True,
    )
)
"""Central wavelengths."""
_SCORED = {13: SENTINEL2.bands, 12: tuple(band for band in SENTINEL2.bands if band not in ("B09", "B10"))}
"""Scored bands by the number of bands; B09 of Level-2A depends most on the water vapour correction."""

OFFSET_LEFT = "carry an offset of 1000 that was not removed"
_UNITS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "are reflectance x 1000": lambda r: r * 10,
    "are reflectance x 2000": lambda r: r * 5,
    "are per cent": lambda r: r * 100,
    "are scaled to 0..255": lambda r: r * (10_000 / 255),
    OFFSET_LEFT: lambda r: r - 0.1,
    "are reflectance x 27500": lambda r: r / 2.75,
    "are reflectance x 40000": lambda r: r / 4,
    "are reflectance x 65535": lambda r: r / 6.5535,
}
"""Alternative units of the numbers, as functions that correct the reflectance read in the stated unit."""
_DOUBTFUL = tuple(_UNITS)[4:]
"""Units that make an image brighter, as snow and cloud do; they cause warnings, never errors."""


@dataclass(frozen=True, eq=False)
class SpectralModel:
    """Mixture of normal distributions of the log reflectance of Level-1C.

    Attributes:
        weights: Share of each component.
        means: Mean log reflectance of each component.
        covariances: Covariance of each component.
    """

    weights: Float64[np.ndarray, " component"]
    means: Float64[np.ndarray, "component band"]
    covariances: Float64[np.ndarray, "component band band"]

    def __post_init__(self) -> None:
        cholesky = np.linalg.cholesky(self.covariances)
        bands, whitening = self.means.shape[1], np.linalg.inv(cholesky)
        object.__setattr__(self, "_whitening", whitening)
        object.__setattr__(self, "_shift", np.einsum("kij,kj->ki", whitening, self.means))
        logs = np.log(np.diagonal(cholesky, axis1=1, axis2=2)).sum(axis=1)
        object.__setattr__(self, "_constant", np.log(self.weights) - logs - bands / 2 * np.log(2 * np.pi))

    _whitening: NDArray[np.float64] = None  # type: ignore[assignment]
    _shift: NDArray[np.float64] = None  # type: ignore[assignment]
    _constant: NDArray[np.float64] = None  # type: ignore[assignment]

    def marginal(self, bands: list[int]) -> "SpectralModel":
        """Return the model of some of the bands."""
        return SpectralModel(self.weights, self.means[:, bands], self.covariances[:, bands][:, :, bands])

    def plausibility(self, logs: Float64[np.ndarray, "pixel band"]) -> float:
        """Return the mean log density of pixels, each limited to at least -30."""
        away = np.einsum("kij,nj->kni", self._whitening, logs) - self._shift[:, None]
        density = self._constant[:, None] - (away**2).sum(axis=2) / 2
        top = density.max(axis=0)
        return float(np.maximum(top + np.log(np.exp(density - top).sum(axis=0)), _FLOOR).mean())


@cache
def spectral_model() -> SpectralModel:
    """Return the model of the package."""
    text = files("unclouded.sentinel").joinpath("data/spectra.csv").read_text(encoding="ascii")
    table = np.array([line.split(",") for line in text.splitlines()[1:]], float)
    bands = len(SENTINEL2.bands)
    above = np.triu_indices(bands)
    covariances = np.zeros((len(table), bands, bands))
    covariances[:, *above] = table[:, 1 + bands :]
    covariances += np.triu(covariances, 1).transpose(0, 2, 1)
    return SpectralModel(table[:, 0], table[:, 1 : 1 + bands], covariances)


@dataclass(frozen=True)
class Finding:
    """Another order or unit under which an image is more plausible.

    Attributes:
        order: Probable bands of the file, in its order; None if the order is not in doubt.
        order_name: Name of that order; None if it has none.
        unit: Probable meaning of the numbers; None if the stated unit is not in doubt.
        gain: Plausibility gained by the alternative.
        plausibility: Plausibility of the image under the alternative.
    """

    order: tuple[str, ...] | None
    order_name: str | None
    unit: str | None
    gain: float
    plausibility: float

    @property
    def is_sure(self) -> bool:
        """Whether the gain exceeds that of any real image in its true order and unit by far."""
        return self.gain >= _SURE and self.plausibility >= _PLAUSIBLE

    @property
    def is_likely(self) -> bool:
        """Whether the finding is worth a warning."""
        if self.order and len(self.order) == len(SENTINEL2.bands) and self.gain >= _LARGE:
            return True
        least = _SURE if self.unit in _DOUBTFUL and self.unit != OFFSET_LEFT else _LIKELY
        return self.gain >= least and self.plausibility >= _PLAUSIBLE


def find_alternative(
    reflectance: Float32[np.ndarray, "pixel band"],
    bands: tuple[str, ...],
    *,
    ordered: bool = False,
    model: SpectralModel | None = None,
) -> Finding | None:
    """Return the order or the unit under which pixels are most plausible; None if that is the stated one.

    Args:
        reflectance: Pixels with data in all bands, read in the stated order and unit.
        bands: Stated bands, those of Level-1C or of Level-2A.
        ordered: Whether the order is certain, such as that of named bands.
        model: Spectral model; that of the package if omitted.
    """
    scorer = _BandScorer(np.asarray(reflectance, np.float64), bands, model or spectral_model())
    stated = scorer.plausibility(scorer.pixels)
    found = [Finding(None, None, unit, value - stated, value) for unit, value in scorer.units()]
    if not ordered:
        order, value = scorer.best_order()
        name = next((name for name, known in scorer.orders.items() if known == order), None)
        found.append(Finding(order, name, None, value - stated, value))
    best = max(found, key=lambda one: one.gain)
    return best if best.gain > 0 or stated < _STRANGE else None


def check_optical_plausibility(
    path: Path, reflectance: Float32[np.ndarray, "band pixel"], bands: tuple[str, ...], *, ordered: bool
) -> tuple[str, ...]:
    """Return warnings about the order of bands and the unit of the numbers, usually none.

    Args:
        path: Image, for messages.
        reflectance: Pixels spread over the image; NaN for no data.
        bands: Stated bands.
        ordered: Whether the bands of the image have names.

    Raises:
        InputError: The bands are certainly in another order, or the numbers in another unit.
    """
    pixels = reflectance.T[np.isfinite(reflectance).all(axis=0)]
    if len(pixels) < _FEWEST:
        return ()
    _refuse_no_reflectance(path, pixels, bands)
    found = find_alternative(pixels[np.linspace(0, len(pixels) - 1, PIXELS).astype(int)], bands, ordered=ordered)
    if found is None or not found.is_likely:
        in_doubt = not ordered and len(bands) == len(SENTINEL2.bands)
        strange = in_doubt and found is not None and found.plausibility - found.gain < _STRANGE
        return tuple(_cut_off(pixels, bands)) or ((_no_spectrum(bands),) if strange else ())
    if found.order is None:
        words = f"the numbers look as if they {found.unit}"
        if found.is_sure and found.unit not in _DOUBTFUL:
            raise InputError(f"{named(path)}: {words}, expected reflectance x 10000; convert them first")
        return (f"{words}, or it is snow or cloud; in the former case every result is wrong",)
    words = _order_in_words(found.order, found.order_name, bands)
    if found.is_sure:
        raise InputError(f"{named(path)}: {words}; {_remedy(found.order, bands)}")
    return (f"{words}; if so, {_remedy(found.order, bands)}",)


def _no_spectrum(bands: tuple[str, ...]) -> str:
    return (
        "the bands have no names, and their numbers are like no spectrum of Sentinel-2 in the order "
        f"{' '.join(bands)}, nor in any order that was tried; check the order, and name the bands in the file"
    )


def _cut_off(pixels: NDArray[np.float32], bands: tuple[str, ...]) -> Iterator[str]:
    """Yield a warning if most of a band is 0, as after an offset was subtracted from unsigned integers."""
    empty = (np.abs(pixels) <= _NOTHING).mean(axis=0)
    if empty.max() > _MOST_NOTHING:
        yield (
            f"{empty.max():.0%} of {bands[int(empty.argmax())]} has a reflectance of 0 or 0.0001: an offset seems to "
            "have been subtracted that the numbers did not carry, and what was below 0 cut off; if so, fetch the image "
            "again"
        )


def _refuse_no_reflectance(path: Path, pixels: NDArray[np.float32], bands: tuple[str, ...]) -> None:
    """Refuse an image whose median reflectance in a band is impossible."""
    middle = np.median(pixels, axis=0)
    if (low := middle.min()) < _NEGATIVE:
        raise InputError(
            f"{named(path)} has a median reflectance of {low:.3f} in {bands[int(middle.argmin())]}, expected at least "
            f"{_NEGATIVE}: the offset is applied twice, or these numbers never had it; correct the offset"
        )
    if (high := middle.max()) > _BRIGHTEST:
        raise InputError(
            f"{named(path)} has a median reflectance of {high:.3g} in {bands[int(middle.argmax())]}, expected at most "
            f"{_BRIGHTEST}: the numbers are no reflectance x 10000; convert them first"
        )


def _order_in_words(order: tuple[str, ...], name: str | None, bands: tuple[str, ...]) -> str:
    moved = [
        f"band {i} looks like {is_}"
        for i, (is_, stated) in enumerate(zip(order, bands, strict=True), 1)
        if is_ != stated
    ]
    if name is None and len(moved) <= _FEW_MOVED:
        return f"the bands have no names, and {', '.join(moved)}, expected the order {' '.join(bands)}"
    called = f" ({name})" if name else ""
    return f"the bands have no names and look like {' '.join(order)}{called}, expected {' '.join(bands)}"


def _remedy(order: tuple[str, ...], bands: tuple[str, ...]) -> str:
    """Return a command that reorders the bands, and the remedy if the order is right."""
    picked = " ".join(f"-b {order.index(band) + 1}" for band in bands)
    return f"reorder them ('gdal_translate {picked} IN OUT'), or name them in the file if they are as expected"


class _BandScorer:
    """Scores of the pixels of one image under the spectral model of its bands."""

    def __init__(self, pixels: NDArray[np.float64], bands: tuple[str, ...], model: SpectralModel) -> None:
        self.pixels, self.bands = pixels, bands
        self.orders = {name: tuple(band for band in known if band in bands) for name, known in ORDERS.items()}
        self._air = _air(bands)
        self._scored = [bands.index(band) for band in bands if band in _SCORED[len(bands)]]
        self._model = model.marginal([SENTINEL2.bands.index(bands[i]) for i in self._scored])

    def plausibility(self, pixels: NDArray[np.float64]) -> float:
        """Return the plausibility of pixels whose columns are the bands."""
        return max(self._model.plausibility(_logs((pixels + air)[:, self._scored])) for air in self._air)

    def units(self) -> Iterator[tuple[str, float]]:
        for unit, change in _UNITS.items():
            yield unit, self.plausibility(change(self.pixels))

    def best_order(self) -> tuple[tuple[str, ...], float]:
        """Return the most plausible order of the columns: the best known one, improved by swapping pairs."""
        starts = [self.bands, *self.orders.values()]
        order = max(starts, key=self._ordered)
        best = self._ordered(order)
        while True:
            value, swapped = max((self._ordered(one), one) for one in _swaps(order))
            if value <= best + _STEP:
                return order, best
            order, best = swapped, value

    def _ordered(self, order: tuple[str, ...]) -> float:
        return self.plausibility(self.pixels[:, [order.index(band) for band in self.bands]])


def _swaps(order: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for first, second in combinations(range(len(order)), 2):
        swapped = list(order)
        swapped[first], swapped[second] = order[second], order[first]
        yield tuple(swapped)


def _logs(reflectance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(np.maximum(reflectance, 0.0) + _DARK)


def _air(bands: tuple[str, ...]) -> list[NDArray[np.float64]]:
    """Return possible differences of Level-1C from the given reflectance: Rayleigh scattering if it is Level-2A."""
    if "B10" in bands:
        return [np.zeros(len(bands))]
    rayleigh = 0.00877 * np.array([_MICROMETRES[band] for band in bands]) ** -4.05
    return [share * rayleigh for share in (0.0, 0.25, 0.4)]
