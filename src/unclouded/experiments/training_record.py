"""Which patches taught the network that judged which: the evidence for "leak-free", beside the scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from unclouded.errors import InputError
from unclouded.experiments.rows import Row, SizeSettings
from unclouded.experiments.runs import Part
from unclouded.files import read_small, write_json
from unclouded.patches.identity import region_of
from unclouded.strict_json import read_json

NAME = "training.json"
MAX_BYTES = 64 << 20
Answer = Literal["yes", "no", "unknown"]


def write_training_record(folder: Path, row: Row, parts: Sequence[Part], size: SizeSettings) -> None:
    """Write, for each training of a row, the patches it learnt from and those it judges, each with its region."""
    content = [
        {
            "run": part.run.path.name,
            "learnt": {} if row.settings.remover else _regions(_learnt(part), size.regions),
            "judged": _regions([files.name for files in part.test], size.regions),
        }
        for part in parts
    ]
    write_json(folder / NAME, {"parts": content})


def _learnt(part: Part) -> list[str]:
    return part.run.patches.read_text(encoding="utf-8").split()


def _regions(names: Sequence[str], known: Mapping[str, str]) -> dict[str, str]:
    return {name: known.get(name) or region_of(name) for name in names}


def leak_free(folder: Path, judged: Sequence[str]) -> tuple[Answer, str]:
    """Say whether a network had seen a region of the patches it was judged on, and how that is known.

    Args:
        folder: Of the scores; ``training.json`` of ``unclouded reproduce`` or ``patches.txt`` of a run tells.
        judged: Names of the patches.
    """
    if (folder / NAME).is_file():
        parts = _parts(folder / NAME)
    elif (folder / "patches.txt").is_file():
        learnt = read_small(folder / "patches.txt", MAX_BYTES).decode("utf-8", errors="replace").split()
        parts = [{"learnt": _regions(learnt, {}), "judged": _regions(judged, {})}]
    else:
        return "unknown", "nothing beside the scores tells what the network learnt from"
    return _answer(parts, set(judged))


def _parts(path: Path) -> list[dict[str, Any]]:
    try:
        parts = read_json(path, MAX_BYTES)["parts"]
        return [{key: {str(k): str(v) for k, v in part[key].items()} for key in ("learnt", "judged")} for part in parts]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is no record of a training; delete it, or reproduce the row again") from error


def _answer(parts: Sequence[Mapping[str, Mapping[str, str]]], judged: set[str]) -> tuple[Answer, str]:
    for part in parts:
        if shared := set(part["learnt"]) & set(part["judged"]):
            return "no", f"{len(shared):,} judged patches were learnt from, first {min(shared)}"
        if regions := {one for one in part["learnt"].values() if one} & set(part["judged"].values()):
            return "no", f"{len(regions):,} regions of the judged patches were learnt from, first {min(regions)}"
    if untold := judged - {name for part in parts for name in part["judged"]}:
        return "unknown", f"the record does not tell who judged {len(untold):,} of the patches"
    if nameless := sum(not region for part in parts for names in part.values() for region in names.values()):
        return "unknown", f"no name is shared, but {nameless:,} patches name no region"
    regions_learnt = {region for part in parts for region in part["learnt"].values()}
    if not regions_learnt:
        return "yes", "it learnt from no patch"
    return "yes", f"judged patches share no region with those learnt from ({len(regions_learnt):,} regions)"
