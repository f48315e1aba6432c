"""``python -m unclouded``."""

from unclouded.cli.main import run

run()
