"""Shared by the programs on the host: the reply, private files, the lock, and the identity of a process.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import contextlib
import errno
import fcntl
import functools
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile

MARKER = ""  # set by run_program.sh
CONFIRM_TIMEOUT_S = 20  # seconds, while the lock is held: other programs wait for it
HAS_PROC = os.path.exists("/proc/self/stat")


def reply(**fields):
    """Print the reply of this program; the marker separates it from the output of other programs.

    It is UTF-8. A byte of a file name that is not valid UTF-8 becomes `?`.
    """
    text = json.dumps(dict(fields, host=host_name()), ensure_ascii=False)
    sys.stdout.flush()
    sys.stdout.buffer.write(("\n%s %s\n" % (MARKER, text)).encode("utf-8", "replace"))
    sys.stdout.buffer.flush()


def reply_error(error):
    """Reply with an error of the system: its text, its name in errno(3) and the file."""
    reply(
        problem="system-error",
        reason=error.strerror or str(error),
        code=errno.errorcode.get(error.errno, ""),
        path=os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else "",
    )


def wait_for_confirmation():
    """Report the name of this host, and wait until the client confirms; returns whether it did.

    The client confirms once it has recorded the session. So no server is started without a record of it.
    """
    reply(problem="", asks=True, login_node=is_login_node())
    ready, _, _ = select.select([0], [], [], CONFIRM_TIMEOUT_S)
    return bool(ready) and sys.stdin.buffer.readline(3) == b"go\n"


def is_login_node():
    """Whether this seems to be a login node of a Slurm cluster: jobs are submitted here, and none run here."""
    config = os.environ.get("SLURM_CONF", "/etc/slurm/slurm.conf")
    if not shutil.which("sbatch") or not os.path.exists(config) or not HAS_PROC:
        return False
    return not any(process_name(int(name)) == "slurmd" for name in os.listdir("/proc") if name.isdigit())


def process_name(pid):
    """The name of the program (proc(5), comm); "" if there is no such process."""
    try:
        with open("/proc/%d/comm" % pid) as file:
            return file.read().rstrip("\n")
    except OSError:
        return ""


@functools.lru_cache(maxsize=None)
def host_name():
    """The host name of this machine; of a pool, that of the member that was reached."""
    try:
        return subprocess.check_output(["uname", "-n"]).decode("ascii", "replace").strip()
    except OSError:  # a system without the program
        return os.uname().nodename


def state_folder():
    """The private folder for this host's own state: hosts that share a home folder have one each."""
    name = host_name()
    if not name or name.startswith(".") or "/" in name:
        raise RuntimeError("the host name is %r" % name)
    return private_folder(
        os.path.join(os.path.expanduser("~"), ".local", "state", "notebooks-over-ssh", name)
    )


def private_folder(path):
    """Make the folder, for its owner only, and return its path."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.mkdir(path, 0o700)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
    if os.stat(path).st_mode & 0o077:
        os.chmod(path, 0o700)
    return path


def write_private(path, content):
    """Replace the file atomically; it is private from its first byte, and the old file stays if anything fails."""
    path = os.path.realpath(path)
    descriptor, temp_path = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=os.path.dirname(path))
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temp_path, path)
    except BaseException:
        os.unlink(temp_path)
        raise


@contextlib.contextmanager
def exclusive_lock(folder):
    """Hold the lock of the folder; the system releases it when the program ends."""
    with open(os.path.join(folder, "lock"), "w") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise  # on a file system without locks, go on without one
        yield


def process_start(pid):
    """The start of the process, which distinguishes it from a later one with the same PID; None if it has ended.

    proc(5): field 22 of /proc/PID/stat is the start in clock ticks after boot; random/boot_id tells the boots apart.
    """
    if not HAS_PROC:
        state, _, start = ps("state=,lstart=", "-p", str(pid)).strip().partition(" ")
        return None if not state or state.startswith("Z") else start.strip()
    fields = process_status(pid)
    if not fields or fields[0] in "ZX":
        return None
    with open("/proc/sys/kernel/random/boot_id") as file:
        return "%s/%s" % (file.read().strip(), fields[19])


def process_parents():
    """The PID and the parent's PID of every process."""
    if not HAS_PROC:
        return [tuple(map(int, line.split())) for line in ps("pid=,ppid=", "-A").splitlines()]
    statuses = [(int(name), process_status(int(name))) for name in os.listdir("/proc") if name.isdigit()]
    return [(pid, int(status[1])) for pid, status in statuses if status]


def process_status(pid):
    """The fields of /proc/PID/stat from the third on (state, parent, ...); None if there is no such process."""
    try:
        # The second field, the name of the program, can contain any byte.
        with open("/proc/%d/stat" % pid, "rb") as file:
            return file.read().rpartition(b")")[2].decode("ascii").split()
    except OSError:
        return None


def ps(columns, *processes):
    """The output of ps(1), for systems without /proc: BSD and macOS. A minimal Linux has no ps."""
    process = subprocess.Popen(
        ["ps", "-o", columns] + list(processes), stdout=subprocess.PIPE, env=dict(os.environ, LC_ALL="C")
    )
    return process.communicate()[0].decode("utf-8", "replace")


def listeners():
    """The host's listening TCP sockets: family, address (hexadecimal words), port, user, socket; none without /proc.

    proc(5): /proc/net/tcp and tcp6 have the local address and port, the remote ones, the state (0A is TCP_LISTEN), and
    later the user and the inode.
    """
    for family, path in ((socket.AF_INET, "/proc/net/tcp"), (socket.AF_INET6, "/proc/net/tcp6")):
        try:
            with open(path) as file:
                rows = [line.split() for line in file.readlines()[1:]]
        except (IOError, OSError):
            continue
        for fields in rows:
            if fields[3] == "0A":
                address, _, port = fields[1].partition(":")
                yield family, address, int(port, 16), int(fields[7]), "socket:[%s]" % fields[9]


def directory_path(setting):
    """The folder that notebook.directory names: `~/x` and `$HOME/x` are below the home folder."""
    for home in ("$HOME", "${HOME}"):
        if setting == home or setting.startswith(home + "/"):
            setting = "~" + setting[len(home) :]
    return os.path.expanduser(setting)


def directory_problem(directory):
    """The reply if Jupyter cannot start in the directory; None if it can."""
    if os.path.isdir(directory):
        if os.access(directory, os.R_OK | os.X_OK):
            return None
        return dict(problem="directory-inaccessible", directory=directory)
    parent = directory
    while parent and not os.path.isdir(parent):
        parent = os.path.dirname(parent) if parent != os.path.dirname(parent) else ""
    return dict(problem="directory-missing", directory=directory, path=parent)


def set_conda_variables():
    """Set the variables of the Conda environment, as `conda activate` does after its hooks have run."""
    prefix = os.environ.get("CONDA_PREFIX", "")
    folder = os.path.join(prefix, "etc", "conda", "env_vars.d")
    config_files = (
        [os.path.join(folder, name) for name in sorted(os.listdir(folder))] if os.path.isdir(folder) else []
    )
    for path, key in [(path, None) for path in config_files] + [
        (os.path.join(prefix, "conda-meta", "state"), "env_vars")
    ]:
        try:
            with open(path, encoding="utf-8") as file:
                variables = json.load(file)
        except (IOError, OSError, ValueError):
            continue
        for name, value in (variables.get(key, {}) if key else variables).items():
            if isinstance(value, str) and value != "***unset***":
                os.environ[name] = value
