"""Somebody else's U-Net, trained with plain PyTorch and put on the leaderboard without a leak.

    python examples/train_unet.py SEN12MS-CR OUT [EPOCHS]

The parts are those of the official split; ``patches.txt`` beside the scores records what the network was trained on, so
that the leaderboard can tell that no test region is among it.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import unclouded as uc
from unclouded.tensors import PatchSamples


class UNet(nn.Module):
    """A U-Net of two levels; any network from 6 channels to 3 stands in its place."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(6, width, 3, padding=1), nn.ReLU())
        self.deep = nn.Sequential(
            nn.MaxPool2d(2), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Upsample(None, 2)
        )
        self.up = nn.Conv2d(2 * width, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Return the reflectance to add to the cloudy image."""
        shallow = self.down(image)
        found: Tensor = self.up(torch.cat([shallow, self.deep(shallow)], dim=1))
        return found


def restore(network: nn.Module, sar: Tensor, cloudy: Tensor, cloud_map: Tensor) -> Tensor:
    """Return the clear image: radar from -25 to 0 dB is scaled to -1 to 0, reflectance is used as it is."""
    found: Tensor = cloudy + network(torch.cat([sar / 25, cloudy, cloud_map], dim=1))
    return found


def main(root: Path, out: Path, epochs: int = 10) -> None:
    """Train, evaluate, record."""
    torch.manual_seed(0)
    samples, network = PatchSamples(root, "train", crop_px=128), UNet()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for epoch in range(epochs):
        for batch in DataLoader(samples, batch_size=4, shuffle=True):
            predicted = restore(network, batch["sar"], batch["cloudy"], batch["cloud_map"])
            loss = (predicted - batch["clear"]).abs().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        print(f"epoch {epoch + 1}: {loss.item():.4f}")

    @torch.no_grad()
    def answer(seen: uc.Observation) -> Tensor:
        return restore(network, seen.sar, seen.cloudy, seen.cloud_map)

    scores = uc.evaluate(uc.FunctionRemover("their U-Net", uc.RGB, answer), root, split="test")
    uc.write_scores(out / "scores.json", scores, np.random.default_rng(0))
    (out / "patches.txt").write_text("\n".join(samples.names))
    print(f"mean absolute error {scores.mean('cloudy')['mae']:.4f} on cloudy pixels; 'unclouded leaderboard {out}'")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
