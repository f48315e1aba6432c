"""Cloud map that a network was trained with, as recorded in its weights file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from unclouded.clouds.map import CloudMapSettings
from unclouded.clouds.synthetic import SyntheticSettings

_SHOWN: Mapping[str, tuple[str, ...]] = {
    "ones": (),
    "product": ("detector",),
    "continuous": ("detector", "threshold", "sigma_px", "resolution_m"),
    "binary": ("detector", "binary_threshold", "binary_average_px", "binary_dilation_px", "resolution_m"),
}
"""Settings with an effect on the map, by mode."""


@dataclass(frozen=True)
class TrainedMap:
    """Cloud map that a network was trained with.

    Attributes:
        clouds: Settings of the map.
        synthetic: Settings of the synthetic clouds, whose own map was the input; None for observed clouds.
    """

    clouds: CloudMapSettings
    synthetic: SyntheticSettings | None = None

    def to_json(self) -> dict[str, Any]:
        """Return both as JSON values."""
        painted = self.synthetic.model_dump(mode="json") if self.synthetic else None
        return {"settings": self.clouds.model_dump(mode="json"), "synthetic": painted}

    def __str__(self) -> str:
        painted = f"; trained on painted clouds ({self.synthetic.mode}) and their map" if self.synthetic else ""
        return f"{described(self.clouds)}{painted}"


def same_map(first: CloudMapSettings, second: CloudMapSettings) -> bool:
    """Return whether two settings give the same map; settings without effect in their mode are ignored."""
    return described(first) == described(second)


def described(clouds: CloudMapSettings) -> str:
    """Return the mode of a map with its effective settings as text, such as ``ones (m = 1 everywhere)``."""
    shown = [f"{key} {_text(getattr(clouds, key))}" for key in _SHOWN[clouds.mode]]
    return f"{clouds.mode} ({', '.join(shown) or 'm = 1 everywhere'})"


def described_json(content: Mapping[str, Any]) -> str:
    """Return :func:`described` for settings as JSON values, such as those in a file of scores."""
    try:
        return described(CloudMapSettings.model_validate(content))
    except ValidationError:
        return "unknown to this version"


def _text(value: object) -> str:
    return repr(value) if isinstance(value, float) else str(value)
