from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch

from unclouded.evaluation.pictures import radar_colour, true_colour, write_comparison, write_region_sheet
from unclouded.sensors import RGB
from unclouded.tensors.observation import Observation, Triplet


def test_true_colour_is_red_green_blue_whatever_the_order_of_the_bands() -> None:
    image = torch.tensor([0.03, 0.15, 0.6]).view(1, 3, 1, 1)  # B02, B03, B04
    assert true_colour(image, ("B02", "B03", "B04"))[0, 0].tolist() == pytest.approx([1.0, 0.5, 0.1])


def test_an_image_without_red_green_blue_is_grey() -> None:
    assert true_colour(torch.full((1, 1, 1, 1), 0.15), ("B08",))[0, 0].tolist() == pytest.approx([0.5] * 3)


def test_no_data_is_mid_grey() -> None:
    assert true_colour(torch.full((1, 3, 1, 1), float("nan")), RGB)[0, 0].tolist() == [0.5] * 3


def test_radar_of_minus_11_and_minus_17_db_is_mid_grey_with_a_third_of_blue() -> None:
    assert radar_colour(torch.tensor([-11.0, -17.0]).view(1, 2, 1, 1))[0, 0].tolist() == pytest.approx(
        [0.5, 0.5, 1 / 3]
    )


def test_a_comparison_has_a_row_a_triplet_and_a_column_a_prediction(tmp_path: Path) -> None:
    seen = Observation(torch.zeros(1, 2, 32, 32), torch.zeros(1, 3, 32, 32), torch.zeros(1, 1, 32, 32), RGB)
    triplet = Triplet("one", seen, torch.zeros(1, 3, 32, 32))
    write_comparison(tmp_path / "sheet.png", [(triplet, {"mean": triplet.clear, "network": triplet.clear})] * 2)
    height, width = matplotlib.image.imread(tmp_path / "sheet.png").shape[:2]
    assert width / height == pytest.approx(2.2 * 6 / (2.2 * 2 + 0.55), rel=0.01)


@pytest.mark.parametrize("predictions, columns", [(1, 3), (2, 4), (3, 4)])
def test_a_region_is_drawn_with_every_prediction(tmp_path: Path, predictions: int, columns: int) -> None:
    seen = Observation(torch.zeros(1, 2, 32, 32), torch.zeros(1, 3, 32, 32), torch.zeros(1, 1, 32, 32), RGB)
    images = {f"remover {i}": torch.zeros(1, 3, 32, 32) for i in range(predictions)}
    flat = np.zeros((3, 32, 32), np.float32)
    write_region_sheet(tmp_path / "r.png", seen, images, flat, {"earlier": flat})
    height, width = matplotlib.image.imread(tmp_path / "r.png").shape[:2]
    assert width == pytest.approx(4.8 * columns * 110, abs=2)
    assert height == pytest.approx(10.6 * 110, abs=2)
