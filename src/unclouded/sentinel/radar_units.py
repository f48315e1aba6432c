"""Units of radar GeoTIFFs: stated by the user, checked against the values, never guessed."""

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
"""Highest median of a scene stated as dB x 100: dB values divided by 100 lie above."""
_HIGHEST_DB = 3.0
"""Highest median in dB of a scene stated as linear power."""
_FEWEST = 1000
"""Smallest number of valid pixels for a check: fewer may all be ships or roofs."""
_SWAPPED_DB, _SWAPPED_SHARE = -1.0, 0.6
"""VV and VH are swapped if the median of VV - VH is below the first, and the share with VH > VV above the second."""
_AMPLITUDE_DB, _DOUBTFUL_DB = -9.5, -11.5
"""Median VH above which a scene is certainly, or probably, amplitude; in power VH stays below -13 dB."""
_LEAST_APART_DB, _MOST_APART_DB = 1.5, 4.5
"""Range of the median of VV - VH of land in amplitude; towns, as bright in power, have 6 dB."""


def stored_as(units: str) -> Sensor:
    """Return the sensor description of radar files in these units.

    Raises:
        InputError: The units are unknown.
    """
    if units not in _STORED_AS:
        raise InputError(f"unknown radar units {units[:20]!r}; choose one of {', '.join(get_args(RadarUnits))}")
    return _STORED_AS[units]


def in_db(values: Float32[np.ndarray, "band rows x"], units: RadarUnits) -> Float32[np.ndarray, "band rows x"]:
    """Convert the values of a file to dB; linear power of 0 or below becomes NaN."""
    return to_db(np.where(values > 0, values, np.float32(np.nan))) if units == "linear" else values


def check_radar_plausibility(
    path: Path, values: Float32[np.ndarray, "2 rows x"], units: RadarUnits, *, named_bands: bool
) -> tuple[str, ...]:
    """Check order and unit of VV and VH by their medians; return warnings, usually none.

    VV exceeds VH nearly everywhere, by 6 dB over land and 2 dB over open water, and the median VH of areas larger than
    a town is below -13 dB. For amplitude both numbers are halved.

    Args:
        path: Image, for messages.
        values: Samples of VV and VH from the whole image in dB; NaN for no data.
        units: Units stated by the user.
        named_bands: Whether the bands of the image have names.

    Raises:
        InputError: The values are certainly in another unit, or VV and VH are swapped.
    """
    vv, vh = values[:, np.isfinite(values).all(axis=0)]
    if vv.size < _FEWEST:
        return ()
    both, apart = float(np.median([vv, vh])), float(np.median(vv - vh))
    if units == "dB x 100" and both > _LEAST_DB:
        raise InputError(
            f"{named(path)} has a median of {both:.2f} dB when read as dB x 100, expected below {_LEAST_DB:g}; if it "
            "is in dB, leave the units out"
        )
    if units == "linear" and both > _HIGHEST_DB:
        raise InputError(
            f"{named(path)} has a median power of {10 ** (both / 10):.3g}, expected below 1; if these are digital "
            "numbers, calibrate them first"
        )
    below = float(np.mean(vh > vv))
    if apart < _SWAPPED_DB and below > _SWAPPED_SHARE:
        found = f"band 2 is {-apart:.1f} dB above band 1, but VV exceeds VH nearly everywhere: they seem to be swapped"
        if named_bands:
            return (f"{found}, although the bands are named",)
        raise InputError(f"{named(path)}: {found}; expected VV, then VH ('gdal_translate -b 2 -b 1 IN OUT')")
    level = float(np.median(vh))
    if _LEAST_APART_DB <= apart < _MOST_APART_DB and level > _DOUBTFUL_DB:
        remedy = "square it first" if units == "linear" else "double the dB first"
        found = f"a median VH of {level:.1f} dB, {apart:.1f} dB below VV, is typical of amplitude"
        if level > _AMPLITUDE_DB:
            raise InputError(f"{named(path)}: {found}, expected power; {remedy}")
        return (f"{found} rather than of power; if so, {remedy}",)
    return ()
