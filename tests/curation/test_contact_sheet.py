"""Two regions: one of five triplets of which one is damaged, and one of a single triplet."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from odc.geo.geobox import GeoBox
from PIL import Image

from unclouded.curation.contact_sheet import contact_sheet
from unclouded.io.geotiff import write_geotiff
from unclouded.patches.layouts import find_triplets
from unclouded.patches.roi import PatchId
from unclouded.sensors import SENTINEL1, SENTINEL2

GRID = GeoBox.from_bbox((0, 0, 160, 160), "EPSG:32632", resolution=10)
FIRST, SECOND = "ROIs0001_fall_1", "ROIs0001_winter_2"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Radar of -10 dB; clear images of 0.1 and 0.2 in turns, columns of one pixel; cloudy ones of 0.6."""
    root = tmp_path_factory.mktemp("set <script>alert(1)<b>\"'&")
    clear = np.full((13, 16, 16), 1000, np.uint16)
    clear[:, :, 1::2] = 2000
    for name in (*(f"{FIRST}_p{number}" for number in (1, 2, 3, 4, 10)), f"{SECOND}_p7"):
        patch = PatchId.parse(name)
        write_geotiff(root / patch.path("s1"), np.full((2, 16, 16), -10, np.float32), SENTINEL1.bands, GRID)
        write_geotiff(root / patch.path("s2"), clear, SENTINEL2.bands, GRID)
        write_geotiff(root / patch.path("s2_cloudy"), np.full_like(clear, 6000), SENTINEL2.bands, GRID)
    torn = root / PatchId.parse(f"{FIRST}_p10").path("s2_cloudy")
    torn.write_bytes(torn.read_bytes()[:300])
    return root


def row(name: str | None, status: str = "kept", **known: Any) -> dict[str, Any]:
    roi = name.rpartition("_p")[0] if name else known["roi"]
    return {"patch": name, "roi": roi, "status": status, "reason": None, "season": "fall", "split": None} | {
        "findings": [],
        **known,
    }


def captions(page: str) -> list[str]:
    return re.findall(r"<figcaption>(.*?)</figcaption>", page)


def test_some_triplets_of_every_region_from_its_first_to_its_last(root: Path) -> None:
    progress: list[tuple[int, int]] = []
    page = contact_sheet(find_triplets(root), [], 3, lambda stage, done, total: progress.append((done, total)))
    first, middle, last, other = captions(page)
    assert (first, middle, other) == ("p1", "p3", "p7") and progress == [(1, 2), (2, 2)]
    assert (
        last.startswith(f"{FIRST}_p10: ") and "is not a whole GeoTIFF" in last
    )  # fault 5: reported, and the page continues
    assert page.count("<img ") == 9
    assert len(captions(contact_sheet(find_triplets(root), [], 9))) == 6


def test_captions_show_coverage_dates_and_findings_of_the_manifest(root: Path) -> None:
    rows = [
        row(f"{FIRST}_p1", split="val", mean_coverage=0.254, s1_acquired="2018-09-03T17:00:00", findings=["snow:s2"]),
        row(f"{FIRST}_p5", "rejected", split="val", findings=["haze:s2"]),
        row(None, "failed", roi="ROIs0001_spring_9", reason="no <radar>"),
    ]
    page = contact_sheet(find_triplets(root), rows, 1)
    assert captions(page) == ["p1 · 25% cloud · radar 2018-09-03 · snow:s2", "p7"]
    assert "triplets: 5, val; rejected: 1" in page and "triplets: 1</p>" in page
    assert "rejected by     haze 1" in page and "ROIs0001_spring_9: no &lt;radar&gt;" in page


def test_names_are_escaped_and_the_page_makes_no_request(root: Path) -> None:
    page = contact_sheet(find_triplets(root), [], 1)
    assert "<b>" not in page and "set &lt;script&gt;alert(1)&lt;b&gt;&#34;&#39;&amp;" in page
    assert (
        set(re.findall(r'src="([a-z]+:[a-z/]+);', page)) == {"data:image/jpeg"}
        and "http:" not in page
        and "https:" not in page
    )
    assert "<script" not in page


def test_pictures_are_means_of_two_pixels_in_one_stretch(root: Path) -> None:
    page = contact_sheet(find_triplets(root), [], 1)
    encoded = re.findall(r'base64,([^"]*)"', page)[:3]
    radar, cloudy, clear = (np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in encoded)
    assert radar.shape == (8, 8, 3)
    assert np.abs(radar - 255 * (15 / 25) ** (2 / 3)).max() < 2  # -10 dB of -25 to 0
    assert clear.max() < 3 and cloudy.min() > 252  # 0.15 everywhere, shown black; 0.6 is far above it
