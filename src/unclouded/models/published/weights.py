"""Published networks as weights files of ours: safetensors with architecture, settings and model card."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from unclouded.errors import InputError
from unclouded.files import named, require_apart, require_file, sha256, whole_file
from unclouded.models.card import Card
from unclouded.models.published.checkpoints import Checkpoint, Network, fill_network, read_checkpoint
from unclouded.models.published.dsen2cr import Dsen2cr, Dsen2crSettings
from unclouded.models.published.remover import Dsen2crRemover, UncrtaintsRemover
from unclouded.models.published.uncrtaints import Uncrtaints, UncrtaintsSettings
from unclouded.models.weights import RECORD, metadata_record, name_of, opened_weights
from unclouded.settings import settings_from

ARCHITECTURES: Mapping[str, type[UncrtaintsSettings | Dsen2crSettings]] = {
    "uncrtaints": UncrtaintsSettings,
    "dsen2cr": Dsen2crSettings,
}
"""Settings of published architectures by the name in the record of a weights file."""


@dataclass(frozen=True)
class PublishedRecord:
    """Metadata of a weights file of a published network.

    Attributes:
        architecture: Name of the architecture, one of :data:`ARCHITECTURES`.
        settings: Settings of the network.
        card: Origin and terms.
        parameters: Number of parameters.
    """

    architecture: str
    settings: UncrtaintsSettings | Dsen2crSettings
    card: Card
    parameters: int


def import_checkpoint(source: Path, out: Path, today: date, configuration: Path | None = None) -> Checkpoint:
    """Write a published checkpoint as a weights file, atomically.

    Args:
        source: See :func:`~unclouded.models.published.checkpoints.read_checkpoint`.
        out: Safetensors file to write.
        today: UTC date for the card.
        configuration: Training configuration of UnCRtainTS; ``conf.json`` beside the file if omitted.

    Raises:
        InputError: The checkpoint cannot be read, or the output would replace it.
    """
    require_file(source)
    require_apart(out, source)
    checksum = sha256(source)
    found = read_checkpoint(source, configuration)
    if sha256(source) != checksum:
        raise InputError(f"{named(source)} changed while it was read; import it again")
    card = Card(
        source=found.source,
        licence=found.licence,
        origin=source.name if source.name.isprintable() else ascii(source.name),
        sha256=checksum,
        date=today.isoformat(),
        remark=_remark(found.network),
    )
    record = {
        "architecture": found.architecture,
        "settings": found.network.settings.model_dump(mode="json"),
        "card": card.model_dump(mode="json"),
    }
    with whole_file(out) as partial:
        save_file(found.network.state_dict(), partial, metadata={RECORD: json.dumps(record, ensure_ascii=False)})
    return found


def read_published_record(path: Path) -> PublishedRecord:
    """Read the metadata of a weights file of a published network.

    Raises:
        InputError: The file is damaged or of another network.
    """
    with opened_weights(path) as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
        architecture, settings, card = _record(path, file.metadata() or {})
    return PublishedRecord(architecture, settings, card, sum(map(math.prod, shapes)))


def load_published(path: Path, device: str = "cpu") -> UncrtaintsRemover | Dsen2crRemover:
    """Read a weights file of :func:`import_checkpoint`; the remover is named after the file.

    Raises:
        InputError: The file is damaged, of another network, or its weights do not fit its settings.
    """
    with opened_weights(path) as file:
        _, settings, card = _record(path, file.metadata() or {})
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    network: Network = fill_network(settings, tensors, path).to(device)
    if isinstance(network, Uncrtaints):
        return UncrtaintsRemover(network, name_of(path), card)
    return Dsen2crRemover(network, name_of(path), card)


def _record(path: Path, metadata: Mapping[str, str]) -> tuple[str, UncrtaintsSettings | Dsen2crSettings, Card]:
    record: Any = metadata_record(metadata)
    architecture = record.get("architecture")
    settings, card = record.get("settings"), record.get("card")
    if architecture not in ARCHITECTURES or not isinstance(settings, dict) or not isinstance(card, dict):
        raise InputError(
            f"{named(path)} has no record of a published network; write it with 'unclouded models import' again"
        )
    origin = path.name
    return (
        architecture,
        settings_from(ARCHITECTURES[architecture], settings, origin=origin),
        settings_from(Card, card, origin=f"the card in {origin}"),
    )


def _remark(network: Network) -> str:
    if isinstance(network, Dsen2cr):
        return f"a pixel depends on the {network.settings.reach_px} px around it; any tiling gives the same image"
    return UncrtaintsRemover.TILE_REMARK
