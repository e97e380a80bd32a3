"""Finds files and folders of Jupyter that others can write, or from which they can read a secret, and closes them.

Code that Jupyter and its Python load runs as this account. So each file that they read, and each folder above it, must
belong to this account or root and not be writable by others, as sshd requires it for authorized_keys (sshd_config(5),
StrictModes). The owner of the environment's Python is trusted with the environment.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import errno
import functools
import grp
import os
import pwd
import site
import stat
import sys

from common import write_private
from insecure_settings import config_files, is_secret, read_settings

MAX_LINKS = 40  # path_resolution(7)
MAX_REPORTED = 50
# AFS uses access lists; modes have no effect there.
WITHOUT_MODES = ("afs",)
ALL_USERS = 2**32 - 1  # the length of the mapping in the initial user namespace
MOUNTS = "/proc/self/mountinfo"
# By convention, the members of these groups can become root.
ROOT_GROUPS = ("root", "wheel", "admin")
OWNER, WRITABLE, READABLE = "owner", "writable", "readable"


def find_exposed(jupyter, directory, extra_paths=()):
    """Every exposure in what Jupyter reads when it starts in the directory, and in `extra_paths`: see `add_finding`."""
    inspection = Inspection()
    inspection.check_secrets(jupyter.folder)
    folders = config_folders(jupyter) + data_folders()
    if jupyter.reads_working_directory:
        inspection.check_path(directory)
    for path in folders + list(extra_paths):
        inspection.check_tree(path)
    for path in python_paths():
        inspection.check_path(path)
    return list(inspection.findings.values())


def close_to_others(exposures):
    """Close this account's files to others. Raises OSError, also if the file system does not store the mode."""
    for exposure in exposures:
        path, mode = exposure["path"], exposure["mode"]
        before = os.stat(path)
        if stat.S_ISREG(before.st_mode) and before.st_mode & 0o022:
            # A process that has the file open for writing keeps the old one, not its replacement.
            with open(path, "rb") as file:
                write_private(path, file.read())
        os.chmod(path, mode)
        if stat.S_IMODE(os.stat(path).st_mode) != mode:
            raise OSError(errno.EPERM, "the file system does not store the mode", path)


def error_reply(exposures):
    """The reply that refuses to go on: names one exposure, preferably one that this account cannot close."""
    first = for_reply(exposures)[0]
    reason = {
        OWNER: "belongs to another account (user ID %d)" % first["user"],
        WRITABLE: "can be changed by other accounts",
        READABLE: "can be read by other accounts",
    }[first["problem"]]
    return dict(problem="exposed", path=first["path"], reason=reason, is_owned=first["is_owned"])


def for_reply(exposures):
    """At most MAX_REPORTED of them, those first that this account cannot close."""
    return sorted(exposures, key=lambda exposure: exposure["is_owned"])[:MAX_REPORTED]


def config_folders(jupyter):
    """The folders from which Jupyter and IPython read configuration and start-up files."""
    from jupyter_core.paths import jupyter_config_path

    ipython = os.environ.get("IPYTHONDIR") or os.path.join("~", ".ipython")
    prefixes = (sys.prefix, "/usr/local", "/")
    return (
        [jupyter.folder]
        + jupyter_config_path()
        + [os.path.expanduser(ipython)]
        + [os.path.join(prefix, "etc", "ipython") for prefix in prefixes]
    )


def data_folders():
    """The folders from which Jupyter reads kernels and extensions, which are programs."""
    from jupyter_core.paths import jupyter_path

    names = ("JUPYTERLAB_DIR", "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    return jupyter_path() + [os.environ[name] for name in names if os.environ.get(name)]


def python_paths():
    """Python, the folders from which it loads modules (not their contents), and the file that kernels run first."""
    paths = [sys.executable] + sys.path
    if site.ENABLE_USER_SITE:
        paths.append(site.getusersitepackages())
    # PYTHONPYCACHEPREFIX, from Python 3.8 on; and IPython runs PYTHONSTARTUP, as an interactive Python does.
    return paths + list(filter(None, [getattr(sys, "pycache_prefix", None), os.environ.get("PYTHONSTARTUP")]))


class Inspection(object):
    """Checks files and folders, each of them once, and collects the exposures in `findings`."""

    def __init__(self):
        self.findings = {}
        self.user = os.getuid()
        self.environments = [os.path.realpath(prefix) for prefix in {sys.prefix, sys.base_prefix}]
        self.environment_owners = {os.stat(prefix).st_uid for prefix in self.environments}
        self.without_modes = devices_without_modes()
        self.unmapped = unmapped_owner()
        self.checked_paths = set()
        self.checked_trees = set()

    def check_secrets(self, folder):
        """Check who can read the configuration files in the folder that contain a secret, such as the password hash."""
        for path in config_files([folder]):
            info = os.stat(path)
            is_open = info.st_mode & 0o077 and info.st_dev not in self.without_modes
            if is_open and info.st_uid == self.user and has_secret(path):
                self.add_finding(path, WRITABLE if info.st_mode & 0o022 else READABLE, info, 0o077)

    def check_tree(self, path):
        """Check the path, the folders above it, and everything below it, through symbolic links too."""
        self.check_path(path)
        folders = [path]
        while folders:
            folder = folders.pop()
            real_path = os.path.realpath(folder)
            if real_path in self.checked_trees:
                continue
            self.checked_trees.add(real_path)
            try:
                names = os.listdir(folder)
            except OSError:
                continue  # not a folder, or Jupyter cannot read it either
            for name in names:
                entry = os.path.join(folder, name)
                try:
                    info = os.lstat(entry)
                except OSError:
                    continue
                if stat.S_ISLNK(info.st_mode):
                    self.check_path(entry)
                else:
                    self.check_entry(entry, info, True)
                if os.path.isdir(entry):
                    folders.append(entry)

    def check_path(self, path):
        """Check the path, and every folder and symbolic link above it."""
        steps = list(resolve_steps(os.path.abspath(path)))
        for step, info in steps:
            is_target = step == steps[-1][0]
            if (step, is_target) not in self.checked_paths:
                self.checked_paths.add((step, is_target))
                self.check_entry(step, info, is_target)

    def check_entry(self, path, info, is_target):
        """Record what is wrong with one file or folder.

        `is_target`: it is not only a parent folder, so a sticky bit does not help: new files in it would be read.
        """
        if info.st_dev in self.without_modes:
            return
        if info.st_uid not in self.trusted_owners(path):
            self.add_finding(path, OWNER, info)
        elif stat.S_ISLNK(info.st_mode):
            pass  # its mode has no meaning (symlink(7))
        elif writable_by_others(path, info) and (is_target or not info.st_mode & stat.S_ISVTX):
            self.add_finding(path, WRITABLE, info)

    def add_finding(self, path, problem, info, mask=0o022):
        """Record an exposure. If it `is_owned`, this account can close it, by a mode without the bits of the mask."""
        mode = stat.S_IMODE(info.st_mode) & ~mask
        # A folder with the sticky bit, such as /tmp, is shared on purpose.
        is_owned = problem != OWNER and info.st_uid == self.user and not mode & stat.S_ISVTX
        self.findings.setdefault(
            path, dict(path=path, problem=problem, user=info.st_uid, is_owned=is_owned, mode=mode)
        )

    def trusted_owners(self, path):
        owners = {0, self.user, self.unmapped}
        return owners | self.environment_owners if self.in_environment(path) else owners

    def in_environment(self, path):
        """Whether the path is in the environment, or is a folder above it."""
        path = path.rstrip("/") + "/"
        prefixes = [prefix + "/" for prefix in self.environments]
        return any(prefix.startswith(path) or path.startswith(prefix) for prefix in prefixes)


def has_secret(path):
    """Whether the configuration file sets a password, a token or a key."""
    return any(value and is_secret(name) for name, value, _ in read_settings(path))


def resolve_steps(path):
    """(path, lstat) of each existing component of an absolute path, through symbolic links (path_resolution(7))."""
    yield "/", os.lstat("/")
    current, remaining, link_count = "/", path.split("/")[::-1], 0
    while remaining:
        part = remaining.pop()
        if part in ("", ".", ".."):
            current = os.path.dirname(current) if part == ".." else current
            continue
        step = os.path.join(current, part)
        try:
            info = os.lstat(step)
            target = os.readlink(step) if stat.S_ISLNK(info.st_mode) else None
        except OSError:
            return  # it does not exist, or Jupyter cannot read it either
        yield step, info
        if target is None:
            current = step
            continue
        link_count += 1
        if link_count > MAX_LINKS:
            return
        current = "/" if target.startswith("/") else current
        remaining += target.split("/")[::-1]


def writable_by_others(path, info):
    """Whether accounts other than the owner and root can write to it.

    Write permission of the group counts, unless the file belongs to root, the members of the group can become root, or
    it is the owner's private group: of the same name, and without other members.
    """
    if info.st_mode & 0o002:
        return True
    if not info.st_mode & 0o020 or info.st_uid == 0:
        return False
    # With an access list, the group bits are the mask: the maximum for every entry of the list (acl(5)).
    return has_access_list(path) or not is_trusted_group(info.st_gid, info.st_uid)


def has_access_list(path):
    try:
        return "system.posix_acl_access" in os.listxattr(path)
    except (AttributeError, OSError):
        return False


@functools.lru_cache(maxsize=None)
def is_trusted_group(group, user):
    try:
        account, entry = pwd.getpwuid(user), grp.getgrgid(group)
    except KeyError:
        return False
    if entry.gr_name in ROOT_GROUPS:
        return True
    if entry.gr_name != account.pw_name or account.pw_gid != group or set(entry.gr_mem) - {account.pw_name}:
        return False
    # An account need not be listed in the group that it logs in with (group(5)).
    return all(other.pw_gid != group or other.pw_uid == user for other in pwd.getpwall())


def devices_without_modes():
    """The devices (st_dev) of file systems on which modes have no effect; proc(5), /proc/PID/mountinfo."""
    devices = set()
    for line in read_lines(MOUNTS):
        fields, _, kind = line.partition(" - ")
        if kind.split(" ")[0] in WITHOUT_MODES:
            major, minor = fields.split()[2].split(":")
            devices.add(os.makedev(int(major), int(minor)))
    return devices


def unmapped_owner():
    """The user ID of all users that a user namespace does not map (user_namespaces(7)); 0 outside of one."""
    mapped_counts = [int(line.split()[2]) for line in read_lines("/proc/self/uid_map")]
    if not mapped_counts or sum(mapped_counts) >= ALL_USERS:
        return 0
    return int(read_lines("/proc/sys/kernel/overflowuid")[0])


def read_lines(path):
    """The lines of a file in /proc; none on a system without it."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []
