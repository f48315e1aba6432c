"""A cloud remover outside of unclouded: cloudy pixels get the mean clear spectrum of their radar class.

    pip install ./examples/my_remover
    unclouded evaluate radar-classes ROOT --split test

Without installation, in the folder of this file: ``unclouded evaluate my_remover:RadarClasses ROOT --split test``.
"""

from dataclasses import dataclass

import torch

import unclouded as uc


@dataclass(frozen=True)
class RadarClasses:
    """Pixels are divided by their VV backscatter into classes of equal size.

    Attributes:
        bands: Optical bands of the result; ``--bands`` sets them.
        classes: Number of classes.
        name: Name in tables.
    """

    bands: tuple[str, ...] = uc.RGB
    classes: int = 16
    name: str = "radar-classes"

    def __call__(self, observation: uc.Observation) -> torch.Tensor:
        """Return the clear image as TOA reflectance."""
        return torch.cat([self._fill(image) for image in observation.select(self.bands).images()])

    def _fill(self, seen: uc.Observation) -> torch.Tensor:
        filled = uc.baseline("clear-mean", self.bands)(seen)
        vv, ground = seen.sar[0, 0], seen.cloudy[0]
        clear = ~seen.is_cloudy[0, 0] & vv.isfinite() & ground.isfinite().all(dim=0)
        if clear.sum() < 10 * self.classes:
            return filled
        ordered = vv[clear].sort().values
        edges = ordered[torch.arange(1, self.classes, device=vv.device) * len(ordered) // self.classes]
        label = torch.bucketize(vv, edges)
        for one in range(self.classes):
            members = clear & (label == one)
            if members.any():
                replaced = seen.is_cloudy[0, 0] & (label == one) & vv.isfinite()
                filled[0, :, replaced] = ground[:, members].mean(dim=1, keepdim=True)
        return filled
