"""What every benchmark has to print; they themselves run with ``make bench``."""

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
    told = capsys.readouterr().err
    assert "broken: ended with status 1" in told
    assert "table: expected a JSON object as the last line, found 'median 3 s'" in told
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("field", ["name", "ratio", "goal", "runs", "threads"])
def test_a_result_without_one_of_its_fields_is_refused(bench: ModuleType, field: str) -> None:
    for without in ({k: v for k, v in GOOD.items() if k != field}, {**GOOD, field: None}, {**GOOD, field: True}):
        with pytest.raises(ValueError, match=f"in the last line, {field} is missing"):
            bench.result([json.dumps(without)])


@pytest.mark.parametrize("lines", [[], ["[]\n"], ["3\n"], [json.dumps(GOOD), "done\n"]])
def test_a_last_line_that_is_no_object_is_refused(bench: ModuleType, lines: list[str]) -> None:
    with pytest.raises(ValueError, match="expected"):
        bench.result(lines)


def test_a_name_that_is_no_benchmark_is_told(
    bench: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "clouds", json.dumps(GOOD))
    assert bench.main(["cloud"]) == 2
    assert "cloud is no benchmark; choose from clouds" in capsys.readouterr().err
