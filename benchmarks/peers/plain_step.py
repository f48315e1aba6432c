"""The paper's training step as usually implemented: eager float32, torch's own layers, one network after the other.

Written after the procedure of pytorch-CycleGAN-and-pix2pix (``nn.InstanceNorm2d``, contiguous memory, biases
everywhere, one Adam for both generators, one for both discriminators), with the paper's networks and losses.
"""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

Terms = dict[str, float]


def normalised(convolution: nn.Module, channels: int) -> list[nn.Module]:
    return [convolution, nn.InstanceNorm2d(channels), nn.ReLU(inplace=True)]


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            nn.ReflectionPad2d(1),
            *normalised(nn.Conv2d(channels, channels, 3), channels),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = x + self.change(x)
        return changed


def generator(before: int, after: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ReflectionPad2d(3),
        *normalised(nn.Conv2d(before, width, 7), width),
        *normalised(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), 2 * width),
        *normalised(nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1), 4 * width),
        *(Block(4 * width) for _ in range(9)),
        *normalised(nn.ConvTranspose2d(4 * width, 2 * width, 3, stride=2, padding=1, output_padding=1), 2 * width),
        *normalised(nn.ConvTranspose2d(2 * width, width, 3, stride=2, padding=1, output_padding=1), width),
        nn.ReflectionPad2d(3),
        nn.Conv2d(width, after, 7),
    )


class Restorer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.trunk, self.cloud_map = generator(7, 3, width), nn.Conv2d(3, 1, 3, padding=1)

    def forward(self, sar: Tensor, cloudy: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        residual = self.trunk(torch.cat([sar, cloudy, m], 1))
        return torch.tanh(torch.atanh(cloudy.clamp(-1 + 1e-6, 1 - 1e-6)) + residual), self.cloud_map(residual)


def discriminator(before: int, width: int) -> nn.Sequential:
    channels = [before, width, 2 * width, 4 * width, 8 * width, 1]
    layers: list[nn.Module] = []
    for (a, b), stride in zip(itertools.pairwise(channels), (2, 2, 2, 1, 1), strict=True):
        layers += [spectral_norm(nn.Conv2d(a, b, 4, stride=stride, padding=1)), nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers[:-1])


def plain_step(weights: list[dict[str, Tensor]], width: int, images: tuple[Tensor, ...]) -> Callable[[], Terms]:
    """Return a step that starts from the state dicts of G_S2->S1, G_S1->S2, D_S1 and D_S2, with empty pools.

    It is computed on the device of the images.
    """
    to_sar, restore = generator(3, 3, width), Restorer(width)
    discriminator_sar, discriminator_optical = discriminator(3, width), discriminator(4, width)
    for network, state in zip((to_sar, restore, discriminator_sar, discriminator_optical), weights, strict=True):
        named = dict(zip(network.state_dict(), (value.contiguous() for value in state.values()), strict=True))
        network.load_state_dict(named)
        network.to(images[0].device)
    adams = [
        torch.optim.Adam(itertools.chain(a.parameters(), b.parameters()), lr=2e-4, betas=(0.5, 0.999))
        for a, b in ((to_sar, restore), (discriminator_sar, discriminator_optical))
    ]
    sar, cloudy, clear, m = images

    def off(weight: Tensor, one: Tensor, other: Tensor) -> Tensor:
        return (weight * (one - other).abs()).mean()

    def step() -> Terms:
        fake_sar = to_sar(cloudy).tanh()
        fake_optical, estimate = restore(sar, cloudy, m)
        again_sar = to_sar(fake_optical).tanh()
        again_optical, _ = restore(fake_sar, cloudy, m)
        same_sar = to_sar(sar).tanh()
        same_optical, _ = restore(clear, clear, m)
        for one in (discriminator_sar, discriminator_optical):
            one.requires_grad_(False)
        adams[0].zero_grad()
        terms = {
            "adversarial": (discriminator_sar(fake_sar) - 1).square().mean()
            + (discriminator_optical(torch.cat([fake_optical, m], 1)) - 1).square().mean(),
            "cycle": off(m, sar, again_sar) + off(1 - m, cloudy, again_optical),
            "identity": off(m, sar, same_sar) + off(m, clear, same_optical),
            "auxiliary": off(1 - m, m, estimate),
        }
        total = 5 * terms["adversarial"] + 10 * terms["cycle"] + terms["identity"] + 10 * terms["auxiliary"]
        total.backward()
        adams[0].step()
        for one in (discriminator_sar, discriminator_optical):
            one.requires_grad_(True)
        adams[1].zero_grad()
        real_optical, made_optical = torch.cat([clear, m], 1), torch.cat([fake_optical.detach(), m], 1)
        pairs = {
            "sar_discriminator": (discriminator_sar, sar, fake_sar.detach()),
            "optical_discriminator": (discriminator_optical, real_optical, made_optical),
        }
        for name, (one, real, fake) in pairs.items():
            terms[name] = 0.5 * ((one(real) - 1).square().mean() + one(fake).square().mean())
            terms[name].backward()
        adams[1].step()
        return {name: term.item() for name, term in terms.items()}

    return step
