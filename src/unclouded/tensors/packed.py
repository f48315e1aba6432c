"""A packed data set: the tensors that training reads, one record per patch, in one memory-mapped file.

    FOLDER/patches.bin      record after record: radar, cloudy and clear image, map m
    FOLDER/patches.csv      name, part and SHA-256 of every record, in their order
    FOLDER/store.json       layout of the records; written last, so that a folder without it is not a finished store

A store returns exactly the values that :class:`~unclouded.tensors.dataset.TripletDataset` reads from the GeoTIFFs.
"""

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy.typing import NDArray
from pydantic import PositiveInt
from torch import Tensor
from torch.utils.data import Dataset

from unclouded.clouds.map import CloudMapSettings
from unclouded.clouds.synthetic import SyntheticSettings
from unclouded.errors import InputError
from unclouded.files import decoding, explained, named, read_small, require_room, write_json, write_text
from unclouded.locks import held
from unclouded.patches.roi import roi_of
from unclouded.patches.splits import SplitName, parts_in
from unclouded.progress import ProgressCallback, no_progress
from unclouded.sensors import SENTINEL2
from unclouded.settings import Settings, settings_from
from unclouded.strict_json import read_json_object
from unclouded.tensors.dataset import TripletDataset
from unclouded.tensors.observation import Observation, Season, Triplet, positions

HEADER, RECORDS, NAMES = "store.json", "patches.bin", "patches.csv"
"""Files of a store."""

MAX_NAMES_BYTES = 256 << 20
"""Maximum size of the list of names; that of SEN12MS-CR has 12 MB."""


class StoreSettings(Settings):
    """Contents of the records of a store.

    Attributes:
        definition: Version of the layout.
        bands: Optical bands.
        clouds: Settings of the cloud map m.
        synthetic: Settings of synthetic clouds; None for observed ones.
        height: Rows of every record.
        width: Columns of every record.
        patches: Number of records.
        names_sha256: SHA-256 of the list of names and hashes.
    """

    definition: Literal["unclouded-store-1"] = "unclouded-store-1"
    bands: tuple[str, ...]
    clouds: CloudMapSettings
    synthetic: SyntheticSettings | None = None
    height: PositiveInt
    width: PositiveInt
    patches: PositiveInt
    names_sha256: str

    def record(self) -> np.dtype[Any]:
        """Return the data type of a record: dB, reflectance x 10,000 and m; synthetic clouds are not whole numbers."""
        size = (self.height, self.width)
        cloudy = "<f4" if self.synthetic else "<u2"
        optical = (len(self.bands), *size)
        return np.dtype(
            [("sar", "<f4", (2, *size)), ("cloudy", cloudy, optical), ("clear", "<u2", optical), ("m", "<f4", size)]
        )


class Row(NamedTuple):
    """Row of the list of names: patch name, part of the split, SHA-256 of the record, and latitude if known."""

    name: str
    part: str
    sha256: str
    latitude_deg: str = ""

    @property
    def season(self) -> Season | None:
        """Season in the name of the patch, and latitude."""
        if (roi := roi_of(self.name)) is None:
            return None
        return Season(roi.day_of_year, float(self.latitude_deg) if self.latitude_deg else None)


def is_store(folder: Path) -> bool:
    """Return whether a folder holds a packed data set, finished or not."""
    return (folder / HEADER).is_file() or (folder / RECORDS).is_file()


@dataclass(frozen=True)
class PackedDataset(Dataset[Triplet]):
    """Triplets of a store; the file is opened when an item is read, so that the dataset can be sent to workers.

    Attributes:
        folder: Folder of the store.
        settings: Contents of the records.
        rows: Rows of the selected records.
        places: Position of each of ``rows`` in the file.
        bands: Optical bands of observation and target.
        crop_px: Side of the centre crop; the whole record if None.
        ones: Replace m by 1 everywhere, the ablation of section III-B.3.
    """

    folder: Path
    settings: StoreSettings
    rows: tuple[Row, ...]
    places: tuple[int, ...]
    bands: tuple[str, ...]
    crop_px: int | None = None
    ones: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the patches."""
        return tuple(row.name for row in self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Triplet:
        record = self._record(index)
        bands = positions(self.bands, self.settings.bands)
        observation = Observation(
            self._tensor(record["sar"]),
            self._tensor(record["cloudy"][bands]),
            self._tensor(np.ones_like(record["m"][None]) if self.ones else record["m"][None]),
            self.bands,
            seasons=(self.rows[index].season,),
        )
        return Triplet(self.rows[index].name, observation, self.clear(index))

    def clear(self, index: int) -> Float[Tensor, "1 band h w"]:
        """Return the clear image of a patch, TOA reflectance."""
        return self._tensor(self._record(index)["clear"][positions(self.bands, self.settings.bands)])

    def subset(self, indices: Sequence[int]) -> "PackedDataset":
        """Return some of the triplets, in the order given."""
        rows, places = tuple(self.rows[i] for i in indices), tuple(self.places[i] for i in indices)
        return replace(self, rows=rows, places=places)

    def of_part(self, part: SplitName) -> "PackedDataset":
        """Return the triplets of one part of the split, or all.

        Raises:
            InputError: The part is empty.
        """
        chosen = [i for i, row in enumerate(self.rows) if part == "all" or row.part in parts_in(part)]
        if not chosen:
            there = ", ".join(sorted({row.part for row in self.rows}))
            raise InputError(
                f"{named(self.folder)} has no triplet in {part}, only in {there}; take another part or 'all'"
            )
        return self.subset(chosen)

    def check(self, index: int) -> Triplet:
        """Compare a record with its checksum and read it.

        Raises:
            InputError: The record is damaged.
        """
        if digest(self._record(index)) != self.rows[index].sha256:
            raise InputError(f"record {self.places[index]} of {named(self.folder / RECORDS)} is damaged; pack again")
        return self[index]

    def _record(self, index: int) -> NDArray[Any]:
        records = _mapped(self.folder / RECORDS, self.settings.record(), self.settings.patches)
        return np.asarray(records[self.places[index]])

    def _tensor(self, image: NDArray[Any]) -> Float[Tensor, "1 channel h w"]:
        height, width = image.shape[-2:]
        side = self.crop_px
        if side is not None:
            top, left = (height - side) // 2, (width - side) // 2
            image = image[..., top : top + side, left : left + side]
        values = image.astype(np.float32)
        if image.dtype.kind == "u":
            values /= np.float32(SENTINEL2.stored_per_unit)
        return torch.from_numpy(values)[None]


@lru_cache(maxsize=8)
def _mapped(path: Path, record: np.dtype[Any], count: int) -> NDArray[Any]:
    """Map the records of a file into memory, once per process."""
    return np.memmap(path, record, mode="r", shape=(count,))


def digest(record: NDArray[Any]) -> str:
    """Return the SHA-256 of a record."""
    return hashlib.sha256(np.ascontiguousarray(record).data).hexdigest()


def open_store(
    folder: Path, bands: tuple[str, ...] | None = None, crop_px: int | None = None, *, ones: bool = False
) -> PackedDataset:
    """Open a packed data set.

    Args:
        folder: Folder of the store.
        bands: Optical bands to read; all bands of the store if None.
        crop_px: Side of the centre crop; the whole record if None.
        ones: Replace m by 1 everywhere.

    Raises:
        InputError: The folder holds no finished store, the store lacks a band or is smaller than the crop, or its files
            do not belong together.
    """
    if not (folder / HEADER).is_file():
        raise InputError(f"{named(folder)} is not a finished store; run 'unclouded data pack' again to complete it")
    settings = _header(folder / HEADER)
    listed = read_small(folder / NAMES, MAX_NAMES_BYTES)
    if hashlib.sha256(listed).hexdigest() != settings.names_sha256:
        raise InputError(f"{named(folder / NAMES)} is not the list that was packed; pack again")
    expected = settings.patches * settings.record().itemsize
    found = (folder / RECORDS).stat().st_size if (folder / RECORDS).is_file() else 0
    if found != expected:
        raise InputError(f"{named(folder / RECORDS)} has {found:,} bytes, expected {expected:,}; copy it again")
    rows = parse_rows(folder / NAMES, listed)
    if len(rows) != settings.patches:
        raise InputError(f"{named(folder / NAMES)} has {len(rows):,} rows, expected {settings.patches:,}; pack again")
    shown = bands or settings.bands
    positions(shown, settings.bands)
    _require_crop(folder, settings, crop_px)
    return PackedDataset(folder, settings, rows, tuple(range(len(rows))), shown, crop_px, ones)


def _header(path: Path) -> StoreSettings:
    return settings_from(StoreSettings, read_json_object(path, 1 << 20, "pack again"), origin=named(path))


def _require_crop(folder: Path, settings: StoreSettings, crop_px: int | None) -> None:
    side = min(settings.height, settings.width)
    if crop_px is not None and (crop_px > side or (settings.height - crop_px) % 2 or (settings.width - crop_px) % 2):
        raise InputError(
            f"{named(folder)} holds {settings.height} x {settings.width} px, whose middle {crop_px} px cannot be cut;"
            " expected an even difference; pack with another --crop"
        )


def parse_rows(path: Path, listed: bytes) -> tuple[Row, ...]:
    """Parse a list of names, with or without latitudes; an incomplete last line is ignored.

    Args:
        path: File of the list, for the message.
        listed: Its content.

    Raises:
        InputError: The content is not text in UTF-8, or not csv of three or four columns.
    """
    with decoding(path, "is not a list of packed patches", "pack again into another folder"):
        text = listed[: listed.rfind(b"\n") + 1].decode("utf-8")
        lines = csv.reader(io.StringIO(text), strict=True)
        return tuple(Row._make([*cells, ""] if len(cells) == 3 else cells) for cells in lines)


def written_rows(rows: Iterable[Row]) -> str:
    """Return the text of a list of names."""
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows(rows)
    return lines.getvalue()


# Packing.


PLAN = "packing.json"
"""File with the settings of an unfinished store; a folder with other settings is refused."""

AT_ONCE = 32
"""Number of records between two calls of fsync."""


def pack(
    data: TripletDataset,
    parts: Mapping[str, str],
    folder: Path,
    on_progress: ProgressCallback = no_progress,
) -> PackedDataset:
    """Write triplets into a store; an interrupted run resumes after the last record whose checksum is right.

    Args:
        data: Triplets to pack, in this order and with this crop.
        parts: Part of the split of each name; ``"outside"`` for none.
        folder: Folder of the store.
        on_progress: Called with (stage, completed, total) after each record.

    Raises:
        InputError: A patch is damaged or of another size, or the folder holds another store.
        MachineError: The disk is full or too small.
        BusyError: Another process writes this store.
    """
    with held(folder):
        layout = _layout(data)
        plan = layout.model_dump(mode="json") | {"names_sha256": _sha256("\n".join(data.names))}
        if (folder / HEADER).is_file():
            return _finished(folder, plan)
        _start(folder, plan)
        rows = _rows_on_disk(folder, layout, data.names)
        require_room(folder, (len(data) - len(rows)) * layout.record().itemsize, "pack this data set")
        with explained(folder):
            _append(folder, layout, rows, data, parts, on_progress)
        listed = (folder / NAMES).read_text(encoding="utf-8")
        write_json(folder / HEADER, layout.model_dump(mode="json") | {"names_sha256": _sha256(listed)})
    return open_store(folder)


def _layout(data: TripletDataset) -> StoreSettings:
    height, width = data[0].clear.shape[-2:]
    return StoreSettings(
        bands=data.bands,
        clouds=data.clouds,
        synthetic=data.synthetic,
        height=height,
        width=width,
        patches=len(data),
        names_sha256="",
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _finished(folder: Path, plan: Mapping[str, Any]) -> PackedDataset:
    """Return the finished store, if its contents are the requested ones."""
    store = open_store(folder)
    there = store.settings.model_dump(mode="json") | {"names_sha256": _sha256("\n".join(store.names))}
    _require_same(folder, there, plan)
    return store


def _start(folder: Path, plan: Mapping[str, Any]) -> None:
    if (folder / PLAN).is_file():
        _require_same(folder, read_json_object(folder / PLAN), plan)
    elif (folder / RECORDS).exists():
        raise InputError(f"{named(folder)} holds records of unknown origin; choose another folder")
    else:
        write_json(folder / PLAN, plan)


def _require_same(folder: Path, found: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
    if differing := [key for key in plan if found.get(key) != plan[key]]:
        raise InputError(
            f"{named(folder)} holds another store (it differs in {', '.join(differing)}); choose another folder"
        )


def _rows_on_disk(folder: Path, layout: StoreSettings, names: Sequence[str]) -> list[Row]:
    """Return the rows up to the first whose record is missing or damaged."""
    if not (folder / NAMES).is_file() or not (folder / RECORDS).is_file():
        return []
    kept: list[Row] = []
    with (folder / RECORDS).open("rb") as records:
        listed = parse_rows(folder / NAMES, read_small(folder / NAMES, MAX_NAMES_BYTES))
        for name, row in zip(names, listed, strict=False):
            if row.name != name or hashlib.sha256(records.read(layout.record().itemsize)).hexdigest() != row.sha256:
                break
            kept.append(row)
    return kept


def _append(
    folder: Path,
    layout: StoreSettings,
    rows: list[Row],
    data: TripletDataset,
    parts: Mapping[str, str],
    on_progress: ProgressCallback,
) -> None:
    """Append the missing records; their rows are written after the records are on disk."""
    write_text(folder / NAMES, written_rows(rows))
    with (folder / RECORDS).open("ab") as records, (folder / NAMES).open("a", encoding="utf-8") as names:
        records.truncate(len(rows) * layout.record().itemsize)
        for start in range(len(rows), len(data), AT_ONCE):
            new: list[Row] = []
            for index in range(start, min(start + AT_ONCE, len(data))):
                triplet = data[index]
                record = _record(triplet, layout)
                records.write(record.tobytes())
                new.append(Row(triplet.name, parts[triplet.name], digest(record), _latitude(triplet.observation)))
                on_progress("packing", index + 1, len(data))
            _to_disk(records)
            names.write(written_rows(new))
            _to_disk(names)


def _latitude(seen: Observation) -> str:
    (season,) = seen.each_season()
    return str(season.latitude_deg) if season and season.latitude_deg is not None else ""


def _to_disk(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _record(triplet: Triplet, layout: StoreSettings) -> NDArray[Any]:
    if triplet.clear.shape[-2:] != (layout.height, layout.width):
        found = "x".join(str(side) for side in reversed(triplet.clear.shape[-2:]))
        raise InputError(
            f"{triplet.name} has {found} px, expected {layout.width}x{layout.height} as the first; pack equal patches"
        )
    seen = triplet.observation
    record = np.zeros((), layout.record())
    record["sar"], record["m"] = seen.sar[0].numpy(), seen.cloud_map[0, 0].numpy()
    record["clear"] = _whole_numbers(triplet.name, triplet.clear[0].numpy())
    cloudy = seen.cloudy[0].numpy()
    record["cloudy"] = cloudy if layout.synthetic else _whole_numbers(triplet.name, cloudy)
    return record


def _whole_numbers(name: str, reflectance: Float32[np.ndarray, "band h w"]) -> NDArray[np.uint16]:
    """Return reflectance x 10,000 as stored in the source.

    Raises:
        InputError: The conversion is not exact, for example for negative reflectance.
    """
    stored = np.rint(reflectance * np.float32(SENTINEL2.stored_per_unit))
    whole: NDArray[np.uint16] = np.clip(np.nan_to_num(stored), 0, 65535).astype(np.uint16)
    if not np.array_equal(whole.astype(np.float32) / np.float32(SENTINEL2.stored_per_unit), reflectance):
        raise InputError(f"{name} has reflectances that are not multiples of 0.0001 from 0; train from its GeoTIFFs")
    return whole
