"""Main program of the daemon: `python -P launch.py FOLDER DESCRIPTOR`."""

import os
import sys


def main() -> int:
    # The parent exits and is waited for, so that init adopts the daemon and reaps it.
    if os.fork():
        return 0
    # `-P` keeps this file's folder off the search path, and the package may not be installed.
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from notebooks_over_ssh.sandbox.daemon import run

    return run(sys.argv[1], int(sys.argv[2]))


if __name__ == "__main__":
    sys.exit(main())
