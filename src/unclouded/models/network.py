"""The trained cloud-removal network as a remover with physical units as input and output."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from unclouded.errors import InputError
from unclouded.models.cloud_map import TrainedMap
from unclouded.models.cyclegan import SAR_CHANNELS, STRIDE_PX, CloudRemovalGenerator, SarToOptical, Skip
from unclouded.models.identity import hash_of_tensors
from unclouded.models.inference import MARGIN_PX, Engine, Precision, dtype_of, freeze, has_data, pad_to_stride
from unclouded.models.plugins import is_reference
from unclouded.models.remover import CloudRemover, FunctionRemover
from unclouded.models.scaling import Scaling
from unclouded.sensors import RGB, SENTINEL2, SENTINEL2_L2A, Level
from unclouded.settings import Settings
from unclouded.tensors.observation import Observation

MIN_PX = 2 * STRIDE_PX
"""Smallest height and width: at the lowest resolution, reflection padding needs two pixels."""


class NetworkSettings(Settings):
    """Settings of a generator; saved with its weights.

    Attributes:
        bands: Names of the optical bands.
        level: Processing level of the training images: L1C, as in SEN12MS-CR, or L2A, which has no B10.
        width: Number of channels after the first convolution; 64 in the paper.
        skip: Start of the long skip connection; ``clear-mean`` is an extension of the paper.
        scaling: Conversion of physical units to network values.
        architecture: Network of another package, ``package.module:Class``; empty for the paper's. See
            :mod:`unclouded.models.external_generator`.
    """

    bands: tuple[str, ...] = RGB
    level: Level = "L1C"
    width: int = Field(64, ge=1, le=1024)
    skip: Skip = "cloudy"
    scaling: Scaling = Scaling()
    architecture: str = Field("", max_length=200)

    @field_validator("architecture")
    @classmethod
    def _is_a_reference(cls, architecture: str) -> str:
        if architecture and not is_reference(architecture):
            raise ValueError(f"architecture is {architecture!r}, expected package.module:Class")
        return architecture

    @field_validator("bands")
    @classmethod
    def _spelled(cls, bands: tuple[str, ...]) -> tuple[str, ...]:
        return SENTINEL2.named(bands)

    @model_validator(mode="after")
    def _has_its_bands(self) -> "NetworkSettings":
        if self.level == "L2A":
            SENTINEL2_L2A.named(self.bands)
        return self

    def build(self) -> CloudRemovalGenerator:
        """Return a cloud-removal generator with these settings; the code of another package runs if it is named.

        Raises:
            InputError: The network of another package cannot be built.
        """
        if self.architecture:
            from unclouded.models.external_generator import build_external_generator

            return build_external_generator(self.architecture, self.bands, self.width)
        return SarToOptical(len(self.bands), self.width, self.skip)


@cache
def operations(bands: int, width: int, side_px: int = 256) -> int:
    """Return the number of floating-point operations of the convolutions of the generator for one square image.

    A multiplication and an addition are two operations; a number of multiply-accumulates is half as large. They are
    counted on a small image and scaled, because the operations of every convolution are proportional to the pixels.

    Args:
        bands: Number of optical bands.
        width: Number of channels after the first convolution.
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
        generator: Network; set to evaluation mode.
        settings: Settings of the network.
        name: Name in tables.
        training: Summary of the training, from the weights file.
        precision: Numerical precision after adaptation to a scene.
        engine: Inference engine after adaptation to a scene.
        trained_map: Cloud map of the training; None if the weights file does not record it.

    Raises:
        InputError: The precision is int8 and the engine is not OpenVINO.
    """

    generator: CloudRemovalGenerator
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
        """Optical bands of input and output, in this order."""
        return self.settings.bands

    @property
    def margin_px(self) -> int:
        """Largest distance at which a pixel affects the result of the adapted network: 88 for the paper's."""
        return int(getattr(self.generator, "margin_px", MARGIN_PX))

    @property
    def align_px(self) -> int:
        """First rows and columns of windows are multiples of the stride of the network: 4 for the paper's."""
        return self.generator.stride_px

    @property
    def trained_without_map(self) -> bool:
        """Whether the network was trained with m = 1 everywhere, the ablation of section III-B.3."""
        return self.trained_map is not None and self.trained_map.clouds.mode == "ones"

    @property
    def compute_precision(self) -> str:
        """Numerical precision after adaptation, on the device of the network: float32, bfloat16 or int8."""
        if self.precision == "int8":
            return self.precision
        return str(dtype_of(self.precision, self._device)).removeprefix("torch.")

    @property
    def _device(self) -> torch.device:
        return next(self.generator.parameters()).device

    def description(self) -> dict[str, Any]:
        """Return hash of the weights, settings, precision and engine; see :mod:`unclouded.models.identity`."""
        return {
            "weights": hash_of_tensors(self.generator.state_dict()),
            "settings": self.settings.model_dump(mode="json"),
            "precision": self.compute_precision,
            "engine": self.engine,
        }

    def adapt(self, sample: Sequence[Observation]) -> CloudRemover:
        """Return the network with the instance statistics of a scene, taken jointly over a sample of its windows.

        A network of another package is returned as it is, with pixels without data filled by 0 in network values.

        Raises:
            InputError: The engine is not installed, or not for this network.
        """
        if not isinstance(self.generator, SarToOptical):
            if self.engine != "torch" or self.precision not in ("auto", "float32"):
                raise InputError(
                    f"{self.name} is a network of {self.settings.architecture}, which runs in torch and float32 only;"
                    " leave --engine and --precision out"
                )
            return FunctionRemover(self.name, self.bands, self._filled)
        return freeze(
            self.generator,
            self.settings.scaling,
            self.bands,
            sample,
            name=self.name,
            precision=self.precision,
            engine=self.engine,
        )

    def _filled(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image of a window; NaN where it has no data."""
        seen, scaling = observation.select(self.bands), self.settings.scaling
        vv, vh, reflectance = (
            (low + high) / 2 for low, high in (scaling.vv_db, scaling.vh_db, scaling.toa_reflectance)
        )
        middle = seen.sar.new_tensor([vv, vh]).view(1, 2, 1, 1)
        sar = torch.where(seen.sar.isfinite(), seen.sar, middle)
        cloudy = seen.cloudy.nan_to_num(nan=reflectance)
        return torch.where(has_data(seen), self(replace(seen, sar=sar, cloudy=cloudy)), torch.nan)

    @torch.inference_mode()
    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image as TOA reflectance, on the device of the observation.

        Images are padded by reflection to multiples of the stride, and the result is cropped to their size.

        Raises:
            InputError: The observation lacks a band, has pixels without data, or is smaller than 8 x 8 px.
        """
        _check(observation, self.bands)
        observation = observation.select(self.bands)
        scaling = self.settings.scaling
        height, width = observation.cloudy.shape[-2:]
        inputs = scaling.sar(observation.sar), scaling.optical(observation.cloudy), observation.cloud_map
        restoration = self.generator(*(pad_to_stride(image.to(self._device), self.align_px) for image in inputs))
        return scaling.reflectance(restoration.optical[..., :height, :width]).to(observation.cloudy.device)


def require_level(remover: CloudRemover, level: Level) -> None:
    """Check that a remover is for images of a processing level.

    Raises:
        InputError: The remover is for the other level.
    """
    if (found := level_of(remover)) not in (None, level):
        raise InputError(f"{remover.name} was trained on {found}, expected {level} for these images; choose others")


def level_of(remover: CloudRemover) -> Level | None:
    """Return the processing level that a remover is for: its ``level``, None for both, or L1C if it states none."""
    if isinstance(remover, NetworkRemover):
        return remover.settings.level
    match getattr(remover, "level", "L1C"):
        case None:
            return None
        case "L2A":
            return "L2A"
    return "L1C"


def _check(observation: Observation, bands: tuple[str, ...]) -> None:
    if absent := [band for band in bands if band not in observation.bands]:
        raise InputError(
            f"the network needs the bands {' '.join(bands)}, found {' '.join(observation.bands)};"
            f" use an image that also has {' '.join(absent)}"
        )
    height, width = observation.cloudy.shape[-2:]
    if min(height, width) < MIN_PX:
        raise InputError(
            f"the network needs at least {MIN_PX} x {MIN_PX} px, found {height} x {width}; use a larger image"
        )
    images = {"radar": observation.sar, "cloudy": observation.select(bands).cloudy, "cloud map": observation.cloud_map}
    for name, image in images.items():
        if gaps := int((~image.isfinite()).any(dim=1).sum()):
            raise InputError(f"the {name} image has {gaps} px without data, expected none; crop it or fill the gaps")
