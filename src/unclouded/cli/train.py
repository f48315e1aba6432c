"""``unclouded train``."""

from pathlib import Path
from typing import Annotated

import typer


def _list_presets(wanted: bool | None) -> None:
    if wanted:
        from unclouded.training.preset import described, preset_names

        for name in preset_names():
            typer.echo(f"{name:<16}{described(name)}")
        raise typer.Exit


def train(
    settings: Annotated[str, typer.Argument(help="TOML file, or a preset; see docs/training.md for every key.")],
    run: Annotated[Path, typer.Argument(help="Folder for weights, log and pictures.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override a setting, such as loss.cycle=5.0; may be repeated.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last saved state of the run.")] = False,
    devices: Annotated[int | None, typer.Option(help="Devices on each machine; device.devices.")] = None,
    nodes: Annotated[int | None, typer.Option(help="Machines; device.nodes.")] = None,
    precision: Annotated[str | None, typer.Option(help="32-true or bf16-mixed; device.precision.")] = None,
    overfit_one: Annotated[
        bool, typer.Option("--overfit-one", help="Learn one step's patches by heart: can this set-up learn at all?")
    ] = False,
    presets: Annotated[
        bool | None, typer.Option("--presets", callback=_list_presets, is_eager=True, help="List the presets and exit.")
    ] = None,
) -> None:
    """Train the paper's networks on a data set in either layout of SEN12MS-CR.

    SIGTERM and Ctrl-C end a run after the step it is in, with its state saved; --resume goes on.
    """
    from unclouded.files import require_folder
    from unclouded.training.preset import read_source

    read_source(settings)  # refuses a wrong name before the imports below, which take seconds
    from unclouded.training.settings import train_settings

    options = {"device.devices": devices, "device.nodes": nodes, "device.precision": precision}
    given = [f"{key}={value}" for key, value in options.items() if value is not None]
    resolved = train_settings(settings, [*(overrides or ()), *given]).anchored()
    require_folder(resolved.patches)
    from rich.console import Console

    from unclouded.cli.progress import training_progress
    from unclouded.training.checkpoint import RunFolder
    from unclouded.training.distributed import is_rank_zero
    from unclouded.training.loop import train as train_run
    from unclouded.training.validation import overfit_result, overfit_settings

    if overfit_one:
        resolved = overfit_settings(resolved)
    folder = RunFolder(run)
    with training_progress(resolved.loss.model_dump()) as (on_progress, callback):
        train_run(resolved, folder, resume=resume, on_progress=on_progress, callback=callback)
    if not is_rank_zero():
        return
    Console().print(f"weights  {folder.weights}\nlog      {folder.log}\npreviews {folder.previews}")
    if overfit_one:
        judged = overfit_result(folder)
        Console().print(str(judged))
        raise typer.Exit(0 if judged.has_learnt else 1)
