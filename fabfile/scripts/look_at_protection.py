"""Tells what protects the Jupyter server of this account; changes nothing.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import time

from host import answer, set_conda_variables
from jupyter_files import Jupyter, check_certificate, version_of
from server_record import Server


def main(parameters):
    set_conda_variables()
    try:
        jupyter = Jupyter(parameters["application"])
    except ImportError:
        return answer(problem="jupyter-missing")
    if jupyter.version is None:
        return answer(problem="application-missing")
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
        password_trouble=jupyter.password_trouble(config),
        certificate_pem=pem,
        certificate_trouble=trouble,
        contradictions=jupyter.contradictions(config),
        outdated_pid=Server().outdated(jupyter.protected_with(config)),
        time=time.time(),
    )
