import torch

from unclouded.experiments.scoring import without_map
from unclouded.models.remover import FunctionRemover
from unclouded.tensors.triplet import Observation


def test_an_ablated_remover_is_shown_m_1_everywhere() -> None:
    shown = FunctionRemover("what it is shown", ("B04",), lambda seen: seen.cloud_map)
    ablated = without_map(shown)
    seen = Observation(torch.zeros(1, 2, 1, 2), torch.zeros(1, 1, 1, 2), torch.tensor([[[[0.0, 0.4]]]]), ("B04",))
    assert torch.equal(ablated(seen), torch.ones(1, 1, 1, 2))
    assert (ablated.name, ablated.bands) == ("what it is shown", ("B04",))
