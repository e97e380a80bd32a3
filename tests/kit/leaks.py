"""Fails a test that leaves a process, a listening port or a temporary file behind."""

import contextlib
import os
import signal
import tempfile
from collections.abc import Collection, Generator, Iterator
from pathlib import Path

import psutil
import pytest

pytest_plugins = ["tests.kit.missing_programs"]

# Environment variables of the tests' processes that name a folder of the test session.
FOLDER_VARIABLES = ("HOME", "NOTEBOOKS_SANDBOX", "XDG_DATA_HOME", "TMPDIR")
TIMEOUT_S = 5.0


def pytest_configure() -> None:
    # A shell starts background jobs with SIGINT ignored, which the tests' processes would inherit (signal(7)).
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)  # after the order was shuffled
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest tests first and the shortest last, so that no worker is alone at the end with a long one."""
    order = {"e2e": 0, "unit": 2}
    items.sort(key=lambda item: order.get(item.path.relative_to(item.config.rootpath).parts[1], 1))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI, where everything is installed, count a skipped test as failed."""
    report = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and must not be in CI: {report.longrepr}"
    return report


def processes_below(folder: Path, other_pids: Collection[int] = ()) -> list[psutil.Process]:
    """The processes of a folder: an environment variable or an argument is a path in it.

    `other_pids` are known to be of another folder.
    """
    processes = []
    for pid in psutil.pids():
        if pid == os.getpid() or pid in other_pids or not _mentions(pid, folder):
            continue
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            environment = process.environ()
            paths = [environment.get(variable, "") for variable in FOLDER_VARIABLES] + process.cmdline()
            if any(text == str(folder) or text.startswith(f"{folder}/") for text in paths):
                processes.append(process)
    return processes


def _mentions(pid: int, folder: Path) -> bool:
    """Whether the process's environment or arguments contain the path, as far as /proc says; psutil takes longer."""
    if not os.path.exists("/proc/self"):
        return True
    try:
        with (
            open(f"/proc/{pid}/environ", "rb") as environment,
            open(f"/proc/{pid}/cmdline", "rb") as arguments,
        ):
            return os.fsencode(folder) in environment.read() + b"\0" + arguments.read()
    except OSError:  # it has ended, or is another account's
        return False


def listening_addresses(processes: list[psutil.Process]) -> set[tuple[str, int]]:
    """The TCP addresses and ports that the processes listen on."""
    addresses: set[tuple[str, int]] = set()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            addresses |= {
                (connection.laddr.ip, connection.laddr.port)
                for connection in process.net_connections("tcp")
                if connection.status == psutil.CONN_LISTEN
            }
    return addresses


def listening_ports(processes: list[psutil.Process]) -> set[int]:
    """The TCP ports that the processes listen on."""
    return {port for _, port in listening_addresses(processes)}


def leaked_processes(folder: Path) -> list[str]:
    """Describe the processes of a folder that do not end within `TIMEOUT_S`, and their ports: one line each."""
    return _describe(_surviving(processes_below(folder)))


@pytest.fixture(scope="session", autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for temporary files; fails if a file is left in it, or a process in any test's folder.

    It is the first fixture of the session, so it is torn down last, when everything must have ended.
    """
    base = tmp_path_factory.getbasetemp()
    folder = tmp_path_factory.mktemp("temporary", numbered=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", None)
        yield folder
    leaks = leaked_processes(base) + [f"file {path}" for path in folder.iterdir()]
    assert not leaks, "left by the session:\n" + "\n".join(leaks)


@pytest.fixture(autouse=True)
def _no_leaks(temporary: Path, tmp_path: Path) -> Iterator[None]:
    """Fails a test that leaves a child process, a process in its own folder, a listening port or a temporary file.

    Fixtures of a wider scope end their own processes; `temporary` checks for those at the end of the session, and
    `new_user` when it closes the user's home folder.
    """
    # Older than the test's folder. Should one end meanwhile and its number be reused, `temporary` finds what is left.
    other_pids = set(psutil.pids())
    children, leaks_before = _children(), _leaks(temporary)
    yield
    started = processes_below(tmp_path, other_pids)
    started += [child for child in _children() if child not in children]
    leaks = _describe(_surviving(started)) + sorted(_leaks(temporary) - leaks_before)
    assert not leaks, "left by the test:\n" + "\n".join(leaks)


def _leaks(temporary: Path) -> set[str]:
    """The ports on which this process listens, and its temporary files: one line each."""
    return {f"port {port} of this process" for port in listening_ports([psutil.Process()])} | {
        f"file {path}" for path in temporary.iterdir()
    }


def _children() -> list[psutil.Process]:
    """All processes below this one. psutil reads those of the whole machine, so it is asked only if there are any."""
    return psutil.Process().children(recursive=True) if _has_children() else []


def _has_children() -> bool:
    """Whether this process has a child, by proc_pid_task_children(5); True where that is not known."""
    try:
        lists = [file.read_bytes() for file in Path("/proc/self/task").glob("*/children")]
    except OSError:  # a thread has ended
        return True
    return not lists or any(lists)


def _surviving(processes: list[psutil.Process]) -> list[psutil.Process]:
    """The processes that have not ended after `TIMEOUT_S`."""
    _, alive = psutil.wait_procs(processes, timeout=TIMEOUT_S)
    return [process for process in alive if is_alive(process)]


def command_line(process: psutil.Process) -> list[str]:
    """The arguments of a process, [] if it has just ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def is_alive(process: psutil.Process) -> bool:
    """Whether the process runs and is not a zombie."""
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
