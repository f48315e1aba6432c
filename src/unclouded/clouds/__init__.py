"""Cloud detectors, the cloud map m of the paper, and synthetic clouds."""

from typing import TYPE_CHECKING

from unclouded._lazy import lazy_names

if TYPE_CHECKING:
    from unclouded.clouds.detector import Detector as Detector
    from unclouded.clouds.detectors import find_detector as find_detector
    from unclouded.clouds.detectors import list_detectors as list_detectors
    from unclouded.clouds.map import (
        CloudMapSettings as CloudMapSettings,
    )
    from unclouded.clouds.map import (
        cloud_map as cloud_map,
    )
    from unclouded.clouds.map import (
        cloud_map_from_probability as cloud_map_from_probability,
    )
    from unclouded.clouds.synthetic import SyntheticSettings as SyntheticSettings
    from unclouded.clouds.synthetic import paint as paint

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "detector": ("Detector",),
        "detectors": (
            "find_detector",
            "list_detectors",
        ),
        "map": (
            "CloudMapSettings",
            "cloud_map",
            "cloud_map_from_probability",
        ),
        "synthetic": (
            "SyntheticSettings",
            "paint",
        ),
    },
)
