"""Scenes of a folder with their layers, and the reasons why an input is not shown."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from products.viewer_example import GRID, ExampleScene, coordinate_bands

from unclouded.errors import InputError
from unclouded.io.geotiff import write_geotiff
from unclouded.sensors import RGB
from unclouded.viewer.registry import Registry
from unclouded.viewer.scenes import Scene, Sources, find_scenes, open_scene, scene_json


def opened(folder: Path, sources: Sources | None = None, root: Path | None = None) -> Scene:
    (found,) = find_scenes(folder)
    return open_scene(found, Registry(), sources or Sources(), root or folder)


def copied(example: ExampleScene, parent: Path) -> ExampleScene:
    shutil.copytree(example.folder.parents[1], parent / "view")
    folder = parent / "view" / "products" / example.folder.name
    inputs = parent / "view" / "inputs"
    return replace(example, folder=folder, inputs=inputs, observed=inputs / example.observed.name)


def test_layers_of_a_scene_with_its_inputs(example: ExampleScene) -> None:
    scene = opened(example.folder, Sources((example.inputs,), (example.truth,)))
    titles = {one.id: one.title for one in scene.layers}
    assert titles == {
        "result": "Without clouds",
        "observed": "Observed",
        "radar": "Radar",
        "truth": "Truth",
        "cloud-map": "Cloud map m",
        "provenance": "Provenance",
        "confidence": "Confidence",
    }
    assert scene.layer("observed").verified is True
    assert scene.missing == (("gone.tif", "not found beside the products; give its folder with --inputs"),)
    assert scene.layer("provenance").classes[3] == "synthesised"


def test_no_path_of_the_machine_is_part_of_the_description(example: ExampleScene) -> None:
    text = json.dumps(scene_json(opened(example.folder, Sources((example.inputs,)))))
    assert str(example.folder.parent) not in text
    assert str(example.inputs) not in text


def test_the_stretch_is_the_contrast_of_clear_ground(example: ExampleScene) -> None:
    stretch = opened(example.folder).stretch
    clear = coordinate_bands(13)[0, 100:]  # the upper 100 rows are cloudy
    low, high = np.percentile(clear, (0.5, 99)) / 10_000
    assert stretch["B01"] == pytest.approx([low, high], abs=0.002)
    assert stretch["B02"] == pytest.approx([low + 0.01, high + 0.01], abs=0.002)


def test_an_input_of_other_content_is_not_shown(example: ExampleScene, tmp_path: Path) -> None:
    other = copied(example, tmp_path)
    with other.observed.open("ab") as file:
        file.write(b"x")
    scene = opened(other.folder, Sources((other.inputs,)))
    assert "observed" not in {one.id for one in scene.layers}
    assert (other.observed.name, "a file of this name has other content") in scene.missing


def test_an_input_on_another_grid_is_not_shown(example: ExampleScene, tmp_path: Path) -> None:
    other = copied(example, tmp_path)
    write_geotiff(other.observed, coordinate_bands(3)[:, :50, :50], RGB, GRID[:50, :50])
    summary = json.loads((other.folder / "summary.json").read_text())
    summary["cloudy"]["sha256"] = None
    (other.folder / "summary.json").write_text(json.dumps(summary))
    assert (other.observed.name, "it lies on another grid") in opened(other.folder, Sources((other.inputs,))).missing


@pytest.mark.parametrize("name", ["../inputs/s2_scene.tif", "..", ".", "", "/etc/passwd", "a/b.tif"])
def test_fault_29_a_summary_cannot_name_a_file_elsewhere(example: ExampleScene, tmp_path: Path, name: str) -> None:
    other = copied(example, tmp_path)
    summary = json.loads((other.folder / "summary.json").read_text())
    summary["cloudy"] = {"name": name}
    (other.folder / "summary.json").write_text(json.dumps(summary))
    scene = opened(other.folder, Sources((other.inputs,)))
    assert "observed" not in {one.id for one in scene.layers}
    assert (name, "its name is not a file name") in scene.missing


@pytest.mark.parametrize(
    "summary",
    [
        {},
        {"scene": 3, "cloudy": [], "references": {"a": 1}},
        {"references": [3, None, {"name": 7}], "settings": "x"},
        {"references": [{"name": []}], "reference_use": 7},
    ],
)
def test_a_summary_of_another_form_shows_the_products_alone(
    example: ExampleScene, tmp_path: Path, summary: dict[str, object]
) -> None:
    other = copied(example, tmp_path)
    (other.folder / "summary.json").write_text(json.dumps(summary))
    assert [one.id for one in opened(other.folder).layers] == ["result", "cloud-map", "provenance", "confidence"]


def test_fault_29_a_product_that_links_elsewhere_is_refused(example: ExampleScene, tmp_path: Path) -> None:
    other = copied(example, tmp_path)
    (other.folder / "clear.tif").unlink()
    (other.folder / "clear.tif").symlink_to(example.truth)
    with pytest.raises(InputError, match="is not a regular file inside"):
        opened(other.folder)


def test_dates_of_a_series_are_listed_in_order(tmp_path: Path) -> None:
    for name, acquired in (("a", "2020-07-20T10:00:00+00:00"), ("b", "2020-07-11T10:00:00+00:00"), ("c", None)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "clear.tif").write_bytes(b"not read yet")
        (tmp_path / name / "summary.json").write_text(json.dumps({"scene": {"acquired": acquired}}))
    (tmp_path / "unfinished").mkdir()
    assert [one.title for one in find_scenes(tmp_path)] == ["b", "a", "c"]


def test_inputs_are_found_in_a_folder_beside_the_products(example: ExampleScene, tmp_path: Path) -> None:
    other = copied(example, tmp_path)
    other.inputs.rename(other.folder.parent / "scene_images")
    assert opened(other.folder).layer("observed").verified is True


def test_products_and_geotiffs_of_one_folder_are_all_listed(tmp_path: Path) -> None:
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / "clear.tif").write_bytes(b"not read yet")
    (tmp_path / "result" / "summary.json").write_text("{}")
    (tmp_path / "network.tif").write_bytes(b"not read yet")
    assert [(one.title, one.is_product) for one in find_scenes(tmp_path)] == [("result", True), (tmp_path.name, False)]


def test_geotiffs_of_one_grid_are_a_scene(tmp_path: Path) -> None:
    write_geotiff(tmp_path / "first.tif", coordinate_bands(3), RGB, GRID, nodata=0)
    write_geotiff(tmp_path / "second.tif", coordinate_bands(3), RGB, GRID, nodata=0)
    write_geotiff(tmp_path / "smaller.tif", coordinate_bands(3)[:, :9, :9], RGB, GRID[:9, :9], nodata=0)
    write_geotiff(tmp_path / "heights.tif", np.zeros((1, *GRID.shape), np.float32), ("height",), GRID)
    layers = opened(tmp_path).layers
    assert [(one.title, one.role) for one in layers] == [
        ("first", "optical"),
        ("second", "optical"),
        ("heights", "other"),
    ]


def test_radar_in_linear_power_is_shown_in_db(example: ExampleScene, tmp_path: Path) -> None:
    other = copied(example, tmp_path)
    radar = other.inputs / example.radar.name
    write_geotiff(radar, np.full((2, *GRID.shape), 0.1, np.float32), ("VV", "VH"), GRID)
    summary = json.loads((other.folder / "summary.json").read_text())
    summary["sar"]["sha256"] = None
    summary["settings"]["radar"]["units"] = "linear"
    (other.folder / "summary.json").write_text(json.dumps(summary))
    from unclouded.viewer.pixels import read_pixel

    layer = opened(other.folder, Sources((other.inputs,))).layer("radar")
    assert read_pixel(layer, 0, 0) == {"VV": pytest.approx(-10.0), "VH": pytest.approx(-10.0)}


def test_the_picture_of_the_product_stands_in_for_an_image_that_was_not_found(
    example: ExampleScene, tmp_path: Path
) -> None:
    from unclouded.io.picture_tiff import write_picture
    from unclouded.viewer.pixels import read_tile

    other = copied(example, tmp_path)
    pixels = np.full((4, *GRID.shape), 200, np.uint8)
    pixels[3] = 255
    write_picture(other.folder / "observed_visual.tif", [(0, pixels)], {}, GRID)
    shutil.rmtree(other.inputs)
    layer = opened(other.folder).layer("observed")
    assert (layer.role, layer.title) == ("picture", "Observed (picture)")
    content, kind = read_tile(layer, layer.bands, 0, 0, 0)
    tile = np.frombuffer(content, "u1").reshape(3, 256, 256)
    assert (kind, tile.min(), tile.max()) == ("application/octet-stream", 200, 200)
