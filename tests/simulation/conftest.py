from collections.abc import Callable

import numpy as np
import pytest

from unclouded.patches.roi import Roi
from unclouded.simulation.fields import Crop, Fields, Growth, Parcels, Sowing
from unclouded.simulation.land import Land, LandCover, Surface, Town
from unclouded.simulation.region import SimulatedRegion, simulate_region
from unclouded.simulation.terrain import Terrain


@pytest.fixture(scope="session")
def region() -> SimulatedRegion:
    """A small region in summer, half under clouds."""
    return simulate_region(Roi("ROIs0000", "summer", 1), np.random.default_rng(5), size_px=256, coverage=0.5)


def _even(value: float, size_px: int) -> np.ndarray:
    return np.full((size_px, size_px), value, np.float32)


@pytest.fixture
def even_land() -> Callable[..., Land]:
    """Make land that is the same everywhere, on a plane that rises to the south and to the east."""

    def make(
        cover: LandCover,
        size_px: int = 96,
        moisture: float = 0.0,
        leaves: float = 0.0,
        rise: tuple[float, float] = (0, 0),
    ) -> Land:
        row, column = np.mgrid[:size_px, :size_px].astype(np.float32)
        height_m = (10 * (rise[0] * row + rise[1] * column)).astype(np.float32)
        nothing, nowhere = _even(0, size_px), np.zeros((size_px, size_px), bool)
        terrain = Terrain(height_m, nowhere, nowhere, _even(99, size_px), np.zeros((1, 2), np.float32))
        return Land(
            terrain=terrain,
            town=Town(nowhere, np.zeros((len(Surface), size_px, size_px), np.float32), nothing),
            cover=np.full((size_px, size_px), cover, np.uint8),
            growth=Growth(_even(leaves, size_px), nothing, nothing),
            needles=nothing,
            moisture=_even(moisture, size_px),
            vigour=nothing,
            tone=_even(1, size_px),
            fields=Fields(nowhere, Parcels.whole(column.ravel(), row.ravel(), 0.0), np.array([Crop.LEY])),
            sowing=Sowing(np.ones(1), nothing),
        )

    return make
