"""Sets the password hash and the certificate of this account's Jupyter server, and leaves its other settings alone.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import binascii
import json
import os
import shutil
import subprocess
import tempfile

import exposure
import insecure_settings
from common import answer, directory_path, only_one, set_conda_variables, write_private
from jupyter_config import OURS, PASSWORDS, Jupyter, check_certificate
from server_state import Server

# RFC 5280 sections 4.2.1.3, 4.2.1.6 and 4.2.1.12: a server's own leaf, good for the names under which a forward is opened.
CONFIG = """
[req]
distinguished_name = name
prompt = no
[name]
CN = notebook server over SSH
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1, IP:::1
subjectKeyIdentifier = hash
[ca]
default_ca = itself
[itself]
database = database
serial = serial
new_certs_dir = .
policy = policy
[policy]
commonName = supplied
"""


def make_certificate(folder, begins, ends):
    """A new P-256 key and its self-signed certificate, as PEM; nobody else can read them while they are made.

    `begins` and `ends` are UTCTime (RFC 5280, section 4.1.2.5.1). `openssl req -x509` always begins now; `openssl ca` does not.
    """
    draft = tempfile.mkdtemp(dir=folder)
    try:
        for name, text in (
            ("config", CONFIG),
            ("database", ""),
            ("serial", binascii.hexlify(b"\x01" + os.urandom(15)).decode()),
        ):
            with open(os.path.join(draft, name), "w") as file:
                file.write(text)
        for arguments in (
            "ecparam -name prime256v1 -out parameters",
            "req -new -sha256 -nodes -config config -newkey ec:parameters -keyout key -out request",
            "ca -batch -notext -selfsign -md sha256 -config config -extensions leaf -startdate %s -enddate %s"
            " -keyfile key -in request -out certificate" % (begins, ends),
        ):
            made = subprocess.Popen(
                ["openssl"] + arguments.split(),
                cwd=draft,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            output = made.communicate()[0].decode("utf-8", "replace")
            if made.returncode:
                raise RuntimeError(output.strip() or "openssl ended with %d" % made.returncode)
        parts = []
        for name in ("key", "certificate"):
            with open(os.path.join(draft, name)) as file:
                parts.append(file.read())
        return "".join(parts)
    finally:
        shutil.rmtree(draft)


class CredentialsChanged(Exception):
    """The password or the certificate is no longer the one that the caller saw."""


def main(parameters):
    os.umask(0o077)
    set_conda_variables()
    jupyter = Jupyter(parameters["application"])
    # First, so that nobody else changes what is read from here on. What others planted stays refused.
    exposed = exposure.find(jupyter, directory_path(parameters["directory"]), [Server().folder])
    if not all(each["mine"] for each in exposed):
        return answer(**exposure.obstacle(exposed))
    exposure.close(exposed)
    try:
        jupyter.read_config()
    except (OSError, ValueError) as error:
        return answer(problem="config-unreadable", path=jupyter.config_path, reason=str(error))
    # Key and certificate share one file, so that both change in one step.
    path = os.path.join(jupyter.own_folder, "server.pem")
    kept_in = os.path.join(jupyter.own_folder, "before")
    with only_one(jupyter.own_folder):
        try:
            found, kept = set_up(jupyter, path, kept_in, parameters)
            config = jupyter.read_config()
        except CredentialsChanged:
            return answer(problem="credentials-changed")
        except FileNotFoundError as error:
            if error.filename == "openssl":
                return answer(problem="openssl-missing")
            raise
        except (RuntimeError, SyntaxError, ValueError) as error:
            return answer(problem="not-written", reason=str(error))
        pem, trouble = check_certificate(*jupyter.certificate_paths(config))
        answer(
            problem="",
            certificate_pem=pem,
            certificate_trouble=trouble,
            exposed=exposure.shown(exposed),
            contradictions=found,
            kept=kept,
            outdated_pid=Server().outdated(jupyter.protected_with(config)),
        )


def set_up(jupyter, path, kept_in, parameters):
    """Write what is new, and set aside what contradicts it; returns that, and where the files are kept as they were.

    Raises CredentialsChanged, with every file as it was, unless password and certificate are still those of
    `credentials_digest`.
    """
    pem = parameters["certificate"]
    if pem == "make":
        pem = make_certificate(jupyter.own_folder, parameters["begins"], parameters["ends"])
    # Read only now: whoever wrote the file while the certificate was made loses nothing.
    old = jupyter.read_config()
    if jupyter.protected_with(old) != parameters["credentials_digest"]:
        raise CredentialsChanged
    if pem:
        write_private(path, pem)
    found = jupyter.contradictions(with_ours(jupyter, jupyter.read_config(), path, parameters))
    names = {}
    for setting in found:
        if setting["mine"]:
            names.setdefault(setting["path"], set()).add(setting["name"])
    if replaces_what_is_not_ours(jupyter, old, path, parameters):
        names.setdefault(jupyter.config_path, set())
    kept = [insecure_settings.set_aside(file, names[file], kept_in) for file in sorted(names)]
    config = jupyter.read_config()
    before = json.dumps(config)
    if json.dumps(with_ours(jupyter, config, path, parameters)) != before:
        write_private(jupyter.config_path, json.dumps(config, indent=2, ensure_ascii=False) + "\n")
    return found, kept


def with_ours(jupyter, config, path, parameters):
    """The configuration, with the new hash and certificate in it."""
    if parameters["password_hash"]:
        for section, name in PASSWORDS[jupyter.family]:
            config.get(section, {}).pop(name, None)
        section, name = OURS[jupyter.family]
        config.setdefault(section, {})[name] = parameters["password_hash"]
    if parameters["certificate"]:
        config.setdefault(jupyter.app_class, {}).update(certfile=path, keyfile=path)
    return config


def replaces_what_is_not_ours(jupyter, config, path, parameters):
    """Whether something goes from the configuration that this program would not have written."""
    certificate, _ = jupyter.certificate_paths(config)
    trouble = jupyter.password_trouble(config)
    return bool(
        (parameters["certificate"] and certificate and certificate != path)
        or (parameters["password_hash"] and trouble and trouble != "missing")
    )
