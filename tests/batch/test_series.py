"""Time series: neighbours in time, the dates of a folder or table, and the products as one data set."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from unclouded.batch.scene_list import COLLECTION, TABLE, ListedScene
from unclouded.batch.scenes import MAPS, WORK
from unclouded.batch.series import neighbours, predict_series, read_stack, series_scenes
from unclouded.batch.series_dataset import open_series
from unclouded.clouds.map import CloudMapSettings
from unclouded.errors import InputError
from unclouded.io.geotiff import read_stored, write_geotiff
from unclouded.prediction.scene import SceneSettings
from unclouded.sensors import SENTINEL1, SENTINEL2

SIDE = 64
GRID = GeoBox((SIDE, SIDE), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32632")
SETTINGS = SceneSettings(clouds=CloudMapSettings(mode="continuous"))


def ground() -> np.ndarray:
    fields = np.random.default_rng(0).integers(500, 3000, (13, SIDE // 8, SIDE // 8))
    return np.kron(fields, np.ones((8, 8))).astype(np.uint16)


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three dates with a cloud of 16 x 16 px, elsewhere on each, and a radar image near the second one."""

    def rule(reflectance: np.ndarray, *_: object, **__: object) -> np.ndarray:
        return (np.nan_to_num(reflectance[1]) > 0.8).astype(np.float32)

    monkeypatch.setattr("unclouded.prediction.cloud_mapping.cloud_map", rule)
    folder = tmp_path / "stack"
    folder.mkdir()
    for number, name in enumerate(("20200601T100000", "20200611T100000", "20200711T100000")):
        cloudy = ground()
        cloudy[:, 20 * number : 20 * number + 16, 20:36] = 9000
        write_geotiff(folder / f"S2A_{name}.tif", cloudy, SENTINEL2.bands, GRID, nodata=0)
    radar = np.random.default_rng(1).uniform(-20, -5, (2, SIDE, SIDE)).astype(np.float32)
    write_geotiff(folder / "S1A_20200612T060000.tif", radar, SENTINEL1.bands, GRID)
    return folder


def test_neighbours_are_half_before_and_half_after_and_more_where_one_side_ends() -> None:
    times = [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in (0, 5, 10, 15, 20, 25)]
    assert neighbours(times, 2, 4) == [0, 1, 3, 4]
    assert neighbours(times, 0, 3) == [1, 2, 3]
    assert neighbours(times, 5, 3) == [2, 3, 4]
    assert neighbours(times, 1, 9) == [0, 2, 3, 4, 5]
    assert neighbours(times, 3, 0) == []


def test_images_of_a_folder_become_scenes_named_by_date_with_the_nearest_radar(stack: Path) -> None:
    first, second, third = series_scenes(stack, 2)[0]
    assert [one.name for one in (first, second, third)] == ["2020-06-01", "2020-06-11", "2020-07-11"]
    assert (first.sar, second.sar, third.sar) == ("S1A_20200612T060000.tif",) * 2 + (None,)
    assert second.references == ("S2A_20200601T100000.tif", "S2A_20200711T100000.tif")
    assert second.reference_sars == ()  # the third date has none


def test_results_inside_the_folder_are_no_images_of_it(stack: Path) -> None:
    before = read_stack(stack)
    for name in ("in/summary.json", "out/scenes.parquet"):
        (stack / name).parent.mkdir()
        (stack / name).touch()
    assert read_stack(stack) == before


def test_two_images_of_one_date_or_an_undated_one_are_refused(stack: Path) -> None:
    write_geotiff(stack / "S2B_20200711T101010.tif", ground(), SENTINEL2.bands, GRID, nodata=0)
    with pytest.raises(InputError, match=r"S2A_20200711T100000.tif and S2B_20200711T101010.tif, both of 2020-07-11"):
        read_stack(stack)
    (stack / "S2B_20200711T101010.tif").rename(stack / "image.tif")
    with pytest.raises(InputError, match=r"image.tif is of unknown date; set its tag ACQUISITIONDATETIME"):
        read_stack(stack)


def test_a_table_names_references_separated_by_bars() -> None:
    scene = ListedScene(name="a", cloudy="a.tif", references="b.tif | c.tif", reference_sars="d.tif|e.tif")
    assert scene.references == ("b.tif", "c.tif") and scene.reference_sars == ("d.tif", "e.tif")
    with pytest.raises(ValueError, match="found 1 for 2 references"):
        ListedScene(name="a", cloudy="a.tif", references="b.tif|c.tif", reference_sars="d.tif")


def test_every_date_is_predicted_with_the_others_and_opened_as_one_data_set(stack: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    series = predict_series(stack, out, settings=SETTINGS, references=2)
    assert series.clear.dims == ("time", "band", "y", "x") and series.clear.shape == (3, 3, SIDE, SIDE)
    assert [moment.astype("datetime64[D]").item() for moment in series.time.values] == [
        date(2020, 6, 1),
        date(2020, 6, 11),
        date(2020, 7, 11),
    ]
    truth = ground()[SENTINEL2.indices("B04", "B03", "B02")] / 10_000
    assert float(np.abs(series.clear.values - truth).mean()) < 0.001
    stored = read_stored(out / "2020-06-11" / "clear.tif").values
    part = series.clear.sel(time="2020-06-11", band="B03").isel(y=slice(10, 50, 3), x=7)
    np.testing.assert_allclose(part.values.squeeze(), stored[1, 10:50:3, 7] / 10_000, rtol=1e-6)
    assert series.provenance.isel(time=0, y=5, x=25).item() == 8  # predicted from other dates
    assert float(series.x[0]) == 500_005.0 and float(series.y[0]) == 4_999_995.0
    assert {path.name for path in out.iterdir()} >= {COLLECTION, TABLE}
    assert not (out / WORK / MAPS).exists()


def test_a_folder_without_finished_scenes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no finished scene; expected the output of 'unclouded series'"):
        open_series(tmp_path)
