"""From a row and a size to runs: trained where they are missing, taken up where they stopped."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unclouded.errors import InputError
from unclouded.experiments.rows import Row, SizeSettings, regions_held_out
from unclouded.files import resolved, write_text
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
"""Settings that say where and how a run was made, not what it learnt: they may differ from one machine to another."""
_SIMULATED_PX = 256


@dataclass(frozen=True)
class Part:
    """One training of a row, and what it is tested on.

    Attributes:
        run: Folder of the run.
        settings: Of the training.
        test: Triplets of the test.
    """

    run: RunFolder
    settings: TrainSettings
    test: tuple[TripletFiles, ...]

    @property
    def patches(self) -> int:
        """Patches to learn from; those of the subset where the official split decides."""
        if self.settings.patch_list is not None:
            return len(self.settings.patch_list.read_text(encoding="utf-8").split())
        return self.settings.subset or 0

    def is_complete(self) -> bool:
        """Say whether the run has taken its last step.

        Raises:
            InputError: It was trained with other settings.
        """
        if not self.run.weights.is_file():
            return False
        self._require_same_settings()
        return int(load_network(self.run.weights).training.get("steps", 0)) >= total_steps(self.settings, self.patches)

    def _require_same_settings(self) -> None:
        found, wanted = (_learnt(one) for one in (load_settings(TrainSettings, self.run.settings), self.settings))
        if differing := [key for key in wanted if wanted[key] != found.get(key)]:
            raise InputError(
                f"{self.run.path} was trained with another {', '.join(differing)} than its row has now; "
                "restore the row, or delete the run to train it anew"
            )

    def train(self, on_progress: ProgressCallback) -> None:
        """Train what is left of the run; nothing if it is complete."""
        if self.is_complete():
            return
        name = "/".join(self.run.path.parts[-2:])
        train(
            self.settings,
            self.run,
            resume=self.run.state.exists(),
            on_progress=lambda _, done, n: on_progress(name, done, n),
        )


def _learnt(settings: TrainSettings) -> dict[str, Any]:
    return settings.model_dump(mode="json", exclude=set(PLACES))


def parts_of(row: Row, size: SizeSettings, root: Path, runs: Path, damaged: Damaged = "refuse") -> tuple[Part, ...]:
    """Return the trainings of a row; one for each fold, or one by the official split.

    Args:
        row: Of a table; a baseline has parts that are only tested.
        size: How much work.
        root: Data set.
        runs: Folder of this size's runs.
        damaged: What a training does about damaged patches, unless the row or the size tells.

    Raises:
        InputError: The settings are wrong, or the data set does not have what the size needs.
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
            train_settings(row, size, root, _listed(runs / "folds" / f"{fold.name}.txt", learnt), damaged),
            tuple(known[name] for name in held),
        )
        for fold, learnt, held in regions_held_out(size, regions)
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
    """Return the settings of a training: the paper's protocol, changed by the size, then by the row.

    Args:
        row: Whose network it is.
        size: How much work.
        root: Data set.
        patch_list: Names to learn from; those of the official split if omitted.
        damaged: What to do about damaged patches, unless the row or the size tells.
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
    """Return a small data set of simulated regions in the folder of the runs, made where it is missing."""
    root = runs / "simulated"
    if not (mark := root.with_suffix(".txt")).is_file():
        simulate_data_set(root, seed=0, regions=size.simulated_regions, size_px=_SIMULATED_PX)
        write_text(mark, f"{size.simulated_regions} regions that 'unclouded reproduce' simulated\n")
    return root


def train_missing(
    rows: tuple[Row, ...], size: SizeSettings, root: Path, runs: Path, damaged: Damaged = "refuse"
) -> Iterator[Part]:
    """Yield every training of the rows' networks, each once; baselines have none."""
    seen: set[str] = set()
    for row in rows:
        if row.origin.settings.train is not None and row.path not in seen:
            seen.add(row.path)
            yield from parts_of(row, size, root, runs, damaged)
