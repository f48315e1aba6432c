"""Exported networks give the image of the original; those in ONNX are read back with their description."""

import re
from pathlib import Path

import pytest
import torch

from unclouded.errors import InputError
from unclouded.models.cyclegan import initialise
from unclouded.models.exchange.export import export_network, export_networks
from unclouded.models.exchange.export_card import ExportSettings, describe, mlm_name, stac_item
from unclouded.models.loading import load_remover
from unclouded.models.network import NetworkRemover, NetworkSettings
from unclouded.models.remover import keep_clear_pixels
from unclouded.models.scaling import Scaling
from unclouded.sensors import RGB
from unclouded.tensors.observation import Observation


@pytest.fixture(scope="module")
def network() -> NetworkRemover:
    """A narrow network that changes its input much."""
    settings = NetworkSettings(width=1, skip="clear-mean", scaling=Scaling(vh_db=(-32.5, 0.0)))
    generator = settings.build()
    initialise(generator, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.mul_(5)
    return NetworkRemover(generator, settings, "tiny", {"steps": "7"}, precision="float32")


def seen(rows: int = 40, columns: int = 48, seed: int = 0) -> Observation:
    rng = torch.Generator().manual_seed(seed)
    sar, cloudy = -30 * torch.rand(1, 2, rows, columns, generator=rng), torch.rand(1, 3, rows, columns, generator=rng)
    return Observation(sar, cloudy, (torch.rand(1, 1, rows, columns, generator=rng) > 0.5).float(), RGB)


def largest_dn(first: torch.Tensor, second: torch.Tensor) -> float:
    return float((first - second).abs().max()) * 10_000


def test_an_exported_network_is_read_back_and_gives_the_same_image(network: NetworkRemover, tmp_path: Path) -> None:
    """Scaling outside is stated by the description; the composition is part of the network."""
    settings = ExportSettings(scaling="outside", composition="inside")
    exported = export_network(network, tmp_path, "onnx", seen(), settings, licence="CC-BY-4.0")
    assert exported.parity.largest < 1.0
    again = load_remover(exported.network)
    other = seen(64, 36, seed=1)  # of another size
    composed = keep_clear_pixels(network(other), other)
    assert largest_dn(again(other), composed) < 1.0
    assert largest_dn(composed, other.cloudy) > 100.0  # the network does something
    card = (tmp_path / "README.md").read_text()
    assert (
        'license: "cc-by-4.0"' in card and "- steps: 7" in card and "Pixels with m = 0 are those of the input" in card
    )


def test_statistics_of_a_scene_are_part_of_a_folded_network(network: NetworkRemover) -> None:
    sample, window = [seen(64, 64, seed=2)], seen()
    original, exported = export_networks(network, ExportSettings(), sample)
    result = exported(window.sar, window.cloudy, window.cloud_map)
    assert largest_dn(result, original(window)) < 1.0
    assert largest_dn(result, network(window)) > 10.0  # other statistics


def test_a_network_without_map_input_in_openvino(network: NetworkRemover, tmp_path: Path) -> None:
    exported = export_network(network, tmp_path, "openvino", seen(), ExportSettings(cloud_map="ones"))
    assert exported.parity.largest < 1.0
    assert "cloud_map" not in exported.network.with_suffix(".json").read_text().split("unclouded:network")[0]


def test_a_composition_needs_the_map(network: NetworkRemover, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs the cloud map as input; choose --map input"):
        export_network(network, tmp_path, "onnx", seen(), ExportSettings(cloud_map="ones", composition="inside"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("mine", "mine"), ("runs/mine (2).", "runs_mine__2"), ("7", "network_7"), ("__", "network"), ("ab", "network_ab")],
)
def test_names_are_those_that_mlm_allows(name: str, expected: str) -> None:
    assert mlm_name(name) == expected
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]", expected)


def test_an_item_follows_the_schema_of_mlm_1_5(network: NetworkRemover) -> None:
    for scaling in ("inside", "outside"):
        settings = ExportSettings(scaling=scaling)  # type: ignore[arg-type]
        item = stac_item(describe(network, settings), Path("mine.onnx"), "onnx")
        properties = item["properties"]
        required = {"mlm:name", "mlm:architecture", "mlm:tasks", "mlm:input", "mlm:output"}
        assert required <= set(properties)
        assert {key for key in properties if key.startswith("mlm:")} == required | {"mlm:framework"}
        for one in properties["mlm:input"]:  # bands are listed, so that one dimension is called bands
            assert "bands" in one["input"]["dim_order"]
            assert all(set(each) == {"type", "mean", "stddev"} for each in one.get("value_scaling", []))
        assert [band["name"] for band in properties["bands"]] == ["VV", "VH", *network.bands, "cloud_map"]
        (output,) = properties["mlm:output"]
        assert "bands" not in output and "bands" not in output["result"]["dim_order"]
        (asset,) = item["assets"].values()
        assert "mlm:model" in asset["roles"] and asset["mlm:artifact_type"] == "onnx"
