"""Training runs of a row at a size: their settings, folds and completion."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from unclouded.errors import InputError
from unclouded.experiments.rows import Row, SizeSettings, regions_held_out
from unclouded.files import require_writable, resolved, write_text
from unclouded.models.weights import load_network
from unclouded.patches.layouts import TripletFiles, find_triplets
from unclouded.patches.reading import Damaged
from unclouded.patches.roi import PatchId
from unclouded.patches.splits import triplets_of
from unclouded.progress import ProgressCallback
from unclouded.settings import load_settings, settings_from
from unclouded.simulation.layout import simulate_data_set
from unclouded.training.checkpoint import RunFolder
from unclouded.training.forecast import total_steps
from unclouded.training.loop import train
from unclouded.training.settings import TrainSettings

PLACES = ("patches", "patch_list", "device", "logging", "vgg", "damaged")
"""Settings that do not affect the trained weights, such as paths and devices; they may differ between machines."""
_SIMULATED_PX = 256


@dataclass(frozen=True)
class Part:
    """One training of a row with its test.

    Attributes:
        run: Folder of the run.
        settings: Settings of the training.
        test: Triplets of the test.
    """

    run: RunFolder
    settings: TrainSettings
    test: tuple[TripletFiles, ...]

    @property
    def patches(self) -> int:
        """Number of training patches; that of the subset for the official split."""
        if self.settings.patch_list is not None:
            return len(self.settings.patch_list.read_text(encoding="utf-8").split())
        return self.settings.subset or 0

    def is_complete(self) -> bool:
        """Return whether the run has taken its last step.

        Raises:
            InputError: It was trained with other settings.
        """
        if not self.run.weights.is_file():
            return False
        self._require_same_settings()
        return int(load_network(self.run.weights).training.get("steps", 0)) >= total_steps(self.settings, self.patches)

    def _require_same_settings(self) -> None:
        both = (load_settings(TrainSettings, self.run.settings), self.settings)
        found, expected = (_relevant(one) for one in both)
        if differing := [key for key in expected if expected[key] != found.get(key)]:
            raise InputError(
                f"{self.run.path} was trained with another {', '.join(differing)} than its row has now; "
                "restore the row, or delete the run to train it again"
            )

    def steps_left(self) -> int:
        """Return the number of steps that the run still has to take."""
        if self.is_complete():
            return 0
        return total_steps(self.settings, self.patches) - self.run.saved_step()

    def train(self, on_progress: ProgressCallback) -> None:
        """Start or resume the run unless it is complete."""
        if self.is_complete():
            return
        name = "/".join(self.run.path.parts[-2:])
        train(
            self.settings,
            self.run,
            resume=self.run.state.exists(),
            on_progress=lambda _, done, n: on_progress(name, done, n),
        )


def _relevant(settings: TrainSettings) -> dict[str, Any]:
    return settings.model_dump(mode="json", exclude=set(PLACES))


def parts_of(row: Row, size: SizeSettings, root: Path, runs: Path, damaged: Damaged = "refuse") -> tuple[Part, ...]:
    """Return the trainings of a row: one per fold, or one for the official split.

    Args:
        row: Row of a table; the parts of a baseline are only tested.
        size: Settings of the size.
        root: Data set.
        runs: Folder of this size's runs.
        damaged: Treatment of damaged patches, unless the row or the size sets it.

    Raises:
        InputError: The settings are invalid, or the data set lacks patches that the size needs.
    """
    inventory = find_triplets(root)
    if not size.folds:
        run = RunFolder(runs / row.path / "official_split")
        return (Part(run, train_settings(row, size, root, damaged=damaged), triplets_of(inventory, "test")),)
    known = {files.name: files for files in triplets_of(inventory, "all")}
    regions = {name: _region(name, size) for name in known}
    return tuple(
        Part(
            RunFolder(runs / row.path / fold.name),
            train_settings(row, size, root, _listed(runs / "folds" / f"{fold.name}.txt", training), damaged),
            tuple(known[name] for name in held_out),
        )
        for fold, training, held_out in regions_held_out(size, regions)
    )


def _region(name: str, size: SizeSettings) -> str:
    return size.regions.get(name) or str(PatchId.parse(name).roi)


def _listed(path: Path, names: list[str]) -> Path:
    text = "".join(f"{name}\n" for name in names)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
    return resolved(path)


def train_settings(
    row: Row, size: SizeSettings, root: Path, patch_list: Path | None = None, damaged: Damaged = "refuse"
) -> TrainSettings:
    """Return the settings of a training: the paper's protocol, overridden by the size, then by the row.

    Args:
        row: Row that trains the network.
        size: Settings of the size.
        root: Data set.
        patch_list: File with the names of the training patches; those of the official split if omitted.
        damaged: Treatment of damaged patches, unless the row or the size sets it.
    """
    content = {"damaged": damaged} | _merged(size.train, row.origin.settings.train or {})
    content |= {"patches": str(resolved(root))} | ({"patch_list": str(patch_list)} if patch_list else {})
    return settings_from(TrainSettings, content, origin=row.path)


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(first)
    for key, value in second.items():
        before = merged.get(key)
        nested = isinstance(value, Mapping) and isinstance(before, Mapping)
        merged[key] = _merged(before, value) if nested else value  # type: ignore[arg-type]
    return merged


def simulated_root(size: SizeSettings, runs: Path) -> Path:
    """Return the data set of simulated regions in the folder of the runs, simulated first if it is missing."""
    root = runs / "simulated"
    require_writable(runs)
    with FileLock(root.with_suffix(".lock")):  # other processes wait for the first one
        if not (mark := root.with_suffix(".txt")).is_file():
            simulate_data_set(root, seed=0, regions=size.simulated_regions, size_px=_SIMULATED_PX)
            write_text(mark, f"{size.simulated_regions} regions that 'unclouded reproduce' simulated\n")
    return root
