"""Files of scores as a table of patches, with pictures where the images are found."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from products.viewer_example import PATCHES, example_scores, write_patches

from unclouded.errors import InputError
from unclouded.io.geotiff import write_geotiff
from unclouded.io.raster import read
from unclouded.patches.layouts import find_triplets
from unclouded.sensors import RGB, SENTINEL2
from unclouded.viewer.http_server import Request
from unclouded.viewer.patches import error_colours, radar_colours
from unclouded.viewer.routes import Viewer
from unclouded.viewer.scores import find_scores, read_scores


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of scores, the data set, and predictions whose error is 0.02 everywhere, those of ``b``."""
    folder = tmp_path_factory.mktemp("results")
    write_patches(folder / "data")
    (folder / "data" / "manifest.parquet").unlink()
    files = find_triplets(folder / "data").triplets
    for one in files:
        clear = read(one.clear, SENTINEL2).select(RGB)
        stored = np.rint((clear.values + 0.02) * 10_000).astype(np.uint16)
        write_geotiff(folder / "predicted" / f"{one.name}.tif", stored, RGB, clear.geobox, nodata=0)
    scores = {"a": (0.01, 0.05, 0.03), "b": (0.02, 0.02, 0.02)}
    for name, values in scores.items():
        (folder / f"{name}.json").write_text(json.dumps(example_scores(dict(zip(PATCHES, values, strict=True)), name)))
    (folder / "other.json").write_text('{"patches": {}}')
    return folder


def answered(viewer: Viewer, path: str) -> tuple[int, bytes]:
    response = viewer.respond(Request("GET", path))
    return response.status, response.content


def test_files_of_scores_are_found_alone_and_together(results: Path) -> None:
    assert [one.name for one in find_scores(results)] == ["a.json", "b.json"]
    viewer = Viewer(results)
    contents = json.loads(answered(viewer, "/api/contents")[1])
    assert [one["title"] for one in contents["scores"]] == ["all 2 files of scores", "a", "b"]
    assert contents["scenes"] == []


def test_one_file_can_be_named(results: Path) -> None:
    assert [len(paths) for paths in Viewer(results / "a.json").scores.values()] == [1]


def test_a_table_has_the_scores_of_all_removers_and_its_pictures(results: Path) -> None:
    viewer = Viewer(results)
    name = next(iter(viewer.scores))
    table = json.loads(answered(viewer, f"/api/scores/{name}")[1])
    assert table["removers"] == ["a: a", "b: b"]
    assert [one["values"]["a: a"]["all"]["mae"] for one in table["patches"]] == [0.01, 0.05, 0.03]
    assert table["patches"][0]["values"]["a: a"]["all"]["psnr"] is None
    assert table["pictured"] is True
    assert table["predicted"] == ["b: b"]  # by its error, 0.02
    assert table["comparable"] is True


def test_the_paired_difference_is_that_of_the_patches(results: Path) -> None:
    viewer = Viewer(results)
    name = next(iter(viewer.scores))
    found = json.loads(answered(viewer, f"/api/scores/{name}/difference/0/1")[1])["all"]["mae"]
    assert found["mean"] == pytest.approx((-0.01 + 0.03 + 0.01) / 3)
    assert found["n"] == 3
    assert found["interval"] == pytest.approx([-0.01, 0.02])  # all of region 1, all of region 2
    assert answered(viewer, f"/api/scores/{name}/difference/0/2")[0] == 422


def test_pictures_of_a_scored_patch(results: Path) -> None:
    viewer = Viewer(results)
    name = next(iter(viewer.scores))
    for kind in ("radar", "cloudy", "clear", "prediction/1", "error/1"):
        status, content = answered(viewer, f"/api/scores/{name}/pictures/0/{kind}")
        assert status == 200
        assert np.asarray(Image.open(io.BytesIO(content))).shape == (48, 48, 3)
    assert answered(viewer, f"/api/scores/{name}/pictures/0/prediction/0")[0] == 404
    assert answered(viewer, f"/api/scores/{name}/pictures/9/clear")[0] == 422


def test_colours_of_an_error_and_of_radar() -> None:
    clear = np.zeros((3, 1, 3), np.float32)
    predicted = clear + np.array([0.0, 0.02, np.nan], np.float32)
    assert error_colours(predicted, clear)[0].tolist() == [[247, 244, 236], [241, 184, 120], [140, 140, 140]]
    radar = np.array([[[-11.0]], [[-17.0]]], np.float32)
    assert radar_colours(radar)[0, 0].tolist() == [128, 128, 85]


@pytest.mark.parametrize(
    "content",
    [
        {"definition": "unclouded-scores-1", "patches": {"p1": 3}},
        {"definition": "unclouded-scores-1", "patches": {"p1": {"all": {}, "cloudy": {}}}},
        {"definition": "unclouded-scores-1", "patches": {}},
    ],
)
def test_scores_of_another_form_are_refused_in_a_line(tmp_path: Path, content: object) -> None:
    (tmp_path / "scores.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"has no scores|share no patch"):
        read_scores([tmp_path / "scores.json"], "scores")
