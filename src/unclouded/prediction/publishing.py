"""The last two files of a cleared scene: the page to look at, and the STAC item that names everything."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from odc.geo.geobox import GeoBox

from unclouded.prediction.report import write_report
from unclouded.prediction.report_facts import Facts
from unclouded.prediction.stac import Product, Statistics, scene_item, write_item
from unclouded.prediction.views import SceneViews, gather

REPORT, ITEM = "report.html", "item.json"


@dataclass(frozen=True)
class Published:
    """Where the two files are.

    Attributes:
        report: HTML page.
        item: STAC item.
        statistics: The numbers in both.
    """

    report: Path
    item: Path
    statistics: Statistics


def publish(
    folder: Path,
    geobox: GeoBox,
    views: SceneViews,
    products: Mapping[str, Product],
    facts: Facts,
    not_after: datetime,
) -> Published:
    """Write the page, then the item with the checksum of the page and of every product; each whole or not at all.

    Args:
        folder: Where the products are.
        geobox: Grid of the scene.
        views: Its rows, before and after.
        products: Asset name to finished file.
        facts: What is known beside the pixels.
        not_after: When the input was written; see :func:`~unclouded.prediction.stac.scene_item`.
    """
    seen = gather(views)
    write_report(folder / REPORT, facts, seen)
    page = {"report": Product(folder / REPORT, "Report to look at", ("overview", "metadata"))}
    statistics = Statistics(seen.counts, seen.mean_coverage, seen.cloudy_share)
    write_item(folder / ITEM, scene_item(geobox, {**products, **page}, facts, statistics, not_after))
    return Published(folder / REPORT, folder / ITEM, statistics)
