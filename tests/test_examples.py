"""Examples of the documentation run unchanged, except for paths."""

import ast
import importlib
import importlib.util
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from products.optical_product import PIXEL_M, OpticalProduct, write_optical_product

import unclouded
from unclouded.experiments.leaderboard import find_entries
from unclouded.io.geotiff import read_stored
from unclouded.models.network import NetworkSettings
from unclouded.models.weights import save_weights
from unclouded.patches.layouts import find_triplets
from unclouded.patches.splits import official_split
from unclouded.sensors import RGB
from unclouded.simulation.layout import simulate_data_set, write_region
from unclouded.simulation.region import simulate_region
from unclouded.tensors.observation import Observation

ROOT = Path(__file__).parents[1]


def python_of(page: str) -> str:
    """Return the first example of a page."""
    return str(re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)[0])


def test_examples_import_public_names_only() -> None:
    pages = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    blocks = [
        block for page in pages for block in re.findall(r"^```\s*python\n(.*?)^```", page.read_text(), re.M | re.S)
    ]
    sources = [*blocks, *(path.read_text() for path in (ROOT / "examples").glob("**/*.py"))]
    imports = [node for source in sources for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in imports if (node.module or "").split(".")[0] == "unclouded"]
    assert ours
    hidden = [
        f"{node.module}.{name.name}"
        for node in ours
        for name in node.names
        if name.name not in getattr(importlib.import_module(str(node.module)), "__all__", ())
    ]
    assert hidden == []


def test_the_example_of_the_library_reads_predicts_writes_and_evaluates(tmp_path: Path) -> None:
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


def test_the_example_of_a_scene_is_better_with_radar_and_best_with_another_date(tmp_path: Path) -> None:
    example = runpy.run_path(str(ROOT / "examples" / "own_scene.py"))
    alone, radar, date = example["main"](tmp_path, 320).values()
    assert 0 < date < radar < alone < 0.05
    assert (tmp_path / "date" / "report.html").is_file()


def test_the_example_of_a_benchmark_trains_and_evaluates_without_a_leak(tmp_path: Path) -> None:
    example = runpy.run_path(str(ROOT / "examples" / "benchmark.py"))
    example["main"](tmp_path, None, 1, 256)
    entries = {entry.name: entry.leak_free for entry in find_entries(tmp_path / "results")}
    assert len(entries) == 4 and set(entries.values()) == {"yes"}


def test_the_network_of_another_author_is_on_the_leaderboard_without_a_leak(tmp_path: Path) -> None:
    root, out, split = tmp_path / "SEN12MS-CR", tmp_path / "out", official_split()
    for part in (split.train, split.test):
        write_region(simulate_region(min(part), np.random.default_rng(0), 256, 0.4), root)
    example = runpy.run_path(str(ROOT / "examples" / "train_unet.py"))
    example["main"](root, out, 1)
    (entry,) = find_entries(out)
    assert (entry.name, entry.leak_free) == ("their U-Net", "yes")
    assert len((out / "patches.txt").read_text().split()) == 1


def test_the_example_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate_data_set(tmp_path / "SEN12MS-CR", seed=0, regions=1, size_px=256)
    (patch,) = find_triplets(tmp_path / "SEN12MS-CR").triplets
    torch.manual_seed(0)
    settings = NetworkSettings(width=1)
    save_weights(tmp_path / "runs" / "mine" / "weights.safetensors", settings.build(), settings, {})
    code = python_of("README.md").replace("/data/", f"{tmp_path}/").replace('split="test"', 'split="all"')
    optical, radar = re.findall(r'"(S[12]A_\S+)"', code)
    monkeypatch.chdir(tmp_path)
    exec(code.replace(optical, str(patch.cloudy)).replace(radar, str(patch.sar)), {})
    clear, mae = capsys.readouterr().out.split()
    assert read_stored(Path(clear)).values.shape == (3, 256, 256) and 0 < float(mae) < 1


def test_the_example_of_the_page_on_products_opens_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bands = {band: np.full((5160 // size, 5160 // size), 1000, np.uint16) for band, size in PIXEL_M.items()}
    code = python_of("docs/products.md")
    (name,) = re.findall(r"S2A_\S+\.SAFE", code)
    write_optical_product(tmp_path, bands, OpticalProduct()).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    seen: dict[str, Any] = {}
    exec(code, seen)
    assert seen["scene"].geobox.shape == (516, 516)


def test_the_example_of_the_page_on_scene_adapted_runs() -> None:
    rng = torch.Generator().manual_seed(0)
    sar, cloudy = -20 * torch.rand(1, 2, 64, 64, generator=rng), torch.rand(1, 3, 64, 64, generator=rng)
    cloud_map = (torch.arange(64) > 32).float().expand(1, 1, 64, 64)
    seen: dict[str, Any] = {"observation": Observation(sar, cloudy, cloud_map, RGB)}
    seen["windows"] = [seen["observation"]]
    exec(python_of("docs/scene-adapted.md"), seen)
    assert torch.equal(seen["answer"], seen["adapted"](seen["observation"]))
    assert seen["confidence"].shape == (1, 1, 64, 64)


def test_the_example_of_a_remover_is_installed_and_evaluated_by_its_name(tmp_path: Path) -> None:
    data, scores, target = tmp_path / "SEN12MS-CR", tmp_path / "scores.json", tmp_path / "site"
    simulate_data_set(data, seed=0, regions=1, size_px=256)
    install(ROOT / "examples" / "my_remover", target)
    search = os.pathsep.join([str(target), str(Path(unclouded.__file__).parents[1])])
    command = [sys.executable, "-m", "unclouded", "evaluate", "radar-classes", data, "--split", "all", "--out", scores]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": search}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 0 < json.loads(scores.read_text())["mean"]["cloudy"]["mae"] < 0.2
    assert len((target / "my_remover.py").read_text().splitlines()) <= 60


def install(source: Path, target: Path) -> None:
    """Install a package of one module: with pip where its build backend is there, else as pip would."""
    if importlib.util.find_spec("hatchling") and importlib.util.find_spec("pip"):
        options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
        command = [sys.executable, "-m", "pip", "install", *options, "--target", target, source]
        subprocess.run(command, check=True, capture_output=True)
        return
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    record = target / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in names.items()) for group, names in groups
    ]
    (record / "entry_points.txt").write_text("\n".join(lines))
    shutil.copy(source / "my_remover.py", target)
