"""The cloud map that a network was trained with: recorded in its weights file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from unclouded.clouds.map import CloudMapSettings
from unclouded.clouds.synthetic import SyntheticSettings

_SHOWN: Mapping[str, tuple[str, ...]] = {
    "ones": (),
    "continuous": ("detector", "threshold", "sigma_px", "resolution_m"),
    "binary": ("detector", "binary_threshold", "binary_average_px", "binary_dilation_px", "resolution_m"),
}
"""Settings that have an effect in each mode."""


@dataclass(frozen=True)
class TrainedMap:
    """The cloud map that a network was trained with.

    Attributes:
        clouds: Settings of the map.
        synthetic: Settings of the painted clouds, whose own map the network was shown; None for observed clouds.
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
    """Return whether two settings give the same map; settings without effect in their mode do not count."""
    return described(first) == described(second)


def described(clouds: CloudMapSettings) -> str:
    """Return a map's mode and the settings that have an effect in it, such as ``ones (m = 1 everywhere)``."""
    shown = [f"{key} {_text(getattr(clouds, key))}" for key in _SHOWN[clouds.mode]]
    return f"{clouds.mode} ({', '.join(shown) or 'm = 1 everywhere'})"


def described_json(content: Mapping[str, Any]) -> str:
    """Return :func:`described` of settings as JSON values, such as those of a file of scores."""
    try:
        return described(CloudMapSettings.model_validate(content))
    except ValidationError:
        return "of settings that this version does not know"


def _text(value: object) -> str:
    return repr(value) if isinstance(value, float) else str(value)
