"""Pack a data set into a store: resumable, and no store before its last byte is on disk."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from unclouded.errors import InputError
from unclouded.files import explained, named, read_small, require_room, write_json, write_text
from unclouded.locks import held
from unclouded.sensors import SENTINEL2
from unclouded.strict_json import read_json_object
from unclouded.tensors.dataset import TripletDataset
from unclouded.tensors.store import (
    HEADER,
    MAX_NAMES_BYTES,
    NAMES,
    RECORDS,
    PackedTriplets,
    Row,
    StoreSettings,
    digest,
    open_store,
    read_rows,
    written_rows,
)
from unclouded.tensors.triplet import Triplet

PLAN = "packing.json"
"""What is being packed; a folder that holds another plan is not touched."""
AT_ONCE = 32
"""Records between two moments at which everything is on disk."""

Told = Callable[[int, int], object]


def pack(
    data: TripletDataset, parts: Mapping[str, str], folder: Path, told: Told = lambda done, total: None
) -> PackedTriplets:
    """Write triplets into a store; what a killed packing had on disk is verified and kept.

    Args:
        data: What to pack, in this order; its crop is what the records hold.
        parts: The part of the split of each name; ``"outside"`` where there is none.
        folder: Of the store.
        told: Called with how many records are there and how many there will be.

    Raises:
        InputError: A patch is damaged or of another size, or the folder holds something else.
        MachineError: The disk is full or too small.
        BusyError: Another process packs into this folder.
    """
    with held(folder):
        layout = _layout(data)
        plan = layout.model_dump(mode="json") | {"names_sha256": _sha256("\n".join(data.names))}
        if (folder / HEADER).is_file():
            return _finished(folder, plan)
        _take_up(folder, plan)
        rows = _rows_on_disk(folder, layout, data.names)
        require_room(folder, (len(data) - len(rows)) * layout.record().itemsize, "pack this data set")
        with explained(folder):
            _append(folder, layout, rows, data, parts, told)
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


def _finished(folder: Path, plan: Mapping[str, Any]) -> PackedTriplets:
    """Return the store that is there already, if it is the one that is wanted."""
    store = open_store(folder)
    there = store.settings.model_dump(mode="json") | {"names_sha256": _sha256("\n".join(store.names))}
    _require_same(folder, there, plan)
    return store


def _take_up(folder: Path, plan: Mapping[str, Any]) -> None:
    if (folder / PLAN).is_file():
        _require_same(folder, read_json_object(folder / PLAN), plan)
    elif (folder / RECORDS).exists():
        raise InputError(f"{named(folder)} holds records of unknown origin; choose another folder")
    else:
        write_json(folder / PLAN, plan)


def _require_same(folder: Path, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if differing := [key for key in wanted if there.get(key) != wanted[key]]:
        raise InputError(
            f"{named(folder)} holds another store (it differs in {', '.join(differing)}); choose another folder"
        )


def _rows_on_disk(folder: Path, layout: StoreSettings, names: Sequence[str]) -> list[Row]:
    """Return the rows whose records are whole, up to the first that is not."""
    if not (folder / NAMES).is_file() or not (folder / RECORDS).is_file():
        return []
    kept: list[Row] = []
    with (folder / RECORDS).open("rb") as records:
        for name, row in zip(names, read_rows(read_small(folder / NAMES, MAX_NAMES_BYTES)), strict=False):
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
    told: Told,
) -> None:
    """Write the records that are not there yet; their rows follow when they are on disk."""
    write_text(folder / NAMES, written_rows(rows))
    with (folder / RECORDS).open("ab") as records, (folder / NAMES).open("a", encoding="utf-8") as names:
        records.truncate(len(rows) * layout.record().itemsize)
        for start in range(len(rows), len(data), AT_ONCE):
            new: list[Row] = []
            for index in range(start, min(start + AT_ONCE, len(data))):
                triplet = data[index]
                record = _record(triplet, layout)
                records.write(record.tobytes())
                new.append(Row(triplet.name, parts[triplet.name], digest(record)))
                told(index + 1, len(data))
            _to_disk(records)
            names.write(written_rows(new))
            _to_disk(names)


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
    """Return reflectance x 10 000 as it was stored.

    Raises:
        InputError: The numbers do not come back exactly; negative reflectance, for one.
    """
    stored = np.rint(reflectance * np.float32(SENTINEL2.stored_per_unit))
    whole: NDArray[np.uint16] = np.clip(np.nan_to_num(stored), 0, 65535).astype(np.uint16)
    if not np.array_equal(whole.astype(np.float32) / np.float32(SENTINEL2.stored_per_unit), reflectance):
        raise InputError(f"{name} has reflectances that are no whole numbers x 0.0001 from 0; train from its GeoTIFFs")
    return whole
