"""Public archives by name: address of the STAC API, collections, and how their files are accessed.

A preset only spares typing: address and collections can be given by options, and any other STAC API, or a file of
items, works alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from unclouded.errors import InputError
from unclouded.settings import nearest

Level = Literal["L1C", "L2A"]


@dataclass(frozen=True)
class Provider:
    """Archive of Sentinel products.

    Attributes:
        name: Name of the preset, or address of the API.
        address: Address of the STAC API, or path of a file of items.
        optical: Id of the optical collection, by processing level.
        radar: Id of the radar collection.
        token_address: OpenID Connect endpoint for tokens; empty if none is needed.
        client: Client id for that endpoint.
        signing_address: Address that returns signatures for a collection; empty if files need none.
        hosts: Suffixes of the hosts that get the tokens.
    """

    name: str
    address: str
    optical: Mapping[str, str]
    radar: str
    token_address: str = ""
    client: str = ""
    signing_address: str = ""
    hosts: tuple[str, ...] = ()

    def collection(self, level: Level) -> str:
        """Return the optical collection of a processing level.

        Raises:
            InputError: The archive does not have this level.
        """
        if level not in self.optical:
            raise InputError(f"{self.name} has no {level} products, only {' and '.join(self.optical)}; choose --level")
        return self.optical[level]


PROVIDERS = {
    one.name: one
    for one in (
        Provider(
            "copernicus",
            "https://stac.dataspace.copernicus.eu/v1",
            {"L1C": "sentinel-2-l1c", "L2A": "sentinel-2-l2a"},
            "sentinel-1-grd",
            "https://identity.dataspace.copernicus.eu/auth/realms/CDSE/protocol/openid-connect/token",
            "cdse-public",
            hosts=("dataspace.copernicus.eu",),
        ),
        Provider(
            "planetary-computer",
            "https://planetarycomputer.microsoft.com/api/stac/v1",
            {"L2A": "sentinel-2-l2a"},
            "sentinel-1-rtc",
            signing_address="https://planetarycomputer.microsoft.com/api/sas/v1/token",
        ),
        Provider(
            "earth-search",
            "https://earth-search.aws.element84.com/v1",
            {"L1C": "sentinel-2-l1c", "L2A": "sentinel-2-l2a"},
            "sentinel-1-grd",
        ),
    )
}
"""Presets by name."""


def find_provider(text: str, optical: str | None = None, radar: str | None = None) -> Provider:
    """Return a preset by its name, or the archive at an address.

    Args:
        text: Name of a preset, address of a STAC API, or path of a file of items.
        optical: Id of the optical collection, for both levels; that of the preset if omitted.
        radar: Id of the radar collection; that of the preset if omitted.

    Raises:
        InputError: The text is neither.
    """
    known: dict[str, Any] = {"L1C": "sentinel-2-l1c", "L2A": "sentinel-2-l2a"}
    found = PROVIDERS.get(text)
    if found is None and not text.startswith(("http://", "https://")) and "." not in text and "/" not in text:
        raise InputError(
            f"{text[:40]!r} is no archive{nearest(text, [*PROVIDERS])}; choose one of {', '.join(PROVIDERS)}, or give "
            "the address of a STAC API or a file of items"
        )
    found = found or Provider(text, text, known, "sentinel-1-grd")
    collections = dict.fromkeys(found.optical, optical) if optical else found.optical
    return Provider(**{**found.__dict__, "optical": collections, "radar": radar or found.radar})
