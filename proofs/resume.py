"""Training runs killed at random times and resumed end as an undisturbed run.

    python proofs/resume.py [--kills 20] [--steps 60] [--workers 0] [--store] [--seed 0]

Each kill is a SIGKILL or a SIGTERM, at a random time between the start of the process and twice the length of the
undisturbed run's share; then the run is resumed. State, weights and log must be equal, byte for byte, apart from
durations. The last line is one JSON object; the exit status is 1 if a byte differs.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from unclouded.errors import InterruptedRunError
from unclouded.patches.layouts import find_triplets
from unclouded.patches.roi import Roi
from unclouded.patches.splits import parts_by_name
from unclouded.settings import settings_from
from unclouded.simulation.layout import write_region
from unclouded.simulation.region import simulate_region
from unclouded.tensors.dataset import TripletDataset
from unclouded.tensors.packed import pack
from unclouded.training.checkpoint import RunFolder
from unclouded.training.loop import train
from unclouded.training.settings import TrainSettings


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--kills", type=int, default=20)
    words.add_argument("--steps", type=int, default=60)
    words.add_argument("--workers", type=int, default=0)
    words.add_argument("--store", action="store_true", help="train from a packed store, not from GeoTIFFs")
    words.add_argument("--seed", type=int, default=0)
    options = words.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = prove(Path(folder), options)
    print(json.dumps({"name": "resume", **vars(options), **found}))
    return 0 if found["identical"] else 1


def prove(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    settings = tiny_settings(folder, options)
    straight = RunFolder(folder / "straight")
    started = time.monotonic()
    assert ended(start(settings, straight)) == 0
    length = time.monotonic() - started
    chance, statuses, runs = random.Random(options.seed), [], [RunFolder(folder / "killed_0")]
    while len(statuses) < options.kills:
        process = start(settings, runs[-1])
        time.sleep(chance.uniform(0, length))
        number = chance.choice((signal.SIGKILL, signal.SIGTERM))
        os.kill(process, number)
        status = ended(process)
        if status == 0:  # it ended before the signal arrived
            runs.append(RunFolder(folder / f"killed_{len(runs)}"))
        else:
            assert status in {-number, 128 + number}, f"status {status} after signal {number}"
            statuses.append(status)
    assert ended(start(settings, runs[-1])) == 0
    differing = [run.path.name for run in runs if trace(run) != trace(straight)]
    leftovers = [one.name for run in runs for one in run.path.glob(".*partial*")]
    return {
        "seconds": round(length, 2),
        "killed": statuses.count(-signal.SIGKILL),
        "terminated": len(statuses) - statuses.count(-signal.SIGKILL),
        "saved_and_143": statuses.count(128 + signal.SIGTERM),
        "runs": len(runs),
        "identical": not differing and not leftovers,
    }


def tiny_settings(folder: Path, options: argparse.Namespace) -> TrainSettings:
    """Return settings with nine simulated patches, four filters, and image pools that are full after three steps."""
    root = folder / "root"
    region = simulate_region(Roi("ROIs0000", "summer", 1), np.random.default_rng(options.seed), 512, 0.4)
    write_region(region, root)
    content = {
        "patches": str(root),
        "split": "all",
        "crop_px": 48,
        "paired_percent": 50,
        "discriminator_width": 4,
        "pool": 3,
        "clouds": {"mode": "ones"},
        "network": {"width": 4},
        "loss": {"feature": 0, "style": 0},
        "schedule": {
            "epochs_constant": options.steps,
            "epochs_decay": 0,
            "max_steps": options.steps,
            "accumulate": 2,
            "ema_decay": 0.9,
        },
        "logging": {"log_every": 1, "preview_every": 0, "checkpoint_every": 4},
        "device": {"accelerator": "cpu", "workers": options.workers},
    }
    settings = settings_from(TrainSettings, content)
    if not options.store:
        return settings
    inventory = find_triplets(root)
    data = TripletDataset(inventory.triplets, settings.network.bands, settings.clouds)
    pack(data, parts_by_name(inventory), folder / "store")
    return settings.model_copy(update={"patches": folder / "store"})


def start(settings: TrainSettings, run: RunFolder) -> int:
    """Start a process that trains or resumes; return its id."""
    if process := os.fork():
        return process
    try:
        train(settings, run, resume=run.settings.exists())
        os._exit(0)
    except InterruptedRunError as error:
        os._exit(128 + error.signal)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)


def ended(process: int) -> int:
    """Wait for a process; return its exit status, or the negative number of the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def trace(run: RunFolder) -> tuple[bytes, bytes, list[dict[str, Any]]]:
    """Return all outputs of a run that must not depend on kills."""
    log = [{key: value for key, value in entry.items() if key != "seconds"} for entry in run.read_log()]
    return run.state.read_bytes(), run.weights.read_bytes(), log


if __name__ == "__main__":
    sys.exit(main())
