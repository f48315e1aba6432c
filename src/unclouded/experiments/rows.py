"""Settings files of the rows of the paper's tables: training, tests and sizes of each row."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from unclouded.clouds.map import CloudMapSettings
from unclouded.clouds.synthetic import SyntheticSettings
from unclouded.errors import InputError
from unclouded.files import require_folder
from unclouded.settings import Settings, load_settings

TABLES = ("table_2", "table_3", "table_4")
Size = Literal["smoke", "sample", "paper"]
SIZES: tuple[Size, ...] = ("smoke", "sample", "paper")
Clouds = Literal["observed", "synthetic"]
"""Observed clouds, or synthetic ones as in the training of the row's network."""
Target = Literal["rgb", "grey"]
"""Clear image in colour, or the mean of its red, green and blue, with which Table III compares radar."""


class RowSettings(Settings):
    """One row of a table.

    Attributes:
        label: Label in tables.
        remover: Name of a baseline; None for a network.
        like: Row whose network is used, such as ``table_2/ours_0``, so that it is trained only once.
        train: Training settings that differ from the paper's protocol; None for a baseline, and with ``like``.
        target: Target of the evaluation.
        tests: Clouds on which the row is tested.
        sizes: Sizes at which the row exists.
    """

    label: str = Field(min_length=1, max_length=80)
    remover: str | None = None
    like: str | None = None
    train: dict[str, Any] | None = None
    target: Target = "rgb"
    tests: tuple[Clouds, ...] = Field(("observed",), min_length=1)
    sizes: tuple[Size, ...] = SIZES

    @model_validator(mode="after")
    def _is_one_thing(self) -> "RowSettings":
        if sum(one is not None for one in (self.remover, self.like, self.train)) != 1:
            raise ValueError("expected one of remover, like and train")
        return self


class PrecisionRecallSettings(Settings):
    """Settings of precision and recall.

    Attributes:
        layer: Layer of VGG16; the paper uses ``fc2``.
        side_px: Side of the square to which images are resized.
        k: Number of neighbours, 10 in the paper; there must be more images than that.
        include_self: Count an image as its own first neighbour; see docs/decisions.md.
    """

    layer: Literal["fc2", "pool5"] = "fc2"
    side_px: PositiveInt = 224
    k: PositiveInt = 10
    include_self: bool = False


class Fold(Settings):
    """Regions held out of one training, for its test.

    Attributes:
        name: Name of its run folder.
        test: Names of the regions.
    """

    name: str = Field(pattern="^[a-z0-9_]{1,64}$")
    test: tuple[str, ...] = Field(min_length=1)


class SizeSettings(Settings):
    """Amount of work of a reproduction.

    Attributes:
        train: Training settings that differ from the paper's protocol, for every row.
        precision_recall: Settings of precision and recall.
        folds: Trainings of a row, each with regions held out; empty for the official split.
        regions: Region of each patch whose name lacks it.
        simulated_regions: Number of regions to simulate; 0 to read a data set instead.
    """

    train: dict[str, Any] = Field(default_factory=dict)
    precision_recall: PrecisionRecallSettings = PrecisionRecallSettings()
    folds: tuple[Fold, ...] = ()
    regions: dict[str, str] = Field(default_factory=dict)
    simulated_regions: int = Field(0, ge=0)


class TableSettings(Settings):
    """Rows and columns of a table, in order.

    Attributes:
        title: Title above the table.
        columns: Keys of the metrics.
        rows: Names of the settings files in its folder, without suffix.
    """

    title: str
    columns: tuple[str, ...] = Field(min_length=1)
    rows: tuple[str, ...] = Field(min_length=1)


class _Trained(Settings):
    """Training settings that determine the tests."""

    clouds: CloudMapSettings = CloudMapSettings()
    synthetic: SyntheticSettings | None = None
    paired_percent: PositiveFloat | Literal[0] = 0


@dataclass(frozen=True)
class Row:
    """Row of a table with its settings.

    Attributes:
        key: Key used by orderings, such as ``ours_0``.
        table: Name of the table, such as ``table_3``.
        settings: Settings of the row.
        source: Row named by ``like``, whose network is used; None for a row with its own training.
    """

    key: str
    table: str
    settings: RowSettings
    source: "Row | None" = None

    @property
    def origin(self) -> "Row":
        """Row that trains the network."""
        return self.source or self

    @property
    def path(self) -> str:
        """Folder of the row's runs, such as ``table_2/ours_0``."""
        return f"{self.origin.table}/{self.origin.key}"

    @property
    def trained(self) -> _Trained:
        """Training settings that determine the tests."""
        return _Trained.model_validate(self.origin.settings.train or {})

    def __post_init__(self) -> None:
        if "synthetic" in self.settings.tests and self.trained.synthetic is None:
            raise InputError(
                f"{self.table}/{self.key} is tested on synthetic clouds but trained without; add the section synthetic"
            )


@dataclass(frozen=True)
class Experiments:
    """Folder of the settings files.

    Attributes:
        folder: Folder with a subfolder per table, ``sizes`` and ``expected.toml``.
    """

    folder: Path

    def table(self, table: str) -> TableSettings:
        """Read the title, columns and row names of a table."""
        return load_settings(TableSettings, self._within(table) / "table.toml")

    def size(self, size: str) -> SizeSettings:
        """Read the settings of a size."""
        if size not in SIZES:
            raise InputError(f"unknown size {size!r}; choose from {', '.join(SIZES)}")
        return load_settings(SizeSettings, self.folder / "sizes" / f"{size}.toml")

    def rows(self, table: str) -> tuple[Row, ...]:
        """Read the rows of a table, in its order.

        Raises:
            InputError: A file is missing or invalid, or ``like`` does not name a row with a training.
        """
        return tuple(self._row(f"{table}/{key}") for key in self.table(table).rows)

    def _row(self, path: str) -> Row:
        table, _, key = path.partition("/")
        settings = load_settings(RowSettings, self._within(table) / f"{key}.toml")
        source = None
        if settings.like is not None:
            source = self._row(settings.like)
            if source.settings.train is None:
                raise InputError(f"{path} is like {settings.like}, which has no training; name a row with one")
        return Row(key, table, settings, source)

    def _within(self, table: str) -> Path:
        if table not in TABLES:
            raise InputError(f"unknown table {table[:80]!r}; choose from {', '.join(TABLES)}")
        return self.folder / table


def find_experiments(folder: Path | None = None) -> Experiments:
    """Return the rows in a folder; if omitted, those in ``./experiments``, or else those included in the package.

    Raises:
        InputError: The folder does not exist.
    """
    if folder is not None:
        require_folder(folder)
        return Experiments(folder)
    package = Path(str(package_files("unclouded.experiments")))
    source_tree = package.parents[2] / "experiments"  # an editable installation has no copy of its own
    places = (Path("experiments"), package / "rows_of_tables", source_tree)
    found = next(
        (place for place in places if (place / "sizes").is_dir() and (place / "expected.toml").is_file()), None
    )
    if found is None:
        raise InputError(
            "this installation does not include the rows of the tables; name their folder by --experiments"
        )
    return Experiments(found)


def regions_held_out(size: SizeSettings, regions: Mapping[str, str]) -> Iterator[tuple[Fold, list[str], list[str]]]:
    """Yield each fold with its training and test patches, which share no region.

    Args:
        size: Settings of a size with folds.
        regions: Region of every patch.

    Raises:
        InputError: A fold has no training or no test patches, or two folds test the same region.
    """
    tested: set[str] = set()
    for fold in size.folds:
        if twice := tested & set(fold.test):
            raise InputError(f"two folds hold out {min(twice)}; every region is tested once")
        tested |= set(fold.test)
        training = [name for name, region in regions.items() if region not in fold.test]
        held_out = [name for name, region in regions.items() if region in fold.test]
        if not training or not held_out:
            raise InputError(
                f"fold {fold.name} has {len(training)} training and {len(held_out)} test patches, expected some of "
                f"both; the data set has the regions {', '.join(sorted(set(regions.values()))[:5])}"
            )
        yield fold, training, held_out
