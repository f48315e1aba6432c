"""Error of ``cpu-sample`` on unseen regions against the number of regions it was trained on.

    python proofs/learning_curve.py OUT [--regions 1 3 6 12] [--steps 600]

Every network takes the same number of steps, on patches of 1, 3, ... simulated regions of 768 px, and is tested on 36
patches of four other regions, with ``clear-mean`` and ``scene-adapted`` beside it. An interrupted proof is resumed. The
last line is one JSON object.
"""

import argparse
import json
from pathlib import Path

from cpu_sample import LEARN, UNSEEN, simulated

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import CloudMapSettings
from unclouded.evaluation.scores import score_patches
from unclouded.models.adaptation.scene_adapted import SceneAdapted
from unclouded.models.baselines import baseline
from unclouded.models.remover import CloudRemover
from unclouded.models.weights import load_network
from unclouded.patches.layouts import find_triplets
from unclouded.patches.roi import region_of
from unclouded.prediction.evaluation_source import evaluate_remover
from unclouded.sensors import RGB
from unclouded.simulation.layout import PATCH_PX
from unclouded.tensors.dataset import TripletDataset
from unclouded.training.checkpoint import RunFolder
from unclouded.training.loop import train
from unclouded.training.settings import train_settings


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("out", type=Path)
    words.add_argument("--regions", type=int, nargs="+", default=[1, 3, 6, 12])
    words.add_argument("--steps", type=int, default=600)
    options = words.parse_args()
    learn = simulated(options.out / "learn", LEARN, 128)
    test = find_triplets(simulated(options.out / "test", UNSEEN, PATCH_PX)).triplets
    data = TripletDataset(test, RGB, CloudMapSettings(), ProbabilityCache())
    removers: dict[str, CloudRemover] = {"clear-mean": baseline("clear-mean"), "scene-adapted": SceneAdapted()}
    errors = {name: error(remover, data) for name, remover in removers.items()}
    for regions in options.regions:
        run = trained(options.out / f"regions_{regions}", learn, regions, options.steps)
        errors[f"{regions} regions"] = error(load_network(run.weights), data)
        print(f"{regions} regions: {errors[f'{regions} regions']}", flush=True)
    print(json.dumps({"name": "learning_curve", "steps": options.steps, "cloudy_mae": errors}))


def trained(folder: Path, root: Path, regions: int, steps: int) -> RunFolder:
    """Train on the patches of the first regions."""
    names = [one.name for one in find_triplets(root).triplets]
    chosen = sorted({region_of(name) for name in names}, key=lambda region: int(region.rsplit("_", 1)[1]))[:regions]
    patches = [name for name in names if region_of(name) in chosen]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "patches.txt").write_text("\n".join(patches))
    epochs = -(-steps // len(patches))
    overrides = [
        f"patches={root.resolve()}",
        "split=all",
        f"patch_list={(folder / 'patches.txt').resolve()}",
        f"schedule.epochs_constant={epochs - epochs // 2}",
        f"schedule.epochs_decay={epochs // 2}",
        f"schedule.max_steps={steps}",
        "logging.preview_every=0",
    ]
    run = RunFolder(folder / "run")
    train(train_settings("cpu-sample", overrides), run, resume=run.state.exists())
    return run


def error(remover: CloudRemover, data: TripletDataset) -> float:
    """Return the mean absolute error on cloudy pixels of the product."""
    return round(score_patches(evaluate_remover(remover, data), "kept").mean("cloudy")["mae"], 4)


if __name__ == "__main__":
    main()
