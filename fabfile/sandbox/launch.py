"""What the background process runs first: `python -P launch.py FOLDER DESCRIPTOR`."""

import os
import sys
from types import ModuleType


def main() -> int:
    # The starter waits for the parent only, so the daemon is nobody's child and leaves no zombie behind.
    if os.fork():
        return 0
    checkout = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    # The package's own __init__ is the collection of tasks, and brings Fabric and Paramiko with it.
    package = ModuleType("fabfile")
    package.__path__ = [os.path.join(checkout, "fabfile")]
    sys.modules["fabfile"] = package
    sandbox = ModuleType("fabfile.sandbox")
    sandbox.__path__ = [os.path.join(checkout, "fabfile", "sandbox")]
    sys.modules["fabfile.sandbox"] = sandbox
    from fabfile.sandbox.daemon import run

    return run(sys.argv[1], int(sys.argv[2]))


if __name__ == "__main__":
    sys.exit(main())
