import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from unclouded import __version__
from unclouded.clouds.cache import ProbabilityCache
from unclouded.errors import InputError
from unclouded.models.scaling import Scaling
from unclouded.patches.layouts import find_triplets
from unclouded.patches.splits import parts_by_name
from unclouded.progress import no_progress
from unclouded.tensors.dataset import TripletDataset, TripletSource
from unclouded.tensors.observation import Observation, Triplet
from unclouded.tensors.packed import RECORDS, pack
from unclouded.training.checkpoint import RunFolder
from unclouded.training.data import select_triplets
from unclouded.training.distributed import launch
from unclouded.training.preparation import (
    CheckedPatches,
    add_session,
    check_patches,
    digest,
    git_commit,
    require_ranges,
    session,
    training_data_summary,
    write_provenance,
)
from unclouded.training.settings import Device, Schedule, TrainSettings


def checked(settings: TrainSettings) -> tuple[TripletSource, tuple[str, ...]]:
    chosen = select_triplets(settings, ProbabilityCache())
    return check_patches(chosen, settings, launch(settings.device), no_progress)[:2]


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


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_run_records_its_inputs(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    write_provenance(run, tiny_settings, "a\nb\n", ("1f", "2e"))
    told = json.loads(run.provenance.read_text())
    assert told["seed"] == 0
    assert told["split_sha256"] == sha256("a\nb\n")
    assert told["data_sha256"] == sha256("1f\n2e\n")
    assert told["settings_sha256"] == sha256(tiny_settings.model_dump_json())
    (session,) = told["sessions"]
    assert session["first_step"] == 1
    assert (session["versions"]["unclouded"], session["versions"]["torch"]) == (__version__, torch.__version__)


def test_weights_contain_hashes_and_each_region_once(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    names = "ROIs1868_summer_9_p1\nROIs1158_spring_31_p1\nROIs1158_spring_31_p2\n"
    write_provenance(run, tiny_settings, names, ("1f", "2e", "3d"))
    run.patches.write_text(names)
    assert training_data_summary(run) == {
        "data_sha256": sha256("1f\n2e\n3d\n"),
        "split_sha256": sha256(names),
        "regions": "ROIs1158_spring_31 ROIs1868_summer_9",
    }


def test_weights_contain_no_regions_if_one_patch_has_none(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    names = "ROIs1158_spring_31_p1\nholiday\n"
    write_provenance(run, tiny_settings, names, ("1f", "2e"))
    run.patches.write_text(names)
    assert "regions" not in training_data_summary(run)


def test_the_device_is_the_one_that_computes(tiny_settings: TrainSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "RTX")
    assert session(0, tiny_settings.model_copy(update={"device": Device(accelerator="auto")}))["device"] == "RTX"
    assert session(0, tiny_settings)["device"] == torch.backends.cpu.get_cpu_capability()


def test_every_session_is_added(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    write_provenance(run, tiny_settings, "a\n", ("1f",))
    longer = tiny_settings.model_copy(update={"schedule": Schedule(epochs_constant=3)})
    add_session(run, 7, longer, "the rate jumps")
    first, second = json.loads(run.provenance.read_text())["sessions"]
    assert (first["first_step"], second["first_step"]) == (1, 8)
    assert [one["settings"]["schedule"]["epochs_constant"] for one in (first, second)] == [1, 3]
    assert second["warning"] == "the rate jumps"
    assert "warning" not in first


def test_the_commit_of_a_source_tree_and_whether_it_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)

    def git(*words: str) -> str:
        who = ["-c", "user.name=one", "-c", "user.email=one@example.org"]
        asked = subprocess.run(["git", "-C", str(tmp_path), *who, *words], capture_output=True, text=True, check=True)
        return asked.stdout.strip()

    git("init", "-q")
    assert git_commit(tmp_path) is None
    (tmp_path / "code.py").write_text("1\n")
    git("add", "code.py")
    git("commit", "-qm", "one")
    assert git_commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "code.py").write_text("2\n")
    assert git_commit(tmp_path) == git("rev-parse", "HEAD") + "+"
    inside = tmp_path / "site-packages"
    inside.mkdir()
    assert git_commit(inside) is None


def patch(vv: float = -10.0, vh: float = -17.0, clear: float = 0.1) -> Triplet:
    """One value everywhere."""
    sar = torch.tensor([vv, vh]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    seen = Observation(sar, torch.full((1, 3, 4, 4), 0.8), torch.ones(1, 1, 4, 4), ("B04", "B03", "B02"))
    return Triplet("one", seen, torch.full((1, 3, 4, 4), clear))


def test_decibels_and_reflectance_pass() -> None:
    require_ranges([patch()], Scaling())


def test_fault_15_linear_power_is_refused_by_band() -> None:
    with pytest.raises(InputError, match=r"radar VV of the first patches: .*median 0.2; expected dB .*linear power\?"):
        require_ranges([patch(vv=0.2)], Scaling())


def test_radar_below_the_clip_is_refused_unless_the_scaling_reaches_it() -> None:
    with pytest.raises(InputError, match=r"radar VH .*median -28; expected dB between -25 and 0; .*network.scaling"):
        require_ranges([patch(vh=-28.0)], Scaling())
    require_ranges([patch(vh=-28.0)], Scaling(vh_db=(-32.5, 0.0)))


def test_fault_17_digital_numbers_and_reflectance_stored_as_such_are_refused() -> None:
    with pytest.raises(InputError, match=r"clear images .*median 900; expected reflectance between 0 and 1"):
        require_ranges([patch(clear=900.0)], Scaling())
    with pytest.raises(InputError, match=r"clear images .*median 1e-05; expected reflectance; stored without"):
        require_ranges([patch(clear=1e-5)], Scaling())


@pytest.mark.parametrize(("dark", "of"), [(1, 3), (8, 10)])
def test_dark_patches_among_others_are_open_water(dark: int, of: int) -> None:
    require_ranges([patch(vv=-30.0, vh=-35.0, clear=0.0005)] * dark + [patch()] * (of - dark), Scaling())


def test_dark_patches_nearly_everywhere_are_another_unit() -> None:
    with pytest.raises(InputError, match="radar VV of the first patches"):
        require_ranges([patch(vv=-30.0)] * 15 + [patch()], Scaling())  # 94 %


def test_workers_check_the_patches_in_their_order_and_name_damaged_ones(
    tiny_settings: TrainSettings, tiny_root: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(tiny_root, root)
    (root / "s1" / "tiny_3.tif").write_bytes(b"II*")
    settings = tiny_settings.model_copy(update={"patches": root, "damaged": "skip"})
    chosen = select_triplets(settings, ProbabilityCache())
    seen: list[int] = []

    def found(workers: int) -> CheckedPatches:
        device = settings.device.model_copy(update={"workers": workers})
        chosen_device = settings.model_copy(update={"device": device})
        return check_patches(chosen, chosen_device, launch(device), lambda stage, done, total: seen.append(done))

    alone, with_workers = found(0), found(1)
    assert with_workers.digests == alone.digests and len(alone.digests) == 4
    assert [one.name for one in with_workers.damaged] == ["tiny_3"]
    assert with_workers.damaged[0].reason == alone.damaged[0].reason
    assert seen == [1, 2, 3, 4, 5] * 2
