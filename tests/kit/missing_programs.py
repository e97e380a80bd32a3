"""Skips a test that fails to start a program which is not installed, and names the program and its package."""

from pathlib import Path

import pytest

# The programs that tests start themselves, and their Debian packages.
PACKAGES = {
    "certutil": "libnss3-tools",
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "firefox-esr": "firefox-esr",
    "git": "git",
    **dict.fromkeys(("kinit", "klist"), "krb5-user"),
    "kdb5_util": "krb5-kdc",
    "krb5kdc": "krb5-kdc",
    "kadmin.local": "krb5-admin-server",
    "node": "nodejs",
    "npm": "npm",
    "openssl": "openssl",
    "ps": "procps",
    **dict.fromkeys(("sftp", "ssh", "ssh-add", "ssh-agent", "ssh-keygen"), "openssh-client"),
    "sshd": "openssh-server",
}
_TESTS = Path(__file__).parents[1]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> None:
    """Replace the error before its report is made."""
    if call.excinfo and (name := missing_program(call.excinfo)):
        try:
            pytest.skip(f"needs the program {name} ({PACKAGES[name]})")
        except pytest.skip.Exception as skipped:
            call.excinfo = pytest.ExceptionInfo.from_exception(skipped)


def missing_program(failure: pytest.ExceptionInfo[BaseException]) -> str:
    """The program of `PACKAGES` that test code could not start, or "".

    Where the product's code starts a missing program, the test still fails.
    """
    error = failure.value
    if not isinstance(error, FileNotFoundError) or not isinstance(error.filename, str):
        return ""
    ours = [entry.path for entry in failure.traceback if not _is_library(Path(entry.path))]
    name = Path(error.filename).name
    return name if name in PACKAGES and ours and Path(ours[-1]).is_relative_to(_TESTS) else ""


def _is_library(path: Path) -> bool:
    return "site-packages" in path.parts or not path.is_relative_to(_TESTS.parent)
