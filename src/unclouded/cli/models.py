"""``unclouded models``: list removers, show weights files, and import published checkpoints."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from unclouded.cli.logging import logger, printable


class _ListingGroup(TyperGroup):
    """Group that lists removers unless a subcommand is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the command ``list``, which may be left out."""
        if args[:1] != ["--help"] and (not args or args[0] not in self.commands):
            args = ["list", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_ListingGroup, help="List, show and import removers. Without a subcommand: list.")


@app.command("list")
def list_models(
    places: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PATH]...", help="Weights files, or folders to search for weights files."),
    ] = None,
    architecture: Annotated[
        bool, typer.Option("--architecture", help="Show the layers of the paper's networks instead (its Table I).")
    ] = False,
) -> None:
    """List removers.

    Without PATH, the removers that need no weights; otherwise the weights files found, with their training data and
    scores.
    """
    if architecture:
        from unclouded.experiments.architecture import architecture_text

        typer.echo(architecture_text())
        return
    from unclouded.files import require_there

    require_there(*(places or ()))  # before the imports below, which take seconds
    from unclouded.experiments.removers import find_models, models_text, rules_text

    typer.echo(_shown(models_text(find_models(places))) if places else rules_text())


@app.command("show")
def show(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="Weights file, ONNX file with its description, or their address with a hash.",
            show_default=False,
        ),
    ],
) -> None:
    """Show network, model card, training and scores of a weights file, or the description of an ONNX file."""
    from unclouded.models.known import local_path, require_remover, require_weights_file

    path = Path(local_path(file))
    (require_remover if path.suffix == ".onnx" else require_weights_file)(path)  # before slow imports
    from unclouded.experiments.removers import find_model, models_text, onnx_text

    typer.echo(_shown(onnx_text(path) if path.suffix == ".onnx" else models_text([find_model(path)])))


@app.command("import")
def import_model(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Published checkpoint: model.pth.tar of UnCRtainTS, .hdf5 or PyTorch file of DSen2-CR.",
            show_default=False,
        ),
    ],
    configuration: Annotated[
        Path | None,
        typer.Option(
            metavar="conf.json", help="Training configuration of UnCRtainTS.", show_default="conf.json beside FILE"
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE.safetensors", help="Weights file to write.")] = ...,  # type: ignore[assignment]
) -> None:
    """Write a published checkpoint as a weights file with a model card.

    Nothing of the checkpoint is executed. The terms of the weights are those of their authors.
    """
    from unclouded.errors import InputError
    from unclouded.files import named, require_apart, require_file, require_new_file

    for path in filter(None, (file, configuration)):
        require_file(path)
        require_apart(out, path)
    if out.suffix != ".safetensors":
        raise InputError(f"{named(out)} is no name of a weights file; let it end with .safetensors")
    require_new_file(out)
    from datetime import UTC, datetime

    from unclouded.models.published.weights import import_checkpoint

    found = import_checkpoint(file, out, datetime.now(UTC).date(), configuration)
    logger.info(f"{found.source}; licence: {found.licence}")
    typer.echo(f"{named(out)}: {found.architecture}; 'unclouded models show {named(out)}' describes it")


def _shown(text: str) -> str:
    """Text of files of other authors, without control characters."""
    return "\n".join(printable(line) for line in text.splitlines())
