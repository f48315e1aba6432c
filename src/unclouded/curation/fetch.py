"""Download of the products that a search proposed, before they are cut, and their removal afterwards.

``unclouded data search`` writes the items of the proposed products to ``products.json``; :func:`plan_fetch` compares
them with the folders beside it, :func:`fetch_products` downloads what is missing, and :func:`remove_products` removes
what was downloaded.
"""

import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unclouded.acquisition.choice import Found
from unclouded.acquisition.credentials import Credentials
from unclouded.acquisition.products import RemoteProduct, fetch_product, predicted_room, remote_product
from unclouded.catalogue.stac import record_of
from unclouded.errors import InputError
from unclouded.files import named, require_room, write_json
from unclouded.io.download import RetryPolicy
from unclouded.locks import held
from unclouded.progress import ProgressCallback, no_progress
from unclouded.strict_json import read_json_object

ITEMS = "products.json"
RADAR_FOLDER, OPTICAL_FOLDER = "s1", "s2"
"""Folders beside the regions file in which it expects the products."""
MAX_BYTES = 256 << 20
MAX_FAILED_IN_A_ROW = 3
"""Consecutive products that cannot be fetched after which the rest is not tried."""
_RATE, _FETCHED = ".rate.json", ".{}.fetched.json"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FetchPlan:
    """Products of a search, and which of them are missing.

    Attributes:
        folder: Folder of the regions file.
        products: Folder of each product, by the product.
        missing: Products that are not there yet.
        bytes_s: Mean rate of earlier downloads, bytes per second; None before the first one.
    """

    folder: Path
    products: tuple[tuple[RemoteProduct, Path], ...]
    missing: tuple[tuple[RemoteProduct, Path], ...]
    bytes_s: float | None = None

    @property
    def bytes(self) -> int:
        """Bytes to fetch."""
        return sum(product.bytes for product, _ in self.missing)

    def __str__(self) -> str:
        count, all_of_them = len(self.missing), len(self.products)
        if not count:
            return f"all {all_of_them:,} products are there"
        room = predicted_room([product for product, _ in self.missing])
        when = f", {self.bytes / self.bytes_s / 3600:.1f} h at the rate of earlier downloads" if self.bytes_s else ""
        return f"{count:,} of {all_of_them:,} products to fetch, {room}{when}"


def plan_fetch(regions: Path) -> FetchPlan:
    """Compare the products of a search with those on disk.

    Args:
        regions: Regions file, with ``products.json`` beside it.

    Raises:
        InputError: There is no such list, or an item has no files that can be fetched.
    """
    folder = regions.parent
    path = folder / ITEMS
    if not path.is_file():
        raise InputError(f"{named(path)} is missing, the list of products to fetch; 'unclouded data search' writes it")
    features = read_json_object(path, MAX_BYTES, "expected the items of products").get("features")
    if not isinstance(features, list):
        raise InputError(f"{named(path)} has no list of items; search again")
    products: list[tuple[RemoteProduct, Path]] = []
    for item in features:
        record = record_of(item)
        where = folder / (RADAR_FOLDER if record.kind == "radar" else OPTICAL_FOLDER)
        products.append((remote_product(Found(record, item)), where))
    missing = [(product, where) for product, where in products if not _is_there(product, where)]
    return FetchPlan(folder, tuple(products), tuple(missing), _rate(folder))


def _is_there(product: RemoteProduct, where: Path) -> bool:
    """Return whether a product is complete: fetched here, or put there by hand under any usual name."""
    stem = product.name.removesuffix(".zip").removesuffix(".SAFE")
    if (where / product.name).exists():
        return True
    return any((where / f"{stem}{suffix}").exists() for suffix in (".SAFE", ".SAFE.zip", ".zip", ""))


def fetch_products(
    plan: FetchPlan,
    credentials: Credentials,
    on_progress: ProgressCallback = no_progress,
    retry: RetryPolicy | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, str]:
    """Fetch the missing products of a plan; return the reasons of those that cannot be fetched, by name.

    Args:
        plan: Products.
        credentials: Credentials of the archive.
        on_progress: Called with (stage, bytes done, total bytes).
        retry: Timeouts and attempts; the defaults if omitted.
        clock: Function that returns seconds.

    Raises:
        BusyError: Another process is fetching into the folder.
        InputError: Several products in a row cannot be fetched.
        MachineError: Not enough disk space.
    """
    failures: dict[str, str] = {}
    in_a_row = done = 0
    with held(plan.folder):
        require_room(plan.folder, plan.bytes, "fetch the products")
        for product, where in plan.missing:
            started = clock()
            try:
                fetch_product(product, where, credentials, on_progress, retry)
                in_a_row = 0
            except InputError as error:
                failures[product.name], in_a_row = str(error), in_a_row + 1
                if in_a_row == min(MAX_FAILED_IN_A_ROW, len(plan.missing)):
                    raise
                continue
            done += product.bytes
            _note_rate(plan.folder, product.bytes, clock() - started)
            on_progress("fetching products", done, plan.bytes)
    return failures


def remove_products(plan: FetchPlan) -> int:
    """Remove the products that were fetched, not those put there by hand; return the bytes freed."""
    freed = 0
    for product, where in plan.products:
        target, record = where / product.name, where / _FETCHED.format(product.name)
        if not (record.is_file() and target.exists()):
            continue
        files = [target] if target.is_file() else [one for one in target.rglob("*") if one.is_file()]
        freed += sum(one.stat().st_size for one in files)
        record.unlink()
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink()
    return freed


def _rate(folder: Path) -> float | None:
    try:
        content: Mapping[str, Any] = read_json_object(folder / _RATE, 1 << 12)
        return float(content["bytes"]) / float(content["seconds"])
    except (InputError, KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def _note_rate(folder: Path, count: int, seconds: float) -> None:
    """Add a download to the sums from which the rate of later ones is predicted."""
    try:
        known: Mapping[str, Any] = read_json_object(folder / _RATE, 1 << 12)
        total, spent = float(known["bytes"]), float(known["seconds"])
    except (InputError, KeyError, TypeError, ValueError):
        total = spent = 0.0
    write_json(folder / _RATE, {"bytes": total + count, "seconds": spent + max(seconds, 1e-3)})
