"""scene-adapted on real, georeferenced Sentinel data, from two images to a STAC item and a page to look at.

Three scenes of the samples, 13 bands each:

- winter 112 as it is: a triplet of SEN12MS-CR whose cloudy image has no cloud in it; it must come out as it went in;
- winter 112 under clouds: its clear image under a real cloud that Copy (section III-B.4 of the paper) paints on;
- Spain: radar and clear optics of Sen1Floods11, a day apart, under four such clouds.

Where clouds were painted the truth is the image under them.

    python proofs/real_scene.py OUT

Leaves ``clear.tif``, ``cloud_map.tif``, ``confidence.tif``, ``item.json`` and ``report.html`` in OUT/NAME, and prints
the error that was expected beforehand beside the error that was made.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded import __version__
from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import PAPER, map_clouds
from unclouded.clouds.synthetic import COPY, paint
from unclouded.files import sha256
from unclouded.geotiff import read_stored, write_geotiff
from unclouded.prediction.choice import best_of_scene
from unclouded.prediction.patches import compose
from unclouded.prediction.publishing import publish
from unclouded.prediction.report_facts import Facts, Input
from unclouded.prediction.stac import Product
from unclouded.prediction.views import SceneViews
from unclouded.raster import read, to_stored
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.tensors.dataset import observe

SAMPLES = Path(os.environ.get("UNCLOUDED_SAMPLES", Path(__file__).parents[2] / "shared" / "data"))
BANDS = SENTINEL2.bands
CLOUDS = (
    ("1970_fall", 136, 315),
    ("1158_spring", 26, 840),
    ("1970_fall", 136, 100),
    ("1970_fall", 85, 492),
)
"""Whose clouds lie over the quarters of Spain: season, region, patch."""

PAINTED = ("The clouds were copied onto the image from other places.",)

Image = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Scene:
    """Two images of a place, and what it looks like without clouds."""

    name: str
    sar: Image
    cloudy: Image
    cloud_map: Image
    truth: Image
    geobox: GeoBox
    files: tuple[Path, Path]
    pixel_m: float
    remarks: tuple[str, ...] = ()


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("out", type=Path)
    out = words.parse_args().out
    print("| scene | remover used | m > 0 | expected MAE | made | expected SAM (°) | made |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for scene in (winter_112(), winter_112_painted(), spain()):
        clear(scene, out / scene.name)


def clear(scene: Scene, out: Path) -> None:
    seen = observe(scene.sar, scene.cloudy, scene.cloud_map, BANDS)
    chosen = best_of_scene(BANDS).adapted_to([seen])
    answer, sure = (image[0].numpy() for image in chosen.with_confidence(seen))
    stored = compose(answer, to_stored(scene.cloudy, SENTINEL2), scene.cloud_map)
    write_geotiff(out / "clear.tif", stored, BANDS, scene.geobox, nodata=0)
    write_geotiff(out / "cloud_map.tif", scene.cloud_map[None], ("cloud map m",), scene.geobox)
    write_geotiff(out / "confidence.tif", sure, ("confidence",), scene.geobox, nodata=float("nan"))
    products = {
        "clear": Product(out / "clear.tif", "Without clouds", ("data", "reflectance"), BANDS, 1e-4),
        "cloud_map": Product(out / "cloud_map.tif", "Cloud map m", ("data", "cloud")),
        "confidence": Product(out / "confidence.tif", "Confidence", ("data", "metadata")),
    }
    after = stored.astype(np.float32) / np.float32(SENTINEL2.stored_per_unit)
    rows = [in_rows(image) for image in (scene.cloudy, after, scene.cloud_map[None], sure)]
    sources = zip(("Sentinel-1", "Sentinel-2"), scene.files, strict=True)
    facts = Facts(
        title=scene.name,
        remover=chosen.name,
        bands=BANDS,
        inputs=[Input(role, path.name, sha256(path)) for role, path in sources],
        expected=chosen.expected,
        settings={
            "cloud map": PAPER.model_dump_json(),
            "scene-adapted": best_of_scene().preferred.settings.model_dump_json(),
        },
        remarks=["The date of neither image is known.", *scene.remarks],
        pixel_m=scene.pixel_m,
        version=__version__,
    )
    views = SceneViews(scene.cloud_map.shape, BANDS, rows[0], rows[1], rows[2], rows[3])
    written = datetime.fromtimestamp(scene.files[1].stat().st_mtime, UTC)
    publish(out, scene.geobox, views, products, facts, written)
    tell(scene, chosen.name, chosen.expected, after)


def tell(scene: Scene, name: str, expected: object, after: Image) -> None:
    under = scene.cloud_map > 0
    if not under.any():
        same = np.array_equal(after, scene.cloudy)
        print(f"| {scene.name} | {name} | 0.0 % | – | {'as observed' if same else 'CHANGED'} | – | – |", flush=True)
        return
    x, y = after[:, under].astype(float), scene.truth[:, under].astype(float)
    angle = np.degrees(np.arccos(np.clip((x * y).sum(0) / np.sqrt((x * x).sum(0) * (y * y).sum(0)), -1, 1))).mean()
    row = getattr(expected, "rows", {}).get(name)
    foreseen = (f"{row.mae:.4f}", f"{row.sam:.2f}") if row else ("–", "–")
    made = (f"{np.abs(x - y).mean():.4f}", f"{angle:.2f}")
    share = f"{100 * under.mean():.1f} %"
    print(f"| {scene.name} | {name} | {share} | {foreseen[0]} | {made[0]} | {foreseen[1]} | {made[1]} |", flush=True)


def in_rows(image: Image) -> Callable[[int, int], Image]:
    return lambda top, bottom: image[:, top:bottom]


def winter_112() -> Scene:
    paths = [patch("2017_winter", sensor, 112, 797) for sensor in ("s1", "s2_cloudy", "s2")]
    sar, cloudy, truth = (read(path, kind) for path, kind in zip(paths, (SENTINEL1, SENTINEL2, SENTINEL2), strict=True))
    cloud_map = map_clouds(cloudy.values, BANDS, cache=ProbabilityCache())
    files = (paths[0], paths[1])
    return Scene("winter_112_p797", sar.values, cloudy.values, cloud_map, truth.values, cloudy.geobox, files, 10.0)


def winter_112_painted() -> Scene:
    files = patch("2017_winter", "s1", 112, 797), patch("2017_winter", "s2", 112, 797)
    sar, truth = read(files[0], SENTINEL1).values, read(files[1], SENTINEL2)
    cloud = read(patch("2017_winter", "s2_cloudy", 102, 926), SENTINEL2).values
    cloud_map = map_clouds(cloud, BANDS, cache=ProbabilityCache())
    painted = paint("winter_112_p797", truth.values, BANDS, COPY, cloudy=cloud, cloud_map=cloud_map)
    name = "winter_112_p797_under_clouds"
    return Scene(name, sar, painted.cloudy, cloud_map, truth.values, truth.geobox, files, 10.0, PAINTED)


def spain() -> Scene:
    folder = SAMPLES / "sen1floods11"
    files = folder / "S1" / "Spain_7370579_S1Hand.tif", folder / "S2" / "Spain_7370579_S2Hand.tif"
    sar = read_stored(files[0]).values.astype(np.float32)
    optical = read_stored(files[1])
    truth = optical.values.astype(np.float32) / np.float32(1e4)
    clouds = [read(patch(season, "s2_cloudy", region, number), SENTINEL2).values for season, region, number in CLOUDS]
    maps = [map_clouds(image, BANDS, cache=ProbabilityCache())[None] for image in clouds]
    cloud_map = in_quarters(maps)[0]
    painted = paint("Spain_7370579", truth, BANDS, COPY, cloudy=in_quarters(clouds), cloud_map=cloud_map)
    return Scene("Spain_7370579", sar, painted.cloudy, cloud_map, truth, optical.geobox, files, 10.0, PAINTED)


def patch(season: str, sensor: str, region: int, number: int) -> Path:
    folder = SAMPLES / "sen12mscr" / f"ROIs{season}_{sensor}" / f"{sensor}_{region}"
    return folder / f"ROIs{season}_{sensor}_{region}_p{number}.tif"


def in_quarters(images: list[Image]) -> Image:
    upper, lower = (np.concatenate(images[first : first + 2], axis=2) for first in (0, 2))
    return np.concatenate([upper, lower], axis=1)


if __name__ == "__main__":
    main()
