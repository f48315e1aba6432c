from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio

from products.optical_product import PIXEL_M, OpticalProduct, write_optical_product
from unclouded.sensors import SENTINEL2


def bands(level: str = "L1C") -> dict[str, np.ndarray]:
    sizes = {band: 120 // (PIXEL_M[band] // 10) for band in SENTINEL2.bands if level == "L1C" or band != "B10"}
    return {band: np.full((size, size), size, np.uint16) for band, size in sizes.items()}


@pytest.mark.parametrize(
    ("described", "name", "image"),
    [
        ({}, "S2A_MSIL1C_20210908T102701_N0301_R065_T32TQM_20210908T102701", "T32TQM_20210908T102701_B8A.jp2"),
        (
            {"layout": "old"},
            "S2A_OPER_PRD_MSIL1C_PDMC_20210908T102701_R065_V20210908T102701_20210908T102701",
            "S2A_OPER_MSI_L1C_TL_SGS__20210908T102701_A032448_T32TQM_B8A.jp2",
        ),
        (
            {"level": "L2A", "offset": -1000},
            "S2A_MSIL2A_20210908T102701_N0301_R065_T32TQM_20210908T102701",
            "R20m/T32TQM_20210908T102701_B8A_20m.jp2",
        ),
    ],
)
def test_names_are_those_of_copernicus(tmp_path: Path, described: dict[str, Any], name: str, image: str) -> None:
    folder = write_optical_product(tmp_path, bands(described.get("level", "L1C")), OpticalProduct(**described))
    assert folder.name == f"{name}.SAFE" and len(list(folder.rglob("*.jp2"))) == (12 if "level" in described else 13)
    (path,) = folder.glob(f"GRANULE/*/IMG_DATA/{image}")
    with rasterio.open(path) as file:
        assert file.read(1).tolist() == np.full((60, 60), 60).tolist()
        assert (file.crs.to_epsg(), file.transform.a, file.transform.c) == (32632, 20, 699_960)


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")  # the list of the groups has none
@pytest.mark.parametrize("layout", ["compact", "old"])
def test_gdal_reads_it_as_a_sentinel_2_product(tmp_path: Path, layout: str) -> None:
    """The driver of GDAL, an independent reader, finds the groups of bands that it finds in Copernicus' products."""
    folder = write_optical_product(tmp_path, bands(), OpticalProduct(layout=layout, offset=-1000, baseline="05.00"))
    (metadata,) = folder.glob("*MTD*.xml")
    with rasterio.open(metadata, driver="SENTINEL2") as file:
        assert [name.split(":")[-2] for name in file.subdatasets][:3] == ["10m", "20m", "60m"]
        assert file.tags()["PROCESSING_BASELINE"] == "05.00"
        group = file.subdatasets[0]
    with rasterio.open(group) as file:
        assert (file.count, file.crs.to_epsg(), file.transform.a) == (4, 32632, 10)
        assert file.read(1).tolist() == np.full((120, 120), 120).tolist()


def test_offsets_have_a_tag_for_each_band(tmp_path: Path) -> None:
    folder = write_optical_product(tmp_path, bands(), OpticalProduct(offset=-1000))
    tags = list(ElementTree.parse(folder / "MTD_MSIL1C.xml").iter("RADIO_ADD_OFFSET"))
    assert [(tag.get("band_id"), tag.text) for tag in tags] == [(str(n), "-1000") for n in range(13)]
