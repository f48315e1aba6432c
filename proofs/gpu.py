"""Training, inference and evaluation on a graphics card, compared with the CPU; speed and memory of the card.

    python proofs/gpu.py [--no-compile] [--seconds 60]      any CUDA machine, under ten minutes
    python proofs/gpu.py --device cpu                       the same on a CPU, small: a test of the script

Checked are: the loss terms of three steps in float32, equal to the CPU's, and in mixed precision close to them; a
network and its form adapted to a scene; VGG16 features; a run that is interrupted and resumed with the same bytes
(``device.deterministic``); a whole scene by ``predict_scene``. Measured are: the paper's step (width 64, 200 px,
batch 1) in every precision, compiled, and as usually implemented; the memory of a step at batch 1 and 16; windows of a
scene. Random images and random weights of VGG16: nothing is downloaded.

The last line is one JSON object; the exit status is 1 if a check fails, and 2 without a CUDA device.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from resume import tiny_settings
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from peers.plain_step import plain_step

from unclouded.evaluation.features import FeatureExtractor, FeatureSettings
from unclouded.experiments.execution import random_step
from unclouded.io.geotiff import write_geotiff
from unclouded.models.cyclegan import SarToOptical, initialise
from unclouded.models.inference import MARGIN_PX
from unclouded.models.network import NetworkRemover, NetworkSettings
from unclouded.patches.roi import Roi
from unclouded.prediction.scene import SceneSettings, predict_scene
from unclouded.sensors import RGB, SENTINEL1, SENTINEL2
from unclouded.simulation.layout import to_stored
from unclouded.simulation.region import simulate_region
from unclouded.tensors.observation import Observation
from unclouded.training.checkpoint import RunFolder
from unclouded.training.loop import train
from unclouded.training.settings import Compile, Device, Precision, TrainSettings
from unclouded.training.step import build_networks
from unclouded.vgg import Vgg16, VggSource

CLOSE_FLOAT32, CLOSE_MIXED = 1e-3, 0.05
"""Largest relative difference of a loss term in float32 without TF32, and in mixed precision."""
CLOSE_DN, CLOSE_DN_MIXED = 1.0, 200.0
"""Largest difference of a prediction, in reflectance x 10,000."""
CLOSE_FEATURE = 1e-3
"""Largest difference of a feature, relative to its largest value."""
SCENE_PX = 10_980
"""Rows and columns of a Sentinel-2 tile."""
PRECISIONS: tuple[Precision, ...] = ("32-true", "bf16-mixed", "16-mixed")


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    words.add_argument("--no-compile", action="store_true", help="leave out torch.compile and CUDA graphs")
    words.add_argument("--seconds", type=float, default=60, help="longest time of the windows of a scene")
    options = words.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device on this machine; run this on one, or a reduced form with --device cpu", file=sys.stderr)
        return 2
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    proof = Proof(options)
    found: dict[str, Any] = {"name": "gpu", "device": proof.description(), "torch": torch.__version__}
    parts: dict[str, Callable[[], Any]] = {
        "terms": proof.terms,
        "predictions": proof.predictions,
        "features": proof.features,
        "resume": proof.resume,
        "scene": proof.scene,
        "step_seconds": proof.step_seconds,
        "memory_gib": proof.memory,
        "windows": proof.windows,
    }
    for name, part in parts.items():
        started = time.perf_counter()
        found[name] = part()
        print(f"{name}: {found[name]} ({time.perf_counter() - started:.0f} s)", file=sys.stderr, flush=True)
    checks = [found[name]["ok"] for name in ("terms", "predictions", "features", "resume", "scene")]
    print(json.dumps(found | {"ok": all(checks), "seconds": round(time.perf_counter() - proof.started)}))
    return 0 if all(checks) else 1


class Proof:
    """Checks and measurements of one device.

    Args:
        options: Device, and what is left out.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.device, self.options, self.started = options.device, options, time.perf_counter()
        self.small = options.device == "cpu"

    def description(self) -> str:
        if self.device == "cpu":
            return f"cpu ({torch.backends.cpu.get_cpu_capability()}), reduced form"
        major, minor = torch.cuda.get_device_capability()
        return f"{torch.cuda.get_device_name()}, compute capability {major}.{minor}"

    def settings(
        self, device: str, precision: Precision = "32-true", width: int = 16, crop_px: int = 64, **more: Any
    ) -> TrainSettings:
        batch, compiled = more.get("batch", 1), more.get("compile", "off")
        return TrainSettings.model_validate(
            {
                "patches": "random",
                "network": {"width": width},
                "discriminator_width": width,
                "crop_px": crop_px,
                "pool": 0,
                "loss": {"feature": 0, "style": 0},
                "schedule": {"batch": batch},
                "device": Device(accelerator=device, precision=precision, compile=compiled).model_dump(),
            }
        )

    # Checks.

    def terms(self) -> dict[str, Any]:
        """Relative differences of all loss terms to float32 on the CPU: three steps, in mixed precision the first.

        In later steps of ``16-mixed`` the weights differ, as an update is skipped until the scale of the loss suits.
        """
        width = 4 if self.small else 16
        expected = steps(random_step(self.settings("cpu", width=width, batch=2), paired=True), 3)
        found: dict[str, float] = {}
        for precision in PRECISIONS:
            step = random_step(self.settings(self.device, precision, width, batch=2), paired=True)
            found[precision] = difference(expected, steps(step, 3 if precision == "32-true" else 1))
        limits = {precision: CLOSE_FLOAT32 if precision == "32-true" else CLOSE_MIXED for precision in PRECISIONS}
        return {**found, "ok": all(found[precision] <= limits[precision] for precision in PRECISIONS)}

    def predictions(self) -> dict[str, Any]:
        """Largest differences of predictions between device and CPU, in DN, plain and adapted to a scene."""
        seen, found = observation(96), {}
        for name, adapted, limit in (("plain", False, CLOSE_DN), ("adapted", True, CLOSE_DN_MIXED)):
            here, there = (predict(seen, place, adapted=adapted) for place in ("cpu", self.device))
            found[name] = round(float((here - there).abs().max()) * 10_000, 3)
            found[f"{name}_limit"] = limit
        return {**found, "ok": all(found[name] <= found[f"{name}_limit"] for name in ("plain", "adapted"))}

    def features(self) -> dict[str, Any]:
        """Relative difference of VGG16 features between device and CPU, with random weights."""
        image, vgg = observation(96).cloudy, random_vgg16()
        here, there = (
            FeatureExtractor(vgg.to(place), FeatureSettings(layer="pool5"))._computed(image)
            for place in ("cpu", self.device)
        )
        off = float((here - there).abs().max() / here.abs().max())
        return {"difference": off, "ok": off <= CLOSE_FEATURE}

    def resume(self) -> dict[str, Any]:
        """Whether a run that was interrupted and resumed ends with the bytes of one that was not."""
        with tempfile.TemporaryDirectory() as folder:
            few = argparse.Namespace(steps=6, workers=0, seed=0, store=False)
            base = tiny_settings(Path(folder), few)
            device = Device(accelerator=self.device, precision="16-mixed", deterministic=True)
            settings = base.model_copy(update={"device": device})
            short = settings.schedule.model_copy(update={"max_steps": 3})
            straight, broken = RunFolder(Path(folder) / "straight"), RunFolder(Path(folder) / "broken")
            train(settings, straight)
            train(settings.model_copy(update={"schedule": short}), broken)
            train(settings, broken, resume=True)
            same = straight.state.read_bytes() == broken.state.read_bytes()
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = self.device == "cuda"
        return {"same_bytes": same, "precision": "16-mixed", "ok": same}

    def scene(self) -> dict[str, Any]:
        """A whole scene through ``predict_scene`` on the device, compared with the CPU."""
        side = 256 if self.small else 1024
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            region = simulate_region(Roi("ROIs0000", "summer", 1), np.random.default_rng(0), side, 0.4)
            cloudy, sar = folder / "cloudy.tif", folder / "sar.tif"
            write_geotiff(cloudy, to_stored(region.cloudy.values, SENTINEL2), SENTINEL2.bands, region.cloudy.geobox)
            write_geotiff(sar, region.sar.values, SENTINEL1.bands, region.sar.geobox)
            window = SceneSettings(window_px=512)
            seconds, images = {}, []
            for name, place in (("cpu", "cpu"), ("device", self.device)):
                started = time.perf_counter()
                out = predict_scene(remover(place, 8), cloudy, sar, folder / name, window)
                seconds[name] = round(time.perf_counter() - started, 1)
                images.append(stored(out.files["clear"]))
        off = np.abs(images[0] - images[1]).max()
        return {"px": side, "seconds": seconds, "largest_difference_dn": int(off), "ok": bool(off <= CLOSE_DN_MIXED)}

    # Measurements.

    def step_seconds(self) -> dict[str, Any]:
        """Median seconds of the paper's step; the last entry divides the usual step by the fastest one."""
        width, crop_px = (4, 32) if self.small else (64, 200)
        modes: tuple[Compile, ...] = ("off",) if self.small or self.options.no_compile else ("off", "default")
        if len(modes) == 2:
            modes = (*modes, "reduce-overhead")
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True  # torch's own choice
        found = {"usual, 32-true": measured(self.usual_step(width, crop_px))}
        for precision in PRECISIONS:
            for mode in modes if precision == "bf16-mixed" else ("off",):
                name = precision if mode == "off" else f"{precision}, compile = {mode}"
                step = random_step(self.settings(self.device, precision, width, crop_px, compile=mode), paired=False)
                found[name] = measured(step)
        found["ratio"] = round(found["usual, 32-true"] / min(found.values()), 2)
        return found | {"width": width, "crop_px": crop_px}

    def usual_step(self, width: int, crop_px: int) -> Callable[[], Any]:
        rng = torch.Generator().manual_seed(1)
        images = tuple(torch.rand(1, n, crop_px, crop_px, generator=rng).to(self.device) for n in (3, 3, 3, 1))
        networks = build_networks(NetworkSettings(width=width), width, torch.Generator().manual_seed(0))
        return plain_step([one.state_dict() for one in networks.named().values()], width, images)

    def memory(self) -> dict[str, float] | str:
        """Largest memory of a step with pairs, in GiB, by precision and batch."""
        if self.device == "cpu":
            return "only on a graphics card"
        found = {}
        for precision in PRECISIONS:
            for batch in (1, 16):
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
                try:
                    step = random_step(self.settings("cuda", precision, 64, 200, batch=batch), paired=True)
                    step()
                    step()
                    found[f"{precision}, batch {batch}"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
                except torch.OutOfMemoryError:
                    found[f"{precision}, batch {batch}"] = float("nan")
                step = None  # its memory is free for the next one
        return found

    @torch.inference_mode()
    def windows(self) -> dict[str, Any]:
        """Seconds of the windows of a Sentinel-2 tile with the paper's network; extrapolated if they take too long."""
        width, side = (8, 256) if self.small else (64, 1024)
        total = (-(-SCENE_PX // side)) ** 2
        seen = observation(side + 2 * MARGIN_PX)
        adapted = remover(self.device, width).adapt([observation(256)])
        adapted(seen)
        seconds: list[float] = []
        while len(seconds) < (3 if self.small else total) and sum(seconds) < self.options.seconds:
            started = time.perf_counter()
            adapted(seen)  # its result is on the CPU, so that the device has finished
            seconds.append(time.perf_counter() - started)
        return {
            "window_px": side,
            "width": width,
            "windows_of_a_tile": total,
            "measured": len(seconds),
            "seconds_a_window": round(median(seconds), 4),
            "seconds_a_tile": round(median(seconds) * total, 1),
        }


def steps(step: Callable[[], dict[str, float]], count: int) -> list[dict[str, float]]:
    return [step() for _ in range(count)]


def difference(expected: list[dict[str, float]], found: list[dict[str, float]]) -> float:
    """Return the largest relative difference of any term of any step; NaN terms have to be NaN in both."""
    pairs = [(one[name], other[name]) for one, other in zip(expected, found, strict=False) for name in one]
    return max(abs(a - b) / max(abs(a), 1e-3) for a, b in pairs if not (np.isnan(a) and np.isnan(b)))


def measured(step: Callable[[], Any]) -> float:
    """Return the median seconds of steps after the first three, which compile and allocate."""
    for _ in range(3):
        step()
    return round(median(timed(step)), 4)


def timed(step: Callable[[], Any], most: int = 20, longest_s: float = 15.0) -> Iterator[float]:
    """Yield the seconds of up to 20 steps, as many as fit into a quarter of a minute."""
    began = time.perf_counter()
    for _ in range(most):
        started = time.perf_counter()
        step()
        yield time.perf_counter() - started
        if time.perf_counter() - began > longest_s:
            return


def observation(side: int) -> Observation:
    rng = torch.Generator().manual_seed(2)
    sar = torch.rand(1, 2, side, side, generator=rng) * 20 - 25
    cloudy, cloud_map = (torch.rand(1, channels, side, side, generator=rng) for channels in (3, 1))
    return Observation(sar, cloudy, cloud_map.round(), RGB)


def remover(device: str, width: int = 16) -> NetworkRemover:
    generator = SarToOptical(3, width)
    initialise(generator, torch.Generator().manual_seed(0))
    return NetworkRemover(generator.to(device), NetworkSettings(width=width))


def predict(seen: Observation, device: str, *, adapted: bool) -> Tensor:
    network = remover(device)
    return (network.adapt([seen]) if adapted else network)(seen)


def random_vgg16() -> Vgg16:
    from torchvision.models import vgg16

    torch.manual_seed(0)
    return Vgg16(vgg16().features.state_dict(prefix="features."), VggSource("random", "0"))


def stored(path: Path) -> np.ndarray:
    import rasterio

    with rasterio.open(path) as file:
        return np.asarray(file.read(), dtype=np.int64)


if __name__ == "__main__":
    sys.exit(main())
