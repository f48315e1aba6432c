import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from shapely.geometry import box, mapping

from unclouded.catalogue.triplets import SceneRecord
from unclouded.curation.described_products import DescribedProducts
from unclouded.errors import InputError

NAME = "S2A_MSIL1C_20180711T102021_N0500_R065_T32TPQ_20230701T010203"


def test_a_product_is_described_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNCLOUDED_CACHE", str(tmp_path / "cache"))
    product = tmp_path / "s2" / f"{NAME}.SAFE"
    product.mkdir(parents=True)
    (product / "manifest.safe").write_text("a")
    read: list[Path] = []

    def describe(path: Path) -> list[SceneRecord]:
        read.append(path)
        if "damaged" in path.name:
            raise InputError("damaged")
        when = datetime(2018, 7, 11, 10, 20, 21, 24_000, tzinfo=UTC)
        place = dict(mapping(box(11, 44, 12, 45)))
        return [SceneRecord(NAME, "optical", when, place, 0.3, str(path), "32N", None, "T32TPQ", "05.00")]

    monkeypatch.setattr("unclouded.curation.described_products.describe_scenes", describe)

    def scenes() -> list[SceneRecord]:
        described = DescribedProducts(tmp_path / "s2")
        ((path, found),) = described.scenes([product])
        described.save()
        assert path == product and not isinstance(found, str)
        return found

    (first,), (again,) = scenes(), scenes()
    assert len(read) == 1
    assert (again.name, again.acquired, again.place, again.mgrs) == (NAME, first.acquired, str(product), "T32TPQ")
    assert again.footprint["type"] == "Polygon"
    os.utime(product / "manifest.safe", ns=(1, 1))
    assert scenes() and len(read) == 2
    next((tmp_path / "cache" / "products").iterdir()).write_text("{")
    assert scenes() and len(read) == 3
    damaged = tmp_path / "s2" / "damaged.zip"
    for _ in range(2):
        assert list(DescribedProducts(tmp_path / "s2").scenes([damaged])) == [(damaged, "damaged")]
    assert len(read) == 5
