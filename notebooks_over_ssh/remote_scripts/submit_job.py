"""Submits the job in which the server runs, unless one is queued or running.

Runs on the host, with whatever Python is there: nothing newer than 3.6, nothing outside the standard library.
"""

import binascii
import json
import os
import shutil
import time

import slurm
from common import exclusive_lock, private_folder, reply, wait_for_confirmation, write_private
from queue_status import find_queued

MAX_QUOTED = 1000


def main(parameters):
    os.umask(0o077)
    try:
        with exclusive_lock(slurm.jobs_folder()):
            queued = find_queued()
            jobs = [queued] if queued else slurm.find_active()
            if not jobs and not wait_for_confirmation():
                return reply(problem="not-confirmed")
            job = jobs[0] if jobs else submit(parameters)
            record = slurm.read_record(job["token"])
            reply(
                problem="",
                is_new=not jobs,
                id=job["id"],
                token=job["token"],
                cluster=record.get("cluster", ""),
                submitted=record.get("submitted", ""),
                options=record.get("options"),
            )
    except slurm.SlurmError as error:
        reply(**error.fields)


def submit(parameters):
    """Submit the job; returns its number and token. Raises SlurmError."""
    token = binascii.hexlify(os.urandom(8)).decode()
    folder = private_folder(slurm.job_folder(token))
    try:
        write_private(os.path.join(folder, "script"), parameters["script"])
        write_private(os.path.join(folder, "request"), parameters["request"] + token + "\n")
        # An empty file: a name that was missing once could stay unknown to an NFS client for a while.
        write_private(os.path.join(folder, "node_keys"), "")
        make_host_key(folder)
        command = ["sbatch", "--parsable", "--job-name=" + slurm.NAME, "--comment=" + slurm.comment(token)]
        # Without slashes and "%", so that sbatch(1) takes them as names in the folder.
        command += ["--chdir=" + folder, "--input=request", "--output=output", "--error=log"]
        command += ["--nodes=1", "--ntasks=1", "--no-requeue", "--open-mode=truncate"]
        # To the batch script, which is serve_in_job.py by then, not to the steps: they are the way to the server. An
        # option of the user's comes later, and overrides it.
        command += ["--signal=B:TERM@%d" % parameters["signal_s"]]
        number, cluster = run_sbatch(
            command + parameters["options"] + [os.path.join(folder, "script")], token
        )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    record = dict(
        id=number,
        cluster=cluster if slurm.CLUSTER_NAME.fullmatch(cluster) else "",
        marker=parameters["marker"],
        options=parameters["options"],
        submitted=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    write_private(os.path.join(folder, "job.json"), json.dumps(record))
    return dict(record, token=token)


def run_sbatch(command, token):
    """Run sbatch; returns the number of the job, and what it printed as the name of the cluster. Raises SlurmError.

    sbatch may submit the job and fail: when the controller answers late, or when a site's own sbatch prints something
    else. Then the job is in the queue.
    """
    try:
        status, output, errors = slurm.run(command)
        # The last line, in case a site's own sbatch prints more.
        number, _, cluster = output.strip().rpartition("\n")[2].partition(";")
        if not status and slurm.is_job_id(number):
            return int(number), cluster
        problem = slurm.SlurmError("submit-failed", errors or output[:MAX_QUOTED].splitlines()[:3])
    except slurm.SlurmError as error:
        problem = error
    try:
        jobs = [job for job in slurm.find_active() if job["token"] == token]
    except slurm.SlurmError:
        jobs = []
    if not jobs:
        raise problem
    return jobs[0]["id"], ""


def make_host_key(folder):
    """The key by which the job's SSH server is known. Raises SlurmError."""
    path = os.path.join(folder, "host_key")
    try:
        status, _, errors = slurm.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path])
    except slurm.SlurmError as error:
        raise slurm.SlurmError("ssh-keygen-failed", error.fields["log"])
    if status:
        raise slurm.SlurmError("ssh-keygen-failed", errors)
