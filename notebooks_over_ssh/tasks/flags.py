"""The flags that several tasks share: their help, and the settings that they set."""

from typing import Any

HOST = {
    "host": "The host or pool, as user@host:port. The default is your own notebook.host, else the current session.",
    "site": "The site: the path of its file, or its name in notebook.sites. The default is notebook.site.",
}
SECURE = {
    "renew": "Replace the password and the certificate even if they are still valid.",
    "password-file": "Read the password from this file (- for standard input) instead of prompting.",
    "certificate": "Use your own certificate: a PEM file with its chain.",
    "key": "The private key of your own certificate: a PEM file without a passphrase.",
    "restart": "Restart a server that uses an older password or certificate; asks first if kernels are busy.",
}
JOB = {
    "slurm": "Run the server as a job of Slurm: the host is a login node of the cluster.",
    "gpus": "The number of GPUs of the job, with their type before a colon if it matters.",
    "time": "The time limit of the job, as in 4:00:00.",
    "partition": "The partition of the job.",
}
TUNNEL = {
    "local-port": "The port on this machine. The default is the first free one from 8888.",
    "detach": "Keep the tunnel in the background, and return when it is ready.",
    "forward": "Forward another port of the host; repeatable, or with commas: 6006,8787 for TensorBoard and Dask.",
    "plain": "Also listen without TLS, with a token, for editors that refuse the certificate (docs/browser.md).",
    "open": "The notebook, file or folder to open in the browser, relative to notebook.directory.",
    "no-browser": "Print the URL without opening a browser.",
    "trust": "Add the server's certificate to your browsers' trust stores first; otherwise they show a warning.",
    "renew-job": "Submit another job when the cluster has ended the current one; the address stays.",
}


def job_flags(slurm: bool, gpus: str | None, time: str | None, partition: str | None) -> dict[str, Any]:
    """The settings that the flags in JOB set, by name; None if not given."""
    return {
        "launcher": "slurm" if slurm else None,
        "job.gpus": gpus,
        "job.time": time,
        "job.partition": partition,
    }


def tunnel_flags(
    local_port: str | None,
    forward: list[str] | None,
    plain: bool,
    open: str | None,
    no_browser: bool,
    trust: bool,
    renew_job: bool,
) -> dict[str, Any]:
    """The settings that the flags in TUNNEL set, by name; None if not given."""
    return {
        "local_port": local_port,
        "forward": ",".join(forward) if forward else None,
        "plain": plain or None,
        "open": open,
        "open_browser": False if no_browser else None,
        "trust": trust or None,
        "job.renew": renew_job or None,
    }
