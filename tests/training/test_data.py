from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data._utils.pin_memory import pin_memory

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import CloudMapSettings
from unclouded.errors import InputError
from unclouded.patches.layouts import find_triplets
from unclouded.patches.splits import parts_by_name
from unclouded.tensors.dataset import TripletDataset
from unclouded.tensors.packed import pack
from unclouded.training.data import (
    EpochOrder,
    Pairing,
    collated,
    equally_spaced,
    loaded,
    pair,
    select_triplets,
    training_data,
    with_unpaired_reals,
)
from unclouded.training.settings import TrainSettings


def test_every_epoch_shows_every_patch_once_in_another_order() -> None:
    order = list(EpochOrder(total=7, step_patches=2, epochs=2, seed=0))
    assert [len(batch) for batch in order] == [2, 2, 2, 1, 2, 2, 2, 1]
    first, second = (list(chain(*epoch)) for epoch in (order[:4], order[4:]))
    assert sorted(first) == sorted(second) == list(range(7))
    assert first != second


@pytest.mark.parametrize("step", [1, 3, 4, 6])
def test_the_order_goes_on_where_it_stopped(step: int) -> None:
    whole = list(EpochOrder(total=7, step_patches=2, epochs=2, seed=3))
    rest = EpochOrder(total=7, step_patches=2, epochs=2, seed=3, first_step=step)
    assert list(rest) == whole[step:]
    assert len(rest) == len(whole) - step


def test_another_seed_is_another_order() -> None:
    orders = [list(EpochOrder(total=20, step_patches=1, epochs=1, seed=seed)) for seed in (0, 1)]
    assert orders[0] != orders[1]


def test_a_subset_is_equally_spaced(tiny_settings: TrainSettings) -> None:
    chosen = select_triplets(tiny_settings.model_copy(update={"subset": 2}), ProbabilityCache())
    assert list(chosen.names) == ["tiny_0", "tiny_2"]  # floor(i * 5 / 2)


def test_a_list_narrows_the_split_in_its_own_order(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("tiny_3\ntiny_1\n")
    settings = tiny_settings.model_copy(update={"patch_list": tmp_path / "list.txt"})
    chosen = select_triplets(settings, ProbabilityCache())
    assert list(chosen.names) == ["tiny_3", "tiny_1"]


def test_a_list_with_an_unknown_patch_is_refused(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("tiny_3\nhuge_1\n")
    settings = tiny_settings.model_copy(update={"patch_list": tmp_path / "list.txt"})
    with pytest.raises(InputError, match=r"names 1 patches that are not in .*, first huge_1"):
        select_triplets(settings, ProbabilityCache())


def test_names_of_a_list_may_have_blanks_in_them(tiny_root: Path, tiny_settings: TrainSettings, tmp_path: Path) -> None:
    for folder in ("s1", "s2_cloudy", "s2_cloudfree"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tiny 0.tif").symlink_to(tiny_root / folder / "tiny_0.tif")
    (tmp_path / "list.txt").write_text("\ufefftiny 0\r\n\n", encoding="utf-8")
    settings = tiny_settings.model_copy(update={"patches": tmp_path, "patch_list": tmp_path / "list.txt"})
    assert list(select_triplets(settings, ProbabilityCache()).names) == ["tiny 0"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "names no patch, expected one a line"),
        (b" \n\n", "names no patch, expected one a line"),
        (b"tiny_3\ntiny_1\ntiny_3\n", "names tiny_3 more than once"),
        (b"\xff\xfe\x00", "is not a text"),
    ],
)
def test_fault_19_a_list_without_patches_or_with_one_twice_is_refused(
    content: bytes, complaint: str, tiny_settings: TrainSettings, tmp_path: Path
) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    settings = tiny_settings.model_copy(update={"patch_list": tmp_path / "list.txt"})
    with pytest.raises(InputError, match=complaint):
        select_triplets(settings, ProbabilityCache())


def test_fault_19_incomplete_triplets_are_refused_by_name_or_skipped(
    tiny_root: Path, tiny_settings: TrainSettings, tmp_path: Path
) -> None:
    for folder, numbers in (("s1", (0, 1, 2)), ("s2_cloudy", (0, 1)), ("s2_cloudfree", (0, 2))):
        (tmp_path / folder).mkdir()
        for number in numbers:
            (tmp_path / folder / f"tiny_{number}.tif").symlink_to(tiny_root / folder / f"tiny_{number}.tif")
    settings = tiny_settings.model_copy(update={"patches": tmp_path})
    expected = r"\(tiny_1 lacks s2_cloudfree; tiny_2 lacks s2_cloudy\); fetch the missing files or set damaged = 'skip'"
    with pytest.raises(InputError, match=expected):
        select_triplets(settings, ProbabilityCache())
    skipping = settings.model_copy(update={"damaged": "skip"})
    assert list(select_triplets(skipping, ProbabilityCache()).names) == ["tiny_0"]


def test_an_unpaired_item_shows_the_clear_image_of_another_patch(tiny_settings: TrainSettings) -> None:
    settings = tiny_settings.model_copy(update={"paired_percent": 0.0})
    data = training_data(select_triplets(settings, ProbabilityCache()), settings)
    for index, other in enumerate(data.pairing.clear_of):
        triplet, paired, _ = data[index]
        assert not paired
        assert torch.equal(triplet.clear, data.triplets[other].clear)
        assert torch.equal(triplet.observation.cloudy, data.triplets[index].observation.cloudy)


def test_the_seed_decides_which_clear_images_are_shown(tiny_settings: TrainSettings) -> None:
    def pairing(seed: int) -> tuple[int, ...]:
        settings = tiny_settings.model_copy(update={"paired_percent": 0.0, "seed": seed})
        return training_data(select_triplets(settings, ProbabilityCache()), settings).pairing.clear_of

    assert pairing(3) == pairing(3)
    assert len({pairing(seed) for seed in range(8)}) > 4  # of the 44 ways to give five patches another's image


def test_batches_carry_names_and_pairs(tiny_settings: TrainSettings) -> None:
    data = training_data(select_triplets(tiny_settings, ProbabilityCache()), tiny_settings)
    with loaded(data, EpochOrder(5, 5, 1, 0), batch=5, workers=0) as steps:
        ((triplet, paired, _),) = next(steps)
    order = np.random.default_rng([0, 0]).permutation(5)
    assert triplet.name == ", ".join(f"tiny_{i}" for i in order)
    assert paired == tuple(data.pairing.paired[i] for i in order)
    assert triplet.clear.shape == (5, 3, 32, 32)


def packed(settings: TrainSettings, folder: Path, **changes: object) -> TrainSettings:
    """The same settings on a store made of their patches."""
    data = TripletDataset(
        find_triplets(settings.patches).triplets,
        settings.network.bands,
        settings.clouds.model_copy(update=changes),
        crop_px=36,
    )
    pack(data, parts_by_name(find_triplets(settings.patches)), folder)
    return settings.model_copy(update={"patches": folder})


def test_a_store_trains_as_its_geotiffs_do(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    both = (tiny_settings, packed(tiny_settings, tmp_path))
    one, other = (training_data(select_triplets(settings, ProbabilityCache()), settings) for settings in both)
    assert one.triplets.names == other.triplets.names
    for (a, paired, _), (b, also, _) in zip((one[i] for i in range(5)), (other[i] for i in range(5)), strict=True):
        assert paired == also
        assert torch.equal(a.clear, b.clear)
        assert torch.equal(a.observation.cloudy, b.observation.cloudy)
        assert torch.equal(a.observation.sar, b.observation.sar)


def test_a_store_of_other_clouds_is_refused(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    settings = packed(tiny_settings, tmp_path).model_copy(update={"clouds": CloudMapSettings()})
    with pytest.raises(InputError, match=r"was packed with other clouds: .*mode='ones'.*; pack again"):
        select_triplets(settings, ProbabilityCache())


def test_positions_are_floor_of_i_times_total_over_count() -> None:
    assert equally_spaced(4, 10) == (0, 2, 5, 7)


def test_a_subset_larger_than_the_whole_is_refused() -> None:
    with pytest.raises(InputError, match="at most the 3 patches"):
        equally_spaced(4, 3)


def test_ours_100_keeps_every_pair() -> None:
    pairing = pair(5, 100, np.random.default_rng(0))
    assert pairing.clear_of == (0, 1, 2, 3, 4)
    assert all(pairing.paired)


def test_ours_0_gives_no_observation_its_own_clear_image() -> None:
    pairing = pair(50, 0, np.random.default_rng(0))
    assert all(clear != i for i, clear in enumerate(pairing.clear_of))
    assert not any(pairing.paired)


def test_ours_40_of_ten_keeps_four_equally_spaced_pairs() -> None:
    pairing = pair(10, 40, np.random.default_rng(0))
    assert [i for i, kept in enumerate(pairing.paired) if kept] == [0, 2, 5, 7]


def test_beside_a_pair_the_discriminator_sees_the_clear_image_of_another_pair() -> None:
    rng = np.random.default_rng(0)
    pairing = with_unpaired_reals(pair(10, 40, rng), rng)
    kept = [0, 2, 5, 7]
    assert sorted(pairing.real_of[i] for i in kept) == kept
    assert all(pairing.real_of[i] != i for i in kept)
    assert [pairing.real_of[i] for i in (1, 3, 4, 6, 8, 9)] == [pairing.clear_of[i] for i in (1, 3, 4, 6, 8, 9)]


@pytest.mark.parametrize(("real_images", "own"), [("unpaired", False), ("own", True)])
def test_pairs_come_with_an_unpaired_real_image_by_default(
    tiny_settings: TrainSettings, real_images: str, own: bool
) -> None:
    settings = tiny_settings.model_copy(update={"paired_percent": 100.0, "real_images": real_images})
    data = training_data(select_triplets(settings, ProbabilityCache()), settings)
    triplet, paired, real = data[0]
    assert paired and (real is None) == own
    if real is not None:
        assert not torch.equal(real, triplet.clear)
        assert torch.equal(real, data.triplets.clear(data.pairing.real_of[0]))


@given(total=st.integers(1, 60), percent=st.floats(0, 100), seed=st.integers(0, 2**32))
def test_every_clear_image_is_shown_once_an_epoch(total: int, percent: float, seed: int) -> None:
    pairing = pair(total, percent, np.random.default_rng(seed))
    assert sorted(pairing.clear_of) == list(range(total))
    assert sum(pairing.paired) == round(total * percent / 100)


def test_a_pairing_that_moves_a_paired_image_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="keep its own"):
        Pairing((1, 0), (True, False))


def test_batches_for_a_cuda_device_are_pinned_with_all_their_images(
    tiny_settings: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned: list[int] = []
    monkeypatch.setattr("torch.Tensor.pin_memory", lambda self, *_: (pinned.append(self.shape[1]), self)[1])
    data = training_data(select_triplets(tiny_settings, ProbabilityCache()), tiny_settings)
    (batch,) = pin_memory(collated([data[i] for i in range(2)], 2))
    assert batch.real is not None
    assert pinned == [2, 3, 1, 3, 3]  # radar, cloudy image, map, clear image, real image
    assert batch.triplet.name == "tiny_0, tiny_1"
