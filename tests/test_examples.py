"""What the documentation shows runs as it stands; only the places are those of a test."""

import json
import re
import runpy
from pathlib import Path

import pytest
import torch

from unclouded.geotiff import read_stored
from unclouded.models.network import NetworkSettings
from unclouded.models.weights import save_weights
from unclouded.simulation.layout import invent_data_set

ROOT = Path(__file__).parents[1]


def python_of(page: str) -> str:
    """The one example of a page."""
    (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    return str(code)


def test_the_example_of_the_library_reads_clears_writes_and_judges(tmp_path: Path) -> None:
    example = runpy.run_path(str(ROOT / "examples" / "library.py"))
    example["main"](tmp_path)
    assert read_stored(tmp_path / "clear.tif").descriptions == ("B04", "B03", "B02")
    patch, scene = (read_stored(tmp_path / name).values for name in ("clear.tif", "scene/clear.tif"))
    assert patch.shape == scene.shape == (3, 256, 256)
    mae = {
        name: json.loads((tmp_path / f"{name}.json").read_text())["mean"]["cloudy"]["mae"]
        for name in ("sar-regression", "darkest")
    }
    assert 0 < mae["sar-regression"] < mae["darkest"]


def test_the_example_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    invent_data_set(tmp_path / "SEN12MS-CR", seed=0, regions=1, size_px=256)
    torch.manual_seed(0)
    settings = NetworkSettings(width=1)
    save_weights(tmp_path / "runs" / "mine" / "weights.safetensors", settings.build(), settings, {})
    monkeypatch.chdir(tmp_path)
    exec(python_of("README.md").replace("/data/", f"{tmp_path}/"), {})
    name, shape = capsys.readouterr().out.split(" ", 1)
    assert name == "ROIs0000_spring_1_p1" and shape.startswith("torch.Size([1, 3, 256, 256]) 0.")
