"""A remover as a user asks for it: a value that travels to other processes, where it is found anew."""

from dataclasses import dataclass, replace

from unclouded.models.catalogue import find_remover
from unclouded.models.inference import Engine, Precision
from unclouded.models.network import NetworkRemover
from unclouded.models.remover import CloudRemover
from unclouded.prediction.choice import best_of_scene
from unclouded.sensors import RGB

AUTO = "auto"
"""Name of the choice that is made for each scene; the same as no name."""


@dataclass(frozen=True)
class WantedRemover:
    """What is asked for.

    Attributes:
        name: Weights file, ``scene-adapted`` or a baseline; None or ``auto`` for the best of each scene that
            needs no weights.
        bands: Optical bands; None for those of the network, or red, green and blue where there is none.
        device: Where a network runs.
        precision: What it computes in.
        engine: What runs it.
    """

    name: str | None = None
    bands: tuple[str, ...] | None = None
    device: str = "cpu"
    precision: Precision = "auto"
    engine: Engine = "torch"

    def find(self) -> CloudRemover:
        """Return the remover.

        Raises:
            InputError: There is no such remover, or it was made for other bands.
        """
        if self.name in (None, AUTO):
            return best_of_scene(self.bands or RGB)
        remover = find_remover(self.name, self.bands, self.device)
        if isinstance(remover, NetworkRemover):
            return replace(remover, precision=self.precision, engine=self.engine)
        return remover
