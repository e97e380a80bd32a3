"""Adds certificates to all trust stores of the user, and removes them again."""

import shutil
import sys
from dataclasses import dataclass

from notebooks_over_ssh.errors import RemoteError, TaskError
from notebooks_over_ssh.jupyter import certificate as certificates
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.certificate import Certificate
from notebooks_over_ssh.trust_stores import installed
from notebooks_over_ssh.trust_stores.base import TrustStore
from notebooks_over_ssh.trust_stores.keychain import keychains
from notebooks_over_ssh.trust_stores.nss import databases
from notebooks_over_ssh.trust_stores.windows import root_stores
from notebooks_over_ssh.util.command_hint import command


@dataclass(frozen=True)
class TrustResult:
    """The result for one store. `changed` is False if it had the certificate already, or if the change failed."""

    store: str
    changed: bool
    problem: TaskError | None = None


def trust(certificate: Certificate, host: str) -> list[TrustResult]:
    """Add the certificate of the server on `host` to every store.

    Raises TaskError if there is no store, or if the certificate does not fit the profile in certificate_profile.py.
    """
    # Slow to import, and rarely needed.
    from notebooks_over_ssh.jupyter import certificate_profile

    problem = certificate_profile.find_problem(certificate.pem)
    if problem:
        raise TaskError(
            f"the certificate on {host} was added to no trust store: {problem}",
            hint=f"create one for this server only: {command('secure --renew --restart')}",
        )
    stores = _stores()
    if not stores:
        raise TaskError("found no browser with a trust store", hint=_no_store_hint())
    was_installed = certificate.sha256 in installed.load_all()
    installed.save(certificate)
    results = [_trust_in(store, certificate, host) for store in stores]
    if not was_installed and all(result.problem for result in results):
        installed.delete(certificate.sha256)
    return results


def remove(fingerprints: set[str]) -> list[str]:
    """Remove the certificates with these SHA-256 from every store; returns the names of stores that had one.

    Raises TaskError after all were tried; certificates that could not be removed stay on record.
    """
    stores = _stores() if fingerprints else []
    changed_stores, problems = [], []
    for sha256 in sorted(fingerprints):
        for store in stores:
            try:
                changed_stores += [store.name] if store.remove(sha256) else []
            except TaskError as error:
                problems.append(TaskError(f"{store.name} still trusts it: {error}", hint=error.hint))
    if problems:
        raise problems[0]
    for sha256 in fingerprints:
        installed.delete(sha256)
    return list(dict.fromkeys(changed_stores))


def remove_unused() -> list[str]:
    """Remove recorded certificates that no session uses; returns the names of stores that had one."""
    return remove(installed.load_all().keys() - _in_use())


def remove_replaced(old_pem: str, new_pem: str) -> list[str]:
    """Remove a certificate that was replaced on its host; returns the names of stores that had it."""
    try:
        old = certificates.parse(old_pem).sha256
    except RemoteError:
        return []
    return remove((installed.load_all().keys() & {old}) - {certificates.parse(new_pem).sha256})


def find_unused() -> set[str]:
    """The SHA-256 of all certificates, on record or with our nickname in a store, that no session uses."""
    fingerprints = set(installed.load_all())
    for store in _stores():
        try:
            fingerprints |= store.installed_fingerprints()
        except TaskError:
            continue
    return fingerprints - _in_use()


def _in_use() -> set[str]:
    fingerprints = set()
    for session in sessions.list_sessions():
        try:
            fingerprints.add(certificates.parse(session.certificate_pem).sha256)
        except RemoteError:
            continue
    return fingerprints


def _stores() -> list[TrustStore]:
    system: list[TrustStore] = keychains() if sys.platform == "darwin" else root_stores()
    return [*system, *databases()]


def _trust_in(store: TrustStore, certificate: Certificate, host: str) -> TrustResult:
    try:
        if certificate.sha256 in store.installed_fingerprints():
            return TrustResult(store.name, False)
        store.add(certificate, host)
    except TaskError as error:
        return TrustResult(store.name, False, error)
    return TrustResult(store.name, True)


def _no_store_hint() -> str:
    firefox = any(shutil.which(name) for name in ("firefox", "firefox-esr"))
    return f"start {'Firefox' if firefox else 'the browser'} once, which creates its store, then run {command('trust')}"
