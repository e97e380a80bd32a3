"""Starts a kernel of the environment, runs code in it, and shuts it down.

Runs on the host, with whatever Python is there: nothing newer than 3.6, only Jupyter and the standard library.
"""

from common import reply, set_conda_variables


def main(parameters):
    set_conda_variables()
    try:
        from jupyter_client.manager import start_new_kernel

        manager, client = start_new_kernel(startup_timeout=parameters["timeout_s"])
    except Exception as error:  # a broken environment can raise anything
        return reply(problem="kernel-failed", reason="%s: %s" % (type(error).__name__, error))
    try:
        result = client.execute_interactive(
            "1+1", timeout=parameters["timeout_s"], output_hook=lambda message: None, store_history=False
        )
        status = result["content"]["status"]
    except Exception as error:
        return reply(problem="kernel-failed", reason="%s: %s" % (type(error).__name__, error))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    if status != "ok":
        return reply(problem="kernel-failed", reason="1+1 returned the status " + status)
    reply(problem="", kernel=manager.kernel_name)
