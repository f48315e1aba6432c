"""Units in which radar GeoTIFFs come: said by the user, checked against the numbers, never guessed."""

from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float32

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.scenes.calibration import to_db
from unclouded.scenes.radar_gaps import FILLS
from unclouded.sensors import SENTINEL1, Sensor

RadarUnits = Literal["dB", "linear", "dB x 100"]

_STORED_AS: dict[str, Sensor] = {
    "dB": replace(SENTINEL1, no_data=FILLS),
    "linear": replace(SENTINEL1, unit="linear power", clip=(0.0, 1.0), no_data=FILLS),
    "dB x 100": replace(SENTINEL1, dtypes=("int16", "int32", "float32"), stored_per_unit=100.0, no_data=FILLS),
}
_LEAST_DB = -1.0
"""Highest median of a scene in dB: values of dB that were taken for dB x 100 lie above."""


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


def check_median(path: Path, values: Float32[np.ndarray, "band rows x"], units: RadarUnits) -> None:
    """Refuse dB that were said to be dB x 100.

    Raises:
        InputError: Half of the scene is above -1 dB.
    """
    valid = values[np.isfinite(values)]
    if units == "dB x 100" and valid.size and (median := float(np.median(valid))) > _LEAST_DB:
        raise InputError(f"{named(path)} has a median of {median:.2f} dB as dB x 100; is it in dB? leave the units out")
