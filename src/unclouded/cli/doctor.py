"""``unclouded doctor``."""

import typer


def doctor() -> None:
    """Say what is installed, what this machine can do, and whether something is wrong; exit status 1 if so."""
    from unclouded.doctor import examine

    findings = examine()
    for one in findings:
        typer.echo(f"{one.subject:<16} {one.found}")
        if one.remedy:
            typer.secho(f"{'':<16} wrong: {one.remedy}", fg="red")
    raise typer.Exit(1 if any(one.remedy for one in findings) else 0)
