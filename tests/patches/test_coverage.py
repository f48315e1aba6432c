import json
from pathlib import Path

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from unclouded.clouds.map import CloudMapSettings
from unclouded.patches.coverage import CoverageStatistics, PatchCoverage, measure_coverage
from unclouded.patches.coverage_picture import write_histogram
from unclouded.patches.identity import PatchId
from unclouded.patches.layouts import TripletFiles
from unclouded.sensors import SENTINEL2

THREE = CoverageStatistics(
    (
        PatchCoverage("a", "summer", "ROIs1868_summer_1", 0.0, 0.0),
        PatchCoverage("b", "summer", "ROIs1868_summer_2", 0.5, 0.6),
        PatchCoverage("c", "winter", "ROIs2017_winter_3", 1.0, 1.0),
    )
)


def test_mean_and_deviation_over_all_seasons_and_regions() -> None:
    content = THREE.to_json()
    assert content["all"]["mean_coverage"] == pytest.approx(0.5)
    assert content["all"]["mean_coverage_deviation"] == pytest.approx((1 / 6) ** 0.5)  # of 0, 1/2, 1
    assert content["season"]["summer"]["mean_coverage"] == pytest.approx(0.25)
    assert content["season"]["winter"]["patches"] == 1
    assert content["roi"]["ROIs1868_summer_2"]["cloudy_share"] == pytest.approx(0.6)


def test_the_histogram_counts_full_coverage_in_its_last_bin() -> None:
    counts = THREE.histogram()
    assert counts.sum() == 3
    assert (counts[0], counts[10], counts[-1]) == (1, 1, 1)


def test_a_line_of_csv_for_every_patch() -> None:
    assert THREE.to_csv().splitlines()[2] == "b,summer,ROIs1868_summer_2,0.500000,0.600000"


def test_statistics_are_json() -> None:
    assert json.loads(json.dumps(THREE.to_json()))["histogram"]["bins"] == 20


def test_the_picture_is_written(tmp_path: Path) -> None:
    write_histogram(tmp_path / "histogram.png", THREE, "three")
    assert (tmp_path / "histogram.png").read_bytes().startswith(b"\x89PNG")


def test_fault_05_damaged_images_are_told_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from unclouded.geotiff import write_geotiff

    grid = GeoBox.from_bbox((0, 0, 320, 320), "EPSG:32632", resolution=10)
    whole, torn = (tmp_path / name for name in ("whole.tif", "torn.tif"))
    for path in (whole, torn):
        write_geotiff(path, np.full((13, 32, 32), 5000, np.uint16), SENTINEL2.bands, grid)
    torn.write_bytes(torn.read_bytes()[:400])
    patch = PatchId.parse("ROIs1158_spring_9_p4")
    files = [TripletFiles("torn", None, torn, torn, None), TripletFiles(str(patch), patch, whole, whole, None)]
    told: list[str] = []
    found = list(measure_coverage(files, CloudMapSettings(mode="ones"), None, damaged=told.append))
    assert found == [PatchCoverage("ROIs1158_spring_9_p4", "spring", "ROIs1158_spring_9", 1.0, 1.0)]
    assert len(told) == 1
    assert "torn.tif" in told[0]
