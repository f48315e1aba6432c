"""Shards of a curation on machines without a common folder: the record of each, and the data set merged from all.

Every shard writes a record of its regions to :data:`SHARDS` below its root, and to the storage it uploads to, once its
tasks are done or failed. :func:`merge` makes the data set, and :func:`merge_in_storage` the manifest, that a single run
would have made.
"""

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from unclouded.batch.executors import Shard
from unclouded.batch.storage import get, is_url, objects_below, put, read_object, shown
from unclouded.batch.tasks import TaskLedger, content_id
from unclouded.batch.upload import Output
from unclouded.catalogue.triplets import joined_tables
from unclouded.curation.leases import WORK, choices_of, lease_of, leased_regions, write_lease
from unclouded.curation.region_task import CurateRegion
from unclouded.curation.results import decided, failed_rows, outputs, rows_of_leases, screened_rows, write_choices
from unclouded.errors import InputError
from unclouded.files import named, require_room, resolved, sha256, write_json, write_text
from unclouded.patches.manifest import FAILED, ManifestRow, write_manifest
from unclouded.patches.roi import CHOICES, MANIFEST, Roi
from unclouded.patches.screening import ScreeningSettings
from unclouded.patches.splits import PARTS
from unclouded.progress import ProgressCallback, no_progress
from unclouded.strict_json import parse_json

SHARDS = f"{WORK}/shards"
"""Folder of the records, below the root of a data set and below the URL of an upload."""
MAX_BYTES = 1 << 30
"""Largest record of a shard; a region of 1,170 patches takes 2 MB."""
_RECORD = re.compile(rf"{re.escape(SHARDS)}/([0-9]{{1,9}})-of-([0-9]{{1,9}})\.json")
_FILE = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9_-]*/){1,4}[A-Za-z0-9][A-Za-z0-9_-]*\.tif")
"""Path of an image relative to the root; no part of it begins with a dot."""


def write_record(root: Path, shard: Shard, tasks: Sequence[CurateRegion], ledger: TaskLedger) -> Path | None:
    """Write the record of a shard once its tasks are done or failed; return its path, None if tasks are pending.

    Args:
        root: Root folder of the data set of this machine.
        shard: The shard.
        tasks: Tasks of all shards.
        ledger: Records of the tasks.
    """
    own = shard.of(tasks)
    if ledger.pending(own):
        return None
    failures = ledger.failures(own)
    regions = [
        {
            "lease": {**(lease_of(root, task.name) or {}), "roi": task.name},
            "split": task.region.split,
            "rows": ledger.rows([task]),
            "choices": table.read_text(encoding="utf-8") if (table := choices_of(root, task.name)).is_file() else "",
        }
        for task in own
        if task.name not in failures
    ]
    settings = [task.settings.model_dump(mode="json", exclude={"regions"}) for task in tasks[:1]]
    path = root / SHARDS / f"{shard.number}-of-{shard.count}.json"
    record = {
        "list": content_id("shards 1", sorted(task.name for task in tasks), settings),
        "apart_km": tasks[0].settings.apart_km,
        "regions": regions,
        "failed": failed_rows(own, failures),
    }
    write_json(path, record)
    return path


class _Source(NamedTuple):
    """Record of a shard, and the URL of the folder with its images."""

    url: str
    record: Mapping[str, Any]


def merge(sources: Sequence[str], out: Path, on_progress: ProgressCallback = no_progress) -> list[ManifestRow]:
    """Copy the images of all shards into one data set, compare them with their hashes, and write its manifest.

    The data set is as if made by a single run: the same files and bytes, and a later ``curate`` continues it. Copied
    images are not copied again.

    Args:
        sources: Folders or URLs of the shards.
        out: Root of the data set.
        on_progress: Called with (stage, completed, total) after every image.

    Returns:
        Rows of the manifest.

    Raises:
        InputError: Shards are missing or of different lists, an image differs from its hash, or the data set holds a
            region made of other products.
    """
    shards = _complete(sources)
    regions = [(shard.url, region) for shard in shards for region in shard.record["regions"]]
    for _, region in regions:
        lease = lease_of(out, region["lease"]["roi"])
        if lease is not None and lease["id"] != region["lease"]["id"]:
            raise InputError(
                f"{named(out)} holds {region['lease']['roi']} made of other products; choose another folder"
            )
    images = [(url, one) for url, region in regions for one in _images(region)]
    missing = [(url, one) for url, one in images if not _holds(out / one.name, one)]
    sizes = {url: objects_below(url) for url in {url for url, _ in missing}}
    require_room(out, sum(sizes[url].get(one.name, 0) for url, one in missing), f"merge into {named(out)}")
    for done, (url, one) in enumerate(missing, start=1):
        get(f"{url}/{one.name}", out / one.name, str(one.sha256))
        on_progress("merging", done, len(missing))
    ledger = TaskLedger(out / WORK)
    (ledger.path / "locks").mkdir(parents=True, exist_ok=True)
    for _, region in regions:
        _restore(out, ledger, region)
    with FileLock(ledger.path / "locks" / "manifest"):
        failed = [row for shard in shards for row in shard.record["failed"]]
        present = leased_regions(out)
        rows = [*rows_of_leases(out, ledger, {}), *(row for row in failed if row["roi"] not in present)]
        parts = {region["lease"]["roi"]: region["split"] for _, region in regions}
        listed = decided(rows, parts, shards[0].record["apart_km"], out)
        write_manifest(out / MANIFEST, listed)
        write_choices(out, leased_regions(out))
    return listed


def merge_in_storage(url: str) -> list[ManifestRow]:
    """Write the manifest, and the table of choices, of shards that were all uploaded to one URL.

    Raises:
        InputError: Shards are missing or of different lists, or an image is missing.
    """
    shards = _complete([url])
    regions = [region for shard in shards for region in shard.record["regions"]]
    present = objects_below(url)
    images = [one.name for region in regions for one in _images(region)]
    if absent := [name for name in images if name not in present]:
        raise InputError(f"{shown(url)} lacks {absent[0]} and {len(absent) - 1:,} more images; upload the shards again")
    rows = [row for region in regions for row in screened_rows(region["rows"], _screening(region))]
    rows += [row for shard in shards for row in shard.record["failed"]]
    parts = {region["lease"]["roi"]: region["split"] for region in regions}
    listed = decided(rows, parts, shards[0].record["apart_km"], None)
    with tempfile.TemporaryDirectory(prefix="unclouded-") as folder:
        files = [Path(folder) / MANIFEST]
        write_manifest(files[0], listed)
        tables = [region["choices"] for region in sorted(regions, key=lambda one: str(one["lease"]["roi"]))]
        if found := [table for table in tables if table]:
            files.insert(0, Path(folder) / CHOICES)
            write_text(files[0], joined_tables(found))
        for file in files:
            put(file, f"{url}/{file.name}", sha256(file))
    return listed


def _complete(sources: Iterable[str]) -> list[_Source]:
    """Return the shards of one list by number.

    Raises:
        InputError: Names the missing shards, or two that do not belong together.
    """
    found: dict[int, _Source] = {}
    count = 0
    for url in (source.rstrip("/") if is_url(source) else f"file://{resolved(Path(source))}" for source in sources):
        matches = [match for name in objects_below(url, SHARDS) if (match := _RECORD.fullmatch(name))]
        if not matches:
            raise InputError(f"{shown(url)} holds no record of a shard; run 'unclouded curate --shard i/n' to its end")
        for match in matches:
            record = _checked(parse_json(read_object(f"{url}/{match[0]}", MAX_BYTES), match[0]), match[0])
            number, count = int(match[1]), count or int(match[2])
            one = next(iter(found.values()), None)
            if count != int(match[2]) or (one and one.record["list"] != record["list"]):
                raise InputError(
                    f"{shown(url)}: shard {match[1]} of {match[2]} is of another list of regions; leave it out"
                )
            if number in found and found[number].record != record:
                raise InputError(f"{shown(url)} and {shown(found[number].url)} differ in shard {number}; leave one out")
            found.setdefault(number, _Source(url, record))
    if missing := [str(number) for number in range(1, count + 1) if number not in found]:
        raise InputError(f"shards {', '.join(missing[:9])} of {count} are missing; let them end, or name their folders")
    return [found[number] for number in sorted(found)]


def _checked(record: Any, name: str) -> Mapping[str, Any]:
    """Return a record with the expected keys, safe names of regions and safe paths of images."""
    try:
        for region in record["regions"]:
            Roi.parse(region["lease"]["roi"])
            if not re.fullmatch("[0-9a-f]{64}", region["lease"]["id"]):
                raise KeyError("id")
            if not isinstance(region["choices"], str) or region["split"] not in (None, *PARTS):
                raise KeyError("choices or split")
            if unsafe := [one.name for one in _images(region) if not _FILE.fullmatch(one.name)]:
                raise InputError(f"{name} lists {unsafe[0][:80]!r}, which is no image of a data set")
        if not all(row["status"] == FAILED and Roi.parse(row["roi"]) for row in record["failed"]):
            raise KeyError("failed")
        float(record["apart_km"]), str(record["list"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{name} is no record of a shard (lacks {error}); run the shard again") from error
    return dict(record)


def _images(region: Mapping[str, Any]) -> list[Output]:
    return list(dict.fromkeys(one for row in region["rows"] for one in outputs(row)))


def _screening(region: Mapping[str, Any]) -> ScreeningSettings:
    return ScreeningSettings(**region["lease"].get("screening", {}))


def _holds(path: Path, image: Output) -> bool:
    return path.is_file() and sha256(path) == image.sha256


def _restore(out: Path, ledger: TaskLedger, region: Mapping[str, Any]) -> None:
    """Write the lease of a region, its record in the ledger, and its choices."""
    lease = dict(region["lease"])
    roi = lease.pop("roi")
    if region["choices"]:
        write_text(choices_of(out, roi), region["choices"])
    ledger.restore(lease["id"], roi, region["rows"])
    write_lease(out, roi, lease)
