"""Shapes and types are checked while testing: beartype reads jaxtyping's annotations on import."""

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

install_import_hook("unclouded", "beartype.beartype")

SAMPLES = Path(os.environ.get("UNCLOUDED_SAMPLES", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of real Sentinel samples; see CONTRIBUTING."""
    if not SAMPLES.is_dir():
        pytest.skip(f"the real samples are absent ({SAMPLES}); set UNCLOUDED_SAMPLES")
    return SAMPLES
