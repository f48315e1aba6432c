"""Reading of triplets for training: LZW GeoTIFFs and the packed store.

The ten real triplets (folder ``triplets`` of the samples) are written as LZW GeoTIFFs and packed as used by the paper's
training: three bands, the central 200 px. Both are read in turn, one patch after the other, in one process; m is 1 on
both sides, so that no cloud maps are computed. Files are in the system's page cache; times are processor times.

    python benchmarks/pack.py [--runs 5] [--bands 3|13]      the last line is one JSON object
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median

import rasterio
import torch
from rich.console import Console

from unclouded.clouds.map import CloudMapSettings
from unclouded.patches.layouts import find_triplets
from unclouded.sensors import RGB, SENTINEL2
from unclouded.tensors.dataset import TripletDataset, TripletSource
from unclouded.tensors.packed import pack

SAMPLES = Path(os.environ.get("UNCLOUDED_SAMPLES", Path(__file__).parents[2] / "shared" / "data"))
GOAL = 20
LEAST_SECONDS = 0.2
"""Minimum duration of a run of the faster one."""


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--runs", type=int, default=5)
    words.add_argument("--bands", type=int, choices=(3, 13), default=3)
    options = words.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "geotiff"
        write_lzw(SAMPLES / "triplets", root)
        bands = RGB if options.bands == 3 else SENTINEL2.bands
        files = TripletDataset(find_triplets(root).triplets, bands, CloudMapSettings(mode="ones"), crop_px=200)
        store = pack(files, dict.fromkeys(files.names, "test"), Path(folder) / "store")
        if not all(same(files, store, index) for index in range(len(files))):
            raise SystemExit("the values differ")
        rates = [(patches_a_second(files), patches_a_second(store)) for _ in range(options.runs)]
    peer, project = (median(rate[i] for rate in rates) for i in (0, 1))
    Console().print(
        f"{len(bands)} bands: GeoTIFF {peer:,.0f}, store {project:,.0f} patches a second, ratio {project / peer:.1f}"
    )
    print(
        json.dumps(
            {"name": "pack", "ratio": round(project / peer, 1), "goal": GOAL, "runs": options.runs, "threads": 1}
        )
    )


def write_lzw(source: Path, target: Path) -> None:
    for path in sorted(source.glob("*/*.tif")):
        out = target / path.relative_to(source)
        out.parent.mkdir(parents=True, exist_ok=True)
        with rasterio.open(path, driver="GTiff") as file:
            profile = file.profile | {"compress": "lzw"}
            with rasterio.open(out, "w", **profile) as copy:
                copy.write(file.read())


def same(one: TripletSource, other: TripletSource, index: int) -> bool:
    a, b = one[index], other[index]
    pairs = [(a.clear, b.clear), (a.observation.sar, b.observation.sar), (a.observation.cloudy, b.observation.cloudy)]
    return all(torch.equal(x, y) for x, y in pairs)


def patches_a_second(data: TripletSource) -> float:
    started, read = time.process_time(), 0
    while time.process_time() - started < LEAST_SECONDS:
        for index in range(len(data)):
            data[index]
        read += len(data)
    return read / (time.process_time() - started)


if __name__ == "__main__":
    main()
