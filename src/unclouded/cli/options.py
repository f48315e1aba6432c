"""Words that several commands share."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from unclouded.errors import InputError
from unclouded.machine import memory_fault

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from unclouded.clouds.map import CloudMapSettings
    from unclouded.patches.layouts import IncompleteTriplet
    from unclouded.patches.reading import DamagedTriplet


class Bands(StrEnum):
    """Which optical bands a command works on."""

    RGB = "rgb"
    ALL = "all"

    def names(self) -> tuple[str, ...]:
        """Return the band names."""
        from unclouded.sensors import RGB, SENTINEL2

        return RGB if self is Bands.RGB else SENTINEL2.bands


class Part(StrEnum):
    """Which part of a data set a command works on."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"
    ALL = "all"


class Resampling(StrEnum):
    """Interpolation of bands of 20 and 60 m on the 10 m grid; see ``unclouded.sentinel.resample``."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"


class CloudMode(StrEnum):
    """How the cloud map is made; see ``unclouded.clouds.map``."""

    CONTINUOUS = "continuous"
    BINARY = "binary"
    ONES = "ones"


Clouds = Annotated[
    CloudMode | None, typer.Option(help="Cloud map; that of the weights' training if omitted, else the paper's.")
]
DetectorName = Annotated[
    str | None,
    typer.Option(help="Detector; s2cloudless+shadow mends shadow, too. If omitted, as for the cloud map."),
]


def chosen_clouds(mode: CloudMode | None, detector: str | None) -> "CloudMapSettings":
    """Return the settings of the cloud map that the user chose; only those count as set.

    Raises:
        InputError: There is no such detector.
    """
    from unclouded.clouds.map import CloudMapSettings
    from unclouded.settings import settings_from

    return settings_from(CloudMapSettings, given_clouds(mode, detector), origin="these options")


def given_clouds(mode: CloudMode | None, detector: str | None) -> dict[str, str]:
    """Return the options of the cloud map that were given, by the keys of ``CloudMapSettings``."""
    options = {"mode": None if mode is None else mode.value, "detector": detector}
    return {key: value for key, value in options.items() if value is not None}


def note(remark: str) -> None:
    """Print a remark on standard error."""
    typer.echo(f"note: {remark}", err=True)


class Painted(StrEnum):
    """How synthetic clouds are painted; see ``unclouded.clouds.synthetic``."""

    PERLIN = "perlin"
    COPY = "copy"


class Feature(StrEnum):
    """Layer of VGG16 that images are compared by; see ``unclouded.evaluation.features``."""

    FC2 = "fc2"
    POOL5 = "pool5"


class Extra(StrEnum):
    """Scores beyond the paper's; see ``unclouded.evaluation.perceptual`` and ``unclouded.evaluation.perceptual``."""

    FID = "fid"
    KID = "kid"
    LPIPS = "lpips"


class Units(StrEnum):
    """Unit of a foreign method's predictions; see ``unclouded.evaluation.external``."""

    REFLECTANCE = "reflectance"
    DN = "dn"
    NETWORK = "network"
    UINT8 = "uint8"


class Damaged(StrEnum):
    """What to do about damaged patches; see ``unclouded.patches.reading``."""

    REFUSE = "refuse"
    SKIP = "skip"


DamagedOption = Annotated[
    Damaged, typer.Option("--damaged", help="Stop at a damaged patch, or skip it and list it in the result.")
]
Offset = Annotated[
    int | None,
    typer.Option(help="DN offset of an optical GeoTIFF without tags: -1000 since processing baseline 04.00, 0 before."),
]
ResamplingOption = Annotated[Resampling, typer.Option(help="Interpolation of bands of 20 and 60 m on the 10 m grid.")]
Tile = Annotated[str | None, typer.Option(help="Granule of an old Sentinel-2 product that has several.")]


def chosen_device(name: str | None) -> str:
    """Return the device of that name; without a name cuda where there is one, else cpu.

    Raises:
        InputError: There is no such device here.
    """
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # AssertionError: a build of torch without that backend
        if memory_fault(error) is not None:
            raise
        reason = str(error).splitlines()[0][:120]
        raise InputError(f"{name!r} is no device of this machine ({reason}); choose cpu, or leave it out") from error
    return name


def tell_skipped(skipped: "Sequence[DamagedTriplet]", listed_in: "Path | None" = None) -> None:
    """Print on standard error how many damaged patches were skipped, the first reasons, and where all are listed."""
    if skipped:
        count = "1 damaged patch was" if len(skipped) == 1 else f"{len(skipped):,} damaged patches were"
        where = f"; {listed_in} lists all" if listed_in else ""
        typer.echo("\n  ".join([f"{count} skipped{where}", *map(str, skipped[:3])]), err=True)


def tell_left_out(incomplete: "Sequence[IncompleteTriplet]") -> None:
    """Say on standard error how many patches of a data set are left out because files of theirs are missing."""
    if incomplete:
        names = "; ".join(map(str, incomplete[:3]))
        count = "1 patch is" if len(incomplete) == 1 else f"{len(incomplete):,} patches are"
        typer.echo(f"{count} incomplete and left out ({names}); 'unclouded data check' names all", err=True)
