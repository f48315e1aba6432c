"""Export of a data set as one TACO file, by the package ``taco-eo``: triplets as samples, with place, time and part."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import shapely
from pydantic import BaseModel

from unclouded.errors import InputError
from unclouded.patches.consistency import place_of
from unclouded.patches.manifest import ManifestRow
from unclouded.patches.roi import SENSORS
from unclouded.progress import ProgressCallback

_PARTS = {"train": "train", "val": "validation", "test": "test"}


class TripletFacts(BaseModel):
    """Facts of a triplet that no common metadata group of TACO has.

    Attributes:
        roi: Region.
        season: Meteorological season.
        mean_coverage: Mean of the cloud map m of the cloudy image, if known.
    """

    roi: str
    season: str
    mean_coverage: float | None


def require_taco() -> None:
    """Require the package that writes TACO files.

    Raises:
        InputError: It is not installed.
    """
    try:
        from taco.writer.archive import ArchiveWriter  # noqa: F401 - its dependencies are optional, too
    except ImportError as error:
        raise InputError("taco-eo is not installed; install 'unclouded[taco]', or leave out --taco") from error


def write_taco(
    path: Path,
    kept: Sequence[ManifestRow],
    content: Callable[[str, str], bytes],
    collection: Mapping[str, Any],
    on_progress: ProgressCallback,
) -> None:
    """Write a TACO file with one sample per triplet: ``s1.tif``, ``s2.tif``, ``s2_cloudy.tif``.

    Args:
        path: Zip file.
        kept: Rows of the manifest.
        content: Returns the verified content of an image, given its name and its SHA-256.
        collection: Fields of the collection: ``id``, ``title``, ``description``, ``licenses``, ``providers``.
        on_progress: Called with (stage, completed, total) after every sample.
    """
    import taco
    from taco.metadata.sample import STAC
    from taco.metadata.split import Split

    groups: dict[str, Any] = {"stac": taco.extensions.STAC(), "triplet": TripletFacts}
    if has_parts := all(row["split"] in _PARTS for row in kept):
        groups["ml"] = Split
    contract = taco.Contract(structure=[f"{token}.tif" for token in SENSORS], metadata=[taco.Level("sample", **groups)])
    with taco.open_writer(taco.Collection(contract=contract, **collection), path) as writer:
        for number, row in enumerate(kept, start=1):
            place = place_of(row)
            times = sorted(row[f"{token}_acquired"] for token in SENSORS if row[f"{token}_acquired"])
            facts = {
                "stac": STAC(
                    geometry=shapely.to_wkb(place) if place is not None else None,
                    start_datetime=times[0] if times else None,
                    end_datetime=times[-1] if times else None,
                ),
                "triplet": TripletFacts(**{key: row[key] for key in TripletFacts.model_fields}),
            }
            if has_parts:
                facts["ml"] = Split(split=_PARTS[row["split"]])
            assets = [taco.Asset(content(row[token], row[f"{token}_sha256"]), path=f"{token}.tif") for token in SENSORS]
            writer.add(taco.Sample(id=row["patch"], assets=assets, metadata=taco.Metadata(**facts)))
            on_progress("packing TACO", number, len(kept))
        writer.run()
