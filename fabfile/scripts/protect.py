"""Sets the password hash and the certificate of this account's Jupyter server, and leaves its other settings alone.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import json
import os
import shutil
import subprocess
import tempfile

from host import answer, only_one, private_folder, set_conda_variables, write_private
from jupyter_files import OURS, Jupyter, check_certificate

# RFC 5280 sections 4.2.1.3, 4.2.1.6 and 4.2.1.12: a server's own leaf, good for the names under which a forward is opened.
REQUEST = """
[req]
distinguished_name = name
x509_extensions = leaf
prompt = no
[name]
CN = notebook server over SSH
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1, IP:::1
"""


def make_certificate(folder, days):
    """A new P-256 key and its self-signed certificate, as PEM; nobody else can read them while they are made."""
    draft = tempfile.mkdtemp(dir=folder)
    try:
        paths = [os.path.join(draft, name) for name in ("request", "parameters", "key", "certificate")]
        with open(paths[0], "w") as file:
            file.write(REQUEST)
        for arguments in (
            ["ecparam", "-name", "prime256v1", "-out", paths[1]],
            ["req", "-x509", "-new", "-sha256", "-nodes", "-days", str(days), "-config", paths[0]]
            + ["-newkey", "ec:" + paths[1], "-keyout", paths[2], "-out", paths[3]],
        ):
            made = subprocess.Popen(
                ["openssl"] + arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            output = made.communicate()[0].decode("utf-8", "replace")
            if made.returncode:
                raise RuntimeError(output.strip() or "openssl ended with %d" % made.returncode)
        parts = []
        for path in paths[2:]:
            with open(path) as file:
                parts.append(file.read())
        return "".join(parts)
    finally:
        shutil.rmtree(draft)


def main(parameters):
    os.umask(0o077)
    set_conda_variables()
    jupyter = Jupyter(parameters["application"])
    try:
        jupyter.read_config()
    except (OSError, ValueError) as error:
        return answer(problem="config-unreadable", path=jupyter.config_path, reason=str(error))
    folder = private_folder(os.path.join(jupyter.folder, "notebooks-over-ssh"))
    # Key and certificate share one file, so that both change in one step.
    path = os.path.join(folder, "server.pem")
    with only_one(folder):
        set_up(jupyter, folder, path, parameters)


def set_up(jupyter, folder, path, parameters):
    try:
        if parameters["certificate"] == "make":
            write_private(path, make_certificate(folder, parameters["days"]))
        elif parameters["certificate"]:
            write_private(path, parameters["certificate"])
        # Read again: whoever wrote the file while the certificate was made loses nothing.
        config = jupyter.read_config()
        before = json.dumps(config)
        if parameters["password_hash"]:
            section, name = OURS[jupyter.family]
            config.setdefault("PasswordIdentityProvider", {}).pop("hashed_password", None)
            if not config["PasswordIdentityProvider"]:
                del config["PasswordIdentityProvider"]
            config.setdefault(section, {})[name] = parameters["password_hash"]
        if parameters["certificate"]:
            config.setdefault(jupyter.app_class, {}).update(certfile=path, keyfile=path)
        if json.dumps(config) != before:
            write_private(jupyter.config_path, json.dumps(config, indent=2, ensure_ascii=False) + "\n")
    except FileNotFoundError as error:
        if error.filename == "openssl":
            return answer(problem="openssl-missing")
        raise
    except (OSError, RuntimeError, ValueError) as error:
        return answer(problem="not-written", reason=str(error))
    pem, trouble = check_certificate(*jupyter.certificate_paths(config))
    answer(problem="", certificate_pem=pem, certificate_trouble=trouble)
