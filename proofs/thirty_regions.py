"""Thirty regions from nothing to training: the commands of docs/thirty-regions.md, executed on simulated products.

A catalogue and products are simulated for the sampled regions. Each region has a radar product, a clear product, two
cloudy ones, and a second processing of the clear one, which must not become its cloudy image. One product is damaged at
first. After the commands the counts of all outputs are compared.

    python proofs/thirty_regions.py OUT [--size 420] [--regions 30]
"""

import argparse
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from unclouded.files import write_json
from unclouded.io.raster import to_stored
from unclouded.patches.manifest import read_manifest
from unclouded.patches.sampling import SampledRegion, read_sampled
from unclouded.sensors import SENTINEL2
from unclouded.sentinel.footprints import footprint_around
from unclouded.simulation.fields import SEASONS
from unclouded.simulation.optics import simulate_sky, through
from unclouded.simulation.region import simulate_region

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # generators of simulated products
from products.optical_product import PIXEL_M, OpticalProduct, write_optical_product
from products.radar_product import RadarGeometry, RadarProduct, write_radar_product

PAGE = Path(__file__).parents[1] / "docs" / "thirty-regions.md"
CLOUDY = {16: 0.45, 26: 0.7}
"""Day of the month and cloud coverage of the cloudy products; the clear one is of day 11, the radar of day 12."""
TILE_KM, RADAR_KM = (109.8, 109.8), (250.0, 170.0)
REJECTED = "ROIs2024_summer_3"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=420, help="side of the products in pixels of 10 m, 60 n")
    parser.add_argument("--regions", type=int, default=30)
    options = parser.parse_args()
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    run = Run(options.out.resolve(), options.size, options.regions)
    for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL):
        for command in commands(block):
            run.execute(command)
    run.compare_counts()


def commands(block: str) -> list[str]:
    """Return the commands of a block; a here-document belongs to its command."""
    return re.findall(r"^(?:.*<<END\n(?:.*\n)*?END|.+)$", block, re.MULTILINE)


class Run:
    """Execution of the page in a folder."""

    def __init__(self, out: Path, size: int, regions: int) -> None:
        self.out, self.size, self.regions = out, size, regions
        self.damaged: Path | None = None
        self.cut = 0

    def execute(self, command: str) -> None:
        """Execute a command of the page, or a step that it describes in words."""
        if command.startswith("# download the products"):
            self.fetch()
            return
        if "data search" in command:
            began = time.perf_counter()
            self.simulate()
            print(f"{time.perf_counter() - began:7.1f} s  simulated catalogue and products\n", flush=True)
        small = f"--set rows={self.size // 128 * 128} --set columns={self.size // 128 * 128}"
        command = command.replace("--regions 30", f"--regions {self.regions}")
        if command.startswith("unclouded curate"):
            command = f"{command} {small}"
        if command.startswith("unclouded curate") and "--plan" not in command and self.damaged:
            self.shell(command, status=1)
            shutil.copyfile(self.out / "archive" / self.damaged, self.out / "mine" / self.damaged)
            self.damaged = None
        before = self.images() if self.cut else {}
        self.shell(command)
        if command.startswith("unclouded curate") and "--plan" not in command:
            if self.cut and self.images() != before:
                raise SystemExit("a changed threshold changed images")
            self.cut += 1

    def shell(self, command: str, status: int = 0) -> None:
        """Execute a command of the shell, print its output and its time, and require its exit status."""
        words = command.replace("unclouded ", f"{sys.executable} -m unclouded --quiet ", 1)
        if command.startswith("unclouded curate"):
            words = words.replace("--quiet ", "")
        began, used = time.perf_counter(), os.times()
        known = {**os.environ, "CATALOGUE": "archive/items.json"}
        done = subprocess.run(["sh", "-c", words], cwd=self.out, env=known, capture_output=True, text=True, check=False)
        seconds, spent = time.perf_counter() - began, os.times()
        cpu = spent.children_user + spent.children_system - used.children_user - used.children_system
        print(f"{seconds:7.1f} s  {cpu:7.1f} s of CPU  $ {command}")
        said = [line for line in done.stderr.splitlines() if "━" not in line]
        for line in [*done.stdout.splitlines(), *said][:14]:
            print(f"    {line[:200]}")
        print(flush=True)
        if done.returncode != status:
            print(done.stderr[-2000:])
            raise SystemExit(f"ended with {done.returncode}, expected {status}")

    def images(self) -> dict[str, int]:
        """Return the times of the images of the data set by name."""
        return {str(path): path.stat().st_mtime_ns for path in sorted((self.out / "data").glob("ROIs*/*/*.tif"))}

    def simulate(self) -> None:
        """Write the products of all sampled regions, and a catalogue of them, to ``archive``."""
        items = []
        for number, (region, _) in enumerate(read_sampled(self.out / "regions.geojson")):
            items += simulate_products(self.out / "archive", region, number, self.size)
        write_json(self.out / "archive" / "items.json", {"type": "FeatureCollection", "features": items})

    def fetch(self) -> None:
        """Copy the listed products and all others of the regions; damage one radar image."""
        listed = set((self.out / "mine" / "products.txt").read_text().split())
        for sensor in ("s1", "s2"):
            shutil.copytree(self.out / "archive" / sensor, self.out / "mine" / sensor)
        present = {path.stem for sensor in ("s1", "s2") for path in (self.out / "mine" / sensor).iterdir()}
        if absent := listed - present:
            raise SystemExit(f"the catalogue has no {min(absent)}")
        image = min((self.out / "mine" / "s1").glob("*/measurement/*.tiff"))
        content = bytearray(image.read_bytes())
        content[len(content) // 2] ^= 255
        image.write_bytes(content)
        self.damaged = image.relative_to(self.out / "mine")

    def compare_counts(self) -> None:
        """Compare the counts of manifest, choices, statistics, release and scores."""
        rows = read_manifest(self.out / "data" / "manifest.parquet")
        kept = [row for row in rows if row["status"] == "kept"]
        statuses = {status: sum(row["status"] == status for row in rows) for status in {row["status"] for row in rows}}
        side = (self.size // 128 * 128 - 256) // 128 + 1
        failed = statuses.pop("failed", 0)
        require("candidates", sum(statuses.values()), (self.regions - failed) * side**2)
        require("images of kept and withdrawn patches", len(self.images()), 3 * sum(bool(row["s1"]) for row in rows))
        released = self.out / "data-1.0"
        packed = sum(map(members, released.glob("ROIs*.tar.gz")))
        require("images in the release", packed, 3 * len(kept))
        sharded = sum(map(members, released.glob("*-0*.tar")))
        require("members of WebDataset shards", sharded, 4 * len(kept))
        measured = json.loads((self.out / "stats" / "coverage.json").read_text())["all"]["patches"]
        require("patches in the statistics", measured, len(kept))
        scored = json.loads((self.out / "scores.json").read_text())["patches"]
        require("patches with scores", len(scored), sum(row["split"] == "test" for row in kept))
        with (self.out / "data" / "choices.csv").open() as file:
            choices = list(csv.DictReader(file))
        twins = sum("of the same acquisition as" in one["decision"] for one in choices)
        require("second processings refused", twins, self.regions)
        gaps = [abs(row["clear_after_cloudy_days"]) for row in kept]
        require("patches whose cloudy image is of another day", sum(gap >= 1 for gap in gaps), len(kept))
        require("kept patches of the rejected region", sum(row["roi"] == REJECTED for row in kept), 0)


def members(path: Path) -> int:
    """Return the number of files in an archive."""
    with tarfile.open(path) as archive:
        return len(archive.getnames())


def require(what: str, found: int, expected: int) -> None:
    """Print a count, and end if it is not the expected one."""
    print(f"{found:6,} {what}")
    if found != expected:
        raise SystemExit(f"expected {expected:,}")


def simulate_products(archive: Path, region: SampledRegion, number: int, size: int) -> list[dict[str, Any]]:
    """Write the products of a region; return their STAC items."""
    rng = np.random.default_rng([2024, number])
    seen = simulate_region(region.roi, rng, size, coverage=0.4)
    epsg = (32600 if region.latitude >= 0 else 32700) + int((region.longitude + 180) // 6) + 1
    x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(region.longitude, region.latitude)
    corner = round(x / 60) * 60 - 5 * size, round(y / 60) * 60 + 5 * size
    tile = f"T{epsg % 100:02d}{'CDEFGHJKLMNPQRSTUVWX'[int((region.latitude + 80) // 8)]}{'ABCDEFGHJK'[number // 10]}"
    tile += "ABCDEFGHJK"[number % 10]
    month = region.months[1]
    clear = OpticalProduct(
        acquired=datetime(2021, month, 11, 10, 17, 6, tzinfo=UTC), tile=tile, epsg=epsg, corner=corner
    )
    twin = replace(clear, baseline="05.00", offset=-1000)
    images = [(clear, seen.clear.values, 0.0), (twin, seen.clear.values, 0.4)]
    for day, coverage in CLOUDY.items():
        another = seen.clear.values * rng.normal(1, 0.01, seen.clear.values.shape).astype(np.float32)
        sky = simulate_sky(rng, size, SEASONS[region.roi.season], coverage)
        acquired = clear.acquired.replace(day=day)
        images.append((replace(clear, acquired=acquired), through(sky, another), 100 * coverage))
    items = []
    for product, reflectance, cloud in images:
        write_optical_product(archive / "s2", stored_bands(reflectance, product.offset or 0), product)
        more = {"eo:cloud_cover": cloud, "product:type": "S2MSI1C"}
        items.append(item(product.identity, "sentinel-2-l1c", region, TILE_KM, product.acquired, more))
    radar = RadarProduct(
        acquired=datetime(2021, month, 12, 17, 6, number, tzinfo=UTC),
        geometry=geometry_over(region, size),
        sigma_slopes=(0.0, 0.0),
        noise_slopes=(0.0, 0.0),
    )
    write_radar_product(archive / "s1", radar_numbers(radar, seen.sar.values, corner, epsg), radar)
    more = {"sar:instrument_mode": "IW", "sar:polarizations": ["VV", "VH"], "sar:product_type": "GRD"}
    return [*items, item(radar.identity, "sentinel-1-grd", region, RADAR_KM, radar.acquired, more)]


def stored_bands(reflectance: NDArray[np.float32], offset: int) -> dict[str, NDArray[np.uint16]]:
    """Return the integers of each band at its own pixel size."""
    bands = {}
    for band, values in zip(SENTINEL2.bands, to_stored(reflectance, SENTINEL2), strict=True):
        step = PIXEL_M[band] // 10
        rows, columns = (side // step for side in values.shape)
        mean = values.reshape(rows, step, columns, step).mean(axis=(1, 3))
        bands[band] = (np.rint(mean).clip(1) - offset).astype(np.uint16)
    return bands


def radar_lines(size: int) -> int:
    """Return lines and samples of a radar image around a product of a size."""
    return int(size * 1.5) // 8 * 8


def geometry_over(region: SampledRegion, size: int) -> RadarGeometry:
    """Return an orbit whose image has the region in its middle."""
    found = RadarGeometry(longitude=region.longitude, latitude=region.latitude)
    middle = np.array([radar_lines(size) / 2])
    for _ in range(4):
        longitude, latitude = (float(axis[0]) for axis in found.place(middle, middle))
        found = replace(
            found,
            longitude=found.longitude + region.longitude - longitude,
            latitude=found.latitude + region.latitude - latitude,
        )
    return found


def radar_numbers(
    product: RadarProduct, decibels: NDArray[np.float32], corner: tuple[int, int], epsg: int
) -> dict[str, NDArray[np.uint16]]:
    """Return digital numbers whose calibrated backscatter is that of the region, by its nearest pixels."""
    side = radar_lines(decibels.shape[1])
    line, sample = (axis.ravel().astype(float) for axis in np.mgrid[:side, :side])
    longitude, latitude = product.geometry.place(line, sample)
    x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(longitude, latitude)
    last = decibels.shape[1] - 1
    columns = np.floor((x - corner[0]) / 10).astype(int).clip(0, last)
    rows = np.floor((corner[1] - y) / 10).astype(int).clip(0, last)
    power = 10 ** (decibels[:, rows, columns] / 10) * product.sigma(0, 0) ** 2 + product.noise_power
    numbers = np.rint(np.sqrt(power)).clip(1, 65_535).astype(np.uint16).reshape(2, side, side)
    return {"VV": numbers[0], "VH": numbers[1]}


def item(
    name: str,
    collection: str,
    region: SampledRegion,
    size_km: tuple[float, float],
    acquired: datetime,
    more: dict[str, Any],
) -> dict[str, Any]:
    """Return a STAC item with the footprint of a whole product, of which the simulated one is the middle."""
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": collection,
        "geometry": footprint_around(region.longitude, region.latitude, size_km),
        "properties": {"datetime": acquired.isoformat().replace("+00:00", "Z"), **more},
        "assets": {"Product": {"href": f"https://archive.example/{name}", "type": "application/zip"}},
        "links": [],
    }


if __name__ == "__main__":
    main()
