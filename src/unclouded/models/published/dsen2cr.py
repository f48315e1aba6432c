"""DSen2-CR, a published residual network for cloud removal from one date and radar.

Meraner, Ebel, Zhu and Schmitt (2020), "Cloud removal in Sentinel-2 imagery using a deep residual neural network and
SAR-optical data fusion", ISPRS Journal 166. Written anew from the paper and from the names and shapes of its weights.
It has no norms, so that a pixel depends on the 34 pixels around it and on nothing else.
"""

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from unclouded.settings import Settings

OPTICAL_BANDS = 13
RADAR_BANDS = 2
RESIDUAL_SCALE = 0.1
"""Factor to the change of each residual block (section 3.1 of the paper)."""


class Dsen2crSettings(Settings):
    """Architecture of a published DSen2-CR network.

    Attributes:
        width: Channels; the published networks have 256.
        blocks: Residual blocks.
        radar: Whether VV and VH follow the optical bands.
    """

    width: int = Field(256, ge=1, le=2048)
    blocks: int = Field(16, ge=1, le=256)
    radar: bool = True

    @property
    def channels(self) -> int:
        """Input channels."""
        return OPTICAL_BANDS + (RADAR_BANDS if self.radar else 0)

    @property
    def reach_px(self) -> int:
        """Pixels on each side that affect the result: one for each 3 x 3 convolution."""
        return 2 * self.blocks + 2

    def build(self) -> "Dsen2cr":
        """Return the network with random weights."""
        return Dsen2cr(self)


class Dsen2cr(nn.Module):
    """The network; input and output in the units of its training, DN / 2000.

    Args:
        settings: Architecture.
    """

    def __init__(self, settings: Dsen2crSettings) -> None:
        super().__init__()
        self.settings = settings
        width = settings.width
        self.model = nn.Sequential(
            nn.Conv2d(settings.channels, width, 3, padding=1),
            nn.ReLU(),
            *(_Residual(width) for _ in range(settings.blocks)),
            nn.Conv2d(width, OPTICAL_BANDS, 3, padding=1),
        )

    def forward(self, images: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch 13 h w"]:
        """Return the clear image.

        Args:
            images: Optical bands from 0 to 5, before VV and VH from 0 to 2.
        """
        change: Tensor = self.model(images)
        return images[:, :OPTICAL_BANDS] + change


class _Residual(nn.Module):
    """Two convolutions whose scaled result is added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
        change: Tensor = self.conv_block(x)
        return x + RESIDUAL_SCALE * change
