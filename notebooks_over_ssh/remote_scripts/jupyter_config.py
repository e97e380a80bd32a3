"""The installed Jupyter application and its configuration: password, certificate, insecure settings.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import hashlib
import json
import os
import re
import ssl

import insecure_settings
from common import private_folder
from jupyter_traits import TRAITS

# The traits from which each family reads its password, the newest first, and the one that `secure` writes.
PASSWORD_TRAITS = {
    "server-2": (
        ("PasswordIdentityProvider", "hashed_password"),
        ("IdentityProvider", "hashed_password"),
        ("ServerApp", "password"),
    ),
    "server-1": (("ServerApp", "password"),),
    "classic": (("NotebookApp", "password"),),
}
WRITTEN_TRAIT = {
    "server-2": ("IdentityProvider", "hashed_password"),
    "server-1": ("ServerApp", "password"),
    "classic": ("NotebookApp", "password"),
}
PACKAGES = {"notebook": "notebook", "lab": "jupyterlab", "server": "jupyter_server"}
FIRST_SERVER_BASED = {"notebook": 7, "lab": 3, "server": 0}


def version_of(package):
    """The version of an installed package, without importing it; None if it is not installed."""
    try:
        from importlib.metadata import PackageNotFoundError, version
    except ImportError:  # Python 3.7 and before
        import pkg_resources

        try:
            return pkg_resources.get_distribution(package).version
        except pkg_resources.DistributionNotFound:
            return None
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def major_version(version):
    digits = (version or "0").split(".")[0]
    return int(digits) if digits.isdigit() else 0


def parse_version(version):
    """The leading numbers of a version, as a tuple that can be compared."""
    return tuple(int(digits) for digits in re.match(r"[\d.]*", version or "").group().split(".") if digits)


def config_folder():
    from jupyter_core.paths import jupyter_config_dir

    return jupyter_config_dir()


class Jupyter(object):
    """The application to run, and its configuration."""

    def __init__(self, application):
        self.application = application
        self.version = version_of(PACKAGES[application])
        if major_version(self.version) < FIRST_SERVER_BASED[application]:
            self.family = "classic"
        else:
            self.family = "server-2" if major_version(version_of("jupyter_server")) >= 2 else "server-1"
        self.app_class = "NotebookApp" if self.family == "classic" else "ServerApp"
        name = "jupyter_notebook_config.json" if self.family == "classic" else "jupyter_server_config.json"
        self.folder = config_folder()
        self.config_path = os.path.join(self.folder, name)

    @property
    def reads_working_directory(self):
        """Whether it reads configuration from its working directory (CVE-2022-39286)."""
        return parse_version(version_of("jupyter_core")) < (4, 11, 2)

    def read_config(self):
        """The contents of the configuration file; {} if there is none. Raises ValueError or OSError."""
        try:
            with open(self.config_path, encoding="utf-8") as file:
                config = json.load(file)
        except FileNotFoundError:
            return {}
        if not isinstance(config, dict) or not all(isinstance(section, dict) for section in config.values()):
            raise ValueError("it is not a JSON object of objects")
        return config

    def password_hash(self, config):
        for section, name in PASSWORD_TRAITS[self.family]:
            value = config.get(section, {}).get(name)
            if value and isinstance(value, str):
                return value
        return ""

    def password_problem(self, config):
        """Why the password is not secure or cannot be used; "" if it is good."""
        kind, *rest = self.password_hash(config).split(":", 2)
        if not kind:
            return "missing"
        if kind == "argon2":
            return "" if version_of("argon2-cffi") else "its hash is argon2, which this Jupyter cannot check"
        if len(rest) != 2:
            return "it is not a hash"
        return "its hash is %s, which is guessed fast" % kind.upper() if kind in ("sha1", "md5") else ""

    def find_insecure_settings(self, config):
        """The settings that undo the protection, in every file that Jupyter reads.

        `is_owned`: the file is in the account's own folder. `overridden`: the command line of the server wins over it;
        overridden settings in other folders are left out.
        """
        from jupyter_core.paths import jupyter_config_path

        certificate, key = self.certificate_paths(config)
        expected = dict(password=self.password_hash(config), certfile=certificate, keyfile=key)
        own_names = {
            ".".join(WRITTEN_TRAIT[self.family]),
            self.app_class + ".certfile",
            self.app_class + ".keyfile",
        }
        overridden = [
            self.app_class + "." + name for name, trait in TRAITS.items() if trait.enforced is not None
        ]
        result = []
        for setting in insecure_settings.find_insecure([self.folder] + jupyter_config_path(), expected):
            if setting["path"] == self.config_path and setting["name"] in own_names:
                continue
            setting["is_owned"] = os.path.dirname(setting["path"]) == self.folder
            setting["overridden"] = setting["name"] in overridden
            if setting["is_owned"] or not setting["overridden"]:
                result.append(setting)
        return result

    def credentials_digest(self, config):
        """A digest of the password hash and the certificate, which changes when either does."""
        digest = hashlib.sha256(self.password_hash(config).encode("utf-8", "replace"))
        for path in self.certificate_paths(config):
            try:
                with open(path, "rb") as file:
                    digest.update(file.read())
            except (OSError, ValueError):
                digest.update(b"missing")
        return digest.hexdigest()

    @property
    def managed_dir(self):
        """The folder that `secure` manages: key, certificate and backups."""
        return private_folder(os.path.join(self.folder, "notebooks-over-ssh"))

    def certificate_paths(self, config):
        section = config.get(self.app_class, {})
        return tuple(
            value if isinstance(value, str) else ""
            for value in (section.get("certfile"), section.get("keyfile"))
        )


def check_certificate(certificate, key):
    """The certificate as PEM, and the problem with the pair ("" if Jupyter can use it)."""
    if not certificate or not key:
        return "", "missing"
    try:
        with open(certificate, encoding="ascii", errors="replace") as file:
            text = file.read()
        begin = text.index("-----BEGIN CERTIFICATE-----")
        end = text.index("-----END CERTIFICATE-----") + len("-----END CERTIFICATE-----")
        if os.stat(key).st_mode & 0o077:
            return text[begin:end] + "\n", "others can read the key"
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except FileNotFoundError as error:
        return "", "%s is missing" % error.filename
    except (OSError, ValueError) as error:
        return "", "unusable: %s" % error
    return text[begin:end] + "\n", ""
