"""Page and STAC item of a scene that was cleared row by row, from its sources and its finished files."""

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
    "clear": ("Without clouds", ("data", "reflectance")),
    "cloud_map": ("Cloud map m", ("data", "cloud")),
    "provenance": ("Where each pixel comes from", ("data", "metadata")),
    "confidence": ("Confidence in per cent", ("data", "metadata")),
    "uncertainty": ("Standard deviation of an ensemble", ("data", "metadata")),
}
"""Name of a product to its title and its roles."""


@dataclass(frozen=True)
class WrittenReport:
    """Where the two files are.

    Attributes:
        report: HTML page.
        item: STAC item.
        statistics: The numbers in both.
    """

    report: Path
    item: Path
    statistics: Statistics


@dataclass(frozen=True, eq=False)
class SceneReport:
    """What a report of a scene is made from.

    Attributes:
        sources: The scene as it was.
        products: What the GeoTIFFs hold.
        files: Finished GeoTIFFs by name.
        bands: Of the remover.
        ensemble: The remover, adapted; None where nothing could be made.
        record: What the products depend on; see :mod:`unclouded.prediction.scene`.
        optical: Path of the cloudy image.
        fit: How well the two images go together.
        remarks: What a reader has to be told.
        losses: Pixels without data by cause; see :data:`unclouded.prediction.clearing.LOSSES`.
    """

    sources: Sources
    products: Sequence[Product]
    files: Mapping[str, Path]
    bands: tuple[str, ...]
    ensemble: AdaptedEnsemble | None
    record: Mapping[str, Any]
    optical: Path
    fit: AlignmentQuality
    remarks: tuple[str, ...]
    losses: Mapping[str, int]

    def write(self, folder: Path) -> WrittenReport:
        """Write both files into the folder of the products."""
        products = {product.name: self._asset(product) for product in self.products}
        not_after = datetime.fromtimestamp(self.optical.stat().st_mtime, UTC)
        with self._views() as views:
            return publish(folder, self.sources.geobox, views, products, self.facts(), not_after)

    def facts(self) -> Facts:
        """Return what is known beside the pixels."""
        scene, record = self.sources.optical, self.record
        used = self.ensemble.removers[0] if self.ensemble else None
        inputs = [
            Input("Sentinel-2", record["cloudy"]["name"], record["cloudy"]["sha256"], scene.acquired),
            Input("Sentinel-1", record["sar"]["name"], record["sar"]["sha256"], self.sources.radar.acquired),
            *(
                [Input("cloud map", Path(own).name, record["cloud_map"])]
                if (own := record["settings"]["cloud_map"])
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
            settings=_settings_text(record["settings"]) | {"asked for": record["removers"][0]["name"]},
            measured=scene.metadata() | {"radar": self.sources.radar.processing},
            remarks=self.remarks,
            fit=self.fit,
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
            sure = stored.get("confidence")
            yield SceneViews(
                self.sources.shape,
                self.bands,
                before,
                lambda top, bottom: radiometry.decode(stored["clear"](top, bottom)),
                stored["cloud_map"],
                stored["provenance"],
                None if sure is None else _confidence_reader(sure, stored["cloud_map"]),
            )


@contextmanager
def _row_reader(path: Path) -> Iterator[Callable[[int, int], NDArray[Any]]]:
    with open_geotiff(path) as source:
        yield lambda top, bottom: stored_rows(path, source, top, bottom).values


def _confidence_reader(percent: RowReader, cloud_map: RowReader) -> RowReader:
    """Confidence in shares; the file tells none where nothing was made, and what was observed is sure."""

    def read(top: int, bottom: int) -> NDArray[np.float32]:
        stored = percent(top, bottom)
        unmade = np.where(cloud_map(top, bottom) == 0, np.float32(1.0), np.float32(np.nan))
        return np.where(stored == UNKNOWN_PERCENT, unmade, stored.astype(np.float32) / 100)

    return read


def _settings_text(settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings as name to value; what has parts is JSON."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in settings.items()}


# The last two files of a cleared scene: the page to look at, and the STAC item that names everything.


REPORT, ITEM = "report.html", "item.json"


def publish(
    folder: Path,
    geobox: GeoBox,
    views: SceneViews,
    products: Mapping[str, PublishedProduct],
    facts: Facts,
    not_after: datetime,
) -> WrittenReport:
    """Write the page, then the item with the checksum of the page and of every product; each whole or not at all.

    Args:
        folder: Where the products are.
        geobox: Grid of the scene.
        views: Its rows, before and after.
        products: Asset name to finished file.
        facts: What is known beside the pixels.
        not_after: When the input was written; see :func:`~unclouded.prediction.stac.scene_item`.
    """
    seen = read_overview(views)
    write_report(folder / REPORT, facts, seen)
    page = {"report": PublishedProduct(folder / REPORT, "Report to look at", ("overview", "metadata"))}
    statistics = Statistics(seen.counts, seen.mean_coverage, seen.cloudy_share)
    write_item(folder / ITEM, scene_item(geobox, {**products, **page}, facts, statistics, not_after))
    return WrittenReport(folder / REPORT, folder / ITEM, statistics)
