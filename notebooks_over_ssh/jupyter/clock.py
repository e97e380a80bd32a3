"""The host's clock beside this machine's."""

from notebooks_over_ssh.errors import RemoteFailed
from notebooks_over_ssh.jupyter.certificate import Certificate
from notebooks_over_ssh.util.command_hint import command

NAMED_DIFFERENCE = 60.0  # seconds: less is the time that an answer takes, and matters to nobody
DAY = 86400.0  # seconds
_UNITS = (
    (2 * 365 * 86400, 365 * 86400, "years"),
    (2 * 86400, 86400, "days"),
    (2 * 3600, 3600, "hours"),
    (0, 60, "minutes"),
)


def difference_in_words(host: str, ahead: float | None) -> str:
    """That the host's clock is ahead of, or behind, this machine's by so many seconds; "" where they agree or nothing is known."""
    if ahead is None or not abs(ahead) >= NAMED_DIFFERENCE:
        return ""
    size, name = next((size, name) for least, size, name in _UNITS if abs(ahead) >= least)
    number = round(abs(ahead) / size)
    amount = f"{number} {name if number != 1 else name.removesuffix('s')}"
    return f"the clock of {host} is {amount} {'ahead of' if ahead > 0 else 'behind'} this machine's"


def check_dates(certificate: Certificate, host: str, ahead: float | None) -> None:
    """See that a browser on this machine takes the certificate as in date.

    `ahead` is by how many seconds the host's clock is ahead, None where that is not known. Raises RemoteFailed.
    """
    trouble = certificate.date_trouble()
    if not trouble:
        return
    difference = difference_in_words(host, ahead)
    raise RemoteFailed(
        f"the certificate of your server on {host} {trouble} by this machine's clock"
        + (f", and {difference}" if difference else ""),
        hint=f"set the clock that is wrong; {command('secure --renew --restart')} makes another certificate",
    )
