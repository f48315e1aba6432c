"""A finished scene with its inputs, whose pixels hold their own row and column."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from unclouded.files import sha256
from unclouded.io.rows import Layer, write_cog
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.viewer.http_server import LocalServer

SHAPE = (640, 600)
GRID = GeoBox(SHAPE, Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32632")
CODES = {f"VALUE_{code}": name for code, name in enumerate(("no data", "observed", "blended", "synthesised"))}


@dataclass(frozen=True)
class ExampleScene:
    """Product folder, and the folder of its inputs."""

    folder: Path
    inputs: Path
    observed: Path
    radar: Path
    truth: Path


def coordinate_bands(count: int, *, plus: int = 0) -> np.ndarray:
    """Stored numbers with 500 + 2 column + 100 band + ``plus`` on the left half, 500 + 3 row + ... on the right."""
    row, column = np.mgrid[: SHAPE[0], : SHAPE[1]]
    ground = np.where(column < 300, 500 + 2 * column, 500 + 3 * row)
    return np.stack([ground + 100 * band + plus for band in range(count)]).astype(np.uint16)


def write_example(parent: Path, name: str = "scene", day: int = 17, plus: int = 0) -> ExampleScene:
    """Write a scene as ``unclouded predict`` does, whose upper 100 rows are cloudy."""
    folder, inputs = parent / "products" / name, parent / "inputs"
    folder.mkdir(parents=True)
    inputs.mkdir(exist_ok=True)
    result, observed = coordinate_bands(13, plus=plus), coordinate_bands(13, plus=plus)
    observed[:, :100] = 9000
    observed[:, 5, 7] = 0
    paths = [inputs / f"{stem}_{name}.tif" for stem in ("s2", "s1", "truth")]
    optical = Layer(SENTINEL2.bands, "uint16", 0, "average", 1e-4, compression="zstd")
    write_cog(folder / "clear.tif", [(0, result)], optical, GRID)
    write_cog(paths[0], [(0, observed)], Layer(SENTINEL2.bands, "uint16", 0), GRID)
    write_cog(paths[2], [(0, result + 10)], Layer(SENTINEL2.bands, "uint16", 0), GRID)
    radar = np.stack([np.full(SHAPE, -10.0), np.full(SHAPE, -17.5)]).astype(np.float32)
    write_cog(paths[1], [(0, radar)], Layer(SENTINEL1.bands, "float32", float("nan")), GRID)
    cloudy = np.zeros((1, *SHAPE), np.float32)
    cloudy[:, :100] = 1.0
    cloudy[:, :10, :10] = np.nan
    write_cog(folder / "cloud_map.tif", [(0, cloudy)], Layer(("cloud map m",), "float32", float("nan")), GRID)
    codes = np.where(cloudy == 1, 3, 1).astype(np.uint8)
    write_cog(folder / "provenance.tif", [(0, codes)], Layer(("provenance",), "uint8", 0, "nearest", tags=CODES), GRID)
    confidence = np.where(cloudy == 1, 62, 255).astype(np.uint8)
    write_cog(folder / "confidence.tif", [(0, confidence)], Layer(("confidence",), "uint8", 255, scale=0.01), GRID)
    (folder / "report.html").write_text("<!doctype html><title>report</title>")
    (folder / "summary.json").write_text(
        json.dumps(
            {
                "cloudy": {"name": paths[0].name, "sha256": sha256(paths[0])},
                "sar": {"name": paths[1].name, "sha256": sha256(paths[1])},
                "references": [{"name": "gone.tif", "sha256": "0" * 64, "sar": None}],
                "settings": {"optical": {"offset": None}, "radar": {"units": "dB"}},
                "scene": {"acquired": f"2020-07-{day}T10:10:31+00:00", "product": f"{name}.SAFE"},
                "radar": {"acquired": "2020-07-18T05:30:00+00:00"},
                "used": "scene-adapted",
                "remarks": ["radar and image are 1 day apart"],
                "pixels": {"observed": 324_000, "synthesised": 60_000},
            }
        )
    )
    return ExampleScene(folder, inputs, *paths)


@contextmanager
def running(server: LocalServer) -> Iterator[LocalServer]:
    """Answer requests in a thread during the block."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


PATCHES = ("ROIs0003_summer_1_p1", "ROIs0003_summer_2_p1", "ROIs0003_summer_2_p2")


def write_patches(root: Path) -> Path:
    """Write a data set of three patches of two regions, with a manifest that has no review."""
    from unclouded.io.geotiff import write_geotiff
    from unclouded.patches.manifest import write_manifest
    from unclouded.patches.roi import PatchId

    rng = np.random.default_rng(1)
    for number, name in enumerate(PATCHES):
        west = 400_000 + 100_000 * (number > 0) + 480 * number
        grid, patch = GeoBox.from_bbox((west, 5_000_000, west + 480, 5_000_480), "EPSG:32632", resolution=10), name
        path = PatchId.parse(patch)
        radar = rng.normal(-12, 2, (2, 48, 48)).astype("f4")
        write_geotiff(root / path.path("s1"), radar, SENTINEL1.bands, grid)
        for token in ("s2", "s2_cloudy"):
            values = rng.integers(15, 3000, (13, 48, 48)).astype(np.uint16)
            write_geotiff(root / path.path(token), values, SENTINEL2.bands, grid)
    rows = [
        {
            "patch": name,
            "status": "kept",
            "roi": str(PatchId.parse(name).roi),
            "season": "summer",
            "findings": [],
            **{token: PatchId.parse(name).path(token).as_posix() for token in ("s1", "s2", "s2_cloudy")},
        }
        for name in PATCHES
    ]
    write_manifest(root / "manifest.parquet", rows)
    return root


def example_scores(maes: dict[str, float], remover: str = "clear-mean") -> dict[str, object]:
    """Scores as ``unclouded evaluate`` writes them, with the MAE of each patch."""

    def area(mae: float) -> dict[str, object]:
        return {"mae": mae, "rmse": 2 * mae, "psnr": None, "ssim": 0.5, "sam": 1.0, "sam_global": 0.1, "pixels": 9}

    return {
        "definition": "unclouded-scores-1",
        "protocol": {"bands": ["B04", "B03", "B02"]},
        "provenance": {"remover": remover},
        "patches": {
            name: {
                "coverage": 0.25,
                "roi": name.rpartition("_")[0],
                **{one: area(mae) for one in ("all", "cloudy", "clear")},
            }
            for name, mae in maes.items()
        },
    }
