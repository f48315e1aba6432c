"""Output that every benchmark has to print; the benchmarks themselves run with ``make bench``."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

GOOD = {"name": "clouds", "ratio": 62.1, "goal": 30, "runs": 3, "threads": 1}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``benchmarks/__main__.py`` with a folder of its own."""
    source = Path(__file__).parents[1] / "benchmarks" / "__main__.py"
    spec = importlib.util.spec_from_file_location("bench", source)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "HERE", tmp_path)
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results.jsonl")
    return module


def write(folder: Path, name: str, last_line: str) -> None:
    (folder / f"{name}.py").write_text(f"print('a table')\nprint({last_line!r})\n")


def test_the_last_line_of_every_benchmark_is_kept_with_processor_and_date(bench: ModuleType, tmp_path: Path) -> None:
    write(tmp_path, "clouds", json.dumps(GOOD))
    write(tmp_path, "pack", json.dumps({**GOOD, "name": "pack"}))
    write(tmp_path, "__main__", "not a benchmark")
    assert bench.main([]) == 0
    kept = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["name"] for line in kept] == ["clouds", "pack"]
    assert GOOD.items() <= kept[0].items() and {"processor", "date"} <= kept[0].keys()


def test_one_that_fails_does_not_keep_the_others_from_running(
    bench: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.py").write_text("raise SystemExit('no samples')")
    write(tmp_path, "clouds", json.dumps(GOOD))
    write(tmp_path, "table", "median 3 s")
    assert bench.main([]) == 1
    errors = capsys.readouterr().err
    assert "broken: ended with status 1" in errors
    assert "table: expected a JSON object as the last line, found 'median 3 s'" in errors
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("field", ["name", "ratio", "goal", "runs", "threads"])
def test_a_result_with_a_missing_field_is_rejected(bench: ModuleType, field: str) -> None:
    for without in ({k: v for k, v in GOOD.items() if k != field}, {**GOOD, field: None}, {**GOOD, field: True}):
        with pytest.raises(ValueError, match=f"in the last line, {field} is missing"):
            bench.result([json.dumps(without)])


@pytest.mark.parametrize("lines", [[], ["[]\n"], ["3\n"], [json.dumps(GOOD), "done\n"]])
def test_a_last_line_that_is_not_an_object_is_rejected(bench: ModuleType, lines: list[str]) -> None:
    with pytest.raises(ValueError, match="expected"):
        bench.result(lines)


def test_an_unknown_benchmark_is_reported(
    bench: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "clouds", json.dumps(GOOD))
    assert bench.main(["cloud"]) == 2
    assert "cloud is not a benchmark; choose from clouds" in capsys.readouterr().err


def test_the_tables_of_the_page_on_scale_show_the_last_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(__file__).parents[1] / "benchmarks" / "tables" / "tiles.py"
    spec = importlib.util.spec_from_file_location("tiles", source)
    assert spec and spec.loader
    tiles = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiles)
    seconds = dict.fromkeys((*tiles.READING, *tiles.MAPPING), 100.0)
    seconds |= {f"{stage}, {name}": 200.0 for name in tiles.REMOVERS for stage in ("adapt", "clear", "write products")}
    common = {"processor": "simulated", "date": "2026-11-24"}
    stages = {
        "name": "stages",
        "cpu_s_a_tile": seconds,
        "bytes_a_tile": {"in": 2e9, "scene-adapted": 1e9, "network": 1e9, "patches": 15e9},
        "gflop_a_mpx": 1000.0,
        "sizes_px": [600, 1980],
    }
    rates = {kind: {"serially": 4.0, "2 processes": 8.0} for kind in ("trivial", "busy")}
    tasks = {"name": "tasks", "ratio": 2.0, "tasks_a_second": rates, "busy_s": 0.2}
    lines = [stages | common | {"gflop_a_mpx": 1.0}, tasks | common, stages | common]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = tmp_path / "scale.md"
    page.write_text(f"above\n{tiles.MARKS[0]}\nold\n{tiles.MARKS[1]}\nbelow\n")
    monkeypatch.setattr(tiles, "RESULTS", tmp_path / "results.jsonl")
    monkeypatch.setattr(
        "sys.argv", ["tiles.py", str(page), "--tiles", "3600", "--cores", "10", "--mb-a-second", "1000"]
    )
    tiles.main()
    text = page.read_text()
    assert text.startswith("above\n") and text.endswith("\nbelow\n") and "old" not in text
    assert "| **`predict`, network** | **1,100** | **1,100** |" in text  # 5 x 100 s and 3 x 200 s, 3,600 times
    assert "| network | 10 | 1,000 | 110 | 3 | cores: adapt, network |" in text  # 3 GB in 3 s
    assert "7 TB in all" in text and "From one process to two: 2.00 times" in text
    assert "a cloudy tile with margins 166 TFLOP; at 20 TFLOP/s sustained 8 s a tile and 8 hours for 3,600" in text
