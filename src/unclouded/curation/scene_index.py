"""Index of scenes by place, and of the items of a catalogue on disk, which are parsed once for all regions."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from unclouded.catalogue.stac import Catalogue, StoredCatalogue, records_of
from unclouded.catalogue.triplets import SceneRecord
from unclouded.patches.geographic_split import circle_around, gaps_to, located


class SceneIndex:
    """Scenes by place, in the order of their names.

    Args:
        records: Scenes.
    """

    def __init__(self, records: Iterable[SceneRecord]) -> None:
        self._records = sorted(records, key=lambda one: (one.name, one.place))
        self._circles = located([circle_around(one.footprint) for one in self._records])

    def near(self, outline: Mapping[str, Any]) -> list[SceneRecord]:
        """Return the scenes whose footprint may intersect a GeoJSON geometry in degrees."""
        if not self._records:
            return []
        gaps = gaps_to(circle_around(outline), self._circles)
        return [self._records[index] for index in np.flatnonzero(gaps < 0).tolist()]


class IndexedCatalogue:
    """Catalogue on disk, parsed and indexed once.

    Attributes:
        skipped: Reasons by id of items that are not usable scenes.

    Args:
        catalogue: Catalogue on disk.
    """

    def __init__(self, catalogue: StoredCatalogue) -> None:
        records, self.skipped = records_of(catalogue.every_item)
        self._index = SceneIndex(records)

    def near(self, outline: Mapping[str, Any]) -> list[SceneRecord]:
        """Return the scenes whose footprint may intersect a GeoJSON geometry in degrees, of any time."""
        return self._index.near(outline)


def indexed(catalogue: Catalogue) -> Catalogue | IndexedCatalogue:
    """Return a catalogue for many regions: one on disk indexed, an API unchanged."""
    if type(catalogue) is StoredCatalogue:  # a subclass may answer differently for each region
        return IndexedCatalogue(catalogue)
    return catalogue
