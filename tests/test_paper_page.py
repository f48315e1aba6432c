"""docs/paper.md: every name in it exists, and no equation, table or figure of the paper is missing."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from unclouded.experiments.rows import find_experiments
from unclouded.training.preset import preset_names

PAGE = Path(__file__).parents[1] / "docs" / "paper.md"
EQUATIONS = (
    "Ŝ2 = tanh", "L_adv", "L_cyc", "L_idt", "L_aux", "L_all", "lr_decay", "F1", "MAE", "RMSE", "PSNR", "SSIM", "SAM",
    "f(φ, Φ)", "precision(Φr, Φg)", "recall(Φr, Φg)",
)  # fmt: skip
"""Left sides of all displayed equations of the paper, in its order."""


def text() -> str:
    return PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(unclouded(?:\.\w+)+)`", text()))))
def test_every_name_exists(name: str) -> None:
    path, found = name.split("."), None
    for depth in range(len(path), 0, -1):
        try:
            found = import_module(".".join(path[:depth]))
        except ModuleNotFoundError:
            continue
        for attribute in path[depth:]:
            found = getattr(found, attribute)
        return
    pytest.fail(f"{name} is no module")


def test_every_equation_table_and_figure_is_listed() -> None:
    rows = [line.split("|")[1].strip() for line in text().splitlines() if line.startswith("| ")]
    for equation in EQUATIONS:
        assert any(row.startswith(equation) for row in rows), equation
    assert {f"Table {number}" for number in ("I", "II", "III", "IV")} <= set(rows)
    assert {f"Fig. {number}" for number in range(1, 10)} <= set(rows)
    for section in ("II-A", "II-B", "II-C", "III-A", "III-B.1", "III-B.2", "III-B.3", "III-B.4", "App. B"):
        assert section in rows, section


def test_every_preset_and_table_folder_exists() -> None:
    assert set(re.findall(r"`unclouded train (\S+) RUN`", text())) <= set(preset_names())
    folder = find_experiments().folder
    assert all((folder / name).is_dir() for name in re.findall(r"`experiments/(table_\d)`", text()))
