"""``unclouded leaderboard``."""

from pathlib import Path
from typing import Annotated

import typer


def leaderboard(
    folder: Annotated[
        Path, typer.Argument(help="Folder with scores that 'evaluate' or 'reproduce' wrote, at any depth.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for leaderboard.md and leaderboard.html.")],
) -> None:
    """Set results side by side that were judged alike, with who had seen the test regions; published ones apart."""
    from unclouded.files import require_folder

    require_folder(folder)  # before the imports below, which take seconds
    from unclouded.experiments.leaderboard import (
        find_entries,
        leaderboard_html,
        leaderboard_markdown,
        other_files,
        published,
    )
    from unclouded.files import require_writable, write_text

    require_writable(out)
    entries, ours = find_entries(folder), published()
    text = leaderboard_markdown(entries, ours)
    write_text(out / "leaderboard.md", text)
    write_text(out / "leaderboard.html", leaderboard_html(entries, ours))
    if others := other_files(folder):
        more = f" and {len(others) - 3:,} more" if len(others) > 3 else ""
        typer.echo(f"{len(others):,} JSON files are no scores and left out: {', '.join(others[:3])}{more}", err=True)
    typer.echo(f"{text}\nwrote {out / 'leaderboard.md'} and {out / 'leaderboard.html'}")
