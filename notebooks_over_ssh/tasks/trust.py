"""trust, untrust: add the session's certificate to the user's trust stores, or remove it again."""

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import TaskError, UserError
from notebooks_over_ssh.jupyter import certificate
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.session import Session
from notebooks_over_ssh.terminal import print_detail, print_step, warn
from notebooks_over_ssh.trust_stores import manager
from notebooks_over_ssh.util.command_hint import command


def trust(session: Session) -> None:
    """Add the session's certificate, which came over SSH, to every trust store, and print the result for each.

    Raises TaskError if no store could be changed, or if browsers would trust the certificate for more than this server.
    """
    manager.remove_unused()
    cert = certificate.parse(session.certificate_pem)
    if cert.issuer:
        print_step(
            "trust",
            f"nothing to do: the certificate is signed by an authority ({cert.issuer})",
        )
        return print_detail("browsers that trust the authority show no warning; no trust store was changed")
    results = manager.trust(cert, session.host)
    for result in results:
        if result.problem:
            warn(f"cannot add the certificate to {result.store}: {result.problem}")
        else:
            print_step(
                "trust", f"{result.store} {'now' if result.changed else 'already'} trusts the certificate"
            )
    if any(result.changed for result in results):
        print_detail("restart a browser that is open")
    problems = [result.problem for result in results if result.problem]
    if len(problems) == len(results):
        raise TaskError("the certificate was added to no trust store", hint=problems[0].hint)


def try_trust(session: Session) -> None:
    """As `trust`, but print a warning if it fails."""
    try:
        trust(session)
    except UserError as error:
        warn(f"your browser will show a certificate warning: {error} ({error.hint})")


def remove_replaced(name: str, old_pem: str, new_pem: str) -> None:
    """Remove a certificate that was replaced on its host from the trust stores. `name` is the task that prints it.

    A failure is only a warning.
    """
    try:
        for store in manager.remove_replaced(old_pem, new_pem):
            print_step(name, f"removed the old certificate from {store}: {command('trust')} adds the new one")
    except TaskError as error:
        warn(f"{error} ({error.hint})")


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
        return print_step("untrust", "nothing to remove: no trust store has a certificate of this program")
    for store in changed_stores:
        print_step("untrust", f"removed the certificate from {store}")
    print_detail("restart a browser that is open, which may still trust it")
