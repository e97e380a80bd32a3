"""Creates the sandbox's SSH servers, and serves them until a signal arrives."""

import asyncio
import errno
import logging
import os
import signal
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import asyncssh

from notebooks_over_ssh.sandbox.fake_programs import ensure_host_programs
from notebooks_over_ssh.sandbox.gateway import Gateway, GatewayConnection
from notebooks_over_ssh.sandbox.home import ensure_home
from notebooks_over_ssh.sandbox.host import Host
from notebooks_over_ssh.sandbox.keys import ensure_key, write_known_hosts
from notebooks_over_ssh.sandbox.paths import HOSTS, LOGIN_NODE, POOL, PREFERRED_PORT, SandboxPaths
from notebooks_over_ssh.sandbox.process_io import Reaper
from notebooks_over_ssh.sandbox.server_options import server_options
from notebooks_over_ssh.sandbox.state import Network
from notebooks_over_ssh.sandbox.toy_slurm.installation import (
    configuration_file,
    install_toy_slurm,
    listen_for_programs,
)

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_LOOPBACK = "127.0.0.1"
_log = logging.getLogger(__name__)


async def serve(paths: SandboxPaths, on_ready: Callable[[Network], None]) -> None:
    """Create missing files, listen, call `on_ready`, and serve until SIGTERM, SIGINT or SIGHUP.

    Raises OSError when the folder cannot be written.
    """
    loop = asyncio.get_running_loop()
    loop.set_default_executor(_InlineExecutor())
    stop_requested = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop_requested.set)
    reaper = Reaper()
    reaper.attach(loop)
    ensure_home(paths)
    client_key = ensure_key(paths.client_key)
    gateway_key = ensure_key(paths.gateway_key)
    host_keys = {name: ensure_key(paths.host_key(name)) for name in (*HOSTS, LOGIN_NODE)}
    authorized_keys = asyncssh.import_authorized_keys(client_key.export_public_key().decode())
    hosts = {}
    for name, host_key in host_keys.items():
        ensure_host_programs(paths.host_programs(name))
        variables = {"SLURM_CONF": str(configuration_file(paths))} if name == LOGIN_NODE else {}
        hosts[name] = Host(name, paths, reaper, host_key, authorized_keys, variables)
    install_toy_slurm(paths, hosts)
    try:
        queue_listener = listen_for_programs(paths)
    except OSError as error:
        # A file system without sockets, perhaps. The rest of the sandbox needs none.
        _log.warning("toy queue: it does not run: %s", error)
        queue_listener = None
    gateway = Gateway(hosts, HOSTS)
    listener = await _listen(server_options(gateway_key, authorized_keys, lambda: GatewayConnection(gateway)))
    port = listener.get_port()
    write_known_hosts(paths, port, gateway_key, host_keys)
    _log.info("gateway: listening on %s port %d", _LOOPBACK, port)
    on_ready(
        Network(
            pid=os.getpid(),
            gateway_port=port,
            client_key=str(paths.client_key),
            known_hosts=str(paths.known_hosts),
            home=str(paths.home),
            hosts=HOSTS,
            pool=POOL,
        )
    )
    queue_tasks = []
    if queue_listener is not None:
        # Imported once the sandbox is ready, because most users never submit a job.
        from notebooks_over_ssh.sandbox.toy_slurm.service import start_queue

        queue_tasks = start_queue(paths, reaper, queue_listener)
    await stop_requested.wait()
    _log.info("stopping")
    listener.close()
    for task in queue_tasks:
        task.cancel()


class _InlineExecutor(ThreadPoolExecutor):
    """Runs a call in the thread that submits it. asyncssh submits few, and short ones.

    In a process with more threads, running Python between fork and exec (`make_controlling`) could deadlock.
    """

    def submit(
        self, fn: Callable[_Arguments, _Result], /, *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> Future[_Result]:
        """Call `fn`, and return a completed future."""
        future: Future[_Result] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # the future passes it on
            future.set_exception(error)
        return future


async def _listen(options: asyncssh.SSHServerConnectionOptions) -> asyncssh.SSHAcceptor:
    try:
        return await asyncssh.listen(_LOOPBACK, PREFERRED_PORT, options=options)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
    return await asyncssh.listen(_LOOPBACK, 0, options=options)
