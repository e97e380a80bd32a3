"""The lines that show how the start of a job goes on."""

from notebooks_over_ssh.launchers.base import JobFound, JobState
from notebooks_over_ssh.util.duration import describe_duration


def describe_job_found(event: JobFound, host: str) -> str:
    """The line for a job that was submitted, or found, on `host`."""
    return f"{'submitted' if event.is_new else 'found'} job {event.job.id} on {host}"


def describe_queued(state: JobState, waited_s: float, now: float) -> str:
    """The line for a queued job. `now` is the time in seconds since 1970."""
    ahead = "" if state.jobs_ahead is None else f", {state.jobs_ahead} ahead of it"
    estimate = ""
    if state.starts_at is not None and round(state.starts_at - now) > 0:
        estimate = f"; Slurm expects to start it in {describe_duration(state.starts_at - now)}"
    return (
        f"{state.label} is queued: {state.description}{ahead}; waited {describe_duration(waited_s)}{estimate}"
    )


def describe_started(state: JobState) -> str:
    """The line for a job that runs."""
    return f"{state.label} is running on {state.job.node if state.job else 'a node'}"
