"""Report page and STAC item of a predicted scene, from its images and its finished products."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unclouded.files import write_text
from unclouded.io.geotiff import open_geotiff, stored_rows
from unclouded.io.strips import RowReader
from unclouded.models.remover import CloudRemover
from unclouded.prediction.alignment import AlignmentQuality
from unclouded.prediction.auto_remover import ExpectedError, SelectedRemover
from unclouded.prediction.products import CLASSES, UNKNOWN_PERCENT, Product
from unclouded.prediction.references import ReferenceUse
from unclouded.prediction.report.data import Input, OutputFile, ReportData
from unclouded.prediction.report.overview import SceneReaders, read_overview
from unclouded.prediction.report.page import report_page
from unclouded.prediction.sources import Sources
from unclouded.prediction.stac import scene_item, write_item
from unclouded.tensors.observation import positions

REPORT, ITEM = "report.html", "item.json"

_CONTENT = {
    "clear": ("Image without clouds", ("data", "reflectance")),
    "cloud_map": ("Cloud map m", ("data", "cloud")),
    "provenance": ("Provenance of each pixel", ("data", "metadata")),
    "confidence": ("Confidence, per cent", ("data", "metadata")),
    "uncertainty": ("Standard deviation of the prediction", ("data", "metadata")),
}
"""Title and roles by name of the product."""


def report_data(
    sources: Sources,
    products: Sequence[Product],
    files: Mapping[str, Path],
    used: CloudRemover,
    record: Mapping[str, Any],
    *,
    optical: Path,
    alignment: AlignmentQuality | None = None,
    remarks: Sequence[str] = (),
    losses: Mapping[str, int] | None = None,
    expected: ExpectedError | None = None,
    references: Sequence[ReferenceUse] = (),
) -> ReportData:
    """Read the images and the finished products of a scene, and return the data of its report.

    Args:
        sources: Input images.
        products: Description of the GeoTIFFs.
        files: Finished GeoTIFFs by name.
        used: Remover that was used, adapted to the scene.
        record: Inputs and settings of the scene; see :mod:`unclouded.prediction.scene`.
        optical: Path of the optical image.
        alignment: Alignment of radar and optical image; None without radar.
        remarks: Warnings about the images.
        losses: Pixel counts of missing data by cause; see :data:`unclouded.prediction.clearing.LOSSES`.
        expected: Expected error of a remover that was not selected automatically, if it was measured.
        references: Contributions of the references.
    """
    with _readers(sources, used.bands, files) as readers:
        overview = read_overview(readers)
    selected = used if isinstance(used, SelectedRemover) else None
    return ReportData(
        title=sources.optical.identity or Path(record["cloudy"]["name"]).stem,
        remover=used.name,
        bands=used.bands,
        geobox=sources.geobox,
        inputs=_inputs(sources, record, references),
        overview=overview,
        files={product.name: _output_file(product, files[product.name]) for product in products},
        modified=datetime.fromtimestamp(optical.stat().st_mtime, UTC),
        expected=selected.expected if selected else expected,
        choice=selected.reason if selected else "",
        settings=_settings_text(record["settings"]) | {"requested": record["removers"][0]["name"]},
        measured=sources.optical.metadata() | {"radar": sources.radar.processing if sources.radar else "none"},
        remarks=remarks,
        alignment=alignment,
        losses=losses or {},
        references=references,
    )


def write_report(folder: Path, data: ReportData) -> dict[str, Path]:
    """Write the page, then the item with the checksums of the page and of every product, each atomically.

    Args:
        folder: Folder of the products.
        data: Data of the scene.

    Returns:
        Paths of ``report`` and ``item``.
    """
    report, item = folder / REPORT, folder / ITEM
    write_text(report, report_page(data))
    page = OutputFile(report, "Report", ("overview", "metadata"))
    write_item(item, scene_item(data, {**data.files, "report": page}))
    return {"report": report, "item": item}


def _inputs(sources: Sources, record: Mapping[str, Any], references: Sequence[ReferenceUse]) -> list[Input]:
    """Return the images, those of other dates, the user's cloud map and the weights, with their hashes."""
    inputs = [Input("Sentinel-2", record["cloudy"]["name"], record["cloudy"]["sha256"], sources.optical.acquired)]
    if sources.radar is not None:
        inputs.append(Input("Sentinel-1", record["sar"]["name"], record["sar"]["sha256"], sources.radar.acquired))
    if user_map := record["settings"]["cloud_map"]:
        inputs.append(Input("cloud map", Path(user_map).name, record["cloud_map"]))
    for one in references:
        inputs.append(Input("reference", one.name, one.sha256, one.acquired))
        if one.sar is not None and one.sar_sha256 is not None:
            inputs.append(Input("reference radar", one.sar, one.sar_sha256))
    return inputs + [Input("weights", one["name"], one["weights"]) for one in record["removers"] if "weights" in one]


def _output_file(product: Product, path: Path) -> OutputFile:
    title, roles = _CONTENT[product.array]
    classes = CLASSES if product.name == "provenance" else {}
    if product.band is not None:
        title = f"{title}, {product.layer.bands[0]}"
    return OutputFile(
        path, title, roles, product.layer.bands if product.array == "clear" else (), product.layer, classes
    )


@contextmanager
def _readers(sources: Sources, bands: tuple[str, ...], files: Mapping[str, Path]) -> Iterator[SceneReaders]:
    radiometry = sources.radiometry(bands)

    def before(top: int, bottom: int) -> NDArray[np.float32]:
        observed = radiometry.decode(sources.stored(top, bottom).result()[positions(bands, sources.optical.bands)])
        return np.where(sources.target.inside(top, bottom), observed, np.float32(np.nan))

    with ExitStack() as stack:
        stored = {name: stack.enter_context(_row_reader(path)) for name, path in files.items()}
        confidence = stored.get("confidence")
        yield SceneReaders(
            sources.shape,
            bands,
            before,
            lambda top, bottom: radiometry.decode(stored["clear"](top, bottom)),
            stored["cloud_map"],
            stored["provenance"],
            None if confidence is None else _confidence_reader(confidence, stored["cloud_map"]),
        )


@contextmanager
def _row_reader(path: Path) -> Iterator[Callable[[int, int], NDArray[Any]]]:
    with open_geotiff(path) as source:
        yield lambda top, bottom: stored_rows(path, source, top, bottom).values


def _confidence_reader(
    percent: RowReader[NDArray[np.float32]], cloud_map: RowReader[NDArray[np.float32]]
) -> RowReader[NDArray[np.float32]]:
    """Return a reader of the confidence from 0 to 1: 1 on observed pixels, NaN on those without data."""

    def read(top: int, bottom: int) -> NDArray[np.float32]:
        stored = percent(top, bottom)
        not_predicted = np.where(cloud_map(top, bottom) == 0, np.float32(1.0), np.float32(np.nan))
        return np.where(stored == UNKNOWN_PERCENT, not_predicted, stored.astype(np.float32) / 100)

    return read


def _settings_text(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return settings as text by dotted name, such as ``clouds.mode``; without those that are not set."""
    texts: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            texts |= _settings_text(value, f"{prefix}{name}.")
        elif value is not None:
            texts[f"{prefix}{name}"] = value if isinstance(value, str) else json.dumps(value)
    return texts
