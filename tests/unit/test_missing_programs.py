"""Which failures count as a program that this machine lacks."""

import subprocess
from pathlib import Path

import pytest

from tests.kit.missing_programs import missing_program, pytest_runtest_makereport

PRODUCT = Path(__file__).parents[2] / "notebooks_over_ssh" / "elsewhere.py"


def failure(program: str, source: Path = Path(__file__)) -> pytest.ExceptionInfo[FileNotFoundError]:
    """The failure of code in `source` to start a program on a machine without any."""
    code = compile("start(program, env={'PATH': '/nowhere'})", source, "exec")
    with pytest.raises(FileNotFoundError) as caught:
        exec(code, {"start": subprocess.run, "program": program})
    return caught


def test_started_by_a_test() -> None:
    """A test that starts a program which is not installed is skipped, with the names of the program and its package."""
    call = pytest.CallInfo.from_call(lambda: _raise(failure("certutil").value), "call")
    pytest_runtest_makereport(call)
    assert call.excinfo
    assert call.excinfo.errisinstance(pytest.skip.Exception)
    assert str(call.excinfo.value) == "needs the program certutil (libnss3-tools)"


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("program", "source"), [("certutil", PRODUCT), ("busybox", Path(__file__)), ("fab", Path(__file__))]
)
def test_other_failures(program: str, source: Path) -> None:
    """Where the product starts the program, or any machine must have it, the test fails."""
    assert missing_program(failure("ssh-keygen")) == "ssh-keygen"
    assert missing_program(failure(program, source)) == ""
