"""UnCRtainTS, a published network for cloud removal from one or several dates, with the variance of its estimate.

Ebel, Garnot, Schmitt, Wegner and Zhu (2023), "UnCRtainTS: Uncertainty Quantification for Cloud Removal in Optical
Satellite Time Series", CVPR Workshops. Written anew from the paper and from the names and shapes of its weights; the
names of the parameters are those of the published files, so that they are loaded without a translation.

An encoder works on every date by itself; attention over the dates at 32 x 32 positions (Garnot and Landrieu 2020,
"Lightweight Temporal Self-Attention") weighs their features; a decoder makes reflectance and variance of the sum.
Group norms, squeeze-and-excitation and the attention grid use the whole image: the result depends on the tile.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from unclouded.errors import InputError
from unclouded.settings import Settings

OPTICAL_BANDS = 13
GRID_PX = 32
"""Height and width of the grid of attention."""
MIN_PX = GRID_PX
"""Smallest height and width of an image."""
_PERIOD = 1000.0
"""Longest period of the position table, days; the transformer's own is 10,000."""
_GROUPS = 4
_PADDED_SCORE = -1000.0


Width = Annotated[int, Field(ge=_GROUPS, le=4096, multiple_of=_GROUPS)]
"""Channels of a block."""


class UncrtaintsSettings(Settings):
    """Architecture of a published UnCRtainTS network.

    Attributes:
        encoder_widths: Channels of each encoder block.
        decoder_widths: Channels of each decoder block.
        block: ``mbconv`` (inverted bottleneck, the published one) or ``residual``.
        dates: Dates that it was trained on; 1 has no attention.
        radar: Whether VV and VH come before the optical bands of every date.
        heads: Heads of the attention.
        attention_channels: Channels of the attention.
        key_channels: Channels of the keys of each head.
        use_values: Whether the attention returns features of its own, beside the weights of the dates.
        position: Whether the attention receives the days.
        variance: Channels of the variance: none, one for all bands, or one for each band.
        separate_heads: Whether mean and variance have convolutions of their own.
        scale_by: Factor of the reflectance inside the network.
    """

    encoder_widths: tuple[Width, ...] = Field((128,), min_length=1, max_length=16)
    decoder_widths: tuple[Width, ...] = Field((128,) * 5, min_length=1, max_length=16)
    block: Literal["mbconv", "residual"] = "mbconv"
    dates: int = Field(3, ge=1, le=64)
    radar: bool = True
    heads: int = Field(16, ge=1, le=64)
    attention_channels: int = Field(256, ge=1, le=4096)
    key_channels: int = Field(4, ge=1, le=256)
    use_values: bool = False
    position: bool = True
    variance: Literal["none", "shared", "per-band"] = "per-band"
    separate_heads: bool = False
    scale_by: float = Field(10.0, gt=0.0, le=1e4)

    @model_validator(mode="after")
    def _divides_into_heads(self) -> "UncrtaintsSettings":
        if self.dates > 1 and any(width % self.heads for width in (self.encoder_widths[-1], self.attention_channels)):
            raise ValueError(f"heads is {self.heads}, expected a divisor of the channels of encoder and attention")
        return self

    @property
    def channels(self) -> int:
        """Input channels of each date."""
        return OPTICAL_BANDS + (2 if self.radar else 0)

    @property
    def variance_channels(self) -> int:
        """Output channels of the variance."""
        return {"none": 0, "shared": 1, "per-band": OPTICAL_BANDS}[self.variance]

    def build(self) -> "Uncrtaints":
        """Return the network with random weights."""
        return Uncrtaints(self)


@dataclass(frozen=True)
class Estimate:
    """Output of the network.

    Attributes:
        mean: Reflectance.
        variance: Variance of the reflectance; None if the network has none.
    """

    mean: Float[Tensor, "batch 13 h w"]
    variance: Float[Tensor, "batch 13 h w"] | None


class Uncrtaints(nn.Module):
    """The network.

    Args:
        settings: Architecture.
    """

    def __init__(self, settings: UncrtaintsSettings) -> None:
        super().__init__()
        self.settings = settings
        encoder, decoder = settings.encoder_widths, settings.decoder_widths
        self.in_conv = _Pointwise(settings.channels, encoder[0], _group_norm)
        block = _Bottleneck if settings.block == "mbconv" else _Residual
        self.in_block = nn.ModuleList(block(width, _group_norm) for width in encoder)
        if settings.dates > 1:
            self.temporal_encoder = _TemporalAttention(encoder[0], settings)
            if settings.use_values:
                self.include_v = nn.Conv2d(2 * encoder[-1], encoder[-1], 1)
        self.out_block = nn.ModuleList(block(width, nn.BatchNorm2d) for width in decoder)
        last = decoder[-1]
        if settings.separate_heads:
            self.out_conv_mean_1 = _Pointwise(last, OPTICAL_BANDS)
            self.out_conv_var_1 = _Pointwise(last, settings.variance_channels)
        else:
            self.out_conv = _Pointwise(last, OPTICAL_BANDS + settings.variance_channels)

    def forward(
        self, images: Float[Tensor, "batch date channel h w"], days: Float[Tensor, "batch date"] | None = None
    ) -> Estimate:
        """Return reflectance and variance.

        Args:
            images: Radar, clipped to -25 to 0 dB and scaled to 0 to 1, before reflectance from 0 to 1; a date that is
                0 everywhere counts as missing.
            days: Days since 2014-04-03 of every date; not needed for a single date.
        """
        batch, dates, _, height, width = images.shape
        if min(height, width) < MIN_PX:
            raise InputError(
                f"UnCRtainTS needs at least {MIN_PX} x {MIN_PX} px, found {height} x {width}; give a larger image"
            )
        features = self.in_conv(self.settings.scale_by * images.flatten(0, 1))
        for block in self.in_block:
            features = block(features)
        features = features.view(batch, dates, -1, height, width)
        if self.settings.dates > 1:
            missing = (images == 0).flatten(2).all(dim=2)
            features = self._over_dates(features, days, missing)
        else:
            features = features[:, 0]
        for block in self.out_block:
            features = block(features)
        return self._estimate(features)

    def _over_dates(
        self,
        features: Float[Tensor, "batch date channel h w"],
        days: Tensor | None,
        missing: Bool[Tensor, "batch date"],
    ) -> Float[Tensor, "batch channel h w"]:
        """Return the features summed over the dates, weighted by the attention of their group of channels."""
        size = features.shape[-2:]
        weights, values = self.temporal_encoder(features, days, missing)
        weights = (
            weights
            if size == weights.shape[-2:]
            else _enlarged(weights.flatten(0, 1), size).view(*weights.shape[:3], *size)
        )
        groups = features.reshape(*features.shape[:2], self.settings.heads, -1, *size)
        summed = torch.einsum("bthcyx,bthyx->bhcyx", groups, weights).flatten(1, 2)
        if values is None:
            return summed
        joined: Tensor = self.include_v(torch.cat([summed, _enlarged(values, size)], dim=1))
        return joined

    def _estimate(self, features: Float[Tensor, "batch channel h w"]) -> Estimate:
        if self.settings.separate_heads:
            head, variance = self.out_conv_mean_1(features), self.out_conv_var_1(features)
        else:
            both = self.out_conv(features)
            head, variance = both[:, :OPTICAL_BANDS], both[:, OPTICAL_BANDS:]
        if self.settings.variance == "none":
            return Estimate(head.sigmoid(), None)
        scale = self.settings.scale_by
        floor = 1e-9 if scale == 1 else 1e-3
        variance = (F.softplus(variance) + floor).clamp(min=1e-8) / scale**2
        return Estimate(head.sigmoid(), variance.expand(-1, OPTICAL_BANDS, -1, -1))


def _enlarged(grid: Float[Tensor, "batch channel y x"], size: torch.Size) -> Float[Tensor, "batch channel h w"]:
    return F.interpolate(grid, size=size, mode="bilinear", align_corners=False)


class _TemporalAttention(nn.Module):
    """Attention over the dates at every position of a coarse grid, with one learnt query for each head.

    Args:
        width: Channels of the features.
        settings: Architecture.
    """

    def __init__(self, width: int, settings: UncrtaintsSettings) -> None:
        super().__init__()
        self.settings = settings
        channels = settings.attention_channels
        self.in_norm = nn.GroupNorm(settings.heads, width)
        self.inconv = nn.Conv1d(width, channels, 1)
        self.attention_heads = _Heads(channels, settings.heads, settings.key_channels)
        if settings.use_values:
            self.mlp = nn.Sequential(nn.Linear(channels, width), nn.BatchNorm1d(width), nn.ReLU())
            self.out_norm = nn.GroupNorm(settings.heads, width)

    def forward(
        self,
        features: Float[Tensor, "batch date channel h w"],
        days: Tensor | None,
        missing: Bool[Tensor, "batch date"],
    ) -> tuple[Float[Tensor, "batch date head y x"], Float[Tensor, "batch channel y x"] | None]:
        """Return the weights of the dates for each head, and features of the attention itself or None."""
        batch, dates = missing.shape
        coarse = F.adaptive_max_pool2d(features.flatten(0, 1), GRID_PX).view(batch, dates, -1, GRID_PX, GRID_PX)
        series = coarse.permute(0, 3, 4, 2, 1).flatten(0, 2)  # one series of dates a position
        series = self.inconv(self.in_norm(series)).transpose(1, 2)
        positions = GRID_PX * GRID_PX
        if self.settings.position:
            if days is None:
                raise InputError("expected the days of all dates, found none; this network is made for several dates")
            table = position_table(days, self.settings.attention_channels // self.settings.heads)
            table = table.to(series.dtype).repeat(1, 1, self.settings.heads)
            series = series + table.repeat_interleave(positions, dim=0)
        weights = self.attention_heads(series, missing.repeat_interleave(positions, dim=0))
        shape = batch, GRID_PX, GRID_PX
        return weights.view(*shape, *weights.shape[1:]).permute(0, 4, 3, 1, 2), self._values(series, weights, shape)

    def _values(self, series: Tensor, weights: Tensor, shape: tuple[int, int, int]) -> Tensor | None:
        if not self.settings.use_values:
            return None
        split = series.view(*series.shape[:2], self.settings.heads, -1)
        values = torch.einsum("nht,nthc->nhc", weights, split).flatten(1)
        returned: Tensor = self.out_norm(self.mlp(values))
        return returned.view(*shape, -1).permute(0, 3, 1, 2)


class _Heads(nn.Module):
    """Weights of the dates: the product of learnt queries with the keys of the dates, as softmax."""

    def __init__(self, channels: int, heads: int, key_channels: int) -> None:
        super().__init__()
        self.Q = nn.Parameter(torch.randn(heads, key_channels) * math.sqrt(2.0 / key_channels))
        self.fc1_k = nn.Linear(channels, heads * key_channels)

    def forward(
        self, series: Float[Tensor, "position date channel"], missing: Bool[Tensor, "position date"]
    ) -> Float[Tensor, "position head date"]:
        heads, key_channels = self.Q.shape
        keys = self.fc1_k(series).view(*series.shape[:2], heads, key_channels)
        scores = torch.einsum("hk,nthk->nht", self.Q, keys) / math.sqrt(key_channels)
        weights = scores.masked_fill(missing[:, None], _PADDED_SCORE).softmax(dim=2)
        return weights.masked_fill(missing[:, None], 0.0)


def position_table(days: Float[Tensor, "batch date"], channels: int) -> Float[Tensor, "batch date channel"]:
    """Return sines (even channels) and cosines (odd ones) of the days.

    Args:
        days: Days since a fixed date.
        channels: Channels of one head.
    """
    index = torch.arange(channels, dtype=torch.float32, device=days.device)
    # The published weights were trained with these denominators in float32, whatever the rest computes in.
    denominator = torch.pow(_PERIOD, 2 * torch.div(index, 2, rounding_mode="floor") / channels)
    angle = days[..., None] / denominator
    return torch.where(index.long() % 2 == 0, angle.sin(), angle.cos())


# Blocks. The nesting of modules follows the names of the published weights.


Norm = Callable[[int], nn.Module]
"""Constructor of a norm for a number of channels."""


def _group_norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, width)


class _Layers(nn.Module):
    """Layers in sequence, under the name ``conv``."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel2 h w"]:
        result: Tensor = self.conv(x)
        return result


class _Pointwise(nn.Module):
    """1 x 1 convolution, in the encoder with norm and ReLU."""

    def __init__(self, inside: int, outside: int, norm: Norm | None = None) -> None:
        super().__init__()
        after = () if norm is None else (norm(outside), nn.ReLU())
        self.conv = _Layers(nn.Conv2d(inside, outside, 1), *after)

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel2 h w"]:
        result: Tensor = self.conv(x)
        return result


class _Residual(nn.Module):
    """Three 3 x 3 convolutions, added to the input."""

    def __init__(self, width: int, norm: Norm) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = (
            _Layers(nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect"), norm(width), nn.ReLU())
            for _ in range(3)
        )

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
        change: Tensor = self.conv3(self.conv2(self.conv1(x)))
        return x + change


class _Bottleneck(nn.Module):
    """Inverted bottleneck with squeeze-and-excitation, added to the input."""

    def __init__(self, width: int, norm: Norm) -> None:
        super().__init__()
        self.conv = _PreNorm(width, norm)

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
        change: Tensor = self.conv(x)
        return x + change


class _PreNorm(nn.Module):
    """The layers of an inverted bottleneck, after a norm."""

    def __init__(self, width: int, norm: Norm) -> None:
        super().__init__()
        hidden = 2 * width
        self.norm = norm(width)
        self.fn = nn.Sequential(
            nn.Conv2d(width, hidden, 1, bias=False),
            norm(hidden),
            nn.GELU(),
            nn.Conv2d(hidden, hidden, 3, padding=1, padding_mode="reflect", groups=hidden, bias=False),
            norm(hidden),
            nn.GELU(),
            _SqueezeExcitation(hidden, width // 4),
            nn.Conv2d(hidden, width, 1, bias=False),
            norm(width),
        )

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
        result: Tensor = self.fn(self.norm(x))
        return result


class _SqueezeExcitation(nn.Module):
    """Factor for every channel, computed from the mean of all channels over the image."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(width, squeezed, bias=False),
            nn.GELU(),
            nn.Linear(squeezed, width, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
        factor: Tensor = self.fc(x.mean(dim=(2, 3)))
        return x * factor[..., None, None]
