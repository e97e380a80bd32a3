"""The error message for each problem with Slurm's commands."""

from typing import Any

from notebooks_over_ssh.errors import RemoteError
from notebooks_over_ssh.launchers.base import NotStartedError
from notebooks_over_ssh.util.peer_text import quote

# By a part of sbatch's message (slurm_errno.h), in the order in which they are tried.
SUBMIT_HINTS = (
    ("invalid partition", "set notebook.job.partition to one that sinfo lists on the host"),
    (
        "Invalid account",
        "set notebook.job.account and partition to those that sacctmgr show assoc lists for you",
    ),
    ("Invalid qos", "set notebook.job.qos to one that you may use"),
    (
        "time limit is invalid",
        "set notebook.job.time to at most the limit that sinfo shows for the partition",
    ),
    ("MaxSubmit", "wait until one of your jobs has ended, or cancel one: squeue --me lists them"),
    ("submit limit", "wait until one of your jobs has ended, or cancel one: squeue --me lists them"),
    ("job limit", "wait until one of your jobs has ended, or cancel one: squeue --me lists them"),
    ("node configuration is not available", "ask for less in notebook.job: no node has all of it"),
    ("Invalid generic resource", "set notebook.job.gres or gpus to what sinfo -o %G lists on the host"),
    ("Invalid feature", "set notebook.job.constraint to features that sinfo -o %f lists on the host"),
    ("reservation", "set notebook.job.reservation to one that scontrol show reservation lists"),
    ("CPU count", "set notebook.job.cpus to fewer"),
    ("Memory specification", "set notebook.job.memory to less"),
    ("Unable to contact slurm controller", "try again; if it stays, ask the administrators of the cluster"),
)
PROBLEMS = {
    "slurm-missing": (
        "{host} has no Slurm: {reason}",
        "set notebook.host to a login node of the cluster, or notebook.launcher to host",
    ),
    "slurm-timeout": (
        "{reason} on {host} does not answer",
        "try again: Slurm's controller may be busy or down",
    ),
    "slurm-flood": (
        "{reason} on {host} does not stop printing",
        "run it there; if it is as long there, tell the administrators of the cluster",
    ),
    "slurm-garbled": (
        "nothing that {reason} on {host} printed can be read",
        "compare with what it prints there",
    ),
    "slurm-failed": ("Slurm on {host} failed: {reason}", "try again: Slurm's controller may be down"),
    "ssh-keygen-failed": (
        "ssh-keygen failed on {host}: {reason}",
        "install OpenSSH's client programs there, or make them work",
    ),
    "not-confirmed": ("{host} got no confirmation in time, so no job was submitted", "run the command again"),
    "cancel-failed": ("the job was not cancelled: {reason}", "try again, or cancel it on the host: scancel"),
    "job-remains": ("the job does not end ({reason})", "ask the administrators of the cluster"),
    "job-folder-missing": (
        "the folder of the job on {host} was removed: {reason}",
        "cancel the job with stop --force, and start another with serve",
    ),
    "home-unusable": (
        "the path of the home folder on {host} cannot be used: {reason}",
        "ask its administrators",
    ),
    "system-error": ("{host} failed: {reason}", "check this on the host"),
}


class SlurmUnavailableError(RemoteError):
    """Slurm did not answer: its controller may be busy, or down for a while."""


UNAVAILABLE = ("slurm-failed", "slurm-timeout")
# On a host that has Slurm's programs, and no configuration.
NO_CONFIGURATION = "configuration source"


def to_error(reply: dict[str, Any], host: str) -> RemoteError:
    """The error for the problem in the reply of a program that uses Slurm's commands."""
    problem, reason = str(reply["problem"]), str(reply.get("reason") or reply.get("path") or "")
    if problem == "submit-failed":
        # The last line has the reason: "sbatch: error: Batch job submission failed: Invalid account".
        reason = str((reply.get("log") or [reason])[-1]).removeprefix("sbatch: error: ")
        hint = next((hint for part, hint in SUBMIT_HINTS if part.lower() in reason.lower()), "see sbatch(1)")
        return NotStartedError(f"sbatch on {host} refused the job: {quote(reason)}", hint=hint)
    if NO_CONFIGURATION in reason:
        problem = "slurm-missing"
    message, hint = PROBLEMS.get(problem, ("the program on {host} failed: {reason}", ""))
    error_type = SlurmUnavailableError if problem in UNAVAILABLE else RemoteError
    return error_type(message.format(host=host, reason=quote(reason)), hint=hint)
