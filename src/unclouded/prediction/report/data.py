"""Data of a predicted scene from which its report page, its STAC item and part of its summary are written."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from odc.geo.geobox import GeoBox

from unclouded.io.rows import Layer
from unclouded.prediction.alignment import AlignmentQuality
from unclouded.prediction.auto_remover import ExpectedError
from unclouded.prediction.references import ReferenceUse
from unclouded.prediction.report.overview import Overview


@dataclass(frozen=True)
class Input:
    """Input file or product of a scene.

    Attributes:
        role: ``Sentinel-2``, ``Sentinel-1``, ``reference``, ``reference radar``, ``cloud map`` or ``weights``.
        name: File name.
        sha256: SHA-256, hexadecimal.
        acquired: Acquisition time; None if unknown.
    """

    role: str
    name: str
    sha256: str
    acquired: datetime | None = None


@dataclass(frozen=True)
class OutputFile:
    """File of a predicted scene.

    Attributes:
        path: File in the folder of report and item.
        title: Title.
        roles: Roles of the STAC best practices, such as ``data`` or ``metadata``.
        bands: Optical bands, if any.
        layer: Bands, data type, nodata value and scale of an image.
        classes: Class names by code, for a classification.
    """

    path: Path
    title: str
    roles: tuple[str, ...]
    bands: tuple[str, ...] = ()
    layer: Layer | None = None
    classes: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ReportData:
    """Data of a predicted scene for its report, STAC item and summary.

    Attributes:
        title: Name of the scene.
        remover: Name of the remover that was used.
        bands: Bands of the product.
        geobox: Grid of the scene.
        inputs: Input files.
        overview: Reduced images and statistics of the pixels.
        files: Products by name.
        modified: Modification time of the optical image: an undated image was not acquired later.
        expected: Expected errors of the candidates on this scene; None if not measured.
        choice: Reason for the automatic selection of the remover; empty if the user named it.
        settings: Settings by name.
        measured: Further properties of the images by name.
        remarks: Warnings about the images.
        alignment: Alignment of radar and optical image; None if not measured.
        losses: Pixel counts of missing data by cause; see :data:`unclouded.prediction.clearing.LOSSES`.
        references: Contributions of other dates.
    """

    title: str
    remover: str
    bands: tuple[str, ...]
    geobox: GeoBox
    inputs: Sequence[Input]
    overview: Overview
    files: Mapping[str, OutputFile]
    modified: datetime
    expected: ExpectedError | None = None
    choice: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    measured: Mapping[str, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    alignment: AlignmentQuality | None = None
    losses: Mapping[str, int] = field(default_factory=dict)
    references: Sequence[ReferenceUse] = ()

    @property
    def pixel_m(self) -> float | None:
        """Pixel size, metres; None without a projected CRS."""
        crs = self.geobox.crs
        return abs(self.geobox.affine.a) if crs is not None and crs.projected else None

    @property
    def radar_used(self) -> bool:
        """Whether the scene was predicted with a radar image."""
        return any(one.role == "Sentinel-1" for one in self.inputs)

    @property
    def counts(self) -> dict[str, int]:
        """Pixel counts by provenance, and by cause of missing data."""
        return {**self.overview.counts, **self.losses}

    @property
    def coverage(self) -> dict[str, float | None]:
        """Cloud coverage in both definitions, see :class:`Overview`; None if m is known nowhere."""
        shares = {"mean_coverage": self.overview.mean_coverage, "cloudy_share": self.overview.cloudy_share}
        return {name: None if math.isnan(share) else share for name, share in shares.items()}

    def summary(self) -> dict[str, Any]:
        """Return the part of ``summary.json`` that the report shows, too."""
        return {
            "used": self.remover,
            "radar_used": self.radar_used,
            "choice": self.choice or None,
            "expected_error": self.expected.as_json() if self.expected else None,
            "fit": self.alignment.as_json() if self.alignment else None,
            "remarks": list(self.remarks),
            "reference_use": [one.as_json() for one in self.references],
            "pixels": {**self.counts, **self.coverage},
        }
