"""doctor: check everything from this machine to a working kernel, and print how to fix the first failure."""

from notebooks_over_ssh import debug_log
from notebooks_over_ssh.diagnostics import run_checks
from notebooks_over_ssh.errors import UserError
from notebooks_over_ssh.tasks.run import Run
from notebooks_over_ssh.terminal import print_detail, print_json, print_step, progress


def doctor(run: Run) -> None:
    """Run the checks, and print each result at once. Raises the UserError of the first check that fails."""
    checks = run_checks(run.settings, run.credentials)
    while True:
        with progress("doctor", "running the next check"):
            check = next(checks, None)
        if check is None:
            print_step("doctor", "all checks passed")
            return _show_debug_log()
        if check.problem is not None:
            print_step(check.name, "failed")
            if not debug_log.is_enabled():
                print_detail(
                    f"{debug_log.VARIABLE}=1 in the environment writes a debug log to {debug_log.path()}"
                )
            _show_debug_log()
            raise check.problem
        print_step(check.name, check.result)


def doctor_as_json(run: Run) -> None:
    """Print the results as a JSON list. Raises the UserError of the check that failed."""
    checks = list(run_checks(run.settings, run.credentials))
    rows = [
        {
            "check": check.name,
            "ok": check.problem is None,
            "result": check.result or None,
            "problem": str(check.problem) if check.problem else None,
            "hint": check.problem.hint if check.problem else None,
        }
        for check in checks
    ]
    print_json(rows)
    error: UserError | None = checks[-1].problem
    if error:
        raise error


def _show_debug_log() -> None:
    if debug_log.is_enabled():
        print_detail(f"debug log: {debug_log.path()}")
