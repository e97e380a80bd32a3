"""Measures how long the programs take to list their tasks, against the libraries that each has to import.

    uv run python -m benchmarks.listing [--runs N]

The competitors take turns, so that a slow moment affects all of them; the shortest time of each counts. Compare the
ratios: the times depend on the machine.
"""

import argparse
import subprocess
import sys
import time

from tests.kit.cli import BIN_DIR, ROOT

PYTHON = (sys.executable, "-c")
COMMANDS = {
    "an empty program": (*PYTHON, "pass"),
    "import invoke": (*PYTHON, "import invoke.main"),
    "import fabric": (*PYTHON, "import fabric.main"),
    **{f"{name} --list": (str(BIN_DIR / name), "--list") for name in ("invoke", "notebooks", "fab")},
}
# What each program imports in any case.
LIBRARIES = {
    "invoke --list": "import invoke",
    "notebooks --list": "import invoke",
    "fab --list": "import fabric",
}


def main() -> None:
    """Run the commands in turns, and print the shortest time of each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=15, help="runs of each command (default: 15)")
    runs = parser.parse_args().runs
    rounds = [{name: elapsed_s(command) for name, command in COMMANDS.items()} for _ in range(runs)]
    min_s = {name: min(times[name] for times in rounds) for name in COMMANDS}
    for name, seconds in min_s.items():
        library = LIBRARIES.get(name)
        ratio = f"  {seconds / min_s[library]:.2f} times {library}" if library else ""
        print(f"{name:17} {seconds:.3f} s{ratio}")


def elapsed_s(command: tuple[str, ...]) -> float:
    """The seconds that the command takes."""
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
