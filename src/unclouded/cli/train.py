"""``unclouded train``."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def _list_presets(requested: bool | None) -> None:
    if requested:
        from unclouded.training.preset import described, preset_names

        for name in preset_names():
            typer.echo(f"{name:<16}{described(name)}")
        raise typer.Exit


_DEVICES = "Devices"

Source = Annotated[
    str,
    typer.Argument(
        metavar="SETTINGS", help="TOML file, or name of a preset. docs/training.md lists all keys.", show_default=False
    ),
]
Run = Annotated[
    Path, typer.Argument(metavar="RUN", help="Run folder for weights, log and previews.", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as loss.cycle=5.0. Repeatable."),
]


def train(
    settings: Source,
    run: Run,
    overrides: Overrides = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume from the last checkpoint of the run.")] = False,
    overfit_one: Annotated[
        bool,
        typer.Option("--overfit-one", help="Overfit the patches of one step, to test whether this setup can learn."),
    ] = False,
    presets: Annotated[
        bool | None, typer.Option("--presets", callback=_list_presets, is_eager=True, help="List the presets and exit.")
    ] = None,
    devices: Annotated[
        int | None, typer.Option(min=1, help="Devices per node (device.devices).", rich_help_panel=_DEVICES)
    ] = None,
    nodes: Annotated[
        int | None, typer.Option(min=1, help="Number of nodes (device.nodes).", rich_help_panel=_DEVICES)
    ] = None,
    precision: Annotated[
        Literal["32-true", "bf16-mixed", "16-mixed"] | None,
        typer.Option(help="Numerical precision (device.precision).", rich_help_panel=_DEVICES),
    ] = None,
) -> None:
    """Train the networks of the paper on a data set in either SEN12MS-CR layout.

    On SIGTERM or Ctrl-C, the run finishes the current step, saves a checkpoint and exits; --resume continues it.
    """
    from unclouded.files import require_folder
    from unclouded.training.keys import require_known_keys
    from unclouded.training.preset import read_source

    content, origin = read_source(settings)  # refuses a wrong name before the imports below, which take seconds
    require_known_keys(content, overrides or (), origin)
    from unclouded.training.settings import train_settings

    options = {"device.devices": devices, "device.nodes": nodes, "device.precision": precision}
    assignments = [f"{key}={value}" for key, value in options.items() if value is not None]
    resolved = train_settings(settings, [*(overrides or ()), *assignments])
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
        result = overfit_result(folder)
        Console().print(str(result))
        raise typer.Exit(0 if result.has_learnt else 1)
