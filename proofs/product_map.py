"""The product map beside the paper's map: clear ground kept, shadow and cloud replaced, and the error of the result.

Truth comes from pairs of a cloudy and a clear image of the same ground: a pixel under cloud is brighter in B02 and B04,
one in shadow is darker in B08 and B11 and no brighter in the visible, and a clear one is nearly equal. All three are
relative to the haze of the whole patch; pixels in between count for nothing, nor do patches whose ground changed.

    python proofs/product_map.py OUT       tables, and OUT/maps-N.png with both maps of every patch

The last table is the error of scene-adapted on the ten real triplets, composed by each map: pixels with m = 0 as
observed, the others as predicted; over all pixels, and over those under cloud or in shadow by the pairs.
"""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32
from matplotlib.figure import Figure
from scipy.ndimage import uniform_filter

from unclouded.clouds.csmask import BANDS as CSMASK_BANDS
from unclouded.clouds.csmask import CLOUD, class_probabilities
from unclouded.clouds.map import PAPER, PRODUCT, CloudMapSettings, cloud_map
from unclouded.clouds.product_map import BLOCK_PX
from unclouded.clouds.shadow import find_shadow, shadow_probability
from unclouded.files import whole_file
from unclouded.io.raster import read
from unclouded.models.adaptation.scene_adapted import SceneAdapted
from unclouded.patches.roi import natural
from unclouded.sensors import RGB, SENTINEL1, SENTINEL2
from unclouded.tensors.observation import Observation

SAMPLES = Path(os.environ.get("UNCLOUDED_SAMPLES", Path(__file__).parents[2] / "shared" / "data"))
MAPS = {
    "paper": PAPER,
    "product": PRODUCT,
    "product, csmask": PRODUCT.model_copy(update={"detector": "csmask"}),
}
TEST_REGIONS = {"03": "spring 106", "05": "spring 106", "07": "spring 106", "13": "spring 123", "27": "spring 31"}
"""Regions of the triplets by their first digits; all others lie in summer 119."""
TRIPLETS = {"spring 106", "spring 123", "spring 31", "summer 119"}
"""Regions of the ten triplets."""
FEWEST = 300
"""Pixels under cloud or in shadow that a patch must have to count in their errors."""
COMPARABLE = 0.05
"""Share of clear pixels that a pair must have to be judged."""
ROWS, BRIGHTEST = 7, 0.3
SIDE_PX = 5

Image = Float32[np.ndarray, "band y x"]
Mask = Bool[np.ndarray, "y x"]


@dataclass(frozen=True, eq=False)
class Pair:
    """A cloudy and a clear image of the same ground.

    Attributes:
        name: Patch name.
        region: Region, as season and number.
        cloudy: Reflectance of 13 bands.
        clear: Reflectance of 13 bands.
        sar: VV and VH, dB; None where the samples have none.
    """

    name: str
    region: str
    cloudy: Image
    clear: Image
    sar: Image | None

    def truth(self) -> dict[str, Mask]:
        """Return the masks clear, shadow, thin cloud and thick cloud; empty where the ground changed."""
        change = {band: smooth(self.band(self.cloudy, band) - self.band(self.clear, band)) for band in ("B02", "B04")}
        dark = np.log2(smooth(self.infrared(self.cloudy)) / smooth(self.infrared(self.clear)))
        brighter = change["B02"] - np.clip(np.quantile(change["B02"], 0.1), -0.03, 0.03)
        cloud = (brighter > 0.03) & (change["B04"] > 0.02)
        land = smooth(self.band(self.clear, "B08")) > 0.08
        masks = {
            "clear": (np.abs(brighter) < 0.02) & (np.abs(dark) < 0.35),
            "shadow": (dark < -0.5) & ~cloud & land & (brighter < 0.02) & (change["B04"] < 0),
            "thin cloud": cloud & (brighter <= 0.10),
            "thick cloud": cloud & (brighter > 0.10),
        }
        comparable = masks["clear"].mean() >= COMPARABLE
        return {name: mask & comparable for name, mask in masks.items()}

    def band(self, image: Image, name: str) -> Float32[np.ndarray, "y x"]:
        return image[SENTINEL2.bands.index(name)]

    def infrared(self, image: Image) -> Float32[np.ndarray, "y x"]:
        return self.band(image, "B08") + self.band(image, "B11")


def smooth(values: Float32[np.ndarray, "y x"]) -> Float32[np.ndarray, "y x"]:
    return np.asarray(uniform_filter(values, SIDE_PX, mode="nearest"))


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("out", type=Path)
    out = words.parse_args().out
    pairs = find_pairs()
    maps = {name: [mapped(pair, settings) for pair in pairs] for name, settings in MAPS.items()}
    print(shares_table(pairs, maps))
    print(labels_line())
    print(errors_table(pairs, maps))
    for number, first in enumerate(range(0, len(pairs), ROWS), start=1):
        part = slice(first, first + ROWS)
        draw(out / f"maps-{number}.png", pairs[part], {name: made[part] for name, made in maps.items()})


def find_pairs() -> list[Pair]:
    pairs = []
    for path in sorted((SAMPLES / "triplets" / "s2_cloudy").glob("*.tif"), key=lambda path: natural(path.name)):
        clear = path.parents[1] / "s2_cloudfree" / path.name
        sar = path.parents[1] / "s1" / path.name
        pairs.append(_pair(path, clear, sar, TEST_REGIONS.get(path.stem[-4:-2], "summer 119")))
    for path in sorted((SAMPLES / "sen12mscr").glob("*_s2_cloudy/*/*.tif"), key=lambda path: natural(path.name)):
        season, region = path.name.split("_")[1], path.parent.name.rsplit("_", 1)[1]
        clear = Path(str(path).replace("_s2_cloudy", "_s2").replace("s2_cloudy_", "s2_"))
        sar = Path(str(path).replace("_s2_cloudy", "_s1").replace("s2_cloudy_", "s1_"))
        if clear.exists():
            pairs.append(_pair(path, clear, sar, f"{season} {region}"))
    return pairs


def _pair(cloudy: Path, clear: Path, sar: Path, region: str) -> Pair:
    radar = read(sar, SENTINEL1).values if sar.exists() else None
    return Pair(cloudy.stem, region, read(cloudy, SENTINEL2).values, read(clear, SENTINEL2).values, radar)


def mapped(pair: Pair, settings: CloudMapSettings) -> Float32[np.ndarray, "y x"]:
    return cloud_map(pair.cloudy, SENTINEL2.bands, settings, sar=pair.sar)


def shares_table(pairs: list[Pair], maps: dict[str, list[Float32[np.ndarray, "y x"]]]) -> str:
    """Return shares of clear pixels with m = 0 and of shadow and cloud with m > 0, by region and as their mean."""
    truths = [pair.truth() for pair in pairs]
    regions = sorted({pair.region for pair in pairs}, key=natural)
    lines = []
    for kind in ("clear", "shadow", "thin cloud", "thick cloud"):
        rows = []
        for region in regions:
            inside = [number for number, pair in enumerate(pairs) if pair.region == region]
            pixels = sum(int(truths[number][kind].sum()) for number in inside)
            if pixels < 1000:
                continue
            found = {
                name: sum(int((made[number] > 0)[truths[number][kind]].sum()) for number in inside) / pixels
                for name, made in maps.items()
            }
            rows.append((region, pixels, [1 - one if kind == "clear" else one for one in found.values()]))
        title = "clear, kept" if kind == "clear" else f"{kind}, replaced"
        lines += [f"\n| {title} | pixels | {' | '.join(maps)} |", "|---|---:|" + "---:|" * len(maps)]
        lines += [
            f"| {region} | {pixels:,} | {' | '.join(f'{one:.3f}' for one in values)} |"
            for region, pixels, values in rows
        ]
        means = np.mean([values for _, _, values in rows], axis=0)
        lines.append(f"| mean of regions | | {' | '.join(f'{one:.3f}' for one in means)} |")
    return "\n".join(lines)


def labels_line() -> str:
    """Return precision and recall of shadow by darkness on the labelled image of 30 m pixels; clouds by csmask."""
    with np.load(SAMPLES / "cloud_labels" / "sentinel2.npz", allow_pickle=False) as file:
        image, labels = np.ascontiguousarray(np.moveaxis(file["img"], -1, 0)), file["msk"][..., 0]
    cloud = class_probabilities(image, CSMASK_BANDS)[CLOUD] >= 0.5
    b08, b11 = (image[CSMASK_BANDS.index(band)] for band in ("B08", "B11"))
    found = find_shadow(shadow_probability(b08, b11, cloud, BLOCK_PX), cloud, None)
    true = labels == 0
    both = np.count_nonzero(found & true)
    return (
        f"\nhuman labels: shadow by darkness has precision {both / np.count_nonzero(found):.3f} and recall "
        f"{both / np.count_nonzero(true):.3f}\n"
    )


def errors_table(pairs: list[Pair], maps: dict[str, list[Float32[np.ndarray, "y x"]]]) -> str:
    """Return the errors of scene-adapted on the ten triplets, composed by each map; means of patches."""
    lines = [
        "| map | replaced | MAE 13 | MAE RGB | SAM | cloud, shadow: MAE 13 | MAE RGB | SAM |",
        "|---" + "|---:" * 7 + "|",
    ]
    for name, made in maps.items():
        rows = [_errors(pair, m) for pair, m in zip(pairs, made, strict=True) if pair.region in TRIPLETS]
        share, *scores = np.nanmean(rows, axis=0)
        numbers = (f"{one:.2f}" if number % 3 == 2 else f"{one:.4f}" for number, one in enumerate(scores))
        lines.append(f"| {name} | {share:.3f} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def _errors(pair: Pair, m: Float32[np.ndarray, "y x"]) -> list[float]:
    """Return the share of m > 0, and errors over all pixels and over those under cloud or in shadow; NaN if few."""
    sar, cloudy, clear, shown = (
        torch.from_numpy(image)[None] for image in (pair.sar, pair.cloudy, pair.clear, m[None])
    )
    seen = Observation(sar, cloudy, shown, SENTINEL2.bands)
    result = torch.where(seen.is_cloudy, SceneAdapted(SENTINEL2.bands)(seen), cloudy)
    difference = (result - clear).abs()[0]
    cosine = torch.nn.functional.cosine_similarity(result.double(), clear.double(), dim=1).clamp(-1, 1)[0]
    images = (
        difference.mean(dim=0),
        difference[SENTINEL2.indices(*RGB)].mean(dim=0),
        torch.rad2deg(torch.arccos(cosine)),
    )
    truth = pair.truth()
    needed = torch.from_numpy(truth["shadow"] | truth["thin cloud"] | truth["thick cloud"])
    inside = [image[needed].mean().item() if needed.sum() > FEWEST else float("nan") for image in images]
    return [seen.is_cloudy.double().mean().item(), *(image.mean().item() for image in images), *inside]


def draw(path: Path, pairs: list[Pair], maps: dict[str, list[Float32[np.ndarray, "y x"]]]) -> None:
    """Draw one row per pair: both images, the truth, and the outline of m > 0 of each map on the cloudy image."""
    figure = Figure(figsize=(2.5 * (3 + len(maps)), 2.65 * len(pairs)), layout="constrained")
    axes = figure.subplots(len(pairs), 3 + len(maps), squeeze=False)
    for number, (line, pair) in enumerate(zip(axes, pairs, strict=True)):
        truth = pair.truth()
        cloud = truth["thin cloud"] | truth["thick cloud"]
        line[0].imshow(picture(pair.cloudy))
        line[0].set_title(pair.name, fontsize=6)
        line[1].imshow(picture(pair.clear))
        line[2].imshow(np.stack([cloud, truth["clear"], truth["shadow"]], axis=-1).astype(float))
        line[2].set_title("cloud red, clear green, shadow blue", fontsize=6)
        for axis, (name, made) in zip(line[3:], maps.items(), strict=True):
            axis.imshow(picture(pair.cloudy))
            if 0 < (made[number] > 0).mean() < 1:
                axis.contour(made[number] > 0, [0.5], colors="yellow", linewidths=0.7)
            axis.set_title(f"{name}: {np.mean(made[number] > 0):.0%}", fontsize=6)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=90)


def picture(image: Image) -> Float32[np.ndarray, "y x 3"]:
    return np.clip(np.moveaxis(image[SENTINEL2.indices(*RGB)], 0, -1) / BRIGHTEST, 0, 1)


if __name__ == "__main__":
    main()
