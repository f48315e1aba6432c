import json
from pathlib import Path

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from unclouded.clouds.map import CloudMapSettings
from unclouded.errors import InputError
from unclouded.patches.coverage import CoverageStatistics, PatchCoverage, measure_coverage
from unclouded.patches.layouts import TripletFiles
from unclouded.patches.plots import write_histogram
from unclouded.patches.reading import DamagedTriplet
from unclouded.patches.roi import PatchId
from unclouded.sensors import SENTINEL1, SENTINEL2

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


def test_fault_05_damaged_patches_are_refused_or_skipped_with_their_reasons(tmp_path: Path) -> None:
    from unclouded.io.geotiff import write_geotiff

    grid = GeoBox.from_bbox((0, 0, 320, 320), "EPSG:32632", resolution=10)
    whole, torn = (tmp_path / name for name in ("whole.tif", "torn.tif"))
    for path in (whole, torn):
        write_geotiff(path, np.full((13, 32, 32), 5000, np.uint16), SENTINEL2.bands, grid)
    torn.write_bytes(torn.read_bytes()[:400])
    holed = np.full((2, 32, 32), -9, np.float32)
    write_geotiff(tmp_path / "sar.tif", holed, SENTINEL1.bands, grid)
    holed[0, 3, 4] = np.nan
    write_geotiff(tmp_path / "holed.tif", holed, SENTINEL1.bands, grid)
    patch = PatchId.parse("ROIs1158_spring_9_p4")
    sar = tmp_path / "sar.tif"
    files = [
        TripletFiles("torn", None, sar, torn, None),
        TripletFiles(str(patch), patch, sar, whole, None),
        TripletFiles("holed", None, tmp_path / "holed.tif", whole, None),
    ]
    ones = CloudMapSettings(mode="ones")
    skipped: list[DamagedTriplet] = []
    found = tuple(measure_coverage(files, ones, None, damaged="skip", skipped=skipped))
    assert found == (PatchCoverage("ROIs1158_spring_9_p4", "spring", "ROIs1158_spring_9", 1.0, 1.0),)
    assert [one.name for one in skipped] == ["torn", "holed"]
    assert "torn.tif" in skipped[0].reason and "holed.tif has 1 of 2,048 values without data" in skipped[1].reason
    listed = CoverageStatistics(found, tuple(skipped)).to_json()["skipped"]
    assert [one["patch"] for one in listed] == ["torn", "holed"]
    with pytest.raises(InputError, match=r"torn.tif.*; use --damaged skip to skip damaged patches"):
        list(measure_coverage(files, ones, None))
    with pytest.raises(
        InputError, match=r"all 2 patches are damaged, expected at least one readable patch; first torn: "
    ):
        list(measure_coverage([files[0], files[2]], ones, None, damaged="skip"))
