"""A certificate is trusted, and no longer trusted, in every store of this user that is found."""

import shutil
import sys
from dataclasses import dataclass

from notebooks_over_ssh.errors import Failed, RemoteFailed
from notebooks_over_ssh.jupyter import certificate as certificates
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.certificate import Certificate
from notebooks_over_ssh.trust_stores import installed as record
from notebooks_over_ssh.trust_stores.base import Store
from notebooks_over_ssh.trust_stores.keychain import keychains
from notebooks_over_ssh.trust_stores.nss import databases
from notebooks_over_ssh.trust_stores.windows import root_stores
from notebooks_over_ssh.util.command_hint import command


@dataclass(frozen=True)
class Outcome:
    """What became of one store: `done` is False where nothing had to be done, or where the problem was in the way."""

    store: str
    done: bool
    problem: Failed | None = None


def trust(certificate: Certificate, host: str) -> list[Outcome]:
    """Have the certificate of the server on this host trusted in every store.

    Raises Failed where there is no store, or for a certificate that is more than a server's own for the loopback names.
    """
    # Here, as it takes longer to import than most commands run.
    from notebooks_over_ssh.jupyter import certificate_profile

    problem = certificate_profile.find_problem(certificate.pem)
    if problem:
        raise Failed(
            f"the certificate on {host} is not put into a store: {problem}",
            hint=f"make one that is for this server alone: {command('secure --renew --restart')}",
        )
    stores = _stores()
    if not stores:
        raise Failed("no browser of yours was found that has a store", hint=_how_to_get_a_store())
    was_known = certificate.sha256 in record.known()
    record.remember(certificate)
    outcomes = [_trust_in(store, certificate, host) for store in stores]
    if not was_known and all(outcome.problem for outcome in outcomes):
        record.forget(certificate.sha256)
    return outcomes


def drop(fingerprints: set[str]) -> list[str]:
    """Take what has these SHA-256 out of every store; returns the stores that had it.

    Raises Failed after all were tried; what is still in one then stays on record.
    """
    stores = _stores() if fingerprints else []
    had, problems = [], []
    for sha256 in sorted(fingerprints):
        for store in stores:
            try:
                had += [store.name] if store.remove(sha256) else []
            except Failed as problem:
                problems.append(Failed(f"{store.name} still trusts it: {problem}", hint=problem.hint))
    if problems:
        raise problems[0]
    for sha256 in fingerprints:
        record.forget(sha256)
    return list(dict.fromkeys(had))


def drop_stale() -> list[str]:
    """The same for whatever is on record for sessions that are over, or have another certificate by now."""
    return drop(record.known().keys() - _in_use())


def drop_replaced(old_pem: str, new_pem: str) -> list[str]:
    """The same for a certificate that another has replaced on its host."""
    try:
        old = certificates.parse(old_pem).sha256
    except RemoteFailed:
        return []
    return drop((record.known().keys() & {old}) - {certificates.parse(new_pem).sha256})


def stale() -> set[str]:
    """The SHA-256 of all that no session uses, whether on record or, where that is lost, under our name in a store."""
    found = set(record.known())
    for store in _stores():
        try:
            found |= store.ours()
        except Failed:
            continue
    return found - _in_use()


def _in_use() -> set[str]:
    found = set()
    for session in sessions.every_session():
        try:
            found.add(certificates.parse(session.certificate_pem).sha256)
        except RemoteFailed:
            continue
    return found


def _stores() -> list[Store]:
    system: list[Store] = keychains() if sys.platform == "darwin" else root_stores()
    return [*system, *databases()]


def _trust_in(store: Store, certificate: Certificate, host: str) -> Outcome:
    try:
        if certificate.sha256 in store.ours():
            return Outcome(store.name, False)
        store.add(certificate, host)
    except Failed as problem:
        return Outcome(store.name, False, problem)
    return Outcome(store.name, True)


def _how_to_get_a_store() -> str:
    firefox = any(shutil.which(name) for name in ("firefox", "firefox-esr"))
    return f"start {'Firefox' if firefox else 'the browser'} once, which makes one, then: {command('trust')}"
