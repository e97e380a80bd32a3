"""Who may change a file that Jupyter reads: owners, modes, groups, links, and the list of what is read."""

import os
import stat
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

USER, OTHER, SYSTEM = 1000, 1001, 33
GROUP = 2000
FOLDER, FILE, LINK = stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK


@pytest.fixture
def exposure(import_remote: Callable[[str], ModuleType]) -> Any:
    return import_remote("exposure")


@pytest.fixture
def inspection(exposure: Any) -> Any:
    """The inspection of the account USER, with an environment of OTHER at /env."""
    created = exposure.Inspection()
    created.user, created.without_modes, created.unmapped = USER, {7}, 0
    created.environments, created.environment_owners = ["/env"], {OTHER}
    return created


def status(mode: int, user: int = USER, *, device: int = 1) -> os.stat_result:
    """The result of stat(2) for a file with this type, mode and owner; its group is GROUP."""
    return os.stat_result((mode, 1, device, 1, user, GROUP, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("path", "info", "is_target", "problem"),
    [
        ("/home", status(FOLDER | 0o755), False, None),
        ("/home", status(FOLDER | 0o755, 0), False, None),
        ("/home", status(FOLDER | 0o755, OTHER), False, "owner"),
        ("/home", status(FOLDER | 0o755, SYSTEM), False, "owner"),
        ("/home", status(LINK | 0o777), False, None),
        ("/home", status(LINK | 0o777, OTHER), False, "owner"),
        ("/home", status(FOLDER | 0o757), False, "writable"),
        ("/home", status(FOLDER | 0o757, 0), False, "writable"),
        ("/home", status(FOLDER | 0o775), False, "writable"),
        ("/home", status(FOLDER | 0o775, 0), False, None),
        ("/tmp", status(FOLDER | 0o1777, 0), False, None),
        ("/tmp", status(FOLDER | 0o1777, 0), True, "writable"),
        ("/env", status(FOLDER | 0o755, OTHER), True, None),
        ("/env/lib", status(FOLDER | 0o755, OTHER), True, None),
        ("/", status(FOLDER | 0o755, OTHER), False, None),
        ("/env", status(FOLDER | 0o777, OTHER), True, "writable"),
        ("/env", status(FOLDER | 0o755, SYSTEM), True, "owner"),
        ("/environment", status(FOLDER | 0o755, OTHER), True, "owner"),
        ("/home", status(FOLDER | 0o777, OTHER, device=7), True, None),
    ],
)  # fmt: skip
def test_owner_and_mode(
    inspection: Any, path: str, info: os.stat_result, is_target: bool, problem: str | None
) -> None:
    """Only the account, root, and in an environment its owner may own a file, and no other may write to it."""
    inspection.check_entry(path, info, is_target)
    problems = [finding["problem"] for finding in inspection.findings.values()]
    assert problems == ([problem] if problem else [])


@pytest.mark.parametrize(
    ("info", "is_owned"),
    [
        (status(FOLDER | 0o777), True),
        (status(FOLDER | 0o1777), False),
        (status(FOLDER | 0o777, 0), False),
        (status(FOLDER | 0o755, OTHER), False),
    ],
)
def test_what_the_account_can_close(inspection: Any, info: os.stat_result, is_owned: bool) -> None:
    """A folder is closed only if it is the account's own and not shared on purpose, as /tmp is."""
    inspection.check_entry("/x", info, True)
    assert inspection.findings["/x"]["is_owned"] == is_owned


def test_unmapped_owners(exposure: Any, inspection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a user namespace, the ID of all users without a mapping counts as root; outside of one it is an account."""
    files = {"/proc/sys/kernel/overflowuid": ["65534"]}
    monkeypatch.setattr(exposure, "read_lines", lambda path: files.get(path, []))
    for lines, expected in (
        ([], 0),
        (["         0          0 4294967295"], 0),
        (["         0     100000      65536"], 65534),
    ):
        files["/proc/self/uid_map"] = lines
        inspection.unmapped = exposure.unmapped_owner()
        assert inspection.unmapped == expected
        inspection.check_entry(f"/{len(lines)}", status(FOLDER | 0o755, 65534), True)
        assert bool(inspection.findings) == (expected == 0)
        inspection.findings.clear()
        inspection.check_entry("/root", status(FOLDER | 0o755, 0), True)
        assert not inspection.findings


def test_file_systems_without_modes(exposure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On AFS, and there only, modes are ignored."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n36 25 0:34 / /afs rw - afs AFS rw\n"
        "37 25 0:35 / /home/afs rw - nfs4 server:/afs rw\n"
    )
    monkeypatch.setattr(exposure, "MOUNTS", str(mounts))
    assert exposure.devices_without_modes() == {os.makedev(0, 34)}


Account = tuple[str, int, int]
MEMBERS: dict[str, tuple[str, list[str], list[Account], int, bool]] = {
    "its own": ("me", [], [], GROUP, True),
    "its own, with itself in it": ("me", ["me"], [], GROUP, True),
    "another member": ("me", ["me", "stranger"], [], GROUP, False),
    "the group that another account logs in with": ("me", [], [("stranger", OTHER, GROUP)], GROUP, False),
    "not the one that it logs in with": ("me", [], [], GROUP + 1, False),
    "of another name": ("staff", [], [], GROUP, False),
    "wheel": ("wheel", ["me", "stranger"], [], GROUP + 1, True),
    "admin": ("admin", ["stranger"], [], GROUP + 1, True),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_groups(exposure: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A group may write if the account is alone in it, or if its members can become root."""
    group_name, members, others, own_group, trusted = MEMBERS[name]
    accounts = [
        SimpleNamespace(pw_name=account, pw_uid=uid, pw_gid=gid)
        for account, uid, gid in [("me", USER, own_group), *others]
    ]
    monkeypatch.setattr(
        exposure, "pwd", SimpleNamespace(getpwuid=lambda uid: accounts[0], getpwall=lambda: accounts)
    )
    entry = SimpleNamespace(gr_name=group_name, gr_mem=members)
    monkeypatch.setattr(exposure, "grp", SimpleNamespace(getgrgid=lambda gid: entry))
    assert exposure.writable_by_others("/x", status(FOLDER | 0o770)) == (not trusted)
    # With an access list, the group bits say what others in the list may do at most.
    monkeypatch.setattr(os, "listxattr", lambda path: ["system.posix_acl_access"])
    assert exposure.writable_by_others("/x", status(FOLDER | 0o770))
    assert not exposure.writable_by_others("/x", status(FOLDER | 0o750))


def test_unknown_group(exposure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group or an account that the host does not know is not trusted."""

    def unknown(number: int) -> None:
        raise KeyError(number)

    for module, name in (("grp", "getgrgid"), ("pwd", "getpwuid")):
        with monkeypatch.context() as patch:
            patch.setattr(getattr(exposure, module), name, unknown)
            assert exposure.writable_by_others("/x", status(FILE | 0o660, os.getuid() or USER))


@pytest.fixture
def read_by_jupyter(exposure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a home, an environment and a Python of its own, in which nothing is exposed."""
    for name in ("home", "env", "python", "modules", "user site", "working", "jupyter", "extra"):
        (tmp_path / name).mkdir(mode=0o755)
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_PATH", "JUPYTER_PATH", "PYTHONSTARTUP"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(
        exposure,
        "sys",
        SimpleNamespace(
            prefix=str(tmp_path / "env"),
            base_prefix=str(tmp_path / "env"),
            executable=str(tmp_path / "python/python3"),
            path=[str(tmp_path / "modules")],
            pycache_prefix=None,
        ),
    )
    monkeypatch.setattr(
        exposure,
        "site",
        SimpleNamespace(ENABLE_USER_SITE=True, getusersitepackages=lambda: str(tmp_path / "user site")),
    )
    return tmp_path


READ = {
    "jupyter": None,
    "jupyter/custom": None,
    "home/.ipython/profile_default/startup": None,
    "env/etc/ipython/profile_default": None,
    "python": None,
    "modules": None,
    "user site": None,
    "working": None,
    "extra": None,
    "extra/runtime": None,
    "v/config/nbconfig": "JUPYTER_CONFIG_PATH",
    "v/data/kernels/python3": "JUPYTER_PATH",
    "v/lab/static": "JUPYTERLAB_DIR",
    "v/settings/x": "JUPYTERLAB_SETTINGS_DIR",
    "v/workspaces/x": "JUPYTERLAB_WORKSPACES_DIR",
    "v/ipython/profile_default": "IPYTHONDIR",
    "v/startup.py": "PYTHONSTARTUP",
}


@pytest.mark.parametrize("path", READ)
def test_all_that_is_read(
    exposure: Any, read_by_jupyter: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """What Jupyter, IPython and Python read is checked, wherever a variable says that it is."""
    target = read_by_jupyter / path
    target.mkdir(parents=True, exist_ok=True)
    variable = READ[path]
    if variable:
        monkeypatch.setenv(variable, str(read_by_jupyter.joinpath(*Path(path).parts[:2])))
    assert find_exposed(exposure, read_by_jupyter) == set()
    target.chmod(0o757)
    assert find_exposed(exposure, read_by_jupyter) == {path}


def test_folder_of_compiled_modules(exposure: Any, read_by_jupyter: Path) -> None:
    """The folder in which Python looks for compiled modules is checked where it is set (PYTHONPYCACHEPREFIX)."""
    cache = read_by_jupyter / "cache"
    cache.mkdir(mode=0o755)
    cache.chmod(0o757)
    assert find_exposed(exposure, read_by_jupyter) == set()
    exposure.sys.pycache_prefix = str(cache)
    assert find_exposed(exposure, read_by_jupyter) == {"cache"}


def test_working_directory_that_is_not_read(exposure: Any, read_by_jupyter: Path) -> None:
    """The contents of a notebook folder from which Jupyter reads no configuration are not checked."""
    (read_by_jupyter / "working").chmod(0o757)
    assert find_exposed(exposure, read_by_jupyter, reads_working_directory=False) == set()


def test_readable_configuration(exposure: Any, read_by_jupyter: Path) -> None:
    """A configuration file with a password hash is exposed if others can read it."""
    config = read_by_jupyter / "jupyter/jupyter_server_config.json"
    config.write_text('{"ServerApp": {"password": "argon2:x"}}')
    config.chmod(0o600)
    assert find_exposed(exposure, read_by_jupyter) == set()
    config.chmod(0o640)
    assert find_exposed(exposure, read_by_jupyter) == {"jupyter/jupyter_server_config.json"}


def find_exposed(exposure: Any, folder: Path, *, reads_working_directory: bool = True) -> set[str]:
    """The exposed paths below the folder."""
    jupyter = SimpleNamespace(folder=str(folder / "jupyter"), reads_working_directory=reads_working_directory)
    findings = exposure.find_exposed(jupyter, str(folder / "working"), [str(folder / "extra")])
    paths = {os.path.relpath(finding["path"], folder) for finding in findings}
    return {path for path in paths if not path.startswith("..")}


def test_links(exposure: Any, tmp_path: Path) -> None:
    """A link is followed as the system follows it: relative to its own folder, from the root, and through `..`."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "c").mkdir()
    (tmp_path / "relative").symlink_to("a/b")
    (tmp_path / "a/b/up").symlink_to("../../c")
    (tmp_path / "absolute").symlink_to(tmp_path / "relative/up")
    steps = [os.path.relpath(step, tmp_path) for step, _ in exposure.resolve_steps(f"{tmp_path}/absolute/x")]
    assert [step for step in steps if not step.startswith("..") and step != "."] == [
        *("absolute", "relative", "a", "a/b", "a/b/up", "c"),
    ]  # fmt: skip


def test_links_in_a_circle(exposure: Any, tmp_path: Path) -> None:
    """A link to itself ends the path, and each folder is read once however many links lead to it."""
    (tmp_path / "itself").symlink_to("itself")
    assert len(list(islice(exposure.resolve_steps(str(tmp_path / "itself")), 100))) < 100
    (tmp_path / "folder").mkdir()
    for name in "abc":
        (tmp_path / "folder" / name).symlink_to("../folder")
    read: list[str] = []

    def listdir(path: str) -> list[str]:
        read.append(path)
        assert len(read) < 10
        return sorted(os.listdir(path))

    patched = {name: getattr(os, name) for name in dir(os)} | {"listdir": listdir}
    exposure.os = SimpleNamespace(**patched)
    exposure.Inspection().check_tree(str(tmp_path / "folder"))
    assert len(read) == 1


def test_links_in_a_tree(exposure: Any, tmp_path: Path) -> None:
    """What a link below the folder leads to is checked with the folders above it, and so is what is in it."""
    tree, shared = tmp_path / "tree", tmp_path / "shared"
    for folder in (tree, shared / "open", shared / "closed"):
        folder.mkdir(parents=True)
    (shared / "closed/file").touch()
    (tree / "link").symlink_to(shared / "closed")
    for exposed in (shared, shared / "closed", shared / "closed/file"):
        mode = exposed.stat().st_mode
        exposed.chmod(mode | 0o002)
        inspection = exposure.Inspection()
        inspection.check_tree(str(tree))
        assert {os.path.realpath(path) for path in inspection.findings} == {str(exposed)}
        exposed.chmod(mode)


def test_closed(exposure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that others could write to is replaced, and a file system that keeps no mode is an error."""
    file = tmp_path / "file"
    file.write_text("x")
    file.chmod(0o666)
    before = file.stat().st_ino
    finding = [{"path": str(file), "mode": 0o644}]
    with file.open("rb"):  # its number is not used again
        exposure.close_to_others(finding)
    after = file.stat()
    assert (stat.S_IMODE(after.st_mode), file.read_text(), after.st_ino != before) == (0o644, "x", True)
    exposure.close_to_others(finding)
    assert file.stat().st_ino == after.st_ino
    file.chmod(0o640)
    monkeypatch.setattr(os, "chmod", lambda path, mode: None)
    with pytest.raises(PermissionError, match="does not store the mode"):
        exposure.close_to_others(finding)


@pytest.mark.parametrize(
    ("mode", "user", "content", "expected"),
    [
        (0o640, None, '{"ServerApp": {"password": "argon2:x"}}', ["readable"]),
        (0o604, None, '{"ServerApp": {"password": "argon2:x"}}', ["readable"]),
        (0o620, None, '{"ServerApp": {"password": "argon2:x"}}', ["writable"]),
        (0o600, None, '{"ServerApp": {"password": "argon2:x"}}', []),
        (0o644, None, '{"ServerApp": {"port": 1}}', []),
        (0o644, None, '{"ServerApp": {"password": ""}}', []),
        (0o644, OTHER, '{"ServerApp": {"password": "argon2:x"}}', []),
    ],
)
def test_secrets(
    exposure: Any, tmp_path: Path, mode: int, user: int | None, content: str, expected: list[str]
) -> None:
    """The account's own configuration file with a secret must not be readable by others."""
    file = tmp_path / "jupyter_server_config.json"
    file.write_text(content)
    file.chmod(mode)
    inspection = exposure.Inspection()
    inspection.user = inspection.user if user is None else user
    inspection.check_secrets(str(tmp_path))
    assert [finding["problem"] for finding in inspection.findings.values()] == expected
    assert all(not finding["mode"] & 0o077 for finding in inspection.findings.values())


def test_reply(exposure: Any) -> None:
    """A reply has a few of many findings, first those that the account cannot fix."""
    many = [{"path": str(number), "is_owned": number != 99} for number in range(100)]
    reply = exposure.for_reply(many)
    assert (reply[0]["path"], len(reply)) == ("99", exposure.MAX_REPORTED)
