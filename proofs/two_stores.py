"""One simulated region in both stores: bytes on disk, cost of reading a patch, and equality of the training data.

python proofs/two_stores.py OUT [--size 1536] [--seed 0]
"""

import argparse
import shutil
import time
from pathlib import Path

import numpy as np
from simulated import write_optical, write_radar

from unclouded.clouds.map import CloudMapSettings
from unclouded.curation.region_task import curating
from unclouded.curation.regions import CurationSettings
from unclouded.curation.results import screened_rows
from unclouded.patches.layouts import find_triplets
from unclouded.patches.manifest import write_manifest
from unclouded.patches.roi import Roi
from unclouded.sensors import SENTINEL2
from unclouded.settings import settings_from
from unclouded.simulation.region import simulate_region
from unclouded.tensors.dataset import TripletDataset
from unclouded.training.preparation import digest

ROI = Roi("ROIs0000", "summer", 9)
STORES = ("patches", "scenes")
REGION = {"roi": str(ROI), "radar": "s1.tif", "clear": "s2.tif", "cloudy": "s2_cloudy.tif"}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("out", type=Path)
    words.add_argument("--size", type=int, default=1536)
    words.add_argument("--seed", type=int, default=0)
    options = words.parse_args()
    simulate(options.out, options.size, options.seed)
    data = {store: curated(options.out, store) for store in STORES}
    seconds: dict[str, list[float]] = {store: [] for store in STORES}
    for index in range(len(data["patches"])):
        digests = set()
        for store in STORES:
            began = time.process_time()
            triplet = data[store][index]
            seconds[store].append(time.process_time() - began)
            digests.add(digest(triplet))
        if len(digests) != 1:
            raise SystemExit(f"{data['patches'].names[index]} is not the same in both stores")
    print(f"{len(data['patches'])} patches, the same SHA-256 of the training data in both stores")
    for store in STORES:
        print(f"{store}: {np.median(seconds[store]) * 1000:.1f} ms of CPU to read a triplet")


def simulate(out: Path, size: int, seed: int) -> None:
    seen = simulate_region(ROI, np.random.default_rng([7, seed]), size, coverage=0.5)
    write_radar(out / "s1.tif", seen.sar)
    for name, image in (("s2", seen.clear), ("s2_cloudy", seen.cloudy)):
        write_optical(out / f"{name}.tif", image)


def curated(out: Path, store: str) -> TripletDataset:
    root = out / store
    shutil.rmtree(root, ignore_errors=True)
    settings = settings_from(CurationSettings, {"regions": [REGION], "coverage": False, "store": store})
    (task,) = curating(settings, out, root)
    began = time.process_time()
    rows = task.run()
    write_manifest(root / "manifest.parquet", screened_rows(rows, task.settings.screening))
    kept = sum(row["status"] == "kept" for row in rows)
    stored = sum(path.stat().st_size for path in root.rglob("*.tif"))
    spent = time.process_time() - began
    print(f"{store}: {kept} of {len(rows)} kept, {stored:,} bytes, {stored / kept:,.0f} a patch, {spent:.1f} s of CPU")
    return TripletDataset(find_triplets(root).triplets, SENTINEL2.bands, CloudMapSettings(mode="ones"))


if __name__ == "__main__":
    main()
