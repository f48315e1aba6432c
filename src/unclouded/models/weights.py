"""Weights files: a generator, its settings and its scaling in one safetensors file; nothing is ever unpickled."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from unclouded.clouds.map import PAPER, CloudMapSettings
from unclouded.clouds.synthetic import SyntheticSettings
from unclouded.errors import InputError
from unclouded.files import resolved, whole_file
from unclouded.models.baselines import BASELINES, baseline
from unclouded.models.cloud_map import TrainedMap, described, same_map
from unclouded.models.cyclegan import SarToOptical
from unclouded.models.known import require_remover, require_weights_file
from unclouded.models.network import NetworkRemover, NetworkSettings
from unclouded.models.remover import CloudRemover
from unclouded.models.scene_adapted import NAME as SCENE_ADAPTED
from unclouded.models.scene_adapted import SceneAdapted
from unclouded.sensors import SENTINEL2
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


def load_network(path: Path) -> NetworkRemover:
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


def initialise_from_weights(generator: SarToOptical, settings: NetworkSettings, path: Path) -> None:
    """Fill a generator with the weights of a file, to train on from there.

    Raises:
        InputError: The file is none of :func:`load_network`, or of a network for something else.
    """
    require_network(settings, path)
    generator.load_state_dict(load_network(path).generator.state_dict())


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


# From what a user types to a remover and its cloud map.
#
# A remover is scene-adapted or a baseline by name, or a network by its weights file. A network is used with the cloud
# map it was trained with, unless the user chooses another one.


DEFAULT = SCENE_ADAPTED
"""What removes clouds where the user names nothing: it needs no training."""


def load_remover(text: str | Path, bands: tuple[str, ...] | None = None, device: str = "cpu") -> CloudRemover:
    """Return a baseline by its name, or the network whose weights lie at a path.

    Args:
        text: Name or path.
        bands: Optical bands wanted; None for those of the network, or red, green and blue where there is none.
        device: Where the network runs.

    Raises:
        InputError: Neither name nor file, or a network that was made for other bands.
    """
    text = str(text)
    if text == SCENE_ADAPTED:
        return SceneAdapted(SENTINEL2.named(bands)) if bands else SceneAdapted()
    if text in BASELINES:
        return baseline(text, bands) if bands else baseline(text)
    require_remover(text)
    remover = load_network(path := Path(text))
    if bands is not None and set(bands) - set(remover.bands):
        raise InputError(f"{path} restores {' '.join(remover.bands)}, expected {' '.join(bands)}; choose its bands")
    remover.generator.to(device)
    return remover


@dataclass(frozen=True)
class MapChoice:
    """The cloud map that removers are used with.

    Attributes:
        used: Settings of the map.
        trained: The map of the first remover's training; None for removers without weights, or without a record.
        remark: A sentence for the user where the map is not the one of the training, or that one is unknown.
    """

    used: CloudMapSettings
    trained: TrainedMap | None
    remark: str


def choose_map(
    removers: Sequence[CloudRemover], wanted: CloudMapSettings | None = None, file: Path | None = None
) -> MapChoice:
    """Choose the cloud map that removers are used with together.

    Args:
        removers: One or more, or none for predictions of others; the map of the first one's training counts.
        wanted: The user's choice; only the settings that were given (``model_fields_set``) replace those of the
            training. Without weights the paper's map is what they replace.
        file: A finished map that the user brings instead.

    Raises:
        InputError: The removers were trained with different maps, and the user chose none.
    """
    chosen = wanted or CloudMapSettings()
    given = {key: getattr(chosen, key) for key in chosen.model_fields_set}
    networks = [one for one in removers if isinstance(one, NetworkRemover)]
    known = [(one.name, one.trained_map) for one in networks if one.trained_map is not None]
    if not given and (other := next((one for one in known if not same_map(one[1].clouds, known[0][1].clouds)), None)):
        raise InputError(
            f"{known[0][0]} was trained with the cloud map {known[0][1]}, {other[0]} with {other[1]}; choose weights "
            "with one map, or choose the map for all of them with --clouds and --detector"
        )
    trained = known[0][1] if known else None
    used = (trained.clouds if trained else PAPER).model_copy(update=given)
    if file is not None:
        return MapChoice(used, trained, _remark_on_file(file, networks))
    unknown = [] if given else [one.name for one in networks if one.trained_map is None]
    return MapChoice(used, trained, _remark(used, networks, unknown))


def _remark_on_file(file: Path, networks: Sequence[NetworkRemover]) -> str:
    """A user's file shows where clouds are, which networks trained with m = 1 were never shown."""
    never = [one.name for one in networks if one.trained_map is not None and one.trained_map.clouds.mode == "ones"]
    return f"the cloud map is {file.name}, but {' and '.join(never)} was trained with m = 1 everywhere" if never else ""


def _remark(used: CloudMapSettings, networks: Sequence[NetworkRemover], unknown: Sequence[str]) -> str:
    differing = [
        f"{one.name} was trained with {one.trained_map}"
        for one in networks
        if one.trained_map is not None and not same_map(one.trained_map.clouds, used)
    ]
    told = [f"the cloud map is {described(used)}, but {' and '.join(differing)}"] if differing else []
    if unknown:
        told.append(
            f"the weights of {' and '.join(unknown)} do not record the cloud map of their training;"
            f" used is {described(used)}"
        )
    return "; ".join(told)
