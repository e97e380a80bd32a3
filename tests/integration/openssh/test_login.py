"""The user's keys: where they come from, and the errors when none is accepted."""

import shutil
from getpass import getuser
from pathlib import Path

import pytest

from tests.kit.cli import assert_error, assert_success
from tests.kit.ssh_agent import ssh_agent
from tests.kit.sshd import LOOPBACK, Network, make_key

PASSPHRASE = "correct horse battery staple"


@pytest.fixture(scope="module")
def packages(simulated_packages: Path) -> Path:
    """A small server in place of Jupyter."""
    return simulated_packages


def test_wrong_key(network: Network) -> None:
    """A key that the gateway refuses is named, with the methods that it accepts."""
    wrong = network.home / "wrong_key"
    make_key(wrong)
    network.configure(connect_kwargs={"key_filename": str(wrong)})
    who = f"{getuser()}@{LOOPBACK}"
    assert_error(network.user.fab("secure"), 4, who, "it accepts publickey", f"publickey ({wrong})")
    assert network.gateway.logins() == 0


def test_wrong_key_for_the_host(network: Network) -> None:
    """A key that the gateway accepts and the host refuses is reported as refused by the host."""
    no_keys = network.folder / "no_keys"
    no_keys.write_text("")
    network.host.authorized_keys = no_keys
    network.host.stop()
    network.host.start()
    assert_error(network.user.fab("secure"), 4, "it accepts publickey")
    assert (network.gateway.logins(), network.host.logins()) == (1, 0)


def test_no_key(network: Network) -> None:
    """Without any key the error says that none was found."""
    network.configure(connect_kwargs={})
    assert_error(network.user.fab("secure"), 4, "it accepts publickey", "no key was found")


def test_several_keys(network: Network) -> None:
    """Keys are tried in their order until one is accepted."""
    wrong = network.home / "wrong_key"
    make_key(wrong)
    network.configure(connect_kwargs={"key_filename": [str(wrong), "~/missing", str(network.key)]})
    assert_success(network.user.fab("secure"))


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_default_keys(network: Network, kind: str) -> None:
    """A key of each usual type is found at its default path."""
    key = network.home / ".ssh" / f"id_{kind}"
    make_key(key, kind=kind)
    shutil.copy(key.with_suffix(".pub"), network.authorized_keys)
    network.configure(connect_kwargs={})
    assert_success(network.user.fab("secure"))


def test_key_of_the_command_line(network: Network) -> None:
    """-i gives the key for both hops."""
    network.configure(connect_kwargs={})
    assert_success(network.user.fab("-i", str(network.key), "secure"))


def test_key_of_a_settings_file(network: Network) -> None:
    """The file of -f wins over the user's own settings."""
    settings_file = network.folder / "given.yaml"
    shutil.move(network.home / ".invoke.yaml", settings_file)
    network.configure(connect_kwargs={"key_filename": "/nowhere"}, gateway="nowhere.invalid")
    assert_success(network.user.fab("-f", str(settings_file), "secure"))


def test_key_of_the_agent(network: Network) -> None:
    """A key that only the agent has is used on both hops."""
    network.configure(connect_kwargs={})
    with ssh_agent(network.folder, network.key) as path:
        network.key.unlink()
        assert_success(network.user.fab("secure", SSH_AUTH_SOCK=path))


def test_stale_agent_socket(network: Network) -> None:
    """The socket of an agent that has ended is ignored."""
    assert_success(network.user.fab("secure", SSH_AUTH_SOCK=str(network.folder / "gone")))


def test_destination_of_the_command_line(network: Network) -> None:
    """-H gives user, host and port, and wins over the settings; under invoke --host does."""
    network.configure(user="nobody-here", gateway=f"{getuser()}@{network.gateway_destination}")
    assert_error(network.user.fab("secure"), 4, f"nobody-here@{LOOPBACK}")
    destination = f"{getuser()}@{network.host_destination}"
    network.configure(
        user="nobody-here",
        gateway=f"{getuser()}@{network.gateway_destination}",
        notebook={"host": "nowhere.invalid"},
    )
    assert_success(network.user.fab("-H", destination, "secure"))
    assert_success(network.user.invoke("secure", "--host", destination))


def test_encrypted_key_without_terminal(network: Network) -> None:
    """An encrypted key without a terminal is reported as such."""
    encrypt(network)
    assert_error(network.user.fab("secure"), 4, f"{network.key} (encrypted")


def test_encrypted_key_at_terminal(network: Network) -> None:
    """The passphrase is asked for once, for both hops; later commands use the login of the background tunnel."""
    encrypt(network)
    with network.user.at_terminal(
        "fab", "up", "--detach", "--password-file", network.password_file()
    ) as terminal:
        terminal.expect(f"passphrase for {network.key}: ")
        terminal.type(PASSPHRASE)
        terminal.expect(r"https://localhost:\d+/")
        assert terminal.end() == 0, terminal.output
    assert terminal.output.count("passphrase for ") == 1
    assert PASSPHRASE not in terminal.output
    assert_success(network.user.fab("stop"))


def test_passphrase_at_the_start(network: Network) -> None:
    """The answer at --prompt-for-passphrase decrypts the key, for a background tunnel too, without another prompt."""
    encrypt(network)
    commands = (
        ["secure", "--password-file", network.password_file()],
        ["serve"],
        ["tunnel", "--detach"],
        ["stop"],
    )
    for command in commands:
        with network.user.at_terminal("fab", "--prompt-for-passphrase", *command) as terminal:
            terminal.expect("Enter passphrase")
            terminal.type(PASSPHRASE)
            assert terminal.end() == 0, terminal.output
        assert f"passphrase for {network.key}" not in terminal.output and PASSPHRASE not in terminal.output


def test_wrong_passphrase_at_the_start(network: Network) -> None:
    """Where the answer at --prompt-for-passphrase is wrong, the passphrase of the key is prompted for."""
    encrypt(network)
    command = ["--prompt-for-passphrase", "secure", "--password-file", network.password_file()]
    with network.user.at_terminal("fab", *command) as terminal:
        terminal.expect("Enter passphrase")
        terminal.type("wrong")
        terminal.expect(f"passphrase for {network.key}: ")
        terminal.type(PASSPHRASE)
        assert terminal.end() == 0, terminal.output


def test_wrong_passphrase(network: Network) -> None:
    """A wrong passphrase is reported as such, in the end."""
    encrypt(network)
    with network.user.at_terminal("fab", "secure") as terminal:
        terminal.expect("passphrase for ")
        terminal.type("wrong")
        assert terminal.end() == 4, terminal.output
    assert "wrong passphrase" in terminal.output


def test_ssh_config(network: Network) -> None:
    """The file of -S gives address, port, key, route and user, as an error with another user shows."""
    config = network.folder / "ssh_config"
    elsewhere = network.key.rename(network.key.with_name("elsewhere"))
    config.write_text(network.ssh_config().replace(str(network.key), str(elsewhere)))
    network.configure(gateway=None, connect_kwargs={}, notebook={"host": "host"})
    assert_success(network.user.fab("-S", str(config), "secure"))
    assert (network.gateway.logins(), network.host.logins()) == (1, 1)
    config.write_text(config.read_text().replace(f"User {getuser()}", "User nobody-here"))
    assert_error(network.user.fab("-S", str(config), "secure"), 4, "nobody-here@gateway")


def test_ssh_config_of_the_user(network: Network) -> None:
    """~/.ssh/config counts by default, unless load_ssh_configs is false."""
    (network.home / ".ssh" / "config").write_text(network.ssh_config())
    network.configure(gateway="gateway", connect_kwargs={}, notebook={"host": "host"})
    assert_success(network.user.fab("secure"))
    network.configure(gateway="gateway", load_ssh_configs=False, notebook={"host": "host"})
    assert_error(network.user.fab("secure"), 3, "could not resolve host name gateway")


def test_proxy_command_of_ssh_config(network: Network) -> None:
    """A ProxyCommand of ssh_config leads to the host as well."""
    config = network.folder / "ssh_config"
    config.write_text(
        network.ssh_config().replace("ProxyJump gateway", f"ProxyCommand ssh -F {config} -W %h:%p gateway")
    )
    network.configure(gateway=None, notebook={"host": "host"})
    assert_success(network.user.fab("-S", str(config), "secure"))
    assert (network.gateway.logins(), network.host.logins()) == (1, 1)


def test_session_reached_through_ssh_config(network: Network) -> None:
    """A session under a name that only ssh_config knows can be shown and stopped later."""
    (network.home / ".ssh" / "config").write_text(network.ssh_config())
    network.configure(gateway=None, connect_kwargs={}, notebook={"host": "host"})
    assert_success(network.user.fab("secure", "serve"))
    assert network.user.only_session()["server"] == "running"
    assert_success(network.user.fab("stop"))
    network.wait_until_empty()


def encrypt(network: Network) -> None:
    """Encrypt the client's key with a passphrase, with few KDF rounds (-a)."""
    result = network.run(
        "ssh-keygen", "-q", "-p", "-a", "1", "-P", "", "-N", PASSPHRASE, "-f", str(network.key)
    )
    assert result.returncode == 0, result.stderr
