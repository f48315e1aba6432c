from pathlib import Path

import pytest

from unclouded.errors import InputError
from unclouded.experiments.architecture import architecture_text, figure_2, figure_3, generator_rows, parameters
from unclouded.models.network import NetworkSettings


def test_table_1_lists_the_layers_of_the_paper() -> None:
    rows = [(row.component, row.repeated, row.layers) for row in generator_rows()]
    assert rows[0] == ("encoder", 1, "C(7 x 7, 64, 1, 3) N R")
    assert rows[3] == ("residual", 9, "C(3 x 3, 256, 1, 1) N R  C(3 x 3, 256, 1, 1) N")
    assert rows[4] == ("decoder", 1, "T(3 x 3, 128, 2, 1) N R")
    assert rows[6:] == [("decoder", 1, "C(7 x 7, 3, 1, 3)"), ("regression", 1, "C(3 x 3, 1, 1, 1)")]


def test_the_numbers_of_parameters_are_those_of_the_paper() -> None:
    expected = {"G_S1->S2": 11_390_751, "G_S2->S1": 11_378_179, "D_S1": 2_764_737, "D_S2": 2_765_761}
    assert parameters() == expected
    assert "G_S1->S2 11,390,751" in architecture_text()


def test_the_table_is_of_the_network_that_is_asked_for() -> None:
    rows = generator_rows(NetworkSettings(bands=("B04", "B03"), width=8))
    assert rows[0].layers == "C(7 x 7, 8, 1, 3) N R" and rows[6].layers == "C(7 x 7, 2, 1, 3)"


def test_figures_2_and_3_are_drawn(tmp_path: Path) -> None:
    figure_2(tmp_path / "2.svg")
    figure_3(tmp_path / "3.svg")
    assert "long skip" in (tmp_path / "3.svg").read_text()
    with pytest.raises(InputError, match=r"ends in \.png"):
        figure_2(tmp_path / "2.doc")
