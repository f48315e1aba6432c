"""Logging of loss terms and validation scores, as JSON lines and for TensorBoard."""

import io
import math
import os
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from unclouded.files import explained
from unclouded.training.checkpoint import RunFolder
from unclouded.training.distributed import all_gathered
from unclouded.training.settings import TrainSettings

Part = tuple[int, Mapping[str, float]]
"""Number of patches in a batch, and its terms."""


def mean_terms(parts: Sequence[Part]) -> dict[str, float]:
    """Return the mean of every term over the patches of the batches that have it; NaN if none is finite."""
    terms: dict[str, float] = {}
    for name in dict.fromkeys(name for _, part in parts for name in part):
        known = [(count, part[name]) for count, part in parts if math.isfinite(part.get(name, math.nan))]
        patches = sum(count for count, _ in known)
        terms[name] = sum(count * value for count, value in known) / patches if patches else math.nan
    return terms


class MetricLogger:
    """Logs the terms of all ranks on rank 0.

    Args:
        run: Run folder.
        settings: Training settings, with the interval of log lines and the schedules.
        fabric: Fabric of the run.
        step: Number of steps taken; log lines of later steps, left by a killed process, are removed.
    """

    def __init__(self, run: RunFolder, settings: TrainSettings, fabric: Fabric, step: int) -> None:
        self.run, self.every, self.schedule, self.fabric = run, settings.logging.log_every, settings.schedule, fabric
        self.watch: _EventFile | None = None
        if fabric.is_global_zero:
            run.truncate_logs(step)
            if find_spec("tensorboard") is not None:
                self.watch = _EventFile(run.path / "tensorboard", step)

    def record(self, step: int, epoch: int, rate: float, parts: Sequence[Part], seconds: float) -> None:
        """Log the terms of a step, if a line is due."""
        if step % self.every:
            return
        shares = all_gathered(self.fabric, list(parts))
        if not self.fabric.is_global_zero:
            return
        values = mean_terms([part for share in shares for part in share])
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        number = self.schedule.number_at(step)
        changed = {"schedule": number} if number > 1 else {}
        place = {"step": step, "epoch": epoch, "learning_rate": rate, **changed}
        self.run.write_log({**place, **finite, "seconds": round(seconds, 3)})
        if self.watch is not None:
            self.watch.add(step, values)

    def validated(self, step: int, scores: Mapping[str, float]) -> None:
        """Log the scores of a validation."""
        finite = {name: value if math.isfinite(value) else None for name, value in scores.items()}
        self.run.write_validation({"step": step, **finite})
        if self.watch is not None:
            self.watch.add(step, {f"validation/{name}": value for name, value in scores.items()})


class _EventFile:
    """File of scalars for TensorBoard; points of later steps, which a killed process left, are purged.

    The writer of TensorBoard runs in a thread, which reports a full disk late or never.

    Args:
        folder: Folder that TensorBoard reads.
        step: Number of steps taken.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog

        # TensorBoard reads files in the order of their names: nanoseconds keep that of two files of one second
        began = f"{time.time_ns()}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}"
        self._path = folder / f"events.out.tfevents.{began}"
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._append(file_version="brain.Event:2")
        self._append(step=step + 1, session_log=SessionLog(status=SessionLog.START))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values of a step, each under its name.

        Raises:
            MachineError: The disk is full, or cannot be written.
        """
        from tensorboard.compat.proto.summary_pb2 import Summary

        listed = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._append(step=step, summary=Summary(value=listed))

    def _append(self, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        record = io.BytesIO()
        RecordWriter(record).write(Event(wall_time=time.time(), **content).SerializeToString())
        with explained(self._path), self._path.open("ab") as file:
            file.write(record.getvalue())
