import json
import os
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tomli_w
import torch
from lightning_fabric import Fabric
from torch import nn

from unclouded.clouds.cache import ProbabilityCache
from unclouded.errors import BusyError, InputError, StoppedError
from unclouded.files import sha256
from unclouded.models import winograd
from unclouded.models.loading import load_remover
from unclouded.models.network import NetworkRemover
from unclouded.models.weights import load_network
from unclouded.sensors import SENTINEL2
from unclouded.training import loop as previews
from unclouded.training import objectives
from unclouded.training.checkpoint import RunFolder
from unclouded.training.data import select_triplets
from unclouded.training.distributed import launch
from unclouded.training.loop import (
    DiscriminatorMonitor,
    is_previewed,
    not_finite,
    not_finite_error,
    train,
    write_preview,
)
from unclouded.training.objectives import LossScale, OptimiserGroup, build_objective
from unclouded.training.settings import LoggingSettings, Schedule, TrainSettings


def log_without_times(run: RunFolder) -> list[dict[str, object]]:
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in run.read_log()]


def test_a_run_leaves_settings_log_weights_and_state(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    settings = tiny_settings.model_copy(
        update={"logging": LoggingSettings(log_every=1, preview_every=10, checkpoint_every=0)}
    )
    train(settings, run)
    log = run.read_log()
    assert [entry["step"] for entry in log] == list(range(1, 11))  # 2 epochs of 5 patches
    assert log[4]["learning_rate"] == pytest.approx(2e-4)
    assert log[5]["learning_rate"] == pytest.approx(1e-4)  # epoch 1 of 1 + 1: factor 1 / 2
    assert sum("pixel" in entry for entry in log) == 4  # 40 % of 5 patches are 2 pairs, in 2 epochs
    assert load_network(run.weights).training["steps"] == "10"
    assert (run.previews / "step_0000010.png").stat().st_size > 10_000
    assert run.patches.read_text().split() == [f"tiny_{i}" for i in range(5)]


def test_a_run_is_one_line_with_a_settings_file_and_a_folder(
    tiny_settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = {"epochs_constant": 1, "epochs_decay": 1, "max_steps": 1}
    content = tiny_settings.model_dump(mode="json", exclude_unset=True) | {"schedule": schedule, "patches": "data"}
    (tmp_path / "settings.toml").write_text(tomli_w.dumps(content))
    (tmp_path / "data").symlink_to(tiny_settings.patches)
    monkeypatch.chdir(tmp_path)
    run = train("settings.toml", "runs/one")
    assert run == RunFolder("runs/one") == RunFolder(Path("runs/one"))
    assert load_network(run.weights).training["steps"] == "1"
    assert run.read_settings().patches.is_absolute()  # so that the run can be repeated from any folder
    assert train(Path("settings.toml"), Path("runs/one"), resume=True) == run
    with pytest.raises(InputError, match="missing is neither a file nor a preset; presets are"):
        train("missing", "runs/two")


def test_batches_one_after_the_other_give_the_gradient_of_one_batch(
    tiny_settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[torch.Tensor] = []

    class Watched(OptimiserGroup):
        def update(self, rate: float, fabric: Fabric) -> bool:
            found.append(torch.cat([p.grad.flatten() for p in self.parameters if p.grad is not None]))
            return super().update(rate, fabric)

    monkeypatch.setattr(objectives, "OptimiserGroup", Watched)
    pairs = tiny_settings.model_copy(update={"objective": "residual", "paired_percent": 100.0, "subset": 3})
    for name, batch, accumulate in (("whole", 3, 1), ("parts", 2, 2)):  # 3 patches at once, or 2 and then 1
        schedule = Schedule(batch=batch, accumulate=accumulate, max_steps=1)
        train(pairs.model_copy(update={"schedule": schedule}), RunFolder(tmp_path / name))
    whole, parts = found
    assert torch.linalg.vector_norm(whole - parts) < 1e-5 * torch.linalg.vector_norm(whole)


def test_with_a_moving_average_it_is_the_average_that_is_kept(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    settings = tiny_settings.model_copy(update={"schedule": Schedule(ema_decay=0.9, max_steps=1)})
    train(settings, run)
    remover, state = load_network(run.weights), run.load_state()
    assert remover.training["weights"] == "moving average with decay 0.9"
    for name, tensor in remover.generator.state_dict().items():
        assert tensor.equal(state["ema"][name])
    fresh = build_objective(settings, launch(settings.device)).generator.state_dict()["trunk.1.weight"]
    learnt = state["networks"]["sar_to_optical"]["trunk.1.weight"]
    expected = fresh * 2 / 11 + learnt * 9 / 11  # after one step the decay is (1 + 1) / (10 + 1)
    assert torch.allclose(state["ema"]["trunk.1.weight"], expected, atol=1e-7)
    assert not torch.allclose(learnt, expected, atol=1e-5)


def test_a_run_may_start_from_weights(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    first, second = RunFolder(tmp_path / "first"), RunFolder(tmp_path / "second")
    train(tiny_settings.model_copy(update={"schedule": Schedule(max_steps=1)}), first)
    hardly = Schedule(max_steps=1, learning_rate=1e-9)
    other_seed = {"seed": 5, "schedule": hardly, "start_from": first.weights}
    train(tiny_settings.model_copy(update=other_seed), second)
    before, after = (load_network(run.weights).generator.state_dict() for run in (first, second))
    assert all(torch.allclose(before[name], after[name], atol=1e-8, rtol=0) for name in before)
    told = json.loads(second.provenance.read_text())
    assert told["start_from_sha256"] == sha256(first.weights)


def test_a_run_may_start_from_all_networks_of_another_run(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    first, second = RunFolder(tmp_path / "first"), RunFolder(tmp_path / "second")
    train(tiny_settings.model_copy(update={"schedule": Schedule(max_steps=1)}), first)
    hardly = Schedule(max_steps=1, learning_rate=1e-9)
    train(tiny_settings.model_copy(update={"seed": 5, "schedule": hardly, "start_from": first.path}), second)
    before, after = (run.networks(tiny_settings) for run in (first, second))
    assert len(before) == 4
    for name, tensors in before.items():
        learnt = [key for key in tensors if not key.endswith(("._u", "._v"))]  # vectors of spectral normalisation
        assert all(torch.allclose(tensors[key], after[name][key], atol=1e-7, rtol=0) for key in learnt), name
    assert json.loads(second.provenance.read_text())["start_from_sha256"] == sha256(first.state)
    other = tiny_settings.model_copy(update={"discriminator_width": 3, "start_from": first.path})
    with pytest.raises(InputError, match=r"first has other networks \(discriminator_width is 2, expected 3\)"):
        train(other, RunFolder(tmp_path / "third"))
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="nothing holds no saved state of a run"):
        train(tiny_settings.model_copy(update={"start_from": tmp_path / "nothing"}), RunFolder(tmp_path / "fourth"))


def test_weights_of_another_network_cannot_initialise_a_run(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    first = RunFolder(tmp_path / "first")
    short = tiny_settings.model_copy(update={"schedule": Schedule(max_steps=1)})
    train(short, first)
    wider = short.model_copy(update={"network": short.network.model_copy(update={"width": 3})})
    with pytest.raises(InputError, match=r"is of another network \(width is 2, expected 3\); take the network of its"):
        train(wider.model_copy(update={"start_from": first.weights}), RunFolder(tmp_path / "second"))


def test_weights_of_some_steps_are_kept(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    logging = tiny_settings.logging.model_copy(update={"keep_every": 2})
    train(tiny_settings.model_copy(update={"logging": logging, "schedule": Schedule(max_steps=4)}), run)
    kept = sorted((run.path / "kept").iterdir())
    assert [(path.name, load_network(path).training["steps"]) for path in kept] == [
        ("step_0000002.safetensors", "2"),
        ("step_0000004.safetensors", "4"),
    ]
    assert kept[1].read_bytes() == run.weights.read_bytes()
    assert kept[0].read_bytes() != run.weights.read_bytes()


def test_the_run_folder_repeats_its_own_run(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    first, second = RunFolder(tmp_path / "first"), RunFolder(tmp_path / "second")
    train(tiny_settings, first)
    from unclouded.settings import load_settings

    train(load_settings(TrainSettings, first.settings), second)
    assert first.weights.read_bytes() == second.weights.read_bytes()


def test_resuming_after_every_step_ends_with_the_same_bytes(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    straight, broken = RunFolder(tmp_path / "straight"), RunFolder(tmp_path / "broken")
    train(tiny_settings, straight)
    for steps in range(1, 11):
        stop = tiny_settings.model_copy(
            update={"schedule": Schedule(epochs_constant=1, epochs_decay=1, max_steps=steps)}
        )
        train(stop, broken, resume=steps > 1)
    assert broken.state.read_bytes() == straight.state.read_bytes()
    assert log_without_times(broken) == log_without_times(straight)
    assert load_network(broken.weights).training["steps"] == "10"


def test_fault_40_a_loss_that_is_no_number_stops_the_run_and_names_the_patch(
    tiny_settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unclouded.training import losses

    calls = []

    def broken_after_three(estimate: torch.Tensor, cloud_map: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return estimate.mean() * (float("nan") if len(calls) > 3 else 0.0)

    monkeypatch.setattr(losses, "auxiliary", broken_after_three)
    run = RunFolder(tmp_path / "run")
    with pytest.raises(StoppedError, match=r"step 4: auxiliary is not finite on patch tiny_\d"):
        train(tiny_settings, run)
    assert run.load_state()["step"] == 2
    assert load_network(run.weights).training["steps"] == "2"


def test_fault_34_a_second_process_is_refused_with_the_owner_of_the_run(
    tiny_settings: TrainSettings, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "run")
    with run.lock(), pytest.raises(BusyError, match=f"is being written by process {os.getpid()} on"):
        train(tiny_settings, run)


def test_a_finished_run_is_not_overwritten(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    short = tiny_settings.model_copy(update={"schedule": Schedule(max_steps=1)})
    train(short, run)
    with pytest.raises(InputError, match="holds a run already; continue it with --resume"):
        train(short, run)


def test_resuming_with_other_settings_is_refused(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    train(tiny_settings.model_copy(update={"schedule": Schedule(max_steps=1)}), run)
    other = tiny_settings.model_copy(update={"seed": 7, "schedule": Schedule(max_steps=2)})
    with pytest.raises(InputError, match="seed was 0, now 7"):
        train(other, run, resume=True)


def test_resuming_what_was_never_started_is_refused(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run to resume"):
        train(tiny_settings, RunFolder(tmp_path / "run"), resume=True)


def test_fault_23_a_malicious_state_is_refused_and_does_not_run(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    run, marker = RunFolder(tmp_path / "run"), tmp_path / "marker"

    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {marker}",)

    short = tiny_settings.model_copy(update={"schedule": Schedule(max_steps=1)})
    train(short, run)
    torch.save({"step": Payload()}, run.state)
    with pytest.raises(InputError, match="is not the state of a run"):
        train(tiny_settings.model_copy(update={"schedule": Schedule(max_steps=2)}), run, resume=True)
    assert not marker.exists()


def test_an_incomplete_last_line_of_the_log_is_discarded(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.log.write_text(json.dumps({"step": 1}) + "\n" + '{"step": 2, "cyc')
    assert run.read_log() == [{"step": 1}]


def test_damaged_patches_are_named_together_or_skipped(
    tiny_settings: TrainSettings, tiny_root: Path, tmp_path: Path
) -> None:
    import shutil

    root = tmp_path / "copy"
    shutil.copytree(tiny_root, root)
    for number in (1, 3):
        file = root / "s2_cloudy" / f"tiny_{number}.tif"
        file.write_bytes(file.read_bytes()[:3000])
    settings = tiny_settings.model_copy(update={"patches": root, "schedule": Schedule(max_steps=1)})
    with pytest.raises(InputError, match=r"2 of 5 patches are damaged \(tiny_1: .*tiny_3: "):
        train(settings, RunFolder(tmp_path / "refused"))
    run = RunFolder(tmp_path / "skipped")
    train(settings.model_copy(update={"damaged": "skip"}), run)
    assert run.patches.read_text().split() == ["tiny_0", "tiny_2", "tiny_4"]


def test_thirteen_bands_train_and_come_back(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    network = tiny_settings.network.model_copy(update={"bands": SENTINEL2.bands})
    run = RunFolder(tmp_path / "run")
    train(tiny_settings.model_copy(update={"network": network, "schedule": Schedule(max_steps=2)}), run)
    assert load_network(run.weights).bands == SENTINEL2.bands


def test_the_ablation_gets_a_map_of_ones_and_bf16_trains(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    device = tiny_settings.device.model_copy(update={"precision": "bf16-mixed"})
    train(tiny_settings.model_copy(update={"device": device, "schedule": Schedule(max_steps=2)}), run)
    assert all(np.isfinite(entry["total"]) for entry in run.read_log())
    assert run.read_log()[0]["clear_residual"] is None  # no pixel is clear where m = 1 everywhere


def test_resuming_in_bfloat16_with_fast_convolutions_ends_with_the_same_bytes(
    tiny_settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd, "is_faster", lambda: True)
    settings = tiny_settings.model_copy(
        update={
            "network": tiny_settings.network.model_copy(update={"width": 8}),  # 32 channels in the residual blocks
            "device": tiny_settings.device.model_copy(update={"precision": "bf16-mixed"}),
        }
    )

    def limited(steps: int) -> TrainSettings:
        return settings.model_copy(update={"schedule": Schedule(epochs_constant=1, epochs_decay=1, max_steps=steps)})

    straight, broken = RunFolder(tmp_path / "straight"), RunFolder(tmp_path / "broken")
    train(limited(3), straight)
    train(limited(1), broken)
    train(limited(3), broken, resume=True)
    assert broken.state.read_bytes() == straight.state.read_bytes()
    assert {tensor.dtype for tensor in straight.load_state()["networks"]["sar_to_optical"].values()} == {torch.float32}


def in_half_precision(settings: TrainSettings, steps: int) -> TrainSettings:
    device = settings.device.model_copy(update={"precision": "16-mixed"})
    schedule = Schedule(epochs_constant=1, epochs_decay=1, max_steps=steps)
    return settings.model_copy(update={"device": device, "schedule": schedule})


def test_float16_skips_an_overflow_halves_its_scale_and_resumes_with_the_same_bytes(
    tiny_settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectives, "LossScale", partial(LossScale, 2.0**40))  # float16 ends at 2^16
    straight, broken = RunFolder(tmp_path / "straight"), RunFolder(tmp_path / "broken")
    train(in_half_precision(tiny_settings, 4), straight)
    train(in_half_precision(tiny_settings, 2), broken)
    train(in_half_precision(tiny_settings, 4), broken, resume=True)
    assert broken.state.read_bytes() == straight.state.read_bytes()
    assert float(straight.load_state()["scales"]["generators"]["value"]) < 2.0**40
    assert all(np.isfinite(entry["total"]) for entry in straight.read_log())


def test_float16_stops_where_a_smaller_scale_does_not_help(
    tiny_settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unclouded.training.losses.auxiliary", lambda *_: torch.tensor(torch.nan, requires_grad=True))
    with pytest.raises(StoppedError, match="step 1: auxiliary is not finite on patch tiny_"):
        train(in_half_precision(tiny_settings, 2), RunFolder(tmp_path / "run"))


def test_a_compiled_network_trains_to_the_same_bytes(
    tiny_settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []

    def compiled(network: nn.Module, mode: str) -> nn.Module:
        modes.append(mode)
        return network  # the compiler itself takes minutes; see proofs/gpu.py

    monkeypatch.setattr("torch.compile", compiled)
    monkeypatch.setattr(winograd, "is_faster", lambda: False)
    plain, run = RunFolder(tmp_path / "plain"), RunFolder(tmp_path / "compiled")
    few = tiny_settings.model_copy(update={"schedule": Schedule(max_steps=2)})
    train(few, plain)
    train(few.model_copy(update={"device": few.device.model_copy(update={"compile": "reduce-overhead"})}), run)
    assert modes == ["reduce-overhead"] * 4
    assert run.state.read_bytes() == plain.state.read_bytes()


def judgements(real: float, generated: float) -> dict[str, float]:
    return {"optical_real": real, "optical_generated": generated}


def test_a_discriminator_that_has_won_is_named_once() -> None:
    monitor = DiscriminatorMonitor(window=3)
    told = [monitor.warning(judgements(0.98, 0.01)) for _ in range(6)]
    assert [one is not None for one in told] == [False, False, True, False, False, False]
    assert str(told[2]).startswith("the optical discriminator has won (real 0.98, generated 0.01 over 3 steps)")


def test_a_balanced_discriminator_is_not() -> None:
    monitor = DiscriminatorMonitor(window=2)
    assert all(monitor.warning(judgements(0.6, 0.4)) is None for _ in range(10))


def test_one_good_step_among_others_is_not_a_victory() -> None:
    monitor = DiscriminatorMonitor(window=2)
    assert all(monitor.warning(judgements(*one)) is None for one in [(1.0, 0.0), (0.6, 0.4)] * 5)


def test_an_objective_without_discriminators_has_no_balance() -> None:
    assert DiscriminatorMonitor(window=1).warning({"pixel": 0.1}) is None


FINE, BROKEN = torch.tensor(0.5), torch.tensor(torch.nan)


def test_terms_that_may_be_nan_are_not_reported_as_the_cause() -> None:
    terms = {
        "cycle": BROKEN,
        "pixel": torch.tensor(torch.inf),
        "identity": FINE,
        "clear_residual": BROKEN,
        "total": BROKEN,
    }
    assert not_finite("p1", terms) == {"p1": ["cycle", "pixel"]}


def test_fault_40_only_the_guilty_patches_of_all_batches_are_named(tmp_path: Path) -> None:
    found = [{"p1": ["cycle"]}, {"p2": []}, {"p3": ["pixel", "identity"]}]
    told = str(not_finite_error(7, found, tmp_path / "state"))
    assert told.startswith(
        "step 7: cycle is not finite on patch p1; pixel, identity is not finite on patch p3; nothing was"
    )


def test_fault_40_where_only_a_gradient_is_broken_all_patches_of_the_step_are_named(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    told = str(not_finite_error(7, [{"p1": []}, {"p2": []}], tmp_path / "state"))
    assert "gradient is not finite on patch p1; gradient is not finite on patch p2" in told
    assert f"the state of an earlier step is in {tmp_path / 'state'}" in told


def test_pictures_come_early_and_then_at_equal_distances() -> None:
    assert [step for step in range(1, 1001) if is_previewed(step, 400)] == [1, 10, 100, 400, 800]


def test_no_previews_are_written_with_0() -> None:
    assert not any(is_previewed(step, 0) for step in range(1, 101))


def test_four_patches_from_the_whole_run_are_shown_beside_their_clear_images(
    tiny_settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []
    monkeypatch.setattr(previews, "write_comparison", lambda path, rows, title: shown.append((path, rows, title)))
    remover = NetworkRemover(tiny_settings.network.build(), tiny_settings.network)
    triplets = select_triplets(tiny_settings, ProbabilityCache())
    write_preview(tmp_path / "one.png", remover, triplets, 7, torch.device("cpu"))
    ((path, rows, title),) = shown
    assert (path.name, title) == ("one.png", "step 7")
    assert [triplet.name for triplet, _ in rows] == ["tiny_0", "tiny_1", "tiny_2", "tiny_3"]  # floor(i * 5 / 4)
    for triplet, images in rows:
        assert images["prediction"].equal(remover(triplet.observation))


@pytest.mark.parametrize("objective", ["cycle", "conditional", "residual"])
def test_a_network_of_another_package_is_trained(
    tiny_settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str
) -> None:
    (tmp_path / "their_net.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    inputs = ('cloudy',)\n"
        "    def __init__(self, bands):\n"
        "        super().__init__()\n"
        "        self.layer = nn.Conv2d(len(bands), len(bands), 1)\n"
        "    def forward(self, cloudy):\n"
        "        return self.layer(cloudy).tanh()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    network = tiny_settings.network.model_copy(update={"architecture": "their_net:Net"})
    schedule = tiny_settings.schedule.model_copy(update={"max_steps": 2, "ema_decay": 0.9})
    changes = {"objective": objective, "paired_percent": 100.0, "network": network, "schedule": schedule}
    run = RunFolder(tmp_path / "run")
    train(tiny_settings.model_copy(update=changes), run)
    trained = load_remover(f"their_net:Net@{run.weights}")
    assert isinstance(trained, NetworkRemover) and trained.training["steps"] == "2"
    sys.modules.pop("their_net")
