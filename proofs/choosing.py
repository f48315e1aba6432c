"""Expected error and choice of the default remover, beside the true error: painted scenes and real triplets.

- ``painted``: clear ground with radar (Spain, winter 112, spring 101, and the clear images of the triplets) under real
  clouds of other patches, and simulated regions under theirs; the truth is of the same day.
- ``triplets``: the ten real triplets; their clear image is of another day.

    python proofs/choosing.py [--painted N] [--regions N]

Prints a table of all scenes and the share of painted scenes whose expected error is within 15 % of the true one. No
constant was chosen on these figures.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scene_adapted_settings import BANDS, SAMPLES, images
from torch import Tensor

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import PRODUCT, cloud_map
from unclouded.evaluation import metrics
from unclouded.patches.layouts import find_triplets
from unclouded.patches.roi import Roi
from unclouded.prediction.auto_remover import adapt_to_sample, auto_remover
from unclouded.simulation.fields import SEASONS
from unclouded.simulation.region import simulate_region
from unclouded.tensors.dataset import TripletDataset, observe
from unclouded.tensors.observation import Observation

TOLERANCE = 0.15
COVER = (0.1, 0.9)
"""Least and greatest cloud cover of a painted scene."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A scene and its clear image."""

    name: str
    seen: Observation
    clear: Tensor


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--painted", type=int, default=24, help="number of painted scenes of real ground")
    words.add_argument("--regions", type=int, default=8, help="number of simulated regions")
    options = words.parse_args()
    print("| scene | m > 0 | used | expected MAE | true MAE | true SAM | others: true MAE, SAM |", flush=True)
    print("|---|---:|---|---:|---:|---:|---|")
    ratios = [show(scene) for scene in painted(options.painted, np.random.default_rng(0))]
    ratios += [show(scene) for scene in simulated(options.regions)]
    known = [ratio for ratio in ratios if ratio is not None]
    within = np.mean(np.abs(np.array(known) - 1) <= TOLERANCE)
    print(
        f"\n{len(known)} painted scenes: within 15 % in {within:.0%}, median ratio {np.median(known):.2f}\n", flush=True
    )
    found = [ratio for scene in triplets() if (ratio := show(scene)) is not None]
    print(f"\n{len(found)} triplets: ratio {np.min(found):.2f} to {np.max(found):.2f}, median {np.median(found):.2f}")


def show(scene: Scene) -> float | None:
    """Print a line of the table; return expected by true error, None without cloud or without enough clear ground."""
    where = scene.seen.is_cloudy
    if not where.any():
        return None
    remover = auto_remover(BANDS)
    chosen = remover.adapt([scene.seen])
    mae, sam = errors(chosen(scene.seen), scene.clear, where)
    others = ", ".join(
        f"{one.name} {first:.4f} {second:.1f}"
        for one in (remover.preferred, *remover.others)
        if one.name != chosen.name
        for first, second in [errors(adapt_to_sample(one, [scene.seen])(scene.seen), scene.clear, where)]
    )
    expected = chosen.expected.rows[chosen.name].mae if chosen.expected else None
    shown = "unknown" if expected is None else f"{expected:.4f}"
    cover = 100 * where.double().mean().item()
    print(f"| {scene.name} | {cover:.0f} % | {chosen.name} | {shown} | {mae:.4f} | {sam:.1f} | {others} |", flush=True)
    return None if expected is None else expected / mae


def errors(prediction: Tensor, clear: Tensor, where: Tensor) -> tuple[float, float]:
    return (
        metrics.mean_absolute_error(prediction, clear, where).item(),
        metrics.spectral_angle_deg(prediction, clear, where).item(),
    )


def painted(count: int, rng: np.random.Generator) -> Iterator[Scene]:
    """Yield mosaics of 2 x 2 patches: ground of one place or of several, each under the cloud of another patch."""
    clear, cloudy, sar = images("s2"), images("s2_cloudy"), images("s1")
    ground = {name: (sar[name], clear[name]) for name in sar if name in clear}
    for triplet in _triplets():
        ground[triplet.name] = triplet.observation.sar[0].numpy(), triplet.clear[0].numpy()
    cache = ProbabilityCache()
    maps = {name: cloud_map(image, BANDS, PRODUCT, cache=cache) for name, image in cloudy.items()}
    sources = [name for name, m in maps.items() if COVER[0] < np.mean(m > 0) < COVER[1]]
    made = 0
    while made < count:
        names = rng.choice(sorted(ground), 4, replace=False)
        above = rng.choice(sources, 4)
        parts = []
        for name, source in zip(names, above, strict=True):
            m, (radar, truth) = maps[source], ground[name]
            parts.append((radar, m * cloudy[source] + (1 - m) * truth, m[None], truth))
        radar, mixed, m, truth = (_mosaic([part[i] for part in parts]) for i in range(4))
        if COVER[0] < np.mean(m > 0) < COVER[1]:
            made += 1
            seen = observe(radar, mixed, m[0], BANDS)
            yield Scene(f"{' '.join(str(one)[-9:] for one in names)}", seen, torch.from_numpy(truth)[None])


def _mosaic(parts: list[np.ndarray]) -> np.ndarray:
    rows = [np.concatenate(parts[i : i + 2], axis=-1) for i in (0, 2)]
    return np.ascontiguousarray(np.concatenate(rows, axis=-2), dtype=np.float32)


def _triplets() -> TripletDataset:
    return TripletDataset(find_triplets(SAMPLES / "triplets").triplets, BANDS, PRODUCT, ProbabilityCache())


def triplets() -> Iterator[Scene]:
    for one in _triplets():
        yield Scene(one.name, one.observation, one.clear)


def simulated(count: int) -> Iterator[Scene]:
    """Yield simulated regions of 512 px, whose cloudy image is of another day, under the product map."""
    for number in range(count):
        season = tuple(SEASONS)[number % len(SEASONS)]
        region = simulate_region(Roi("ROIs0000", season, number), np.random.default_rng(number), size_px=512)
        m = cloud_map(region.cloudy.values, BANDS, PRODUCT)
        seen = observe(region.sar.values, region.cloudy.values, m, BANDS)
        yield Scene(f"simulated {season} {number}", seen, torch.from_numpy(region.clear.values)[None])


if __name__ == "__main__":
    main()
