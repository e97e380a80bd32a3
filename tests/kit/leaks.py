"""What every test is held to: when it ends, nothing that it started, opened or wrote is left."""

import contextlib
import os
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import psutil
import pytest

pytest_plugins = ["tests.kit.missing_programs"]

# Variables that name a folder of the test session in the environment of whatever runs in that folder.
FOLDER_VARIABLES = ("HOME", "NOTEBOOKS_SANDBOX", "XDG_DATA_HOME", "TMPDIR")
# Folders of tests in which programs and servers run from start to end.
FOLDERS_OF_WHOLE_PROGRAMS = {"accounts", "browser", "gateways", "journey", "openssh", "trust", "tunnel"}
TIMEOUT_S = 5.0


def pytest_configure() -> None:
    # A shell starts its background jobs with SIGINT ignored, and what the tests start would inherit that (signal(7)).
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)  # after the order was shuffled
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first, lest a worker begins one when the others are done."""
    items.sort(key=lambda item: item.path.parent.name not in FOLDERS_OF_WHOLE_PROGRAMS)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test may be skipped for what a machine lacks, but where everything is installed it must run."""
    report = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and must not be in CI: {report.longrepr}"
    return report


def processes_below(folder: Path) -> list[psutil.Process]:
    """The processes that live in a folder: a variable of their environment, or an argument, names it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            environment = process.environ()
            named = [environment.get(variable, "") for variable in FOLDER_VARIABLES] + process.cmdline()
            if any(text == str(folder) or text.startswith(f"{folder}/") for text in named):
                found.append(process)
    return found


def listening_ports(processes: list[psutil.Process]) -> set[int]:
    """The TCP ports that the processes listen on."""
    ports: set[int] = set()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            ports |= {
                connection.laddr.port
                for connection in process.net_connections("tcp")
                if connection.status == psutil.CONN_LISTEN
            }
    return ports


def leaked_processes(folder: Path) -> list[str]:
    """The processes of a folder that do not end within a moment, and their ports: a line each, for a message."""
    return _describe(_surviving(processes_below(folder)))


@pytest.fixture(scope="session", autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for the temporary files of this session alone, which is empty again at its end; so are all homes.

    The first fixture of the session, so its end is the last: by then everything must have ended.
    """
    base = tmp_path_factory.getbasetemp()
    folder = tmp_path_factory.mktemp("temporary", numbered=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", None)
        yield folder
    left = leaked_processes(base) + [f"file {path}" for path in folder.iterdir()]
    assert not left, "left by the session:\n" + "\n".join(left)


@pytest.fixture(autouse=True)
def _no_leaks(temporary: Path, tmp_path: Path) -> Iterator[None]:
    """Each test ends what it began: its children, what runs in its own folder, its ports, its temporary files.

    What lives in a folder of a wider scope is held by that folder's fixture, which ends it, and is looked for at the
    end of the session; the homes of the journeys look for themselves when they close.
    """
    children, leaks_before = _children(), _leaks(temporary)
    yield
    started = processes_below(tmp_path) + [child for child in _children() if child not in children]
    left = _describe(_surviving(started)) + sorted(_leaks(temporary) - leaks_before)
    assert not left, "left by the test:\n" + "\n".join(left)


def _leaks(temporary: Path) -> set[str]:
    """What this process itself holds open, and its temporary files: a line each."""
    return {f"port {port} of this process" for port in listening_ports([psutil.Process()])} | {
        f"file {path}" for path in temporary.iterdir()
    }


def _children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _surviving(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that do not end within a moment: one that was told to end may take one."""
    _, alive = psutil.wait_procs(processes, timeout=TIMEOUT_S)
    return [process for process in alive if is_alive(process)]


def is_alive(process: psutil.Process) -> bool:
    """Whether the process runs, and is no zombie that waits for its parent."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _describe(processes: list[psutil.Process]) -> list[str]:
    lines = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            ports = "".join(f", listens on {port}" for port in sorted(listening_ports([process])))
            lines.append(f"process {process.pid}: {' '.join(process.cmdline())[:300]}{ports}")
    return lines
