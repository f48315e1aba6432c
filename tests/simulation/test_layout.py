from pathlib import Path

import numpy as np
import pytest
import rasterio

from unclouded.io.raster import read, same_grid
from unclouded.patches.roi import PatchId, Roi
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.simulation.layout import simulate_data_set, write_region
from unclouded.simulation.region import SimulatedRegion, simulate_region

SENSOR = {"s1": SENTINEL1, "s2": SENTINEL2, "s2_cloudy": SENTINEL2}


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def wide() -> SimulatedRegion:
    return simulate_region(Roi("ROIs0000", "fall", 12), np.random.default_rng(0), size_px=400)


@pytest.fixture(scope="module")
def written(wide, tmp_path_factory) -> tuple[Path, list[PatchId]]:
    root = tmp_path_factory.mktemp("data")
    return root, write_region(wide, root)


def test_400_px_hold_two_times_two_patches_of_128_px_stride(written) -> None:
    root, patches = written
    assert [patch.number for patch in patches] == [1, 2, 3, 4]
    assert len(files(root)) == 3 * 4


def test_files_have_official_names(written) -> None:
    root, _ = written
    assert files(root)[0] == "ROIs0000_fall_s1/s1_12/ROIs0000_fall_s1_12_p1.tif"
    assert files(root)[-1] == "ROIs0000_fall_s2_cloudy/s2_cloudy_12/ROIs0000_fall_s2_cloudy_12_p4.tif"
    assert {str(PatchId.parse(Path(name).stem)) for name in files(root)} == {
        f"ROIs0000_fall_12_p{n}" for n in range(1, 5)
    }


@pytest.mark.parametrize("token", SENSOR)
def test_every_file_reads_back_as_its_window_of_the_region(wide, written, token) -> None:
    root, patches = written
    layers = {"s1": wide.sar, "s2": wide.clear, "s2_cloudy": wide.cloudy}
    for patch, window in zip(
        patches, [np.s_[a : a + 256, b : b + 256] for a in (0, 128) for b in (0, 128)], strict=True
    ):
        found = read(root / f"ROIs0000_fall_{token}" / f"{token}_12" / patch.file_name(token), SENSOR[token])
        expected = layers[token].values[:, *window]
        np.testing.assert_allclose(found.values, expected.clip(max=0) if token == "s1" else expected, atol=5.1e-5)
        assert same_grid(found.geobox, wide.sar.geobox[window])


def test_files_are_as_bare_as_the_published_ones(written) -> None:
    root, _ = written
    for name in files(root):
        with rasterio.open(root / name) as file:
            assert file.nodata is None
            assert file.compression is None
            assert set(file.descriptions) == {None}
            assert set(file.dtypes) == {"float32" if "_s1_" in name else "uint16"}


def test_a_wider_stride_cuts_fewer_patches(wide, tmp_path) -> None:
    assert len(write_region(wide, tmp_path, stride_px=256)) == 1


def test_a_data_set_goes_through_the_seasons(tmp_path) -> None:
    rois = simulate_data_set(tmp_path, seed=1, regions=5, size_px=256)
    assert [str(roi) for roi in rois] == [
        "ROIs0000_spring_1", "ROIs0000_summer_1", "ROIs0000_fall_1", "ROIs0000_winter_1", "ROIs0000_spring_2",
    ]  # fmt: skip
    assert len(files(tmp_path)) == 3 * 5


def test_a_region_of_a_data_set_depends_on_the_seed_and_not_on_the_others(tmp_path) -> None:
    for name, seed, regions in (("one", 1, 1), ("two", 1, 2), ("other", 2, 1)):
        simulate_data_set(tmp_path / name, seed, regions, size_px=256)
    (path,) = files(tmp_path / "one")[:1]
    contents = [(tmp_path / name / path).read_bytes() for name in ("one", "two", "other")]
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]


def test_regions_of_a_data_set_are_clear_and_overcast(tmp_path) -> None:
    simulate_data_set(tmp_path, seed=1, regions=4, size_px=256)
    whiteness = [
        np.mean(read(path, SENTINEL2).values[1] > 0.25) for path in sorted(tmp_path.glob("*_s2_cloudy/*/*.tif"))
    ]
    assert min(whiteness) < 0.3
    assert max(whiteness) > 0.5
