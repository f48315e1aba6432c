import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from unclouded.models.adaptation.scene_adapted import SceneAdapted, SceneAdaptedSettings
from unclouded.models.baselines import baseline
from unclouded.models.identity import describe_remover, hash_of_tensors
from unclouded.models.network import NetworkRemover, NetworkSettings
from unclouded.models.remover import CloudRemover, FunctionRemover
from unclouded.tensors.observation import Observation


@dataclass(frozen=True)
class Scaled:
    """A remover as a user may write it: with a number, an array, a function, and itself among its attributes."""

    factor: float = 1.0
    table: np.ndarray | None = None
    rule: Callable[[float], float] = abs
    name: str = "scaled"
    bands: tuple[str, ...] = ("B04",)

    def __call__(self, observation: Observation) -> Tensor:
        return observation.cloudy * self.factor


def times(number: float) -> Callable[[Observation], Tensor]:
    return lambda seen: seen.cloudy * number


def other_prior(remover: SceneAdapted) -> SceneAdapted:
    land = {**remover.prior.land, "B04": 0.5}
    return replace(remover, prior=replace(remover.prior, land=land))


ADAPTED = SceneAdapted()
NETWORK = NetworkRemover(NetworkSettings(width=2).build(), NetworkSettings(width=2), precision="float32")
PAIRS: list[tuple[CloudRemover, CloudRemover]] = [
    (baseline("clear-mean"), baseline("sar-regression")),
    (baseline("cloudy"), baseline("cloudy", ("B08",))),
    (ADAPTED, replace(ADAPTED, settings=SceneAdaptedSettings(erosion_px=3))),
    (ADAPTED, other_prior(ADAPTED)),
    (NETWORK, replace(NETWORK, precision="bfloat16")),
    (NETWORK, replace(NETWORK, generator=NetworkSettings(width=2).build())),
    (Scaled(2.0), Scaled(3.0)),
    (Scaled(table=np.zeros(3)), Scaled(table=np.array([0.0, 0.0, 1e-300]))),
    (Scaled(table=np.zeros(3)), Scaled(table=np.zeros((3, 1)))),
    (Scaled(rule=abs), Scaled(rule=round)),
    (FunctionRemover("f", ("B04",), times(2.0)), FunctionRemover("f", ("B04",), times(3.0))),
    (FunctionRemover("f", ("B04",), Scaled(2.0)), FunctionRemover("f", ("B04",), Scaled(3.0))),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_other_settings_tables_or_functions_have_another_description(one: CloudRemover, other: CloudRemover) -> None:
    assert describe_remover(one) == describe_remover(one)
    assert describe_remover(one) != describe_remover(other)


def test_equal_removers_have_one_description_without_an_address_and_it_is_json() -> None:
    one, other = (FunctionRemover("f", ("B04",), times(2.0)) for _ in range(2))
    assert describe_remover(one) == describe_remover(other)
    for remover, _ in PAIRS:
        text = json.dumps(describe_remover(remover))
        assert " at 0x" not in text
        assert len(text) < 2000  # tables of constants are hashes


def test_another_process_finds_the_same_description() -> None:
    code = (
        "import json; from unclouded.models.identity import describe_remover;"
        "from unclouded.models.adaptation.scene_adapted import SceneAdapted;"
        "print(json.dumps(describe_remover(SceneAdapted())))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == describe_remover(ADAPTED)


def test_a_remover_that_contains_itself_is_described_all_the_same() -> None:
    class Circle:
        name, bands = "circle", ("B04",)

        def __call__(self, observation: Observation) -> Tensor:
            return observation.cloudy

    circle = Circle()
    circle.itself = circle  # type: ignore[attr-defined]
    assert describe_remover(circle)["is"].endswith("Circle")


def test_the_description_of_a_baseline_depends_on_the_constants(monkeypatch: pytest.MonkeyPatch) -> None:
    before = describe_remover(baseline("clear-mean"))
    monkeypatch.setattr("unclouded.models.baselines.MIN_CLEAR_SHARE", 0.02)
    assert describe_remover(baseline("clear-mean")) != before


def test_the_hash_of_tensors_is_that_of_their_names_and_bytes_in_order() -> None:
    expected = hashlib.sha256(b"a" + bytes([0, 0, 0x80, 0x3F]) + b"bias" + bytes(4)).hexdigest()
    assert hash_of_tensors({"bias": torch.zeros(()), "a": torch.ones(1)}) == expected
