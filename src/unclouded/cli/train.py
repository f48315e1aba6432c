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
    devices: Annotated[int | None, typer.Option(help="Devices on each machine; device.devices.")] = None,
    nodes: Annotated[int | None, typer.Option(help="Machines; device.nodes.")] = None,
    precision: Annotated[str | None, typer.Option(help="32-true or bf16-mixed; device.precision.")] = None,
) -> None:
    """Train the paper's networks on a data set in either layout of SEN12MS-CR.

    SIGTERM and Ctrl-C end a run after the step it is in, with its state saved; --resume goes on.
    """
    from rich.console import Console

    from unclouded.cli.progress import shown_progress
    from unclouded.settings import load_settings
    from unclouded.training.devices import is_first
    from unclouded.training.loop import train as train_run
    from unclouded.training.run import RunFolder
    from unclouded.training.settings import TrainSettings

    options = {"device.devices": devices, "device.nodes": nodes, "device.precision": precision}
    given = [f"{key}={value}" for key, value in options.items() if value is not None]
    resolved = load_settings(TrainSettings, settings, [*(overrides or ()), *given])
    resolved = resolved.model_copy(update={"patches": resolved.patches.resolve()})
    folder = RunFolder(run)
    with shown_progress() as told:
        train_run(resolved, folder, resume=resume, told=told)
    if is_first():
        Console().print(f"weights  {folder.weights}\nlog      {folder.log}\npreviews {folder.previews}")
