"""The start of the background process."""

import subprocess
import sys

from tests.kit.wait import TIMEOUT_S

# The program starts the process, and both receive SIGINT, as at Ctrl-C; it prints the exit code of the process.
INTERRUPTED = """
import os, signal
from notebooks_over_ssh.tunnel.background_process import BackgroundProcess
signal.signal(signal.SIGINT, lambda *_: None)
process = BackgroundProcess()
os.killpg(0, signal.SIGINT)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_ctrl_c_while_it_starts() -> None:
    """Ctrl-C while the background process starts ends it without a traceback."""
    program = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    assert (program.stdout, program.stderr) == ("1\n", "")
