import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from products.manifest import zip_product
from products.radar_product import RadarGeometry, RadarProduct

from unclouded.errors import InputError
from unclouded.sensors import SENTINEL1
from unclouded.sentinel.identify import identify, products_of
from unclouded.sentinel.radar import NO_TERRAIN, open_radar
from unclouded.sentinel.safe import SafeProduct, open_product
from unclouded.sentinel.sentinel1 import (
    Sentinel1Product,
    Table,
    ThermalNoise,
    Vector,
    describe_radar_product,
)
from unclouded.sentinel.xml import XmlElement

Write = Callable[..., Path]


def described(folder: Path) -> Sentinel1Product:
    with open_product(SafeProduct(folder), folder) as product:
        return describe_radar_product(product)


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as error:
        described(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def changed(folder: Path, name: str, old: str, new: str) -> Path:
    for path in folder.rglob(name):
        text = path.read_text()
        assert re.search(old, text)
        path.write_text(re.sub(old, new, text))
    (folder / "manifest.safe").unlink(missing_ok=True)
    return folder


def test_a_product_is_described_by_its_annotations(radar_product: Write) -> None:
    seen = described(radar_product())
    assert seen.identity == "S1A_IW_GRDH_1SDV_20210907T170650_20210907T170650_039571_04AC9A_3768"
    assert seen.acquired.isoformat() == "2021-09-07T17:06:50.054569+00:00" and seen.processor == 3.31
    assert [(channel.polarisation, channel.shape) for channel in seen.channels] == [
        ("VV", (200, 240)),
        ("VH", (200, 240)),
    ]
    assert seen.ground.lines.tolist() == [0, 40, 80, 119, 159, 199] and seen.ground.height_m.max() == 0
    assert seen.ground.slant_m[0, [0, -1]] == pytest.approx([850_000, 850_000 + 239 * 5.9])
    assert np.linalg.norm(seen.acquisition.orbit_m, axis=1) == pytest.approx(7_078_137)
    assert len(seen.acquisition.orbit_s) == 17 and seen.acquisition.orbit_s[8] == 0


@pytest.mark.parametrize(
    ("processor", "noise", "known"),
    [
        ("003.31", "range and azimuth", True),
        ("002.84", "range", True),
        ("002.43", "range", False),
        ("002.36", "zeros", False),
    ],
)
def test_noise_of_unknown_scale_is_no_noise(radar_product: Write, processor: str, noise: str, known: bool) -> None:
    seen = described(radar_product(processor=processor, noise=noise))
    assert [channel.noise.is_zero for channel in seen.channels] == [not known] * 2


@pytest.mark.parametrize(
    ("described_as", "message"),
    [
        ({"kind": "SLC"}, "is a Sentinel-1 IW SLC product with 0 images of VV, expected a Sentinel-1 IW GRDH product"),
        ({"mode": "EW"}, "is a Sentinel-1 EW GRD product with 0 images of VV"),
        ({"pixel_m": 40.0}, "is Sentinel-1 IW GRD of 40 m, expected IW GRD of high resolution"),
    ],
)
def test_fault_18_other_radar_products_are_named(
    radar_product: Write, described_as: dict[str, object], message: str
) -> None:
    assert message in refused(radar_product(**described_as))


def test_fault_18_optical_products_are_named(optical_product: Write) -> None:
    assert "is a Sentinel-2 Level-1C product with 0 images of VV" in refused(optical_product())


def test_one_polarisation_is_not_enough(radar_product: Write) -> None:
    folder = radar_product()
    for path in folder.rglob("*-vh-*"):
        path.unlink()
    assert "is a Sentinel-1 IW GRD product with 0 images of VH" in refused(folder)


ANNOTATION, CALIBRATION = "s1a-iw-grd-v?-*.xml", "calibration-*.xml"


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (ANNOTATION, "<mode>IW", "<mode>SM", "is Sentinel-1 SM GRD of 10 m, expected IW GRD"),
        (ANNOTATION, "<numberOfLines>200", "<numberOfLines>2000000", "declares 2000000 x 240 pixels, expected at most"),
        (
            ANNOTATION,
            r"<line>40(</line>\s*<pixel>48<)",
            r"<line>41\1",
            "has no regular geolocation grid of 4 x 4 points",
        ),
        (ANNOTATION, "<geolocationGridPoint>", "<point>", "is not XML"),
        (ANNOTATION, r"<slantRangeTime>5\.\d+", "<slantRangeTime>5.0", "has distances that do not increase"),
        (ANNOTATION, "<latitude>", "<latitude>x", "for latitude, expected numbers"),
        (ANNOTATION, "<orbitList>", "<orbitList/><orbits>", "is not XML"),
        (ANNOTATION, r"<time>2021-09-07T17:07:\d\d", "<time>2021-09-07T17:07:00", "has no six state vectors in order"),
        (CALIBRATION, r"(<sigmaNought count=\"\d+\">)", r"\g<1>-", "calibration values that are not positive"),
        (CALIBRATION, "calibrationVector>", "vector>", "has no calibrationVector with increasing lines"),
    ],
)
def test_annotations_that_no_product_has_are_refused(
    radar_product: Write, name: str, old: str, new: str, message: str
) -> None:
    found = refused(changed(radar_product(), name, old, new))
    assert re.search(message, found), found


def test_fault_12_a_scene_over_the_antimeridian_has_one_run_of_longitudes(radar_product: Write) -> None:
    from products.radar_product import RadarGeometry

    seen = described(radar_product(geometry=RadarGeometry(longitude=180 - 5.555))).ground
    assert 179.9 < seen.longitude.min() < 180 < seen.longitude.max() < 180.1


def table(*vectors: tuple[int, list[float], list[float]]) -> Table:
    return Table(
        tuple(Vector(line, np.array(pixels, float), np.array(values, float)) for line, pixels, values in vectors)
    )


def test_values_are_linear_between_pixels_and_between_lines() -> None:
    seen = table((0, [0, 4], [10, 18]), (2, [0, 2, 4], [20, 24, 28])).at(slice(0, 3), slice(0, 5))
    assert seen.tolist() == [[10, 12, 14, 16, 18], [15, 17, 19, 21, 23], [20, 22, 24, 26, 28]]


def test_values_are_constant_beyond_the_table() -> None:
    seen = table((2, [2, 3], [1, 2]), (4, [2, 3], [3, 4])).at(slice(0, 7), slice(1, 5))
    assert seen[[0, 1, 2]].tolist() == [[1, 1, 2, 2]] * 3 and seen[[4, 6]].tolist() == [[3, 3, 4, 4]] * 2
    assert table((5, [0], [7])).at(slice(0, 2), slice(0, 2)).tolist() == [[7, 7], [7, 7]]


@given(st.integers(0, 30), st.integers(1, 12), st.integers(0, 30), st.integers(1, 12))
def test_a_window_is_a_part_of_the_whole(top: int, height: int, left: int, width: int) -> None:
    rng = np.random.default_rng(1)
    vectors = [(line, [0.0, 7.0, 20.0, 41.0], rng.uniform(1, 2, 4).tolist()) for line in (-3, 0, 6, 13, 40)]
    lines, pixels = slice(top, top + height), slice(left, left + width)
    whole = table(*vectors).at(slice(0, 42), slice(0, 42))
    np.testing.assert_array_equal(table(*vectors).at(lines, pixels), whole[lines, pixels])


def read(tmp_path: Path, *vectors: str) -> Table:
    (tmp_path / "a.xml").write_text(f"<a>{''.join(f'<v>{vector}</v>' for vector in vectors)}</a>")
    return Table.read(XmlElement.read(tmp_path / "a.xml"), "v", "lut")


def test_a_table_is_read_from_an_annotation(tmp_path: Path) -> None:
    seen = read(tmp_path, "<line>0</line><pixel>0 40</pixel><lut>1e0 3.0</lut>")
    assert seen.at(slice(0, 1), slice(0, 41, 1))[0, 20] == 2 and not seen.is_zero
    assert read(tmp_path, "<line>0</line><pixel>0 40</pixel><lut>0 0</lut>").is_zero


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([], "has no v with increasing lines"),
        (["<line>3</line><pixel>0</pixel><lut>1</lut>"] * 2, "has no v with increasing lines"),
        (["<line>0</line><pixel>0 40</pixel><lut>1</lut>"], "has pixels and values that do not match"),
        (["<line>0</line><pixel>40 0</pixel><lut>1 2</lut>"], "has pixels and values that do not match"),
        (["<line>0</line><pixel/><lut/>"], "has pixels and values that do not match"),
        (["<line>0</line><pixel>0 a</pixel><lut>1 2</lut>"], "has '0 a' for pixel, expected numbers"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path: Path, vectors: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, *vectors)


ALONG = "<line>0</line><pixel>0 10</pixel><{0}>100 200</{0}>"

BLOCK = """<noiseAzimuthVector><swath>{0}</swath><firstAzimuthLine>{1}</firstAzimuthLine>
<firstRangeSample>{2}</firstRangeSample><lastAzimuthLine>{3}</lastAzimuthLine><lastRangeSample>{4}</lastRangeSample>
<line>{5}</line><noiseAzimuthLut>{6}</noiseAzimuthLut></noiseAzimuthVector>"""


def noise(tmp_path: Path, *content: str) -> ThermalNoise:
    (tmp_path / "noise.xml").write_text(f"<noise>{''.join(content)}</noise>")
    return ThermalNoise.read(XmlElement.read(tmp_path / "noise.xml"))


def new(*blocks: str) -> str:
    return f"<noiseRangeVector>{ALONG.format('noiseRangeLut')}</noiseRangeVector>{''.join(blocks)}"


def test_the_old_format_has_the_range_alone(tmp_path: Path) -> None:
    seen = noise(tmp_path, f"<noiseVector>{ALONG.format('noiseLut')}</noiseVector>").at(slice(0, 2), slice(4, 6))
    assert seen.tolist() == [[140, 150]] * 2


def test_the_new_format_multiplies_by_the_sweep_of_each_sub_swath(tmp_path: Path) -> None:
    blocks = (BLOCK.format("IW1", 0, 0, 3, 4, "0 2", "1 3"), BLOCK.format("IW2", 1, 5, 3, 10, "0 3", "10 10"))
    seen = noise(tmp_path, new(*blocks)).at(slice(0, 5), slice(3, 7))
    # Lines 0, 1, 2, 3 of IW1 have factors 1, 2, 3, 3; IW2 begins at line 1; line 4 belongs to no block.
    along = np.array([130, 140, 150, 160])
    expected = [[1, 1, 1, 1], [2, 2, 10, 10], [3, 3, 10, 10], [3, 3, 10, 10], [1, 1, 1, 1]]
    assert seen.tolist() == (along * expected).tolist()


def test_noise_a_window_is_a_part_of_the_whole(tmp_path: Path) -> None:
    one = noise(tmp_path, new(BLOCK.format("IW1", 2, 3, 17, 9, "0 5 20", "1 2 4")))
    whole = one.at(slice(0, 30), slice(0, 12))
    np.testing.assert_array_equal(one.at(slice(3, 19), slice(5, 11)), whole[3:19, 5:11])


def test_noise_of_nothing_but_zeros_is_none(tmp_path: Path) -> None:
    zeros = "<noiseVector><line>0</line><pixel>0 40</pixel><noiseLut>0.0 0.0</noiseLut></noiseVector>"
    assert noise(tmp_path, zeros).is_zero and not noise(tmp_path, new()).is_zero


def test_damaged_noise_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has lines and factors that do not match"):
        noise(tmp_path, new(BLOCK.format("IW1", 0, 0, 3, 4, "0 2", "1")))
    with pytest.raises(InputError, match="has no noiseVector with increasing lines"):
        noise(tmp_path)


NUMBERS = np.full((200, 240), 300, np.uint16)


@pytest.fixture
def halves(radar_product: Write) -> Path:
    """The upper and the lower part of one image, overlapping by 20 lines, as two products of the same geometry."""
    later = RadarProduct().acquired + timedelta(seconds=25)
    upper, lower = NUMBERS.copy(), NUMBERS.copy()
    upper[110:], lower[:90] = 0, 0
    lower[90:] = 600
    radar_product("pass", upper)
    return radar_product("pass", lower, acquired=later).parent


def test_slices_are_one_image_whose_earlier_one_counts(halves: Path, radar_grid: GeoBox) -> None:
    first, second = (product.path for product in products_of(identify(halves, SENTINEL1)))
    assert "T170650" in first.name and "T170715" in second.name
    with open_radar(first, radar_grid) as upper, open_radar(second, radar_grid) as lower:
        above, below = upper.read(0, 120), lower.read(0, 120)
    both = np.isfinite(above) & np.isfinite(below)
    assert both.any() and not np.isfinite(above).all() and not np.isfinite(below).all()
    with open_radar(halves, radar_grid) as joined:
        seen = np.concatenate([joined.read(0, 50), joined.read(50, 120)], axis=1)
        assert joined.identity == f"{first.stem} + {second.stem}"
        assert joined.acquired == RadarProduct().acquired and joined.processing.endswith(", dB, 2 slices")
        share = float(np.isfinite(seen[0]).mean())
        assert share > max(np.isfinite(above[0]).mean(), np.isfinite(below[0]).mean())
        assert joined.remarks[0] == NO_TERRAIN
        assert joined.remarks[1:] == (f"the radar covers {share:.1%} of the optical scene; the rest has no data",) * (
            share < 0.999
        )
    np.testing.assert_array_equal(seen, np.where(np.isfinite(above), above, below))


def test_contiguous_slices_of_one_image_leave_no_gap(radar_product: Write, radar_grid: GeoBox) -> None:
    """The satellite goes on along its meridian: after 100 lines of 1.5 ms it looks from there."""
    whole = RadarGeometry()
    degrees = np.degrees(100 * whole.line_s * np.sqrt(3.986004418e14 / (6_378_137.0 + whole.altitude_m) ** 3))
    further = replace(whole, latitude=whole.latitude + float(degrees))
    line, pixel = np.mgrid[:200, :240]
    numbers = (150 + line + pixel).astype(np.uint16)
    how: dict[str, Any] = {"noise": "zeros", "sigma_slopes": (0.0, -0.5)}
    together = radar_product("whole", numbers, **how)
    radar_product("pass", numbers[:100], **how)
    later = RadarProduct().acquired + timedelta(seconds=1)
    folder = radar_product("pass", numbers[100:], geometry=further, acquired=later, **how).parent
    with open_radar(together, radar_grid) as one, open_radar(folder, radar_grid) as joined:
        assert len(joined.processing.split("2 slices")) == 2
        expected, seen = one.read(0, 120), joined.read(0, 120)
    assert np.isfinite(seen).all()
    np.testing.assert_allclose(seen, expected, atol=0.03)  # VH rises by half a step in 150 or so: 0.5 / 150 is 0.03 dB


def test_a_folder_with_one_product_is_that_product(radar_product: Write, radar_grid: GeoBox, tmp_path: Path) -> None:
    folder = radar_product("lone")
    (tmp_path / "zips").mkdir()
    packed = zip_product(folder, tmp_path / "zips" / f"{folder.stem}.zip")
    for path in (folder.parent, packed.parent):
        with open_radar(path, radar_grid) as scene:
            assert scene.identity == folder.stem and scene.remarks == (NO_TERRAIN,)
