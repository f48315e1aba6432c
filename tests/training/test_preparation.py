import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from unclouded.clouds.cache import ProbabilityCache
from unclouded.errors import InputError
from unclouded.patches.layouts import find_triplets
from unclouded.patches.splits import parts_by_name
from unclouded.tensors.dataset import TripletDataset, TripletSource
from unclouded.tensors.packing import pack
from unclouded.tensors.store import RECORDS
from unclouded.tensors.triplet import Observation, Triplet
from unclouded.training.data import choose_triplets
from unclouded.training.devices import launch
from unclouded.training.listener import silent
from unclouded.training.preparation import check_patches, digest
from unclouded.training.settings import TrainSettings


def checked(settings: TrainSettings) -> tuple[TripletSource, tuple[str, ...]]:
    chosen = choose_triplets(settings, ProbabilityCache())
    return check_patches(chosen, settings, launch(settings.device), silent)[:2]


def packed(settings: TrainSettings, folder: Path) -> TrainSettings:
    data = TripletDataset(find_triplets(settings.patches).triplets, settings.network.bands, settings.clouds)
    pack(data, parts_by_name(find_triplets(settings.patches)), folder)
    return settings.model_copy(update={"patches": folder})


def test_the_hash_is_over_radar_cloudy_image_map_and_clear_image() -> None:
    seen = Observation(torch.zeros(1, 2, 1, 1), torch.ones(1, 1, 1, 1), torch.full((1, 1, 1, 1), 0.5), ("B04",))
    written = np.array([0, 0, 1, 0.5, 2], "<f4").tobytes()
    assert digest(Triplet("one", seen, torch.full((1, 1, 1, 1), 2.0))) == hashlib.sha256(written).hexdigest()


def test_geotiffs_and_their_store_have_the_same_hashes(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    (files, ones), (store, others) = checked(tiny_settings), checked(packed(tiny_settings, tmp_path))
    assert files.names == store.names
    assert ones == others
    assert len(set(ones)) == 5


def test_a_damaged_record_is_named_before_training(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    settings = packed(tiny_settings, tmp_path)
    with (tmp_path / RECORDS).open("rb+") as records:
        records.write(b"?")
    with pytest.raises(InputError, match=r"1 of 5 patches are damaged \(tiny_0: record 0 of .* is damaged"):
        checked(settings)


def test_damaged_patches_may_be_skipped(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    settings = packed(tiny_settings, tmp_path).model_copy(update={"damaged": "skip"})
    with (tmp_path / RECORDS).open("rb+") as records:
        records.write(b"?")
    sound, hashes = checked(settings)
    assert sound.names == ("tiny_1", "tiny_2", "tiny_3", "tiny_4")
    assert hashes == checked(tiny_settings)[1][1:]
