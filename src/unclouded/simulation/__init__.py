"""Simulated regions whose truth is known: land, radar, optics, clouds."""

from typing import TYPE_CHECKING

from unclouded._lazy import lazy_names

if TYPE_CHECKING:
    from unclouded.simulation.layout import simulate_data_set as simulate_data_set
    from unclouded.simulation.layout import write_region as write_region
    from unclouded.simulation.region import SimulatedRegion as SimulatedRegion
    from unclouded.simulation.region import simulate_region as simulate_region

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "layout": ("simulate_data_set", "write_region"),
        "region": (
            "SimulatedRegion",
            "simulate_region",
        ),
    },
)
