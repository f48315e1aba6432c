import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from unclouded.prediction.publishing import publish
from unclouded.prediction.report_facts import Facts, Input
from unclouded.prediction.stac import Product
from unclouded.prediction.views import SceneViews


def test_the_item_holds_the_checksum_of_every_file_and_of_the_page(tmp_path: Path) -> None:
    image, m = np.full((1, 20, 30), 0.2, np.float32), np.zeros((1, 20, 30), np.float32)
    m[:, :5] = 0.7
    views = SceneViews(
        (20, 30),
        ("B08",),
        lambda a, b: image[:, a:b],
        lambda a, b: image[:, a:b],
        lambda a, b: m[:, a:b],
        lambda a, b: np.where(m > 0, 3, 1)[:, a:b].astype("u1"),
    )
    (tmp_path / "clear.tif").write_bytes(b"pixels")
    products = {"clear": Product(tmp_path / "clear.tif", "Without clouds", ("data",), ("B08",))}
    facts = Facts("here", "clear-mean", ("B08",), [Input("Sentinel-2", "a.tif", "00")])
    grid = GeoBox((20, 30), Affine(10, 0, 500000, 0, -10, 4500000), "EPSG:32630")
    written = publish(tmp_path, grid, views, products, facts, datetime(2020, 1, 1, tzinfo=UTC))
    item = json.loads(written.item.read_text())
    for name, path in (("clear", tmp_path / "clear.tif"), ("report", written.report)):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert item["assets"][name]["file:checksum"] == f"1220{digest}"
    assert item["properties"]["eo:cloud_cover"] == 25.0
    assert item["properties"]["unclouded:statistics"]["pixels"]["synthesised"] == 150
