"""What land and water look like before a scene has said anything: two spectra, and how far radar tells them apart."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from unclouded.models.radar_features import MEAN_SCALES_PX
from unclouded.sensors import SENTINEL2

LAND_SPECTRUM = dict(
    zip(
        SENTINEL2.bands,
        (0.1609, 0.1343, 0.1173, 0.1113, 0.1377, 0.2050, 0.2383, 0.2249, 0.2582, 0.0651, 0.0013, 0.1767, 0.1016),
        strict=True,
    )
)
"""TOA reflectance by band of land.

The samples of tests/real/ hold clear images of twelve regions: the 59 of SEN12MS-CR that
:data:`~unclouded.models.baselines.FIXED_SPECTRUM` was made from, and one of Sen1Floods11 in Spain; none is a test
region. In each region that has at least 5 % of such pixels, the mean of the pixels that are brighter in B08 than in
B03; of these means (seven regions) the median, band by band, so that snow and the thin cirrus of fall 85 and 136 do
not weigh.
"""

WATER_SPECTRUM = dict(
    zip(
        SENTINEL2.bands,
        (0.1412, 0.1134, 0.0953, 0.0774, 0.0727, 0.0599, 0.0594, 0.0527, 0.0522, 0.0134, 0.0009, 0.0297, 0.0211),
        strict=True,
    )
)
"""TOA reflectance by band of water: as :data:`LAND_SPECTRUM`, from the pixels that are not brighter in B08 (eight
regions, one of which has snow there; the median passes over it)."""

PRIOR_SHARE = dict.fromkeys(SENTINEL2.bands, 0.10) | dict.fromkeys(("B01", "B02", "B03", "B04"), 0.02) | {"B05": 0.045}
"""How many clear pixels the prior weighs as much as, by band, as a share of the scene.

With 2 % of the scene clear, prior and scene decide half and half on a visible band; in the infrared, where the pixels
between clouds are dark with shadow, with 10 %. ``proofs/scene_adapted_settings.py`` chose them on regions
that are no test regions.
"""

WATER_VH_DB = -22.5
"""Below this mean of VH over 4 px, water is more probable than land."""
WATER_STEP_DB = 0.75
"""Scale of the logistic curve between the two."""

_VH_OVER_4_PX = 2 * (1 + MEAN_SCALES_PX.index(4.0)) + 1
"""Which of the radar features that mean is."""


@dataclass(frozen=True)
class Prior:
    """What is known before a scene has said anything.

    Attributes:
        land: TOA reflectance by band.
        water: TOA reflectance by band.
        share: Weight by band, as a share of the scene.
    """

    land: Mapping[str, float]
    water: Mapping[str, float]
    share: Mapping[str, float]

    def spectrum(
        self, features: Float32[Tensor, "batch feature h w"], bands: tuple[str, ...]
    ) -> Float64[Tensor, "batch band h w"]:
        """Return the spectrum of land or water, mixed by how probable radar makes them; NaN where radar has no data.

        Args:
            features: What :func:`~unclouded.models.radar_features.radar_features` returns.
            bands: Optical bands wanted.
        """
        vh = features[:, _VH_OVER_4_PX : _VH_OVER_4_PX + 1].double()
        water = torch.sigmoid((WATER_VH_DB - vh) / WATER_STEP_DB)
        dry, wet = (vh.new_tensor([kind[band] for band in bands]).view(-1, 1, 1) for kind in (self.land, self.water))
        return water * wet + (1 - water) * dry

    def shares(self, bands: tuple[str, ...]) -> Float64[Tensor, " band"]:
        """Return the weights of bands."""
        return torch.tensor([self.share[band] for band in bands], dtype=torch.float64)


PRIOR = Prior(LAND_SPECTRUM, WATER_SPECTRUM, PRIOR_SHARE)
"""The prior of scenes."""
