from pathlib import Path

import pytest

from unclouded.scenes.kinds import kind_of
from unclouded.scenes.safe import open_product


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
