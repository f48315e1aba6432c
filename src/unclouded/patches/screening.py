"""Screen a triplet for imaging artifacts (section III-A of the paper): named checks, thresholds, and where it is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from unclouded.errors import InputError
from unclouded.patches import artifacts
from unclouded.patches.images import PatchImages
from unclouded.patches.layouts import CLEAR, CLOUDY, SAR
from unclouded.raster import Raster, describe, read, same_grid
from unclouded.scenes.align import date_gap_days
from unclouded.scenes.shift import OPTICAL_BANDS, Shift, estimate_shift
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.settings import Settings

Check = Literal[
    "unreadable", "grid", "no_data", "constant", "saturated", "stripes", "border_noise", "haze", "shift", "date_gap",
    "snow", "open_water",
]  # fmt: skip
REMARKS: tuple[Check, ...] = ("snow", "open_water")
"""Checks that reject nothing by default: snow and water are no artifacts, but who curates wants to see them."""
BELOW_SHIFTS_PX = 64
"""Smaller images have no shift that could be found."""

Box = tuple[int, int, int, int]
"""First row, first column, row after the last, column after the last."""


class ScreeningSettings(Settings):
    """Thresholds; shares are of the pixels of a patch.

    The defaults were tuned on the patches of SEN12MS-CR that docs/curation.md lists, and are decisions of ours.
    """

    remarks: tuple[Check, ...] = Field(REMARKS, description="checks that are told but reject nothing")
    no_data: float = Field(0.0, ge=0, le=1, description="largest share without data (NaN, 0, 65535, nodata tag)")
    saturated_optical: float = Field(0.01, ge=0, le=1, description="largest share at a band's highest value, above 1")
    saturated_radar: float = Field(
        0.10, ge=0, le=1, description="largest share at a band's highest value, 0 dB or more"
    )
    stripe_coherence: float = Field(0.95, ge=0, le=1, description="how one-sided a line must step to be a stripe")
    stripe_strength: float = Field(3.0, ge=0, description="how many times the usual step")
    border_noise_db: float = Field(-37.0, description="VV below is no ground: noise at the border of a swath")
    border_noise: float = Field(0.005, ge=0, le=1, description="largest share of such pixels")
    haze_reflectance: float = Field(0.012, ge=0, description="B10 from here on is cirrus")
    haze: float = Field(0.05, ge=0, le=1, description="largest share of cirrus in the clear image")
    shift_px: float = Field(2.0, ge=0, description="largest confident shift between radar and the clear image")
    date_gap_days: float = Field(92.0, ge=0, description="largest gap between two of the dates: a season")
    snow: float = Field(0.2, ge=0, le=1, description="share of snow in the clear image from which it is told")
    open_water: float = Field(0.98, ge=0, le=1, description="share of water in the clear image from which it is told")


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        check: Its name.
        image: Which image: ``s1``, ``s2`` (clear) or ``s2_cloudy``.
        value: What was measured: a share of the pixels, pixels or days.
        threshold: The largest value that passes.
        detail: In words.
        box: Where it is; the whole patch if None.
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
    """What was found in one patch.

    Attributes:
        name: Of the patch.
        findings: In the order of the checks.
        shift: Between radar and clear image, where both are there and large enough.
    """

    name: str
    findings: tuple[Finding, ...]
    shift: Shift | None = None

    def rejecting(self, settings: ScreeningSettings) -> tuple[Finding, ...]:
        """Return the findings that reject the patch."""
        return tuple(finding for finding in self.findings if finding.check not in settings.remarks)


def screen_files(images: PatchImages, settings: ScreeningSettings) -> Screening:
    """Read the images of a patch and screen them; what cannot be read is a finding, not an end."""
    rasters: dict[str, Raster] = {}
    unreadable = []
    for token, path in images.paths.items():
        try:
            rasters[token] = read(path, SENTINEL1 if token == SAR else SENTINEL2)
        except InputError as error:
            unreadable.append(Finding("unreadable", token, 1.0, 0.0, str(error)))
    screening = screen(images.name, rasters, settings)
    return Screening(images.name, (*unreadable, *screening.findings), screening.shift)


def screen(
    name: str,
    images: Mapping[str, Raster],
    settings: ScreeningSettings,
    acquired: Mapping[str, datetime | None] | None = None,
) -> Screening:
    """Screen the images of a patch.

    Args:
        name: Of the patch.
        images: By token: ``s1`` in dB, ``s2`` (clear) and ``s2_cloudy`` in reflectance; any of them may be absent.
        settings: Thresholds.
        acquired: When they were taken, where known.
    """
    findings = list(_grids(images))
    for token, raster in images.items():
        findings += _of_any(token, raster, settings)
    if SAR in images:
        findings += _border_noise(images[SAR], settings)
    if CLEAR in images:
        findings += _of_clear(images[CLEAR], settings)
    shift = None if findings and findings[0].check == "grid" else _shift(images)
    if shift and shift.is_confident and (away := float(np.hypot(shift.right_px, shift.down_px))) > settings.shift_px:
        findings.append(Finding("shift", SAR, away, settings.shift_px, f"radar lies {shift} of the clear image"))
    findings += _date_gaps(acquired or {}, settings)
    return Screening(name, tuple(findings), shift)


def _grids(images: Mapping[str, Raster]) -> Iterator[Finding]:
    reference = next((token for token in (CLOUDY, CLEAR, SAR) if token in images), SAR)
    for token, raster in images.items():
        if not same_grid(raster.geobox, images[reference].geobox):
            grids = f"{describe(raster.geobox)}, {reference} on {describe(images[reference].geobox)}"
            yield Finding("grid", token, 1.0, 0.0, f"lies on {grids}")


def _of_any(token: str, raster: Raster, settings: ScreeningSettings) -> Iterator[Finding]:
    radar = token == SAR
    holes = np.isnan(raster.values).any(axis=0)
    yield from _share("no_data", token, holes, settings.no_data, "without data")
    if holes.all():
        return
    if flat := artifacts.constant_bands(raster.values, raster.bands):
        yield Finding("constant", token, float(len(flat)), 0.0, f"one and the same value in {' '.join(flat)}")
        return
    limit = settings.saturated_radar if radar else settings.saturated_optical
    yield from _share("saturated", token, artifacts.clipped(raster.values, 0.0 if radar else 1.0), limit, "clipped")
    fine = raster.values if radar else raster.select(artifacts.FINE_BANDS).values
    if min(raster.geobox.shape) >= 3 and not holes.any():
        found = [artifacts.stripes(band, settings.stripe_coherence, settings.stripe_strength) for band in fine]
        yield from _share("stripes", token, np.logical_or.reduce(found), 0.0, "in lines unlike both neighbours")


def _border_noise(radar: Raster, settings: ScreeningSettings) -> Iterator[Finding]:
    dark = radar.values[radar.bands.index("VV")] < settings.border_noise_db
    yield from _share("border_noise", SAR, dark, settings.border_noise, f"below {settings.border_noise_db:g} dB in VV")


def _of_clear(clear: Raster, settings: ScreeningSettings) -> Iterator[Finding]:
    seen = artifacts.cirrus(clear.values, settings.haze_reflectance)
    median = float(np.nanmedian(clear.select(("B10",)).values)) if np.isfinite(clear.values).any() else float("nan")
    yield from _share("haze", CLEAR, seen, settings.haze, f"cirrus, median of B10 {median:.4f}")
    yield from _share("snow", CLEAR, artifacts.snow(clear.values), settings.snow, "snow")
    yield from _share("open_water", CLEAR, artifacts.water(clear.values), settings.open_water, "open water")


def _share(check: Check, image: str, where: NDArray[np.bool_], threshold: float, what: str) -> Iterator[Finding]:
    share = float(where.mean())
    if share > threshold:
        yield Finding(check, image, share, threshold, f"{share:.1%} {what}", _box(where))


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
        if gap is not None and abs(gap) > settings.date_gap_days:
            detail = f"{abs(gap):.1f} days from {second}"
            yield Finding("date_gap", first, abs(gap), settings.date_gap_days, detail)
