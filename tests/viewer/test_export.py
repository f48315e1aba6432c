"""Scenes are exported as a folder for any server of static files."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from products.viewer_example import GRID, ExampleScene, example_scores

from unclouded.errors import InputError
from unclouded.io.geotiff import write_geotiff
from unclouded.sensors import RGB
from unclouded.viewer.export import export_view
from unclouded.viewer.routes import Viewer
from unclouded.viewer.scenes import Sources


def test_an_export_holds_the_front_end_the_descriptions_and_the_same_pixels(
    example: ExampleScene, tmp_path: Path
) -> None:
    viewer = Viewer(example.folder, Sources((example.inputs,)))
    assert export_view(viewer, tmp_path / "out") == 1
    contents = json.loads((tmp_path / "out" / "contents.json").read_text())
    scene = json.loads((tmp_path / "out" / "scenes" / f"{contents['scenes'][0]['id']}.json").read_text())
    assert contents["token"] == ""
    for layer in scene["layers"]:
        assert (tmp_path / "out" / "files" / f"{layer['file']}.tif").is_file()
    written = tmp_path / "out" / "files" / f"{scene['layers'][0]['file']}.tif"
    with rasterio.open(written) as exported, rasterio.open(example.folder / "clear.tif") as original:
        assert np.array_equal(exported.read(), original.read())
        assert (original.compression.name, exported.compression.name) == ("zstd", "deflate")
        assert exported.scales == original.scales
    page = (tmp_path / "out" / "index.html").read_text()
    assert 'data-files="static"' in page
    assert "default-src 'none'" in page
    assert (tmp_path / "out" / "reports" / f"{scene['id']}.html").is_file()
    assert str(tmp_path) not in json.dumps(scene)


def test_large_images_get_overviews(tmp_path: Path) -> None:
    values = np.broadcast_to(np.arange(1, 1401, dtype=np.uint16)[:, None], (3, 1400, 40))
    (tmp_path / "in").mkdir()
    write_geotiff(tmp_path / "in" / "tall.tif", np.ascontiguousarray(values), RGB, GRID.zoom_to((1400, 40)), nodata=0)
    export_view(Viewer(tmp_path / "in"), tmp_path / "out")
    (written,) = (tmp_path / "out" / "files").iterdir()
    with rasterio.open(written) as file:
        assert file.overviews(1)
        assert np.array_equal(file.read(), values)


def test_an_export_replaces_an_earlier_one_and_nothing_else(example: ExampleScene, tmp_path: Path) -> None:
    viewer = Viewer(example.folder)
    export_view(viewer, tmp_path / "out")
    export_view(viewer, tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="contains other files"):
        export_view(viewer, tmp_path / "mine")
    with pytest.raises(InputError, match="lies in the input"):
        export_view(viewer, example.folder / "out")


def test_files_of_an_earlier_export_are_gone(example: ExampleScene, tmp_path: Path) -> None:
    site = tmp_path / "site"
    export_view(Viewer(example.folder), site)
    (site / "files" / "secret.tif").touch()
    export_view(Viewer(example.folder), site)
    assert not (site / "files" / "secret.tif").exists()
    assert list((site / "files").glob("*.tif"))


def test_scores_alone_cannot_be_exported(tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text(json.dumps(example_scores({"p1": 0.1})))
    with pytest.raises(InputError, match="only scenes can be exported"):
        export_view(Viewer(tmp_path / "scores.json"), tmp_path / "out")
