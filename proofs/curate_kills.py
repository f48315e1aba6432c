"""Curation under random SIGKILL: no partial patch is ever visible, and the data set equals that of an undisturbed run.

Simulated regions, one of them damaged, are curated undisturbed by ``unclouded curate`` in a separate process. Then they
are curated into another root, and the command is killed at random times, uniform over the duration of the undisturbed
run. After every kill each file of the root must equal that of the undisturbed run, byte for byte. A run that ends
before its kill is compared, too, and the root is emptied. After the requested number of kills, a last run is left to
end; then the manifest and all files are compared, and no other file may remain.

    python proofs/curate_kills.py OUT [--kills 30] [--regions 4] [--size 640] [--processes 1,2] [--store patches|scenes]
"""

import random
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from affine import Affine
from killing import Command, killed_at_random, words_of
from odc.geo.geobox import GeoBox
from simulated import write_optical, write_radar

from unclouded.files import sha256
from unclouded.patches.roi import Roi
from unclouded.simulation.region import simulate_region

MANIFEST = "manifest.parquet"


def main() -> None:
    words = words_of(__doc__, kills=30)
    words.add_argument("--regions", type=int, default=4)
    words.add_argument("--size", type=int, default=640)
    words.add_argument("--processes", default="1,2")
    words.add_argument("--store", default="patches")
    options = words.parse_args()
    simulate(options.out, options.regions, options.size)
    for processes in options.processes.split(","):
        straight, killed = (Run(options.out / name, processes, options.store) for name in ("straight", "killed"))
        for run in (straight, killed):
            shutil.rmtree(run.root, ignore_errors=True)
        seconds = straight.command.to_its_end()
        print(f"{processes} processes, undisturbed: {seconds:.1f} s, {len(straight.files())} files", flush=True)
        kill_again_and_again(killed, straight.files(), seconds, options.kills, random.Random(options.seed))


@dataclass(frozen=True)
class Run:
    """Run of ``unclouded curate`` into a root beside the images."""

    root: Path
    processes: str
    store: str

    @property
    def command(self) -> Command:
        how = ("--processes", self.processes, "--attempts", "1000", "--set", f"store={self.store}")
        words = ("curate", self.root.parent / "regions.toml", self.root, *how)
        return Command(words, status=1)  # for the damaged region

    def files(self) -> dict[str, str]:
        """Return the hashes of all files of the data set by name; partial files are left out."""
        found = (path.relative_to(self.root) for path in self.root.rglob("*") if path.is_file())
        seen = [path for path in found if not any(part.startswith(".") for part in path.parts)]
        return {path.as_posix(): sha256(self.root / path) for path in seen}

    def unfinished(self) -> list[Path]:
        return [*self.root.rglob("*.partial*"), *self.root.glob(".curation/work/*/*")]


def kill_again_and_again(run: Run, expected: dict[str, str], seconds: float, kills: int, rng: random.Random) -> None:
    done = ended = unfinished = 0
    for moment in killed_at_random(run.command.start, seconds, kills, rng):
        if moment is None:
            ended += 1
        else:
            done += 1
            print(f"  kill {done} after {moment:5.2f} s: {len(run.files())} files", flush=True)
        unfinished += len(run.unfinished())
        if wrong := [name for name, digest in run.files().items() if expected.get(name) != digest]:
            raise SystemExit(f"{len(wrong)} files are not whole, first {wrong[0]}")
        if (run.root / MANIFEST).is_file():
            require_same(run, expected)
            shutil.rmtree(run.root)
    run.command.to_its_end()
    require_same(run, expected)
    print(f"{done} kills, {ended + 1} runs ended, {unfinished} unfinished files cleaned up, every file as undisturbed")


def require_same(run: Run, expected: dict[str, str]) -> None:
    time.sleep(0.5)  # workers exit with their parent
    if run.files() != expected or run.unfinished():
        raise SystemExit(f"the result differs from the undisturbed one, or {run.unfinished()[:3]} left")


def simulate(out: Path, regions: int, size: int) -> None:
    """Write the images of the regions, the radar half a pixel off, and truncate the radar of the last one."""
    out.mkdir(parents=True, exist_ok=True)
    settings = ["coverage = false"]
    for number in range(1, regions + 1):
        roi = Roi("ROIs0000", "summer", number)
        seen = simulate_region(roi, np.random.default_rng([7, number]), size, coverage=0.3)
        names = {key: f"{key}_{number}.tif" for key in ("radar", "clear", "cloudy")}
        grid = seen.sar.geobox
        moved = GeoBox(grid.shape, grid.affine * Affine.translation(0.5, 0.5), grid.crs)
        write_radar(out / names["radar"], replace(seen.sar, geobox=moved))
        for key, image in (("clear", seen.clear), ("cloudy", seen.cloudy)):
            write_optical(out / names[key], image)
        settings += ["[[regions]]", f'roi = "{roi}"', *(f'{key} = "{name}"' for key, name in names.items())]
    cut = out / f"radar_{regions}.tif"
    cut.write_bytes(cut.read_bytes()[:-5000])
    (out / "regions.toml").write_text("\n".join(settings))


if __name__ == "__main__":
    main()
