"""Other dates as references: errors on two series with radar, and on 30 dates of one patch of SEN12MS-CR-TS.

``series``: two places, Sentinel-2 L2A at 20 m with Sentinel-1 (samples ``series``). A date that is clear by eye gets
the cloud mask (Sen2Cor classes) of another date, shifted and mirrored; what it hides is predicted from the visible
ground, radar and all other dates at least 0, 11, 41 or 81 days away, 15 cases each by place. ``single``: the same with
one reference only. ``rome``: 48 pairs of a clear date and the cloud map of a partly cloudy one, 13 bands, no radar.
``targets``: its partly cloudy dates with three references against the nearest clear date, as in ``unclouded evaluate
ROOT --references 3``.

The hidden truth is used for scores only, and the second granule of a date is left out of its references.

    python proofs/references.py OUT [--cases 60]

Prints tables, and writes ``references.json`` and ``references.jpg`` to OUT. ``all gaps`` are the cases without a
restriction and from 11 days on, in equal parts.
"""

import argparse
import csv
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.ndimage import uniform_filter

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import cloud_map
from unclouded.evaluation.pictures import true_colour
from unclouded.files import write_json
from unclouded.io.geotiff import read_stored
from unclouded.models.baselines import baseline
from unclouded.models.references.baselines import reference_baseline
from unclouded.models.references.remover import AdaptedToReferences, ReferenceRemover
from unclouded.sensors import RGB, SENTINEL2
from unclouded.tensors.observation import Observation, Reference

SAMPLES = Path(os.environ.get("UNCLOUDED_SAMPLES", Path(__file__).parents[2] / "shared" / "data"))
PLACES = ("31UDS", "31UES_526140_5669560")
GAPS = (0, 11, 41, 81)
"""Least days between a case and its references."""
CLEAR_CLASSES = (4, 5, 6, 7)
PICTURED = slice(5, 48, 17)
"""Cases of the picture."""
RADAR_DAYS = 12.0


@dataclass(frozen=True)
class Stack:
    """Dates of one place.

    Attributes:
        place: Name.
        bands: Optical bands.
        dates: Dates of acquisition.
        images: Reflectance.
        is_clear: Clear pixels by the mask.
        by_eye: Dates that are clear by eye.
        radar: VV and VH of about each date, dB; NaN without.
    """

    place: str
    bands: tuple[str, ...]
    dates: list[date]
    images: NDArray[np.float32]
    is_clear: NDArray[np.bool_]
    by_eye: NDArray[np.bool_]
    radar: NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """An observation with hidden ground.

    Attributes:
        place: Name of the place.
        gap: Least days to the references.
        observation: Input.
        truth: Reflectance.
        hidden: Pixels to score.
    """

    place: str
    gap: int
    observation: Observation
    truth: torch.Tensor
    hidden: torch.Tensor

    def with_references(self, references: Sequence[Reference]) -> "Case":
        return replace(self, observation=replace(self.observation, references=tuple(references)))


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("out", type=Path)
    words.add_argument("--cases", type=int, default=60, help="cases of each place of the series")
    words.add_argument("--only", choices=("series", "single", "rome", "targets", "picture"), help="one part")
    args = words.parse_args()
    written: dict[str, Any] = {}
    for name, part in (("series", series), ("single", single), ("rome", rome), ("targets", targets)):
        if args.only in (None, name):
            written[name] = part(args.cases)
    write_json(args.out / "references.json", written)
    if args.only in (None, "picture"):
        write_sheet(args.out / "references.jpg", list(rome_cases())[PICTURED])


def series(count: int) -> dict[str, Any]:
    """Errors with all dates as references, relative to clear-mean, by least day gap."""
    results = {}
    for place in PLACES:
        stack = read_series(place)
        scores = score_cases(list(cases(stack, count)), removers(stack.bands))
        by_eye = score_cases(list(cases(stack, count, only_by_eye=True)), removers(stack.bands)[-1:])
        scores["dates chosen by eye"] = by_eye["reference-adapted"]
        results[place] = show_by_gap(f"{place}: MAE relative to clear-mean", scores)
    return results


def single(count: int) -> dict[str, Any]:
    """Share of cases in which one reference makes the answer worse than none, by its day gap."""
    results: dict[str, Any] = {}
    for place in PLACES:
        stack, worse = read_series(place), defaultdict(list)
        for case in cases(stack, count):
            nearest = sorted(case.observation.references, key=lambda one: days_apart(case, one))
            shown = [one for one in nearest if clear_share(one, case.hidden) > 0.9][:1]
            if not shown or not (group := gap_group(days_apart(case, shown[0]))):
                continue
            remover = ReferenceRemover(stack.bands)
            none, one = (remover(c.observation) for c in (case.with_references(()), case.with_references(shown)))
            copied = reference_baseline("reference-copy", stack.bands)(case.with_references(shown).observation)
            worse[group].append([error(case, image)["mae"] for image in (none, one, copied)])
        results[place] = {}
        table = Table("days", "cases", "none", "one", "copy", "one worse than none", "copy worse", title=place)
        for group, rows in sorted(worse.items()):
            none_, one_, copy_ = np.array(rows).T
            shares = float((one_ > none_).mean()), float((copy_ > none_).mean())
            means = [float(each.mean()) for each in (none_, one_, copy_)]
            table.add_row(group, str(len(rows)), *(f"{x:.4f}" for x in means), *(f"{x:.1%}" for x in shares))
            results[place][group] = {"none": means[0], "one": means[1], "copy": means[2], "worse": shares[0]}
        Console(width=140).print(table)
    return results


def rome(_: int) -> dict[str, Any]:
    """Errors on 13 bands without radar, against baselines; and by day gap to the nearest reference."""
    found = list(rome_cases())
    scores = score_cases(found, removers(SENTINEL2.bands))
    table = Table("", "MAE", "RGB", "SAM (°)", "expected/true", title=f"SEN12MS-CR-TS, {len(found)} cases")
    for name, rows in scores.items():
        claimed = [row["claimed"] for row in rows if "claimed" in row]
        ratio = f"{np.mean(claimed) / np.mean([row['mae'] for row in rows]):.2f}" if claimed else ""
        table.add_row(name, *(f"{np.mean([row[key] for row in rows]):.4f}" for key in ("mae", "rgb", "sam")), ratio)
    Console(width=140).print(table)
    gaps = Table("least days", *scores, title="MAE by least day gap")
    curve = {}
    for gap in (0, 31, 61, 121):
        by_gap = score_cases(list(rome_cases(gap))[::4], removers(SENTINEL2.bands))
        curve[gap] = {name: float(np.mean([row["mae"] for row in rows])) for name, rows in by_gap.items()}
        gaps.add_row(str(gap), *(f"{value:.4f}" for value in curve[gap].values()))
    Console(width=140).print(gaps)
    means = {name: {k: float(np.mean([r[k] for r in rows])) for k in rows[0]} for name, rows in scores.items()}
    return {"means": means, "by_gap": curve}


def targets(_: int) -> dict[str, Any]:
    """Errors against another date, beside those of the clear ground of the cloudy date, which no remover changes."""
    found = list(target_cases())
    scores = score_cases(found, [("clear ground as observed", observed), *removers(SENTINEL2.bands)])
    for case, row in zip(found, scores["clear ground as observed"], strict=True):
        seen = replace(case, hidden=~case.observation.is_cloudy[0, 0])
        row |= error(seen, observed(case.observation))
    means = {
        name: {key: float(np.mean([row[key] for row in rows])) for key in ("mae", "rgb")}
        for name, rows in scores.items()
    }
    table = Table("", "MAE", "RGB", title=f"{len(found)} dates against the nearest clear date")
    for name, row in means.items():
        table.add_row(name, *(f"{value:.4f}" for value in row.values()))
    Console(width=140).print(table)
    return means


def observed(seen: Observation) -> torch.Tensor:
    return seen.cloudy


# Cases.


def read_series(place: str) -> Stack:
    root = SAMPLES / "series" / place
    rows, passes = (list(csv.DictReader((root / name).open())) for name in ("dates.csv", "radar.csv"))
    times = [datetime.fromisoformat(row["time_utc"]) for row in rows]
    files = [read_stored(root / "s2" / f"{row['name']}.tif") for row in rows]
    classes = np.stack([read_stored(root / "scl" / f"{row['name']}.tif").values[0] for row in rows])
    radar = np.stack([read_stored(root / "s1" / f"{row['name']}.tif").values for row in passes])
    radar_times = [datetime.fromisoformat(row["time_utc"]) for row in passes]
    return Stack(
        place,
        tuple(str(name) for name in files[0].descriptions),
        [time.date() for time in times],
        np.stack([file.values.astype(np.float32) / np.float32(1e4) for file in files]),
        np.isin(classes, CLEAR_CLASSES),
        np.array([row["by_eye"] == "clear" for row in rows]),
        np.stack([radar_about(time, radar_times, radar) for time in times]),
    )


def radar_about(time: datetime, times: list[datetime], radar: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of the passes within 12 days and of 3 x 3 pixels."""
    near = [abs((other - time).total_seconds()) <= RADAR_DAYS * 86_400 for other in times]
    return np.asarray(uniform_filter(radar[near].mean(axis=0), (0, 3, 3), mode="nearest"), dtype=np.float32)


def cases(stack: Stack, count: int, *, only_by_eye: bool = False) -> Iterator[Case]:
    """Cases of a place, the same in every run."""
    rng = np.random.default_rng(0)
    share = stack.is_clear.mean(axis=(1, 2))
    masks = np.flatnonzero((share >= 0.2) & (share <= 0.85))
    targets = np.flatnonzero(stack.by_eye)
    order = np.concatenate([rng.permutation(targets) for _ in range(-(-count // len(targets)))])
    for number, target in enumerate(order[:count].tolist()):
        mask = ~stack.is_clear[rng.choice(masks)]
        mask = np.roll(mask, tuple(rng.integers(0, 32, 2).tolist()), (0, 1))[
            :: rng.choice([-1, 1]), :: rng.choice([-1, 1])
        ]
        gap = GAPS[number % len(GAPS)]
        usable = [
            k
            for k, day in enumerate(stack.dates)
            if abs((day - stack.dates[target]).days) >= max(gap, 1) and share[k] > 0.05
        ]
        if only_by_eye:
            usable = [k for k in usable if stack.by_eye[k]]
        yield make_case(stack, target, mask, usable, gap)


def make_case(stack: Stack, target: int, mask: NDArray[np.bool_], usable: list[int], gap: int) -> Case:
    hidden = mask & stack.is_clear[target]
    cloudy = np.where(
        hidden, np.float32(0.9), np.where(stack.is_clear[target], stack.images[target], np.float32(np.nan))
    )
    has_radar = bool(np.isfinite(stack.radar[target]).any())
    references = tuple(
        Reference(
            stack.dates[k].isoformat(),
            stack.dates[k],
            tensor(stack.images[k]),
            tensor(~stack.is_clear[k][None]),
            tensor(stack.radar[k]) if has_radar else None,
        )
        for k in usable
    )
    observation = Observation(
        tensor(stack.radar[target]), tensor(cloudy), tensor(mask[None]), stack.bands,
        date=stack.dates[target], references=references,
    )  # fmt: skip
    return Case(stack.place, gap, observation, tensor(stack.images[target]), torch.from_numpy(hidden))


def rome_stack() -> tuple[Stack, NDArray[np.float32]]:
    """Return the 30 dates of one patch, and their cloud maps."""
    files = sorted((SAMPLES / "timeseries").glob("*.tif"), key=lambda path: path.stem.split("_")[5])
    images = np.stack([read_stored(path).values.astype(np.float32) / np.float32(1e4) for path in files])
    dates = [date.fromisoformat(path.stem.split("_")[5]) for path in files]
    maps = np.stack([cloud_map(image, SENTINEL2.bands, cache=ProbabilityCache()) for image in images])
    share = (maps > 0).mean(axis=(1, 2))
    nothing = np.full((len(files), 2, *images.shape[2:]), np.nan, np.float32)
    stack = Stack("rome", SENTINEL2.bands, dates, images, maps == 0, share < 0.2, nothing)
    return stack, maps


def rome_cases(gap: int = 0) -> Iterator[Case]:
    """48 pairs of a clear date (m > 0 on less than 20 %) and the map of a partly cloudy one."""
    stack, maps = rome_stack()
    share = (maps > 0).mean(axis=(1, 2))
    clear, partly = np.flatnonzero(share < 0.2), np.flatnonzero((share >= 0.2) & (share < 0.995))
    pairs = [(target, mask) for target in clear.tolist() for mask in partly.tolist()][::2][:48]
    for target, mask in pairs:
        usable = [
            k
            for k, day in enumerate(stack.dates)
            if abs((day - stack.dates[target]).days) >= max(gap, 1) and share[k] < 0.95
        ]
        yield make_case(stack, target, maps[mask] > 0, usable, gap)


def target_cases() -> Iterator[Case]:
    """Each partly cloudy date (mean of m 10 to 90 %), the nearest clear date, and the three others nearest to it."""
    stack, maps = rome_stack()
    coverage = maps.mean(axis=(1, 2))
    for today in np.flatnonzero((coverage > 0.1) & (coverage < 0.9)).tolist():
        by_gap = sorted(range(len(maps)), key=lambda k: abs((stack.dates[k] - stack.dates[today]).days))[1:]
        target = next(k for k in by_gap if coverage[k] < 0.02)
        case = make_case(stack, today, maps[today] > 0, [k for k in by_gap if k != target][:3], 0)
        seen = replace(case.observation, cloudy=tensor(stack.images[today]))
        yield replace(
            case, observation=seen, truth=tensor(stack.images[target]), hidden=torch.from_numpy(maps[today] > 0)
        )


def tensor(array: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))[None]


def days_apart(case: Case, reference: Reference) -> int:
    assert case.observation.date is not None
    assert reference.date is not None
    return abs((reference.date - case.observation.date).days)


def clear_share(reference: Reference, where: torch.Tensor) -> float:
    return float(reference.is_clear[0, 0][where].double().mean())


def gap_group(days: int) -> str | None:
    groups = {"1-10": (0, 10), "11-40": (11, 40), "41-80": (41, 80), "81-200": (81, 200)}
    return next((name for name, (low, high) in groups.items() if low <= days <= high), None)


# Scores.


Answer = Callable[[Observation], Any]


def removers(bands: tuple[str, ...]) -> list[tuple[str, Answer]]:
    names = ("reference-copy", "reference-regression", "median", "geomedian")
    found: list[tuple[str, Answer]] = [("clear-mean", plain_mean)]
    found += [(name, reference_baseline(name, bands)) for name in names]
    found.insert(4, ("median, 45 days", median_of_45_days(bands)))
    return [*found, ("reference-adapted", adapted(ReferenceRemover(bands)))]


def plain_mean(seen: Observation) -> torch.Tensor:
    return baseline("clear-mean", seen.bands)(seen)


def median_of_45_days(bands: tuple[str, ...]) -> Answer:
    def answer(seen: Observation) -> torch.Tensor:
        assert seen.date is not None
        near = tuple(one for one in seen.references if one.date and abs((one.date - seen.date).days) <= 45)
        return reference_baseline("median", bands)(replace(seen, references=near))

    return answer


def adapted(remover: ReferenceRemover) -> Answer:
    def answer(seen: Observation) -> tuple[torch.Tensor, torch.Tensor]:
        fitted = remover.adapt([seen])
        assert isinstance(fitted, AdaptedToReferences)
        predicted = fitted.predict(seen)
        return predicted.clear, predicted.error

    return answer


def score_cases(found: list[Case], compared: list[tuple[str, Answer]]) -> dict[str, list[dict[str, float]]]:
    scores: dict[str, list[dict[str, float]]] = {name: [] for name, _ in compared}
    for case in found:
        for name, answer in compared:
            result = answer(case.observation)
            image, claimed = result if isinstance(result, tuple) else (result, None)
            row = error(case, image) | {"gap": float(case.gap)}
            if claimed is not None:
                row["claimed"] = float(claimed[0, 0][case.hidden].mean())
            scores[name].append(row)
    return scores


def error(case: Case, image: torch.Tensor) -> dict[str, float]:
    x, y = image[0][:, case.hidden].double(), case.truth[0][:, case.hidden].double()
    cosine = (x * y).sum(dim=0) / (x.norm(dim=0) * y.norm(dim=0))
    bands = case.observation.bands
    rgb = [bands.index(band) for band in RGB if band in bands]
    return {
        "mae": float((x - y).abs().mean()),
        "rgb": float((x - y)[rgb].abs().mean()) if len(rgb) == 3 else float("nan"),
        "sam": float(torch.rad2deg(cosine.clamp(-1, 1).arccos()).mean()),
    }


def show_by_gap(title: str, scores: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Print and return errors relative to clear-mean, and how the claimed error fits."""
    groups = {"all gaps": lambda g: g < 20, ">= 40 d": lambda g: g > 40, ">= 80 d": lambda g: g > 80}
    groups |= {f"from {gap} d": (lambda g, at=gap: g == at) for gap in GAPS}
    table, results = Table("", *groups, "RGB", "expected/true", "correlation", title=title), {}
    base = scores["clear-mean"]
    for name, rows in scores.items():
        gaps = np.array([row["gap"] for row in rows])
        mae, without = (np.array([row["mae"] for row in each]) for each in (rows, base))
        ratios = {key: float(mae[chosen(gaps)].mean() / without[chosen(gaps)].mean()) for key, chosen in groups.items()}
        rgb = float(np.mean([row["rgb"] for row in rows if row["gap"] < 20]))
        cells, results[name] = [f"{rgb:.4f}"], ratios | {"rgb": rgb}
        if "claimed" in rows[0]:
            claimed = np.array([row["claimed"] for row in rows])
            fit = float(claimed.mean() / mae.mean()), float(np.corrcoef(claimed, mae)[0, 1])
            cells += [f"{fit[0]:.2f}", f"{fit[1]:.2f}"]
            results[name] |= {"claimed": fit[0], "correlation": fit[1]}
        table.add_row(name, *(f"{value:.3f}" for value in ratios.values()), *cells)
    Console(width=140).print(table)
    return results


def write_sheet(path: Path, found: list[Case]) -> None:
    """Write today with hidden ground, the nearest reference, the geometric median, the result, and the truth."""
    bands = SENTINEL2.bands
    columns = {
        "today, ground hidden": lambda case: case.observation.cloudy,
        "nearest date as it is": lambda case: reference_baseline("reference-copy", bands)(case.observation),
        "geometric median of the year": lambda case: reference_baseline("geomedian", bands)(case.observation),
        "reference-adapted": lambda case: ReferenceRemover(bands)(case.observation),
        "truth": lambda case: case.truth,
    }
    figure = Figure(figsize=(2.6 * len(columns), 2.6 * len(found) + 0.3), layout="constrained")
    axes = figure.subplots(len(found), len(columns), squeeze=False)
    for line, case in zip(axes, found, strict=True):
        for axis, (name, image) in zip(line, columns.items(), strict=True):
            axis.imshow(true_colour(image(case), bands, brightest=0.22))
            axis.set_axis_off()
            if case is found[0]:
                axis.set_title(name, fontsize=10)
    figure.savefig(path, dpi=110, pil_kwargs={"quality": 88})


if __name__ == "__main__":
    main()
