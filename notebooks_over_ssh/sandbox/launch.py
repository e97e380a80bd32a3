"""What the background process runs first: `python -P launch.py FOLDER DESCRIPTOR`."""

import os
import sys


def main() -> int:
    # The starter waits for the parent only, so the daemon is nobody's child and leaves no zombie behind.
    if os.fork():
        return 0
    # `-P` leaves the folder of this file out of the search path, and the package may not be installed.
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from notebooks_over_ssh.sandbox.daemon import run

    return run(sys.argv[1], int(sys.argv[2]))


if __name__ == "__main__":
    sys.exit(main())
