"""Shapes and types are checked while testing: beartype reads jaxtyping's annotations on import."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import hypothesis
import pytest
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

# An int is accepted as a float, as by mypy; the hook finds its checker by name.
_checker = ModuleType("unclouded_checker")
_checker.__dict__["check"] = beartype(conf=BeartypeConf(is_pep484_tower=True))
sys.modules["unclouded_checker"] = _checker
install_import_hook("unclouded", "unclouded_checker.check")

# The same examples in every run, without deadlines, so that failures are due to changes of the code and not to a busy
# machine. `pytest --hypothesis-profile=search` tries other examples.
_patient = hypothesis.settings(
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile("search", _patient)
hypothesis.settings.register_profile("unclouded", _patient, derandomize=True)
hypothesis.settings.load_profile("unclouded")

SAMPLES = Path(os.environ.get("UNCLOUDED_SAMPLES", Path(__file__).parents[2] / "shared" / "data"))


pytest_plugins = ["products.fixtures"]  # simulated products and servers, for the tests of several packages


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of real Sentinel samples; see CONTRIBUTING."""
    if not SAMPLES.is_dir():
        pytest.skip(f"the real samples are absent ({SAMPLES}); set UNCLOUDED_SAMPLES")
    return SAMPLES


@pytest.fixture(autouse=True, scope="session")
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests never read or fill the user's cache of cloud probabilities."""
    os.environ["UNCLOUDED_CACHE"] = str(tmp_path_factory.mktemp("cache"))


_KILLED = """
import os, signal
from pathlib import Path
{imports}
replace = Path.replace
for files in {files}:

    def dying(self, target, left=iter(range(files))):
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)

    if (child := os.fork()) == 0:
        Path.replace = dying
        try:
            {work}
        finally:
            os._exit(1)  # it lived
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    {check}
"""


@pytest.fixture(scope="session")
def killed_at_files() -> Callable[..., None]:
    """Does some work again and again, killed each time before one file more than so many takes its place.

    What the work needs is imported once; the work, and a check after each kill, are statements.
    """

    def kill(imports: str, work: str, check: str, *files: int) -> None:
        program = _KILLED.format(imports=imports, work=work, check=check, files=files)
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.split() == ["-9"] * len(files), ended.stderr

    return kill


@pytest.fixture
def mount_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts a disk of so many KiB, to be filled or made read-only; tests that need it skip where that is forbidden."""
    mounted: list[Path] = []

    def mount(kib: int) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        size = f"size={kib}k"
        if subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True).returncode:
            pytest.skip("a small disk cannot be mounted here; run as root")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=True)
