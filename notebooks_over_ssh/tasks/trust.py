"""trust, untrust: add the session's certificate to the user's trust stores, so that browsers show no warning, or remove it."""

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import TaskError, UserError
from notebooks_over_ssh.jupyter import certificate
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.session import Session
from notebooks_over_ssh.terminal import print_detail, print_step, warn
from notebooks_over_ssh.trust_stores import manager


def trust(session: Session) -> None:
    """Add the session's certificate, which was received over SSH, to every trust store, and print which.

    Raises TaskError, also for a certificate that asks for more than the server on this machine's loopback names.
    """
    manager.remove_unused()
    cert = certificate.parse(session.certificate_pem)
    if cert.issuer:
        print_step(
            "trust",
            f"nothing to do: the certificate was signed by an authority ({cert.issuer}), not by itself",
        )
        return print_detail(
            "a browser that knows the authority opens the page without a warning; no store was changed"
        )
    results = manager.trust(cert, session.host)
    for result in results:
        if result.problem:
            warn(f"{result.store}: not done: {result.problem}")
        else:
            print_step(
                "trust", f"{result.store} {'trusts' if result.changed else 'already trusts'} the certificate"
            )
    if any(result.changed for result in results):
        print_detail("a browser that is open has to be started again to know it")
    problems = [result.problem for result in results if result.problem]
    if len(problems) == len(results):
        raise TaskError("no store could be changed", hint=problems[0].hint)


def try_trust(session: Session) -> None:
    """Like `trust`, but only warn if it fails."""
    try:
        trust(session)
    except UserError as error:
        warn(f"your browser will warn of the certificate: {error} ({error.hint})")


def untrust(settings: Settings) -> None:
    """Remove the certificates of the selected session and of sessions that have ended from every trust store.

    Raises TaskError if one could not be removed.
    """
    session = sessions.find(settings)
    fingerprints = manager.find_unused()
    if isinstance(session, Session):
        fingerprints.add(certificate.parse(session.certificate_pem).sha256)
    changed_stores = manager.remove(fingerprints)
    if not changed_stores:
        return print_step("untrust", "no store has a certificate of ours, nothing to remove")
    for store in changed_stores:
        print_step("untrust", f"{store} trusts it no longer")
    print_detail("a browser that is open may remember it until it is started again")
