"""The cloud-removal network fitted to one scene: fast, and the same wherever the scene is cut."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from unclouded.models.folding import Trunk, folded, joint_statistics
from unclouded.models.generator import (
    DARK_LAND,
    RECEPTIVE_FIELD_PX,
    SAR_CHANNELS,
    STRIDE_PX,
    SarToOptical,
    add_in_atanh,
)
from unclouded.models.openvino import compiled
from unclouded.models.scaling import Scaling
from unclouded.tensors.triplet import Observation

MARGIN_PX = (-(-(RECEPTIVE_FIELD_PX // 2) // STRIDE_PX) + 1) * STRIDE_PX
"""How far away a pixel can change the answer, rounded up to whole steps of the network and one more: 88."""

Precision = Literal["auto", "float32", "bfloat16", "int8"]
"""What a frozen network computes in; ``auto`` is bfloat16 on a processor that multiplies it in hardware.

``int8``, by OpenVINO only, multiplies bytes where most of the work is, and computes the rest as ``auto`` does.
"""

Engine = Literal["torch", "openvino"]
"""What runs a frozen network; ``openvino`` is an extra."""


@dataclass(frozen=True, eq=False)
class FrozenNetwork:
    """A network whose instance norms use the statistics of a scene, as a remover for windows of that scene.

    Attributes:
        name: What tables call it.
        bands: Optical bands it needs, and returns in this order.
        scaling: Physical units to network values.
        trunk: The generator's trunk, its norms folded: from network values of any device to residuals.
        fill: What pixels without data are shown as: mean backscatter in dB, mean reflectance by band.
        start: Where the long skip starts under clouds, in network values; None where it starts from the cloudy image.
    """

    name: str
    bands: tuple[str, ...]
    scaling: Scaling
    trunk: Callable[[Tensor], Tensor]
    fill: tuple[Float[Tensor, "1 2 1 1"], Float[Tensor, "1 band 1 1"]]
    start: Float[Tensor, "1 band 1 1"] | None

    @torch.inference_mode()
    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image as TOA reflectance, on the device of the observation; NaN where there is no data."""
        seen = observation.select(self.bands)
        shown = _shown(seen, self.fill, self.scaling)
        height, width = shown.shape[-2:]
        residual = self.trunk(continued(shown))[..., :height, :width].to(shown.device)
        start, cloud_map = shown[:, SAR_CHANNELS:-1], shown[:, -1:]
        if self.start is not None:
            start = torch.where(cloud_map > 0, self.start.to(shown.device), start)
        restored = self.scaling.reflectance(add_in_atanh(start, residual))
        return torch.where(has_data(seen), restored, torch.nan)


@torch.inference_mode()
def freeze(
    generator: SarToOptical,
    scaling: Scaling,
    bands: tuple[str, ...],
    sample: Sequence[Observation],
    *,
    name: str = "network",
    precision: Precision = "auto",
    engine: Engine = "torch",
) -> FrozenNetwork:
    """Fit a network to a scene; see :meth:`unclouded.models.remover.SceneRemover.adapted_to`.

    Args:
        generator: The trained network.
        scaling: Physical units to network values.
        bands: Its optical bands.
        sample: Windows spread over the scene.
        name: What tables call it.
        precision: What the frozen network, and its layers while statistics are taken, compute in.
        engine: What runs it.

    Raises:
        InputError: The engine is not installed.
    """
    device = next(generator.parameters()).device
    seen = [one.select(bands).to(device) for one in sample]
    valid = [has_data(one) for one in seen]
    fill = _mean([one.sar for one in seen], valid), _mean([one.cloudy for one in seen], valid)
    images = [continued(_shown(one, fill, scaling)) for one in seen]
    known = [continued(one.float()) > 0 for one in valid]
    start = None if generator.skip == "cloudy" else _clear_mean(images, known)
    dtype = dtype_of(precision)
    statistics = joint_statistics(generator.trunk, images, known, dtype)
    trunk = folded(generator.trunk, statistics)
    seen_by_bytes = images if precision == "int8" else None
    run = Trunk(trunk, dtype) if engine == "torch" else compiled(trunk, dtype, seen_by_bytes)
    return FrozenNetwork(name, bands, scaling, run, fill, start)


def has_data(observation: Observation) -> Bool[Tensor, "batch 1 h w"]:
    """Say where radar and all optical bands are finite."""
    optical, radar = (image.isfinite().all(dim=1, keepdim=True) for image in (observation.cloudy, observation.sar))
    return optical & radar


def continued(image: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel rows columns"]:
    """Continue an image by reflection until height and width are multiples of 4."""
    below, right = (-image.shape[-2] % STRIDE_PX, -image.shape[-1] % STRIDE_PX)
    return F.pad(image, (0, right, 0, below), mode="reflect") if below or right else image


def computes_bfloat16() -> bool:
    """Say whether this processor multiplies bfloat16 in hardware (AMX, or AVX-512 BF16)."""
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def dtype_of(precision: Precision) -> torch.dtype:
    """Return what a precision means on this processor; of int8, what is not multiplied in bytes."""
    if precision in ("auto", "int8"):
        return torch.bfloat16 if computes_bfloat16() else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def _shown(
    observation: Observation, fill: tuple[Tensor, Tensor], scaling: Scaling
) -> Float[Tensor, "batch channel h w"]:
    """Return radar, cloudy image and cloud map as the network's input channels, without gaps."""
    radar, optical = (
        torch.where(image.isfinite(), image, mean.to(image.device))
        for image, mean in zip((observation.sar, observation.cloudy), fill, strict=True)
    )
    return torch.cat([scaling.sar(radar), scaling.optical(optical), observation.cloud_map], dim=1)


def _mean(images: Sequence[Tensor], where: Sequence[Tensor]) -> Tensor:
    """Mean of each channel over the pixels of all images that count; NaN where none does."""
    kept = [torch.where(here, image, 0.0) for image, here in zip(images, where, strict=True)]
    total = torch.stack([image.sum(dim=(2, 3), keepdim=True, dtype=torch.float64) for image in kept]).sum(dim=0)
    count = torch.stack([here.sum(dim=(2, 3), keepdim=True) for here in where]).sum(dim=0)
    return (total / count).to(images[0].dtype)


def _clear_mean(images: Sequence[Tensor], valid: Sequence[Tensor]) -> Tensor:
    """Network values of the mean clear pixel: :func:`unclouded.models.generator.clear_mean_start` over all windows."""
    clear = [(image[:, -1:] == 0) & known for image, known in zip(images, valid, strict=True)]
    return _mean([image[:, SAR_CHANNELS:-1] for image in images], clear).nan_to_num(nan=DARK_LAND)
