"""Which Jupyter is here, and what protects it: its configuration, password and certificate.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import json
import os
import ssl

# The classes that each family reads its password from, the newest first, and the one that ours is written to.
PASSWORDS = {
    "server-2": (
        ("PasswordIdentityProvider", "hashed_password"),
        ("IdentityProvider", "hashed_password"),
        ("ServerApp", "password"),
    ),
    "server-1": (("ServerApp", "password"),),
    "classic": (("NotebookApp", "password"),),
}
OURS = {
    "server-2": ("IdentityProvider", "hashed_password"),
    "server-1": ("ServerApp", "password"),
    "classic": ("NotebookApp", "password"),
}
PACKAGES = {"notebook": "notebook", "lab": "jupyterlab", "server": "jupyter_server"}
FIRST_ON_SERVER = {"notebook": 7, "lab": 3, "server": 0}


def version_of(package):
    """The version of an installed package, found without importing it, or None."""
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


def major(version):
    digits = (version or "0").split(".")[0]
    return int(digits) if digits.isdigit() else 0


def config_folder():
    from jupyter_core.paths import jupyter_config_dir

    return jupyter_config_dir()


class Jupyter(object):
    """The application that is to run, and where its configuration is."""

    def __init__(self, application):
        self.application = application
        self.version = version_of(PACKAGES[application])
        if major(self.version) < FIRST_ON_SERVER[application]:
            self.family = "classic"
        else:
            self.family = "server-2" if major(version_of("jupyter_server")) >= 2 else "server-1"
        self.app_class = "NotebookApp" if self.family == "classic" else "ServerApp"
        name = "jupyter_notebook_config.json" if self.family == "classic" else "jupyter_server_config.json"
        self.folder = config_folder()
        self.config_path = os.path.join(self.folder, name)

    def read_config(self):
        """Everything in the configuration file; raises ValueError or OSError when it cannot be read."""
        try:
            with open(self.config_path, encoding="utf-8") as file:
                config = json.load(file)
        except FileNotFoundError:
            return {}
        if not isinstance(config, dict) or not all(isinstance(part, dict) for part in config.values()):
            raise ValueError("it is not a JSON object of objects")
        return config

    def password_hash(self, config):
        for section, name in PASSWORDS[self.family]:
            value = config.get(section, {}).get(name)
            if value and isinstance(value, str):
                return value
        return ""

    def certificate_paths(self, config):
        section = config.get(self.app_class, {})
        return tuple(
            value if isinstance(value, str) else ""
            for value in (section.get("certfile"), section.get("keyfile"))
        )


def check_certificate(certificate, key):
    """The certificate as PEM, and what is wrong with the pair ("" when Jupyter can serve with it)."""
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
