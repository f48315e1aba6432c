"""Metadata of real products, in every format at hand."""

import json
from pathlib import Path

import pytest

from unclouded.errors import InputError
from unclouded.sentinel.safe import open_product, require_product
from unclouded.sentinel.sentinel2 import describe_product


@pytest.mark.parametrize(
    ("name", "level", "offset", "pixels"),
    [
        ("S2A_MSIL1C_20200717T221941_R029_T01LAC_20200717T234135.SAFE", "L1C", 0, 13),
        ("S2A_MSIL1C_20210908T042701_N0301_R133_T46RER_20210908T070248.SAFE", "L1C", 0, 13),
        ("S2A_MSIL2A_20230625T234621_N0509_R073_T01WCS_20230626T022157.SAFE", "L2A", -1000, 12),
        ("esa_S2B_MSIL2A_20210122T133229_N0214_R081_T22HBD_20210122T155500.SAFE", "L2A", 0, 12),
    ],
)
def test_metadata_of_real_products_agree_with_their_manifests_and_with_others(
    samples: Path, tmp_path: Path, name: str, level: str, offset: int, pixels: int
) -> None:
    """Checksums of the real metadata are those of the real manifests; stactools read the same facts."""
    with open_product(require_product(samples / "safe" / name), tmp_path) as product:
        seen = describe_product(product, allow_l2a=True)
    item = json.loads((samples / "safe" / name / "expected_output.json").read_text())["properties"]
    assert seen.level == level and seen.radiometry.offsets == (offset,) * pixels
    assert item["s2:processing_baseline"] == seen.baseline and item["s2:product_uri"] == f"{seen.identity}.SAFE"
    assert item["grid:code"] == f"MGRS-{seen.tile.removeprefix('T')}"
    assert seen.geobox.shape == (10_980, 10_980) and item["proj:code"] == f"EPSG:{seen.geobox.crs.epsg}"


def test_fault_16_a_granule_without_its_product_has_no_offset_to_go_by(samples: Path, tmp_path: Path) -> None:
    granule = samples / "safe" / "S2A_OPER_MSI_L1C_TL_SGS__20181231T203637_A018414_T10SDG"
    with (
        open_product(require_product(granule), tmp_path) as product,
        pytest.raises(InputError, match="is a granule without its product, whose offset is unknown, expected a"),
    ):
        describe_product(product)


@pytest.mark.parametrize("name", ["S1B_IW*.SAFE", "S1A_IW*20210119*.zip"])
def test_fault_18_a_real_radar_product_is_named(samples: Path, tmp_path: Path, name: str) -> None:
    (path,) = (samples / "safe").glob(name)
    with (
        open_product(require_product(path), tmp_path) as product,
        pytest.raises(InputError, match="is a Sentinel-1 IW GRD product, expected a Sentinel-2 Level-1C product"),
    ):
        describe_product(product)
