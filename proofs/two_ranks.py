"""Two processes train as one with the double batch: each patch once per epoch, one log, one state, and resumption.

    python proofs/two_ranks.py

Runs on two CPU processes that communicate over loopback (gloo). The last line is one JSON object.
"""

import argparse
import hashlib
import json
import os
import socket
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from resume import ended, tiny_settings

from unclouded.training import loop
from unclouded.training import objectives as learner
from unclouded.training.checkpoint import RunFolder
from unclouded.training.loop import Training, train
from unclouded.training.settings import TrainSettings
from unclouded.training.step import Batch

STEPS = 4
"""Return settings of two epochs of three patches with two per step: in every second step one rank has none."""
BROKEN_AFTER = 2


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = prove(Path(folder))
    print(json.dumps({"name": "two_ranks", **found}))
    return 0 if all(value for value in found.values() if isinstance(value, bool)) else 1


def prove(folder: Path) -> dict[str, Any]:
    options = argparse.Namespace(seed=0, steps=STEPS, store=False, workers=0)
    settings = changed(tiny_settings(folder, options), "schedule", accumulate=1)
    settings = settings.model_copy(
        update={"pool": 0, "paired_percent": 100.0, "subset": 3}
    )  # every rank has its own pool
    two = changed(settings, "device", devices=2)
    port = free_port()
    ranks = [start(two, folder, rank, port) for rank in (0, 1)]
    assert [ended(rank) for rank in ranks] == [0, 0]
    first_gradients(changed(settings, "schedule", batch=2), folder, "one")
    straight, broken = RunFolder(folder / "straight"), RunFolder(folder / "broken")
    seen = [json.loads((folder / f"rank_{rank}.json").read_text()) for rank in (0, 1)]
    epochs = [sorted(seen[0]["patches"][i : i + 2] + seen[1]["patches"][j : j + 1]) for i, j in ((0, 0), (2, 1))]
    apart = {
        name: farthest(*(list(np.load(folder / f"{name}_{who}.npz").values()) for who in ("two", "one")))
        for name in ("even", "uneven")
    }
    return {
        "same_first_weights": seen[0]["first"] == seen[1]["first"],
        "same_last_weights": seen[0]["last"] == seen[1]["last"],
        "every_patch_once_an_epoch": epochs == [straight.patches.read_text().split()] * 2,
        "logged_once": [entry["step"] for entry in straight.read_log()] == list(range(1, STEPS + 1)),
        "saved_by_rank_0_only": seen[0]["saves"] > 0 and seen[1]["saves"] == 0,
        "resumed_to_the_same_bytes": straight.state.read_bytes() == broken.state.read_bytes(),
        "agrees_with_double_batch": max(apart.values()) < 1e-5,
        "gradients_apart": apart,
    }


def changed(settings: TrainSettings, group: str, **values: Any) -> TrainSettings:
    return settings.model_copy(update={group: getattr(settings, group).model_copy(update=values)})


def free_port() -> int:
    """Return a free port below 32768, as systems assign higher ones to other sockets in the meantime."""
    for port in range(20_000 + os.getpid() % 12_000, 32_768):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise SystemExit("no free port")


def start(settings: TrainSettings, folder: Path, rank: int, port: int) -> int:
    """Start one of the two processes, as torchrun does."""
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
    """Train once without and once with an interruption, and record the patches of this rank."""
    first_gradients(settings, folder, "two", writes=rank == 0)
    seen: dict[str, Any] = {"patches": [], "saves": 0}
    watch(seen)
    train(settings, RunFolder(folder / "straight"))
    (folder / f"rank_{rank}.json").write_text(json.dumps(seen))
    train(changed(settings, "schedule", max_steps=BROKEN_AFTER), RunFolder(folder / "broken"))
    train(settings, RunFolder(folder / "broken"), resume=True)


def first_gradients(settings: TrainSettings, folder: Path, who: str, writes: bool = True) -> None:
    """Record the gradients of a first step on two patches, and on one, which leaves a rank without patches.

    Later steps are no measure: Adam amplifies rounding tenfold a step, just as it does when one process adds the two
    patches of its batch the other way round (terms differ by 2e-7 after 1 step, and by 2e-3 after 10).
    """
    add = learner.sum_gradients
    for name, patches in (("even", 2), ("uneven", 1)):
        found: list[np.ndarray] = []

        def watched(fabric: Any, parameters: Any, found: list[np.ndarray] = found) -> None:
            add(fabric, parameters)
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
            found.append(torch.cat([one.flatten() for one in gradients]).numpy())

        learner.sum_gradients = watched
        short = changed(settings, "schedule", max_steps=1).model_copy(update={"subset": patches})
        train(short, RunFolder(folder / f"{name}_{who}"))
        if writes:
            np.savez(folder / f"{name}_{who}.npz", *found)
    learner.sum_gradients = add


def watch(seen: dict[str, Any]) -> None:
    """Record the patches, the weights before and after, and the number of saved states."""
    go, of, save = Training.fit, Batch.of, RunFolder.save_state

    def watched_go(self: Training) -> None:
        seen["first"] = weights_hash(self)
        go(self)
        seen["last"] = weights_hash(self)

    class WatchedBatch(Batch):
        @classmethod
        def of(cls, triplet: Any, *others: Any) -> Batch:
            seen["patches"] += triplet.name.split(", ")
            return of(triplet, *others)

    def watched_save(self: RunFolder, state: Any) -> None:
        seen["saves"] += 1
        save(self, state)

    Training.fit, loop.Batch, RunFolder.save_state = watched_go, WatchedBatch, watched_save  # type: ignore[method-assign]


def weights_hash(training: Training) -> str:
    tensors = [tensor for net in training.objective.networks.values() for tensor in net.state_dict().values()]
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()


def farthest(gradients: list[np.ndarray], others: list[np.ndarray]) -> float:
    """Return the largest relative distance of two gradients, for generators and for discriminators."""
    pairs = zip(gradients, others, strict=True)
    return max(float(np.linalg.norm(one - two) / np.linalg.norm(two)) for one, two in pairs)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
