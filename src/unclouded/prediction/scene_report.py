"""Report page and STAC item of a predicted scene, from its images and its finished products."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.io.geotiff import open_geotiff, stored_rows
from unclouded.prediction import stac
from unclouded.prediction.alignment import AlignmentQuality
from unclouded.prediction.auto_remover import SelectedRemover
from unclouded.prediction.clearing import AdaptedEnsemble
from unclouded.prediction.products import CLASSES, UNKNOWN_PERCENT, Product
from unclouded.prediction.report.facts import Facts, Input
from unclouded.prediction.report.page import write_report
from unclouded.prediction.report.views import RowReader, SceneViews, read_overview
from unclouded.prediction.sources import Sources
from unclouded.prediction.stac import Product as PublishedProduct
from unclouded.prediction.stac import Statistics, scene_item, write_item

_ASSETS = {
    "clear": ("Image without clouds", ("data", "reflectance")),
    "cloud_map": ("Cloud map m", ("data", "cloud")),
    "provenance": ("Provenance of each pixel", ("data", "metadata")),
    "confidence": ("Confidence, per cent", ("data", "metadata")),
    "uncertainty": ("Standard deviation of the ensemble", ("data", "metadata")),
}
"""Title and roles by name of the product."""


@dataclass(frozen=True)
class WrittenReport:
    """Paths of report and STAC item.

    Attributes:
        report: HTML page.
        item: STAC item.
        statistics: Statistics in both files.
    """

    report: Path
    item: Path
    statistics: Statistics


@dataclass(frozen=True, eq=False)
class SceneReport:
    """Report of a scene, from its images, products and settings.

    Attributes:
        sources: Input images.
        products: Description of the GeoTIFFs.
        files: Finished GeoTIFFs by name.
        bands: Bands of the remover.
        ensemble: Adapted remover; None if there were no data to predict from.
        record: Inputs and settings of the scene; see :mod:`unclouded.prediction.scene`.
        optical: Path of the cloudy image.
        alignment: Alignment of radar and optical image.
        remarks: Warnings about the images.
        losses: Pixel counts of missing data by cause; see :data:`unclouded.prediction.clearing.LOSSES`.
    """

    sources: Sources
    products: Sequence[Product]
    files: Mapping[str, Path]
    bands: tuple[str, ...]
    ensemble: AdaptedEnsemble | None
    record: Mapping[str, Any]
    optical: Path
    alignment: AlignmentQuality
    remarks: tuple[str, ...]
    losses: Mapping[str, int]

    def write(self, folder: Path) -> WrittenReport:
        """Write page and item into the folder of the products."""
        products = {product.name: self._asset(product) for product in self.products}
        not_after = datetime.fromtimestamp(self.optical.stat().st_mtime, UTC)
        with self._views() as views:
            return publish(folder, self.sources.geobox, views, products, self.facts(), not_after)

    def facts(self) -> Facts:
        """Return the facts about the scene that are not pixel values."""
        scene, record = self.sources.optical, self.record
        used = self.ensemble.removers[0] if self.ensemble else None
        inputs = [
            Input("Sentinel-2", record["cloudy"]["name"], record["cloudy"]["sha256"], scene.acquired),
            Input("Sentinel-1", record["sar"]["name"], record["sar"]["sha256"], self.sources.radar.acquired),
            *(
                [Input("cloud map", Path(user_map).name, record["cloud_map"])]
                if (user_map := record["settings"]["cloud_map"])
                else []
            ),
            *(Input("weights", one["name"], one["weights"]) for one in record["removers"] if "weights" in one),
        ]
        crs = self.sources.geobox.crs
        return Facts(
            title=scene.identity or Path(record["cloudy"]["name"]).stem,
            remover=used.name if used else record["removers"][0]["name"],
            bands=self.bands,
            inputs=inputs,
            expected=used.expected if isinstance(used, SelectedRemover) else None,
            settings=_settings_text(record["settings"]) | {"requested": record["removers"][0]["name"]},
            measured=scene.metadata() | {"radar": self.sources.radar.processing},
            remarks=self.remarks,
            alignment=self.alignment,
            pixel_m=abs(self.sources.geobox.affine.a) if crs is not None and crs.projected else None,
            version=record["unclouded"],
            losses=self.losses,
            choice=used.reason if isinstance(used, SelectedRemover) else "",
        )

    def _asset(self, product: Product) -> stac.Product:
        title, roles = _ASSETS[product.name]
        bands = self.bands if product.name == "clear" else ()
        classes = CLASSES if product.name == "provenance" else {}
        return stac.Product(self.files[product.name], title, roles, bands, product.layer, classes)

    @contextmanager
    def _views(self) -> Iterator[SceneViews]:
        radiometry = self.sources.radiometry(self.bands)

        def before(top: int, bottom: int) -> NDArray[np.float32]:
            return radiometry.decode(self.sources.rows(top, bottom, self.bands).result().stored)

        with ExitStack() as stack:
            stored = {name: stack.enter_context(_row_reader(path)) for name, path in self.files.items()}
            confidence = stored.get("confidence")
            yield SceneViews(
                self.sources.shape,
                self.bands,
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


def _confidence_reader(percent: RowReader, cloud_map: RowReader) -> RowReader:
    """Return a reader of the confidence from 0 to 1: 1 on observed pixels, NaN on those without data."""

    def read(top: int, bottom: int) -> NDArray[np.float32]:
        stored = percent(top, bottom)
        not_predicted = np.where(cloud_map(top, bottom) == 0, np.float32(1.0), np.float32(np.nan))
        return np.where(stored == UNKNOWN_PERCENT, not_predicted, stored.astype(np.float32) / 100)

    return read


def _settings_text(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return settings as text by name; structured values as JSON."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in settings.items()}


REPORT, ITEM = "report.html", "item.json"


def publish(
    folder: Path,
    geobox: GeoBox,
    views: SceneViews,
    products: Mapping[str, PublishedProduct],
    facts: Facts,
    not_after: datetime,
) -> WrittenReport:
    """Write the page, then the item with the checksums of the page and of every product, each atomically.

    Args:
        folder: Folder of the products.
        geobox: Grid of the scene.
        views: Rows of the scene before and after cloud removal.
        products: Finished files by asset name.
        facts: Facts about the scene that are not pixel values.
        not_after: Modification time of the input; see :func:`~unclouded.prediction.stac.scene_item`.
    """
    overview = read_overview(views)
    write_report(folder / REPORT, facts, overview)
    page = {"report": PublishedProduct(folder / REPORT, "Report", ("overview", "metadata"))}
    statistics = Statistics(overview.counts, overview.mean_coverage, overview.cloudy_share)
    write_item(folder / ITEM, scene_item(geobox, {**products, **page}, facts, statistics, not_after))
    return WrittenReport(folder / REPORT, folder / ITEM, statistics)
