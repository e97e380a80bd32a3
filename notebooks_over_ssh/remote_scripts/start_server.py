"""Starts the session's Jupyter server unless it is running, and waits until it answers.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import binascii
import functools
import os
import shutil
import ssl
import subprocess
import sys
import time

import exposure
from common import (
    directory_path,
    directory_problem,
    exclusive_lock,
    private_folder,
    process_start,
    reply,
    set_conda_variables,
    wait_for_confirmation,
    write_private,
)
from cookie_key import write_cookie_secret
from jupyter_config import Jupyter, check_certificate
from jupyter_traits import COMPUTED, TRAITS
from process_tree import find_tree, terminate
from server_state import Server, describe

TERMINATE_TIMEOUT_S = 10
MAX_LAUNCHES = 3
# What Jupyter writes to its log when the port that it found was taken before it listened on it.
PORT_TAKEN = "no available port could be found"
# TLS 1.2 ciphers that no older version has; the list for TLS 1.3 is separate, and stays (ciphers(1)).
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
# They would give the server another token or port, or make its runtime files readable by all (jupyter_core).
SCRUBBED_VARIABLES = ("JUPYTER_TOKEN", "JUPYTER_PORT", "NOTEBOOK_TOKEN", "JUPYTER_ALLOW_INSECURE_WRITES")


def main(parameters):
    reply(**start(parameters, wait_for_confirmation))


def start(parameters, confirm):
    """Start the server unless it is running, once `confirm` returns true; returns the reply."""
    os.umask(0o077)
    set_conda_variables()
    server = Server()
    launch = None
    for _ in range(MAX_LAUNCHES):
        with exclusive_lock(server.folder):
            record = server.running()
            already_running = record is not None
            if not already_running:
                if launch is None:
                    problem, launch = prepare(server, parameters)
                    if not problem and not confirm():
                        problem = dict(problem="not-confirmed")
                    if problem:
                        return problem
                record = launch()
        # The lock is released, so that `stop` can stop it meanwhile.
        result = wait_until_ready(server, record, already_running, parameters["start_timeout_s"])
        if already_running or not is_port_taken(result):
            break
    return result


def is_port_taken(result):
    """Whether the server ended because another process took the port that it had found."""
    return result["problem"] == "exited" and any(PORT_TAKEN in line for line in result["log"])


def prepare(server, parameters):
    """Check that the server may start; returns (the reply with the problem, None) or (None, a function that starts it).

    The function returns the server's record.
    """
    application = parameters["application"]
    try:
        jupyter = Jupyter(application)
    except ImportError:
        return dict(problem="jupyter-missing"), None
    program = shutil.which("jupyter-" + application)
    if jupyter.version is None or program is None:
        return dict(problem="application-missing"), None
    prefix = parameters["prefix"]
    if prefix and shutil.which(prefix[0]) is None:
        return dict(problem="prefix-missing", reason=prefix[0]), None
    try:
        config = jupyter.read_config()
    except (OSError, ValueError) as error:
        return dict(problem="config-unreadable", path=jupyter.config_path, reason=str(error)), None
    certificate, key = jupyter.certificate_paths(config)
    pem, problem = check_certificate(certificate, key)
    if problem or jupyter.password_problem(config):
        reason = "certificate: " + problem if problem else "password: " + jupyter.password_problem(config)
        return dict(problem="not-protected", reason=reason), None
    for setting in jupyter.find_insecure_settings(config):
        if not setting["overridden"]:
            return dict(problem="insecure-setting", reason=setting["name"], path=setting["path"]), None
    directory = directory_path(parameters["directory"])
    problem = directory_problem(directory)
    if problem:
        return problem, None
    exposed = exposure.find_exposed(jupyter, directory, [server.folder, program])
    if exposed:
        return exposure.error_reply(exposed), None
    return None, functools.partial(
        launch_server, server, parameters, jupyter, config, program, directory, pem
    )


def launch_server(server, parameters, jupyter, config, program, directory, pem):
    """Start the server; returns its record."""
    certificate, key = jupyter.certificate_paths(config)
    shutil.rmtree(server.runtime, ignore_errors=True)
    private_folder(server.runtime)
    digest = jupyter.credentials_digest(config)
    write_cookie_secret(server, jupyter.family, digest)
    write_private(server.token_path, binascii.hexlify(os.urandom(24)).decode())
    write_private(server.pem_path, "".join(map(read_pem, dict.fromkeys((certificate, key)))))
    link_python(server)
    computed = dict(
        port=parameters["remote_port"],
        certfile=server.pem_path,
        keyfile=server.pem_path,
        ssl_options=tls_options(),
    )
    command = parameters["prefix"] + [program, "--no-browser"]
    command += parameters["arguments"]
    command += [
        "--%s.%s=%s"
        % (jupyter.app_class, name, computed[name] if trait.enforced is COMPUTED else trait.enforced)
        for name, trait in sorted(TRAITS.items())
        if trait.enforced is not None
    ]
    if os.geteuid() == 0:
        command.append("--allow-root")  # Jupyter refuses to run as root otherwise
    environment = dict(os.environ, JUPYTER_RUNTIME_DIR=server.runtime, JUPYTER_TOKEN_FILE=server.token_path)
    for name in SCRUBBED_VARIABLES:
        environment.pop(name, None)
    os.nice(max(0, parameters["nice"] - os.nice(0)))  # the server inherits it (nice(2))
    with open(server.log, "wb") as log:
        process = subprocess.Popen(
            ["/bin/sh", "-c", 'read -r go && exec "$@" </dev/null', "sh"] + command,
            cwd=directory,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    record = dict(
        pid=process.pid,
        process_start=process_start(process.pid),
        port=0,
        application=parameters["application"],
        version=jupyter.version,
        directory=directory,
        certificate_pem=pem,
        credentials_digest=digest,
        started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    # The shell starts the server once the record is written. If this program exits earlier, the shell reads EOF.
    with process.stdin:
        server.save(record)
        process.stdin.write(b"go\n")
    return record


def if_unchanged(server, record, change):
    """Call `change` unless the server was stopped meanwhile, or replaced by another."""
    with exclusive_lock(server.folder):
        saved = server.record()
        if saved and all(saved[name] == record[name] for name in ("pid", "process_start")):
            change()


def has_stale_credentials(server, record):
    """Whether the password or the certificate was changed after the server started."""
    try:
        jupyter = Jupyter(record["application"])
        return bool(server.stale_pid(jupyter.credentials_digest(jupyter.read_config())))
    except (ImportError, OSError, ValueError):
        return False  # unknown in this environment


def read_pem(path):
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read().strip() + "\n"


def tls_options():
    """Jupyter's ssl_options for TLS 1.2 and 1.3 (RFC 8996) with forward secrecy; a dict as text.

    `ssl_version` is one version or the protocol that negotiates it, and Debian's Pythons negotiate old versions too. So
    the ciphers exclude those: TLS 1.0 and 1.1 have no AEAD (RFC 5246, section 6.2.3.3).
    """
    return repr({"ssl_version": int(ssl.PROTOCOL_TLS_SERVER), "ciphers": CIPHERS})


def link_python(server):
    """Link to the running Python, so that the server can be stopped when its environment no longer activates.

    A Python that needs the variables of a module (LD_LIBRARY_PATH) is not linked: another one will do.
    """
    link = os.path.join(server.folder, "python")
    if os.path.lexists(link):
        os.unlink(link)
    if subprocess.call([sys.executable, "-c", ""], env={}, stderr=subprocess.DEVNULL) == 0:
        os.symlink(sys.executable, link)


def wait_until_ready(server, record, already_running, timeout_s):
    """Wait until the server answers, has ended, or has taken longer than `timeout_s` seconds; returns the reply."""
    deadline = time.monotonic() + timeout_s
    reason = "it has not reported its port"
    while time.monotonic() < deadline:
        if process_start(record["pid"]) != record["process_start"]:
            if_unchanged(server, record, server.delete)
            return dict(problem="exited", log=server.log_tail(20))
        info = server.find_server_info(record["pid"])
        if info:
            if record["port"] != info["port"]:
                current = dict(
                    record, port=info["port"], pid=info["pid"], process_start=process_start(info["pid"])
                )
                if_unchanged(server, record, functools.partial(server.save, current))
                record = current
            try:
                finding = server.audit(record, max(1, deadline - time.monotonic()))
                if finding:
                    terminate(find_tree(record["pid"]), TERMINATE_TIMEOUT_S)
                    if_unchanged(server, record, server.delete)
                    return dict(problem="audit-failed", reason=finding, log=server.log_tail(20))
                stale = already_running and has_stale_credentials(server, record)
                return dict(describe(record, already_running, stale), problem="")
            except (OSError, ValueError) as error:
                reason = str(error)
        time.sleep(0.02)
    return dict(problem="no-answer", reason=reason, pid=record["pid"], log=server.log_tail(20))
