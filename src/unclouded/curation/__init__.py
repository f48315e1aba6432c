"""Curation of triplets from products worldwide."""

from typing import TYPE_CHECKING

from unclouded._lazy import lazy_names

if TYPE_CHECKING:
    from unclouded.curation.region_task import CurateRegion as CurateRegion
    from unclouded.curation.regions import CurationSettings as CurationSettings
    from unclouded.curation.regions import Region as Region
    from unclouded.curation.results import plan as plan
    from unclouded.curation.search import SearchSettings as SearchSettings
    from unclouded.curation.search import propose as propose

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "region_task": ("CurateRegion",),
        "regions": (
            "CurationSettings",
            "Region",
        ),
        "results": ("plan",),
        "search": (
            "SearchSettings",
            "propose",
        ),
    },
)
