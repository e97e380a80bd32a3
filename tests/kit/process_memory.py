"""Searches the memory of a process, as root can, and so can whoever gets its core dump."""

import contextlib

import psutil

MAX_MAPPING_BYTES = 512 * 1024 * 1024


def secrets_in_memory(process: psutil.Process, *secrets: str) -> list[str]:
    """Those of the secrets that are somewhere in the memory of the process; Python stores ASCII as one byte each."""
    found: set[str] = set()
    with open(f"/proc/{process.pid}/maps") as mappings, open(f"/proc/{process.pid}/mem", "rb", 0) as memory:
        for line in mappings:
            addresses, permissions, *_ = line.split()
            start, end = (int(address, 16) for address in addresses.split("-"))
            if not permissions.startswith("rw"):
                continue  # the process cannot write there
            assert end - start <= MAX_MAPPING_BYTES, line
            memory.seek(start)
            content = b""
            with contextlib.suppress(OSError):  # pages of the kernel's
                content = memory.read(end - start)
            found.update(secret for secret in secrets if secret.encode() in content)
    return sorted(found)
