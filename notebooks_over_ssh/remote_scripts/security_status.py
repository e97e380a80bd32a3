"""Tells what protects the Jupyter server of this account; changes nothing.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import time

import exposure
from common import answer, directory_obstacle, directory_path, set_conda_variables
from jupyter_config import Jupyter, check_certificate, version_of
from server_state import Server


def main(parameters):
    set_conda_variables()
    try:
        jupyter = Jupyter(parameters["application"])
    except ImportError:
        return answer(problem="jupyter-missing")
    if jupyter.version is None:
        return answer(problem="application-missing")
    directory = directory_path(parameters["directory"])
    # Before anybody is shown a new password: without its directory the server does not start.
    obstacle = directory_obstacle(directory)
    if obstacle:
        return answer(**obstacle)
    exposed = exposure.find(jupyter, directory, [Server().folder])
    if not all(each["mine"] for each in exposed):
        return answer(**exposure.obstacle(exposed))
    try:
        config = jupyter.read_config()
    except (OSError, ValueError) as error:
        return answer(problem="config-unreadable", path=jupyter.config_path, reason=str(error))
    certificate, key = jupyter.certificate_paths(config)
    pem, trouble = check_certificate(certificate, key)
    answer(
        problem="",
        version=jupyter.version,
        argon2=version_of("argon2-cffi") is not None,
        password_hash=jupyter.password_hash(config),
        password_trouble=jupyter.password_trouble(config),
        certificate_pem=pem,
        certificate_trouble=trouble,
        exposed=exposure.shown(exposed),
        contradictions=jupyter.contradictions(config),
        credentials_digest=jupyter.protected_with(config),
        outdated_pid=Server().outdated(jupyter.protected_with(config)),
        time=time.time(),
    )
