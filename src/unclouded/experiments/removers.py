"""Catalogue of removers: baselines without weights, and networks in weights files with their training and scores."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from unclouded.errors import InputError
from unclouded.evaluation.comparison import shown_metric
from unclouded.evaluation.results_io import is_result, load_scores
from unclouded.evaluation.scores import Scores
from unclouded.files import named, sha256
from unclouded.models.adaptation.scene_adapted import NAME as SCENE_ADAPTED
from unclouded.models.exchange.mlm import read_description
from unclouded.models.exchange.onnx_graph import check_onnx
from unclouded.models.network import operations
from unclouded.models.published.weights import ARCHITECTURES, PublishedRecord, read_published_record
from unclouded.models.weights import WeightsRecord, architecture_of, read_record
from unclouded.sensors import SENTINEL2
from unclouded.strict_json import parse_json

NAMED_REMOVERS: Mapping[str, str] = {
    SCENE_ADAPTED: "a regression from radar to the bands, fitted to the clear part of the scene itself",
    "reference-adapted": "a regression from other dates and radar, fitted to the clear part of the scene",
    "sar-regression": "a single regression without a prior, fitted to radar features of the patch",
    "clear-mean": "the mean clear spectrum wherever there are clouds: the baseline any network has to beat",
    "cloudy": "the cloudy image as it is",
    "sar-vv": "VV as a grey image",
    "sar-vh": "VH as a grey image",
    "reference-copy": "the nearest other date that shows the pixel",
    "reference-regression": "the nearest other date through a linear map of its bands",
    "median": "the median of the other dates",
    "geomedian": "the geometric median of the other dates",
}
"""Description of every remover without weights."""
NO_WEIGHTS = (
    "unclouded ships no pretrained weights. 'unclouded train paper FOLDER --set patches=ROOT' trains them on"
    " SEN12MS-CR; docs/proof.md lists the results of shorter trainings."
)


@dataclass(frozen=True)
class Model:
    """A weights file with its scores.

    Attributes:
        path: Weights file.
        record: Metadata in the file.
        sha256: Checksum of the file, by which scores identify their weights.
        scores: Scores found for it, by result file.
    """

    path: Path
    record: WeightsRecord | PublishedRecord
    sha256: str
    scores: Mapping[Path, Scores]


def find_models(places: Iterable[Path]) -> list[Model]:
    """Find weights files and their scores in the same folders.

    Args:
        places: Weights files, whose folders are searched for scores, and folders, which are searched recursively.

    Raises:
        InputError: A place does not exist, a file is not a weights file, or a folder contains none.
    """
    records, scores = dict[Path, WeightsRecord | PublishedRecord](), dict[Path, Scores]()
    for place in places:
        found = {place: _read_record(place)} if place.suffix else _records_below(place)
        if not found:
            raise InputError(f"{named(place)} holds no weights, expected files that 'unclouded train' writes")
        records |= found
        scores |= _scores_below(place.parent if place.suffix else place)
    return [_model(path, record, scores) for path, record in records.items()]


def find_model(path: Path) -> Model:
    """Return a weights file with the scores in its folder.

    Raises:
        InputError: The file is not a weights file.
    """
    return _model(path, _read_record(path), _scores_below(path.parent))


def _records_below(folder: Path) -> dict[Path, WeightsRecord | PublishedRecord]:
    """Return the weights files below a folder; others, such as training states or foreign weights, are skipped."""
    found = {}
    for path in sorted(folder.rglob("*.safetensors")):
        with suppress(InputError):
            found[path] = _read_record(path)
    return found


def _scores_below(folder: Path) -> dict[Path, Scores]:
    """Return the result files below a folder; damaged ones and those of another definition are skipped."""
    found = {}
    for path in filter(is_result, sorted(folder.rglob("*.json"))):
        with suppress(InputError):
            found[path] = load_scores(path)
    return found


def _read_record(path: Path) -> WeightsRecord | PublishedRecord:
    return read_published_record(path) if architecture_of(path) in ARCHITECTURES else read_record(path)


def _model(path: Path, record: WeightsRecord | PublishedRecord, scores: Mapping[Path, Scores]) -> Model:
    own = sha256(path)
    own_scores = {at: one for at, one in scores.items() if one.provenance and one.provenance.weights_sha256 == own}
    return Model(path, record, own, own_scores)


def rules_text() -> str:
    """Return one line per remover without weights, and the remark on pretrained weights."""
    return "\n".join([*(f"{name:<22}{what}" for name, what in NAMED_REMOVERS.items()), "", NO_WEIGHTS])


def models_text(models: Sequence[Model]) -> str:
    """Return one paragraph per network."""
    return "\n\n".join(
        "\n".join([str(one.path), *(f"  {key:<10}{text}" for key, text in _facts(one))]) for one in models
    )


def _facts(model: Model) -> list[tuple[str, str]]:
    scores = [("scores", _summary(path, scores)) for path, scores in model.scores.items()] or [
        ("scores", f"none found; run 'unclouded evaluate {model.path} ROOT --split test --out FILE'")
    ]
    record = model.record
    own = _published_facts(record) if isinstance(record, PublishedRecord) else _network_facts(record)
    return [*own, *record.card.facts(), ("sha256", model.sha256), *scores]


def onnx_text(path: Path) -> str:
    """Return one paragraph on a network in an ONNX file, from the file and its description.

    Raises:
        InputError: The file or its description is missing or damaged.
    """
    facts, described = check_onnx(path), read_description(path.with_suffix(".json"))
    use = described.use
    size = "any size" if described.tile_px is None else "{} x {} px".format(*described.tile_px)
    inputs = "; ".join(f"{one.name} ({' '.join(one.names)})" for one in described.inputs)
    rows = [
        ("network", f"{described.name}, {facts.nodes:,} operators"),
        ("restores", f"{' '.join(described.bands)} of {use.level} products"),
        ("inputs", f"{inputs}, {size}"),
        ("units", f"radar in {use.radar_unit}, optical bands as {use.optical_unit}, before the scaling described"),
        ("windows", f"margin {use.margin_px} px, stride {use.stride_px} px"),
        *(("weights", f"{named(one)}, beside the network") for one in facts.external),
        ("sha256", sha256(path)),
        ("described", f"{named(path.with_suffix('.json'))}, SHA-256 {sha256(path.with_suffix('.json'))}"),
    ]
    return "\n".join([str(path), *(f"  {key:<10}{text}" for key, text in rows)])


def _published_facts(record: PublishedRecord) -> list[tuple[str, str]]:
    settings = record.settings.model_dump(mode="json")
    shown = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in settings.items())
    return [
        ("restores", f"{' '.join(SENTINEL2.bands)} of L1C products"),
        ("network", f"{record.architecture}, {record.parameters:,} parameters: {shown}"),
    ]


def _network_facts(record: WeightsRecord) -> list[tuple[str, str]]:
    network, training = record.settings, record.training
    scaling = network.scaling
    effort = (
        f"architecture {network.architecture}"
        if network.architecture
        else f"{operations(len(network.bands), network.width) / 1e9:.1f} GFLOP for 256 x 256 px"
    )
    return [
        ("restores", f"{' '.join(network.bands)} of {network.level} products"),
        ("network", f"width {network.width}, skip {network.skip}, {record.parameters:,} parameters, {effort}"),
        (
            "scaling",
            f"VV {_span(scaling.vv_db)} dB, VH {_span(scaling.vh_db)} dB, reflectance {_span(scaling.toa_reflectance)}",
        ),
        ("cloud map", str(record.trained_map or "not recorded; the paper's is used")),
        ("trained", _training(training)),
    ]


def _span(values: tuple[float, float]) -> str:
    return f"{values[0]:g} to {values[1]:g}"


def _training(training: Mapping[str, str]) -> str:
    try:
        settings = parse_json(training.get("settings", "{}"), "the record", nan=True)
    except InputError:
        settings = {}
    if not training or not isinstance(settings, dict):
        return "not recorded in the file"
    regions = f" of {len(training['regions'].split()):,} regions" if "regions" in training else ""
    facts = [f"on {training.get('patches', 'some')} patches{regions}", f"{training.get('steps', 'some')} steps"]
    facts += [f"{settings['paired_percent']:g} % pairs"] if isinstance(settings.get("paired_percent"), float) else []
    facts += [f"objective {settings['objective']}"] if isinstance(settings.get("objective"), str) else []
    facts += _schedule_changes(settings.get("schedule"))
    facts += [f"data {training['data_sha256'][:12]}"] if "data_sha256" in training else []
    return ", ".join(facts)


def _schedule_changes(schedule: object) -> list[str]:
    """Return the steps after which a resumed training continued with another schedule."""
    earlier = schedule.get("earlier") if isinstance(schedule, dict) else None
    steps = (
        [str(one.get("until_step")) for one in earlier or () if isinstance(one, dict)]
        if isinstance(earlier, list)
        else []
    )
    return [f"schedule changed after step {', '.join(steps)}"] if steps else []


def _summary(path: Path, scores: Scores) -> str:
    mean, cloudy, source = scores.mean("all"), scores.mean("cloudy"), scores.provenance
    split = source.split if source else "patches"
    leaks = (
        f"; TRAINED ON {len(source.training_overlap)} of these regions" if source and source.training_overlap else ""
    )
    return (
        f"{split}, {len(scores.patches):,} patches: MAE {mean['mae']:.4f}, under clouds {cloudy['mae']:.4f}, "
        f"PSNR {shown_metric(mean, 'psnr', 2)}, SSIM {mean['ssim']:.3f}, SAM {mean['sam']:.2f}{leaks} ({path})"
    )
