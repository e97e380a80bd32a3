"""The difference between the host's clock and this machine's."""

from notebooks_over_ssh.errors import RemoteError
from notebooks_over_ssh.jupyter.certificate import Certificate
from notebooks_over_ssh.util.command_hint import command

MIN_REPORTED_DIFFERENCE = (
    60.0  # seconds; a smaller one is harmless, and may only be the duration of the request
)
DAY = 86400.0  # seconds
_UNITS = (
    (2 * 365 * 86400, 365 * 86400, "years"),
    (2 * 86400, 86400, "days"),
    (2 * 3600, 3600, "hours"),
    (0, 60, "minutes"),
)


def describe_difference(host: str, clock_offset_s: float | None) -> str:
    """A sentence on how far the host's clock is ahead or behind; "" if the clocks agree or the offset is unknown."""
    if clock_offset_s is None or not abs(clock_offset_s) >= MIN_REPORTED_DIFFERENCE:
        return ""
    size, name = next((size, name) for minimum, size, name in _UNITS if abs(clock_offset_s) >= minimum)
    number = round(abs(clock_offset_s) / size)
    amount = f"{number} {name if number != 1 else name.removesuffix('s')}"
    return f"the clock of {host} is {amount} {'ahead of' if clock_offset_s > 0 else 'behind'} this machine's"


def check_dates(certificate: Certificate, host: str, clock_offset_s: float | None) -> None:
    """Check that the certificate is valid now by this machine's clock, which browsers use.

    `clock_offset_s`: how many seconds the host's clock is ahead; None if unknown. Raises RemoteError.
    """
    problem = certificate.date_problem()
    if not problem:
        return
    difference = describe_difference(host, clock_offset_s)
    raise RemoteError(
        f"the certificate of your server on {host} {problem} by this machine's clock"
        + (f", and {difference}" if difference else ""),
        hint=f"correct the wrong clock, or create another certificate: {command('secure --renew --restart')}",
    )
