"""What a process imports: what nobody requested costs no time, and no package."""

import subprocess
import sys

import pytest

PARTS = (
    "from dogbreeds.entrypoint.monitors import watched\n"
    "from dogbreeds.training.distributed import Cluster\n"
    "from dogbreeds.training.paths import JobPaths\n"
    "from dogbreeds.training.settings import Settings\n"
)


def imported(code: str, **environ: str) -> set[str]:
    """Run a program in a new process and return the packages that it imported."""
    program = f"import sys; before = set(sys.modules)\n{code}\n" + (
        "print(*sys.modules.keys() - before, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in done.stderr.split()} - sys.stdlib_module_names


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import dogbreeds", {"dogbreeds"}),
        ("from dogbreeds import METRIC_DEFINITIONS, SEARCH_SPACE", {"dogbreeds"}),
        ("import dogbreeds.training.settings", {"dogbreeds"}),
        ("from dogbreeds.cli.main import main; main(['--help'])", {"dogbreeds", "click"}),
        ("from dogbreeds.cli.main import main; main(['train', '--help'])", {"dogbreeds", "click"}),
    ],
)
def test_what_needs_no_package_imports_none(code: str, expected: set[str]) -> None:
    assert imported(code) == expected


def test_a_job_that_requests_nothing_imports_no_debugger(tmp_path: object) -> None:
    job = f"{PARTS}with watched(Settings(), JobPaths.from_environment(), Cluster()): pass"
    found = imported(f"{job}\nassert 'dogbreeds.cloud' not in sys.modules",
                     SAGEMAKER_BASE_DIR=str(tmp_path))  # fmt: skip
    assert "torch" in found
    assert not found & {"smdebug", "pandas"}
