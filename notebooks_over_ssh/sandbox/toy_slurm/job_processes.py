"""The processes of a job: starts them, finds them, ends them."""

import contextlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import psutil

from notebooks_over_ssh.sandbox.environment import host_environment, user_name
from notebooks_over_ssh.sandbox.paths import SandboxPaths
from notebooks_over_ssh.sandbox.process_cleanup import marked_processes
from notebooks_over_ssh.sandbox.toy_slurm.commands import CLUSTER
from notebooks_over_ssh.sandbox.toy_slurm.queue import Job
from notebooks_over_ssh.util.processes import is_alive

JOB_VARIABLE = "SLURM_JOB_ID"
# Opens the files of the job in its own process, because that may block.
# To append lets standard output and error share a file.
_OPEN_FILES = 'exec <"$1" >>"$2" 2>>"$3" || exit; shift 3; exec "$@"'
_TRUNCATE = ': >"$2" || exit; : >"$3" || exit; '


def _script_folder(paths: SandboxPaths, job: Job) -> Path:
    return paths.toy_slurm / "scripts" / str(job.id)


def save_script(paths: SandboxPaths, job: Job, script: bytes, arguments: list[str]) -> None:
    """Keep the script and its arguments until the job ends. Raises OSError."""
    folder = _script_folder(paths, job)
    folder.mkdir(mode=0o700, parents=True)
    (folder / "arguments").write_bytes(b"".join(os.fsencode(argument) + b"\0" for argument in arguments))
    (folder / "slurm_script").write_bytes(script)
    (folder / "slurm_script").chmod(0o700)


def remove_script(paths: SandboxPaths, job: Job) -> None:
    """Remove what `save_script` made."""
    shutil.rmtree(_script_folder(paths, job), ignore_errors=True)


def start(paths: SandboxPaths, job: Job) -> subprocess.Popen[bytes]:
    """Run the job's script. Raises OSError."""
    folder = _script_folder(paths, job)
    arguments = (folder / "arguments").read_bytes().split(b"\0")[:-1]
    stdin, *outputs = (
        expand(name, job) for name in (job.request.stdin, job.request.stdout, job.request.stderr)
    )
    open_files = _OPEN_FILES if job.request.appends else _TRUNCATE + _OPEN_FILES
    return subprocess.Popen(
        ["/bin/sh", "-c", open_files, "sh", stdin, *outputs, str(folder / "slurm_script"), *arguments],
        cwd=job.request.folder,
        env=environment(paths, job),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def environment(paths: SandboxPaths, job: Job) -> dict[str, str]:
    """The environment of the job's processes."""
    return host_environment(job.node, paths, variables(job))


def variables(job: Job) -> dict[str, str]:
    """The variables of sbatch(1), OUTPUT ENVIRONMENT VARIABLES, that the toy sets."""
    request = job.request
    gpus = ",".join(map(str, range(request.gpus)))
    return {
        JOB_VARIABLE: str(job.id),
        "SLURM_JOBID": str(job.id),
        "SLURM_JOB_NAME": request.name,
        "SLURM_JOB_PARTITION": request.partition,
        "SLURM_JOB_NODELIST": job.node,
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_JOB_USER": user_name(),
        "SLURM_NTASKS": "1",
        "SLURM_CPUS_ON_NODE": str(request.cpus),
        "SLURM_CPUS_PER_TASK": str(request.cpus),
        "SLURM_CLUSTER_NAME": CLUSTER,
        "SLURM_SUBMIT_DIR": request.folder,
        "SLURMD_NODENAME": job.node,
        **({"SLURM_JOB_GPUS": gpus, "CUDA_VISIBLE_DEVICES": gpus} if gpus else {}),
    }


def expand(name: str, job: Job) -> str:
    """The name of a file of the job: sbatch(1), FILENAME PATTERN."""
    values = {"j": str(job.id), "x": job.request.name, "u": user_name(), "N": job.node, "%": "%"}
    return re.sub("%([jxuN%])", lambda match: values[match[1]], name)


def report(job: Job, message: str) -> None:
    """Add a line to the job's standard error, as slurmstepd does, if that is a file that can be written."""
    path = Path(job.request.folder, expand(job.request.stderr, job))
    if path.is_file():
        with contextlib.suppress(OSError), path.open("a") as file:
            file.write(f"slurmstepd: error: *** JOB {job.id} ON {job.node} {message} ***\n")


def find(paths: SandboxPaths, job_id: int | None) -> list[psutil.Process]:
    """The processes of the job with their descendants; of all jobs without a number."""
    processes: dict[int, psutil.Process] = {}
    for process, environment in marked_processes(paths):
        number = environment.get(JOB_VARIABLE)
        if number is None or (job_id is not None and number != str(job_id)):
            continue
        try:
            for member in (process, *process.children(recursive=True)):
                processes[member.pid] = member
        except psutil.Error:
            continue
    return [process for process in processes.values() if is_alive(process)]
