"""Python's bytecode cache."""

import sys


def cache_bytecode() -> None:
    """From now on, let Python cache the modules that it compiles, unless the user asked it not to.

    Invoke turns the cache off before it loads a collection (Program.parse_core). Without it, each command would
    compile this package again, which takes about as long as all else that `status` does.
    """
    sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)
