import pytest
import torch

from unclouded.errors import InputError
from unclouded.models.scaling import Scaling
from unclouded.settings import settings_from


def sar(vv: float, vh: float) -> list[float]:
    return Scaling().sar(torch.tensor([vv, vh]).view(1, 2, 1, 1)).flatten().tolist()


def test_radar_is_clipped_to_minus_25_and_0_db_and_the_third_channel_is_the_mean_of_what_is_left() -> None:
    assert sar(-25.0, 0.0) == [-1.0, 1.0, 0.0]
    assert sar(-43.0, -12.5) == [-1.0, 0.0, -0.5]  # the mean of the clipped values, not of the measured ones
    assert sar(5.0, -18.75) == [1.0, -0.5, 0.25]


def test_vh_may_be_clipped_elsewhere_by_value() -> None:
    scaling = Scaling(vh_db=(-32.5, 0.0))
    scaled = scaling.sar(torch.tensor([-12.5, -16.25]).view(1, 2, 1, 1))
    assert scaled.flatten().tolist() == [0.0, 0.0, 0.0]


def test_reflectance_0_to_1_becomes_minus_1_to_1_and_bright_cloud_is_clipped() -> None:
    scaled = Scaling().optical(torch.tensor([0.0, 0.25, 0.5, 1.0, 1.7014]).view(1, 5, 1, 1))
    assert scaled.flatten().tolist() == [-1.0, -0.5, 0.0, 1.0, 1.0]
    assert scaled.dtype == torch.float32


def test_every_stored_number_comes_back() -> None:
    stored = torch.arange(10_001)
    reflectance = (stored.float() / 10_000).view(1, 1, 1, -1)
    scaling = Scaling()
    assert (scaling.reflectance(scaling.optical(reflectance)) * 10_000).round().flatten().long().equal(stored)


def test_another_optical_range_is_undone_by_its_own_inverse() -> None:
    scaling = Scaling(toa_reflectance=(0.0, 0.4))
    assert scaling.optical(torch.full((1, 1, 1, 1), 0.1)).item() == pytest.approx(-0.5)
    assert scaling.reflectance(torch.full((1, 1, 1, 1), -0.5)).item() == pytest.approx(0.1)


def test_a_gradient_passes_where_nothing_is_clipped() -> None:
    db = torch.tensor([-10.0, -30.0]).view(1, 2, 1, 1).requires_grad_()
    Scaling().sar(db)[:, :2].sum().backward()
    assert db.grad is not None
    assert db.grad.flatten().tolist() == pytest.approx([2 / 25, 0.0])


def test_fault_13_no_data_stays_no_data() -> None:
    assert Scaling().sar(torch.tensor([torch.nan, 0.0]).view(1, 2, 1, 1)).isnan().flatten().tolist() == [1, 0, 1]
    assert Scaling().optical(torch.full((1, 1, 1, 1), torch.nan)).isnan().all()


def test_a_range_upside_down_is_refused() -> None:
    with pytest.raises(InputError, match=r"vv_db: expected a lower and a higher value, found 0 and -25"):
        settings_from(Scaling, {"vv_db": [0.0, -25.0]})
