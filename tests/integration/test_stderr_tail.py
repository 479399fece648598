import os
import subprocess
import sys

import pytest

from dogbreeds.entrypoint.failure import StderrTail


def run(code: str) -> StderrTail:
    with StderrTail() as tail:
        subprocess.run([sys.executable, "-u", "-c", code], check=False)
    return tail


def test_the_error_comes_first_and_its_traceback_after() -> None:
    reason = run("def f():\n  raise ValueError('my own mistake')\nf()").reason()
    first, second, *_ = reason.splitlines()
    assert first == "ValueError: my own mistake"
    assert second == "Traceback (most recent call last):"


def test_of_chained_errors_the_last_one_counts() -> None:
    code = "try:\n  1/0\nexcept Exception as e:\n  raise KeyError('second') from e"
    assert run(code).reason().startswith("KeyError: 'second'\n")


def test_another_programs_last_line_is_the_reason() -> None:
    assert run("import sys; sys.exit('first line\\nno photos here')").reason() == "no photos here"
    assert run("pass").reason() == ""


def test_stderr_still_arrives_where_it_went_before(capfd: pytest.CaptureFixture[str]) -> None:
    with StderrTail():
        os.write(2, b"from within\n")
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "from within\nafterwards\n"


def test_under_torchrun_the_scripts_own_error_is_the_reason() -> None:
    code = (
        "import sys\n"
        "sys.stderr.write('[rank0]: Traceback (most recent call last):\\n'\n"
        "    '[rank0]:   File \"mine.py\", line 1\\n[rank0]: ValueError: mine\\n'\n"
        "    'Traceback (most recent call last):\\n  File \"run.py\", line 9\\n'\n"
        "    'torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \\n')\n"
    )
    assert run(code).reason().startswith("ValueError: mine\n")
