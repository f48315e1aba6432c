"""``unclouded train``."""

from pathlib import Path
from typing import Annotated

import typer


def train(
    settings: Annotated[Path, typer.Argument(help="TOML file; see docs/training.md for every key.")],
    run: Annotated[Path, typer.Argument(help="Folder for weights, log and pictures.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override a setting, such as loss.cycle=5.0; may be repeated.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last saved state of the run.")] = False,
) -> None:
    """Train the paper's networks on a data set in either layout of SEN12MS-CR."""
    from rich.console import Console

    from unclouded.cli.progress import shown_progress
    from unclouded.settings import load_settings
    from unclouded.training.loop import train as train_run
    from unclouded.training.run import RunFolder
    from unclouded.training.settings import TrainSettings

    resolved = load_settings(TrainSettings, settings, overrides or ())
    resolved = resolved.model_copy(update={"patches": resolved.patches.resolve()})
    folder = RunFolder(run)
    with shown_progress() as told:
        train_run(resolved, folder, resume=resume, told=told)
    Console().print(f"weights  {folder.weights}\nlog      {folder.log}\npreviews {folder.previews}")
