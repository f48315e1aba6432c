"""The share of a reproduction that one process computes, and its cost, measured before it begins."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Literal

import torch

from unclouded.batch.executors import Shard, stoppable
from unclouded.errors import InputError
from unclouded.experiments.rows import Row
from unclouded.experiments.runs import Part
from unclouded.training.checkpoint import RunFolder
from unclouded.training.distributed import launch
from unclouded.training.forecast import duration_text, predicted_hours, total_steps
from unclouded.training.loop import on_cpu
from unclouded.training.objectives import DISCRIMINATORS, GENERATORS, build_groups, build_objective
from unclouded.training.settings import Device, Precision, TrainSettings
from unclouded.training.step import Batch

PAPER_COST = "the paper states 7 days for ours-0 and 10 to 12 days for ours-100 on an RTX 2080"
MEASURED_STEPS = 3
"""Steps that are measured; the first allocates and compiles, and is not counted."""
FEW_STEPS = 1000
"""Number of steps up to which no estimate is made, as it would cost as much as the steps."""
CUDA_BATCH = 16
"""Patches that a network predicts together on a graphics card."""


@dataclass(frozen=True)
class Execution:
    """Rows that a process completes, and the device it uses.

    Attributes:
        rows: Keys of rows, such as ``ours_0``; all if empty.
        shard: Part of the rows, such as ``2/4``; rows with one network stay together.
        device: Kind of device: ``cpu``, ``cuda`` or ``mps``; that of the settings for training, and the CPU for the
            evaluation, if None.
        precision: Precision of trainings; that of the settings if None. Evaluations are in float32.
        workers: Processes that read patches for a training, and threads that read patches for an evaluation.
    """

    rows: tuple[str, ...] = ()
    shard: str = "1/1"
    device: Literal["cpu", "cuda", "mps"] | None = None
    precision: Precision | None = None
    workers: int = 0

    @property
    def batch(self) -> int:
        """Number of patches that a network predicts together; on the CPU one, which is the fastest there."""
        return CUDA_BATCH if self.device == "cuda" else 1

    def select(self, rows: Sequence[Row]) -> list[list[Row]]:
        """Return the selected rows of this shard, those with the same folder together.

        Raises:
            InputError: A row does not exist, or the shard is invalid.
        """
        known = {row.key: row for row in rows}
        keys = [key.replace("-", "_") for key in self.rows]
        if absent := [key for key in keys if key not in known]:
            raise InputError(f"the table has no row {', '.join(absent)}; choose from {', '.join(known)}")
        groups: dict[str, list[Row]] = {}
        for row in rows:
            if not keys or row.key in keys:
                groups.setdefault(row.path, []).append(row)
        own = Shard.parse(self.shard)
        return [group for place, group in enumerate(groups.values()) if place % own.count == own.number - 1]

    def applied(self, part: Part) -> Part:
        """Return a training with this device; the weights of a finished run do not depend on it."""
        changes = {"accelerator": self.device, "precision": self.precision, "workers": self.workers or None}
        device = Device.model_validate(
            part.settings.device.model_dump() | {key: value for key, value in changes.items() if value is not None}
        )
        return replace(part, settings=part.settings.model_copy(update={"device": device}))


def row_hours(folder: Path) -> float:
    """Return the hours that the trainings in the folder of a row took: logged seconds per step times steps."""
    logs = [RunFolder(path.parent).read_log() for path in sorted(folder.glob("*/log.jsonl"))]
    return sum((fmean(line["seconds"] for line in log) * float(log[-1]["step"]) for log in logs if log), 0.0) / 3600


def random_step(settings: TrainSettings, *, paired: bool) -> Callable[[], dict[str, float]]:
    """Return a function that takes a training step on random images, the same in every step, and returns its terms.

    Args:
        settings: Settings of the training, with its device.
        paired: Whether the step has pairs, with their perceptual losses.
    """
    fabric = launch(settings.device)
    chosen = settings.model_copy(update={"paired_percent": 100.0 if paired else 0.0})
    objective = build_objective(chosen, fabric)
    groups, rate = build_groups(objective, chosen), settings.schedule.learning_rate
    side, bands, size = settings.crop_px, len(settings.network.bands), settings.schedule.batch
    rng = torch.Generator().manual_seed(settings.seed)
    sar, cloudy, clear, cloud_map = (
        torch.rand(size, channels, side, side, generator=rng).to(fabric.device) for channels in (3, bands, bands, 1)
    )
    batch = Batch(sar, cloudy, clear, cloud_map, (paired,) * size, "random")

    def step() -> dict[str, float]:
        if settings.device.compile == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        with groups[GENERATORS].freeze_others(groups.values()):
            loss, generated = objective.generator_loss(batch)
            groups[GENERATORS].backward(loss.total)
            groups[GENERATORS].update(rate, fabric)
        terms = loss.terms
        if DISCRIMINATORS in groups:
            with groups[DISCRIMINATORS].freeze_others(groups.values()):
                loss = objective.discriminator_loss(batch, generated)
                groups[DISCRIMINATORS].backward(loss.total)
                groups[DISCRIMINATORS].update(rate, fabric)
            terms = terms | loss.terms
        return on_cpu({name: term.detach() for name, term in terms.items()})  # waits for the device

    return step


def step_seconds(settings: TrainSettings, *, paired: bool) -> float:
    """Return the measured seconds of a training step on random images; reading patches is not included.

    Args:
        settings: Settings of the training, with its device.
        paired: Whether the step has pairs, with their perceptual losses.
    """
    step, seconds = random_step(settings, paired=paired), []
    for _ in range(MEASURED_STEPS):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return median(seconds[1:])


def estimate(parts: Sequence[Part]) -> list[str]:
    """Return the estimated duration of trainings, one line each and their sum, from measured steps on this machine.

    Steps with and without pairs are measured; p percent of the steps of ours-p have pairs.

    Args:
        parts: Trainings on this device.
    """
    left = [(part, steps) for part in parts if (steps := part.steps_left())]
    if sum(steps for _, steps in left) <= FEW_STEPS:
        return []
    shares = {part.settings.paired_percent / 100 for part, _ in left}
    first = left[0][0].settings
    measured = {
        kind: step_seconds(first, paired=kind)
        for kind in (False, True)
        if any(share > 0 if kind else share < 1 for share in shares)
    }
    lines, total = [], 0.0
    for part, steps in left:
        share = part.settings.paired_percent / 100
        seconds = (1 - share) * measured.get(False, 0.0) + share * measured.get(True, 0.0)
        done = total_steps(part.settings, part.patches) - steps
        hours = predicted_hours(seconds, part.settings, part.patches, done)
        total += hours
        name = "/".join(part.run.path.parts[-2:])
        lines.append(f"{name}: about {duration_text(hours)} for {steps:,} steps at {seconds:.2f} s a step")
    device = first.device
    what = f"{len(left)} trainings on one {device.accelerator} device ({device.precision})"
    conditions = "measured here on random images; reading patches, cloud maps and evaluation are not included"
    return [*lines, f"{what}: about {duration_text(total)} one after the other, {conditions}", PAPER_COST]


# Several cards of one machine: a process each, which takes the rows that no other one holds.


def complete_on_devices(devices: int, arguments: Sequence[str]) -> None:
    """Run the same command once for each graphics card and wait for all of them; rows are shared by their locks.

    Each process sees one card, as ``CUDA_VISIBLE_DEVICES`` says. If this process is stopped, it stops the others.

    Args:
        devices: Number of cards: the first ones of ``CUDA_VISIBLE_DEVICES``, or of the machine.
        arguments: Arguments of the command line of one process.

    Raises:
        InputError: There are fewer cards, or a process failed; its message stands above.
    """
    visible = [card for card in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if card]
    cards = visible or [str(card) for card in range(devices)]
    if len(cards) < devices:
        raise InputError(f"CUDA_VISIBLE_DEVICES names {len(cards)} cards, expected {devices}; lower --devices")
    command = [sys.executable, "-m", "unclouded", *arguments]
    running = [
        subprocess.Popen(command, env=os.environ | {"CUDA_VISIBLE_DEVICES": card}, stdout=subprocess.DEVNULL)  # noqa: S603
        for card in cards[:devices]
    ]
    try:
        with stoppable():
            failed = [card for card, one in zip(cards, running, strict=False) if one.wait()]
    finally:
        for one in running:
            if one.poll() is None:
                one.terminate()  # a training saves its state
                one.wait()
    if failed:
        raise InputError(f"the processes of the cards {', '.join(failed)} failed, see above; run again to resume")


def without_option(arguments: Sequence[str], option: str) -> list[str]:
    """Return a command line without an option and its value."""
    kept: list[str] = []
    skip = False
    for one in arguments:
        if skip or one.startswith(f"{option}="):
            skip = False
        elif one == option:
            skip = True
        else:
            kept.append(one)
    return kept
