"""Starts the Jupyter server, or finds the one of ours that runs here, and waits until it answers.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import binascii
import os
import shutil
import ssl
import subprocess
import sys
import time

from ending import end, with_descendants
from host import answer, only_one, private_folder, process_start, set_conda_variables, write_private
from jupyter_files import Jupyter, check_certificate
from server_record import Server

END_TIMEOUT_S = 10


def main(parameters):
    os.umask(0o077)
    set_conda_variables()
    server = Server()
    with only_one(server.folder):
        record = server.running()
        reused = record is not None
        if not reused:
            problem, record = start(server, parameters)
            if problem:
                return answer(**problem)
        answer(**wait_until_it_answers(server, record, reused, parameters["start_timeout_s"]))


def start(server, parameters):
    """Start it; returns (what is in the way, None) or (None, its record)."""
    application = parameters["application"]
    try:
        jupyter = Jupyter(application)
    except ImportError:
        return dict(problem="jupyter-missing"), None
    program = shutil.which("jupyter-" + application)
    if jupyter.version is None or program is None:
        return dict(problem="application-missing"), None
    try:
        config = jupyter.read_config()
    except (OSError, ValueError) as error:
        return dict(problem="config-unreadable", path=jupyter.config_path, reason=str(error)), None
    certificate, key = jupyter.certificate_paths(config)
    _, trouble = check_certificate(certificate, key)
    if trouble or not jupyter.password_hash(config):
        return dict(
            problem="not-protected", reason=(trouble and "certificate: " + trouble) or "no password"
        ), None
    directory = os.path.expanduser(parameters["directory"])
    if not os.path.isdir(directory):
        return dict(problem="directory-missing", directory=directory), None

    shutil.rmtree(server.runtime, ignore_errors=True)
    private_folder(server.runtime)
    write_private(server.token_path, binascii.hexlify(os.urandom(24)).decode())
    remember_python(server)
    setting = "--" + jupyter.app_class + "."
    command = ["nice", "-n", str(max(0, parameters["nice"] - os.nice(0))), program, "--no-browser"]
    command += [
        setting + "ip=127.0.0.1",
        setting + "port=%d" % parameters["remote_port"],
        setting + "port_retries=100",
        setting + "certfile=" + certificate,
        setting + "keyfile=" + key,
        setting + "allow_remote_access=False",
    ]
    if os.geteuid() == 0:
        command.append("--allow-root")  # Jupyter refuses root otherwise, and so does nearly every site
    environment = dict(os.environ, JUPYTER_RUNTIME_DIR=server.runtime, JUPYTER_TOKEN_FILE=server.token_path)
    for name in ("JUPYTER_TOKEN", "JUPYTER_PORT", "NOTEBOOK_TOKEN"):
        environment.pop(name, None)
    with open(server.log, "wb") as log:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    record = dict(
        pid=process.pid,
        process_start=process_start(process.pid),
        port=0,
        application=application,
        version=jupyter.version,
        directory=directory,
        certificate=certificate,
        started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    try:
        server.note(record)
    except BaseException:
        process.kill()
        raise
    return None, record


def remember_python(server):
    """Keep the Python that runs this, so that the server can be stopped when its environment no longer activates."""
    link = os.path.join(server.folder, "python")
    if os.path.lexists(link):
        os.unlink(link)
    os.symlink(sys.executable, link)


def wait_until_it_answers(server, record, reused, timeout_s):
    """What to answer once the server does, or when it has ended or taken longer than `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    reason = "it never told its port"
    while time.monotonic() < deadline:
        if process_start(record["pid"]) != record["process_start"]:
            server.forget()
            return dict(problem="died", log=server.last_lines(20))
        info = server.announced(record["pid"])
        if info:
            if record["port"] != info["port"]:
                record["port"] = info["port"]
                server.note(record)
            try:
                served, lets_strangers_in = server.look(record, max(1, deadline - time.monotonic()))
                if lets_strangers_in:
                    end(with_descendants(record["pid"]), END_TIMEOUT_S)
                    server.forget()
                    return dict(problem="served-unprotected", log=server.last_lines(20))
                shown = {
                    name: record[name]
                    for name in ("pid", "port", "application", "version", "directory", "started")
                }
                pem = ssl.DER_cert_to_PEM_cert(served)
                return dict(
                    shown,
                    problem="",
                    reused=reused,
                    certificate_pem=pem,
                    process_start=record["process_start"],
                )
            except (OSError, ValueError) as error:
                reason = str(error)
        time.sleep(0.02)
    return dict(problem="no-answer", reason=reason, pid=record["pid"], log=server.last_lines(20))
