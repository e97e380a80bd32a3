"""A pseudo-terminal with the size and modes that the client requested (RFC 4254, sections 6.2, 6.7 and 8)."""

import fcntl
import os
import termios
from collections.abc import Mapping

# RFC 4254, section 8: opcodes of terminal modes, and their names in termios(3).
_CHARACTERS = {
    1: "VINTR",
    2: "VQUIT",
    3: "VERASE",
    4: "VKILL",
    5: "VEOF",
    6: "VEOL",
    7: "VEOL2",
    8: "VSTART",
    9: "VSTOP",
    10: "VSUSP",
    12: "VREPRINT",
    13: "VWERASE",
    14: "VLNEXT",
}
_INPUT_FLAGS = {
    30: "IGNPAR",
    31: "PARMRK",
    32: "INPCK",
    33: "ISTRIP",
    34: "INLCR",
    35: "IGNCR",
    36: "ICRNL",
    38: "IXON",
    39: "IXANY",
    40: "IXOFF",
    41: "IMAXBEL",
}
_LOCAL_FLAGS = {
    50: "ISIG",
    51: "ICANON",
    53: "ECHO",
    54: "ECHOE",
    55: "ECHOK",
    56: "ECHONL",
    57: "NOFLSH",
    58: "TOSTOP",
    59: "IEXTEN",
    60: "ECHOCTL",
    61: "ECHOKE",
}
_OUTPUT_FLAGS = {70: "OPOST", 72: "ONLCR", 73: "OCRNL", 74: "ONOCR", 75: "ONLRET"}
_DISABLED = 255


class PseudoTerminal:
    """A pair of descriptors: `master_fd` for the server, `slave_fd` for the command."""

    def __init__(self, kind: str, columns: int, rows: int, modes: Mapping[int, int]) -> None:
        """Open one. Raises OSError when the system has none available."""
        self.kind = kind
        self.master_fd, self.slave_fd = os.openpty()
        self.name = os.ttyname(self.slave_fd)
        self.resize(columns, rows)
        self._set_modes(modes)

    def resize(self, columns: int, rows: int) -> None:
        """Set the size in characters; the kernel sends SIGWINCH to the foreground processes."""
        termios.tcsetwinsize(self.master_fd, (rows & 0xFFFF, columns & 0xFFFF))

    def close_slave(self) -> None:
        """Close the slave in this process, so that the master reads EOF when the command exits."""
        if self.slave_fd >= 0:
            os.close(self.slave_fd)
            self.slave_fd = -1

    def close(self) -> None:
        """Close both; the kernel sends SIGHUP to the session leader and its foreground processes."""
        self.close_slave()
        if self.master_fd >= 0:
            os.close(self.master_fd)
            self.master_fd = -1

    def _set_modes(self, modes: Mapping[int, int]) -> None:
        attributes = termios.tcgetattr(self.slave_fd)
        disabled = bytes([os.fpathconf(self.slave_fd, "PC_VDISABLE") & 0xFF])
        for names, position in ((_INPUT_FLAGS, 0), (_OUTPUT_FLAGS, 1), (_LOCAL_FLAGS, 3)):
            for number, name in names.items():
                flag = getattr(termios, name, 0)
                if number in modes:
                    attributes[position] = attributes[position] & ~flag | (flag if modes[number] else 0)
        for number, name in _CHARACTERS.items():
            if number in modes and hasattr(termios, name):
                value = modes[number]
                attributes[6][getattr(termios, name)] = (
                    disabled if value == _DISABLED else bytes([value & 0xFF])
                )
        termios.tcsetattr(self.slave_fd, termios.TCSANOW, attributes)


def make_controlling() -> None:
    """Make the terminal on descriptor 0 the session's controlling terminal; runs between fork and exec.

    On Linux, opening a terminal suffices; BSD and macOS need the ioctl (ioctl_tty(2), tty(4)).
    """
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
