from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from unclouded.clouds.map import CloudMapSettings
from unclouded.errors import InputError
from unclouded.patches.layouts import find_triplets
from unclouded.patches.splits import official_split, parts_by_name
from unclouded.simulation.layout import write_region
from unclouded.simulation.region import simulate_region
from unclouded.tensors.dataset import TripletDataset
from unclouded.tensors.packed import pack
from unclouded.tensors.samples import PatchSamples, lightning_data_module

ONES = CloudMapSettings(mode="ones")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One simulated patch in a region of each part of the official split."""
    folder, split = tmp_path_factory.mktemp("official"), official_split()
    for part in (split.train, split.val, split.test):
        write_region(simulate_region(min(part), np.random.default_rng(0), 256, 0.4), folder)
    return folder


def test_a_plain_loader_batches_tensors_of_the_official_part(root: Path) -> None:
    samples = PatchSamples(root, "train+val", clouds=ONES, crop_px=64)
    (batch,) = DataLoader(samples, batch_size=2)
    assert {name: tuple(one.shape) for name, one in batch.items() if name != "name"} == {
        "sar": (2, 2, 64, 64),
        "cloudy": (2, 3, 64, 64),
        "clear": (2, 3, 64, 64),
        "cloud_map": (2, 1, 64, 64),
    }
    assert batch["name"] == list(samples.names)
    assert torch.equal(batch["clear"][1], samples.triplets[1].clear[0])
    assert -60 < batch["sar"].mean() < 0 < batch["clear"].mean() < 1


def test_samples_for_torchgeo_have_its_keys(root: Path) -> None:
    halved = {"image": 0.5}
    samples = PatchSamples(
        root, "test", bands=("B08",), clouds=ONES, keys="torchgeo", transforms=lambda one: {**one, **halved}
    )
    assert samples[0]["image"] == 0.5
    samples.transforms = None
    triplet, sample = samples.triplets[0], samples[0]
    assert set(sample) == {"image", "mask"}
    assert torch.equal(sample["image"][2:3], triplet.observation.cloudy[0])  # after VV and VH
    assert torch.equal(sample["mask"], triplet.clear[0])


def test_a_store_gives_the_same_samples(root: Path, tmp_path: Path) -> None:
    inventory = find_triplets(root)
    pack(TripletDataset(inventory.triplets, ("B04", "B03", "B02"), ONES), parts_by_name(inventory), tmp_path / "store")
    found, expected = PatchSamples(tmp_path / "store", "val")[0], PatchSamples(root, "val", clouds=ONES)[0]
    assert found["name"] == expected["name"]
    assert all(torch.equal(found[key], expected[key]) for key in ("sar", "cloudy", "clear", "cloud_map"))
    with pytest.raises(InputError, match=r"was packed with the clouds .*; leave clouds out"):
        PatchSamples(tmp_path / "store", "val", clouds=CloudMapSettings())


def test_lightning_gets_the_three_parts(root: Path) -> None:
    pytest.importorskip("pytorch_lightning")
    module = lightning_data_module(root, batch=2, clouds=ONES, crop_px=32)
    parts = [module.train_dataloader(), module.val_dataloader(), module.test_dataloader()]
    assert [next(iter(one))["name"] for one in parts] == [[f"{min(part)}_p1"] for part in _parts()]


def _parts() -> tuple[set[object], ...]:
    split = official_split()
    return tuple(set(one) for one in (split.train, split.val, split.test))


def test_without_lightning_the_extra_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(InputError, match=r"install 'unclouded\[lightning\]'"):
        lightning_data_module(root)


def test_torchgeo_takes_the_class_in_its_own_data_module(root: Path) -> None:
    datamodules = pytest.importorskip("torchgeo.datamodules")
    module = datamodules.NonGeoDataModule(PatchSamples, 1, 0, root=root, clouds=ONES, crop_px=32, keys="torchgeo")
    module.setup("fit")
    module.setup("test")
    batch = next(iter(module.train_dataloader()))
    assert tuple(batch["image"].shape) == (1, 6, 32, 32)
    assert len(module.test_dataset) == 1
