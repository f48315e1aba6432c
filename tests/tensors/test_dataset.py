from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import CloudMapSettings
from unclouded.clouds.synthetic import SyntheticSettings
from unclouded.errors import InputError
from unclouded.io.geotiff import read_stored, write_geotiff
from unclouded.patches.layouts import find_triplets
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.tensors import dataset
from unclouded.tensors.dataset import TripletDataset, centre_crop
from unclouded.tensors.observation import stack

ONES = CloudMapSettings(mode="ones")


@pytest.fixture
def coordinate_root(tmp_path: Path) -> Path:
    """A flat data set of one triplet whose optical pixels hold 10 x row + column, each band 1000 more."""
    grid = GeoBox((40, 40), GeoBox.from_bbox((0, 0, 400, 400), "EPSG:32632", resolution=10).affine, "EPSG:32632")
    rows, columns = np.mgrid[0:40, 0:40]
    optical = np.stack([1000 * band + 10 * rows + columns + 1 for band in range(13)]).astype(np.uint16)
    radar = np.full((2, 40, 40), -10, np.float32)
    write_geotiff(tmp_path / "s1" / "one.tif", radar, SENTINEL1.bands, grid)
    for folder in ("s2_cloudy", "s2_cloudfree"):
        write_geotiff(tmp_path / folder / "one.tif", optical, SENTINEL2.bands, grid)
    return tmp_path


def test_bands_are_selected_by_name_in_reflectance(coordinate_root: Path) -> None:
    data = TripletDataset(find_triplets(coordinate_root).triplets, ("B04", "B02"), ONES)
    triplet = data[0]
    assert triplet.observation.cloudy.shape == (1, 2, 40, 40)
    assert triplet.observation.cloudy[0, :, 0, 1] == pytest.approx([(3000 + 2) / 10_000, (1000 + 2) / 10_000])
    assert triplet.observation.sar.unique().tolist() == [-10]


def test_the_crop_is_the_middle(coordinate_root: Path) -> None:
    data = TripletDataset(find_triplets(coordinate_root).triplets, ("B01",), ONES, crop_px=20)
    first_pixel = data[0].clear[0, 0, 0, 0].item() * 10_000
    assert first_pixel == pytest.approx(10 * 10 + 10 + 1)  # row 10, column 10
    assert data[0].observation.cloud_map.shape == (1, 1, 20, 20)


def test_a_crop_larger_than_the_patch_is_refused(coordinate_root: Path) -> None:
    data = TripletDataset(find_triplets(coordinate_root).triplets, ("B01",), ONES)
    with pytest.raises(InputError, match="one has 40x40 px, expected at least the crop of 44"):
        centre_crop(data[0], 44)


def test_triplets_stack_to_a_batch_in_their_order(coordinate_root: Path) -> None:
    data = TripletDataset(find_triplets(coordinate_root).triplets, ("B01",), ONES)
    first, second = data[0], data[0].select(("B01",))
    second.clear[:] = 0.5
    batch = stack([first, second])
    assert batch.clear.shape == (2, 1, 40, 40)
    assert torch.equal(batch.clear[0], first.clear[0])
    assert batch.clear[1].unique().tolist() == [0.5]


def test_perlin_clouds_are_painted_on_the_clear_image_with_their_own_map(coordinate_root: Path) -> None:
    data = TripletDataset(
        find_triplets(coordinate_root).triplets, ("B04",), CloudMapSettings(), synthetic=SyntheticSettings()
    )
    triplet = data[0]
    m, seen = triplet.observation.cloud_map, triplet.observation.cloudy
    assert 0 < m.mean() < 1
    assert torch.allclose(seen, (1 - m) * triplet.clear + m * 1.0, atol=1e-6)  # white is 1


def half_where_it_is_bright(
    reflectance: NDArray[np.float32], bands: tuple[str, ...], cache: ProbabilityCache | None = None
) -> NDArray[np.float32]:
    """Stands for the cloud map: 1/2 where the first band is 0.9 and more."""
    return np.where(reflectance[0] >= 0.9, np.float32(0.5), np.float32(0.0))


@pytest.mark.parametrize(("clouds", "shown"), [(CloudMapSettings(), [0.5, 0.0]), (ONES, [1.0, 1.0])])
def test_copied_clouds_are_those_of_the_cloudy_image_under_its_own_map(
    clouds: CloudMapSettings, shown: list[float], coordinate_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = read_stored(coordinate_root / "s2_cloudfree" / "one.tif")
    cloudy = stored.values.copy()
    cloudy[:, :, :20] = 9000  # the left half
    write_geotiff(coordinate_root / "s2_cloudy" / "one.tif", cloudy, SENTINEL2.bands, stored.geobox)
    monkeypatch.setattr(dataset, "cloud_map", half_where_it_is_bright)
    files = find_triplets(coordinate_root).triplets
    seen = TripletDataset(files, ("B04",), clouds, synthetic=SyntheticSettings(mode="copy"))[0]
    clear = seen.clear[0, 0]
    assert clear.numpy() == pytest.approx(stored.values[3] / 10_000)
    assert torch.allclose(seen.observation.cloudy[0, 0, :, :20], 0.5 * 0.9 + 0.5 * clear[:, :20])
    assert seen.observation.cloudy[0, 0, :, 20:].equal(clear[:, 20:])
    assert seen.observation.cloud_map[0, 0, 0, [0, 39]].tolist() == shown


def test_the_ablation_has_m_of_one_for_synthetic_clouds(coordinate_root: Path) -> None:
    files = find_triplets(coordinate_root).triplets
    painted = TripletDataset(files, ("B04",), ONES, synthetic=SyntheticSettings())[0].observation
    seen = TripletDataset(files, ("B04",), CloudMapSettings(), synthetic=SyntheticSettings())[0].observation
    assert painted.cloud_map.unique().tolist() == [1]
    assert torch.equal(painted.cloudy, seen.cloudy)


def test_the_dataset_works_with_a_plain_data_loader(coordinate_root: Path) -> None:
    one = find_triplets(coordinate_root).triplets[0]
    data = TripletDataset((one, one, one), ("B04",), ONES, crop_px=20)
    batches = list(torch.utils.data.DataLoader(data, batch_size=2))
    assert [tuple(batch.clear.shape) for batch in batches] == [(2, 1, 20, 20), (1, 1, 20, 20)]
