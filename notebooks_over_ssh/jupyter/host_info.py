"""The replies of the programs that only `doctor` runs."""

import msgspec

from notebooks_over_ssh.jupyter.remote_result import RemoteProblem


class HostInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The reply of host_info.py."""

    host: str
    shell: str
    time: float
    """The host's clock, in seconds since the epoch."""
    free_bytes: int
    directory: str
    directory_problem: RemoteProblem | None
    directory_write_problem: str
    """Why no file can be created in it; "" if one can."""
    load: float
    processors: int


class KernelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The reply of kernel_smoke_test.py."""

    kernel: str
