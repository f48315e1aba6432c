"""Cost of all land tiles: tables of docs/scale.md from the last results of ``stages`` and ``tasks``.

    python benchmarks stages tasks                    measures and stores the results in results.jsonl
    python benchmarks/tables/tiles.py docs/scale.md   writes the tables between the marks of the page
    python benchmarks/tables/tiles.py [--tiles 18952] [--cores 2 64 1024] [--mb-a-second 125 1250] [--tflops 20]

Hours of graphics processors are an estimate: the operations of the generator divided by ``--tflops``, the assumed
sustained rate; none was measured.
"""

import argparse
import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results.jsonl"
MARKS = "<!-- made by benchmarks/tables/tiles.py -->", "<!-- end -->"
TILE_PX, TILES = 10_980, 18_952
MARGIN = (1 + 2 * 88 / 1024) ** 2
"""Factor of the area of a window of 1024 px with its margins."""
READING = ("hash both products", "read Sentinel-2", "read Sentinel-1, terrain")
MAPPING = ("map clouds", "compare radar and optics")
REMOVERS = ("scene-adapted", "network")


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("page", type=Path, nargs="?")
    words.add_argument("--tiles", type=int, default=TILES)
    words.add_argument("--cores", type=int, nargs="+", default=[2, 64, 1024])
    words.add_argument("--mb-a-second", type=float, nargs="+", default=[125.0, 1250.0])
    words.add_argument("--tflops", type=float, default=20.0)
    options = words.parse_args()
    stages, tasks = last("stages"), last("tasks")
    parts = [stage_table(stages, options.tiles), bytes_line(stages, options.tiles), scale_table(stages, options)]
    text = "\n\n".join([*parts, gpu_line(stages, options), task_table(tasks)])
    print(text)
    if options.page:
        page = options.page.read_text(encoding="utf-8")
        (before, _, rest), (_, _, after) = page.partition(MARKS[0]), page.partition(MARKS[1])
        if not rest:
            raise SystemExit(f"{options.page} has no line {MARKS[0]}")
        options.page.write_text(f"{before}{MARKS[0]}\n\n{text}\n\n{MARKS[1]}{after}", encoding="utf-8")


def last(name: str) -> dict[str, Any]:
    lines = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()] if RESULTS.is_file() else []
    found = [line for line in lines if line["name"] == name]
    if not found:
        raise SystemExit(f"{RESULTS.name} has no {name}; run: python benchmarks {name}")
    return dict(found[-1])


def stages_of(found: dict[str, Any], remover: str) -> dict[str, float]:
    """Return the seconds of ``predict`` by stage, from products to products, with terrain correction."""
    seconds: dict[str, float] = found["cpu_s_a_tile"]
    own = [stage for stage in seconds if stage.endswith(f", {remover}")]
    return {stage: seconds[stage] for stage in (*READING, *MAPPING, *own)}


def stage_table(found: dict[str, Any], tiles: int) -> str:
    sizes_text = "measured on {} and {}".format(*found["sizes_px"])
    lines = [
        f"Processor time of one thread, {found['processor']}, {found['date']}; {sizes_text} px.",
        "",
        f"| stage | CPU s a tile | CPU hours, {tiles:,} tiles |",
        "|---|---:|---:|",
    ]
    for stage, seconds in found["cpu_s_a_tile"].items():
        lines.append(f"| {stage} | {seconds:,.0f} | {seconds * tiles / 3600:,.0f} |")
    for remover in REMOVERS:
        seconds = sum(stages_of(found, remover).values())
        lines.append(f"| **`predict`, {remover}** | **{seconds:,.0f}** | **{seconds * tiles / 3600:,.0f}** |")
    return "\n".join(lines)


def bytes_line(found: dict[str, Any], tiles: int) -> str:
    sizes = found["bytes_a_tile"]
    parts = [f"{sizes['in'] / 1e9:.2f} GB in (both products, {sizes['in'] * tiles / 1e12:,.0f} TB in all)"]
    parts += [f"{sizes[name] / 1e9:.2f} GB out by {name} ({sizes[name] * tiles / 1e12:,.1f} TB)" for name in REMOVERS]
    return f"Bytes of a tile: {', '.join(parts)}; {sizes['patches'] / 1e9:.1f} GB of patches if all are kept."


def scale_table(found: dict[str, Any], options: argparse.Namespace) -> str:
    """Return the hours for all tiles by cores and rates, and the limiting resource."""
    lines = ["| remover | cores | MB/s in and out | hours of cores | hours of transfer | bottleneck |"]
    lines.append("|---|---:|---:|---:|---:|---|")
    for remover in REMOVERS:
        stages, sizes = stages_of(found, remover), found["bytes_a_tile"]
        costliest = max(stages, key=lambda stage: stages[stage])
        for cores in options.cores:
            for rate in options.mb_a_second:
                computing = sum(stages.values()) * options.tiles / cores / 3600
                transfer = (sizes["in"] + sizes[remover]) * options.tiles / (rate * 1e6) / 3600
                bottleneck = f"cores: {costliest}" if computing > transfer else "transfer"
                lines.append(
                    f"| {remover} | {cores:,} | {rate:,.0f} | {computing:,.0f} | {transfer:,.0f} | {bottleneck} |"
                )
    return "\n".join(lines)


def gpu_line(found: dict[str, Any], options: argparse.Namespace) -> str:
    tflop = found["gflop_a_mpx"] * TILE_PX**2 / 1e6 * MARGIN / 1e3
    seconds = tflop / options.tflops
    return (
        f"GPUs, **estimated, not measured**: the generator takes {found['gflop_a_mpx'] / 1e3:.2f} "
        f"TFLOP for a million pixels, a cloudy tile with margins {tflop:,.0f} TFLOP; at {options.tflops:g} TFLOP/s "
        f"sustained {seconds:,.0f} s a tile and {seconds * options.tiles / 3600:,.0f} hours for {options.tiles:,} "
        "tiles if all of them are cloudy; everything else runs on CPUs."
    )


def task_table(found: dict[str, Any]) -> str:
    rates = found["tasks_a_second"]
    lines = [f"| tasks a second, {found['date']} | without work | with {found['busy_s']} s of processor time |"]
    lines.append("|---|---:|---:|")
    lines += [f"| {way} | {rates['trivial'][way]:.0f} | {rates['busy'][way]:.2f} |" for way in rates["trivial"]]
    return "\n".join([*lines, "", f"From one process to two: {found['ratio']:.2f} times as many."])


if __name__ == "__main__":
    main()
