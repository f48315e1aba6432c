"""The rows of the paper's tables as files: what each one trains, on what it is tested, and at which size."""

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
"""Photographed clouds, or painted ones as the row's network learnt from."""
Target = Literal["rgb", "grey"]
"""The clear image in colour, or the mean of its red, green and blue, beside which radar stands in Table III."""


class RowSettings(Settings):
    """One row of a table.

    Attributes:
        label: What tables call it.
        remover: A baseline by its name; None for a network.
        like: Another row whose network this one is, such as ``table_2/ours_0``: trained once.
        train: Where training differs from the paper's protocol; None for a baseline, and for ``like``.
        target: What predictions are compared with.
        tests: Clouds that the row is tested on.
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
    """How precision and recall are measured.

    Attributes:
        layer: Of VGG16; ``fc2`` is the paper's.
        side_px: Images are resized to a square of this side.
        k: Neighbours; the paper has 10. There have to be more images than that.
    """

    layer: Literal["fc2", "pool5"] = "fc2"
    side_px: PositiveInt = 224
    k: PositiveInt = 10


class Fold(Settings):
    """Regions held out of one training, to be tested by it.

    Attributes:
        name: Of its run's folder.
        test: Names of regions.
    """

    name: str = Field(pattern="^[a-z0-9_]{1,64}$")
    test: tuple[str, ...] = Field(min_length=1)


class SizeSettings(Settings):
    """How much work a reproduction is.

    Attributes:
        train: Where training differs from the paper's protocol, for every row.
        precision_recall: How precision and recall are measured.
        folds: Trainings of a row, each with regions held out; none for the official split.
        regions: Region of each patch whose name does not tell.
        simulated_regions: Make a data set of so many simulated regions instead of reading one.
    """

    train: dict[str, Any] = Field(default_factory=dict)
    precision_recall: PrecisionRecallSettings = PrecisionRecallSettings()
    folds: tuple[Fold, ...] = ()
    regions: dict[str, str] = Field(default_factory=dict)
    simulated_regions: int = Field(0, ge=0)


class TableSettings(Settings):
    """Rows and columns of a table, in order.

    Attributes:
        title: Above the table.
        columns: Metrics.
        rows: Files of its folder, without suffix.
    """

    title: str
    columns: tuple[str, ...] = Field(min_length=1)
    rows: tuple[str, ...] = Field(min_length=1)


class _Trained(Settings):
    """What of a training decides about its tests."""

    clouds: CloudMapSettings = CloudMapSettings()
    synthetic: SyntheticSettings | None = None
    paired_percent: PositiveFloat | Literal[0] = 0


@dataclass(frozen=True)
class Row:
    """A row with where it comes from.

    Attributes:
        key: Such as ``ours_0``: what orderings call it.
        table: Such as ``table_3``.
        settings: Of the row.
        source: The row that is trained, which is another one where ``like`` says so.
    """

    key: str
    table: str
    settings: RowSettings
    source: "Row | None" = None

    @property
    def origin(self) -> "Row":
        """The row that has the network."""
        return self.source or self

    @property
    def path(self) -> str:
        """Such as ``table_2/ours_0``; the name of the runs' folder."""
        return f"{self.origin.table}/{self.origin.key}"

    @property
    def trained(self) -> _Trained:
        """What of the training decides about the tests."""
        return _Trained.model_validate(self.origin.settings.train or {})

    def __post_init__(self) -> None:
        if "synthetic" in self.settings.tests and self.trained.synthetic is None:
            raise InputError(f"{self.table}/{self.key} is tested on painted clouds but learnt from none; add synthetic")


@dataclass(frozen=True)
class Experiments:
    """The folder of the rows.

    Attributes:
        folder: Holds a folder for each table, ``sizes`` and ``expected.toml``.
    """

    folder: Path

    def table(self, table: str) -> TableSettings:
        """Read a table's title, columns and rows."""
        return load_settings(TableSettings, self._within(table) / "table.toml")

    def size(self, size: str) -> SizeSettings:
        """Read how much work a size is."""
        if size not in SIZES:
            raise InputError(f"{size!r} is no size; choose from {', '.join(SIZES)}")
        return load_settings(SizeSettings, self.folder / "sizes" / f"{size}.toml")

    def rows(self, table: str) -> tuple[Row, ...]:
        """Read the rows of a table, in its order.

        Raises:
            InputError: A file is missing or wrong, or ``like`` leads to no trained row.
        """
        return tuple(self._row(f"{table}/{key}") for key in self.table(table).rows)

    def _row(self, path: str) -> Row:
        table, _, key = path.partition("/")
        settings = load_settings(RowSettings, self._within(table) / f"{key}.toml")
        source = None
        if settings.like is not None:
            source = self._row(settings.like)
            if source.settings.train is None:
                raise InputError(f"{path} is like {settings.like}, which trains nothing; name the row that trains")
        return Row(key, table, settings, source)

    def _within(self, table: str) -> Path:
        if table not in TABLES:
            raise InputError(f"{table[:80]!r} is no table; choose from {', '.join(TABLES)}")
        return self.folder / table


def find_experiments(folder: Path | None = None) -> Experiments:
    """Return the rows in a folder; if omitted, those in ``experiments`` here, or else those that come with the package.

    Raises:
        InputError: There is no such folder.
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
            "the rows of the tables do not come with this installation; name their folder by --experiments"
        )
    return Experiments(found)


def regions_held_out(size: SizeSettings, regions: Mapping[str, str]) -> Iterator[tuple[Fold, list[str], list[str]]]:
    """Yield each fold with the patches it learns from and those it is tested on; no region is on both sides.

    Args:
        size: With folds.
        regions: Region of every patch.

    Raises:
        InputError: A fold has nothing to learn from or to be tested on, or two folds test one region.
    """
    tested: set[str] = set()
    for fold in size.folds:
        if twice := tested & set(fold.test):
            raise InputError(f"two folds hold out {min(twice)}; every region is tested once")
        tested |= set(fold.test)
        learnt = [name for name, region in regions.items() if region not in fold.test]
        held = [name for name, region in regions.items() if region in fold.test]
        if not learnt or not held:
            raise InputError(
                f"fold {fold.name} learns from {len(learnt)} and is tested on {len(held)} patches, expected some of "
                f"both; the data set has the regions {', '.join(sorted(set(regions.values()))[:5])}"
            )
        yield fold, learnt, held
