from pathlib import Path

import numpy as np
import pytest

from unclouded.errors import InputError
from unclouded.io.raster import read
from unclouded.patches.layouts import find_triplets
from unclouded.patches.reading import check_triplets, read_triplet
from unclouded.patches.splits import triplets_of
from unclouded.sensors import SENTINEL1, SENTINEL2


def test_the_official_sample_holds_one_triplet_and_names_the_59_incomplete_ones(samples: Path) -> None:
    found = find_triplets(samples / "sen12mscr")
    assert [files.name for files in found.triplets] == ["ROIs2017_winter_112_p797"]
    assert [files.name for files in found.without_clear] == ["ROIs1868_summer_19_p30"]
    lacking = [patch.lacks for patch in found.incomplete]
    assert len(lacking) == 59 and found.unexpected_files == ()
    assert lacking.count(("s1",)) == 41 and lacking.count(("s1", "s2_cloudy")) == 14
    assert lacking.count(("s2_cloudy",)) == 3 and lacking.count(("s2",)) == 1


def test_the_official_sample_is_read_without_damage(samples: Path) -> None:
    inspection = check_triplets(find_triplets(samples / "sen12mscr"))
    assert inspection.damaged == () and not inspection.is_clean  # incomplete, as above


def test_every_file_of_the_official_sample_is_read(samples: Path) -> None:
    files = sorted((samples / "sen12mscr").glob("*/*/*.tif"))
    assert len(files) == 107
    for path in files:
        sensor = SENTINEL1 if "_s1_" in path.name else SENTINEL2
        raster = read(path, sensor)
        assert raster.geobox.shape == (256, 256) and np.isfinite(raster.values).all()


def test_the_winter_triplet_has_the_values_of_its_files(samples: Path) -> None:
    patch = read_triplet(find_triplets(samples / "sen12mscr").triplets[0])
    assert patch.clear
    assert patch.sar.values.min() == pytest.approx(-27.395806) and patch.sar.values.max() == pytest.approx(0, abs=1e-6)
    assert patch.cloudy.values.min() == pytest.approx(0.0032) and patch.cloudy.values.max() == pytest.approx(0.1760)
    assert patch.clear.values.min() == pytest.approx(0.0006) and patch.clear.values.max() == pytest.approx(0.5430)
    assert patch.sar.geobox.crs.epsg == 32631


def test_the_flat_sample_holds_ten_test_triplets(samples: Path) -> None:
    found = find_triplets(samples / "triplets")
    assert found.layout == "flat" and found.incomplete == () and found.unexpected_files == ("manifest.json",)
    assert len(triplets_of(found, "test")) == len(triplets_of(found, "all")) == 10
    with pytest.raises(InputError, match=r"has no triplet in train \(found train 0, val 0, test 10, outside 0\)"):
        triplets_of(found, "train")


def test_the_flat_sample_is_clean(samples: Path) -> None:
    assert check_triplets(find_triplets(samples / "triplets")).is_clean


def test_radar_over_open_water_is_taken_for_db(samples: Path) -> None:
    water = read(samples / "sen12mscr/ROIs1158_spring_s1/s1_101/ROIs1158_spring_s1_101_p31.tif", SENTINEL1)
    assert water.values.max() < -17


def test_radar_that_is_not_clipped_is_taken_for_db(samples: Path) -> None:
    bright = read(samples / "sen1floods11/S1/Spain_7370579_S1Hand.tif", SENTINEL1)
    assert bright.values.max() > 25


@pytest.mark.parametrize("name", ["oriolac_test_0316.tif", "oriolac_test_1302.tif"])
def test_fault_15_real_radar_as_linear_power_is_refused(samples: Path, tmp_path: Path, name: str) -> None:
    import rasterio

    with rasterio.open(samples / "sen12mscr/ROIs2017_winter_s1/s1_112/ROIs2017_winter_s1_112_p797.tif") as file:
        profile, values = file.profile, file.read()
    with rasterio.open(tmp_path / name, "w", **profile) as file:
        file.write(10 ** (values / 10))
    with pytest.raises(
        InputError, match=f"{name} has values from .*, most of them positive, expected dB; if this is linear power"
    ):
        read(tmp_path / name, SENTINEL1)
