"""Description of a network in the vocabulary of the STAC Machine Learning Model extension (MLM), version 1.5.

A file NAME.json beside NAME.onnx is a STAC item, or an object with its properties alone. ``mlm:input`` and
``mlm:output`` describe bands, shapes and scaling. What MLM has no words for stands in ``unclouded:network``: clipping,
units, margin and stride.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from jaxtyping import Float
from pydantic import ConfigDict, Field, model_validator
from torch import Tensor

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.models.card import CardText
from unclouded.models.scaling import Interval
from unclouded.sensors import SENTINEL1, SENTINEL2, Level
from unclouded.settings import Settings, settings_from
from unclouded.strict_json import read_json_object

SCHEMA = "https://stac-extensions.github.io/mlm/v1.5.0/schema.json"
NETWORK = "unclouded:network"
CLOUD_MAP = "cloud_map"
"""Name of the band of the cloud map m."""
CHANNELS = (*SENTINEL1.bands, *SENTINEL2.bands, CLOUD_MAP)
"""Bands that an input may have."""
MAX_BYTES = 1 << 20
MAX_REACH_PX = 4096
_DIMENSIONS = (("batch", "bands", "height", "width"), ("batch", "channel", "height", "width"))
"""Names of the four dimensions; MLM has ``bands`` where the bands are listed, as for inputs."""

Name = Annotated[CardText, Field(min_length=1)]


class _Described(Settings):
    """Part of a description; entries that are not used here are ignored, as STAC has many of them."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


_REQUIRED = {
    "min-max": ("minimum", "maximum"),
    "z-score": ("mean", "stddev"),
    "clip": ("minimum", "maximum"),
    "clip-min": ("minimum",),
    "clip-max": ("maximum",),
    "offset": ("value",),
    "scale": ("value",),
}


class ValueScaling(_Described):
    """Scaling of one band (Value Scaling Object of MLM).

    Attributes:
        type: Kind of scaling; None for none.
        minimum: Lower bound.
        maximum: Upper bound.
        mean: Mean.
        stddev: Standard deviation.
        value: Offset that is subtracted, or divisor.
    """

    type: Literal["min-max", "z-score", "clip", "clip-min", "clip-max", "offset", "scale"] | None = None
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    stddev: float | None = None
    value: float | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> "ValueScaling":
        absent = [key for key in _REQUIRED.get(self.type or "", ()) if getattr(self, key) is None]
        if absent:
            raise ValueError(f"type {self.type} needs {' and '.join(absent)}")
        if self.type in ("min-max", "clip") and self._number("minimum") >= self._number("maximum"):
            raise ValueError(f"minimum is {self.minimum}, expected less than maximum, {self.maximum}")
        if (self.type == "z-score" and self._number("stddev") <= 0) or (self.type == "scale" and self.value == 0):
            raise ValueError("a division by 0 or less")
        return self

    def _number(self, key: str) -> float:
        return float(getattr(self, key))

    def apply(self, values: Float[Tensor, "*size"]) -> Float[Tensor, "*size"]:
        """Return values as the network expects them."""
        shift, factor = self._linear()
        match self.type:
            case "clip" | "clip-min" | "clip-max":
                return values.clamp(self.minimum, self.maximum)
            case _:
                return (values - shift) / factor

    def invert(self, values: Float[Tensor, "*size"]) -> Float[Tensor, "*size"]:
        """Return physical values of the output of a network; clipping has no inverse and changes nothing."""
        shift, factor = self._linear()
        return values * factor + shift

    def _linear(self) -> tuple[float, float]:
        match self.type:
            case "min-max":
                return self._number("minimum"), self._number("maximum") - self._number("minimum")
            case "z-score":
                return self._number("mean"), self._number("stddev")
            case "offset":
                return self._number("value"), 1.0
            case "scale":
                return 0.0, self._number("value")
            case _:
                return 0.0, 1.0


class Array(_Described):
    """Shape of an input or output; -1 for any size (Input and Result Structure Objects of MLM).

    Attributes:
        shape: Batch, channels, height and width.
        dim_order: Names of the dimensions.
        data_type: Data type.
    """

    shape: tuple[int, int, int, int]
    dim_order: tuple[str, ...]
    data_type: Literal["float32"]

    @model_validator(mode="after")
    def _is_an_image(self) -> "Array":
        if self.dim_order not in _DIMENSIONS:
            raise ValueError(f"dim_order is {' '.join(self.dim_order)[:80]}, expected {' '.join(_DIMENSIONS[0])}")
        batch, channels, height, width = self.shape
        if (
            batch not in (1, -1)
            or channels < 1
            or any(not (side == -1 or 8 <= side <= 65536) for side in (height, width))
        ):
            raise ValueError(f"shape is {list(self.shape)}, expected [1 or -1, channels, height or -1, width or -1]")
        if (height == -1) != (width == -1):
            raise ValueError(f"shape is {list(self.shape)}, expected both height and width fixed, or both -1")
        return self


class ModelBand(_Described):
    """Name of a band (Model Band Object of MLM).

    Attributes:
        name: Name.
        expression: Not supported.
    """

    name: str
    expression: None = None


class ModelInput(_Described):
    """Input of a network (Model Input Object of MLM).

    Attributes:
        name: Name of the input.
        bands: Bands, one per channel: VV, VH, B01 to B12, cloud_map.
        input: Shape.
        value_scaling: Scaling of each band, or one for all.
        resize_type: Not supported.
        pre_processing_function: Not supported.
    """

    name: Name
    bands: tuple[str | ModelBand, ...] = Field(min_length=1, max_length=len(CHANNELS))
    input: Array
    value_scaling: tuple[ValueScaling, ...] | None = None
    resize_type: None = None
    pre_processing_function: None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the bands."""
        return tuple(one if isinstance(one, str) else one.name for one in self.bands)

    @property
    def scalings(self) -> tuple[ValueScaling, ...]:
        """Scaling of every band."""
        found = self.value_scaling or (ValueScaling(),)
        return found * len(self.bands) if len(found) == 1 else found

    @model_validator(mode="after")
    def _agrees(self) -> "ModelInput":
        if unknown := [one for one in self.names if one not in CHANNELS]:
            raise ValueError(f"bands has {unknown[0][:40]!r}, expected names among {' '.join(CHANNELS)}")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"bands has one twice: {' '.join(self.names)}")
        if self.input.shape[1] != len(self.bands):
            raise ValueError(f"shape has {self.input.shape[1]} channels, and bands has {len(self.bands)}")
        if len(self.scalings) != len(self.bands):
            raise ValueError(f"value_scaling has {len(self.scalings)} entries, expected 1 or {len(self.bands)}")
        return self


class ModelOutput(_Described):
    """Output of a network (Model Output Object of MLM).

    Attributes:
        name: Name of the output.
        result: Shape.
        post_processing_function: Not supported.
    """

    name: Name
    result: Array
    post_processing_function: None = None


class NetworkUse(Settings):
    """How a network is used; the entry ``unclouded:network``.

    Attributes:
        output_bands: Bands of the first output, in this order.
        output_scaling: Scaling of the output, which is inverted, for each band or for all.
        clip: Ranges that bands are clipped to before ``value_scaling``, in the units below.
        radar_unit: Unit of VV and VH before scaling.
        optical_unit: Unit of the optical bands before scaling and of the output after it: TOA reflectance from 0 to 1,
            or DN, reflectance x 10,000.
        level: Processing level of the images.
        margin_px: Largest distance at which a pixel affects the result.
        stride_px: Heights and widths, and starts of windows, are multiples of it.
        fill: Network value of pixels without data.
        composed: Whether pixels with m = 0 are those of the input.
    """

    output_bands: tuple[str, ...] = Field(min_length=1)
    output_scaling: tuple[ValueScaling, ...] = (ValueScaling(),)
    clip: dict[str, Interval] = Field(default_factory=dict)
    radar_unit: Literal["dB", "linear"] = "dB"
    optical_unit: Literal["reflectance", "DN"] = "reflectance"
    level: Level = "L1C"
    margin_px: int = Field(ge=0, le=MAX_REACH_PX)
    stride_px: int = Field(1, ge=1, le=MAX_REACH_PX)
    fill: float = 0.0
    composed: bool = False

    @property
    def scalings(self) -> tuple[ValueScaling, ...]:
        """Scaling of every band of the output."""
        found = self.output_scaling
        return found * len(self.output_bands) if len(found) == 1 else found

    @model_validator(mode="after")
    def _agrees(self) -> "NetworkUse":
        if unknown := [one for one in self.clip if one not in CHANNELS]:
            raise ValueError(f"clip names {unknown[0][:40]!r}, expected names among {' '.join(CHANNELS)}")
        if SENTINEL2.named(self.output_bands) != self.output_bands:
            raise ValueError(f"output_bands is {' '.join(self.output_bands)}, expected names such as B04")
        if len(self.scalings) != len(self.output_bands):
            raise ValueError(f"output_scaling has {len(self.scalings)} entries, expected 1 or {len(self.output_bands)}")
        return self


class Description(_Described):
    """Description of a network.

    Attributes:
        name: Name of the network.
        inputs: Inputs.
        outputs: Outputs; the first one is the image.
        use: How the network is used.
    """

    name: Name = Field(alias="mlm:name")
    inputs: tuple[ModelInput, ...] = Field(alias="mlm:input", min_length=1, max_length=8)
    outputs: tuple[ModelOutput, ...] = Field(alias="mlm:output", min_length=1, max_length=8)
    use: NetworkUse = Field(alias=NETWORK)

    @property
    def bands(self) -> tuple[str, ...]:
        """Optical bands of the result."""
        return self.use.output_bands

    @property
    def tile_px(self) -> tuple[int, int] | None:
        """Fixed height and width of the input; None for any size."""
        height, width = self.inputs[0].input.shape[2:]
        return None if height == -1 else (height, width)

    @property
    def takes_map(self) -> bool:
        """Whether the cloud map is an input."""
        return any(CLOUD_MAP in one.names for one in self.inputs)

    @model_validator(mode="after")
    def _agrees(self) -> "Description":
        optical = {band for one in self.inputs for band in one.names if band in SENTINEL2.bands}
        if optical != set(self.use.output_bands):
            found = " ".join(band for band in SENTINEL2.bands if band in optical) or "none"
            raise ValueError(f"output_bands is {' '.join(self.use.output_bands)}, and the optical inputs are {found}")
        if len({one.input.shape[2:] for one in self.inputs}) > 1:
            raise ValueError("the inputs have different sizes")
        channels, expected = self.outputs[0].result.shape[1], len(self.use.output_bands)
        if channels != expected:
            raise ValueError(f"the output has {channels} channels, and output_bands has {expected}")
        if (tile := self.tile_px) is not None:
            if any(side % self.use.stride_px for side in tile):
                raise ValueError(f"height and width are {tile[0]} and {tile[1]}, expected multiples of stride_px")
            if min(tile) - 2 * self.use.margin_px < self.use.stride_px:
                raise ValueError(f"margin_px is {self.use.margin_px}, which leaves nothing of {min(tile)} px")
        return self


def read_description(path: Path) -> Description:
    """Read the description of a network.

    Raises:
        InputError: The file is missing, too large, not JSON, or incomplete; the message lists every mistake.
    """
    content: Any = read_json_object(path, MAX_BYTES)
    properties = content.get("properties") if content.get("type") == "Feature" else content
    if not isinstance(properties, dict):
        raise InputError(f"{named(path)} has no properties; expected a STAC item with mlm:input and mlm:output")
    used = {key: properties[key] for key in ("mlm:name", "mlm:input", "mlm:output", NETWORK) if key in properties}
    return settings_from(Description, used, origin=named(path))
