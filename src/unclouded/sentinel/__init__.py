"""Products of Sentinel-1 and Sentinel-2 as rows of physical values on a grid."""

from typing import TYPE_CHECKING

from unclouded._lazy import lazy_names

if TYPE_CHECKING:
    from unclouded.sentinel.coregistration import estimate_shift as estimate_shift
    from unclouded.sentinel.optical import (
        OpticalSettings as OpticalSettings,
    )
    from unclouded.sentinel.optical import (
        open_optical as open_optical,
    )
    from unclouded.sentinel.optical_scene import OpticalScene as OpticalScene
    from unclouded.sentinel.radar import RadarScene as RadarScene
    from unclouded.sentinel.radar import open_radar as open_radar

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "coregistration": ("estimate_shift",),
        "optical": (
            "OpticalSettings",
            "open_optical",
        ),
        "optical_scene": ("OpticalScene",),
        "radar": (
            "RadarScene",
            "open_radar",
        ),
    },
)
