"""What a report says in words and numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from unclouded.prediction.alignment import AlignmentQuality
from unclouded.prediction.auto_remover import ExpectedError


@dataclass(frozen=True)
class Input:
    """A file or product that a scene was made from.

    Attributes:
        role: What it is: ``Sentinel-2``, ``Sentinel-1``, ``weights``.
        name: Its name.
        sha256: Its hash, in hexadecimal.
        acquired: When it was taken; None where nothing tells.
    """

    role: str
    name: str
    sha256: str
    acquired: datetime | None = None


@dataclass(frozen=True)
class Facts:
    """What is known of a cleared scene beside its pixels.

    Attributes:
        title: Name of the scene.
        remover: Name of what removed the clouds.
        bands: Bands of the product.
        inputs: What it was made from.
        expected: What to expect of the remover, and of others, on this scene; None where it was not measured.
        settings: Name to value.
        measured: Further lines; name to value.
        remarks: What a reader should know, in sentences.
        fit: How well the two images go together; None where it was not looked at.
        pixel_m: Size of a pixel, metres; None where the scene has no georeference.
        version: Of the software.
        losses: Pixels without data by cause; see :data:`unclouded.prediction.clearing.LOSSES`.
        choice: Why this remover was used, in a sentence; empty where the user named it.
    """

    title: str
    remover: str
    bands: tuple[str, ...]
    inputs: Sequence[Input]
    expected: ExpectedError | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    measured: Mapping[str, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    fit: AlignmentQuality | None = None
    pixel_m: float | None = None
    version: str = ""
    losses: Mapping[str, int] = field(default_factory=dict)
    choice: str = ""
