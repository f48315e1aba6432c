"""What a run writes down while it runs: loss terms by step, as JSON lines and for TensorBoard."""

import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from lightning_fabric import Fabric

from unclouded.training.devices import gathered
from unclouded.training.run import RunFolder
from unclouded.training.settings import TrainSettings

Part = tuple[int, Mapping[str, float]]
"""Number of patches in a batch, and its terms."""


def mean_terms(parts: Sequence[Part]) -> dict[str, float]:
    """Return the mean of every term over the patches of those batches that have it; NaN where none has a number."""
    terms: dict[str, float] = {}
    for name in dict.fromkeys(name for _, part in parts for name in part):
        known = [(count, part[name]) for count, part in parts if math.isfinite(part.get(name, math.nan))]
        patches = sum(count for count, _ in known)
        terms[name] = sum(count * value for count, value in known) / patches if patches else math.nan
    return terms


class Logbook:
    """Writes on rank 0, what all ranks saw.

    Args:
        run: Where to.
        settings: Of the run: steps between two lines, and its schedules.
        fabric: Knows the ranks.
        step: Steps already taken; what a killed process wrote of later ones is forgotten.
    """

    def __init__(self, run: RunFolder, settings: TrainSettings, fabric: Fabric, step: int) -> None:
        self.run, self.every, self.schedule, self.fabric = run, settings.journal.log_every, settings.schedule, fabric
        self.watch = None
        if fabric.is_global_zero:
            run.forget_log_after(step)
            self.watch = _event_writer(run, step)

    def record(self, step: int, epoch: int, rate: float, parts: Sequence[Part], seconds: float) -> None:
        """Write the terms of a step, if a line is due."""
        if step % self.every:
            return
        shares = gathered(self.fabric, list(parts))
        if not self.fabric.is_global_zero:
            return
        values = mean_terms([part for share in shares for part in share])
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        number = self.schedule.number_at(step)
        changed = {"schedule": number} if number > 1 else {}
        place = {"step": step, "epoch": epoch, "rate": rate, **changed}
        self.run.write_log({**place, **finite, "seconds": round(seconds, 3)})
        if self.watch is not None:
            for name, value in values.items():
                self.watch.add_scalar(name, value, step)

    def validated(self, step: int, scores: Mapping[str, float]) -> None:
        """Write the scores of a validation."""
        finite = {name: value if math.isfinite(value) else None for name, value in scores.items()}
        self.run.write_validation({"step": step, **finite})
        if self.watch is not None:
            for name, value in scores.items():
                self.watch.add_scalar(f"validation/{name}", value, step)

    def close(self) -> None:
        """Finish writing."""
        if self.watch is not None:
            self.watch.close()


def _event_writer(run: RunFolder, step: int) -> Any:
    """TensorBoard's writer where it is installed; points of later steps are purged."""
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run.path / "tensorboard"), purge_step=step + 1)
