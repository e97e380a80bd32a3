"""The tasks of the sandbox, as Fabric and Invoke list them."""

from typing import Any

from invoke.collection import Collection

from notebooks_over_ssh.tasks.action import Action
from notebooks_over_ssh.tasks.decorator import task


@task(name="start")
def start_sandbox(c: Any) -> Action:
    """Start the sandbox on this machine."""
    from notebooks_over_ssh.tasks import plans
    from notebooks_over_ssh.tasks.sandbox import start

    return Action(start, plan=plans.start_sandbox, once=True)


@task(name="stop")
def stop_sandbox(c: Any) -> Action:
    """Stop the sandbox and delete its files."""
    from notebooks_over_ssh.tasks import plans
    from notebooks_over_ssh.tasks.sandbox import stop

    return Action(stop, plan=plans.stop_sandbox, once=True)


@task(name="status")
def sandbox_status(c: Any) -> Action:
    """Show whether the sandbox is running."""
    from notebooks_over_ssh.tasks.sandbox import status

    return Action(status, plan=None, once=True)


namespace = Collection(start_sandbox, stop_sandbox, sandbox_status)
