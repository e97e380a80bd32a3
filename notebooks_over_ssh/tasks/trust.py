"""trust, untrust: whether your own browsers know the session's certificate, and so open its page without a warning."""

from notebooks_over_ssh.config.settings import Settings
from notebooks_over_ssh.errors import Failed, Problem
from notebooks_over_ssh.jupyter import certificate
from notebooks_over_ssh.jupyter import session as sessions
from notebooks_over_ssh.jupyter.session import Session
from notebooks_over_ssh.terminal import more, step, warn
from notebooks_over_ssh.trust_stores import manager as trusting


def trust(session: Session) -> None:
    """Have the session's certificate, which came over SSH, trusted in every store, and say which.

    Raises Failed, also for a certificate that asks for more than the server on this machine's loopback names.
    """
    trusting.drop_stale()
    shown = certificate.parse(session.certificate_pem)
    if shown.issuer:
        step(
            "trust",
            f"nothing to do: the certificate was signed by an authority ({shown.issuer}), not by itself",
        )
        return more(
            "a browser that knows the authority opens the page without a warning; no store was changed"
        )
    outcomes = trusting.trust(shown, session.host)
    for outcome in outcomes:
        if outcome.problem:
            warn(f"{outcome.store}: not done: {outcome.problem}")
        else:
            step("trust", f"{outcome.store} {'trusts' if outcome.done else 'already trusts'} the certificate")
    if any(outcome.done for outcome in outcomes):
        more("a browser that is open has to be started again to know it")
    problems = [outcome.problem for outcome in outcomes if outcome.problem]
    if len(problems) == len(outcomes):
        raise Failed("no store could be changed", hint=problems[0].hint)


def trust_on_the_way(session: Session) -> None:
    """The same, in the course of something that goes on where it fails."""
    try:
        trust(session)
    except Problem as problem:
        warn(f"your browser will warn of the certificate: {problem} ({problem.hint})")


def untrust(settings: Settings) -> None:
    """Take the certificate of the session that the user means, and of every one that is over, out of every store.

    Raises Failed where one could not be taken out.
    """
    session = sessions.find(settings)
    ours = trusting.stale()
    if isinstance(session, Session):
        ours.add(certificate.parse(session.certificate_pem).sha256)
    had = trusting.drop(ours)
    if not had:
        return step("untrust", "no store has a certificate of ours, nothing to remove")
    for store in had:
        step("untrust", f"{store} trusts it no longer")
    more("a browser that is open may remember it until it is started again")
