"""Two processes train as one with the double batch, see every patch once an epoch, log and save once, and resume.

    python proofs/two_ranks.py

Runs on two CPU processes that talk over loopback (gloo). The last line is one JSON object.
"""

import argparse
import hashlib
import json
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from resume import ended, tiny_settings

from unclouded.clouds.map import CloudMapSettings
from unclouded.models.weights import load_remover
from unclouded.patches.layouts import find_triplets
from unclouded.sensors import RGB
from unclouded.tensors.dataset import TripletDataset
from unclouded.training import loop
from unclouded.training.loop import Training, train
from unclouded.training.run import RunFolder
from unclouded.training.settings import TrainSettings
from unclouded.training.step import Batch

STEPS = 10
"""Two epochs of nine patches, two at a time."""
BROKEN_AFTER = 3


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = prove(Path(folder))
    print(json.dumps({"name": "two_ranks", **found}))
    return 0 if all(value for value in found.values() if isinstance(value, bool)) else 1


def prove(folder: Path) -> dict[str, Any]:
    options = argparse.Namespace(seed=0, steps=STEPS, store=False, workers=0)
    settings = changed(tiny_settings(folder, options), "schedule", accumulate=1)
    settings = settings.model_copy(update={"pool": 0, "paired_percent": 100.0})  # a pool is each rank's own
    two = changed(settings, "device", devices=2)
    port = free_port()
    ranks = [begun(two, folder, rank, port) for rank in (0, 1)]
    assert [ended(rank) for rank in ranks] == [0, 0]
    one = RunFolder(folder / "one")
    train(changed(settings, "schedule", batch=2), one)
    straight, broken = RunFolder(folder / "straight"), RunFolder(folder / "broken")
    seen = [json.loads((folder / f"rank_{rank}.json").read_text()) for rank in (0, 1)]
    epochs = [sorted(seen[0]["patches"][i : i + 5] + seen[1]["patches"][j : j + 4]) for i, j in ((0, 0), (5, 4))]
    terms, predictions = terms_apart(straight, one), predictions_apart(straight, one, folder / "root")
    return {
        "same_first_weights": seen[0]["first"] == seen[1]["first"],
        "same_last_weights": seen[0]["last"] == seen[1]["last"],
        "every_patch_once_an_epoch": epochs == [straight.patches.read_text().split()] * 2,
        "logged_once": [entry["step"] for entry in straight.read_log()] == list(range(1, STEPS + 1)),
        "saved_by_rank_0_only": seen[0]["saves"] > 0 and seen[1]["saves"] == 0,
        "resumed_to_the_same_bytes": straight.state.read_bytes() == broken.state.read_bytes(),
        "agrees_with_double_batch": max(terms, predictions) < 1e-4,
        "largest_relative_difference_of_terms": terms,
        "largest_difference_of_reflectance": predictions,
    }


def changed(settings: TrainSettings, group: str, **values: Any) -> TrainSettings:
    return settings.model_copy(update={group: getattr(settings, group).model_copy(update=values)})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def begun(settings: TrainSettings, folder: Path, rank: int, port: int) -> int:
    """Start one of the two processes, as torchrun does it."""
    if process := os.fork():
        return process
    try:
        place = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
        os.environ |= {key: str(value) for key, value in place.items()}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "proof"}
        trained(settings, folder, rank)
        os._exit(0)
    except BaseException as error:
        print(f"rank {rank}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)


def trained(settings: TrainSettings, folder: Path, rank: int) -> None:
    """Train once straight and once with a break, and write down what this rank saw."""
    seen: dict[str, Any] = {"patches": [], "saves": 0}
    watch(seen)
    train(settings, RunFolder(folder / "straight"))
    (folder / f"rank_{rank}.json").write_text(json.dumps(seen))
    train(changed(settings, "schedule", max_steps=BROKEN_AFTER), RunFolder(folder / "broken"))
    train(settings, RunFolder(folder / "broken"), resume=True)


def watch(seen: dict[str, Any]) -> None:
    """Note the patches, the weights before and after, and how often a state is saved."""
    go, of, save = Training.go, Batch.of, RunFolder.save_state

    def watched_go(self: Training) -> None:
        seen["first"] = weights_hash(self)
        go(self)
        seen["last"] = weights_hash(self)

    class WatchedBatch(Batch):
        @classmethod
        def of(cls, triplet: Any, paired: Any, scaling: Any) -> Batch:
            seen["patches"] += triplet.name.split(", ")
            return of(triplet, paired, scaling)

    def watched_save(self: RunFolder, state: Any) -> None:
        seen["saves"] += 1
        save(self, state)

    Training.go, loop.Batch, RunFolder.save_state = watched_go, WatchedBatch, watched_save  # type: ignore[method-assign]


def weights_hash(training: Training) -> str:
    tensors = [tensor for net in training.objective.networks.values() for tensor in net.state_dict().values()]
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()


def terms_apart(run: RunFolder, other: RunFolder) -> float:
    """Largest relative difference of any logged term of any step."""
    apart = 0.0
    for one, two in zip(run.read_log(), other.read_log(), strict=True):
        assert one.keys() == two.keys()
        for name, value in one.items():
            if value is not None and name != "seconds" and not name.endswith("accuracy"):  # accuracies jump
                apart = max(apart, abs(value - two[name]) / (abs(two[name]) + 1e-3))
    return apart


def predictions_apart(run: RunFolder, other: RunFolder, root: Path) -> float:
    """Largest difference of the two removers' reflectance on a patch.

    Weights are no measure: Adam drives the biases in front of instance norms, which have no effect, by rounding errors.
    """
    data = TripletDataset(find_triplets(root).triplets, RGB, CloudMapSettings(mode="ones"))
    one, two = (load_remover(folder.weights)(data[0].observation) for folder in (run, other))
    return float((one - two).abs().max())


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
