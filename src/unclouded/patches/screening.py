"""Screening of patches for imaging artifacts (section III-A of the paper): named checks with thresholds.

Each check that fails gives a :class:`Finding` with its location. Findings reject a patch, except for those of checks in
``remarks``.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float32
from numpy.typing import NDArray
from pydantic import Field

from unclouded.errors import InputError
from unclouded.io.raster import Raster, describe_grid, read, same_grid
from unclouded.patches.layouts import CLEAR, CLOUDY, SAR
from unclouded.patches.reading import PatchImages
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.sentinel.coregistration import OPTICAL_BANDS, Shift, estimate_shift
from unclouded.sentinel.scene_alignment import date_gap_days
from unclouded.settings import Settings

Check = Literal[
    "unreadable", "grid", "no_data", "constant", "saturated", "stripes", "border_noise", "haze", "shift", "date_gap",
    "same_scene", "snow", "open_water",
]  # fmt: skip

MEASURING = ("stripe_coherence", "stripe_strength", "border_noise_db", "haze_reflectance")
"""Settings that determine what is measured in the pixels; the others are thresholds of measured values."""

REMARKS: tuple[Check, ...] = ("snow", "open_water")
"""Checks that reject nothing by default: snow and water are not artifacts, but of interest for curation."""

BELOW_SHIFTS_PX = 64
"""Minimum side of an image for estimating the shift."""

Box = tuple[int, int, int, int]
"""First row, first column, row after the last, column after the last."""


class ScreeningSettings(Settings):
    """Thresholds of the checks; shares are of the pixels of a patch.

    The defaults are our decisions, tuned on the patches of SEN12MS-CR that docs/curation.md lists.
    """

    remarks: tuple[Check, ...] = Field(REMARKS, description="checks that are reported but reject nothing")
    no_data: float = Field(0.0, ge=0, le=1, description="largest share without data (NaN, 0, 65535, nodata tag)")
    saturated_optical: float = Field(0.01, ge=0, le=1, description="largest share at a band's highest value, above 1")
    saturated_radar: float = Field(
        0.10, ge=0, le=1, description="largest share at a band's highest value, 0 dB or more"
    )
    stripe_coherence: float = Field(
        0.95, ge=0, le=1, description="smallest one-sidedness of the step between a stripe and its neighbours"
    )
    stripe_strength: float = Field(3.0, ge=0, description="smallest step of a stripe, as a multiple of the median step")
    border_noise_db: float = Field(-37.0, description="VV below this is not ground: noise at the border of a swath")
    border_noise: float = Field(0.005, ge=0, le=1, description="largest share of such pixels")
    haze_reflectance: float = Field(0.012, ge=0, description="smallest B10 of cirrus")
    haze: float = Field(0.05, ge=0, le=1, description="largest share of cirrus in the clear image")
    shift_px: float = Field(2.0, ge=0, description="largest confident shift between radar and the clear image")
    date_gap_days: float = Field(92.0, ge=0, description="largest gap between two of the dates: a season")
    same_scene: float = Field(
        0.99, ge=0, le=1, description="largest correlation of the details of the clear and the cloudy image"
    )
    snow: float = Field(0.2, ge=0, le=1, description="largest share of snow in the clear image without a finding")
    open_water: float = Field(
        0.98, ge=0, le=1, description="largest share of water in the clear image without a finding"
    )


def threshold_of(check: Check, image: str, settings: ScreeningSettings) -> float:
    """Return the largest value of a check that passes."""
    if check == "saturated":
        return settings.saturated_radar if image == SAR else settings.saturated_optical
    thresholds: dict[Check, float] = {
        "no_data": settings.no_data,
        "border_noise": settings.border_noise,
        "haze": settings.haze,
        "shift": settings.shift_px,
        "date_gap": settings.date_gap_days,
        "same_scene": settings.same_scene,
        "snow": settings.snow,
        "open_water": settings.open_water,
    }
    return thresholds.get(check, 0.0)


@dataclass(frozen=True)
class Finding:
    """Measured value of a check; the result of a failed check if it is above its threshold.

    Attributes:
        check: Name of the check.
        image: Image: ``s1``, ``s2`` (clear) or ``s2_cloudy``.
        value: Measured value: a share of the pixels, pixels or days.
        threshold: Largest value that passes.
        detail: Description.
        box: Location; the whole patch if None.
    """

    check: Check
    image: str
    value: float
    threshold: float
    detail: str
    box: Box | None = None

    def __str__(self) -> str:
        return f"{self.check} in {self.image}: {self.detail}"


@dataclass(frozen=True)
class Screening:
    """Findings of one patch.

    Attributes:
        name: Patch name.
        findings: Findings in the order of the checks.
        shift: Shift between radar and clear image, if both exist and are large enough.
        measures: Values of all checks that measured more than 0, findings and passed ones.
    """

    name: str
    findings: tuple[Finding, ...]
    shift: Shift | None = None
    measures: tuple[Finding, ...] = ()

    def rejecting(self, settings: ScreeningSettings) -> tuple[Finding, ...]:
        """Return the findings that reject the patch."""
        return tuple(finding for finding in self.findings if finding.check not in settings.remarks)


def screen_files(images: PatchImages, settings: ScreeningSettings) -> Screening:
    """Read the images of a patch and screen them; an unreadable image becomes a finding."""
    rasters: dict[str, Raster] = {}
    unreadable = []
    for token, path in images.paths.items():
        try:
            rasters[token] = read(path, SENTINEL1 if token == SAR else SENTINEL2)
        except InputError as error:
            unreadable.append(Finding("unreadable", token, 1.0, 0.0, str(error)))
    screening = screen(images.name, rasters, settings)
    return Screening(
        images.name, (*unreadable, *screening.findings), screening.shift, (*unreadable, *screening.measures)
    )


def screen(
    name: str,
    images: Mapping[str, Raster],
    settings: ScreeningSettings,
    acquired: Mapping[str, datetime | None] | None = None,
) -> Screening:
    """Screen the images of a patch.

    Args:
        name: Patch name.
        images: Images by token: ``s1`` in dB, ``s2`` (clear) and ``s2_cloudy`` in reflectance; any may be missing.
        settings: Thresholds.
        acquired: Acquisition times by token, if known.
    """
    measures = list(_grids(images))
    shift = None if measures else _shift(images)
    for token, raster in images.items():
        measures += _of_any(token, raster, settings)
    if SAR in images:
        measures += _border_noise(images[SAR], settings)
    if CLEAR in images:
        measures += _of_clear(images[CLEAR], settings)
    if {CLEAR, CLOUDY} <= images.keys():
        measures += _likeness(images[CLEAR], images[CLOUDY], settings)
    if shift and shift.is_confident:
        away = float(np.hypot(shift.right_px, shift.down_px))
        measures.append(Finding("shift", SAR, away, settings.shift_px, f"radar lies {shift} of the clear image"))
    measures += _date_gaps(acquired or {}, settings)
    return Screening(name, above_threshold(measures), shift, tuple(measures))


def above_threshold(measures: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the measured values above their thresholds."""
    return tuple(one for one in measures if one.value > one.threshold)


def _grids(images: Mapping[str, Raster]) -> Iterator[Finding]:
    reference = next((token for token in (CLOUDY, CLEAR, SAR) if token in images), SAR)
    for token, raster in images.items():
        if not same_grid(raster.geobox, images[reference].geobox):
            grids = f"{describe_grid(raster.geobox)}, {reference} on {describe_grid(images[reference].geobox)}"
            yield Finding("grid", token, 1.0, 0.0, f"lies on {grids}")


def _of_any(token: str, raster: Raster, settings: ScreeningSettings) -> Iterator[Finding]:
    radar = token == SAR
    holes = np.isnan(raster.values).any(axis=0)
    yield from _share("no_data", token, holes, settings, "without data")
    if holes.all():
        return
    if flat := constant_bands(raster.values, raster.bands):
        yield Finding("constant", token, float(len(flat)), 0.0, f"one and the same value in {' '.join(flat)}")
        return
    yield from _share("saturated", token, clipped(raster.values, 0.0 if radar else 1.0), settings, "clipped")
    fine = raster.values if radar else raster.select(FINE_BANDS).values
    if min(raster.geobox.shape) >= 3 and not holes.any():
        found = [stripes(band, settings.stripe_coherence, settings.stripe_strength) for band in fine]
        yield from _share("stripes", token, np.logical_or.reduce(found), settings, "in lines unlike both neighbours")


def _border_noise(radar: Raster, settings: ScreeningSettings) -> Iterator[Finding]:
    dark = radar.values[radar.bands.index("VV")] < settings.border_noise_db
    yield from _share("border_noise", SAR, dark, settings, f"below {settings.border_noise_db:g} dB in VV")


def _of_clear(clear: Raster, settings: ScreeningSettings) -> Iterator[Finding]:
    seen = cirrus(clear.values, settings.haze_reflectance)
    median = float(np.nanmedian(clear.select(("B10",)).values)) if np.isfinite(clear.values).any() else float("nan")
    yield from _share("haze", CLEAR, seen, settings, f"cirrus, median of B10 {median:.4f}")
    yield from _share("snow", CLEAR, snow(clear.values), settings, "snow")
    yield from _share("open_water", CLEAR, water(clear.values), settings, "open water")


def same_scene(clear: Raster, cloudy: Raster, settings: ScreeningSettings) -> Iterator[Finding]:
    """Yield a finding if the cloudy image is the clear one, in the same or another processing."""
    yield from above_threshold(_likeness(clear, cloudy, settings))


def _likeness(clear: Raster, cloudy: Raster, settings: ScreeningSettings) -> Iterator[Finding]:
    if clear.geobox.shape != cloudy.geobox.shape:
        return
    likeness = detail_correlation(clear.select(FINE_BANDS).values, cloudy.select(FINE_BANDS).values)
    detail = f"the clear image again: their details correlate by {likeness:.4f}"
    yield Finding("same_scene", CLOUDY, likeness, settings.same_scene, detail)


def _share(
    check: Check, image: str, where: NDArray[np.bool_], settings: ScreeningSettings, what: str
) -> Iterator[Finding]:
    if share := float(where.mean()):
        yield Finding(check, image, share, threshold_of(check, image, settings), f"{share:.1%} {what}", _box(where))


def _box(where: NDArray[np.bool_]) -> Box:
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _shift(images: Mapping[str, Raster]) -> Shift | None:
    if not {SAR, CLEAR} <= images.keys() or min(images[SAR].geobox.shape) < BELOW_SHIFTS_PX:
        return None
    return estimate_shift(images[SAR].values, images[CLEAR].select(OPTICAL_BANDS).values)


def _date_gaps(acquired: Mapping[str, datetime | None], settings: ScreeningSettings) -> Iterator[Finding]:
    for first, second in ((SAR, CLEAR), (SAR, CLOUDY), (CLEAR, CLOUDY)):
        gap = date_gap_days(acquired.get(first), acquired.get(second))
        if gap is not None:
            detail = f"{abs(gap):.1f} days from {second}"
            yield Finding("date_gap", first, abs(gap), settings.date_gap_days, detail)


# Artifacts of one image.


FINE_BANDS = ("B02", "B03", "B04", "B08")
"""Bands of 10 m; resampled bands of 20 and 60 m repeat lines, which look like stripes."""


def detail_correlation(first: Float32[np.ndarray, "band y x"], second: Float32[np.ndarray, "band y x"]) -> float:
    """Return the median over bands of the correlation of differences between neighbouring pixels.

    Two processings of one acquisition share the noise of the sensor, whatever their offset, gain and rounding: they
    give 0.999 or more. Clouds, the atmosphere, and the sampling of another overpass destroy the correlation: the ten
    complete triplets of our samples give at most 0.85.

    Returns:
        Correlation, -1 to 1; 0 if no band has details in both images.
    """
    found = []
    for one, other in zip(first, second, strict=True):
        steps, other_steps = np.diff(one, axis=1).ravel(), np.diff(other, axis=1).ravel()
        seen = np.isfinite(steps) & np.isfinite(other_steps)
        steps, other_steps = steps[seen].astype(np.float64), other_steps[seen].astype(np.float64)
        if steps.size and steps.std() > 0 and other_steps.std() > 0:
            found.append(float(np.corrcoef(steps, other_steps)[0, 1]))
    return float(np.median(found)) if found else 0.0


def constant_bands(values: Float32[np.ndarray, "band y x"], bands: tuple[str, ...]) -> tuple[str, ...]:
    """Return the bands in which all values are equal."""
    low, high = (extreme.reduce(values, axis=(1, 2)) for extreme in (np.fmin, np.fmax))
    return tuple(band for band, flat in zip(bands, low == high, strict=True) if flat)


def clipped(values: Float32[np.ndarray, "band y x"], least: float) -> Bool[np.ndarray, "y x"]:
    """Return the pixels at the highest value of the most clipped band, if that value is ``least`` or more."""
    highest = np.fmax.reduce(values, axis=(1, 2))
    stuck = (values == highest[:, None, None]) & (highest >= least)[:, None, None]
    return np.asarray(stuck[stuck.sum(axis=(1, 2)).argmax()])


def stripes(band: Float32[np.ndarray, "y x"], coherence: float, strength: float) -> Bool[np.ndarray, "y x"]:
    """Return the rows and columns that as a whole are brighter, or darker, than both of their neighbours.

    Fields, roads and coasts do not follow one row of a UTM grid over a whole patch, because grid north is not true
    north.

    Args:
        band: One band.
        coherence: Minimum difference between the shares of a line's pixels above and below their neighbours, 0 to 1.
        strength: Minimum median step to the neighbours, as a multiple of the median step of the band.
    """
    found = np.zeros(band.shape, bool)
    for axis in (0, 1):
        found |= np.moveaxis(_striped_rows(np.moveaxis(band, axis, 0), coherence, strength), 0, axis)
    return found


def _striped_rows(band: NDArray[np.float32], coherence: float, strength: float) -> NDArray[np.bool_]:
    above, below = (_share_above(band[1:-1], other) for other in (band[:-2], band[2:]))
    one_sided = np.where(above * below > 0, np.minimum(np.abs(above), np.abs(below)), 0)  # a border differs from one
    found = np.zeros(band.shape, bool)
    rows = np.flatnonzero(one_sided >= coherence)
    if not rows.size:  # as in nearly every patch; medians take long
        return found
    step = band[1:-1] - (band[:-2] + band[2:]) / 2
    typical = np.nanmedian(np.abs(step)) + np.finfo(np.float32).eps
    for row in rows[np.nanmedian(np.abs(step[rows]), axis=1) >= strength * typical]:
        first = max(row - 1, 0)
        beside = np.abs(np.nanmedian(step[first : row + 2], axis=1))
        # the neighbours of a stripe have half its step, with the opposite sign
        found[row + 1] = beside[row - first] >= beside.max()
    return found


def _share_above(rows: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return for each row the share of its pixels above those of another row, minus the share below them."""
    above, below, equal = (
        np.count_nonzero(compare(rows, others), axis=1) for compare in (np.greater, np.less, np.equal)
    )
    return np.asarray((above - below) / np.maximum(above + below + equal, 1))


def cirrus(values: Float32[np.ndarray, "13 y x"], least: float) -> Bool[np.ndarray, "y x"]:
    """Return the pixels that are bright at 1.375 um, where water vapour hides the ground: cirrus, high mountains."""
    return np.asarray(_band(values, "B10") >= least)


def snow(values: Float32[np.ndarray, "13 y x"]) -> Bool[np.ndarray, "y x"]:
    """Return snow: NDSI of at least 0.42 and a bright near infrared (thresholds of Sen2Cor's first steps)."""
    green, infrared, short = (_band(values, band) for band in ("B03", "B08", "B11"))
    return np.asarray((_index(green, short) >= 0.42) & (infrared >= 0.11) & (green >= 0.10))


def water(values: Float32[np.ndarray, "13 y x"]) -> Bool[np.ndarray, "y x"]:
    """Return open water: NDWI (McFeeters 1996) above 0, dark in near and short-wave infrared."""
    green, infrared, short = (_band(values, band) for band in ("B03", "B08", "B11"))
    return np.asarray((_index(green, infrared) > 0) & (infrared < 0.15) & (short < 0.11))


def _band(values: NDArray[np.float32], band: str) -> NDArray[np.float32]:
    return np.asarray(values[SENTINEL2.bands.index(band)])


def _index(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((first - second) / np.maximum(first + second, np.float32(1e-6)))


# Report of a whole data set.


@dataclass(frozen=True)
class ScreeningReport:
    """Screening of a data set.

    Attributes:
        screenings: One screening per patch.
        settings: Thresholds.
    """

    screenings: tuple[Screening, ...]
    settings: ScreeningSettings

    @property
    def rejected(self) -> tuple[Screening, ...]:
        """Screenings of rejected patches."""
        return tuple(one for one in self.screenings if one.rejecting(self.settings))

    def counts(self) -> dict[str, int]:
        """Return the number of patches with findings of each check, the most frequent first."""
        checks = (check for one in self.screenings for check in sorted({finding.check for finding in one.findings}))
        return dict(Counter(checks).most_common())

    def to_text(self) -> str:
        """Return counts, then one line per finding."""
        total = len(self.screenings)
        counts = (
            f"  {check:<13}{count:>8,}{'  remark only' if check in self.settings.remarks else ''}"
            for check, count in self.counts().items()
        )
        found = (f"{one.name}: {finding}" for one in self.screenings for finding in one.findings)
        return "\n".join([f"{total:,} patches screened, {len(self.rejected):,} rejected", *counts, *found])

    def to_json(self) -> dict[str, Any]:
        """Return settings, counts and all findings."""
        return {
            "patches": len(self.screenings),
            "rejected": len(self.rejected),
            "counts": self.counts(),
            "settings": self.settings.model_dump(mode="json"),
            "findings": list(_rows(self.screenings, self.settings)),
        }


def _rows(screenings: Iterable[Screening], settings: ScreeningSettings) -> Iterable[dict[str, Any]]:
    for one in screenings:
        for finding in one.findings:
            rejects = finding.check not in settings.remarks
            yield {"patch": one.name, "rejects": rejects, **vars(finding)}
