import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pystac
import pytest
from affine import Affine
from jsonschema import Draft7Validator
from odc.geo.geobox import GeoBox
from products.report import simulated_overview, simulated_report
from pystac.validation.local_validator import get_local_schema_cache
from referencing import Registry, Resource

from unclouded import __version__
from unclouded.io.rows import Layer
from unclouded.prediction.alignment import AlignmentQuality
from unclouded.prediction.auto_remover import ExpectedError, RemoverError
from unclouded.prediction.report.data import Input, OutputFile, ReportData
from unclouded.prediction.stac import (
    EXTENSIONS,
    FIRST_LIGHT,
    item_id,
    outline,
    scene_item,
    write_item,
)

TAKEN = datetime(2018, 12, 26, 11, 5, tzinfo=UTC)
GRID = GeoBox((200, 100), Affine(10, 0, 500000, 0, -10, 4500000), "EPSG:32630")
LAYER = Layer(("B02", "B8A"), "uint16", 0, scale=1e-4, offsets=(-0.1, -0.1))
DATA = simulated_report(
    title="Spain 7370579",
    remover="scene-adapted",
    bands=("B02", "B8A"),
    geobox=GRID,
    inputs=[Input("Sentinel-2", "S2.tif", "ab" * 32, TAKEN), Input("Sentinel-1", "S1.tif", "cd" * 32)],
    overview=simulated_overview(
        counts={"observed": 15000, "blended": 1000, "synthesised": 4000, "no_data": 0},
        mean_coverage=0.22,
        cloudy_share=0.25,
    ),
    expected=ExpectedError({"scene-adapted": RemoverError(0.02, 0.03, 8.0, 900)}, 900, ("B02", "B8A"), False),
    settings={"cloud map": "continuous"},
    remarks=("no elevation model",),
    alignment=AlignmentQuality(-2.5, None),
)


def item(tmp_path: Path, data: ReportData = DATA) -> pystac.Item:
    (tmp_path / "clear.tif").write_bytes(b"pixels")
    clear = OutputFile(tmp_path / "clear.tif", "Without clouds", ("data", "reflectance"), ("B02", "B8A"), LAYER)
    return scene_item(data, {"clear": clear})


def test_an_item_names_place_time_inputs_settings_and_statistics(tmp_path: Path) -> None:
    made = item(tmp_path).to_dict()
    properties = made["properties"]
    assert (made["id"], properties["datetime"]) == ("Spain-7370579", "2018-12-26T11:05:00Z")
    assert (properties["proj:code"], properties["proj:shape"]) == ("EPSG:32630", [200, 100])
    assert properties["proj:transform"] == [10, 0, 500000, 0, -10, 4500000]
    assert properties["proj:bbox"] == [500000, 4498000, 501000, 4500000]
    assert properties["eo:cloud_cover"] == 25.0
    assert properties["processing:software"] == {"unclouded": __version__}
    assert [one["sha256"] for one in properties["unclouded:inputs"]] == ["ab" * 32, "cd" * 32]
    assert (properties["unclouded:fit"]["radar_after_optical_days"], properties["unclouded:fit"]["shift_right_px"]) == (
        -2.5,
        None,
    )
    assert properties["unclouded:remarks"] == ["no elevation model"]
    assert properties["unclouded:settings"] == {"cloud map": "continuous"}
    assert properties["unclouded:expected_error"]["removers"]["scene-adapted"]["mae"] == 0.02
    assert made["stac_extensions"] == sorted(EXTENSIONS.values())


def test_a_file_has_its_size_its_multihash_and_its_bands(tmp_path: Path) -> None:
    asset = item(tmp_path).to_dict()["assets"]["clear"]
    # sha256sum of the six letters "pixels", after 0x12 for SHA-256 and 0x20 for its length
    assert asset["file:checksum"] == "12206ec9c2b0eb14010746c8bce8939303b382344b296206612eb8a907a37b2b2f37"
    assert (asset["href"], asset["file:size"], asset["roles"]) == ("./clear.tif", 6, ["data", "reflectance"])
    assert asset["bands"][1] == {
        "name": "B8A",
        "eo:common_name": "nir08",
        "eo:center_wavelength": 0.865,
        "raster:scale": 1e-4,
        "raster:offset": -0.1,
    }
    assert (asset["data_type"], asset["nodata"]) == ("uint16", 0)


def test_an_image_without_optical_bands_has_its_scale_and_class_names(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"pixels")
    path, confidence, origin = tmp_path / "a.tif", Layer(("confidence",), "uint8", 255, scale=0.01), ("origin",)
    percent = OutputFile(path, "Confidence", ("data",), layer=confidence)
    named = OutputFile(path, "Origin", ("data",), layer=Layer(origin, "uint8", 0), classes={1: "observed"})
    made = scene_item(DATA, {"percent": percent, "named": named}).to_dict()["assets"]
    assert [made["percent"][key] for key in ("data_type", "nodata", "raster:scale")] == ["uint8", 255, 0.01]
    assert made["named"]["classification:classes"] == [{"value": 1, "name": "observed"}]
    assert "raster:scale" not in made["named"] and "bands" not in made["percent"]


def test_the_outline_of_a_kilometre_at_forty_degrees_north() -> None:
    geometry, bbox = outline(GRID)
    assert geometry is not None
    assert bbox is not None
    assert geometry["type"] == "Polygon"
    west, south, east, north = bbox
    assert west == -3.0  # the central meridian of zone 30
    assert abs((north - south) * 111.2 - 2.0) < 0.01
    assert abs((east - west) * 85.0 - 1.0) < 0.02


def test_fault_12_a_scene_on_the_antimeridian_is_cut_there() -> None:
    geometry, bbox = outline(GeoBox((100, 100), Affine(1000, 0, 250000, 0, -1000, 6000000), "EPSG:32601"))
    assert geometry is not None
    assert bbox is not None
    assert geometry["type"] == "MultiPolygon"
    west, _, east, _ = bbox  # 60 km to the west of the antimeridian, 40 km to its east, at 54 degrees north
    assert 179 < west < 180
    assert -180 < east < -179
    longitudes = [point[0] for part in geometry["coordinates"] for point in part[0]]
    assert max(longitudes) == -min(longitudes) == 180.0


def test_a_patch_without_georeference_is_an_item_without_geometry(tmp_path: Path) -> None:
    made = item(tmp_path, replace(DATA, geobox=GeoBox((8, 9), Affine.identity(), None))).to_dict()
    assert made["geometry"] is None
    assert "bbox" not in made
    assert made["properties"]["proj:code"] is None


def test_an_undated_item_has_a_time_range(tmp_path: Path) -> None:
    undated = replace(DATA, inputs=[replace(one, acquired=None) for one in DATA.inputs])
    properties = item(tmp_path, undated).to_dict()["properties"]
    assert properties["datetime"] is None
    assert properties["start_datetime"] == FIRST_LIGHT.strftime("%Y-%m-%dT%H:%M:%SZ") == "2015-06-27T00:00:00Z"
    assert properties["end_datetime"] == "2020-01-01T00:00:00Z"


@pytest.mark.parametrize(("title", "expected"), [("../../etc/passwd", "etc-passwd"), ("<é>", "scene"), ("a b", "a-b")])
def test_ids_are_letters_digits_and_dashes(title: str, expected: str) -> None:
    assert item_id(title) == expected


def test_a_written_item_is_read_by_pystac(tmp_path: Path) -> None:
    made = item(tmp_path)
    write_item(tmp_path / "item.json", made)
    read = pystac.Item.from_dict(json.loads((tmp_path / "item.json").read_text()))
    assert read.datetime == TAKEN
    assert read.to_dict(include_self_link=False, transform_hrefs=False) == made.to_dict(
        include_self_link=False, transform_hrefs=False
    )
    assert read.assets["clear"].media_type == pystac.MediaType.COG


def test_an_item_has_platform_instruments_pixel_size_and_level(tmp_path: Path) -> None:
    product = replace(
        DATA,
        title="S2B_MSIL1C_20181226T110501_N0207_R094_T30TWK_20181226T120000",
        measured={"level": "L1C"},
        inputs=[*DATA.inputs, Input("weights", "net.safetensors", "ef" * 32)],
    )
    made = item(tmp_path, product).to_dict()
    properties = made["properties"]
    assert (properties["platform"], properties["gsd"], properties["processing:level"]) == ("sentinel-2b", 10, "L1C")
    assert properties["instruments"] == ["msi", "c-sar"]
    weights = next(link for link in made["links"] if link["href"] == "net.safetensors")
    assert (weights["rel"], weights["mlm:name"], weights["file:checksum"]) == (
        "derived_from",
        "scene-adapted",
        "1220" + "ef" * 32,
    )
    assert "platform" not in item(tmp_path).to_dict()["properties"]
    optical_only = replace(DATA, inputs=DATA.inputs[:1])
    assert item(tmp_path, optical_only).to_dict()["properties"]["instruments"] == ["msi"]


def test_an_item_is_valid_by_the_published_schemas_of_stac(tmp_path: Path) -> None:
    """Core, common metadata and bands, whose schemas pystac contains; those of the extensions are on the web only."""
    schemas = get_local_schema_cache()
    registry = Registry().with_resources([(key, Resource.from_contents(one)) for key, one in schemas.items()])
    validator = Draft7Validator(
        next(one for key, one in schemas.items() if key.endswith("/item.json")), registry=registry
    )
    made = item(tmp_path).to_dict(include_self_link=False, transform_hrefs=False)
    (tmp_path / "thumbnail.png").write_bytes(b"pixels")
    picture = OutputFile(tmp_path / "thumbnail.png", "Thumbnail", ("thumbnail",))
    made["assets"]["thumbnail"] = scene_item(DATA, {"thumbnail": picture}).to_dict()["assets"]["thumbnail"]
    assert made["assets"]["thumbnail"]["type"] == "image/png"
    assert [one.message for one in validator.iter_errors(made)] == []
    made["properties"]["gsd"] = "ten"
    assert [one.message for one in validator.iter_errors(made)]
