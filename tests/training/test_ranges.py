import pytest
import torch

from unclouded.errors import InputError
from unclouded.models.scaling import Scaling
from unclouded.tensors.triplet import Observation, Triplet
from unclouded.training.ranges import require_ranges


def patch(vv: float = -10.0, vh: float = -17.0, clear: float = 0.1) -> Triplet:
    """One value everywhere."""
    sar = torch.tensor([vv, vh]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    seen = Observation(sar, torch.full((1, 3, 4, 4), 0.8), torch.ones(1, 1, 4, 4), ("B04", "B03", "B02"))
    return Triplet("one", seen, torch.full((1, 3, 4, 4), clear))


def test_decibels_and_reflectance_pass() -> None:
    require_ranges([patch()], Scaling())


def test_fault_15_linear_power_is_refused_by_band() -> None:
    with pytest.raises(InputError, match=r"radar VV of the first patches: .*median 0.2; expected dB .*linear power\?"):
        require_ranges([patch(vv=0.2)], Scaling())


def test_radar_below_the_clip_is_refused_unless_the_scaling_reaches_it() -> None:
    with pytest.raises(InputError, match=r"radar VH .*median -28; expected dB between -25 and 0; .*network.scaling"):
        require_ranges([patch(vh=-28.0)], Scaling())
    require_ranges([patch(vh=-28.0)], Scaling(vh_db=(-32.5, 0.0)))


def test_fault_17_digital_numbers_and_reflectance_stored_as_such_are_refused() -> None:
    with pytest.raises(InputError, match=r"clear images .*median 900; expected reflectance between 0 and 1"):
        require_ranges([patch(clear=900.0)], Scaling())
    with pytest.raises(InputError, match=r"clear images .*median 1e-05; expected reflectance; stored without"):
        require_ranges([patch(clear=1e-5)], Scaling())


@pytest.mark.parametrize(("dark", "of"), [(1, 3), (8, 10)])
def test_dark_patches_among_others_are_open_water(dark: int, of: int) -> None:
    require_ranges([patch(vv=-30.0, vh=-35.0, clear=0.0005)] * dark + [patch()] * (of - dark), Scaling())


def test_dark_patches_nearly_everywhere_are_another_unit() -> None:
    with pytest.raises(InputError, match="radar VV of the first patches"):
        require_ranges([patch(vv=-30.0)] * 15 + [patch()], Scaling())  # 94 %
