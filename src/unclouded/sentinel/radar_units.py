"""Units in which radar GeoTIFFs come: said by the user, checked against the numbers, never guessed."""

from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float32

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.sensors import SENTINEL1, Sensor
from unclouded.sentinel.calibration import to_db
from unclouded.sentinel.radar_gaps import FILLS

RadarUnits = Literal["dB", "linear", "dB x 100"]

_STORED_AS: dict[str, Sensor] = {
    "dB": replace(SENTINEL1, no_data=FILLS),
    "linear": replace(SENTINEL1, unit="linear power", clip=(0.0, 1.0), no_data=FILLS),
    "dB x 100": replace(SENTINEL1, dtypes=("int16", "int32", "float32"), stored_per_unit=100.0, no_data=FILLS),
}
_LEAST_DB = -1.0
"""Highest median of a scene in dB: values of dB that were taken for dB x 100 lie above."""
_HIGHEST_DB = 3.0
"""Highest median of a scene in linear power."""
_FEWEST = 1000
"""Fewer pixels tell nothing: all of them may be ships or roofs."""
_SWAPPED_DB, _SWAPPED_SHARE = -1.0, 0.6
"""Median of VV - VH below which, and share of pixels with VH above VV from which, they are swapped."""
_AMPLITUDE_DB, _DOUBTFUL_DB = -9.5, -11.5
"""Median VH above which scenes are surely, and probably, amplitude if VV is near; power stays below -13 dB."""
_LEAST_APART_DB, _MOST_APART_DB = 1.5, 4.5
"""Medians of VV - VH between which land in amplitude lies; towns, as bright in power, are 6 dB apart."""


def stored_as(units: str) -> Sensor:
    """Return how a file of these units stores radar.

    Raises:
        InputError: The units are unknown.
    """
    if units not in _STORED_AS:
        raise InputError(f"expected {', '.join(get_args(RadarUnits))} as units of the radar, found {units[:20]!r}")
    return _STORED_AS[units]


def in_db(values: Float32[np.ndarray, "band rows x"], units: RadarUnits) -> Float32[np.ndarray, "band rows x"]:
    """Return values of a file in dB; no power is no data."""
    return to_db(np.where(values > 0, values, np.float32(np.nan))) if units == "linear" else values


def check_radar_plausibility(
    path: Path, values: Float32[np.ndarray, "2 rows x"], units: RadarUnits, *, named_bands: bool
) -> tuple[str, ...]:
    """Return warnings about the order and the unit of VV and VH, mostly none.

    Nearly everywhere VV is above VH, by 6 dB over land and 2 dB over open water, and VH is below -13 dB over places
    larger than a town. Amplitude has half of both.

    Args:
        path: Image, for messages.
        values: VV and VH from all over the image, dB; NaN where there is no data.
        units: Units that the user named.
        named_bands: Whether the image names its bands.

    Raises:
        InputError: The numbers are certainly of another unit, or VV and VH have changed places.
    """
    vv, vh = values[:, np.isfinite(values).all(axis=0)]
    if vv.size < _FEWEST:
        return ()
    both, apart = float(np.median([vv, vh])), float(np.median(vv - vh))
    if units == "dB x 100" and both > _LEAST_DB:
        raise InputError(f"{named(path)} has a median of {both:.2f} dB as dB x 100; is it in dB? leave the units out")
    if units == "linear" and both > _HIGHEST_DB:
        raise InputError(
            f"{named(path)} has a median power of {10 ** (both / 10):.3g}, expected below 1 over any scene; are these "
            "digital numbers? calibrate them first"
        )
    below = float(np.mean(vh > vv))
    if apart < _SWAPPED_DB and below > _SWAPPED_SHARE:
        words = f"band 2 is {-apart:.1f} dB above band 1, but VV is above VH nearly everywhere: they seem to be swapped"
        if named_bands:
            return (f"{words}, though the bands are named",)
        raise InputError(f"{named(path)}: {words}; expected VV, then VH ('gdal_translate -b 2 -b 1 IN OUT')")
    level = float(np.median(vh))
    if _LEAST_APART_DB <= apart < _MOST_APART_DB and level > _DOUBTFUL_DB:
        remedy = "square it first" if units == "linear" else "double the dB first"
        words = f"a median VH of {level:.1f} dB, {apart:.1f} dB below VV, is that of amplitude"
        if level > _AMPLITUDE_DB:
            raise InputError(f"{named(path)}: {words}, expected power; {remedy}")
        return (f"{words} rather than of power; if so, {remedy}",)
    return ()
