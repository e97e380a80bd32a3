"""Sets the password hash and the certificate of this account's Jupyter server. Other settings stay as they are.

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
from common import directory_path, exclusive_lock, reply, set_conda_variables, write_private
from jupyter_config import PASSWORD_TRAITS, WRITTEN_TRAIT, Jupyter, check_certificate
from server_state import Server

# RFC 5280 sections 4.2.1.3, 4.2.1.6 and 4.2.1.12: a leaf for a server, valid for the names of a forwarded port.
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


def make_certificate(folder, not_before, not_after):
    """A new P-256 key and its self-signed certificate, as PEM, made in a private folder.

    `not_before` and `not_after` are UTCTime (RFC 5280, section 4.1.2.5.1). `openssl req -x509` cannot set the start of
    a certificate, so `openssl ca` signs it.
    """
    temp_path = tempfile.mkdtemp(dir=folder)
    try:
        for name, text in (
            ("config", CONFIG),
            ("database", ""),
            ("serial", binascii.hexlify(b"\x01" + os.urandom(15)).decode()),
        ):
            with open(os.path.join(temp_path, name), "w") as file:
                file.write(text)
        for arguments in (
            "ecparam -name prime256v1 -out parameters",
            "req -new -sha256 -nodes -config config -newkey ec:parameters -keyout key -out request",
            "ca -batch -notext -selfsign -md sha256 -config config -extensions leaf -startdate %s -enddate %s"
            " -keyfile key -in request -out certificate" % (not_before, not_after),
        ):
            process = subprocess.Popen(
                ["openssl"] + arguments.split(),
                cwd=temp_path,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            output = process.communicate()[0].decode("utf-8", "replace")
            if process.returncode:
                raise RuntimeError(output.strip() or "openssl ended with %d" % process.returncode)
        parts = []
        for name in ("key", "certificate"):
            with open(os.path.join(temp_path, name)) as file:
                parts.append(file.read())
        return "".join(parts)
    finally:
        shutil.rmtree(temp_path)


class CredentialsChanged(Exception):
    """The password or the certificate has changed since the caller read it."""


def main(parameters):
    os.umask(0o077)
    set_conda_variables()
    jupyter = Jupyter(parameters["application"])
    # Close the files first, so that nobody can change what is read below. Files of other accounts are still refused.
    exposed = exposure.find_exposed(jupyter, directory_path(parameters["directory"]), [Server().folder])
    if not all(entry["is_owned"] for entry in exposed):
        return reply(**exposure.error_reply(exposed))
    exposure.close_to_others(exposed)
    try:
        jupyter.read_config()
    except (OSError, ValueError) as error:
        return reply(problem="config-unreadable", path=jupyter.config_path, reason=str(error))
    # Key and certificate share one file, so that both are replaced atomically.
    path = os.path.join(jupyter.managed_dir, "server.pem")
    backup_dir = os.path.join(jupyter.managed_dir, "backups")
    with exclusive_lock(jupyter.managed_dir):
        try:
            insecure, backups = apply(jupyter, path, backup_dir, parameters)
            config = jupyter.read_config()
        except CredentialsChanged:
            return reply(problem="credentials-changed")
        except FileNotFoundError as error:
            if error.filename == "openssl":
                return reply(problem="openssl-missing")
            raise
        except (RuntimeError, SyntaxError, ValueError) as error:
            return reply(problem="write-failed", reason=str(error))
        pem, problem = check_certificate(*jupyter.certificate_paths(config))
        reply(
            problem="",
            certificate_pem=pem,
            certificate_problem=problem,
            exposed=exposure.for_reply(exposed),
            insecure_settings=insecure,
            backups=backups,
            stale_server_pid=Server().stale_pid(jupyter.credentials_digest(config)),
        )


def apply(jupyter, path, backup_dir, parameters):
    """Write the new password and certificate, and disable insecure settings; returns the settings, and the backups.

    Raises CredentialsChanged, with no file changed, unless password and certificate still match `credentials_digest`.
    """
    pem = parameters["certificate"]
    if pem == "make":
        pem = make_certificate(jupyter.managed_dir, parameters["not_before"], parameters["not_after"])
    # Read it after the certificate was made, so that what another program wrote meanwhile is not lost.
    old = jupyter.read_config()
    if jupyter.credentials_digest(old) != parameters["credentials_digest"]:
        raise CredentialsChanged
    if pem:
        write_private(path, pem)
    insecure = jupyter.find_insecure_settings(
        merge_credentials(jupyter, jupyter.read_config(), path, parameters)
    )
    names = {}
    for setting in insecure:
        if setting["is_owned"]:
            names.setdefault(setting["path"], set()).add(setting["name"])
    if replaces_foreign_values(jupyter, old, path, parameters):
        names.setdefault(jupyter.config_path, set())
    backups = [insecure_settings.disable_settings(file, names[file], backup_dir) for file in sorted(names)]
    config = jupyter.read_config()
    before = json.dumps(config)
    if json.dumps(merge_credentials(jupyter, config, path, parameters)) != before:
        write_private(jupyter.config_path, json.dumps(config, indent=2, ensure_ascii=False) + "\n")
    return insecure, backups


def merge_credentials(jupyter, config, path, parameters):
    """Set the new hash and certificate in the configuration, and return it."""
    if parameters["password_hash"]:
        for section, name in PASSWORD_TRAITS[jupyter.family]:
            config.get(section, {}).pop(name, None)
        section, name = WRITTEN_TRAIT[jupyter.family]
        config.setdefault(section, {})[name] = parameters["password_hash"]
    if parameters["certificate"]:
        config.setdefault(jupyter.app_class, {}).update(certfile=path, keyfile=path)
    return config


def replaces_foreign_values(jupyter, config, path, parameters):
    """Whether a password or certificate is replaced that this program did not write."""
    certificate, _ = jupyter.certificate_paths(config)
    problem = jupyter.password_problem(config)
    return bool(
        (parameters["certificate"] and certificate and certificate != path)
        or (parameters["password_hash"] and problem and problem != "missing")
    )
