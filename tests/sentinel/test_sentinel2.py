import re
from collections.abc import Callable
from pathlib import Path

import pytest

from unclouded.errors import InputError
from unclouded.sensors import SENTINEL2
from unclouded.sentinel.safe import SafeProduct, open_product
from unclouded.sentinel.sentinel2 import Sentinel2Product, describe_product
from unclouded.sun import Sun

Write = Callable[..., Path]


def described(folder: Path, **options: bool | str) -> Sentinel2Product:
    with open_product(SafeProduct(folder), folder) as product:
        return describe_product(product, **options)  # type: ignore[arg-type]


def refused(folder: Path, **options: bool | str) -> str:
    with pytest.raises(InputError) as error:
        described(folder, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def changed(folder: Path, name: str, old: str, new: str) -> Path:
    """Change metadata; without manifest, for the change is not what is tested."""
    (path,) = folder.rglob(name)
    text = path.read_text()
    assert re.search(old, text)
    path.write_text(re.sub(old, new, text))
    (folder / "manifest.safe").unlink(missing_ok=True)
    return folder


@pytest.mark.parametrize("layout", ["compact", "old"])
def test_a_product_is_described_by_its_metadata(optical_product: Write, layout: str) -> None:
    seen = described(optical_product(layout=layout))
    assert (seen.level, seen.tile, seen.baseline, seen.bands) == ("L1C", "T32TQM", "03.01", SENTINEL2.bands)
    assert seen.acquired.isoformat() == "2021-09-08T10:27:01.024000+00:00"
    assert seen.sun == Sun(155.25, 42.5)
    assert seen.geobox.shape == (120, 120) and seen.geobox.crs.epsg == 32632
    assert (seen.geobox.affine.a, seen.geobox.affine.e) == (10, -10)
    assert (seen.geobox.affine.c, seen.geobox.affine.f) == (699_960, 4_900_020)
    assert [file.pixel_m for file in seen.files] == [60, 10, 10, 10, 20, 20, 20, 10, 20, 60, 60, 20, 20]
    assert all(file.band in file.name and file.name.endswith(".jp2") for file in seen.files)


def test_fault_16_the_offset_is_that_of_the_tags(optical_product: Write) -> None:
    """A product of 2019, reprocessed with baseline 05.00, has an offset; one of 2023 without tags has none."""
    from datetime import UTC, datetime

    reprocessed = optical_product("a", acquired=datetime(2019, 6, 1, tzinfo=UTC), baseline="05.00", offset=-1000)
    assert described(reprocessed).radiometry.offsets == (-1000,) * 13
    late = optical_product("b", acquired=datetime(2023, 6, 1, tzinfo=UTC), baseline="05.09")
    assert described(late).radiometry.offsets == (0,) * 13


def test_fault_16_bands_have_their_own_tags(optical_product: Write) -> None:
    folder = changed(optical_product(offset=-1000), "MTD_MSI*.xml", 'band_id="10">-1000', 'band_id="10">-900')
    offsets = described(folder).radiometry.offsets
    assert offsets[10] == -900 and set(offsets[:10] + offsets[11:]) == {-1000}


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("MTD_MSI*.xml", 'band_id="3"', 'band_id="99"', "has offsets, but none for B04"),
        ("MTD_MSI*.xml", ">-1000<", ">-1000.5<", "'-1000.5' for RADIO_ADD_OFFSET, expected a whole number"),
        ("MTD_MSI*.xml", ">-1000<", ">-99999<", "has the offset -99999, expected -1000 or so"),
        ("MTD_MSI*.xml", ">10000<", ">1000<", "has the quantification value 1000, expected 10000"),
        ("MTD_MSI*.xml", "QUANTIFICATION_VALUE", "QUANTITY", "has the quantification value none"),
        ("MTD_MSI*.xml", "<IMAGE_FILE>[^<]*B11</IMAGE_FILE>", "", "lists no image of B11, expected B01 B02"),
        (
            "MTD_MSI*.xml",
            "GRANULE/[^/]*/IMG",
            "GRANULE/L1C_T32TQM_B/IMG",
            "has no metadata for the granule L1C_T32TQM_B that",
        ),
        ("MTD_MSI*.xml", "GRANULE/[^/]*/IMG", "GRANULE/../IMG", r"names the granule '\.\.', expected a folder"),
        ("MTD_MSI*.xml", "GRANULE/[^/]*/IMG", "GRANULE/**/IMG", "names the granule '[*][*]'"),
        ("MTD_TL.xml", "EPSG:32632", "EPSG:5041", "lies in EPSG:5041, expected a UTM zone"),
        ("MTD_TL.xml", "EPSG:32632", "EPSG:32661", "lies in EPSG:32661, expected a UTM zone"),
        ("MTD_TL.xml", "<NROWS>60<", "<NROWS>61<", "has grids of 10, 20 and 60 m that do not cover the same ground"),
        ("MTD_TL.xml", 'resolution="60"', 'resolution="50"', "has grids of 10, 20 and 60 m that do not"),
        ("MTD_TL.xml", "<XDIM>20<", "<XDIM>10<", r"has steps of \(10, -20\) m for pixels of 20 m"),
        ("MTD_TL.xml", "<ULX>699960<", "<ULX>east<", "has 'east' for ULX, expected numbers"),
        ("MTD_TL.xml", "SENSING_TIME", "TIME", "has no SENSING_TIME"),
    ],
)
def test_metadata_that_no_product_has_is_refused(
    optical_product: Write, name: str, old: str, new: str, message: str
) -> None:
    assert re.search(message, refused(changed(optical_product(offset=-1000), name, old, new)))


def test_fault_12_polar_tiles_are_refused(optical_product: Write) -> None:
    assert "lies in EPSG:32761, expected a UTM zone (84 N to 80 S)" in refused(optical_product(epsg=32761))


def test_fault_20_a_giant_is_refused_before_an_image_is_opened(optical_product: Write) -> None:
    folder = optical_product()
    for old, new in (("<N(ROWS|COLS)>120<", r"<N\1>6000000<"), (">60<", ">3000000<"), (">20<", ">1000000<")):
        changed(folder, "MTD_TL.xml", old, new)
    changed(folder, "MTD_TL.xml", r"<XDIM>\d+</XDIM><YDIM>-\d+<", "<XDIM>10</XDIM><YDIM>-10<")
    for metres in (20, 60):
        changed(
            folder,
            "MTD_TL.xml",
            f'(resolution="{metres}">\\s*<ULX>.*?<XDIM>)10(</XDIM><YDIM>-)10',
            rf"\g<1>{metres}\g<2>{metres}",
        )
    assert "declares 60000000 x 60000000 m, expected at most 120000" in refused(folder)


def test_fault_18_surface_reflectance_is_taken_only_when_asked_for(optical_product: Write) -> None:
    folder = optical_product(level="L2A", offset=-1000, baseline="05.09")
    assert "is a Level-2A product, expected Level-1C; fetch the L1C of this scene" in refused(folder)
    seen = described(folder, allow_l2a=True)
    assert seen.level == "L2A" and "B10" not in seen.bands and len(seen.bands) == 12
    assert seen.radiometry.offsets == (-1000,) * 12
    assert seen.files[1].name.endswith("_B02_10m.jp2")


def test_the_finest_image_of_a_band_is_taken(optical_product: Write) -> None:
    folder = optical_product(level="L2A", offset=-1000)
    listed = r"<IMAGE_FILE>([^<]*)/R20m/([^<]*)_B05_20m</IMAGE_FILE>"
    coarse = r"<IMAGE_FILE>\1/R60m/\2_B05_60m</IMAGE_FILE>"
    changed(folder, "MTD_MSI*.xml", listed, rf"{coarse}<IMAGE_FILE>\1/R20m/\2_B05_20m</IMAGE_FILE>")
    assert described(folder, allow_l2a=True).files[4].pixel_m == 20


def test_one_of_several_granules_is_named(optical_product: Write) -> None:
    folder = optical_product(layout="old")
    granule = r"(<Granules granuleIdentifier=\"[^\"]*)T32TQM(.*?</Granules>)"
    (path,) = folder.glob("*.xml")
    found = re.search(granule, path.read_text(), re.DOTALL)
    assert found
    other = found.group(0).replace("T32TQM", "T32TPM")
    changed(folder, path.name, "<Granule_List>", f"<Granule_List>{other}")
    assert "holds the tiles T32TPM T32TQM, expected one of them to be named; set tile" in refused(folder)
    assert described(folder, tile="T32TQM").tile == described(folder, tile="32tqm").tile == "T32TQM"
    assert "holds the tiles T32TPM T32TQM" in refused(folder, tile="T33UUP")


def test_fault_18_another_product_is_named(tmp_path: Path) -> None:
    (tmp_path / "LC08_L1TP_191031_20210908_20210916_02_T1_MTL.xml").touch()
    assert "is a Landsat product, expected a Sentinel-2 Level-1C product" in refused(tmp_path)


def test_fault_19_an_empty_folder_is_named(tmp_path: Path) -> None:
    assert "is an empty folder, expected a Sentinel-2 Level-1C product" in refused(tmp_path)


def test_metadata_of_something_else_is_named(optical_product: Write) -> None:
    folder = changed(optical_product(), "MTD_MSI*.xml", "Level-1C_User_Product", "Level-1B_User_Product")
    assert "holds a Level-1B_User_Product, expected a Level-1C_User_Product" in refused(folder)
