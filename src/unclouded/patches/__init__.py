"""SEN12MS-CR and data sets like it on disk: layouts, splits, reading."""

from typing import TYPE_CHECKING

from unclouded._lazy import lazy_names

if TYPE_CHECKING:
    from unclouded.patches.layouts import (
        Inventory as Inventory,
    )
    from unclouded.patches.layouts import (
        TripletFiles as TripletFiles,
    )
    from unclouded.patches.layouts import (
        find_triplets as find_triplets,
    )
    from unclouded.patches.reading import check_triplets as check_triplets
    from unclouded.patches.reading import read_triplet as read_triplet
    from unclouded.patches.roi import PatchId as PatchId
    from unclouded.patches.roi import Roi as Roi
    from unclouded.patches.splits import Split as Split
    from unclouded.patches.splits import official_split as official_split
    from unclouded.patches.splits import triplets_of as triplets_of

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "layouts": (
            "Inventory",
            "TripletFiles",
            "find_triplets",
        ),
        "reading": (
            "check_triplets",
            "read_triplet",
        ),
        "roi": (
            "PatchId",
            "Roi",
        ),
        "splits": (
            "Split",
            "official_split",
            "triplets_of",
        ),
    },
)
