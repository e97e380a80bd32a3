"""The tasks and their flags, as Fabric and Invoke list them."""

from typing import TYPE_CHECKING, Any

from invoke.collection import Collection

from notebooks_over_ssh import debug_log, sandbox_collection
from notebooks_over_ssh.tasks.action import Action
from notebooks_over_ssh.tasks.decorator import task
from notebooks_over_ssh.tasks.flags import HOST, JOB, SECURE, TUNNEL, job_flags, tunnel_flags

debug_log.hide_prompted_secrets()

if TYPE_CHECKING:
    from notebooks_over_ssh.tasks.run import Run


def _run(c: Any, host: str | None = None, **flags: Any) -> "Run":
    """Read the settings. Imports here, because `--list` does not need them."""
    from notebooks_over_ssh.tasks.run import Run

    return Run.from_command_line(c, host, **flags)


@task(help=HOST | SECURE)
def secure(
    c: Any,
    host: str | None = None,
    site: str | None = None,
    renew: bool = False,
    password_file: str | None = None,
    certificate: str | None = None,
    key: str | None = None,
    restart: bool = False,
) -> Action:
    """Step 1: set the login password and HTTPS certificate."""
    from notebooks_over_ssh.tasks import plans
    from notebooks_over_ssh.tasks.secure import SecureOptions
    from notebooks_over_ssh.tasks.up import secure_and_restart

    run = _run(c, host, site=site).choose_session()
    options = SecureOptions(renew, password_file, certificate, key, restart)
    return Action(lambda: secure_and_restart(run, options), plan=lambda: plans.secure(run, options))


@task(help=HOST | JOB)
def serve(
    c: Any,
    host: str | None = None,
    site: str | None = None,
    slurm: bool = False,
    gpus: str | None = None,
    time: str | None = None,
    partition: str | None = None,
) -> Action:
    """Step 2: start the Jupyter server, or find the running one."""
    from notebooks_over_ssh.tasks import plans
    from notebooks_over_ssh.tasks.serve import serve

    run = _run(c, host, site=site, **job_flags(slurm, gpus, time, partition)).choose_session()
    return Action(lambda: serve(run), plan=lambda: plans.serve(run))


@task(help=HOST | TUNNEL, iterable=["forward"])
def tunnel(
    c: Any,
    host: str | None = None,
    site: str | None = None,
    local_port: str | None = None,
    detach: bool = False,
    forward: list[str] | None = None,
    plain: bool = False,
    open: str | None = None,
    no_browser: bool = False,
    trust: bool = False,
    renew_job: bool = False,
) -> Action:
    """Step 3: forward a local port and open the browser."""
    from notebooks_over_ssh.tasks import plans
    from notebooks_over_ssh.tasks.tunnel import tunnel

    run = _run(
        c, host, site=site, **tunnel_flags(local_port, forward, plain, open, no_browser, trust, renew_job)
    ).choose_session()
    return Action(
        lambda: tunnel(run, detach=detach),
        plan=lambda: plans.tunnel(run, detach=detach),
        foreground=not detach,
    )


@task(help=HOST)
def trust(c: Any, host: str | None = None, site: str | None = None) -> Action:
    """Add the server's certificate to your browsers."""
    from notebooks_over_ssh.tasks import plans
    from notebooks_over_ssh.tasks.trust import trust
    from notebooks_over_ssh.tasks.tunnel import require_session

    session = require_session(_run(c, host, site=site).choose_session().settings)
    return Action(lambda: trust(session), plan=lambda: plans.trust(session))


@task(help=HOST)
def untrust(c: Any, host: str | None = None, site: str | None = None) -> Action:
    """Remove the server's certificate from your browsers."""
    from notebooks_over_ssh.tasks import plans
    from notebooks_over_ssh.tasks.trust import untrust

    settings = _run(c, host, site=site).choose_session().settings
    return Action(lambda: untrust(settings), plan=lambda: plans.untrust(settings))


@task(
    help=HOST
    | {
        "all": "Stop every session on every host.",
        "force": "Stop even if kernels are busy or the host cannot be reached.",
    }
)
def stop(
    c: Any, host: str | None = None, site: str | None = None, all: bool = False, force: bool = False
) -> Action:
    """Step 4: stop the server and its kernels, close the tunnel."""
    from notebooks_over_ssh.tasks import plans
    from notebooks_over_ssh.tasks.stop import stop, stop_all

    run = _run(c, host, site=site)
    if all:
        return Action(
            lambda: stop_all(run.for_all_hosts(), force=force), plan=lambda: plans.stop_all(run), once=True
        )
    chosen = run.choose_session()
    return Action(lambda: stop(chosen, force=force), plan=lambda: plans.stop(chosen))


@task(default=True, help=HOST | SECURE | JOB | TUNNEL, iterable=["forward"])
def up(
    c: Any,
    host: str | None = None,
    site: str | None = None,
    renew: bool = False,
    password_file: str | None = None,
    certificate: str | None = None,
    key: str | None = None,
    restart: bool = False,
    slurm: bool = False,
    gpus: str | None = None,
    time: str | None = None,
    partition: str | None = None,
    local_port: str | None = None,
    detach: bool = False,
    forward: list[str] | None = None,
    plain: bool = False,
    open: str | None = None,
    no_browser: bool = False,
    trust: bool = False,
    renew_job: bool = False,
) -> Action:
    """Steps 1 to 3 in one: secure, serve, tunnel."""
    from notebooks_over_ssh.tasks import plans
    from notebooks_over_ssh.tasks.secure import SecureOptions
    from notebooks_over_ssh.tasks.up import up, up_in_background

    run = _run(
        c,
        host,
        site=site,
        **job_flags(slurm, gpus, time, partition),
        **tunnel_flags(local_port, forward, plain, open, no_browser, trust, renew_job),
    ).choose_session()
    options = SecureOptions(renew, password_file, certificate, key, restart)
    return Action(
        lambda: (up_in_background if detach else up)(run, options),
        plan=lambda: plans.up(run, options, detach=detach),
        foreground=not detach,
    )


@task(
    help={
        "json": "Print a JSON list, for use by programs.",
        "editors": "Print how to connect VS Code and PyCharm to the server.",
    }
)
def status(c: Any, json: bool = False, editors: bool = False) -> Action:
    """Show every session: its host, ports, URL and state."""
    from notebooks_over_ssh.tasks.status import print_editor_urls, status, status_as_json

    settings = _run(c).settings
    if editors:
        return Action(print_editor_urls, plan=None, once=True)
    return Action(lambda: (status_as_json if json else status)(settings), plan=None, once=True)


@task(help=HOST | {"follow": "Print new lines until Ctrl-C.", "lines": "The number of lines to print."})
def logs(
    c: Any, host: str | None = None, site: str | None = None, follow: bool = False, lines: str = "50"
) -> Action:
    """Show the end of the server's log."""
    from notebooks_over_ssh.tasks import plans
    from notebooks_over_ssh.tasks.logs import follow as follow_log
    from notebooks_over_ssh.tasks.logs import logs

    run = _run(c, host, site=site).choose_session()
    return Action(
        lambda: (follow_log if follow else logs)(run, lines),
        plan=lambda: plans.logs(run, lines),
        foreground=follow,
    )


@task(help=HOST)
def login(c: Any, host: str | None = None, site: str | None = None) -> Action:
    """Log in once, for all later commands."""
    from notebooks_over_ssh.tasks import plans
    from notebooks_over_ssh.tasks.login import login

    run = _run(c, host, site=site).choose_session()
    return Action(lambda: login(run), plan=lambda: plans.login(run))


@task(help=HOST | {"all": "End the logins on all gateways and hosts."})
def logout(c: Any, host: str | None = None, site: str | None = None, all: bool = False) -> Action:
    """End the login that is kept for later commands."""
    from notebooks_over_ssh.tasks import plans
    from notebooks_over_ssh.tasks.login import logout, logout_all

    run = _run(c, host, site=site)
    if all:
        return Action(logout_all, plan=plans.logout, once=True)
    run = run.choose_session()
    return Action(lambda: logout(run), plan=plans.logout)


@task(help=HOST | {"json": "Print a JSON list, for use by programs."})
def doctor(c: Any, host: str | None = None, site: str | None = None, json: bool = False) -> Action:
    """Check everything from this machine to a working kernel."""
    from notebooks_over_ssh.tasks import plans
    from notebooks_over_ssh.tasks.doctor import doctor, doctor_as_json

    run = _run(c, host, site=site).choose_session()
    return Action(lambda: (doctor_as_json if json else doctor)(run), plan=lambda: plans.doctor(run))


@task(help=HOST | {"json": "Print a JSON list, for use by programs."})
def partitions(c: Any, host: str | None = None, site: str | None = None, json: bool = False) -> Action:
    """Show the partitions of a cluster, and what is free in them."""
    from notebooks_over_ssh.tasks import plans
    from notebooks_over_ssh.tasks.clusters import partitions, partitions_as_json

    run = _run(c, host, site=site).choose_session()
    return Action(
        lambda: (partitions_as_json if json else partitions)(run), plan=lambda: plans.partitions(run)
    )


@task()
def init(c: Any) -> Action:
    """Ask for your site's settings, and write them to ~/.invoke.yaml."""
    from notebooks_over_ssh.tasks.init import init, plan

    return Action(lambda: init(c), plan=plan, once=True)


namespace = Collection(
    secure,
    serve,
    tunnel,
    trust,
    untrust,
    stop,
    up,
    status,
    logs,
    login,
    logout,
    doctor,
    init,
    clusters=Collection(partitions),
    sandbox=sandbox_collection.namespace,
)
