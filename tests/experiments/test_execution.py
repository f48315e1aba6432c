import json
from pathlib import Path

import pytest

from unclouded.errors import InputError
from unclouded.experiments.execution import Execution, complete_on_devices, row_hours, step_seconds, without_option
from unclouded.experiments.rows import find_experiments
from unclouded.settings import settings_from
from unclouded.training.settings import TrainSettings


def keys(table: str = "table_3", **how: object) -> list[list[str]]:
    rows = find_experiments().rows(table)
    return [[row.key for row in group] for group in Execution(**how).select(rows)]  # type: ignore[arg-type]


def test_rows_are_selected_by_their_keys_with_hyphens_or_underscores() -> None:
    assert keys(rows=("ours-0", "s1_vv")) == [["s1_vv"], ["ours_0"]]
    with pytest.raises(InputError, match="the table has no row ours_7; choose from s1_vv"):
        keys(rows=("ours-7",))


def test_every_row_is_in_one_shard() -> None:
    shards = [keys("table_2", shard=f"{i}/3") for i in (1, 2, 3)]
    assert [len(shard) for shard in shards] == [4, 4, 3]
    assert sorted(key for shard in shards for (key,) in shard) == sorted(key for (key,) in keys("table_2"))
    with pytest.raises(InputError, match="expected a shard such as 3/8"):
        keys(shard="2")


def test_a_network_predicts_several_patches_together_on_a_graphics_card_only() -> None:
    assert (Execution().batch, Execution(device="cpu").batch, Execution(device="cuda").batch) == (1, 1, 16)


def test_hours_follow_from_the_logs(tmp_path: Path) -> None:
    for fold, seconds in (("a", (2.0, 4.0)), ("b", (1.0,))):
        lines = [{"step": 600 * (i + 1), "seconds": value} for i, value in enumerate(seconds)]
        (tmp_path / fold).mkdir()
        (tmp_path / fold / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert row_hours(tmp_path) == pytest.approx((3.0 * 1200 + 1.0 * 600) / 3600)
    assert row_hours(tmp_path / "nothing") == 0


@pytest.mark.parametrize("objective", ["cycle", "residual"])
def test_a_step_is_measured_with_the_networks_of_a_training(objective: str) -> None:
    content = {
        "objective": objective,
        "paired_percent": 100.0,
        "patches": "nowhere",
        "crop_px": 32,
        "discriminator_width": 1,
        "network": {"width": 1},
        "loss": {"feature": 0.0, "style": 0.0},
        "device": {"accelerator": "cpu"},
    }
    settings = settings_from(TrainSettings, content)
    assert step_seconds(settings, paired=True) > 0


def test_every_card_gets_a_process_of_the_same_command(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[list[str], str]] = []

    class Process:
        def __init__(self, command: list[str], env: dict[str, str], stdout: int) -> None:
            started.append((command[3:], env["CUDA_VISIBLE_DEVICES"]))
            self.status = int(env["CUDA_VISIBLE_DEVICES"] == "7")

        def wait(self) -> int:
            return self.status

        poll = wait

    monkeypatch.setattr("subprocess.Popen", Process)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    arguments = without_option(["reproduce", "table-2", "--devices", "2", "--train", "--devices=2"], "--devices")
    complete_on_devices(2, arguments)
    assert started == [(["reproduce", "table-2", "--train"], card) for card in ("0", "1")]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,7")
    with pytest.raises(InputError, match="the processes of the cards 7 failed, see above; run again to resume"):
        complete_on_devices(2, arguments)
    with pytest.raises(InputError, match="names 2 cards, expected 3; lower --devices"):
        complete_on_devices(3, arguments)
