"""``unclouded models``."""

from pathlib import Path
from typing import Annotated

import typer


def models(
    places: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PLACE]...", help="Weights files, and folders with some at any depth."),
    ] = None,
) -> None:
    """Say what can remove clouds: rules without weights, or networks, what they learnt from and what they are worth."""
    from unclouded.files import require_there

    require_there(*(places or ()))  # before the imports below, which take seconds
    from unclouded.experiments.removers import find_models, models_text, rules_text

    typer.echo(models_text(find_models(places)) if places else rules_text())
