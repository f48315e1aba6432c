"""Weights files: a generator, its settings and its scaling in one safetensors file; nothing is ever unpickled."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from unclouded.clouds.map import CloudMapSettings
from unclouded.clouds.synthetic import SyntheticSettings
from unclouded.errors import InputError
from unclouded.files import resolved, whole_file
from unclouded.models.cloud_map import TrainedMap
from unclouded.models.generator import SarToOptical
from unclouded.models.known import require_weights_file
from unclouded.models.network import NetworkRemover, NetworkSettings
from unclouded.settings import settings_from
from unclouded.strict_json import parse_json

RECORD = "unclouded"
"""Metadata entry with the settings and the training summary; one entry, so that equal weights make equal files."""
WEIGHTS = "weights.safetensors"
"""What a run calls its weights."""
BEST = "best.safetensors"
"""What a run calls its weights when they were judged best."""


def save_weights(
    path: Path,
    generator: SarToOptical,
    settings: NetworkSettings,
    training_summary: Mapping[str, str],
    trained_map: TrainedMap | None = None,
) -> None:
    """Write a generator's weights in float32 with everything needed to use them, whole or not at all.

    Args:
        path: Safetensors file.
        generator: The cloud-removal generator.
        settings: What it was made for, its scaling included.
        training_summary: What users should know of the training, such as data, steps and date.
        trained_map: Cloud map of the training, which the weights are used with; None where it is not known.
    """
    record = {"settings": settings.model_dump(mode="json"), "training": dict(training_summary)}
    if trained_map is not None:
        record["cloud_map"] = trained_map.to_json()
    tensors = {
        name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in generator.state_dict().items()
    }
    with whole_file(path) as partial:
        save_file(tensors, partial, metadata={RECORD: json.dumps(record, ensure_ascii=False)})


@dataclass(frozen=True)
class WeightsRecord:
    """What a weights file says of itself.

    Attributes:
        settings: What the network was made for.
        training: What users should know of the training.
        trained_map: Cloud map of the training; None where the file does not record it.
        parameters: Numbers in the file.
    """

    settings: NetworkSettings
    training: Mapping[str, str]
    trained_map: TrainedMap | None
    parameters: int


def read_record(path: Path) -> WeightsRecord:
    """Read what a weights file says of itself, and none of its weights.

    Raises:
        InputError: Not a safetensors file, or without our record.
    """
    require_weights_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
            return WeightsRecord(*_record(path, file.metadata() or {}), sum(map(math.prod, shapes)))
    except SafetensorError as error:
        raise _damaged(path, error) from error


def load_remover(path: Path) -> NetworkRemover:
    """Read a weights file of :func:`save_weights`; the remover is named after the file, or the run that it lies in.

    Raises:
        InputError: Not a safetensors file, without our record, or weights that do not fit their own settings.
    """
    require_weights_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            settings, training, trained_map = _record(path, file.metadata() or {})
            with torch.device("meta"):
                generator = settings.build()
            _compare(path, {name: _described(file.get_slice(name)) for name in file.keys()}, generator)  # noqa: SIM118
            tensors = {name: file.get_tensor(name) for name in generator.state_dict()}
    except SafetensorError as error:
        raise _damaged(path, error) from error
    _refuse_not_finite(path, tensors)
    generator.load_state_dict(tensors, assign=True)
    return NetworkRemover(generator, settings, name_of(path), training, trained_map=trained_map)


def take_weights(generator: SarToOptical, settings: NetworkSettings, path: Path) -> None:
    """Fill a generator with the weights of a file, to train on from there.

    Raises:
        InputError: The file is none of :func:`load_remover`, or of a network for something else.
    """
    require_network(settings, path)
    generator.load_state_dict(load_remover(path).generator.state_dict())


def require_network(settings: NetworkSettings, path: Path) -> None:
    """Refuse a weights file of another network than settings describe; its weights are not read.

    Raises:
        InputError: The file is none of :func:`read_record`, or names what differs.
    """
    given, wanted = (one.model_dump(mode="json") for one in (read_record(path).settings, settings))
    if differing := [f"{key} is {given[key]}, expected {wanted[key]}" for key in wanted if given[key] != wanted[key]]:
        raise InputError(
            f"{path} is of another network ({'; '.join(differing)}); take the network of its settings, or other weights"
        )


def name_of(path: Path) -> str:
    """Return what tables call a weights file: every run calls its own alike, so there it is the name of the run."""
    path = resolved(path)
    of_runs = {WEIGHTS: path.parent.name, BEST: f"{path.parent.name}-best"}
    return of_runs.get(path.name, path.stem)


def _damaged(path: Path, error: SafetensorError) -> InputError:
    return InputError(f"{path} is not a whole safetensors file ({error}); copy it again")


def _record(path: Path, metadata: Mapping[str, str]) -> tuple[NetworkSettings, dict[str, str], TrainedMap | None]:
    record = _json(metadata.get(RECORD, "null"))
    settings, training = (record.get(key) for key in ("settings", "training")) if isinstance(record, dict) else (0, 0)
    if not isinstance(settings, dict) or not isinstance(training, dict):
        raise InputError(
            f"{path} has no record of bands and scaling; give the weights that 'unclouded train' writes, not others"
        )
    told = {key: str(value) for key, value in training.items()}
    return settings_from(NetworkSettings, settings, origin=path.name), told, _trained_map(path, record, told)


def _trained_map(path: Path, record: Mapping[str, Any], training: Mapping[str, str]) -> TrainedMap | None:
    """Read the cloud map of the training; older files have it among the settings of their run."""
    found = record.get("cloud_map")
    if found is None:
        run = _json(training.get("settings", "null"))
        found = {"settings": run.get("clouds"), "synthetic": run.get("synthetic")} if isinstance(run, dict) else {}
    clouds, synthetic = (found.get(key) for key in ("settings", "synthetic")) if isinstance(found, dict) else (0, 0)
    if clouds is None:
        return None
    if not isinstance(clouds, dict) or not isinstance(synthetic, dict | None):
        raise InputError(f"{path} has a damaged record of its cloud map; train or fetch the weights again")
    origin = f"the cloud map in {path.name}"
    painted = None if synthetic is None else settings_from(SyntheticSettings, synthetic, origin=origin)
    return TrainedMap(settings_from(CloudMapSettings, clouds, origin=origin), painted)


def _json(text: str) -> Any:
    try:
        return parse_json(text, RECORD, nan=True)
    except InputError:
        return None


def _described(stored: object) -> str:
    return f"{stored.get_dtype()} {list(stored.get_shape())}"  # type: ignore[attr-defined]


def _compare(path: Path, found: Mapping[str, str], generator: SarToOptical) -> None:
    expected = {name: f"F32 {list(tensor.shape)}" for name, tensor in generator.state_dict().items()}
    for name in [*expected, *found]:
        if expected.get(name) != found.get(name):
            raise InputError(
                f"{path} does not fit its own settings: {name[:80]} is {found.get(name, 'absent')},"
                f" expected {expected.get(name, 'no such entry')}; train or fetch it again"
            )


def _refuse_not_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise InputError(
                f"{path} has weights that are no numbers, first in {name}; take an earlier state of the run"
            )
