"""The trained cloud-removal network as a remover: physical units in, physical units out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from unclouded.errors import InputError
from unclouded.models.cloud_map import TrainedMap
from unclouded.models.cyclegan import SAR_CHANNELS, STRIDE_PX, SarToOptical, Skip
from unclouded.models.identity import hash_of_tensors
from unclouded.models.inference import MARGIN_PX, Engine, FrozenNetwork, Precision, dtype_of, freeze, pad_to_stride
from unclouded.models.remover import CloudRemover
from unclouded.models.scaling import Scaling
from unclouded.sensors import RGB, SENTINEL2, SENTINEL2_L2A
from unclouded.settings import Settings
from unclouded.tensors.observation import Observation

MIN_PX = 2 * STRIDE_PX
"""Smallest height and width: two pixels must be left at the lowest resolution, for their reflection."""
Level = Literal["L1C", "L2A"]
"""Product of Sentinel-2 that a remover was made for."""


class NetworkSettings(Settings):
    """What a generator is made for; saved with its weights.

    Attributes:
        bands: Optical bands, by name.
        level: Which products it was trained on: L1C, as in the data set, or L2A, which has no B10.
        width: Channels after the first convolution; the paper has 64.
        skip: Where the long skip starts; ``clear-mean`` is an extension beyond the paper.
        scaling: Physical units to network values.
    """

    bands: tuple[str, ...] = RGB
    level: Level = "L1C"
    width: int = Field(64, ge=1, le=1024)
    skip: Skip = "cloudy"
    scaling: Scaling = Scaling()

    @field_validator("bands")
    @classmethod
    def _spelled(cls, bands: tuple[str, ...]) -> tuple[str, ...]:
        return SENTINEL2.named(bands)

    @model_validator(mode="after")
    def _has_its_bands(self) -> "NetworkSettings":
        if self.level == "L2A":
            SENTINEL2_L2A.named(self.bands)
        return self

    def build(self) -> SarToOptical:
        """Make the cloud-removal generator these settings describe."""
        return SarToOptical(len(self.bands), self.width, self.skip)


@cache
def operations(bands: int, width: int, side_px: int = 256) -> int:
    """Return the floating-point operations of the cloud-removal generator on one square image, convolutions alone.

    A multiplication and an addition are two operations; papers that count multiply-accumulates have half as many.
    They are counted on a small image: all convolutions work on so many pixels for each of the image.

    Args:
        bands: Optical bands.
        width: Channels after the first convolution.
        side_px: Side of the image, a multiple of 32.
    """
    from torch.utils.flop_counter import FlopCounterMode

    small = 32
    images = [torch.zeros(1, channels, small, small) for channels in (SAR_CHANNELS, bands, 1)]
    with torch.inference_mode(), FlopCounterMode(display=False) as counted:
        SarToOptical(bands, width)(*images)
    return int(counted.get_total_flops()) * (side_px // small) ** 2


@dataclass(frozen=True, eq=False)
class NetworkRemover:
    """G_S1->S2 of the paper as a :class:`unclouded.models.remover.CloudRemover`.

    Attributes:
        generator: The network; put into evaluation mode.
        settings: What it was made for.
        name: What tables call it.
        training: What the weights file says of the training.
        precision: What it computes in once it is adapted to a scene.
        engine: What runs it then.
        trained_map: Cloud map of the training; None where the weights do not record it.

    Raises:
        InputError: int8 is wanted of another engine than OpenVINO.
    """

    generator: SarToOptical
    settings: NetworkSettings
    name: str = "network"
    training: Mapping[str, str] = field(default_factory=dict)
    precision: Precision = "auto"
    engine: Engine = "torch"
    trained_map: TrainedMap | None = None

    def __post_init__(self) -> None:
        self.generator.eval()
        if self.precision == "int8" and self.engine != "openvino":
            raise InputError(
                f"the engine {self.engine!r} does not compute in int8; choose the engine 'openvino' for it"
            )

    @property
    def bands(self) -> tuple[str, ...]:
        """Optical bands it needs, and returns in this order."""
        return self.settings.bands

    @property
    def margin_px(self) -> int:
        """How far away a pixel can change the adapted network's answer: 88."""
        return MARGIN_PX

    @property
    def align_px(self) -> int:
        """Windows start at multiples of the network's stride: 4."""
        return STRIDE_PX

    @property
    def compute_precision(self) -> str:
        """What it computes in once it is adapted, on this processor: float32, bfloat16 or int8."""
        if self.precision == "int8":
            return self.precision
        return str(dtype_of(self.precision)).removeprefix("torch.")

    def description(self) -> dict[str, Any]:
        """Return hash of the weights, settings, precision and engine; see :mod:`unclouded.models.identity`."""
        return {
            "weights": hash_of_tensors(self.generator.state_dict()),
            "settings": self.settings.model_dump(mode="json"),
            "precision": self.compute_precision,
            "engine": self.engine,
        }

    def adapt(self, sample: Sequence[Observation]) -> FrozenNetwork:
        """Freeze the instance norms to the statistics of a scene, taken over a sample of its windows jointly."""
        return freeze(
            self.generator,
            self.settings.scaling,
            self.bands,
            sample,
            name=self.name,
            precision=self.precision,
            engine=self.engine,
        )

    @torch.inference_mode()
    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image as TOA reflectance, on the device of the observation.

        Heights and widths that are no multiple of 4 are continued by reflection, and the result is cut back.

        Raises:
            InputError: The observation lacks a band, has pixels without data, or is smaller than 8 x 8 px.
        """
        _check(observation, self.bands)
        observation = observation.select(self.bands)
        scaling = self.settings.scaling
        height, width = observation.cloudy.shape[-2:]
        inputs = scaling.sar(observation.sar), scaling.optical(observation.cloudy), observation.cloud_map
        device = next(self.generator.parameters()).device
        restoration = self.generator(*(pad_to_stride(image.to(device)) for image in inputs))
        return scaling.reflectance(restoration.optical[..., :height, :width]).to(observation.cloudy.device)


def require_level(remover: CloudRemover, level: Level) -> None:
    """Refuse weights that were trained on the other product; what needs no training is made for L1C.

    Raises:
        InputError: The remover is made for another level.
    """
    if (found := level_of(remover)) != level:
        raise InputError(f"{remover.name} was trained on {found}, expected {level} for these images; choose others")


def level_of(remover: CloudRemover) -> Level:
    """Return which product a remover was made for."""
    return remover.settings.level if isinstance(remover, NetworkRemover) else "L1C"


def _check(observation: Observation, bands: tuple[str, ...]) -> None:
    if absent := [band for band in bands if band not in observation.bands]:
        raise InputError(
            f"the network needs the bands {' '.join(bands)}, found {' '.join(observation.bands)};"
            f" give an image with {' '.join(absent)}, too"
        )
    height, width = observation.cloudy.shape[-2:]
    if min(height, width) < MIN_PX:
        raise InputError(
            f"the network needs at least {MIN_PX} x {MIN_PX} px, found {height} x {width}; cut a larger piece"
        )
    images = {"radar": observation.sar, "cloudy": observation.select(bands).cloudy, "cloud map": observation.cloud_map}
    for name, image in images.items():
        if gaps := int((~image.isfinite()).any(dim=1).sum()):
            raise InputError(
                f"the {name} image has {gaps} px without data, expected none; cut a piece without gaps or fill them"
            )
