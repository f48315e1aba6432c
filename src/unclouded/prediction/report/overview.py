"""Overview of a scene for its report: reduced images and statistics, read in one pass over the rows.

Memory depends on the width of the scene and the size of the overview, not on the height of the scene.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray

from unclouded.io.strips import RowReader, row_ranges
from unclouded.prediction.products import SYNTHESISED_FROM, Provenance
from unclouded.sensors import RGB
from unclouded.stretch import MIN_CLEAR_PX, Stretch, stretch_of

OVERVIEW_PX = 1200
"""Longest side of an overview."""
CROP_PX = 320
"""Side of a crop at full resolution."""
SPECTRUM_PX = 60_000
"""Approximate number of pixels sampled for the spectra."""
STRIP_PX = 256


@dataclass(frozen=True, eq=False)
class SceneReaders:
    """Row readers of a scene before and after cloud removal.

    Attributes:
        shape: Rows and columns.
        bands: Optical bands of ``before`` and ``after``.
        before: Observed TOA reflectance.
        after: TOA reflectance without clouds.
        cloud_map: The map m, one band; NaN where it is unknown.
        provenance: Codes of :class:`~unclouded.prediction.products.Provenance`, one band.
        confidence: 0 guessed to 1 observed, one band; None if the remover has no confidence.
    """

    shape: tuple[int, int]
    bands: tuple[str, ...]
    before: RowReader[NDArray[np.float32]]
    after: RowReader[NDArray[np.float32]]
    cloud_map: RowReader[NDArray[np.float32]]
    provenance: RowReader[NDArray[np.uint8]]
    confidence: RowReader[NDArray[np.float32]] | None = None


@dataclass(frozen=True, eq=False)
class Spectra:
    """Spectra of one kind of pixel.

    Attributes:
        median: Median by band.
        low: Tenth percentile by band.
        high: Ninetieth percentile by band.
        pixels: Number of pixels, an even sample of the scene.
    """

    median: Float32[np.ndarray, " band"]
    low: Float32[np.ndarray, " band"]
    high: Float32[np.ndarray, " band"]
    pixels: int


@dataclass(frozen=True, eq=False)
class Crop:
    """Square at full resolution.

    Attributes:
        top: First row.
        left: First column.
        before: Displayed bands, observed.
        after: Displayed bands without clouds.
    """

    top: int
    left: int
    before: Float32[np.ndarray, "shown y x"]
    after: Float32[np.ndarray, "shown y x"]


@dataclass(frozen=True, eq=False)
class Overview:
    """Images and statistics of a scene for its report.

    Attributes:
        shape: Rows and columns of the scene.
        shown: Bands displayed as red, green and blue.
        step: Scene pixels per overview pixel along a row.
        before: Overview of the displayed bands, observed.
        after: The same without clouds.
        cloud_map: Overview of m.
        provenance: Codes of every ``step``-th pixel, see :class:`~unclouded.prediction.products.Provenance`.
        confidence: Overview of the confidence; None if there is none.
        spectra: Spectra by kind of pixel (``observed``, ``synthesised``), without kinds that have no pixels.
        counts: Pixel counts by lower-case name of :class:`~unclouded.prediction.products.Provenance`.
        mean_coverage: Mean of m over the pixels where it is known; NaN if it is known nowhere.
        cloudy_share: Share of pixels with m > 0 among those where m is known; NaN if it is known nowhere.
        guessed: Predicted pixels with a confidence below one half.
        crops: Partly cloudy crops.
    """

    shape: tuple[int, int]
    shown: tuple[str, ...]
    step: int
    before: Float32[np.ndarray, "shown y x"]
    after: Float32[np.ndarray, "shown y x"]
    cloud_map: Float32[np.ndarray, "y x"]
    provenance: UInt8[np.ndarray, "y x"]
    confidence: Float32[np.ndarray, "y x"] | None
    spectra: Mapping[str, Spectra]
    counts: Mapping[str, int]
    mean_coverage: float
    cloudy_share: float
    guessed: int
    crops: Sequence[Crop]

    @cached_property
    def stretch(self) -> Stretch:
        """Stretch of the pictures of the scene: that of clear ground, or of the result if there is little."""
        ground = self.before[:, (self.cloud_map == 0) & np.isfinite(self.before).all(axis=0)]
        enough = ground.shape[1] >= MIN_CLEAR_PX
        return stretch_of(ground if enough else self.after[:, np.isfinite(self.after).all(axis=0)])


def read_overview(readers: SceneReaders, crops: int = 4) -> Overview:
    """Read the overview of a scene in one pass from top to bottom, then a few crops.

    Args:
        readers: Row readers of the scene.
        crops: Number of crops, if the scene is larger than a crop.
    """
    height, width = readers.shape
    step = math.ceil(max(height, width) / OVERVIEW_PX)
    sparse = max(1, round(math.sqrt(height * width / SPECTRUM_PX)))
    shown = RGB if set(RGB) <= set(readers.bands) else readers.bands[:1] * 3
    sums = _Sums.empty(readers.confidence is not None)
    rows = step * max(1, STRIP_PX // step)
    for top, bottom in row_ranges(height, rows):
        sums.add(readers, top, bottom, step, sparse, shown)
    before, after, m, confidence = sums.overviews()
    return Overview(
        readers.shape,
        shown,
        step,
        before,
        after,
        m[0],
        np.concatenate(sums.codes),
        None if confidence is None else confidence[0],
        sums.spectra(),
        sums.counts,
        sums.total / sums.known if sums.known else math.nan,
        sums.cloudy / sums.known if sums.known else math.nan,
        sums.guessed,
        [_crop(readers, shown, *corner) for corner in _corners(m[0], step, readers.shape, crops)],
    )


@dataclass
class _Sums:
    """Running sums and overview rows while a scene is read."""

    pictures: list[list[NDArray[np.float32]]]
    codes: list[NDArray[np.uint8]]
    samples: dict[str, list[NDArray[np.float32]]]
    counts: dict[str, int]
    total: float = 0.0
    known: int = 0
    cloudy: int = 0
    guessed: int = 0

    @classmethod
    def empty(cls, confidence: bool) -> "_Sums":
        counts = dict.fromkeys((code.name.lower() for code in Provenance), 0)
        return cls([[] for _ in range(3 + confidence)], [], {"observed": [], "synthesised": []}, counts)

    def add(self, readers: SceneReaders, top: int, bottom: int, step: int, sparse: int, shown: tuple[str, ...]) -> None:
        before, after, m = (read(top, bottom) for read in (readers.before, readers.after, readers.cloud_map))
        picked = [readers.bands.index(band) for band in shown]
        images = [before[picked], after[picked], m]
        provenance = readers.provenance(top, bottom)[0]
        predicted = provenance >= Provenance.BLENDED
        kinds = {"observed": provenance == Provenance.OBSERVED, "synthesised": predicted & (m[0] >= SYNTHESISED_FROM)}
        if readers.confidence is not None:
            images.append(readers.confidence(top, bottom))
            unsure = np.nan_to_num(images[-1][0], nan=1.0) < 0.5
            self.guessed += int((unsure & predicted).sum())
        for pictures, image in zip(self.pictures, images, strict=True):
            pictures.append(shrunk(image, step))
        self.codes.append(provenance[::step, ::step])  # codes have no mean; strips start at multiples of the step
        for code in Provenance:
            self.counts[code.name.lower()] += int((provenance == code).sum())
        self.total += float(np.nansum(m, dtype=np.float64))
        self.known += int(np.count_nonzero(~np.isnan(m)))
        self.cloudy += int(np.count_nonzero(m > 0))
        even = (slice(-top % sparse, None, sparse), slice(0, None, sparse))  # one lattice across all strips
        for kind, found in self.samples.items():
            found.append(after[:, *even][:, kinds[kind][even]])

    def overviews(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32] | None]:
        joined = [np.concatenate(pictures, axis=1) for pictures in self.pictures]
        return joined[0], joined[1], joined[2], joined[3] if len(joined) > 3 else None

    def spectra(self) -> dict[str, Spectra]:
        joined = {kind: np.concatenate(found, axis=1) for kind, found in self.samples.items()}
        return {kind: _spectra(pixels) for kind, pixels in joined.items() if pixels.shape[1]}


def _spectra(pixels: Float32[np.ndarray, "band pixel"]) -> Spectra:
    low, median, high = np.percentile(pixels, (10, 50, 90), axis=1).astype(np.float32)
    return Spectra(median, low, high, pixels.shape[1])


def shrunk(image: Float32[np.ndarray, "band y x"], step: int) -> Float32[np.ndarray, "band small_y small_x"]:
    """Average squares of ``step`` px, smaller ones at the right and bottom edge, ignoring pixels without data."""
    if step == 1:
        return image
    starts = [np.arange(0, length, step) for length in image.shape[1:]]
    known = np.isfinite(image)
    sums = [np.where(known, image, 0.0), known.astype(np.float32)]
    for axis, start in enumerate(starts, start=1):
        sums = [np.add.reduceat(part, start, axis=axis) for part in sums]
    with np.errstate(invalid="ignore"):
        return np.asarray(sums[0] / sums[1], dtype=np.float32)


def _corners(m: Float32[np.ndarray, "y x"], step: int, shape: tuple[int, int], count: int) -> list[tuple[int, int]]:
    """Return corners of the crops whose cloud cover is closest to one half; none in small scenes."""
    side = max(1, CROP_PX // step)
    if max(shape) <= 2 * CROP_PX:
        return []
    tops, lefts = (range(0, max(1, length - side + 1), side) for length in m.shape)
    cover: dict[tuple[int, int], float] = {
        (top, left): float(np.nanmean(part))
        for top in tops
        for left in lefts
        if np.isfinite(part := m[top : top + side, left : left + side]).any()
    }
    best = sorted((corner for corner in cover if cover[corner] > 0), key=lambda corner: abs(cover[corner] - 0.5))
    return [(corner[0] * step, corner[1] * step) for corner in best[:count]]


def _crop(readers: SceneReaders, shown: tuple[str, ...], top: int, left: int) -> Crop:
    picked = [readers.bands.index(band) for band in shown]
    bottom, right = (min(start + CROP_PX, length) for start, length in zip((top, left), readers.shape, strict=True))
    before, after = (read(top, bottom)[picked, :, left:right] for read in (readers.before, readers.after))
    return Crop(top, left, before, after)
