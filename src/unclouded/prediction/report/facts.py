"""Facts about a predicted scene for its report and STAC item, other than pixel values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from unclouded.prediction.alignment import AlignmentQuality
from unclouded.prediction.auto_remover import ExpectedError


@dataclass(frozen=True)
class Input:
    """Input file or product of a scene.

    Attributes:
        role: ``Sentinel-2``, ``Sentinel-1``, ``cloud map`` or ``weights``.
        name: File name.
        sha256: SHA-256, hexadecimal.
        acquired: Acquisition time; None if unknown.
    """

    role: str
    name: str
    sha256: str
    acquired: datetime | None = None


@dataclass(frozen=True)
class Facts:
    """Facts about a predicted scene, other than pixel values.

    Attributes:
        title: Name of the scene.
        remover: Name of the remover that was used.
        bands: Bands of the product.
        inputs: Input files.
        expected: Expected errors of the candidates on this scene; None if not measured.
        settings: Settings by name.
        measured: Further properties of the images by name.
        remarks: Warnings about the images.
        alignment: Alignment of radar and optical image; None if not measured.
        pixel_m: Pixel size, metres; None without a projected CRS.
        version: Version of unclouded.
        losses: Pixel counts of missing data by cause; see :data:`unclouded.prediction.clearing.LOSSES`.
        choice: Reason for the automatic selection of the remover; empty if the user named it.
    """

    title: str
    remover: str
    bands: tuple[str, ...]
    inputs: Sequence[Input]
    expected: ExpectedError | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    measured: Mapping[str, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    alignment: AlignmentQuality | None = None
    pixel_m: float | None = None
    version: str = ""
    losses: Mapping[str, int] = field(default_factory=dict)
    choice: str = ""
