"""One scene under random SIGKILL: products are complete or absent, and equal those of an undisturbed run in the end.

A simulated scene is processed undisturbed by ``unclouded predict`` in a separate process. Then it is processed again
and again into another folder, and killed at random times, uniform over the duration of the undisturbed run. After every
kill each product in the folder must equal that of the undisturbed run, byte for byte, and every finished strip of rows
must still exist, unchanged, when the next run ends. A run that ends before its kill is compared and its folder emptied.
After the requested number of kills, a last run is left to end.

    python proofs/scene_kills.py OUT [--kills 20] [--size 900] [--window 64] [--remover sar-regression] [--seed 0]
"""

import json
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

from killing import Command, killed_at_random, words_of
from simulated import write_scene

from unclouded.files import sha256

SUMMARY = "summary.json"


def main() -> None:
    words = words_of(__doc__, kills=20)
    words.add_argument("--size", type=int, default=900)
    words.add_argument("--window", type=int, default=64)
    words.add_argument("--remover", default="sar-regression")
    options = words.parse_args()
    write_scene(options.out, options.size, coverage=0.5)
    straight, killed = (Run(options.out / name, options.remover, options.window) for name in ("straight", "killed"))
    for run in (straight, killed):
        shutil.rmtree(run.folder, ignore_errors=True)
    seconds = straight.command.to_its_end()
    print(f"undisturbed: {seconds:.1f} s", flush=True)
    kill_again_and_again(killed, straight.products(), seconds, options.kills, random.Random(options.seed))


@dataclass(frozen=True)
class Run:
    """Run of ``unclouded predict`` into a folder beside the images."""

    folder: Path
    remover: str
    window: int

    @property
    def command(self) -> Command:
        images = ("--cloudy", self.folder.parent / "s2.tif", "--sar", self.folder.parent / "s1.tif")
        return Command(("predict", self.remover, "--window", str(self.window), *images, "--out", self.folder))

    def products(self) -> dict[str, str]:
        """Return the hashes of all products by name, except the summary, which contains durations."""
        names = [path.name for path in self.folder.glob("[!.]*.tif")] + ["report.html", "item.json"]
        return {name: sha256(self.folder / name) for name in names if (self.folder / name).is_file()}

    def strips(self) -> dict[str, int]:
        """Return the time at which each strip of rows was finished."""
        found = {}
        for path in self.folder.glob(".rows-*/*.strip"):
            found[path.name] = path.stat().st_mtime_ns
        return found

    @property
    def is_done(self) -> bool:
        return (self.folder / SUMMARY).is_file()


def kill_again_and_again(run: Run, expected: dict[str, str], seconds: float, kills: int, rng: random.Random) -> None:
    done = taken_up = ended = 0
    kept: dict[str, int] = {}
    for moment in killed_at_random(run.command.start, seconds, kills, rng):
        if moment is None:
            ended += 1
        else:
            done += 1
            print(f"  kill {done} after {moment:5.2f} s: {progress_of(run)}", flush=True)
        taken_up += check(run, expected, kept)
        if run.is_done:
            shutil.rmtree(run.folder)
        kept = run.strips()
    run.command.to_its_end()
    taken_up += check(run, expected, kept)
    if run.products() != expected or run.strips():
        raise SystemExit(f"the result differs from the undisturbed one: {run.products()}, not {expected}")
    print(f"{done} kills, {ended + 1} runs ended, {taken_up} finished strips taken up, every file as undisturbed")


def progress_of(run: Run) -> str:
    return f"{len(run.strips())} strips, {len(run.products())} products, {'done' if run.is_done else 'not done'}"


def check(run: Run, expected: dict[str, str], kept: dict[str, int]) -> int:
    """Compare the products in the folder; return the number of unchanged strips of earlier runs."""
    found, strips = run.products(), run.strips()
    if wrong := {name for name, digest in found.items() if expected.get(name) != digest}:
        raise SystemExit(f"{wrong} are not whole")
    if run.is_done:
        listed = json.loads((run.folder / SUMMARY).read_text())["files"]
        if found != expected or any(sha256(run.folder / one["file"]) != one["sha256"] for one in listed.values()):
            raise SystemExit(f"done, but holds {found}, not {expected}")
        return len(kept)
    if again := {name for name, when in kept.items() if strips.get(name) != when}:
        raise SystemExit(f"{len(again)} finished strips were lost or computed again")
    return len(kept)


if __name__ == "__main__":
    main()
