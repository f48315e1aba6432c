"""Run the benchmarks one after the other and append the last line of each to ``results.jsonl`` beside this file.

    python benchmarks [NAME ...]         all of them, or the named ones, such as clouds or pack

The last line that a benchmark prints is a JSON object with its name, the ratio of the medians (peer over project), the
target of that ratio, and the numbers of runs and threads. Date and processor are added. The exit status is 1 if a
benchmark failed or printed something else.
"""

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
FIELDS = {"name": str, "ratio": (int, float), "goal": (int, float), "runs": int, "threads": int}


def main(names: list[str]) -> int:
    scripts = {path.stem: path for path in sorted(HERE.glob("*.py")) if not path.name.startswith("__")}
    if unknown := [name for name in names if name not in scripts]:
        print(f"{', '.join(unknown)} is not a benchmark; choose from {' '.join(scripts)}", file=sys.stderr)
        return 2
    failed = []
    for name in names or scripts:
        print(f"== {name}", flush=True)
        try:
            keep(result(run(scripts[name])))
        except ValueError as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed.append(name)
    return 1 if failed else 0


def run(script: Path) -> list[str]:
    """Run a benchmark, show its output, and return the lines."""
    lines = []
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        raise ValueError(f"ended with status {process.returncode}")
    return lines


def result(lines: Iterable[str]) -> dict[str, Any]:
    """Return the JSON object of the last line.

    Raises:
        ValueError: There is none, or one of its fields is missing or of another type.
    """
    *_, last = ["", *lines]
    try:
        found = json.loads(last)
    except json.JSONDecodeError as error:
        raise ValueError(f"expected a JSON object as the last line, found {last.strip()[:80]!r}") from error
    wrong = [name for name, kind in FIELDS.items() if not isinstance(found, dict) or not is_a(found.get(name), kind)]
    if wrong:
        raise ValueError(f"expected the fields {' '.join(FIELDS)} in the last line, {' '.join(wrong)} is missing")
    return dict(found)


def is_a(value: object, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def keep(found: dict[str, Any]) -> None:
    """Append a result."""
    line = {**found, "processor": processor(), "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    with RESULTS.open("a", encoding="utf-8") as kept:
        kept.write(json.dumps(line, ensure_ascii=False) + "\n")


def processor() -> str:
    """Return the processor's name with family and model, as cloud providers use one name for several generations."""
    about = Path("/proc/cpuinfo")
    if not about.is_file():
        return platform.processor() or platform.machine()
    pairs = (line.partition(":") for line in about.read_text(encoding="utf-8").splitlines())
    fields = {key.strip(): value.strip() for key, _, value in pairs}
    numbers = [f"{word} {fields[key]}" for word, key in (("family", "cpu family"), ("model", "model")) if key in fields]
    return ", ".join([fields.get("model name", platform.machine()), *numbers])


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("names", nargs="*", metavar="NAME", help="name of a benchmark; all of them if omitted")
    sys.exit(main(words.parse_args().names))
