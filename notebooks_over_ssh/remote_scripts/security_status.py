"""Reports the password, certificate and insecure settings of this account's Jupyter server, and whether it runs.

Changes nothing.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import time

import exposure
from common import directory_path, directory_problem, host_name, reply, set_conda_variables
from jupyter_config import Jupyter, check_certificate, version_of
from server_state import Server, describe


def main(parameters):
    set_conda_variables()
    try:
        jupyter = Jupyter(parameters["application"])
    except ImportError:
        return reply(problem="jupyter-missing")
    if jupyter.version is None:
        return reply(problem="application-missing")
    directory = directory_path(parameters["directory"])
    # Checked before the user is shown a new password: the server does not start without its directory.
    problem = directory_problem(directory)
    if problem:
        return reply(**problem)
    exposed = exposure.find_exposed(jupyter, directory, [Server().folder])
    if not all(entry["is_owned"] for entry in exposed):
        return reply(**exposure.error_reply(exposed))
    try:
        config = jupyter.read_config()
    except (OSError, ValueError) as error:
        return reply(problem="config-unreadable", path=jupyter.config_path, reason=str(error))
    certificate, key = jupyter.certificate_paths(config)
    pem, problem = check_certificate(certificate, key)
    server = Server()
    digest = jupyter.credentials_digest(config)
    stale_pid = server.stale_pid(digest)
    record = None if stale_pid else server.find_answering(parameters["application"])
    reply(
        problem="",
        version=jupyter.version,
        argon2=version_of("argon2-cffi") is not None,
        password_hash=jupyter.password_hash(config),
        password_problem=jupyter.password_problem(config),
        certificate_pem=pem,
        certificate_problem=problem,
        exposed=exposure.for_reply(exposed),
        insecure_settings=jupyter.find_insecure_settings(config),
        credentials_digest=digest,
        stale_server_pid=stale_pid,
        running_server=record and dict(describe(record, True, False), host=host_name()),
        time=time.time(),
    )
