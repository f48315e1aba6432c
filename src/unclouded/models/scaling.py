"""Conversion of physical units to network values and back; saved with the weights of every network."""

from typing import Annotated

from jaxtyping import Float
from pydantic import AfterValidator
from torch import Tensor, cat

from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.settings import Settings


def _ascending(interval: tuple[float, float]) -> tuple[float, float]:
    low, high = interval
    if low >= high:
        raise ValueError(f"expected a lower and a higher value, found {low:g} and {high:g}")
    return interval


Interval = Annotated[tuple[float, float], AfterValidator(_ascending)]


class Scaling(Settings):
    """Conversion of physical values, clipped to a range, to network values in [-1, 1] and back (section III-B.2).

    The paper clips both radar bands to [-25, 0] dB. Other authors clip VH to [-32.5, 0] dB, which is
    ``Scaling(vh_db=(-32.5, 0.0))``.

    Attributes:
        vv_db: Range of VV backscatter, dB.
        vh_db: Range of VH backscatter, dB.
        toa_reflectance: Range of every optical band, TOA reflectance.
    """

    vv_db: Interval = SENTINEL1.clip
    vh_db: Interval = SENTINEL1.clip
    toa_reflectance: Interval = SENTINEL2.clip

    def sar(self, db: Float[Tensor, "batch 2 h w"]) -> Float[Tensor, "batch 3 h w"]:
        """Convert VV and VH to network values: VV, VH, and the mean of the two after clipping (our decision).

        Args:
            db: VV and VH backscatter, dB. NaN stays NaN.
        """
        vv = _to_network(db[:, :1], self.vv_db)
        vh = _to_network(db[:, 1:], self.vh_db)
        return cat([vv, vh, (vv + vh) / 2], dim=1)

    def optical(self, reflectance: Float[Tensor, "batch band h w"]) -> Float[Tensor, "batch band h w"]:
        """Convert TOA reflectance to network values in [-1, 1]. NaN stays NaN."""
        return _to_network(reflectance, self.toa_reflectance)

    def reflectance(self, network: Float[Tensor, "batch band h w"]) -> Float[Tensor, "batch band h w"]:
        """Convert network values to TOA reflectance: the inverse of :meth:`optical` within the range."""
        low, high = self.toa_reflectance
        return (network + 1) / 2 * (high - low) + low


def _to_network(values: Tensor, interval: tuple[float, float]) -> Tensor:
    low, high = interval
    return (values.clamp(low, high) - low) / (high - low) * 2 - 1
