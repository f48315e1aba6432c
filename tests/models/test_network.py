import pytest
import torch

from unclouded.errors import InputError
from unclouded.models.cyclegan import SarToOptical, initialise
from unclouded.models.network import NetworkRemover, NetworkSettings, operations
from unclouded.models.scaling import Scaling
from unclouded.sensors import RGB, SENTINEL2
from unclouded.settings import settings_from
from unclouded.tensors.observation import Observation


def remover(**settings: object) -> NetworkRemover:
    chosen = settings_from(NetworkSettings, {"width": 2, **settings})
    generator = chosen.build()
    initialise(generator, torch.Generator().manual_seed(0))
    torch.nn.init.normal_(generator.trunk[-1].bias, generator=torch.Generator().manual_seed(1))
    return NetworkRemover(generator, chosen)


def observation(height: int = 16, width: int = 16, bands: tuple[str, ...] = RGB) -> Observation:
    rng = torch.Generator().manual_seed(2)
    sar = -25 * torch.rand(1, 2, height, width, generator=rng)
    cloudy = 1.1 * torch.rand(1, len(bands), height, width, generator=rng)
    return Observation(sar, cloudy, torch.rand(1, 1, height, width, generator=rng), bands)


def straight(network: SarToOptical, seen: Observation) -> torch.Tensor:
    scaling = Scaling()
    with torch.no_grad():
        restored = network(scaling.sar(seen.sar), scaling.optical(seen.cloudy), seen.cloud_map)
    return scaling.reflectance(restored.optical)


def test_a_patch_of_256_px_is_scaled_restored_and_scaled_back() -> None:
    network, seen = remover(), observation(256, 256)
    clear = network(seen)
    assert clear.equal(straight(network.generator, seen))
    assert 0.0 <= clear.min() < clear.max() <= 1.0


def test_other_sizes_are_continued_by_reflection_and_cut_back() -> None:
    network, seen = remover(), observation(30, 17)
    rows = [*range(30), 28, 27]
    columns = [*range(17), 15, 14, 13]
    pad_to_stride = Observation(
        seen.sar[:, :, rows][..., columns],
        seen.cloudy[:, :, rows][..., columns],
        seen.cloud_map[:, :, rows][..., columns],
        RGB,
    )
    assert network(seen).shape == (1, 3, 30, 17)
    assert network(seen).equal(straight(network.generator, pad_to_stride)[..., :30, :17])


def test_bands_are_taken_by_name_wherever_they_lie() -> None:
    network, every = remover(), observation(bands=SENTINEL2.bands)
    assert network(every).equal(network(every.select(RGB)))


def test_its_own_scaling_is_used() -> None:
    narrow = remover(scaling={"toa_reflectance": [0.0, 0.4]})
    assert narrow(observation()).max() <= 0.4


def test_bands_are_spelled_as_the_sensor_spells_them() -> None:
    settings = settings_from(NetworkSettings, {"bands": ["B4", "b3", "B8a"]})
    assert settings.bands == ("B04", "B03", "B8A")
    assert remover(bands=["B8A", "B11"]).bands == ("B8A", "B11")


def test_a_band_no_sensor_has_is_refused() -> None:
    with pytest.raises(InputError, match="bands: B99 is no band of Sentinel-2"):
        settings_from(NetworkSettings, {"bands": ["B99"]})


def test_fault_09_an_observation_without_its_bands_is_refused() -> None:
    with pytest.raises(InputError, match="the bands B04 B03 B02, found B02 B08; use an image that also has B04 B03"):
        remover()(observation(bands=("B02", "B08")))


@pytest.mark.parametrize("image, name", [("sar", "radar"), ("cloudy", "cloudy"), ("cloud_map", "cloud map")])
def test_fault_13_pixels_without_data_are_refused(image: str, name: str) -> None:
    seen = observation()
    getattr(seen, image)[:, 0, 3, 4:6] = torch.nan
    with pytest.raises(InputError, match=f"the {name} image has 2 px without data, expected none"):
        remover()(seen)


def test_gaps_in_bands_it_does_not_use_do_not_matter() -> None:
    seen = observation(bands=SENTINEL2.bands)
    seen.cloudy[:, SENTINEL2.indices("B10")] = torch.nan
    assert remover()(seen).isfinite().all()


def test_fewer_than_8_px_are_refused() -> None:
    assert remover()(observation(8, 8)).shape == (1, 3, 8, 8)
    with pytest.raises(InputError, match="at least 8 x 8 px, found 9 x 7"):
        remover()(observation(9, 7))


def test_answers_carry_no_gradient_and_two_are_alike() -> None:
    network, seen = remover(), observation()
    network.generator.train()
    first = NetworkRemover(network.generator, network.settings)(seen)
    assert not network.generator.training
    assert not first.requires_grad
    assert first.equal(network(seen))


def test_the_operations_are_those_of_the_convolutions() -> None:
    def one(before: int, after: int, taps: int, side: int) -> int:
        return 2 * before * after * taps * side**2

    head = one(7, 64, 49, 256) + one(64, 128, 9, 128) + one(128, 256, 9, 64)
    tail = one(256, 128, 9, 64) + one(128, 64, 9, 128) + one(64, 3, 49, 256)  # the transposed ones work on their input
    assert operations(bands=3, width=64) == head + 18 * one(256, 256, 9, 64) + tail + one(3, 1, 9, 256)
