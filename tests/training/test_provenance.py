import hashlib
import json
import subprocess
from pathlib import Path

import pytest
import torch

from unclouded import __version__
from unclouded.training.provenance import add_session, git_commit, session, told_with_weights, write_provenance
from unclouded.training.run import RunFolder
from unclouded.training.settings import Device, Schedule, TrainSettings


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_run_says_what_it_was_made_from(tiny_settings: TrainSettings, tmp_path: Path) -> None:
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


def test_weights_tell_hashes_and_regions_once_each(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    names = "ROIs1868_summer_9_p1\nROIs1158_spring_31_p1\nROIs1158_spring_31_p2\n"
    write_provenance(run, tiny_settings, names, ("1f", "2e", "3d"))
    run.patches.write_text(names)
    assert told_with_weights(run) == {
        "data_sha256": sha256("1f\n2e\n3d\n"),
        "split_sha256": sha256(names),
        "regions": "ROIs1158_spring_31 ROIs1868_summer_9",
    }


def test_weights_name_no_regions_where_one_patch_has_none(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    names = "ROIs1158_spring_31_p1\nholiday\n"
    write_provenance(run, tiny_settings, names, ("1f", "2e"))
    run.patches.write_text(names)
    assert "regions" not in told_with_weights(run)


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
