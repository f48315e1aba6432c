import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unclouded.errors import InputError
from unclouded.scenes.safe import open_product
from unclouded.scenes.sentinel1 import Sentinel1Product, describe_radar_product

Write = Callable[..., Path]


def described(folder: Path) -> Sentinel1Product:
    with open_product(folder, folder) as product:
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


def test_a_product_tells_what_it_is(radar_product: Write) -> None:
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
    from unclouded.simulation.radar_geometry import RadarGeometry

    seen = described(radar_product(geometry=RadarGeometry(longitude=180 - 5.555))).ground
    assert 179.9 < seen.longitude.min() < 180 < seen.longitude.max() < 180.1
