import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.evaluation.external import (
    UNITS,
    Unit,
    ValueRange,
    check_unit,
    find_predictions,
    find_unit,
    read_prediction,
    to_reflectance,
)
from unclouded.io.geotiff import write_geotiff
from unclouded.patches.layouts import TripletFiles
from unclouded.patches.roi import PatchId
from unclouded.sensors import RGB, SENTINEL2

GRID = GeoBox.from_bbox((0, 0, 80, 60), "EPSG:32632", resolution=10)  # 8 x 6 px


def image(bands: int = 3, scale: float = 1.0) -> np.ndarray:
    """Return an image whose values encode their place: 0.1 x band + 0.01 x row + 0.001 x column."""
    b, r, c = np.mgrid[0:bands, 0:6, 0:8]
    return ((0.1 * b + 0.01 * r + 0.001 * c) * scale).astype(np.float32)


@pytest.fixture
def triplets(tmp_path: Path) -> list[TripletFiles]:
    write_geotiff(tmp_path / "clear.tif", np.ones((13, 6, 8), np.uint16), SENTINEL2.bands, GRID)
    names = ["ROIs1158_spring_1_p30", "ROIs1158_spring_106_p30", "flat_7"]
    here = tmp_path / "clear.tif"
    return [TripletFiles(name, None if "flat" in name else PatchId.parse(name), here, here, here) for name in names]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "theirs").mkdir()
    return tmp_path / "theirs"


def test_any_spelling_of_a_name_finds_its_patch_and_no_other(folder: Path, triplets: list[TripletFiles]) -> None:
    np.save(folder / "ROIs1158_spring_s2_cloudy_1_p30.npy", image())
    write_geotiff(folder / "ROIs1158_spring_s2_106_p30.tif", image(), RGB, GRID)
    np.save(folder / "flat_7.npy", image())
    found = find_predictions(folder, triplets)
    assert {name: path.name for name, path in found.files.items()} == {
        "ROIs1158_spring_1_p30": "ROIs1158_spring_s2_cloudy_1_p30.npy",
        "ROIs1158_spring_106_p30": "ROIs1158_spring_s2_106_p30.tif",
        "flat_7": "flat_7.npy",
    }
    assert (found.bands, found.unit, found.missing, found.unexpected_files) == (RGB, "reflectance", (), ())
    for files in triplets:
        np.testing.assert_allclose(found.read(files)[0], image(), atol=1e-7)


def test_expectation_5_what_is_missing_and_what_is_strange_is_named(folder: Path, triplets: list[TripletFiles]) -> None:
    np.save(folder / "flat_7.npy", image())
    (folder / "notes.txt").write_text("by hand")
    np.save(folder / "ROIs1158_spring_10_p30.npy", image())
    found = find_predictions(folder, triplets)
    assert found.missing == ("ROIs1158_spring_1_p30", "ROIs1158_spring_106_p30")
    assert found.unexpected_files == ("ROIs1158_spring_10_p30.npy", "notes.txt")


def test_cloud_maps_written_by_predict_are_not_unexpected_files(folder: Path, triplets: list[TripletFiles]) -> None:
    np.save(folder / "flat_7.npy", image())
    write_geotiff(folder / "flat_7_cloud_map.tif", image(1), ("m",), GRID)
    assert find_predictions(folder, triplets).unexpected_files == ()


def test_two_files_of_one_patch_are_refused(folder: Path, triplets: list[TripletFiles]) -> None:
    np.save(folder / "flat_7.npy", image())
    write_geotiff(folder / "flat_7.tif", image(), RGB, GRID)
    with pytest.raises(InputError, match=r"flat_7.tif and flat_7.npy are both of flat_7; keep one"):
        find_predictions(folder, triplets)


def test_fault_19_a_folder_of_something_else_is_refused(folder: Path, triplets: list[TripletFiles]) -> None:
    (folder / "notes.txt").write_text("by hand")
    with pytest.raises(InputError, match=r"no prediction of the 3 patches, found 1 other files, such as notes.txt"):
        find_predictions(folder, triplets)


@pytest.mark.parametrize("bands", [3, 13])
@pytest.mark.parametrize("last", [False, True])
def test_bands_may_stand_first_or_last(bands: int, last: bool, folder: Path, triplets: list[TripletFiles]) -> None:
    np.save(folder / "flat_7.npy", np.moveaxis(image(bands), 0, 2) if last else image(bands))
    np.testing.assert_array_equal(read_prediction(folder / "flat_7.npy", triplets[2].clear), image(bands))


def test_numbers_times_10000_are_reflectance_again(folder: Path, triplets: list[TripletFiles]) -> None:
    stored = (image(13) * 10_000).round().astype(np.uint16)
    write_geotiff(folder / "flat_7.tif", stored, SENTINEL2.bands, GRID)
    found = find_predictions(folder, triplets)
    assert found.unit == "dn"
    np.testing.assert_allclose(found.read(triplets[2])[0], image(13), atol=5e-5)


def test_the_unit_is_that_of_all_files_and_not_of_a_bright_one(folder: Path, triplets: list[TripletFiles]) -> None:
    np.save(folder / "ROIs1158_spring_1_p30.npy", image() * 0 + 0.9)  # network values of a cloud
    np.save(folder / "flat_7.npy", image() - 0.8)
    found = find_predictions(folder, triplets)
    assert found.unit == "network"
    np.testing.assert_allclose(found.read(triplets[0]), 0.95, atol=1e-6)


def test_a_file_of_another_number_of_bands_is_refused(folder: Path, triplets: list[TripletFiles]) -> None:
    np.save(folder / "ROIs1158_spring_1_p30.npy", image())
    np.save(folder / "flat_7.npy", image(13))
    found = find_predictions(folder, triplets)
    with pytest.raises(InputError, match=r"flat_7.npy has 13 bands, others 3; use the same bands"):
        found.read(triplets[2])


def refusal(path: Path, triplets: list[TripletFiles]) -> str:
    with pytest.raises(InputError) as refused:
        read_prediction(path, triplets[2].clear)
    return str(refused.value)


def test_fault_09_bands_in_another_order_are_refused(folder: Path, triplets: list[TripletFiles]) -> None:
    write_geotiff(folder / "flat_7.tif", image(), ("B2", "B3", "B4"), GRID)
    assert "has the bands B02 B03 B04, expected B04 B03 B02; reorder them" in refusal(folder / "flat_7.tif", triplets)


def test_fault_11_another_grid_is_refused(folder: Path, triplets: list[TripletFiles]) -> None:
    write_geotiff(folder / "flat_7.tif", image(), RGB, GRID.translate_pix(0.5, 0))
    assert "lies on another grid than clear.tif" in refusal(folder / "flat_7.tif", triplets)


@pytest.mark.parametrize("shape", [(3, 8, 6), (4, 6, 8), (1, 6, 8)])
def test_fault_11_another_shape_is_refused(shape: tuple[int, ...], folder: Path, triplets: list[TripletFiles]) -> None:
    np.save(folder / "flat_7.npy", np.zeros(shape, np.float32))
    assert "expected (3, 6, 8), (6, 8, 3), or the same with 13" in refusal(folder / "flat_7.npy", triplets)


@pytest.mark.parametrize("hole", [np.nan, np.inf])
def test_fault_13_a_prediction_with_holes_is_refused(hole: float, folder: Path, triplets: list[TripletFiles]) -> None:
    holed = image()
    holed[1, 2, 3] = hole
    np.save(folder / "flat_7.npy", holed)
    assert "holds NaN or infinity; a prediction must have a value at every pixel" in refusal(
        folder / "flat_7.npy", triplets
    )


def test_fault_23_a_pickle_in_a_npy_file_is_not_opened(folder: Path, triplets: list[TripletFiles]) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return Path.write_text, (folder / "ran", "")  # type: ignore[return-value]

    np.save(folder / "flat_7.npy", np.array([Payload()], dtype=object), allow_pickle=True)
    assert "holds object of shape (1,), expected numbers" in refusal(folder / "flat_7.npy", triplets)
    assert not (folder / "ran").exists()


def test_fault_20_a_header_that_declares_a_giant_is_refused_before_reading(
    folder: Path, triplets: list[TripletFiles]
) -> None:
    with (folder / "flat_7.npy").open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (3, 2_000_000, 2_000_000)}
        np.lib.format.write_array_header_1_0(file, header)
    assert "declares 12,000,000,000,000 values, expected at most" in refusal(folder / "flat_7.npy", triplets)


@given(st.integers(0, 703))
@settings(max_examples=30)
def test_fault_05_a_truncated_npy_file_is_refused(folder: Path, triplets: list[TripletFiles], length: int) -> None:
    path = folder / "flat_7.npy"
    np.save(path, image())
    whole = path.read_bytes()
    assert len(whole) == 128 + 4 * 3 * 6 * 8
    path.write_bytes(whole[:length])
    assert "write it again" in refusal(path, triplets)


@pytest.fixture
def ground(tmp_path: Path, triplets: list[TripletFiles]) -> np.ndarray:
    """Reflectance of the clear image, 0.04 to 0.16, with a cloud of 0.9 in the prediction."""
    reflectance = 0.04 + image(13) / 10
    stored = (reflectance * 10_000).round().astype(np.uint16)
    write_geotiff(tmp_path / "clear.tif", stored, SENTINEL2.bands, GRID)
    reflectance[:, 0, 0] = 0.9
    return reflectance


@pytest.mark.parametrize(("scale", "divided"), [(2000.0, 2000.0), (100.0, 100.0), (10_000.0, 10_000.0)])
def test_predictions_that_were_divided_by_a_number_are_reflectance_again(
    scale: float, divided: float, ground: np.ndarray, folder: Path, triplets: list[TripletFiles]
) -> None:
    np.save(folder / "flat_7.npy", (ground * 10_000 / divided).astype(np.float32))
    found = find_predictions(folder, triplets, scale=scale)
    assert (found.unit, found.units, found.unit_warning) == ("dn", f"dn / {scale:g}", "")
    np.testing.assert_allclose(found.read(triplets[2])[0], ground, atol=1e-6)


@pytest.mark.parametrize("unit", ["dn", "uint8", "reflectance", "network"])
def test_predictions_divided_by_2000_are_not_mistaken_for_another_unit(
    unit: Unit, ground: np.ndarray, folder: Path, triplets: list[TripletFiles]
) -> None:
    np.save(folder / "flat_7.npy", (ground * 5).astype(np.float32))  # 0.2 to 4.5
    with pytest.raises(InputError, match="--scale"):
        find_predictions(folder, triplets, unit)
    with pytest.raises(InputError, match="divided by 2000, as of DSen2-CR and UnCRtainTS"):
        find_predictions(folder, triplets)


@pytest.mark.parametrize(
    ("factor", "unit"), [(1.0, "dn"), (1.0, "uint8"), (100.0, "dn"), (255.0, "dn"), (1.0, "network")]
)
def test_fault_17_a_unit_that_would_make_every_image_too_dark_or_too_bright_is_refused(
    factor: float, unit: Unit, ground: np.ndarray, folder: Path, triplets: list[TripletFiles]
) -> None:
    np.save(folder / "flat_7.npy", (ground * factor).astype(np.float32))
    with pytest.raises(InputError, match="--scale"):
        find_predictions(folder, triplets, unit)


def test_a_scale_that_makes_predictions_a_fifth_as_bright_is_doubted(
    ground: np.ndarray, folder: Path, triplets: list[TripletFiles]
) -> None:
    np.save(folder / "flat_7.npy", ground.astype(np.float32))
    assert (
        "0.2 times the reflectance of the clear images" in find_predictions(folder, triplets, scale=2000.0).unit_warning
    )
    assert find_predictions(folder, triplets).unit_warning == ""


def test_dark_predictions_that_may_have_been_divided_by_2000_are_not_taken_for_reflectance(
    folder: Path, triplets: list[TripletFiles], tmp_path: Path
) -> None:
    dark = image(scale=0.5) + 0.05  # 0.05 to 0.18
    stored = np.pad(dark * 10_000, ((0, 10), (0, 0), (0, 0)), mode="edge").astype(np.uint16)
    write_geotiff(tmp_path / "clear.tif", stored[[0, 2, 1, 0, *range(3, 12)]], SENTINEL2.bands, GRID)
    np.save(folder / "flat_7.npy", dark * 2)
    assert find_predictions(folder, triplets).unit == "reflectance"  # twice as bright: a poor method
    np.save(folder / "flat_7.npy", dark * 5)
    with pytest.raises(
        InputError, match=r"times the reflectance of the clear images .*divided by 2000 would; set it with"
    ):
        find_predictions(folder, triplets)
    assert "clear images" in find_predictions(folder, triplets, "reflectance").unit_warning


@pytest.mark.parametrize("header", [b"(" * 4000, b"{'descr': '<f4\xff'", b"\\\n'" * 9, b"9" * 5000])
def test_an_invalid_npy_header_is_reported_in_one_line(
    header: bytes, folder: Path, triplets: list[TripletFiles]
) -> None:
    (folder / "flat_7.npy").write_bytes(b"\x93NUMPY\x02\x00" + (9000).to_bytes(4, "little") + header.ljust(9000))
    with pytest.raises(InputError, match=r"flat_7\.npy is not a complete \.npy file of numbers .*; write it again"):
        find_predictions(folder, triplets)


def test_a_pipe_among_predictions_is_refused_and_not_opened(folder: Path, triplets: list[TripletFiles]) -> None:
    os.mkfifo(folder / "flat_7.npy")
    with pytest.raises(InputError, match=r"flat_7\.npy is not a file"):
        find_predictions(folder, triplets)


@pytest.mark.parametrize(("scale", "unit"), [(0.0, None), (-1.0, None), (np.nan, None), (np.inf, None), (2.0, "uint8")])
def test_a_scale_is_a_positive_number_of_stored_numbers(
    scale: float, unit: Unit | None, folder: Path, triplets: list[TripletFiles]
) -> None:
    with pytest.raises(InputError, match="expected a positive number and no other unit"):
        find_predictions(folder, triplets, unit, scale)


def test_a_damaged_clear_image_among_the_probed_ones_does_not_hide_the_unit(
    ground: np.ndarray, folder: Path, tmp_path: Path, triplets: list[TripletFiles]
) -> None:
    (tmp_path / "torn.tif").write_bytes((tmp_path / "clear.tif").read_bytes()[:300])
    torn = replace(triplets[0], clear=tmp_path / "torn.tif")
    for files in (torn, triplets[2]):
        np.save(folder / f"{files.name}.npy", ground.astype(np.float32))
    assert find_predictions(folder, [torn, triplets[2]]).unit == "reflectance"
    assert find_predictions(folder, [triplets[2], torn]).unit == "reflectance"
    with pytest.raises(InputError, match=r"torn.tif"):
        find_predictions(folder, [torn])


def f32(low: float, high: float) -> ValueRange:
    return ValueRange("f", 32, low, high)


@pytest.mark.parametrize(
    ("found", "unit"),
    [
        (f32(0.01, 0.9), "reflectance"),
        (f32(-0.02, 1.4), "reflectance"),
        (f32(-0.98, 0.7), "network"),
        (f32(100.0, 9_000.0), "dn"),
        (ValueRange("i", 16, 0, 10_000), "dn"),
    ],
)
def test_the_unit_is_inferred_from_type_and_range(found: ValueRange, unit: str) -> None:
    assert find_unit(found) == unit


@pytest.mark.parametrize(
    ("found", "may_be"),
    [
        (ValueRange("i", 8, 0, 255), "integers from 0 to 255, which may be reflectance x 10000, or a picture of 0 to"),
        (ValueRange("i", 16, 0, 200), "stretched for display"),
        (f32(0.6, 0.9), "floating point from 0.6 to 0.9, which may be reflectance or -1 to 1"),
        (f32(0.0, 0.0), "reflectance or -1 to 1"),
        (f32(0.0, 180.0), "stretched for display"),
        (f32(-2.0, 2.0), "nothing known"),
        (ValueRange("i", 16, -4, 9_000), "anything signed"),
    ],
)
def test_fault_17_what_may_be_two_things_is_refused_with_the_way_out(found: ValueRange, may_be: str) -> None:
    with pytest.raises(InputError, match=rf"{may_be}.*name the unit with --units reflectance\|dn"):
        find_unit(found)


def test_all_units_of_one_reflectance() -> None:
    stored = {"reflectance": 0.25, "dn": 2500, "network": -0.5, "uint8": 63.75}
    for unit in UNITS:
        assert to_reflectance(np.array([stored[unit]]), unit).tolist() == [0.25]


@given(st.lists(st.floats(0.0, 1.0, width=32), min_size=4, max_size=20))
def test_fault_17_the_same_image_in_three_units_is_the_same_reflectance_or_refused(values: list[float]) -> None:
    reflectance = np.array([0.05, *values], np.float32)  # the darkest pixel of some ground
    stored = {"dn": (reflectance * 10_000).round().astype(np.uint16), "network": reflectance * 2 - 1}
    for image in (reflectance, *stored.values()):
        try:
            unit = find_unit(ValueRange.of(image))
        except InputError:
            continue
        np.testing.assert_allclose(to_reflectance(image, unit), reflectance, atol=6e-5)


@pytest.mark.parametrize(("unit", "found"), [("reflectance", f32(-1, 0)), ("network", f32(0, 3)), ("dn", f32(0, 1))])
def test_a_file_of_another_unit_than_the_others_is_named(unit, found) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=r"p7.npy holds floating point .* are all predictions of one kind\?"):
        check_unit(unit, found, "p7.npy")
