"""Options that several commands share, each with its help text and its panel, and the functions that resolve them."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from datetime import date
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import typer
from typer.core import TyperCommand

from unclouded.cli.logging import logger
from unclouded.errors import InputError
from unclouded.machine import memory_fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unclouded.clouds.map import CloudMapSettings
    from unclouded.patches.layouts import IncompleteTriplet
    from unclouded.patches.reading import DamagedTriplet

INPUT = "Input"
RADAR = "Radar"
REFERENCES = "Other dates"
CLOUD_MAP = "Cloud map"
NETWORK = "Network"
OUTPUT = "Output"
EXECUTION = "Execution"
"""Panels of the help page."""

# Optical and radar images

Offset = Annotated[
    int | None,
    typer.Option(
        help="DN offset to add when the optical GeoTIFF carries no scale/offset tags: -1000 since processing baseline "
        "04.00, 0 before.",
        rich_help_panel=INPUT,
    ),
]
ResamplingMethod = Literal["nearest", "bilinear"]
Resampling = Annotated[
    ResamplingMethod | None,
    typer.Option(
        help="Interpolation of the 20 m and 60 m bands on the 10 m grid.",
        show_default="nearest",
        rich_help_panel=INPUT,
    ),
]
Tile = Annotated[
    str | None,
    typer.Option(help="Granule to read from an old Sentinel-2 product with several granules.", rich_help_panel=INPUT),
]
Date = Annotated[
    str | None,
    typer.Option(
        metavar="YYYY-MM-DD",
        help="Day of acquisition of an optical GeoTIFF, in place of the one in its tags or name; scene-adapted assumes "
        "the vegetation of that season.",
        rich_help_panel=INPUT,
    ),
]
Align = Annotated[
    bool | None,
    typer.Option(
        "--align/--no-align",
        help="Warp a radar GeoTIFF, and references on another grid, to the optical grid.",
        show_default="no-align",
        rich_help_panel=RADAR,
    ),
]
Units = Annotated[
    str | None,
    typer.Option(
        help="Unit of a radar GeoTIFF: dB, linear or 'dB x 100'.",
        show_default="by its name, or dB",
        rich_help_panel=RADAR,
    ),
]
Radiometry = Annotated[
    str | None,
    typer.Option(
        help="Radiometry of a radar GeoTIFF: sigma0, or gamma0, which is converted.",
        show_default="by its name, or sigma0",
        rich_help_panel=RADAR,
    ),
]
Incidence = Annotated[
    Path | None,
    typer.Option(
        help="Incidence angle (GeoTIFF, degrees or radians) for the conversion of gamma0.", rich_help_panel=RADAR
    ),
]
Heights = Annotated[
    Path | None,
    typer.Option(
        help="Elevation model (GeoTIFF) for the terrain correction of a radar product.", rich_help_panel=RADAR
    ),
]
HeightsDatum = Annotated[
    float | None,
    typer.Option(
        help="Height of the elevation model's zero above the ellipsoid, in metres.",
        show_default="0",
        rich_help_panel=RADAR,
    ),
]

# Other dates

References = Annotated[
    list[Path] | None,
    typer.Option(
        "--reference",
        metavar="IMAGE",
        help="Sentinel-2 image of another date of the same place and level. Repeatable.",
        rich_help_panel=REFERENCES,
    ),
]
ReferenceRadars = Annotated[
    list[Path] | None,
    typer.Option(
        "--reference-sar",
        metavar="IMAGE",
        help="Sentinel-1 image of about the date of the reference at the same position: one for each, or none.",
        rich_help_panel=REFERENCES,
    ),
]


def paired(references: "Sequence[Path] | None", radars: "Sequence[Path] | None") -> list[tuple[Path, Path | None]]:
    """References with their radar images, by position.

    Raises:
        InputError: There are radar images, but not one for each reference.
    """
    optical, radar = references or (), radars or ()
    if radar and len(optical) != len(radar):
        raise InputError(
            f"expected one --reference-sar for each --reference, or none, found {len(radar)} for {len(optical)}; give "
            "them in the same order"
        )
    return [(path, radar[i] if radar else None) for i, path in enumerate(optical)]


# Cloud map

CloudMode = Literal["continuous", "binary", "ones", "product", "scl"]
Clouds = Annotated[
    CloudMode | None,
    typer.Option(
        help="Cloud map: the paper's, binary mask, 1 everywhere, cleaned and with cloud shadow, or by the classes "
        "(SCL) of an L2A product.",
        show_default="that of the weights; without weights product, or scl for L2A products; evaluate continuous",
        rich_help_panel=CLOUD_MAP,
    ),
]
DetectorName = Annotated[
    str | None,
    typer.Option(
        help="Cloud detector: s2cloudless, s2cloudless+shadow (also masks cloud shadow), csmask, ...",
        show_default="that of the weights, or else s2cloudless, csmask-l2a for L2A",
        rich_help_panel=CLOUD_MAP,
    ),
]
Sun = Annotated[
    str | None,
    typer.Option(
        metavar="AZIMUTH,ELEVATION",
        help="Position of the sun in degrees, for cloud shadow. Products have it in their metadata; that of a GeoTIFF "
        "is computed from time and place, if known.",
        rich_help_panel=CLOUD_MAP,
    ),
]
UserMask = Annotated[
    Path | None,
    typer.Option(
        help="Cloud map to use in place of a detector: GeoTIFF on the optical grid, from 0 (clear) to 1 (cloudy).",
        rich_help_panel=CLOUD_MAP,
    ),
]
SyntheticMode = Literal["perlin", "copy"]

# Remover

REMOVER = "Weights file, scene-adapted, a baseline, or package.module:attribute (see docs/networks.md)."
Bands = Annotated[
    str | None,
    typer.Option(
        help="Bands of a remover without weights: names such as B04,B03,B02 or red,green,nir08, or all.",
        show_default="B04,B03,B02",
        rich_help_panel=NETWORK,
    ),
]
Window = Annotated[
    int | None,
    typer.Option(
        help="Window size in pixels, a multiple of 4. Larger windows are faster and need more memory.",
        show_default="1024",
        rich_help_panel=NETWORK,
    ),
]
Statistics = Annotated[
    Literal["scene", "window"] | None,
    typer.Option(
        help="Adapt the remover to the whole scene, or to each window.", show_default="scene", rich_help_panel=NETWORK
    ),
]
CompressionName = Literal["deflate", "zstd"]
Compression = Annotated[
    CompressionName | None,
    typer.Option(
        help="Compression of the GeoTIFFs; zstd is faster, but unknown to old software.",
        show_default="deflate",
        rich_help_panel=OUTPUT,
    ),
]
Area = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.geojson",
        help="Area to cut out, polygons in degrees; only this part is read, predicted and written.",
        show_default="the whole scene",
        rich_help_panel=OUTPUT,
    ),
]
Resolution = Annotated[
    int | None,
    typer.Option(
        help="Pixel size in metres, 10 or 20; 20 has a quarter of the pixels to predict.",
        show_default="10",
        rich_help_panel=OUTPUT,
    ),
]
SplitBands = Annotated[
    bool | None,
    typer.Option(
        "--split-bands/--no-split-bands",
        help="Also write each band of the result as a file of its own, clear_B04.tif.",
        show_default="no-split-bands",
        rich_help_panel=OUTPUT,
    ),
]
Pictures = Annotated[
    bool | None,
    typer.Option(
        "--pictures/--no-pictures",
        help="Write 8-bit pictures in natural colours, a thumbnail, and styles for QGIS.",
        show_default="pictures",
        rich_help_panel=OUTPUT,
    ),
]
Uncertainty = Annotated[
    bool | None,
    typer.Option(
        "--uncertainty/--no-uncertainty",
        help="Also write the standard deviation of the prediction: that of the network if it estimates one, else the "
        "spread of an ensemble, which takes about five times as long.",
        show_default="no-uncertainty",
        rich_help_panel=NETWORK,
    ),
]
Other = Annotated[
    list[str] | None,
    typer.Option(
        help="Further remover for the ensemble of --uncertainty, such as other weights. Repeatable.",
        rich_help_panel=NETWORK,
    ),
]
EngineName = Literal["torch", "openvino"]
Engine = Annotated[
    EngineName,
    typer.Option(help="Inference engine; openvino needs the extra of that name.", rich_help_panel=NETWORK),
]
PrecisionName = Literal["auto", "float32", "bfloat16", "int8"]
Precision = Annotated[
    PrecisionName,
    typer.Option(help="Numerical precision of the network; int8 needs openvino.", rich_help_panel=NETWORK),
]
Device = Annotated[
    str | None,
    typer.Option(
        help="Torch device, such as cpu or cuda:1.", show_default="cuda if available, else cpu", rich_help_panel=NETWORK
    ),
]
Vgg = Annotated[
    str,
    typer.Option(help="ImageNet weights of VGG16: a file, or auto to download them.", rich_help_panel=NETWORK),
]

# Data sets

DataSet = Annotated[
    Path, typer.Argument(metavar="ROOT", help="Data set in either SEN12MS-CR layout.", show_default=False)
]
BandGroup = Literal["rgb", "all"]
Part = Literal["train", "train+val", "val", "test", "all"]
DamagedAction = Literal["refuse", "skip"]
Damaged = Annotated[
    DamagedAction,
    typer.Option(
        help="Action on a damaged patch: stop with an error, or skip it and list it in the results.",
        rich_help_panel=INPUT,
    ),
]


def _defaults_from_file(context: Any, path: Path | None) -> Path | None:
    """Callback of typer: take the values of a TOML file as defaults of the options of a command."""
    if path is None or context.resilient_parsing:
        return path
    from unclouded.settings import nearest, read_toml

    known = {
        name.lstrip("-"): one
        for one in context.command.params
        if one.param_type_name == "option" and "--settings" not in one.opts
        for name in one.opts
    }
    defaults: dict[str, Any] = {}
    for key, value in read_toml(path).items():
        name = key.replace("_", "-")
        if name not in known:
            raise InputError(
                f"{path.name}: {key} is not an option of '{context.command_path}'{nearest(name, [*known])}"
            )
        if isinstance(value, Mapping):
            raise InputError(f"{path.name}: {key} is a table; expected the value of the option --{name}")
        values = [str(one) if isinstance(one, date) else one for one in (value if isinstance(value, list) else [value])]
        if isinstance(value, list) and not getattr(known[name], "multiple", False):
            raise InputError(f"{path.name}: {key} is a list; expected one value for the option --{name}")
        defaults[known[name].name or ""] = values if getattr(known[name], "multiple", False) else values[0]
    context.default_map = defaults
    return path


OptionsFile = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        metavar="FILE.toml",
        callback=_defaults_from_file,
        is_eager=True,
        help="TOML file with values of these options by name, without dashes in front. Options on the command line "
        "take precedence.",
    ),
]


class Extra(StrEnum):
    """Scores beyond the paper's; an enum because typer takes no list of a Literal."""

    FID = "fid"
    KID = "kid"
    LPIPS = "lpips"


class ForwardingCommand(TyperCommand):
    """Command that refuses options of sibling commands, and old spellings, in one line that names the right one."""

    RENAMED: ClassVar = {
        "--manifest": "give the table to 'unclouded batch SCENES.csv'",
        "--patches": "give the data set to 'unclouded predict-patches REMOVER ROOT'",
        "--deliver": "it is --upload-to now",
    }

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse options of other commands before anything else is checked."""
        known = {name for one in self.get_params(ctx) for name in (*one.opts, *one.secondary_opts)}
        siblings = ctx.parent.command.commands if ctx.parent else {}
        for word in args:
            name = word.partition("=")[0]
            if not name.startswith("--") or name in known:
                continue
            owners = [
                f"'unclouded {command}'"
                for command in ("predict", "predict-patches", "batch")
                if command in siblings and any(name in one.opts for one in siblings[command].params)
            ]
            if remedy := self.RENAMED.get(name) or (f"it is an option of {' and '.join(owners)}" if owners else ""):
                raise InputError(f"{self.name} has no option {name}; {remedy}")
        return super().parse_args(ctx, args)


def band_names(group: BandGroup) -> tuple[str, ...]:
    """Band names of a group."""
    from unclouded.sensors import RGB, SENTINEL2

    return RGB if group == "rgb" else SENTINEL2.bands


def expand_options(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command: a parameter whose type is a dataclass becomes the options that its fields declare.

    Commands that share options share the dataclass; each option is declared once.
    """
    own = inspect.signature(command).parameters
    groups: dict[str, Any] = {name: one.annotation for name, one in own.items() if is_dataclass(one.annotation)}
    fields = {name: inspect.signature(group).parameters for name, group in groups.items()}

    @wraps(command)
    def expanded(**values: Any) -> None:
        gathered = {name: groups[name](**{key: values.pop(key) for key in fields[name]}) for name in groups}
        command(**values, **gathered)

    parameters: list[inspect.Parameter] = []
    for name, one in own.items():
        parameters += fields[name].values() if name in fields else [one]
    keywords = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]  # defaults in any order
    expanded.__dict__["__signature__"] = inspect.Signature(keywords)
    expanded.__annotations__ = {one.name: one.annotation for one in keywords}
    return expanded


def cloud_map_settings(mode: CloudMode | None, detector: str | None) -> "CloudMapSettings":
    """Settings of the cloud map; options that were not given stay unset, so that those of the weights apply.

    Raises:
        InputError: Unknown detector.
    """
    from unclouded.clouds.map import CloudMapSettings
    from unclouded.settings import settings_from_options

    return settings_from_options(CloudMapSettings, {"mode": ("--clouds", mode), "detector": ("--detector", detector)})


def resolve_device(name: str | None) -> str:
    """Name of a usable torch device; without a name cuda if available, else cpu.

    Raises:
        InputError: The device does not exist here.
    """
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without that backend
        if memory_fault(error) is not None:
            raise
        reason = str(error).splitlines()[0][:120]
        raise InputError(f"{name!r} is no device of this machine ({reason}); choose cpu, or leave it out") from error
    return name


def report_skipped(skipped: "Sequence[DamagedTriplet]", listed_in: "Path | None" = None) -> None:
    """Log how many damaged patches were skipped, the first reasons, and the file that lists them all."""
    if skipped:
        count = "1 damaged patch was" if len(skipped) == 1 else f"{len(skipped):,} damaged patches were"
        where = f"; {listed_in} lists all" if listed_in else ""
        logger.warning("\n  ".join([f"{count} skipped{where}", *map(str, skipped[:3])]))


def report_incomplete(incomplete: "Sequence[IncompleteTriplet]") -> None:
    """Log how many patches of a data set are left out because some of their files are missing."""
    if incomplete:
        names = "; ".join(map(str, incomplete[:3]))
        count = "1 patch is" if len(incomplete) == 1 else f"{len(incomplete):,} patches are"
        logger.warning(f"{count} incomplete and left out ({names}); 'unclouded data check' names all")
