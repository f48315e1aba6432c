"""Weights files: a generator with its settings in one safetensors file, which is read without unpickling.

The second half of the module chooses the cloud map that removers are used with.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from unclouded.files import machine_fault, named, resolved, whole_file
from unclouded.models.card import Card
from unclouded.models.cloud_map import TrainedMap, described, same_map
from unclouded.models.cyclegan import CloudRemovalGenerator
from unclouded.models.known import require_weights_file
from unclouded.models.network import NetworkRemover, NetworkSettings
from unclouded.models.remover import CloudRemover
from unclouded.settings import settings_from
from unclouded.strict_json import parse_json

RECORD = "unclouded"
"""Metadata entry with the settings and the training summary.

There is one entry only: safetensors writes several in random order, and equal weights should make equal files.
"""

ARCHITECTURE = "sar-to-optical"
"""Name of the paper's network in the record; files of other networks have other names."""

WEIGHTS = "weights.safetensors"
"""File name of the weights of a run."""

BEST = "best.safetensors"
"""File name of the weights of a run that were best on the validation patches."""


def save_weights(
    path: Path,
    generator: CloudRemovalGenerator,
    settings: NetworkSettings,
    training_summary: Mapping[str, str],
    trained_map: TrainedMap | None = None,
    card: Card | None = None,
) -> None:
    """Write the weights of a generator in float32 with everything needed to use them, atomically.

    Args:
        path: Safetensors file.
        generator: Cloud-removal generator.
        settings: Settings of the generator, including its scaling.
        training_summary: Summary of the training for users, such as data, steps and date.
        trained_map: Cloud map of the training, with which the weights are used; None if unknown.
        card: Origin and terms; not stated if omitted.
    """
    record = {
        "architecture": ARCHITECTURE,
        "settings": settings.model_dump(mode="json"),
        "training": dict(training_summary),
        "card": (card or Card()).model_dump(mode="json"),
    }
    if trained_map is not None:
        record["cloud_map"] = trained_map.to_json()
    tensors = {
        name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in generator.state_dict().items()
    }
    with whole_file(path) as partial:
        save_file(tensors, partial, metadata={RECORD: json.dumps(record, ensure_ascii=False)})


@dataclass(frozen=True)
class WeightsRecord:
    """Metadata of a weights file.

    Attributes:
        settings: Settings of the network.
        training: Summary of the training.
        trained_map: Cloud map of the training; None if the file does not record it.
        card: Origin and terms.
        parameters: Number of parameters.
    """

    settings: NetworkSettings
    training: Mapping[str, str]
    trained_map: TrainedMap | None
    card: Card
    parameters: int


def read_record(path: Path) -> WeightsRecord:
    """Read the metadata of a weights file, without its weights.

    Raises:
        InputError: The file is not a safetensors file, or has no record of settings.
    """
    with opened_weights(path) as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
        return WeightsRecord(*_record(path, file.metadata() or {}), sum(map(math.prod, shapes)))


@contextmanager
def opened_weights(path: Path) -> Iterator[Any]:
    """Open a safetensors file, with errors of format and of reading as one line.

    Not :func:`unclouded.files.decoding`, which catches everything: the block also contains code of ours.
    """
    require_weights_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise InputError(f"{named(path)} is not a complete safetensors file ({error}); copy it again") from error
    except OSError as error:
        if broken := machine_fault(error):
            raise broken from error
        raise InputError(f"{named(path)} cannot be read ({error}); copy it again") from error


def load_network(path: Path, architecture: str = "") -> NetworkRemover:
    """Read a weights file of :func:`save_weights`; the remover is named after the file or the run that contains it.

    Args:
        path: Weights file.
        architecture: Network of another package that may be built, ``package.module:Class``; its code is not run unless
            it is named. Empty for the paper's network.

    Raises:
        InputError: The file is not a safetensors file, has no record of settings, or its weights do not fit these
            settings.
    """
    with opened_weights(path) as file:
        settings, training, trained_map, _ = _record(path, file.metadata() or {})
        if settings.architecture != architecture:
            raise InputError(_other_code(path, settings.architecture, architecture))
        with torch.device("meta"):
            generator = settings.build()
        _require_shapes(path, {name: _type_and_shape(file.get_slice(name)) for name in file.keys()}, generator)  # noqa: SIM118
        tensors = {name: file.get_tensor(name) for name in generator.state_dict()}
    _require_finite(path, tensors)
    generator.load_state_dict(tensors, assign=True)
    return NetworkRemover(generator, settings, name_of(path), training, trained_map=trained_map)


def _other_code(path: Path, recorded: str, named_by_user: str) -> str:
    if not recorded:
        return f"{named(path)} is of the paper's network, not of {named_by_user}; give the file alone"
    return (
        f"{named(path)} belongs to {recorded}, code of another package, which runs only if it is named; give"
        f" {recorded}@{named(path)}"
    )


def initialise_from_weights(generator: CloudRemovalGenerator, settings: NetworkSettings, path: Path) -> None:
    """Load the weights of a file into a generator, as the start of a training.

    Raises:
        InputError: The file is not a weights file, or belongs to a network with other settings.
    """
    require_network(settings, path)
    generator.load_state_dict(load_network(path, settings.architecture).generator.state_dict())


def require_network(settings: NetworkSettings, path: Path) -> None:
    """Check that a weights file has certain network settings, without reading its weights.

    Raises:
        InputError: The file is not a weights file, or its settings differ; names the differences.
    """
    found, expected = (one.model_dump(mode="json") for one in (read_record(path).settings, settings))
    differing = [f"{key} is {found[key]}, expected {expected[key]}" for key in expected if found[key] != expected[key]]
    if differing:
        raise InputError(
            f"{named(path)} is of another network ({'; '.join(differing)}); take the network of its settings, or other "
            "weights"
        )


def name_of(path: Path) -> str:
    """Return the name of a weights file in tables: that of its run if it is one of its output files, else its own."""
    path = resolved(path)
    of_runs = {WEIGHTS: path.parent.name, BEST: f"{path.parent.name}-best"}
    return of_runs.get(path.name, path.stem)


def architecture_of(path: Path) -> str:
    """Return the architecture that a weights file records; files without the entry are of :data:`ARCHITECTURE`.

    Raises:
        InputError: The file is not a safetensors file.
    """
    with opened_weights(path) as file:
        return str(metadata_record(file.metadata() or {}).get("architecture", ARCHITECTURE))


def metadata_record(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the record of :func:`save_weights` from the metadata of a file; empty if there is none."""
    record = _json(metadata.get(RECORD, "null"))
    return record if isinstance(record, dict) else {}


def _record(path: Path, metadata: Mapping[str, str]) -> tuple[NetworkSettings, dict[str, str], TrainedMap | None, Card]:
    record = metadata_record(metadata)
    if (found := record.get("architecture", ARCHITECTURE)) != ARCHITECTURE:
        raise InputError(f"{named(path)} holds weights of {str(found)[:40]!r}, expected weights of 'unclouded train'")
    settings, training, card = (record.get(key) for key in ("settings", "training", "card"))
    if not isinstance(settings, dict) or not isinstance(training, dict) or not isinstance(card, dict | None):
        raise InputError(f"{named(path)} has no record of bands and scaling; give weights that 'unclouded train' wrote")
    summary = {key: str(value) for key, value in training.items()}
    network = settings_from(NetworkSettings, settings, origin=path.name)
    terms = settings_from(Card, card or {}, origin=f"the card in {path.name}")
    return network, summary, _trained_map(path, record, summary), terms


def _trained_map(path: Path, record: Mapping[str, Any], training: Mapping[str, str]) -> TrainedMap | None:
    """Return the cloud map of the training; older files have it among the settings of their run."""
    found = record.get("cloud_map")
    if found is None:
        run = _json(training.get("settings", "null"))
        found = {"settings": run.get("clouds"), "synthetic": run.get("synthetic")} if isinstance(run, dict) else {}
    clouds, synthetic = (found.get(key) for key in ("settings", "synthetic")) if isinstance(found, dict) else (0, 0)
    if clouds is None:
        return None
    if not isinstance(clouds, dict) or not isinstance(synthetic, dict | None):
        raise InputError(f"{named(path)} has a damaged record of its cloud map; train or fetch the weights again")
    origin = f"the cloud map in {path.name}"
    painted = None if synthetic is None else settings_from(SyntheticSettings, synthetic, origin=origin)
    return TrainedMap(settings_from(CloudMapSettings, clouds, origin=origin), painted)


def _json(text: str) -> Any:
    try:
        return parse_json(text, RECORD, nan=True)
    except InputError:
        return None


def _type_and_shape(stored: Any) -> str:
    return f"{stored.get_dtype()} {list(stored.get_shape())}"


def _require_shapes(path: Path, found: Mapping[str, str], generator: CloudRemovalGenerator) -> None:
    expected = {name: f"F32 {list(tensor.shape)}" for name, tensor in generator.state_dict().items()}
    for name in [*expected, *found]:
        if expected.get(name) != found.get(name):
            raise InputError(
                f"{named(path)} does not fit its own settings: {name[:80]} is {found.get(name, 'absent')},"
                f" expected {expected.get(name, 'no such entry')}; train or fetch it again"
            )


def _require_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise InputError(
                f"{named(path)} has weights that are not finite, first in {name}; take an earlier state of the run"
            )


# Cloud map of removers: a network is used with the map that it was trained with, unless the user chooses another one.


@dataclass(frozen=True)
class MapChoice:
    """Cloud map that removers are used with.

    Attributes:
        used: Settings of the map.
        trained: Map that the first remover was trained with; None if it has no weights or they do not record it.
        remark: Warning for the user if the map differs from that of the training, or the latter is unknown; else empty.
    """

    used: CloudMapSettings
    trained: TrainedMap | None
    remark: str


def choose_map(
    removers: Sequence[CloudRemover],
    requested: CloudMapSettings | None = None,
    file: Path | None = None,
    without_weights: CloudMapSettings = PAPER,
) -> MapChoice:
    """Choose one cloud map for one or several removers.

    Args:
        removers: Removers; none for external predictions. The map that the first one was trained with counts.
        requested: Settings of the user. Those that were set (``model_fields_set``) replace the settings of the training
            or, without weights, those of ``without_weights``.
        file: Map file of the user, used instead.
        without_weights: Map if none of the removers is a network, unless a setting of the paper's map was given.

    Raises:
        InputError: The removers were trained with different maps, and the user chose none.
    """
    chosen = requested or CloudMapSettings()
    given = {key: getattr(chosen, key) for key in chosen.model_fields_set}
    networks = [one for one in removers if isinstance(one, NetworkRemover)]
    known = [(one.name, one.trained_map) for one in networks if one.trained_map is not None]
    if not given and (other := next((one for one in known if not same_map(one[1].clouds, known[0][1].clouds)), None)):
        raise InputError(
            f"{known[0][0]} was trained with the cloud map {known[0][1]}, {other[0]} with {other[1]}; choose weights "
            "with one map, or choose the map for all of them with --clouds and --detector"
        )
    trained = known[0][1] if known else None
    otherwise = PAPER if networks or given.keys() - {"detector"} else without_weights
    used = (trained.clouds if trained else otherwise).model_copy(update=given)
    if file is not None:
        return MapChoice(used, trained, _remark_on_file(file, networks))
    unknown = [] if given else [one.name for one in networks if one.trained_map is None]
    return MapChoice(used, trained, _remark(used, networks, unknown))


def _remark_on_file(file: Path, networks: Sequence[NetworkRemover]) -> str:
    """Return a warning if a map file is used with networks that were trained with m = 1 everywhere; else empty."""
    never = [one.name for one in networks if one.trained_without_map]
    return f"the cloud map is {file.name}, but {' and '.join(never)} was trained with m = 1 everywhere" if never else ""


def _remark(used: CloudMapSettings, networks: Sequence[NetworkRemover], unknown: Sequence[str]) -> str:
    differing = [
        f"{one.name} was trained with {one.trained_map}"
        for one in networks
        if one.trained_map is not None and not same_map(one.trained_map.clouds, used)
    ]
    remarks = [f"the cloud map is {described(used)}, but {' and '.join(differing)}"] if differing else []
    if unknown:
        remarks.append(
            f"the weights of {' and '.join(unknown)} do not record the cloud map of their training;"
            f" used is {described(used)}"
        )
    return "; ".join(remarks)
