"""Real, georeferenced Sentinel data through ``unclouded predict``: from two files to a STAC item and an HTML report.

Three scenes of the samples, 13 bands each, without weights:

- winter 112 as it is: a triplet of SEN12MS-CR whose cloudy image is cloud-free and must stay unchanged;
- winter 112 under clouds: its clear image under a real cloud added by Copy (section III-B.4 of the paper);
- Spain: radar and clear optical image of Sen1Floods11, a day apart, under four such clouds.

With added clouds, the truth is the image under them. The command gets the files only and maps the clouds itself.

    python proofs/real_scene.py OUT

Writes the products of the command to OUT/NAME, and prints the expected error beside the actual error for m > 0, the
share of the added cloud that the map missed, and the shift of the radar.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pystac
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import cloud_map
from unclouded.clouds.synthetic import COPY, paint
from unclouded.io.geotiff import read_stored, write_geotiff
from unclouded.io.raster import describe_grid, read, to_stored
from unclouded.sensors import SENTINEL2

SAMPLES = Path(os.environ.get("UNCLOUDED_SAMPLES", Path(__file__).parents[2] / "shared" / "data"))
BANDS = SENTINEL2.bands
CLOUDS = (
    ("1970_fall", 136, 315),
    ("1158_spring", 26, 840),
    ("1970_fall", 136, 100),
    ("1970_fall", 85, 492),
)
"""Whose clouds lie over the quarters of Spain: season, region, patch."""

Image = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Scene:
    """Two files of a place; with added clouds, also the image under them and their mask."""

    name: str
    sar: Path
    cloudy: Path
    truth: Image
    painted: Image | None = None


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("out", type=Path)
    out = words.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    print("| scene | remover used | m > 0 | expected MAE | made | expected SAM (°) | made | missed | radar lies off |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---|")
    for scene in (winter_112(), winter_112_painted(out), spain(out)):
        command = [sys.executable, "-m", "unclouded", "predict", "--cloudy", str(scene.cloudy), "--sar", str(scene.sar)]
        subprocess.run([*command, "--out", str(out / scene.name), "--bands", "all"], check=True, capture_output=True)
        report(scene, out / scene.name)


def report(scene: Scene, folder: Path) -> None:
    """Check that files, item and input agree, and print one line of the table."""
    summary = json.loads((folder / "summary.json").read_text())
    item = pystac.Item.from_file(str(folder / "item.json"))
    observed, clear, m = (read_stored(path) for path in (scene.cloudy, folder / "clear.tif", folder / "cloud_map.tif"))
    assert describe_grid(clear.geobox) == describe_grid(observed.geobox)
    assert set(item.assets) == set(summary["files"]) - {"item"}
    assert item.geometry is not None
    made = m.values[0] > 0
    assert np.array_equal(clear.values[:, ~made], observed.values[:, ~made])
    cells = [scene.name, summary["used"] if made.any() else "–", f"{100 * made.mean():.1f} %"]
    print(f"| {' | '.join([*cells, *errors(scene, summary, clear.values, made), off(summary['fit'])])} |", flush=True)


def errors(scene: Scene, summary: dict[str, Any], clear: NDArray[Any], made: NDArray[np.bool_]) -> list[str]:
    """Return the expected error, the actual error, and the missed share of the cloud."""
    if not made.any():
        return ["–", "as observed", "–", "–", "–"]
    x = clear[:, made].astype(np.float64) / SENTINEL2.stored_per_unit
    y = scene.truth[:, made].astype(np.float64)
    angle = np.degrees(np.arccos(np.clip((x * y).sum(0) / np.sqrt((x * x).sum(0) * (y * y).sum(0)), -1, 1))).mean()
    row = (summary["expected_error"] or {"rows": {}})["rows"].get(summary["used"])
    foreseen = (f"{row['mae']:.4f}", f"{row['sam']:.2f}") if row else ("–", "–")
    missed = "–" if scene.painted is None else f"{100 * (~made)[scene.painted > 0].mean():.1f} %"
    return [foreseen[0], f"{np.abs(x - y).mean():.4f}", foreseen[1], f"{angle:.2f}", missed]


def off(fit: dict[str, Any]) -> str:
    """Return the shift of the radar, if it is known."""
    sure = "" if fit["shift_confident"] else ", not confident"
    return f"{fit['shift_right_px']:+.2f}, {fit['shift_down_px']:+.2f} px{sure}" if fit["shift_blocks"] else "–"


def winter_112() -> Scene:
    sar, cloudy, clear = (patch("2017_winter", sensor, 112, 797) for sensor in ("s1", "s2_cloudy", "s2"))
    return Scene("winter_112_p797", sar, cloudy, read(clear, SENTINEL2).values)


def winter_112_painted(out: Path) -> Scene:
    truth = read(patch("2017_winter", "s2", 112, 797), SENTINEL2)
    cloud = read(patch("2017_winter", "s2_cloudy", 102, 926), SENTINEL2).values
    sar = patch("2017_winter", "s1", 112, 797)
    return under_clouds(out, "winter_112_p797_under_clouds", sar, truth.values, truth.geobox, cloud, mapped(cloud))


def spain(out: Path) -> Scene:
    folder = SAMPLES / "sen1floods11"
    optical = read_stored(folder / "S2" / "Spain_7370579_S2Hand.tif")
    truth = optical.values.astype(np.float32) / np.float32(SENTINEL2.stored_per_unit)
    clouds = [read(patch(season, "s2_cloudy", region, number), SENTINEL2).values for season, region, number in CLOUDS]
    sar = folder / "S1" / "Spain_7370579_S1Hand.tif"
    cloud, cloud_map = in_quarters(clouds), in_quarters([mapped(image)[None] for image in clouds])[0]
    return under_clouds(out, "Spain_7370579", sar, truth, optical.geobox, cloud, cloud_map)


def under_clouds(out: Path, name: str, sar: Path, truth: Image, place: GeoBox, cloud: Image, cloud_map: Image) -> Scene:
    """Add a cloud to a clear image and write the result."""
    painted = paint(name, truth, BANDS, COPY, cloudy=cloud, cloud_map=cloud_map)
    cloudy = out / f"{name}_s2.tif"
    write_geotiff(cloudy, to_stored(painted.cloudy, SENTINEL2), BANDS, place, nodata=0)
    return Scene(name, sar, cloudy, truth, cloud_map)


def mapped(image: Image) -> Image:
    return cloud_map(image, BANDS, cache=ProbabilityCache())


def patch(season: str, sensor: str, region: int, number: int) -> Path:
    folder = SAMPLES / "sen12mscr" / f"ROIs{season}_{sensor}" / f"{sensor}_{region}"
    return folder / f"ROIs{season}_{sensor}_{region}_p{number}.tif"


def in_quarters(images: list[Image]) -> Image:
    upper, lower = (np.concatenate(images[first : first + 2], axis=2) for first in (0, 2))
    return np.concatenate([upper, lower], axis=1)


if __name__ == "__main__":
    main()
