"""Names of all training settings, so that a misspelt one is refused before torch is imported, which takes seconds."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from unclouded.errors import InputError
from unclouded.settings import nearest

KEYS = {
    "": "clear clouds crop_px damaged device discriminator_width licence logging loss network objective "
    "paired_percent patch_list patches pool real_images schedule seed split start_from subset synthetic validation vgg",
    "clouds": "binary_average_px binary_dilation_px binary_threshold detector mode resolution_m sigma_px threshold",
    "synthetic": "brightness coverage mode octaves persistence seed shadow softness spectrum wavelength_px",
    "synthetic.shadow": "cloud_height_m sun_azimuth_deg sun_elevation_deg",
    "network": "architecture bands level scaling skip width",
    "network.scaling": "toa_reflectance vh_db vv_db",
    "loss": "adversarial auxiliary cycle feature identity kept pixel style",
    "schedule": "accumulate batch clip_norm earlier ema_decay epochs_constant epochs_decay learning_rate max_steps",
    "logging": "checkpoint_every keep_every log_every preview_every",
    "validation": "every patch_list patches split",
    "device": "accelerator compile deterministic devices nodes precision workers",
}
"""Group of settings to its keys; a test compares them with the models of :mod:`unclouded.training.settings`."""


FORMER_NAMES = {"journal": "logging", "schedule.moving_average": "schedule.ema_decay"}
"""Keys of earlier settings files, which are still read, to their present names."""


def with_present_names(content: Mapping[str, Any], group: str = "") -> dict[str, Any]:
    """Return settings with the present names of their keys; a present name that is given, too, wins."""
    renamed: dict[str, Any] = {}
    for key, value in content.items():
        path = f"{group}{key}"
        present = FORMER_NAMES.get(path, path)
        inner = with_present_names(value, f"{present}.") if isinstance(value, Mapping) else value
        if present == path or present.rpartition(".")[2] not in content:
            renamed[present.rpartition(".")[2]] = inner
    return renamed


def with_present_name(override: str) -> str:
    """Return an assignment such as ``journal.log_every=1`` with the present name of its key."""
    path, equals, value = override.partition("=")
    for former, present in FORMER_NAMES.items():
        if path.strip() == former or path.strip().startswith(f"{former}."):
            return f"{present}{path.strip().removeprefix(former)}{equals}{value}"
    return override


def require_known_keys(content: Mapping[str, Any], overrides: Iterable[str], origin: str) -> None:
    """Refuse keys that no training setting has.

    Args:
        content: Settings, such as those of a file.
        overrides: Assignments such as ``loss.cycle=5.0``.
        origin: Begins the message.

    Raises:
        InputError: Names the unknown keys.
    """
    assigned = [with_present_name(one).partition("=")[0].split(".") for one in overrides]
    paths = [*_paths(content), *([part.strip() for part in parts] for parts in assigned)]
    if unknown := [hint for path in paths if (hint := _unknown(path))]:
        raise InputError(f"{origin} is not a valid TrainSettings: {'; '.join(unknown[:20])}")


def _paths(content: Mapping[str, Any]) -> Iterator[list[str]]:
    for key, value in content.items():
        yield from ([key, *inner] for inner in _paths(value)) if isinstance(value, Mapping) and value else [[key]]


def _unknown(path: list[str]) -> str:
    for depth, key in enumerate(path):
        group = ".".join(path[:depth])
        if group in KEYS and key and key not in KEYS[group].split():
            return f"{'.'.join(path[: depth + 1])[:80]} is not a key{nearest(key, KEYS[group].split())}"
    return ""
