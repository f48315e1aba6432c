import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.models import vgg16

from unclouded.errors import InputError
from unclouded.evaluation.features import FeatureExtractor, FeatureSettings, PrecisionRecallMeter
from unclouded.evaluation.precision_recall import precision_recall
from unclouded.io.array_cache import ArrayStore
from unclouded.sensors import RGB
from unclouded.tensors.observation import Observation, Triplet
from unclouded.vgg import Vgg16, VggSource

BGR = ("B02", "B03", "B04")


@pytest.fixture(scope="module")
def vgg() -> Vgg16:
    """Simulated weights of all convolutions, with a variance that keeps activations alive."""
    rng = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = {f"features.{name}": tensor.shape for name, tensor in vgg16().features.state_dict().items()}
    state = {
        name: torch.randn(shape, generator=rng) * (2 / (9 * shape[1])) ** 0.5 if len(shape) == 4 else torch.zeros(shape)
        for name, shape in shapes.items()
    }
    return Vgg16(state, VggSource("simulated.pth", "0" * 64))


def settings(**changed: object) -> FeatureSettings:
    return FeatureSettings(**{"side_px": 32, **changed})  # type: ignore[arg-type]


def grey(value: float, bands: int = 3) -> Tensor:
    return torch.full((1, bands, 40, 40), value)


def test_pool5_is_the_mean_over_places_of_the_last_pooling(vgg: Vgg16) -> None:
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    feature = FeatureExtractor(vgg, settings(side_px=64))(image)
    with torch.no_grad():
        pooled = vgg.features((image - vgg.mean) / vgg.std)
    assert pooled.shape == (1, 512, 2, 2)
    torch.testing.assert_close(feature, pooled.mean(dim=(0, 2, 3)))


def test_what_is_brighter_than_the_brightest_is_white_and_black_stays_black(vgg: Vgg16) -> None:
    extract = FeatureExtractor(vgg, settings(brightest=0.25))
    assert extract(grey(0.25)).equal(extract(grey(0.9)))
    assert extract(grey(0.0)).equal(extract(grey(-0.1)))
    torch.testing.assert_close(extract(grey(0.125)), FeatureExtractor(vgg, settings())(grey(0.5)))


def test_a_feature_is_computed_once_a_content_and_a_card(
    vgg: Vgg16, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, pool5 = [], Vgg16.pool5
    monkeypatch.setattr(Vgg16, "pool5", lambda network, rgb: asked.append(1) or pool5(network, rgb))
    store = ArrayStore(tmp_path, 1 << 20)
    first = FeatureExtractor(vgg, settings(), store)
    assert first(grey(0.2)).equal(first(grey(0.2)))
    assert len(asked) == 1
    first(grey(0.3))
    FeatureExtractor(vgg, settings(brightest=0.5), store)(grey(0.2))
    assert len(asked) == 3


def test_the_protocol_contains_layer_weights_resize_stretch_and_normalisation(vgg: Vgg16) -> None:
    protocol = FeatureExtractor(vgg, settings(brightest=0.5)).protocol
    assert protocol["layer"] == "pool5"
    assert protocol["resize"] == "32 x 32 px, bilinear, antialiased"
    assert protocol["stretch"] == [0.0, 0.5]
    assert protocol["normalisation"]["mean"] == [0.485, 0.456, 0.406]
    assert len(protocol["weights_sha256"]) == 64


def test_equal_weights_have_one_hash_whatever_file_they_came_from(vgg: Vgg16) -> None:
    state = dict(vgg.state_dict())
    elsewhere = Vgg16(state, VggSource("elsewhere.pth", "1" * 64))
    state["features.0.bias"] = state["features.0.bias"] + 1e-6
    other = Vgg16(state, VggSource("simulated.pth", "0" * 64))
    hashes = [FeatureExtractor(one, settings()).protocol["weights_sha256"] for one in (vgg, elsewhere, other)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_papers_layer_is_refused_without_its_weights_and_never_replaced(vgg: Vgg16) -> None:
    with pytest.raises(InputError, match=r"fc2 needs VGG16 with its classifier.*give a copy of torchvision's vgg16"):
        FeatureExtractor(vgg, settings(layer="fc2"))


def triplet(name: str, clear: Tensor, bands: tuple[str, ...] = RGB) -> Triplet:
    seen = Observation(torch.full((1, 2, 40, 40), -9.0), clear, torch.ones(1, 1, 40, 40), bands)
    return Triplet(name, seen, clear)


def test_clear_images_are_real_and_predictions_generated(vgg: Vgg16) -> None:
    rng = torch.Generator().manual_seed(2)
    pairs = [(triplet(f"p{i}", torch.rand(1, 3, 40, 40, generator=rng)), grey(0.1 * i)) for i in range(5)]
    extract = FeatureExtractor(vgg, settings())
    meter = PrecisionRecallMeter(extract, k=2, expected=5)
    assert list(meter.watch(pairs)) == pairs
    found = meter.measure()
    real, generated = (torch.stack([extract(pair) for pair in side]) for side in zip(
        *((shown.clear, predicted) for shown, predicted in pairs), strict=True))  # fmt: skip
    expected = precision_recall(real, generated, 2)
    written = found.to_json()
    assert (written["precision"], written["recall"]) == (expected.precision, expected.recall)
    assert (written["n_real"], written["n_generated"], written["k"]) == (5, 5, 2)
    assert list(written["realism"]) == ["p0", "p1", "p2", "p3", "p4"]
    assert written["protocol"]["include_self"] is False
    assert written["weights"] == f"simulated.pth, SHA-256 {'0' * 64}"


def test_an_image_may_count_as_its_own_first_neighbour(vgg: Vgg16) -> None:
    rng = torch.Generator().manual_seed(2)
    pairs = [(triplet(f"p{i}", torch.rand(1, 3, 40, 40, generator=rng)), grey(0.1 * i)) for i in range(5)]
    meters = (PrecisionRecallMeter(FeatureExtractor(vgg, settings()), k, 5, own) for k, own in ((3, True), (2, False)))
    counted, others = ([list(meter.watch(pairs)), meter.measure()][1] for meter in meters)
    assert (counted.scores.precision, counted.scores.recall) == (others.scores.precision, others.scores.recall)
    assert counted.protocol["include_self"] is True


def test_red_green_and_blue_are_found_wherever_they_stand(vgg: Vgg16, monkeypatch: pytest.MonkeyPatch) -> None:
    colours = torch.tensor([0.1, 0.5, 0.9]).view(1, 3, 1, 1).expand(1, 3, 40, 40)
    seen = []

    def feature(_: FeatureExtractor, rgb: Tensor) -> Tensor:
        seen.append(rgb[0, :, 0, 0].tolist())
        return torch.zeros(1)

    monkeypatch.setattr(FeatureExtractor, "__call__", feature)
    list(PrecisionRecallMeter(FeatureExtractor(vgg, settings())).watch([(triplet("p", colours, BGR), colours)]))
    assert seen == [pytest.approx([0.9, 0.5, 0.1])] * 2


def test_fault_13_images_with_holes_are_left_out_by_name(vgg: Vgg16) -> None:
    holed = grey(0.3)
    holed[0, 1, 3, 3] = math.nan
    pairs = [(triplet(f"p{i}", grey(0.1 * i)), holed if i == 1 else grey(0.1 * i)) for i in range(4)]
    meter = PrecisionRecallMeter(FeatureExtractor(vgg, settings()), k=2)
    list(meter.watch(pairs))
    found = meter.measure()
    assert found.left_out == ("p1",)
    assert found.scores.n_real == 3


def test_too_few_patches_are_refused_before_the_work(vgg: Vgg16) -> None:
    with pytest.raises(InputError, match="k = 10 neighbours need more than 10 patches, found 10; lower k"):
        PrecisionRecallMeter(FeatureExtractor(vgg, settings()), expected=10)


def test_features_do_not_depend_on_the_memory_layout(vgg: Vgg16) -> None:
    image = torch.from_numpy(np.random.default_rng(0).random((1, 40, 40, 3), np.float32)).permute(0, 3, 1, 2)
    extract = FeatureExtractor(vgg, settings())
    torch.testing.assert_close(extract(image), extract(image.contiguous()))
