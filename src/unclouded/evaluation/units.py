"""The unit of somebody else's predictions: known from type and range, or refused."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unclouded.errors import InputError

Unit = Literal["reflectance", "dn", "network", "uint8"]
"""TOA reflectance; reflectance x 10000; -1 to 1 for reflectance 0 to 1; 0 to 255 for reflectance 0 to 1."""
UNITS: tuple[Unit, ...] = ("reflectance", "dn", "network", "uint8")

_DARKEST = -0.1
"""Reflectance below which nothing is: what an offset of -1000 leaves of 0."""
_BRIGHTEST = 2.0
"""Reflectance above which no pixel is; the brightest cloud of the data set has 1.7."""

_DARKEST_IMAGE: dict[str, float] = {"dn": 200, "uint8": 5}
"""A reflectance of 0.02, which some band of some pixel of any image exceeds: the air alone scatters more blue."""


@dataclass(frozen=True)
class ValueRange:
    """What is known of values before their unit is.

    Attributes:
        kind: ``"i"`` for integers, ``"f"`` for floating point.
        bits: Of one value.
        low: Smallest value.
        high: Largest value.
    """

    kind: str
    bits: int
    low: float
    high: float

    @classmethod
    def of(cls, values: NDArray[np.generic]) -> "ValueRange":
        """Return the range of an image."""
        kind = "f" if values.dtype.kind == "f" else "i"
        return cls(kind, values.dtype.itemsize * 8, float(values.min()), float(values.max()))

    def joined(self, other: "ValueRange") -> "ValueRange":
        """Return the range of both."""
        kind = self.kind if self.kind == other.kind else "f"
        return ValueRange(kind, max(self.bits, other.bits), min(self.low, other.low), max(self.high, other.high))

    def __str__(self) -> str:
        return f"{'integers' if self.kind == 'i' else 'floating point'} from {self.low:.4g} to {self.high:.4g}"


def find_unit(found: ValueRange) -> Unit:
    """Return the unit that type and range allow, when the images are many and clear.

    Their darkest pixel is taken to be darker than a reflectance of 0.45; from -1 to 1 it lies below -0.1 then.

    Raises:
        InputError: They allow two, or none.
    """
    if found.kind == "i" and found.bits > 8 and found.low >= 0 and found.high > 255:
        return "dn"
    if found.kind == "f":
        if found.low < _DARKEST and found.low >= -1.0 and found.high <= 1.0:
            return "network"
        if found.low >= _DARKEST and found.high > 255:
            return "dn"
        if found.low >= _DARKEST and 0.0 < found.high <= _BRIGHTEST and found.low < 0.5:
            return "reflectance"
    told_by = f"--units {'|'.join(UNITS)}, or --scale"
    raise InputError(f"the predictions hold {found}, which may be {_readings(found)}; say which with {told_by}")


def _readings(found: ValueRange) -> str:
    if found.low < 0 and found.kind == "i":
        return "anything signed"
    if found.high <= 1.0 and found.low >= _DARKEST and found.kind == "f":
        return "reflectance or -1 to 1"
    if found.low >= _DARKEST and 1.0 < found.high <= 255:
        scaled = " divided by 2000, as of DSen2-CR and UnCRtainTS, or by 100, percent" if found.kind == "f" else ""
        return f"reflectance x 10000{scaled}, or a picture of 0 to 255 that was stretched for display"
    return "nothing known"


def check_unit(unit: Unit, found: ValueRange, name: str) -> None:
    """Refuse an image whose values cannot have a unit.

    Raises:
        InputError: Names the image, its range and that of the unit.
    """
    low, high = {
        "reflectance": (_DARKEST, _BRIGHTEST),
        "dn": (_DARKEST * 10_000, 65_535.0),
        "network": (-1.0, 1.0),
        "uint8": (0.0, 255.0),
    }[unit]
    too_dark = 0 < found.high < _DARKEST_IMAGE.get(unit, 0)
    if found.low < low - 1e-6 or found.high > high + 1e-6 or too_dark:
        expected = f"{unit} of {low:g} to {high:g}" + (f", with more than {_DARKEST_IMAGE[unit]}" if too_dark else "")
        raise InputError(
            f"{name} holds {found}, expected {expected}; are all predictions of one kind? see --units, --scale"
        )


def check_all(unit: Unit, found: ValueRange, name: str) -> None:
    """Refuse a range of many images that cannot have a unit, though each of them could.

    Raises:
        InputError: Names the folder, its range and that of the unit.
    """
    check_unit(unit, found, name)
    if unit == "network" and found.low >= 0:
        raise InputError(
            f"{name} holds {found}, expected -1 to 1 with dark pixels below 0 (a reflectance of 0.5); is this "
            "reflectance? see --units, --scale"
        )


def to_reflectance(values: NDArray[np.generic], unit: Unit) -> NDArray[np.float32]:
    """Turn values into TOA reflectance."""
    numbers = values.astype(np.float64)
    match unit:
        case "dn":
            numbers /= 10_000
        case "network":
            numbers = (numbers + 1) / 2
        case "uint8":
            numbers /= 255
    return numbers.astype(np.float32)
