import base64
import io
import math

import numpy as np
from PIL import Image

from unclouded.prediction.products import Provenance
from unclouded.prediction.report.figures import (
    CLOUD_COLOURS,
    CONFIDENCE_COLOURS,
    PROVENANCE_COLOURS,
    classified,
    coloured,
    hexadecimal,
    spectra_chart,
)
from unclouded.prediction.report.overview import Spectra


def opened(address: str, kind: str) -> Image.Image:
    head, body = address.split(",")
    assert head == f"data:image/{kind};base64"
    return Image.open(io.BytesIO(base64.b64decode(body)))


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
