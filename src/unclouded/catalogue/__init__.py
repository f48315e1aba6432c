"""Searching products: STAC catalogues and folders, and the triplets they form."""

from typing import TYPE_CHECKING

from unclouded._lazy import lazy_names

if TYPE_CHECKING:
    from unclouded.catalogue.local import describe_scenes as describe_scenes
    from unclouded.catalogue.stac import Catalogue as Catalogue
    from unclouded.catalogue.stac import open_catalogue as open_catalogue
    from unclouded.catalogue.triplets import SceneRecord as SceneRecord
    from unclouded.catalogue.triplets import TripletRequirements as TripletRequirements

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "local": ("describe_scenes",),
        "stac": (
            "Catalogue",
            "open_catalogue",
        ),
        "triplets": (
            "SceneRecord",
            "TripletRequirements",
        ),
    },
)
