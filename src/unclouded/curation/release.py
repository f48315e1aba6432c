"""Release of a data set: archives per season and sensor, data card, licence, citation, changes, checksums, STAC items.

Every file is compared with its hash in the manifest while it is packed. The same data set gives the same bytes.
"""

import gzip
import hashlib
import io
import json
import re
import shutil
import tarfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from unclouded.curation.taco_export import require_taco, write_taco
from unclouded.errors import InputError
from unclouded.files import explained, named, open_file, require_room, sha256, write_text
from unclouded.io.geoparquet import TIME, geo_table, with_metadata, write_table
from unclouded.patches.consistency import manifest_faults, place_of
from unclouded.patches.manifest import FAILED, ManifestRow, as_written, read_manifest, write_manifest
from unclouded.patches.manifest_rows import ATTRIBUTION, summary_lines
from unclouded.patches.roi import MANIFEST, SENSORS, Roi
from unclouded.patches.screening import ScreeningSettings
from unclouded.progress import ProgressCallback, no_progress

SUMS, CARD, LICENSE, CITATION, CHANGES = "SHA256SUMS", "README.md", "LICENSE.txt", "CITATION.cff", "CHANGES.md"
ITEMS = "items.parquet"
SHARD_TRIPLETS = 1000
"""Triplets per WebDataset shard, about 2 GB."""

_FILE = pa.struct([("href", pa.string()), ("type", pa.string()), ("roles", pa.list_(pa.string()))])
_BOX = pa.struct([(name, pa.float64()) for name in ("xmin", "ymin", "xmax", "ymax")])
_SCHEMA = pa.schema(
    [
        ("type", pa.string()),
        ("stac_version", pa.string()),
        ("stac_extensions", pa.list_(pa.string())),
        ("id", pa.string()),
        ("collection", pa.string()),
        ("datetime", TIME),
        ("start_datetime", TIME),
        ("end_datetime", TIME),
        ("season", pa.string()),
        ("split", pa.string()),
        ("roi", pa.string()),
        ("eo:cloud_cover", pa.float64()),
        ("bbox", _BOX),
        ("links", pa.list_(pa.struct([("href", pa.string()), ("rel", pa.string())]))),
        ("assets", pa.struct([(token, _FILE) for token in SENSORS])),
        ("geometry", pa.binary()),
    ]
)
_TIFF = "image/tiff; application=geotiff"

AddFile = Callable[[str, bytes], None]
"""Adds a file to an archive, by name and content."""


@dataclass(frozen=True)
class ReleaseSettings:
    """Names in the documents of a release.

    Attributes:
        version: Version, such as 1.2.
        title: Title of the data set.
        authors: Authors.
        license: SPDX identifier of the licence.
    """

    version: str
    title: str
    authors: tuple[str, ...]
    license: str = "CC-BY-4.0"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9]+(\.[0-9]+){0,3}", self.version):
            raise InputError(f"expected a version such as 1.2, found {self.version[:20]!r}")
        if not all(text and text.isprintable() for text in (self.title, self.license, *self.authors)):
            raise InputError("expected title, authors and licence as one line of text each")


def write_release(
    root: Path,
    out: Path,
    settings: ReleaseSettings,
    previous: Path | None = None,
    *,
    webdataset: bool = False,
    archive: Literal["tar", "zip"] = "tar",
    taco: bool = False,
    on_progress: ProgressCallback = no_progress,
) -> str:
    """Write the release of a data set; the folder appears when it is complete.

    Args:
        root: Root of the data set, with a manifest.
        out: Folder of the release; must not exist.
        settings: Names in its documents.
        previous: Folder of the previous release, for the list of changes.
        webdataset: Also write shards of the patches for WebDataset; for the official layout only.
        archive: Format of the archives: gzipped tar files, as of the published set, or zip files.
        taco: Also write one TACO file; for the official layout only, needs ``unclouded[taco]``.
        on_progress: Called with (stage, completed, total) after every file.

    Returns:
        Counts as a line of text.

    Raises:
        InputError: The manifest has faults, a file differs from it, or the folder exists.
    """
    if out.exists():
        raise InputError(f"{named(out)} exists; give another folder, as releases are never changed")
    if taco:
        require_taco()
    rows = [as_written(row) for row in read_manifest(root / MANIFEST)]
    before = read_manifest(previous / MANIFEST) if previous else None
    kept = _releasable(root, rows)
    if webdataset or taco:
        _require_patches(kept)
    files = sorted({(row[token], row[f"{token}_sha256"]) for row in kept for token in SENSORS})
    size = sum((root / name).stat().st_size for name, _ in files)
    staging = out.with_name(f".{out.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    require_room(out.parent, size * (1 + webdataset + 3 * taco), f"write {named(out)}")
    with explained(staging):
        staging.mkdir(parents=True)
        _pack(root, staging, files, archive, on_progress)
        if webdataset:
            _pack_shards(root, staging, kept, on_progress)
        if taco:
            name = re.sub("[^a-z0-9]+", "-", settings.title.lower()).strip("-") or "triplets"
            collection = {
                "id": name,
                "title": settings.title,
                "description": f"{len(kept):,} triplets for cloud removal. {attribution(kept)}",
                "licenses": [settings.license],
                "providers": [*settings.authors],
            }
            write_taco(staging / f"{name}.taco.zip", kept, partial(_content, root), collection, on_progress)
        write_manifest(staging / MANIFEST, (_released(row) for row in rows))
        write_table(staging / ITEMS, _items(kept, settings))
        _write_documents(staging, settings, rows, kept, before)
        sums = [f"{sha256(path)}  {path.name}\n" for path in sorted(staging.iterdir())]
        write_text(staging / SUMS, "".join(sums))
        staging.rename(out)
    return f"{out}: version {settings.version}, {len(kept):,} triplets, {len(sums):,} files, {size / 2**20:,.1f} MiB"


def _releasable(root: Path, rows: Sequence[ManifestRow]) -> list[ManifestRow]:
    kept = [row for row in rows if row["status"] == "kept"]
    if not kept:
        raise InputError(f"{named(root)} has no kept patch in its manifest; there is nothing to release")
    if faults := manifest_faults(rows):
        more = f" (and {len(faults) - 1:,} more)" if len(faults) > 1 else ""
        raise InputError(f"{faults[0]}{more}; correct the data set, or reject the region with 'unclouded data review'")
    if absent := next((row[token] for row in kept for token in SENSORS if not (root / row[token]).is_file()), None):
        raise InputError(f"{named(root / absent)} is missing; run 'unclouded data check {root}'")
    return kept


def _released(row: ManifestRow) -> ManifestRow:
    """Return a row without the files of a patch that is not released."""
    if row["status"] == "kept":
        return row
    return row | {f"{token}{end}": None for token in SENSORS for end in ("", "_bytes", "_sha256")}


# Archives.


def _pack(
    root: Path,
    out: Path,
    files: Sequence[tuple[str, str]],
    kind: Literal["tar", "zip"],
    on_progress: ProgressCallback,
) -> None:
    """Write one archive for each folder of the official layout, or for each season of the scenes layout."""
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name, digest in files:
        top, _, rest = name.partition("/")
        groups[f"{Roi.parse(rest.partition('/')[0]).collection}_{top}" if top == "scenes" else top].append(
            (name, digest)
        )
    done = 0
    for archive, members in sorted(groups.items()):
        with _tar(out / f"{archive}.tar.gz") if kind == "tar" else _zip(out / f"{archive}.zip") as add:
            for name, digest in members:
                add(name, _content(root, name, digest))
                done += 1
                on_progress("packing", done, len(files))


def _require_patches(kept: Sequence[ManifestRow]) -> None:
    if any(row["s1"].startswith("scenes/") for row in kept):
        raise InputError("WebDataset and TACO need one file per patch; curate with store = 'patches'")


def _pack_shards(root: Path, out: Path, kept: Sequence[ManifestRow], on_progress: ProgressCallback) -> None:
    """Write uncompressed tar files of up to :data:`SHARD_TRIPLETS` triplets, part by part."""
    parts: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in kept:
        parts[row["split"] or "all"].append(row)
    shards = [
        (f"{part}-{number:05d}.tar", rows[first : first + SHARD_TRIPLETS])
        for part, rows in sorted(parts.items())
        for number, first in enumerate(range(0, len(rows), SHARD_TRIPLETS))
    ]
    for number, (name, rows) in enumerate(shards, start=1):
        with tarfile.open(out / name, "w", format=tarfile.USTAR_FORMAT) as tar:
            for row in rows:
                for token in SENSORS:
                    _add(tar, f"{row['patch']}.{token}.tif", _content(root, row[token], row[f"{token}_sha256"]))
                facts = {key: row[key] for key in ("patch", "roi", "season", "split", "mean_coverage", "crs")}
                _add(tar, f"{row['patch']}.json", json.dumps(facts, sort_keys=True).encode())
        on_progress("packing shards", number, len(shards))


@contextmanager
def _tar(path: Path) -> Iterator[AddFile]:
    """Yield a function that adds to a gzipped tar file without times, so that the same files give the same bytes."""
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", 1, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        yield partial(_add, tar)


@contextmanager
def _zip(path: Path) -> Iterator[AddFile]:
    """Yield a function that adds to a zip file without times; images are compressed already, and stored."""
    with zipfile.ZipFile(path, "w") as archive:

        def add(name: str, content: bytes) -> None:
            member = zipfile.ZipInfo(name)
            member.external_attr = 0o100644 << 16
            archive.writestr(member, content)

        yield add


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    tar.addfile(member, io.BytesIO(content))


def _content(root: Path, name: str, digest: str) -> bytes:
    with open_file(root / name) as file:
        content = bytes(file.read())
    if hashlib.sha256(content).hexdigest() != digest:
        raise InputError(f"{named(root / name)} differs from the manifest; run 'unclouded data check {root}'")
    return content


# Items and documents.


def _items(kept: Sequence[ManifestRow], settings: ReleaseSettings) -> pa.Table:
    """Return the patches as STAC items in a GeoParquet table (stac-geoparquet 1.0)."""
    located = [row for row in kept if row.get("geometry")]
    table = geo_table(_SCHEMA, [_item(row, settings) for row in located])
    return with_metadata(table, {"stac-geoparquet": json.dumps({"version": "1.0.0"})})


def _item(row: ManifestRow, settings: ReleaseSettings) -> dict[str, Any]:
    place = place_of(row)
    assert place is not None
    times = sorted(row[f"{token}_acquired"] for token in SENSORS if row[f"{token}_acquired"])
    assets = {token: {"href": row[token], "type": _TIFF, "roles": ["data"]} for token in SENSORS}
    cover = row["mean_coverage"]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": row["patch"],
        "collection": settings.title,
        "datetime": row["s2_acquired"],
        "start_datetime": times[0] if times else None,
        "end_datetime": times[-1] if times else None,
        "eo:cloud_cover": None if cover is None else 100 * cover,
        "bbox": dict(zip(("xmin", "ymin", "xmax", "ymax"), place.bounds, strict=True)),
        "links": [],
        "assets": assets,
        **{key: row[key] for key in ("season", "split", "roi", "geometry")},
    }


def attribution(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the notice that the licence of Sentinel data demands, with the years of the images.

    Raises:
        InputError: The manifest has no dates.
    """
    years = sorted({str(row[f"{token}_acquired"])[:4] for row in rows for token in SENSORS if row[f"{token}_acquired"]})
    if not years:
        raise InputError("the manifest has no acquisition dates, which the Copernicus attribution names")
    return f"{ATTRIBUTION} {', '.join(years)}."


def _write_documents(
    out: Path,
    settings: ReleaseSettings,
    rows: Sequence[ManifestRow],
    kept: Sequence[ManifestRow],
    before: Sequence[Mapping[str, Any]] | None,
) -> None:
    notice = attribution(kept)
    write_text(out / LICENSE, f"{settings.title}, version {settings.version}\nLicence: {settings.license}\n{notice}\n")
    authors = "".join(f"  - name: {json.dumps(name)}\n" for name in settings.authors)
    write_text(
        out / CITATION,
        "cff-version: 1.2.0\nmessage: Cite this data set as below.\ntype: dataset\n"
        f"title: {json.dumps(settings.title)}\nversion: {settings.version}\nlicense: {settings.license}\n"
        f"authors:\n{authors}",
    )
    write_text(out / CHANGES, "\n".join([f"# Version {settings.version}", "", *_changes(kept, before)]) + "\n")
    write_text(out / CARD, "\n".join(_card(settings, rows, kept, notice)) + "\n")


def _card(
    settings: ReleaseSettings, rows: Sequence[ManifestRow], kept: Sequence[ManifestRow], notice: str
) -> Iterator[str]:
    yield f"# {settings.title}, version {settings.version}\n"
    yield f"{len(kept):,} triplets of {len({row['roi'] for row in kept}):,} regions: Sentinel-1 radar (VV, VH in dB),"
    yield "cloudy and clear Sentinel-2 Level-1C image (13 bands, reflectance times 10 000), 256 x 256 px of 10 m.\n"
    yield f"{notice} Licence: {settings.license}.\n"
    counts = Counter((row["season"], row["split"] or "without part") for row in kept)
    parts = list(dict.fromkeys(part for _, part in sorted(counts, key=str)))
    yield "| season | " + " | ".join(parts) + " |"
    yield "|---" * (len(parts) + 1) + "|"
    for season in sorted({str(season) for season, _ in counts}):
        yield f"| {season} | " + " | ".join(f"{counts[season, part]:,}" for part in parts) + " |"
    covered = [row["mean_coverage"] for row in kept if row["mean_coverage"] is not None]
    yield ""
    if covered:
        yield f"Mean cloud coverage of the cloudy images: {sum(covered) / len(covered):.1%}.\n"
    yield "Candidates:\n"
    yield from (f"- {' '.join(line.split())}" for line in summary_lines(rows, ScreeningSettings()))
    failed = sum(row["status"] == FAILED for row in rows)
    yield f"\nRegions that failed: {failed:,}. `{MANIFEST}` lists every candidate with products, dates and findings,"
    yield f"`{ITEMS}` the triplets as STAC items, `{SUMS}` the SHA-256 of every file."


def _changes(kept: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]] | None) -> Iterator[str]:
    """Yield the differences of the released patches from those of the previous release."""
    if before is None:
        yield "First release."
        return
    now = {row["patch"]: row for row in kept}
    then = {row["patch"]: row for row in before if row["status"] == "kept"}
    common = now.keys() & then.keys()
    content = [f"{token}_sha256" for token in SENSORS]
    changes = {
        "added": now.keys() - then.keys(),
        "removed": then.keys() - now.keys(),
        "with other images": {name for name in common if any(now[name][key] != then[name][key] for key in content)},
        "in another part": {name for name in common if now[name]["split"] != then[name]["split"]},
    }
    for what, names in changes.items():
        by_region = Counter(str({**then, **now}[name]["roi"]) for name in names)
        yield f"- {len(names):,} patches {what}" + (":" if names else "")
        yield from (f"  - {roi}: {count:,}" for roi, count in sorted(by_region.items()))
