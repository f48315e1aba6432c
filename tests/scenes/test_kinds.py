from pathlib import Path

import pytest

from unclouded.scenes.kinds import kind_of
from unclouded.scenes.safe import ProductFolder, open_product


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (
            "annotation/s1a-iw-grd-vv-20210119t031653-20210119t031718-036201-043ed0-001.xml",
            "a Sentinel-1 IW GRD product",
        ),
        ("annotation/s1b-iw-slc-vh-x.xml", "a Sentinel-1 IW SLC product"),
        ("annotation/s1a-ew-grd-hh-x.xml", "a Sentinel-1 EW GRD product"),
        ("MTD_MSIL1C.xml", "a Sentinel-2 Level-1C product"),
        ("MTD_MSIL2A.xml", "a Sentinel-2 Level-2A product"),
        ("S2A_OPER_MTD_SAFL1C_PDMC_20160101T000000.xml", "a Sentinel-2 Level-1C product"),
        ("LC08_L1TP_191031_20210908_20210916_02_T1_MTL.txt", "a Landsat product"),
        ("metadata.xml", "a granule without its product, whose offset nobody knows"),
        ("S2A.SAFE/manifest.safe", "a folder that holds S2A.SAFE, not a product itself"),
        ("holiday.jpg", "a folder without a product"),
        ("", "an empty folder"),
    ],
)
def test_fault_18_products_have_names(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / "work").mkdir()
    folder = tmp_path / "a"
    folder.mkdir()
    if name:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    with open_product(folder, tmp_path / "work") as product:
        assert kind_of(product) == kind


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ((".zgroup",), "a Zarr store (export the bands as GeoTIFF)"),
        (("a.dim",), "a DIMAP folder of SNAP (export it from SNAP as GeoTIFF)"),
        (("a.tif", "b.tif"), "a folder of 2 GeoTIFFs not named after its bands (give one file)"),
        (("T32TQM_B02.jp2",), "a folder of JPEG 2000 images without their product (give the whole product)"),
        (("notes.txt",), "a folder without a product"),
        ((), "an empty folder"),
    ],
)
def test_folders_that_are_no_products_are_named(tmp_path: Path, files: tuple[str, ...], kind: str) -> None:
    for name in files:
        (tmp_path / name).touch()
    assert kind_of(ProductFolder(tmp_path, tmp_path, None)) == kind
