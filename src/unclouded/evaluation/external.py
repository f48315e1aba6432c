"""Predictions of external methods: a folder with one GeoTIFF or ``.npy`` file per patch, named after the patch.

:func:`find_predictions` matches files to patches and determines bands and unit; :meth:`ExternalPredictions.read`
returns the prediction of a patch as TOA reflectance. The unit is inferred from data type and value range, compared
with the clear images, and refused where it is ambiguous.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import NDArray
from torch import Tensor

from unclouded.errors import InputError
from unclouded.files import decoding, named, open_file, require_folder
from unclouded.io.geotiff import ImageFile, read_grid, read_stored
from unclouded.io.raster import describe_grid, read, same_grid
from unclouded.patches.layouts import TripletFiles
from unclouded.patches.reading import SKIPPED
from unclouded.patches.roi import PatchId
from unclouded.sensors import RGB, SENTINEL2

SUFFIXES = (".tif", ".npy")

MAX_NPY_VALUES = 13 * 4096 * 4096
"""Largest number of values in a ``.npy`` file; a patch of 13 bands has 851,968."""

PROBED = 32
"""Number of files, equally spaced, that are read to find the unit."""

UNLIKE_CLEAR = 4.0
"""Ratio of a prediction's brightness to that of its clear image beyond which a warning about the unit is given."""

FIVEFOLD = (3.5, 7.0)
"""The same ratio for stored numbers divided by 2000, if the darkest and brightest values do not show the division."""

TOO_DARK = 0.1
"""The same ratio below which values are too dark for the stored integers that ``unit`` names."""

_CLOUD_MAP = "_cloud_map"  # suffix of the maps that 'unclouded predict-patches' writes beside predictions


# Unit of the stored values.


Unit = Literal["reflectance", "dn", "network", "uint8"]
"""TOA reflectance; reflectance x 10000; -1 to 1 for reflectance 0 to 1; 0 to 255 for reflectance 0 to 1."""


@dataclass(frozen=True)
class ExternalPredictions:
    """Prediction files by patch.

    Attributes:
        folder: Folder of the files.
        files: File by patch name.
        bands: Bands of every file: red, green, blue, or all 13.
        unit: Unit of the values after multiplication by ``scale``.
        scale: Divisor of reflectance x 10 000 in the stored values; None if there is none.
        unit_warning: Reason to doubt the unit; empty if there is none.
        unexpected_files: Names of files that belong to no patch of the split.
        missing: Names of patches without a file.
    """

    folder: Path
    files: dict[str, Path]
    bands: tuple[str, ...]
    unit: Unit
    unexpected_files: tuple[str, ...]
    missing: tuple[str, ...]
    scale: float | None = None
    unit_warning: str = ""

    @property
    def units(self) -> str:
        """Unit and scale as text."""
        return self.unit if self.scale is None else f"{self.unit} / {self.scale:g}"

    def read(self, files: TripletFiles) -> Float32[Tensor, "1 band h w"]:
        """Return the prediction of a patch as TOA reflectance of :attr:`bands`.

        Raises:
            InputError: The file is damaged, has holes, other bands, another size or grid than the clear image, or
                values that cannot have the unit.
        """
        path = self.files[files.name]
        values = _scaled(read_prediction(path, files.clear), self.scale)
        if len(values) != len(self.bands):
            raise InputError(
                f"{named(path)} has {len(values)} bands, others {len(self.bands)}; use the same bands in all files"
            )
        check_unit(self.unit, ValueRange.of(values), named(path))
        return torch.from_numpy(to_reflectance(values, self.unit))[None]


def find_predictions(
    folder: Path, patches: Sequence[TripletFiles], unit: Unit | None = None, scale: float | None = None
) -> ExternalPredictions:
    """Find the prediction of every patch, the bands and the unit of all.

    Args:
        folder: Files such as ``NAME.tif`` or ``NAME.npy``; an official name may have any sensor's token or none.
        patches: Patches to evaluate.
        unit: Unit of the values; inferred from their type and range if omitted.
        scale: Number that stored reflectance x 10 000 was divided by, such as the 2000 of DSen2-CR and UnCRtainTS.

    Raises:
        InputError: No file belongs to a patch, a patch has two files, or the unit is ambiguous or does not fit.
    """
    require_folder(folder)
    if scale is not None and not (0 < scale < math.inf and unit in (None, "dn")):
        raise InputError(f"a scale of {scale:g} is for units of dn, expected a positive number and no other unit")
    keys = {_key(files.name): files.name for files in patches}
    found: dict[str, Path] = {}
    unexpected_files = []
    for path in sorted(folder.iterdir()):
        name = keys.get(_key(path.stem)) if path.suffix in SUFFIXES else None
        if name is None:
            if not path.stem.endswith(_CLOUD_MAP) and not path.name.startswith(".") and path.name != SKIPPED:
                unexpected_files.append(path.name)
        elif name in found:
            raise InputError(f"{named(path)} and {found[name].name} are both of {name}; keep one of them")
        else:
            found[name] = path
    if not found:
        first = f", such as {unexpected_files[0]}" if unexpected_files else ""
        raise InputError(
            f"{named(folder)} holds no prediction of the {len(patches):,} patches, found {len(unexpected_files):,}"
            f" other files{first}; expected names such as {patches[0].name}.tif or .npy"
        )
    with_file = [files for files in patches if files.name in found]
    probe = _probe(found, with_file[:: -(-len(with_file) // PROBED)], scale)
    missing = tuple(files.name for files in patches if files.name not in found)
    used = "dn" if scale is not None else unit or find_unit(probe.seen)
    check_all(used, probe.seen, f"the folder {named(folder)}")
    unit_warning = probe.unit_warning(used)
    if unit is None and used == "reflectance" and FIVEFOLD[0] < probe.ratio(used) < FIVEFOLD[1]:
        raise InputError(
            f"{named(folder)}: {probe.words(used)}, as stored numbers divided by 2000 would; set it with {_SET_WITH}"
        )
    if unit_warning and used in ("dn", "uint8") and 0 < probe.ratio(used) < TOO_DARK:
        raise InputError(f"{named(folder)}: {unit_warning}; give another unit with --units or --scale")
    return ExternalPredictions(folder, found, probe.bands, used, tuple(unexpected_files), missing, scale, unit_warning)


def _key(name: str) -> str:
    """Return one key for all spellings of an official name; other names are their own keys."""
    try:
        return str(PatchId.parse(name))
    except InputError:
        return name


def _scaled(values: NDArray[np.generic], scale: float | None) -> NDArray[np.generic]:
    return values if scale is None else values.astype(np.float64) * scale


@dataclass(frozen=True)
class ValueRange:
    """Data type and range of stored values.

    Attributes:
        kind: ``"i"`` for integers, ``"f"`` for floating point.
        bits: Bits per value.
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


@dataclass(frozen=True)
class _Probe:
    """Bands, range and brightness of a sample of the files.

    Attributes:
        bands: Bands of the first file.
        seen: Range of all values.
        medians: Median of each prediction as stored, and of its clear image in reflectance.
    """

    bands: tuple[str, ...]
    seen: ValueRange
    medians: list[tuple[float, float]]

    def ratio(self, unit: Unit) -> float:
        """Return the median ratio of the brightness of predictions to that of the clear images, for a unit."""
        made = to_reflectance(np.array([one for one, _ in self.medians]), unit)
        return float(np.median(made / np.array([max(clear, 1e-3) for _, clear in self.medians])))

    def unit_warning(self, unit: Unit) -> str:
        """Return a warning if predictions in this unit would not be about as bright as the clear images."""
        ratio = self.ratio(unit)
        if 1 / UNLIKE_CLEAR < ratio < UNLIKE_CLEAR:
            return ""
        return self.words(unit)

    def words(self, unit: Unit) -> str:
        """Return how bright the predictions would be, for a message."""
        ratio = self.ratio(unit)
        return f"taken as {unit} the predictions have {ratio:.2g} times the reflectance of the clear images (median)"


def _probe(found: dict[str, Path], files: Sequence[TripletFiles], scale: float | None) -> _Probe:
    """Read a sample of the files; those with a damaged clear image are left to the evaluation."""
    bands: tuple[str, ...] = ()
    seen: ValueRange | None = None
    medians = []
    for one in files:
        try:
            clear = read(one.clear, SENTINEL2) if one.clear is not None else None
        except InputError:
            if one is not files[-1] or seen is not None:
                continue
            raise
        image = _scaled(read_prediction(found[one.name], one.clear), scale)
        bands = bands or (RGB if len(image) == len(RGB) else SENTINEL2.bands)
        seen = ValueRange.of(image) if seen is None else seen.joined(ValueRange.of(image))
        if clear is not None:
            shown = clear.select(RGB if len(image) == len(RGB) else SENTINEL2.bands)
            medians.append((float(np.median(image.astype(np.float64))), float(np.nanmedian(shown.values))))
    assert seen is not None
    return _Probe(bands, seen, medians)


def read_prediction(path: Path, clear: ImageFile | None) -> NDArray[np.generic]:
    """Read the stored values of a prediction: bands, rows, columns.

    Args:
        path: GeoTIFF or ``.npy``.
        clear: Clear image of the patch, with the expected size and, where both are georeferenced, the expected grid.

    Raises:
        InputError: The file is damaged or too large, has another number of bands or another size, or has holes.
    """
    if clear is None:
        raise InputError(f"{named(path)} has no clear image to compare with; expected a complete triplet")
    grid = read_grid(clear)
    size = (int(grid.shape.y), int(grid.shape.x))
    if path.suffix == ".npy":
        values = _bands_first(path, _read_npy(path), size)
    else:
        stored = read_stored(path)
        values = _bands_first(path, stored.values, size)
        if stored.geobox.crs and grid.crs and not same_grid(stored.geobox, grid):
            raise InputError(
                f"{named(path)} lies on another grid than {clear.name}: {describe_grid(stored.geobox)}, expected"
                f" {describe_grid(grid)}; predict on the grid of the patch"
            )
        _require_order(path, stored.descriptions)
        if stored.is_gap.any():
            raise InputError(f"{named(path)} has pixels without data; a prediction must have a value at every pixel")
    if not np.isfinite(values).all():
        raise InputError(f"{named(path)} holds NaN or infinity; a prediction must have a value at every pixel")
    return values


def _bands_first(path: Path, values: NDArray[np.generic], shape: tuple[int, int]) -> NDArray[np.generic]:
    """Return an image of 3 or 13 bands with the band axis first, whether it is first or last in the file."""
    first, last = (3, *shape), (*shape, 3)
    fits = [n for n in (3, 13) for one in ((n, *shape), (*shape, n)) if values.shape == one]
    if len(fits) != 1:
        expected = f"{first}, {last}, or the same with 13"
        raise InputError(f"{named(path)} has the shape {values.shape}, expected {expected}; cut it to its patch")
    return values if values.shape[0] == fits[0] and values.shape[1:] == shape else np.moveaxis(values, 2, 0)


def _require_order(path: Path, descriptions: Sequence[str | None]) -> None:
    """Check that band names are in the order of the sensor; files without band names are accepted."""
    expected = RGB if len(descriptions) == len(RGB) else SENTINEL2.bands
    try:
        found = SENTINEL2.named(name or "" for name in descriptions)
    except InputError:
        return
    if found != expected:
        raise InputError(f"{named(path)} has the bands {' '.join(found)}, expected {' '.join(expected)}; reorder them")


def _read_npy(path: Path) -> NDArray[np.generic]:
    """Read a ``.npy`` file of numbers: its header first, and never a pickle."""
    fault = "is not a complete .npy file of numbers"
    with open_file(path) as file, decoding(path, fault, "write it again"), warnings.catch_warnings():
        warnings.simplefilter("error")
        version = np.lib.format.read_magic(file)
        reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = reader[version](file)
        _require_size(path, shape, dtype, path.stat().st_size - file.tell())
        file.seek(0)
        return np.asarray(np.load(file, allow_pickle=False))


def _require_size(path: Path, shape: tuple[int, ...], dtype: np.dtype[np.generic], found: int) -> None:
    if dtype.kind not in "uif" or len(shape) != 3:
        raise InputError(f"{named(path)} holds {dtype} of shape {shape}, expected numbers: bands, rows, columns")
    values = int(np.prod([int(side) for side in shape], dtype=object))
    if values > MAX_NPY_VALUES:
        raise InputError(f"{named(path)} declares {values:,} values, expected at most {MAX_NPY_VALUES:,}")
    if values * dtype.itemsize != found:
        raise InputError(f"{named(path)} declares {values * dtype.itemsize:,} bytes and has {found:,}; write it again")


UNITS: tuple[Unit, ...] = ("reflectance", "dn", "network", "uint8")

_SET_WITH = f"--units {'|'.join(UNITS)}, or --scale"

_DARKEST = -0.1
"""Lower bound of reflectance: DN 0 with the radiometric offset of -1000."""

_BRIGHTEST = 2.0
"""Upper bound of reflectance; the brightest cloud of the data set has 1.7."""

_DARKEST_IMAGE: dict[str, float] = {"dn": 200, "uint8": 5}
"""Values of reflectance 0.02, which every image exceeds somewhere: atmospheric scattering in blue alone is more."""


def find_unit(found: ValueRange) -> Unit:
    """Return the unit that data type and range allow for many clear images.

    The darkest pixel is assumed to be below a reflectance of 0.45, which is below -0.1 in network values.

    Raises:
        InputError: Type and range allow several units, or none.
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
    raise InputError(f"the predictions hold {found}, which may be {_readings(found)}; name the unit with {_SET_WITH}")


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
    """Raise if the values of an image are out of range for a unit.

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
    """Raise if the joint range of many images contradicts a unit that each image alone would allow.

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
    """Convert values to TOA reflectance."""
    numbers = values.astype(np.float64)
    match unit:
        case "dn":
            numbers /= 10_000
        case "network":
            numbers = (numbers + 1) / 2
        case "uint8":
            numbers /= 255
    return numbers.astype(np.float32)
