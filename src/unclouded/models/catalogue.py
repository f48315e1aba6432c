"""From what a user types to a remover and its cloud map.

A remover is scene-adapted or a baseline by name, or a network by its weights file. A network is used with the cloud map
it was trained with, unless the user chooses another one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unclouded.clouds.map import PAPER, CloudMapSettings
from unclouded.errors import InputError
from unclouded.models.baselines import BASELINES, baseline
from unclouded.models.cloud_map import TrainedMap, described, same_map
from unclouded.models.known import require_remover
from unclouded.models.network import NetworkRemover
from unclouded.models.remover import CloudRemover
from unclouded.models.scene_adapted import NAME as SCENE_ADAPTED
from unclouded.models.scene_adapted import SceneAdapted
from unclouded.models.weights import load_remover
from unclouded.sensors import SENTINEL2

DEFAULT = SCENE_ADAPTED
"""What removes clouds where the user names nothing: it needs no training."""


def find_remover(text: str, bands: tuple[str, ...] | None, device: str = "cpu") -> CloudRemover:
    """Return a baseline by its name, or the network whose weights lie at a path.

    Args:
        text: Name or path.
        bands: Optical bands wanted; None for those of the network, or red, green and blue where there is none.
        device: Where the network runs.

    Raises:
        InputError: Neither name nor file, or a network that was made for other bands.
    """
    if text == SCENE_ADAPTED:
        return SceneAdapted(SENTINEL2.named(bands)) if bands else SceneAdapted()
    if text in BASELINES:
        return baseline(text, bands) if bands else baseline(text)
    require_remover(text)
    remover = load_remover(path := Path(text))
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
