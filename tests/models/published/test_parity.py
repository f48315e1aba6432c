"""Published networks against outputs that the programs of their authors computed from the same random weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unclouded.models.published.checkpoints import read_checkpoint
from unclouded.models.published.dsen2cr import Dsen2cr
from unclouded.models.published.remover import prepare_dsen2cr, prepare_uncrtaints
from unclouded.models.published.uncrtaints import Uncrtaints, position_table

UNCRTAINTS = (
    "mono_l2.64x64",
    "multi_mgnll.64x64",
    "narrow_mono_l2.33x47",
    "narrow_mono_l2.48x40",
    "narrow_mono_mgnll.40x36",
    "narrow_multi_gnll.40x36",
    "narrow_multi_iso.40x36",
    "narrow_multi_l2.40x36",
    "narrow_multi_mgnll.32x32",
    "narrow_multi_mgnll.33x47",
    "narrow_multi_mgnll.48x40",
    "narrow_multi_nopos.40x36",
    "narrow_multi_nosar.40x36",
    "narrow_multi_padded.40x36",
    "narrow_multi_residual.40x36",
    "narrow_multi_separate.40x36",
    "narrow_multi_use_v.40x36",
)


@pytest.fixture
def folder(samples: Path) -> Path:
    return samples / "checkpoints"


def uncrtaints(folder: Path, name: str) -> Uncrtaints:
    network = read_checkpoint(folder / f"{name}.safetensors", folder / f"{name}.json").network
    assert isinstance(network, Uncrtaints)
    return network


def inputs(case: dict[str, np.ndarray], radar: bool) -> tuple[Tensor, Tensor | None]:
    """Return network input and days from the stored integers and decibels."""
    optical = torch.from_numpy(case["s2_dn"].astype(np.float32) / 10000)
    sar = torch.from_numpy(case["s1_db"]) if radar else None
    images = prepare_uncrtaints(sar, optical)[None]
    return images, torch.from_numpy(case["dates"]) if "dates" in case else None


@pytest.mark.parametrize("name", UNCRTAINTS)
def test_uncrtaints_returns_mean_and_variance_of_the_authors_program(folder: Path, name: str) -> None:
    network = uncrtaints(folder / "uncrtaints", name.partition(".")[0])
    case = dict(np.load(folder / "uncrtaints" / f"{name}.npz"))
    images, days = inputs(case, network.settings.radar)
    if "network_input" in case:
        assert np.array_equal(images.numpy(), case["network_input"])
    bounds = {"f64": 1e-10, "f32": 2e-6}
    for kind, dtype in (("f64", torch.float64), ("f32", torch.float32)):
        with torch.inference_mode():
            estimate = network.to(dtype)(images.to(dtype), None if days is None else days.to(dtype))
        for part in ("mean", "variance"):
            if f"{part}_{kind}" in case:
                found = getattr(estimate, part).numpy()
                assert np.abs(found - case[f"{part}_{kind}"][:, 0]).max() <= bounds[kind]
        assert (estimate.variance is None) == ("variance_f64" not in case)


def test_position_table_is_that_of_the_authors_program(folder: Path) -> None:
    case = np.load(folder / "uncrtaints" / "multi_mgnll.64x64.npz")
    table = position_table(torch.from_numpy(case["dates"]), 16).repeat(1, 1, 16)
    assert np.abs(table.numpy() - case["position_table"]).max() <= 1e-6


@pytest.mark.parametrize("suffix", ["safetensors", "hdf5"])
@pytest.mark.parametrize("size", ["64x64", "96x64"])
def test_dsen2cr_returns_the_image_of_the_authors_program(folder: Path, size: str, suffix: str) -> None:
    if suffix == "hdf5":
        pytest.importorskip("h5py")
    network = read_checkpoint(folder / "dsen2cr" / f"narrow.{suffix}").network
    assert isinstance(network, Dsen2cr)
    case = np.load(folder / "dsen2cr" / f"narrow.{size}.npz")
    optical, sar = torch.from_numpy(case["s2_dn"].astype(np.float32) / 10000), torch.from_numpy(case["s1_db"])
    images = prepare_dsen2cr(sar, optical)
    assert np.abs(images.numpy() - case["network_input"][0]).max() <= 1e-6
    given = torch.from_numpy(case["network_input"])
    with torch.inference_mode():
        assert np.abs(network.double()(given.double()).numpy() - case["network_output_f64"]).max() <= 1e-10
        assert np.abs(network.float()(given).numpy() - case["network_output_f32"]).max() <= 2e-5


@pytest.mark.parametrize("name", ["narrow_mono_l2", "narrow_multi_mgnll"])
def test_checkpoints_of_the_training_program_load_under_new_and_old_names(folder: Path, name: str) -> None:
    container = folder / "uncrtaints" / "container"
    new, old = (
        read_checkpoint(container / f"{name}{suffix}" / "model.pth.tar").network.state_dict()
        for suffix in ("", "_old_names")
    )
    assert list(new) == list(old)
    assert all(new[key].shape == old[key].shape for key in new)


def test_number_of_parameters_is_that_of_the_published_networks(folder: Path) -> None:
    def count(network: torch.nn.Module) -> int:
        return sum(one.numel() for one in network.parameters())

    assert count(uncrtaints(folder / "uncrtaints", "mono_l2")) == 518_541
    assert count(uncrtaints(folder / "uncrtaints", "multi_mgnll")) == 570_010
    configuration = json.loads((folder / "uncrtaints" / "mono_l2.json").read_text())
    assert configuration["decoder_widths"] == [128] * 5
