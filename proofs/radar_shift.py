"""Detection of shifts of 2 px between radar and optical image on real data.

    python proofs/radar_shift.py [--samples FOLDER]

Uses the ten real triplets, one georeferenced triplet, three patches of open water and a scene of 512 px in four parts;
each pair as it is, and with its radar moved by 2 px in eight directions. A shift counts as found if the estimate moves
by it to within half a pixel, and as reported if the estimate is also confident. A sample has texture if its near
infrared, without speckle of single pixels, varies by more than 0.01; open water does not. The second table compares the
triplets' cloudy images, where the paper's map is 0.
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from unclouded.clouds.map import cloud_map
from unclouded.io.raster import read
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.sentinel.coregistration import OPTICAL_BANDS, Shift, estimate_shift

Image = NDArray[np.float32]
DIRECTIONS = [(2, 0), (0, 2), (-2, 0), (0, -2), (2, 2), (2, -2), (-2, 2), (-2, -2)]
TEXTURE = 0.01


def main() -> None:
    """Print the estimates and the number of injected shifts found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--samples", type=Path, default=Path(os.environ.get("UNCLOUDED_SAMPLES", "samples")))
    samples = parser.parse_args().samples
    print_table("clear", ((name, radar, clear, None) for name, radar, clear in clear_pairs(samples)))
    print_table("cloudy", cloudy_pairs(samples))


def clear_pairs(samples: Path) -> Iterator[tuple[str, Image, Image]]:
    """Yield name, radar and optical image of every sample."""
    for path in sorted((samples / "triplets" / "s1").glob("*.tif")):
        yield (
            path.stem[-4:],
            read(path, SENTINEL1).values,
            read(path.parents[1] / "s2_cloudfree" / path.name, SENTINEL2).values,
        )
    for path in sorted((samples / "sen12mscr").glob("*_s1/s1_*/*.tif")):
        optical = Path(str(path).replace("_s1", "_s2").replace("/s1_", "/s2_"))
        if optical.is_file():
            yield path.stem[6:].replace("_s1", ""), read(path, SENTINEL1).values, read(optical, SENTINEL2).values
    for path in sorted((samples / "sen1floods11" / "S1").glob("*.tif")):
        radar, optical = (
            read(file, sensor).values
            for file, sensor in ((path, SENTINEL1), (Path(str(path).replace("S1", "S2")), SENTINEL2))
        )
        for top, left in ((0, 0), (0, 256), (256, 0), (256, 256)):
            part = np.s_[:, top : top + 256, left : left + 256]
            yield f"{path.stem[:13]} {top} {left}", radar[part], optical[part]


def cloudy_pairs(samples: Path) -> Iterator[tuple[str, Image, Image, NDArray[np.bool_]]]:
    """Yield the triplets with their cloudy image and its clear pixels, if at least a fifth of it is clear."""
    for path in sorted((samples / "triplets" / "s1").glob("*.tif")):
        cloudy = read(path.parents[1] / "s2_cloudy" / path.name, SENTINEL2).values
        clear = cloud_map(cloudy, SENTINEL2.bands) == 0
        if clear.mean() >= 0.2:
            yield f"{path.stem[-4:]}, {clear.mean():.0%} clear", read(path, SENTINEL1).values, cloudy, clear


def print_table(title: str, pairs: Iterator[tuple[str, Image, Image, NDArray[np.bool_] | None]]) -> None:
    """Print one table."""
    print(f"\n{title:32} texture   right    down   gap    found  reported")
    found, reported, textured = [], [], []
    for name, radar, optical, where in pairs:
        bands = optical[SENTINEL2.indices(*OPTICAL_BANDS)]
        usable = np.isfinite(bands[2]) if where is None else where
        texture = float(gaussian_filter(np.nan_to_num(bands[2]), 2)[usable].std())
        base = estimate_shift(radar, bands, where)
        moved = [estimate_shift(displaced(radar, right, down), bands, where) for right, down in DIRECTIONS]
        hits = [moves(base, one, *by) for one, by in zip(moved, DIRECTIONS, strict=True)]
        sure = [hit and one.is_confident for hit, one in zip(hits, moved, strict=True)]
        seen = f"{base.right_px:+7.2f} {base.down_px:+7.2f} {base.gap:6.3f}"
        print(f"{name:32} {texture:7.3f} {seen} {sum(hits):4}/8 {sum(sure):4}/8")
        found += hits
        reported += sure
        textured += [texture > TEXTURE] * len(hits)
    chosen = np.array(textured)
    for word, which in (("with texture", chosen), ("all", np.ones_like(chosen))):
        hit, sure = np.array(found)[which], np.array(reported)[which]
        print(f"{word:14} {hit.sum()} of {hit.size} found ({hit.mean():.1%}), {sure.mean():.1%} reported")


def displaced(radar: Image, right: int, down: int) -> Image:
    """Return a radar image moved right and down; pixels without source have no data."""
    moved = np.full_like(radar, np.nan)
    height, width = radar.shape[1:]
    into = np.s_[:, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)]
    out_of = np.s_[:, max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)]
    moved[into] = radar[out_of]
    return moved


def moves(base: Shift, moved: Shift, right: int, down: int) -> bool:
    """Return whether an estimate moved as the radar did, to within half a pixel."""
    return bool(np.hypot(moved.right_px - base.right_px - right, moved.down_px - base.down_px - down) < 0.5)


if __name__ == "__main__":
    main()
