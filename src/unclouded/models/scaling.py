"""Physical units to network values and back; saved with every network's weights."""

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
    """Clips physical values and stretches them to [-1, 1], and turns network values back (section III-B.2).

    The paper clips both radar bands to [-25, 0] dB; others clip VH to [-32.5, 0] dB: ``Scaling(vh_db=(-32.5, 0.0))``.

    Attributes:
        vv_db: Range of VV backscatter, dB.
        vh_db: Range of VH backscatter, dB.
        toa_reflectance: Range of every optical band, TOA reflectance.
    """

    vv_db: Interval = SENTINEL1.clip
    vh_db: Interval = SENTINEL1.clip
    toa_reflectance: Interval = SENTINEL2.clip

    def sar(self, db: Float[Tensor, "batch 2 h w"]) -> Float[Tensor, "batch 3 h w"]:
        """Turn VV and VH into network values: VV, VH, and the mean of the two after clipping (our decision).

        Args:
            db: VV and VH backscatter, dB. NaN stays NaN.
        """
        vv = _to_network(db[:, :1], self.vv_db)
        vh = _to_network(db[:, 1:], self.vh_db)
        return cat([vv, vh, (vv + vh) / 2], dim=1)

    def optical(self, reflectance: Float[Tensor, "batch band h w"]) -> Float[Tensor, "batch band h w"]:
        """Turn TOA reflectance into network values in [-1, 1]. NaN stays NaN."""
        return _to_network(reflectance, self.toa_reflectance)

    def reflectance(self, network: Float[Tensor, "batch band h w"]) -> Float[Tensor, "batch band h w"]:
        """Turn network values into TOA reflectance: the inverse of :meth:`optical` within the clip range."""
        low, high = self.toa_reflectance
        return (network + 1) / 2 * (high - low) + low


def _to_network(values: Tensor, interval: tuple[float, float]) -> Tensor:
    low, high = interval
    return (values.clamp(low, high) - low) / (high - low) * 2 - 1
