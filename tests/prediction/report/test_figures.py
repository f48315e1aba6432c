import base64
import io
import math

import numpy as np
import pytest
from PIL import Image

from unclouded.prediction.products import Provenance
from unclouded.prediction.report.figures import (
    CLOUD_COLOURS,
    CONFIDENCE_COLOURS,
    PROVENANCE_COLOURS,
    Stretch,
    classified,
    coloured,
    hexadecimal,
    photograph,
    spectra_chart,
    stretch_of,
)
from unclouded.prediction.report.overview import Spectra


def opened(address: str, kind: str) -> Image.Image:
    head, body = address.split(",")
    assert head == f"data:image/{kind};base64"
    return Image.open(io.BytesIO(base64.b64decode(body)))


def test_the_stretch_runs_from_the_darkest_to_the_brightest_clear_ground() -> None:
    ground = np.linspace(0.0, 0.2, 1001, dtype=np.float32)[None]
    stretch = stretch_of(ground)
    assert stretch.black == pytest.approx((0.001,), abs=1e-6)
    assert stretch.span == pytest.approx(0.197, abs=1e-6)
    assert stretch_of(np.zeros((3, 0), np.float32)) == Stretch((0.0, 0.0, 0.0), 0.3)
    assert stretch_of(np.full((3, 9), 0.1, np.float32)).span == 0.1


def test_the_haze_of_a_band_is_shown_black_and_all_bands_have_the_widest_span() -> None:
    ground = np.linspace(0.0, 0.2, 1001, dtype=np.float32)
    stretch = stretch_of(np.stack([ground, ground / 2, ground + 0.1]))
    assert stretch.black == pytest.approx((0.001, 0.0005, 0.101), abs=1e-6)
    assert stretch.span == pytest.approx(0.197, abs=1e-6)


def test_a_photograph_is_black_white_or_grey_where_it_should_be() -> None:
    image = np.zeros((3, 24, 24), np.float32)
    image[:, :, 8:16], image[:, :, 16:] = 0.3, math.nan
    pixels = np.asarray(opened(photograph(image, Stretch((0.0, 0.0, 0.0), 0.3)), "jpeg"))
    assert pixels.shape == (24, 24, 3)
    for column, level in ((3, 0), (12, 255), (20, 140)):
        assert abs(int(pixels[12, column].mean()) - level) < 6


def test_a_map_has_the_colours_of_its_scale() -> None:
    values = np.array([[0.0, 0.5, 1.0, math.nan]], np.float32)
    pixels = np.asarray(opened(coloured(values, CONFIDENCE_COLOURS), "png").convert("RGB"))[0].tolist()
    assert pixels == [[126, 34, 72], [226, 138, 76], [222, 232, 236], [140, 140, 140]]
    assert np.asarray(opened(coloured(values, CLOUD_COLOURS), "png").convert("RGB"))[0, 0].tolist() == [24, 40, 56]


def spectra(*median: float) -> Spectra:
    middle = np.array(median, np.float32)
    return Spectra(middle, middle - np.float32(0.01), middle + np.float32(0.01), 10)


def test_every_provenance_has_its_own_colour_in_the_map() -> None:
    codes = np.array([[code.value for code in Provenance]], np.uint8)
    pixels = np.asarray(opened(classified(codes), "png").convert("RGB"))[0].tolist()
    assert [tuple(pixel) for pixel in pixels] == [PROVENANCE_COLOURS[code] for code in Provenance]
    assert len(set(PROVENANCE_COLOURS.values())) == len(Provenance)
    assert hexadecimal(PROVENANCE_COLOURS[Provenance.OBSERVED]) == "#2f7d6d"


def test_bands_stand_in_the_order_of_wavelength() -> None:
    drawn = spectra_chart({"observed": spectra(0.3, 0.1, 0.2)}, ("B11", "B02", "B8A"))
    assert [(band, wavelength) for _, band, wavelength in drawn.bands] == [("B02", 490), ("B8A", 865), ("B11", 1610)]


def test_a_point_stands_as_high_as_its_reflectance() -> None:
    drawn = spectra_chart({"observed": spectra(0.0, 0.2)}, ("B02", "B03"))
    (_, low), (_, high) = drawn.series[0].dots
    ticks = {label: y for y, label in drawn.ticks}
    assert low == ticks["0"] == drawn.base
    assert abs(high - (ticks["0"] + (ticks["0.3"] - ticks["0"]) * 0.2 / 0.3)) <= 0.1


def test_each_kind_has_a_line_and_a_range_around_it() -> None:
    drawn = spectra_chart({"observed": spectra(0.1), "synthesised": spectra(0.2)}, ("B02",))
    assert [one.kind for one in drawn.series] == ["observed", "synthesised"]
    first = drawn.series[0]
    (x, y), upper, lower = (tuple(map(float, point.split(","))) for point in (first.line, *first.range.split()))
    assert (x, x) == (upper[0], lower[0]) and upper[1] < y < lower[1]
