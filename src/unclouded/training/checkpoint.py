"""A run folder: settings, log, weights and resumable state, each file whole whenever a process may die."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from unclouded.errors import InputError
from unclouded.files import decoding, explained, named, require_file, whole_file, write_text
from unclouded.locks import held
from unclouded.models.weights import BEST, WEIGHTS
from unclouded.patches.reading import DamagedTriplet
from unclouded.settings import flat, load_settings
from unclouded.strict_json import parse_json
from unclouded.training.sessions import require_resumable, settings_for_resume
from unclouded.training.settings import TrainSettings


@dataclass(frozen=True, init=False)
class RunFolder:
    """The folder of one training run.

    Attributes:
        path: The folder; made when something is first written.
    """

    path: Path

    def __init__(self, path: Path | str) -> None:
        object.__setattr__(self, "path", Path(path))

    @property
    def settings(self) -> Path:
        """Resolved settings: enough to repeat the run."""
        return self.path / "settings.toml"

    @property
    def patches(self) -> Path:
        """Names of the patches in training order, one a line."""
        return self.path / "patches.txt"

    @property
    def clear_images(self) -> Path:
        """Names of the clear images in training order, one a line; only where they are of other places."""
        return self.path / "clear_images.txt"

    @property
    def skipped(self) -> Path:
        """CSV of every patch that was skipped, with the reason; only with ``damaged = "skip"``."""
        return self.path / "skipped.csv"

    @property
    def log(self) -> Path:
        """JSON lines: step, epoch, learning rate and every loss term."""
        return self.path / "log.jsonl"

    @property
    def weights(self) -> Path:
        """The cloud remover, as of the last saved state."""
        return self.path / WEIGHTS

    @property
    def best(self) -> Path:
        """The cloud remover with the best validation score; only in runs with validation."""
        return self.path / BEST

    @property
    def validation(self) -> Path:
        """JSON lines: step, and the scores of the validation."""
        return self.path / "validation.jsonl"

    def kept(self, step: int) -> Path:
        """The cloud remover after a step, where the settings ask to keep it."""
        return self.path / "kept" / f"step_{step:07d}.safetensors"

    @property
    def state(self) -> Path:
        """Networks, optimisers, pools, position and random state."""
        return self.path / "state.safetensors"

    @property
    def provenance(self) -> Path:
        """Hashes of settings, split and data; versions of every session."""
        return self.path / "provenance.json"

    @property
    def previews(self) -> Path:
        """Pictures, one each so many steps."""
        return self.path / "previews"

    def lock(self) -> AbstractContextManager[None]:
        """Hold the run against other processes; see :func:`unclouded.locks.held`."""
        return held(self.path)

    def start(self, settings: TrainSettings) -> None:
        """Begin a fresh run.

        Raises:
            InputError: The folder holds a run already.
        """
        if self.has_started():
            raise InputError(f"{self.path} holds a run already; continue it with --resume or choose another folder")
        self.write_settings(settings)

    def has_started(self) -> bool:
        """Whether the run has taken a step, so that --resume continues it."""
        return self.state.exists() or self.log.exists()

    def write_settings(self, settings: TrainSettings) -> None:
        """Write the settings that repeat the run, earlier sessions included."""
        write_text(self.settings, tomli_w.dumps(settings.model_dump(mode="json", exclude_none=True)))

    def read_settings(self) -> TrainSettings:
        """Return the settings of the run so far.

        Raises:
            InputError: The run was never started.
        """
        if not self.settings.exists():
            raise InputError(f"{self.path} holds no run to resume; start it without --resume")
        return load_settings(TrainSettings, self.settings)

    def resumed_settings(self, settings: TrainSettings) -> TrainSettings:
        """Return the settings to continue with.

        Raises:
            InputError: The run was never started, or a setting that affects the steps taken so far would change.
        """
        before = self.read_settings()
        require_resumable(str(self.path), before, settings)
        names = []
        if self.patches.is_file():
            with decoding(self.patches, "is not the list of patches of a run", "restore it, or start anew"):
                names = self.patches.read_text(encoding="utf-8").splitlines()
        if not names:
            return settings
        return settings_for_resume(before, settings, self.saved_step(), settings.steps_per_epoch(len(names)))

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state, nested mappings of tensors, at once; equal states give equal bytes."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in flat(state, separator="/").items()}
        with whole_file(self.state) as partial:
            save_file(tensors, partial)

    def load_state(self) -> dict[str, Any] | None:
        """Return the saved state, or None if there is none yet.

        Raises:
            InputError: The file is damaged.
        """
        if not self.state.exists():
            return None
        with self._state_decoded():
            return _nested(load_file(self.state))

    def networks(self, settings: TrainSettings) -> dict[str, dict[str, Tensor]]:
        """Return the saved tensors of all networks, by name, as the start of another run.

        Raises:
            InputError: There is no saved state, it is damaged, or it is of other networks.
        """
        self.require_networks(settings)
        with self._state_decoded(), safe_open(self.state, framework="pt") as state:
            names = [name for name in state.keys() if name.startswith("networks/")]  # noqa: SIM118
            found: dict[str, dict[str, Tensor]] = _nested({name: state.get_tensor(name) for name in names})["networks"]
            return found

    def require_networks(self, settings: TrainSettings) -> None:
        """Raise unless the networks of the saved state suit other settings; their weights are not read.

        Raises:
            InputError: There is no saved state, or its networks differ; names the differences.
        """
        if not self.state.is_file():
            raise InputError(f"{named(self.path)} holds no saved state of a run; start from a run that has taken steps")
        keys = {"objective", "network", "discriminator_width"}
        both = (one.model_dump(mode="json", include=keys) for one in (self.read_settings(), settings))
        found, expected = (flat(one) for one in both)
        if differing := [
            f"{key} is {found.get(key)}, expected {expected[key]}"
            for key in expected
            if found.get(key) != expected[key]
        ]:
            raise InputError(
                f"{named(self.path)} has other networks ({'; '.join(differing)}); take the settings of that run, or"
                " another run"
            )

    def saved_step(self) -> int:
        """Return the steps that the saved state has taken; 0 without one.

        Raises:
            InputError: The file is damaged.
        """
        if not self.state.exists():
            return 0
        with self._state_decoded(), safe_open(self.state, framework="pt") as state:
            return int(state.get_tensor("step"))

    @contextmanager
    def _state_decoded(self) -> Iterator[None]:
        require_file(self.state)
        with decoding(self.state, "is not the state of a run", "delete it to start anew"):
            yield

    def write_skipped(self, part: str, patches: Sequence[DamagedTriplet]) -> None:
        """Replace the skipped patches of a part: training or validation."""
        rows = [["part", "patch", "reason"]]
        if self.skipped.is_file():
            with (
                decoding(self.skipped, "is not a list of skipped patches", "delete it"),
                self.skipped.open(encoding="utf-8", newline="") as file,
            ):
                rows = [row for row in csv.reader(file) if row[:1] != [part]]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([*rows, *([part, one.name, one.reason] for one in patches)])
        write_text(self.skipped, text.getvalue())

    def write_log(self, entry: Mapping[str, Any]) -> None:
        """Append one line."""
        _append(self.log, entry)

    def write_validation(self, entry: Mapping[str, Any]) -> None:
        """Append one line."""
        _append(self.validation, entry)

    def read_log(self) -> list[dict[str, Any]]:
        """Return the lines of the log; a torn last line is left out."""
        return _entries(self.log)

    def read_validation(self) -> list[dict[str, Any]]:
        """Return the lines of the validation; a torn last line is left out."""
        return _entries(self.validation)

    def truncate_logs(self, step: int) -> None:
        """Drop the lines that a killed process wrote after its last saved state."""
        for path in (self.log, *([self.validation] if self.validation.exists() else [])):
            write_text(path, "".join(json.dumps(entry) + "\n" for entry in _entries(path) if entry["step"] <= step))


def _append(path: Path, entry: Mapping[str, Any]) -> None:
    with explained(path), path.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(entry) + "\n")


def _entries(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entries.append(parse_json(line, named(path), nan=True))
        except InputError:
            break
    return entries


def _nested(flat: Mapping[str, Tensor]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, tensor in flat.items():
        *groups, last = name.split("/")
        inner = nested
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[last] = tensor
    return nested
